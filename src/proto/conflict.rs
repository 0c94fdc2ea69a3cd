//! The typed detail of a conflict: a `taffrail.v1.Conflict` among the details of a `google.rpc.Status`.
//!
//! Details travel as an encoded `google.rpc.Status` in the trailers of the call, its field 3 a list of
//! `google.protobuf.Any`. As protobuf has it, one more element behind the encoded message is one more in the list, so
//! that nobody has to take apart what is there.

use bytes::Bytes;
use prost::Message;

use super::Conflict;

/// What `Any` says that it holds.
const TYPE_URL: &str = "type.googleapis.com/taffrail.v1.Conflict";

/// Most failed conditions in the detail. Each takes 16 bytes at most, all of them then 4 KiB, and base64 a third more;
/// a client of ours takes trailers of 16 KiB, and others of 8.
pub const MAX_FAILED_CONDITIONS: usize = 256;

/// `google.rpc.Status`, as far as it matters here.
#[derive(Clone, PartialEq, Message)]
struct Details {
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

impl Conflict {
    /// Adds the detail to those of a status, of which it gets no more than the first [`MAX_FAILED_CONDITIONS`].
    #[must_use]
    pub fn add_to_details(mut self, details: &[u8]) -> Bytes {
        self.failed.truncate(MAX_FAILED_CONDITIONS);
        let any = Any { type_url: TYPE_URL.to_owned(), value: self.encode_to_vec().into() };
        let mut with = details.to_vec();
        with.extend(Details { details: vec![any] }.encode_to_vec());
        with.into()
    }

    /// Finds the detail among those of a status.
    #[must_use]
    pub fn from_details(details: &[u8]) -> Option<Self> {
        let details = Details::decode(details).ok()?.details;
        let any = details.into_iter().find(|any| any.type_url == TYPE_URL)?;
        Self::decode(any.value).ok()
    }
}
