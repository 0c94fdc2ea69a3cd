//! Figures for metrics about topics and background work.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    Broker, Error, lock,
    state::{PartitionRef, Topic},
};
use crate::types::{PartitionId, TopicId, TopicName};

/// The sums over some partitions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) partitions: usize,
    /// The sum of their start offsets.
    pub(crate) start: u64,
    /// The sum of their high watermarks.
    pub(crate) end: u64,
    pub(crate) segments: usize,
    /// The size of all stored records on disk, in bytes.
    pub(crate) bytes: u64,
    /// How many ranges of offsets cannot be read.
    pub(crate) damaged: usize,
}

/// The sums over all topics, and over each of the first ones by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MeasuredTopics {
    pub(crate) all: Extent,
    pub(crate) first: Vec<(TopicName, Extent)>,
    /// How many topics are not listed.
    pub(crate) omitted: usize,
}

/// How many ranges are damaged, by topic and partition.
type Damage = BTreeMap<(TopicId, PartitionId), usize>;

impl Extent {
    fn add(&mut self, other: &Self) {
        self.partitions += other.partitions;
        self.start += other.start;
        self.end += other.end;
        self.segments += other.segments;
        self.bytes += other.bytes;
        self.damaged += other.damaged;
    }
}

impl Broker {
    /// Measures all topics together, and the first `most` of them one by one.
    pub(crate) fn measure_topics(&self, most: usize) -> MeasuredTopics {
        let damage = self.shared.maintenance.scrubs.damage();
        let topics = self.shared.partitions.all_topics();
        let mut all = Extent::default();
        let mut first = Vec::with_capacity(most.min(topics.len()));
        for topic in &topics {
            let mut of_topic = Extent::default();
            for at in 0..topic.partitions.len() {
                of_topic.add(&measure(topic, at, &damage));
            }
            all.add(&of_topic);
            if first.len() < most {
                first.push((topic.name.clone(), of_topic));
            }
        }
        MeasuredTopics {
            all,
            omitted: topics.len() - first.len(),
            first,
        }
    }

    /// Measures the first `most` partitions of a topic.
    pub(crate) fn measure_partitions(
        &self,
        topic: &str,
        most: usize,
    ) -> Result<Vec<(PartitionId, Extent)>, Error> {
        let topic = self.shared.partitions.topics().find(topic)?;
        let damage = self.shared.maintenance.scrubs.damage();
        let mut measured = Vec::new();
        for at in 0..topic.partitions.len().min(most) {
            let id = topic.partitions[at].id;
            measured.push((id, measure(&topic, at, &damage)));
        }
        Ok(measured)
    }

    /// For how long the journal has had entries that no checkpoint covers.
    pub(crate) fn checkpoint_age(&self) -> Duration {
        let shared = &self.shared;
        let checkpoint = &shared.counts.checkpoint;
        match shared.committer.applied() > checkpoint.covered.get() {
            true => {
                let at = Duration::from_millis(checkpoint.at_ms.get());
                let since = at.max(self.opened_at);
                shared.env.clock.elapsed().saturating_sub(since)
            }
            false => Duration::ZERO,
        }
    }
}

fn measure(topic: &Arc<Topic>, at: usize, damage: &Damage) -> Extent {
    let of = PartitionRef {
        topic: Arc::clone(topic),
        at,
    };
    let partition = of.partition();
    let place = (topic.id, partition.id);
    let log = lock(&partition.log);
    let (segments, bytes) = log.size();
    Extent {
        partitions: 1,
        start: log.start().0,
        end: log.end().0,
        segments,
        bytes,
        damaged: damage.get(&place).copied().unwrap_or_default(),
    }
}
