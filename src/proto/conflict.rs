//! The typed detail of a conflict: a `taffrail.v1.Conflict` among the details of a
//! `google.rpc.Status`.
//!
//! Details travel as an encoded `google.rpc.Status` in the trailers of the call, its field 3 a list
//! of `google.protobuf.Any`. As protobuf has it, one more element behind the encoded message is one
//! more in the list, so that nobody has to take apart what is there.
//!
//! Clients take 8 KiB of trailers, and base64 leaves three quarters of that. So that a thousand
//! conditions fit, a condition is two varints in a packed list: how far it is from the one before,
//! which is nearly always one byte, and what is the case. A message for each would have six bytes
//! more.

use bytes::Bytes;
use prost::{Message, encoding::encoded_len_varint};

use super::{Conflict, FailedConditions};

/// What `Any` says that it holds.
const TYPE_URL: &str = "type.googleapis.com/taffrail.v1.Conflict";

/// Bytes of a `Conflict` beside the conditions in it: `count`; two messages with two lists, each
/// behind a tag and a length of two bytes.
const FRAME_BYTES: usize = 1 + 3 + 2 * 3 + 4 * 3;

/// Bytes that [`Conflict::add_to_details`] adds to a `Conflict` below 16 KiB: the type's name,
/// three tags, three lengths.
pub const CONFLICT_DETAIL_BYTES: usize = TYPE_URL.len() + 3 + 1 + 3 + 3;

/// A condition that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailedCondition {
    /// Its place in the request's `conditions`, from 0.
    pub index: u32,
    /// What is the case instead.
    pub actual: Actual,
}

/// What is the case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actual {
    /// The version of the entity's latest record; 0: it has never had one.
    Version(u64),
    /// The offset that the partition's next record gets.
    NextOffset(u64),
}

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
    /// Of these conditions, which are in the request's order: as many of the first as fit into so
    /// many bytes.
    #[must_use]
    pub fn of(failed: &[FailedCondition], most_bytes: usize) -> Self {
        let count = u32::try_from(failed.len()).unwrap_or(u32::MAX);
        let (mut keys, mut partitions) = (List::default(), List::default());
        let mut bytes = FRAME_BYTES;
        for condition in failed {
            let (list, actual) = match condition.actual {
                Actual::Version(version) => (&mut keys, version),
                Actual::NextOffset(next) => (&mut partitions, next),
            };
            bytes += list.bytes_of(condition.index, actual);
            if bytes > most_bytes {
                break;
            }
            list.add(condition.index, actual);
        }
        Self {
            count,
            keys: keys.packed(),
            partitions: partitions.packed(),
        }
    }

    /// The conditions that are named, in the request's order.
    #[must_use]
    pub fn failed(&self) -> Vec<FailedCondition> {
        let keys =
            places(self.keys.as_ref()).map(|(index, version)| (index, Actual::Version(version)));
        let partitions =
            places(self.partitions.as_ref()).map(|(index, next)| (index, Actual::NextOffset(next)));
        let mut failed: Vec<_> = keys
            .chain(partitions)
            .map(|(index, actual)| FailedCondition { index, actual })
            .collect();
        failed.sort_by_key(|failed| failed.index);
        failed
    }

    /// Adds the detail to those of a status.
    #[must_use]
    pub fn add_to_details(&self, details: &[u8]) -> Bytes {
        let any = Any {
            type_url: TYPE_URL.to_owned(),
            value: self.encode_to_vec().into(),
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
        Self::decode(any.value).ok()
    }
}

/// A list that is being filled.
#[derive(Default)]
struct List {
    packed: FailedConditions,
    /// The lowest place that the next condition can have.
    next: u32,
}

impl List {
    fn bytes_of(&self, index: u32, actual: u64) -> usize {
        encoded_len_varint(u64::from(index.saturating_sub(self.next))) + encoded_len_varint(actual)
    }

    fn add(&mut self, index: u32, actual: u64) {
        self.packed.skipped.push(index.saturating_sub(self.next));
        self.packed.actual.push(actual);
        self.next = index.saturating_add(1);
    }

    fn packed(self) -> Option<FailedConditions> {
        (!self.packed.actual.is_empty()).then_some(self.packed)
    }
}

/// The places in a list, each with what is the case; up to where it makes no sense any more.
fn places(list: Option<&FailedConditions>) -> impl Iterator<Item = (u32, u64)> {
    let listed = list
        .into_iter()
        .flat_map(|list| list.skipped.iter().zip(&list.actual));
    listed.scan(Some(0_u32), |next, (skipped, actual)| {
        let index = (*next)?.checked_add(*skipped)?;
        *next = index.checked_add(1);
        Some((index, *actual))
    })
}
