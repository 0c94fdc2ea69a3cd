//! How far a producer has come in a partition.

use super::{Offset, PartitionId, TopicId};

/// Where a batch is stored: what its producer is told when it sends the batch again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StoredBatch {
    pub(crate) base: Offset,
    /// How many records, at least one.
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
    /// The batches before that one that are remembered, without gaps, the last of them last.
    pub(crate) stored: Vec<StoredBatch>,
}
