//! How large the responses of a read may be: what its client takes.

use super::{Error, fetched::Most, state::PartitionRef};
use crate::types::{Offset, limits};

/// What a response may have around its records, and around each record: the names of a topic and of
/// fields, offsets, lengths.
const AROUND_RECORDS: usize = 1 << 10;

/// The largest encoded response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ResponseLimit(usize);

impl ResponseLimit {
    /// The limit that a client has asked for; 0: the default.
    ///
    /// # Errors
    ///
    /// If it is less than is allowed.
    pub(crate) fn of(bytes: u32) -> Result<Self, Error> {
        match usize::try_from(bytes).unwrap_or(usize::MAX) {
            0 => Ok(Self::default()),
            bytes if bytes < limits::MIN_RESPONSE_LIMIT_BYTES => {
                let least = limits::MIN_RESPONSE_LIMIT_BYTES;
                let reason = format!(
                    "max_response_bytes is {bytes}; at least {least} are needed, and 0 is the default"
                );
                Err(Error::MalformedRequest { reason })
            }
            bytes => Ok(Self(bytes)),
        }
    }

    /// As much as goes into one response.
    pub(super) fn most(self) -> Most {
        Most {
            bytes: limits::MAX_RESPONSE_BYTES.min(self.largest()),
            largest: self.largest(),
            ..Most::RESPONSE
        }
    }

    /// The largest record that goes into a response, with its length and what is around it.
    pub(super) fn largest(self) -> usize {
        self.0 - AROUND_RECORDS
    }
}

/// That a record of a partition goes into no response, where the largest is so large.
pub(super) fn exceeded(at: &PartitionRef, offset: Offset, bytes: usize, largest: usize) -> Error {
    Error::RecordExceedsResponse {
        topic: at.topic.name.as_str().to_owned(),
        partition: at.partition().id,
        offset,
        bytes: bytes + AROUND_RECORDS,
        limit: largest + AROUND_RECORDS,
    }
}

impl Default for ResponseLimit {
    fn default() -> Self {
        Self(limits::RESPONSE_LIMIT_BYTES)
    }
}
