//! Lists the committed offsets of a group, page by page.

use super::calls::unknown;
use crate::{
    broker::{Broker, Error, TopicFilter},
    catalog::{
        Topic,
        groups::{Committed, Place},
    },
    types::{GroupName, PartitionId, TopicName, limits::FETCHED_BYTES_PER_PAGE},
};

/// What an offset takes in a page beside its metadata and its topic's name, roughly.
const OFFSET_BYTES: usize = 48;

/// Which committed offsets to list.
#[derive(Clone, Debug)]
pub(crate) struct FetchOffsets {
    pub(crate) group: String,
    /// Only those of this topic.
    pub(crate) topic: Option<String>,
    /// Only those of partitions that sort behind this one, by topic name and number.
    pub(crate) after: Option<(String, PartitionId)>,
    /// At most so many.
    pub(crate) most: usize,
    /// Only those of topics that the caller may see.
    pub(crate) among: TopicFilter,
}

/// A committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FetchedOffset {
    pub(crate) topic: TopicName,
    pub(crate) place: Place,
    pub(crate) committed: Committed,
}

/// The first partition of a topic that sorts behind `after`, if the topic can have one.
pub(super) fn first_behind(
    after: Option<&(String, PartitionId)>,
    topic: &TopicName,
) -> Option<PartitionId> {
    match after {
        Some((after, _)) if topic.as_str() < after.as_str() => None,
        Some((after, partition)) if topic.as_str() == after.as_str() => {
            partition.0.checked_add(1).map(PartitionId)
        }
        _ => Some(PartitionId(0)),
    }
}

impl FetchOffsets {
    /// Whether offsets of this topic are listed.
    fn is_about(&self, topic: &Topic) -> bool {
        let name = topic.name.as_str();
        self.topic.as_ref().is_none_or(|only| only == name) && self.among.has(name)
    }
}

impl FetchedOffset {
    fn bytes(&self) -> usize {
        OFFSET_BYTES + self.topic.as_str().len() + self.committed.metadata.len()
    }
}

impl Broker {
    /// A page of a group's committed offsets, by topic name and partition; and whether there are
    /// more.
    pub(crate) fn committed_offsets(
        &self,
        fetch: &FetchOffsets,
    ) -> Result<(Vec<FetchedOffset>, bool), Error> {
        let group = GroupName::new(&fetch.group)?;
        if let Some(topic) = &fetch.topic {
            self.shared.partitions.topics().find(topic)?;
        }
        let applied = self.shared.sequencer.applied();
        let found = applied.groups().get(&group);
        let offsets = &found.ok_or_else(|| unknown(&group))?.state().offsets;
        let (mut page, mut bytes) = (Vec::new(), 0);
        for topic in applied.topics().iter() {
            let first = first_behind(fetch.after.as_ref(), &topic.name);
            let Some(first) = first.filter(|_| fetch.is_about(topic)) else {
                continue;
            };
            let rest = (topic.id, first)..=(topic.id, PartitionId(u32::MAX));
            for (place, committed) in offsets.range(rest) {
                if page.len() >= fetch.most || bytes >= FETCHED_BYTES_PER_PAGE {
                    return Ok((page, true));
                }
                let fetched = FetchedOffset {
                    topic: topic.name.clone(),
                    place: *place,
                    committed: committed.clone(),
                };
                bytes += fetched.bytes();
                page.push(fetched);
            }
        }
        Ok((page, false))
    }
}
