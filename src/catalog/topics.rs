//! Topics: their settings, and the offsets at which the logs of their partitions start.

use std::{collections::BTreeMap, ops::Bound};

use super::groups::{KnownTopics, Place};
use crate::types::{Offset, PartitionId, TopicId, TopicName, TopicSettings};

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Topic {
    pub(crate) id: TopicId,
    /// The seed of the hashes in its key indexes. It is secret from clients, which choose the keys.
    pub(crate) seed: u64,
    pub(crate) name: TopicName,
    pub(crate) settings: TopicSettings,
    /// The first offset of each partition that has not been trimmed.
    pub(crate) starts: Vec<Offset>,
}

/// All topics.
#[derive(Clone, Debug, Default)]
pub(crate) struct Topics {
    by_id: BTreeMap<TopicId, Topic>,
    by_name: BTreeMap<TopicName, TopicId>,
    partitions: usize,
}

impl Topics {
    /// The topic with an id.
    pub(crate) fn get(&self, id: TopicId) -> Option<&Topic> {
        self.by_id.get(&id)
    }

    /// The id of the topic with this name.
    pub(crate) fn named(&self, name: &TopicName) -> Option<TopicId> {
        self.by_name.get(name).copied()
    }

    /// All topics, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Topic> {
        self.by_name.values().filter_map(|id| self.by_id.get(id))
    }

    /// How many topics there are.
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// How many partitions all topics have.
    pub(crate) fn partitions(&self) -> usize {
        self.partitions
    }

    /// Whether this partition exists.
    pub(crate) fn has_partition(&self, topic: TopicId, partition: PartitionId) -> bool {
        let topic = self.by_id.get(&topic);
        topic.is_some_and(|topic| topic.starts.get(at(partition)).is_some())
    }

    /// The offset at which a partition's log starts; 0 if the partition does not exist.
    pub(crate) fn start(&self, topic: TopicId, partition: PartitionId) -> Offset {
        let topic = self.by_id.get(&topic);
        let start = topic.and_then(|topic| topic.starts.get(at(partition)));
        start.copied().unwrap_or_default()
    }

    /// Adds a topic, unless it exists.
    pub(super) fn add(&mut self, topic: Topic) {
        if self.by_id.contains_key(&topic.id) {
            return;
        }
        self.partitions += topic.starts.len();
        self.by_name.insert(topic.name.clone(), topic.id);
        self.by_id.insert(topic.id, topic);
    }

    /// Removes a topic; returns false if it does not exist.
    pub(super) fn remove(&mut self, id: TopicId) -> bool {
        let Some(topic) = self.by_id.remove(&id) else {
            return false;
        };
        self.partitions -= topic.starts.len();
        self.by_name.remove(&topic.name);
        true
    }

    /// Changes a topic's settings.
    pub(super) fn alter(&mut self, id: TopicId, settings: &TopicSettings) {
        if let Some(topic) = self.by_id.get_mut(&id) {
            topic.settings = settings.clone();
        }
    }

    /// Raises a topic's number of partitions, unless it has more already.
    pub(super) fn add_partitions(&mut self, id: TopicId, partitions: u32) {
        let count = usize::try_from(partitions).unwrap_or(usize::MAX);
        if let Some(topic) = self.by_id.get_mut(&id)
            && topic.starts.len() < count
        {
            self.partitions += count - topic.starts.len();
            topic.starts.resize(count, Offset::ZERO);
        }
    }

    /// Raises the start of a partition's log, unless it starts later already.
    pub(super) fn trim(&mut self, id: TopicId, partition: PartitionId, before: Offset) {
        let topic = self.by_id.get_mut(&id);
        if let Some(start) = topic.and_then(|topic| topic.starts.get_mut(at(partition))) {
            *start = before.max(*start);
        }
    }
}

impl KnownTopics for Topics {
    fn named(&self, name: &TopicName) -> Option<(TopicId, u32)> {
        let topic = self.by_id.get(self.by_name.get(name)?)?;
        Some((topic.id, topic.partitions()))
    }

    fn with_prefix(&self, prefix: &str, found: &mut dyn FnMut(TopicId, u32)) {
        for (name, id) in self
            .by_name
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
        {
            if !name.as_str().starts_with(prefix) {
                break;
            }
            if let Some(topic) = self.by_id.get(id) {
                found(*id, topic.partitions());
            }
        }
    }

    fn has(&self, (topic, partition): Place) -> bool {
        self.has_partition(topic, partition)
    }
}

impl Topic {
    /// How many partitions it has.
    pub(crate) fn partitions(&self) -> u32 {
        u32::try_from(self.starts.len()).unwrap_or(u32::MAX)
    }
}

fn at(partition: PartitionId) -> usize {
    usize::try_from(partition.0).unwrap_or(usize::MAX)
}
