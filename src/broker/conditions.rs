//! Conditions of appends.

use bytes::Bytes;

use super::Meant;
use crate::types::{Offset, PartitionId, TopicId, Version};

/// A condition that must hold at the moment when the append is ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    pub(crate) topic: String,
    /// The topic's id, if the topic must have that id.
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

    /// A copy to report, with its own key, shortened if long: a slice would keep the whole request
    /// in memory.
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

/// The most bytes of a key that are reported: the text of a status has no room for more.
const TOLD_KEY_BYTES: usize = 1 << 10;

/// What a condition expects.
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
    /// The condition's index in the request.
    pub(crate) index: usize,
    pub(crate) condition: Condition,
    pub(crate) actual: Actual,
}

/// What was found instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Actual {
    Version(Version),
    NextOffset(Offset),
}
