//! Appends: what is asked for, what is answered, and the single call.

use bytes::Bytes;

use super::{Batch, Client, Error, status::AtStake};
use crate::{
    proto::{AppendResponse, wire::AppendRequest},
    types::{Offset, PartitionId},
};

/// One atomic commit: one [`Batch`], or several for any number of topics. All of it is stored, or nothing.
///
/// A clone shares the encoded records, so that keeping one to send it again is cheap.
#[derive(Clone, Debug)]
pub struct Append {
    /// Each an encoded `AppendBatch`.
    batches: Vec<Bytes>,
}

impl Append {
    /// How many bytes the batches take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.batches.iter().map(Bytes::len).sum()
    }

    pub(super) fn into_request(self) -> AppendRequest {
        AppendRequest { batches: self.batches }
    }
}

impl From<Batch> for Append {
    fn from(batch: Batch) -> Self {
        Self { batches: vec![batch.into_encoded()] }
    }
}

impl From<Vec<Batch>> for Append {
    fn from(batches: Vec<Batch>) -> Self {
        Self { batches: batches.into_iter().map(Batch::into_encoded).collect() }
    }
}

impl<const N: usize> From<[Batch; N]> for Append {
    fn from(batches: [Batch; N]) -> Self {
        Vec::from(batches).into()
    }
}

/// Where the records of an append are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// For each batch of the append, in order: the runs that its records make up, by partition number. The records of a
    /// partition are in the order they had in the batch.
    pub batches: Vec<Vec<AppendedRange>>,
}

impl Appended {
    /// All runs, batch after batch.
    pub fn ranges(&self) -> impl Iterator<Item = &AppendedRange> {
        self.batches.iter().flatten()
    }
}

/// A run of records in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendedRange {
    /// The partition.
    pub partition: PartitionId,
    /// The offset of the first record; the others follow it without a gap.
    pub first_offset: Offset,
    /// How many records.
    pub count: u32,
    /// When the broker took them, in milliseconds since 1970-01-01T00:00:00Z.
    pub append_time_ms: i64,
}

impl AppendedRange {
    /// The offset behind the last record.
    #[must_use]
    pub fn end(&self) -> Offset {
        self.first_offset.plus(u64::from(self.count))
    }
}

impl From<AppendResponse> for Appended {
    fn from(response: AppendResponse) -> Self {
        let range = |range: crate::proto::AppendedRange| AppendedRange {
            partition: PartitionId(range.partition),
            first_offset: Offset(range.first_offset),
            count: range.count,
            append_time_ms: range.append_time_ms,
        };
        let batches = response.batches.into_iter();
        Self { batches: batches.map(|batch| batch.ranges.into_iter().map(range).collect()).collect() }
    }
}

impl Client {
    /// Appends a batch, or several in one atomic commit, and waits until it is durable.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] and [`Error::Unavailable`]: nothing was stored. [`Error::OutcomeUnknown`]: all was stored, or
    /// nothing.
    pub async fn append(&self, append: impl Into<Append>) -> Result<Appended, Error> {
        let request = append.into().into_request();
        let mut log = self.log.clone();
        let answer = tokio::time::timeout(self.request_timeout, log.append(request)).await;
        match answer {
            Ok(Ok(response)) => Ok(response.into_inner().into()),
            Ok(Err(status)) => Err(Error::from_status(&status, AtStake::Change)),
            Err(_) => Err(Error::timed_out(AtStake::Change)),
        }
    }
}
