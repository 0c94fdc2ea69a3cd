//! How large the responses of a read may be: what its client takes.

use bytes::Bytes;

use super::{Error, fetched::Most, state::PartitionRef};
use crate::types::{Offset, RecordView, Records, limits};

/// What is left free in a response of several records for what is around them: the names of a topic
/// and of fields, offsets, lengths. A record by itself is measured with what is around it.
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

    /// As much as goes into one response; a record that is larger goes by itself.
    pub(super) fn most(self) -> Most {
        Most {
            bytes: limits::MAX_RESPONSE_BYTES.min(self.0 - AROUND_RECORDS),
            ..Most::RESPONSE
        }
    }

    /// Checks the size of an encoded response with these records of a partition.
    ///
    /// # Errors
    ///
    /// If the client takes less. It is one record then.
    pub(super) fn check(
        self,
        bytes: usize,
        at: &PartitionRef,
        records: &[Bytes],
    ) -> Result<(), Error> {
        let Some(first) = records.first() else {
            return Ok(());
        };
        match Records::new(first).next() {
            Some(Ok((_, record))) => self.check_record(bytes, at, record),
            _ => Ok(()),
        }
    }

    /// Checks the size of an encoded response with one record.
    pub(super) fn check_record(
        self,
        bytes: usize,
        at: &PartitionRef,
        record: &[u8],
    ) -> Result<(), Error> {
        if bytes <= self.0 {
            return Ok(());
        }
        let record = RecordView::parse(record).expect("the broker has stored it");
        Err(Error::RecordExceedsResponse {
            topic: at.topic.name.as_str().to_owned(),
            partition: at.partition().id,
            offset: Offset(record.offset.expect("every stored record has its offset")),
            bytes,
            limit: self.0,
        })
    }
}

impl Default for ResponseLimit {
    fn default() -> Self {
        Self(limits::RESPONSE_LIMIT_BYTES)
    }
}
