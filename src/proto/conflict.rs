//! The typed detail of a conflict: a `taffrail.v1.Conflict` among the details of a
//! `google.rpc.Status`.
//!
//! The details travel as an encoded `google.rpc.Status` in the trailers of the call; its field 3 is
//! a list of `google.protobuf.Any`. In protobuf, an element that is appended to an encoded message
//! becomes the last element of the list, so the existing details need not be decoded.

use bytes::Bytes;
use prost::Message;
use prost_types::Any;

use super::{Conflict, FailedCondition};

/// The type URL in the `Any`.
const TYPE_URL: &str = "type.googleapis.com/taffrail.v1.Conflict";

/// The most conditions that a conflict names. Each takes 17 bytes at most; all of them take about
/// 2,300 of the 8,192 bytes of trailers that gRPC's C core accepts, on which the clients of many
/// languages are built.
const MAX_NAMED: usize = 100;

/// The part of `google.rpc.Status` that is needed here.
#[derive(Clone, PartialEq, Message)]
struct Details {
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

impl Conflict {
    /// The conflict for these failed conditions, which are in the request's order.
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
