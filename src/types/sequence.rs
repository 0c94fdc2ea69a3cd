//! How far a producer has come in a partition.

use super::{Offset, PartitionId, TopicId};

/// Where a batch is stored. The producer gets this answer again if it repeats the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StoredBatch {
    pub(crate) base: Offset,
    /// How many records the batch has, at least one.
    pub(crate) count: u32,
    pub(crate) append_time_ms: i64,
}

/// What is known of a producer in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sequence {
    pub(crate) topic: TopicId,
    pub(crate) partition: PartitionId,
    /// The sequence of the producer's next batch.
    pub(crate) next: u64,
    /// The remembered batches before `next`: consecutive, oldest first.
    pub(crate) stored: Vec<StoredBatch>,
}
