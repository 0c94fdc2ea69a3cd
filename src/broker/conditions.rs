//! What must hold for an append to happen.

use bytes::Bytes;

use super::Meant;
use crate::types::{Offset, PartitionId, TopicId, Version};

/// Something that must hold when the append takes its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    pub(crate) topic: String,
    /// The topic's id, if it must be that one.
    pub(crate) topic_id: Option<TopicId>,
    pub(crate) expected: Expected,
}

impl Condition {
    pub(crate) fn meant(&self) -> Meant<'_> {
        Meant {
            name: &self.topic,
            id: self.topic_id,
        }
    }

    /// The same to be told, with a key of its own: a slice would keep the request that it came in.
    /// Of a long key it is the beginning.
    pub(crate) fn told(&self) -> Self {
        let told = |key: &Bytes| Bytes::copy_from_slice(&key[..key.len().min(TOLD_KEY_BYTES)]);
        Self {
            expected: match &self.expected {
                Expected::KeyAbsent { key } => Expected::KeyAbsent { key: told(key) },
                Expected::KeyExists { key } => Expected::KeyExists { key: told(key) },
                Expected::KeyAt { key, version } => Expected::KeyAt {
                    key: told(key),
                    version: *version,
                },
                expected @ Expected::PartitionAt { .. } => expected.clone(),
            },
            ..self.clone()
        }
    }
}

/// How much of a key is told at most: a status has no longer text.
const TOLD_KEY_BYTES: usize = 1 << 10;

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
