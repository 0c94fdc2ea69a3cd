//! What an append expects, and what was there instead.

use bytes::Bytes;

use super::Append;
use crate::{
    proto::{
        self, Condition, Conflict, KeyCondition, PartitionCondition, condition::About,
        key_condition::State,
    },
    types::{Offset, PartitionId, TopicId, Version},
};

/// What is appended only if something holds. Conditions may be about entities and topics that are
/// not written; a request may have 1,000 of them.
impl Append {
    /// Only if the entity's latest record has this version; [`Version::NONE`]: if it has never had
    /// a record.
    pub fn expect_version(self, topic: &str, key: impl AsRef<[u8]>, version: Version) -> Self {
        self.expect_key(topic, key.as_ref(), State::Version(version.0))
    }

    /// Only if the entity has never had a record. One that has been erased or trimmed, or ended by
    /// a tombstone, had some.
    pub fn expect_absent(self, topic: &str, key: impl AsRef<[u8]>) -> Self {
        self.expect_key(topic, key.as_ref(), State::Absent(true))
    }

    /// Only if the entity has had a record.
    pub fn expect_exists(self, topic: &str, key: impl AsRef<[u8]>) -> Self {
        self.expect_key(topic, key.as_ref(), State::Exists(true))
    }

    /// Only if this is the offset that the partition's next record gets.
    pub fn expect_next_offset(self, topic: &str, partition: PartitionId, offset: Offset) -> Self {
        let condition = PartitionCondition {
            partition: partition.0,
            next_offset: offset.0,
        };
        self.expect(topic, About::Partition(condition))
    }

    /// What is expected so far of this topic is expected of the one with this id; else
    /// `TOPIC_RECREATED`. A topic that was deleted and created anew under its name begins its
    /// offsets and versions anew, and could fulfil by chance what was meant for the other.
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
    /// Its place among the conditions of the append, from 0.
    pub index: usize,
    /// What is the case instead.
    pub actual: Actual,
}

/// What is the case: durable, and not less than what any answer has said before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actual {
    /// The version of the entity's latest record; [`Version::NONE`]: it has never had one.
    Version(Version),
    /// The offset that the partition's next record gets.
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
