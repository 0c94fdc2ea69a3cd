//! Conditions of appends, and those that do not hold.

use bytes::Bytes;

use super::Append;
use crate::{
    proto::{
        self, Condition, Conflict, KeyCondition, PartitionCondition, condition::About,
        key_condition::State,
    },
    types::{Offset, PartitionId, TopicId, Version},
};

/// Conditions under which a request is appended. They may be about entities and topics that the
/// request does not write to; a request may have 1,000 of them.
impl Append {
    /// The entity's latest record must have this version; with [`Version::NONE`], the entity must
    /// never have had a record.
    pub fn expect_version(self, topic: &str, key: impl AsRef<[u8]>, version: Version) -> Self {
        self.expect_key(topic, key.as_ref(), State::Version(version.0))
    }

    /// The entity must never have had a record. An entity that was erased, trimmed or ended by a
    /// tombstone has had some.
    pub fn expect_absent(self, topic: &str, key: impl AsRef<[u8]>) -> Self {
        self.expect_key(topic, key.as_ref(), State::Absent(true))
    }

    /// The entity must have had a record.
    pub fn expect_exists(self, topic: &str, key: impl AsRef<[u8]>) -> Self {
        self.expect_key(topic, key.as_ref(), State::Exists(true))
    }

    /// The partition's next record must get this offset.
    pub fn expect_next_offset(self, topic: &str, partition: PartitionId, offset: Offset) -> Self {
        let condition = PartitionCondition {
            partition: partition.0,
            next_offset: offset.0,
        };
        self.expect(topic, About::Partition(condition))
    }

    /// All conditions so far on this topic must be met by the topic with this id; otherwise the
    /// append fails with `TOPIC_RECREATED`. A topic that was deleted and created again begins with
    /// new offsets and versions, and could meet conditions by chance that were meant for the old
    /// one.
    pub fn of_topic_id(mut self, topic: &str, id: TopicId) -> Self {
        for condition in &mut self.conditions {
            if condition.topic == topic {
                condition.topic_id = id.to_string();
            }
        }
        self
    }

    fn expect_key(self, topic: &str, key: &[u8], state: State) -> Self {
        self.expect(
            topic,
            About::Key(KeyCondition {
                key: Bytes::copy_from_slice(key),
                state: Some(state),
            }),
        )
    }

    fn expect(mut self, topic: &str, about: About) -> Self {
        self.conditions.push(Condition {
            topic: topic.to_owned(),
            about: Some(about),
            topic_id: String::new(),
        });
        self
    }
}

/// A condition that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailedCondition {
    /// Its index among the conditions of the append.
    pub index: usize,
    /// What was found instead.
    pub actual: Actual,
}

/// What was found. It is durable, and never older than what an earlier answer has said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actual {
    /// The version of the entity's latest record; [`Version::NONE`] if it never had one.
    Version(Version),
    /// The offset that the partition's next record will get.
    NextOffset(Offset),
}

impl FailedCondition {
    pub(super) fn of(conflict: &Conflict) -> Vec<Self> {
        conflict.failed.iter().filter_map(Self::named).collect()
    }

    fn named(failed: &proto::FailedCondition) -> Option<Self> {
        let actual = match failed.actual? {
            proto::failed_condition::Actual::Version(version) => Actual::Version(Version(version)),
            proto::failed_condition::Actual::NextOffset(next) => Actual::NextOffset(Offset(next)),
        };
        Some(Self {
            index: usize::try_from(failed.index).ok()?,
            actual,
        })
    }
}
