//! What must hold for an append to happen.

use bytes::Bytes;

use crate::types::{Offset, PartitionId, Version};

/// Something that must hold when the append takes its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    pub(crate) topic: String,
    pub(crate) expected: Expected,
}

/// What a condition is about, and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// The entity has never had a record.
    KeyAbsent { key: Bytes },
    /// The entity has had a record.
    KeyExists { key: Bytes },
    /// The entity's latest record has this version.
    KeyAt { key: Bytes, version: Version },
    /// The partition's next record gets this offset.
    PartitionAt {
        partition: PartitionId,
        next: Offset,
    },
}

/// A condition that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FailedCondition {
    /// Its place in the request.
    pub(crate) index: usize,
    pub(crate) condition: Condition,
    pub(crate) actual: Actual,
}

/// What is the case instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Actual {
    Version(Version),
    NextOffset(Offset),
}
