//! The typed detail of a conflict: a `taffrail.v1.Conflict` among the details of a
//! `google.rpc.Status`.
//!
//! Details travel as an encoded `google.rpc.Status` in the trailers of the call, its field 3 a list
//! of `google.protobuf.Any`. As protobuf has it, one more element behind the encoded message is one
//! more in the list, so that nobody has to take apart what is there.

use bytes::Bytes;
use prost::Message;
use prost_types::Any;

use super::{Conflict, FailedCondition};

/// What `Any` says that it holds.
const TYPE_URL: &str = "type.googleapis.com/taffrail.v1.Conflict";

/// Most conditions that a conflict names. Each takes 17 bytes at most, and all of them about 2,300
/// of the 8,192 bytes of trailers that gRPC's C core takes, which clients of many languages are
/// built on.
const MAX_NAMED: usize = 100;

/// `google.rpc.Status`, as far as it matters here.
#[derive(Clone, PartialEq, Message)]
struct Details {
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

impl Conflict {
    /// Of these conditions, which are in the request's order.
    #[must_use]
    pub fn of(mut failed: Vec<FailedCondition>) -> Self {
        let count = u32::try_from(failed.len()).unwrap_or(u32::MAX);
        failed.truncate(MAX_NAMED);
        Self {
            count,
            failed,
            message: String::new(),
        }
    }

    /// Adds the detail to those of a status.
    #[must_use]
    pub fn add_to_details(&self, details: &[u8]) -> Bytes {
        let any = Any {
            type_url: TYPE_URL.to_owned(),
            value: self.encode_to_vec(),
        };
        let mut with = details.to_vec();
        with.extend(Details { details: vec![any] }.encode_to_vec());
        with.into()
    }

    /// Finds the detail among those of a status.
    #[must_use]
    pub fn from_details(details: &[u8]) -> Option<Self> {
        let details = Details::decode(details).ok()?.details;
        let any = details.into_iter().find(|any| any.type_url == TYPE_URL)?;
        Self::decode(&*any.value).ok()
    }
}
