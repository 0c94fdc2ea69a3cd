//! Creating, deleting, altering, trimming and describing topics.

use std::{collections::BTreeMap, pin::pin, sync::Arc};

use super::{
    Broker, Compaction, Error, Pending, Scrubbed, Shared,
    compaction::Problem,
    lock,
    partition_count::Counted,
    retention::held_before,
    sequencer::refusable,
    state::{PartitionRef, Topic},
};
use crate::{
    catalog::{Change, Refusal, altered},
    types::{Offset, PartitionId, RetentionHold, TopicId, TopicName, TopicSettings, limits},
};

/// A topic as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TopicDescription {
    pub(crate) name: TopicName,
    pub(crate) id: TopicId,
    pub(crate) partitions: u32,
    pub(crate) settings: TopicSettings,
}

/// The topic that a request means: the one with this name, provided that it has this id.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meant<'a> {
    pub(crate) name: &'a str,
    /// `None` for whichever topic has the name.
    pub(crate) id: Option<TopicId>,
}

impl<'a> From<&'a str> for Meant<'a> {
    fn from(name: &'a str) -> Self {
        Self { name, id: None }
    }
}

/// A partition as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartitionDescription {
    pub(crate) partition: PartitionId,
    pub(crate) earliest: Offset,
    pub(crate) high_watermark: Offset,
    pub(crate) segments: u32,
    pub(crate) bytes: u64,
    /// The size of its records without compression.
    pub(crate) uncompressed_bytes: u64,
    /// Why it could not be compressed when it was last tried.
    pub(crate) compression_problem: Option<Problem>,
    /// How far it is compacted; `None` if its topic is not compacted.
    pub(crate) compaction: Option<Compaction>,
    /// How far it is verified; `None` if scrubbing is off.
    pub(crate) scrubbed: Option<Scrubbed>,
}

impl Broker {
    /// Creates a topic. If partitions of deleted topics take its room, waits until they are gone,
    /// or until `patience` resolves.
    pub(crate) async fn create_topic_in_time(
        &self,
        name: &str,
        partitions: u32,
        settings: &BTreeMap<String, String>,
        patience: impl Future<Output = ()>,
    ) -> Result<TopicDescription, Error> {
        let mut patience = pin!(patience);
        loop {
            let freed = self.shared.partitions.count.freed();
            let refused = match self.create_topic(name, partitions, settings) {
                Err(error @ Error::DeletedPartitionsRemain { .. }) => error,
                created => return created?.await,
            };
            self.shared.maintenance.housekeeping.ask_for_checkpoint();
            tokio::select! {
                () = freed => {}
                () = &mut patience => return Err(refused),
            }
        }
    }

    /// Creates a topic. 0 partitions means one.
    pub(crate) fn create_topic(
        &self,
        name: &str,
        partitions: u32,
        settings: &BTreeMap<String, String>,
    ) -> Result<Pending<TopicDescription>, Error> {
        let name = TopicName::new(name)?;
        let partitions = partitions.max(1);
        if partitions > limits::MAX_PARTITIONS_PER_TOPIC {
            return Err(Error::InvalidPartitionCount { partitions });
        }
        let settings = altered(&TopicSettings::default(), settings, &[])?;
        let shared = &self.shared;
        shared.health.check_room()?;
        shared.allow_compression(&settings)?;
        let mut planned = shared.sequencer.planned();
        let most = shared.partitions.count.most();
        if let Err(refusal) = planned.decide_create(&name, partitions, most) {
            return match refusal {
                Refusal::TooManyPartitions { existing } => Err(Error::TooManyPartitions {
                    existing,
                    asked: partitions,
                    most,
                }),
                _ => shared.sequencer.refuse_durably(Error::TopicExists {
                    topic: name.to_string(),
                }),
            };
        }
        let existing = planned.topics().partitions();
        let counted = shared.count_new(existing, partitions)?;
        let created = TopicDescription {
            name,
            id: TopicId(shared.env.random.next_u64()),
            partitions,
            settings,
        };
        let change = Change::Create {
            topic: created.id,
            seed: shared.env.random.next_u64(),
            name: created.name.clone(),
            partitions,
            settings: created.settings.clone(),
        };
        let (mut commit, pending) = refusable(change, move || Ok(created));
        commit.counted = Some(Arc::new(counted));
        shared.sequencer.plan_commit(&mut planned, commit)?;
        Ok(pending)
    }

    /// Deletes a topic and all its records.
    pub(crate) fn delete_topic(&self, name: &str) -> Result<Pending<()>, Error> {
        let shared = &self.shared;
        let topic = shared.partitions.topics().find(name)?;
        // Waits for appends that are being queued.
        let mut open = topic.open.write();
        let mut planned = shared.sequencer.planned();
        if planned.decide_topic(topic.id).is_err() {
            return shared.sequencer.refuse_durably(unknown(&topic));
        }
        let change = Change::Delete { topic: topic.id };
        let queued = shared
            .sequencer
            .plan_refusable(&mut planned, change, || Ok(()))?;
        *open = None;
        Ok(queued)
    }

    /// Raises the number of partitions of a topic with plain keys to this number. Keys may belong
    /// to other partitions from then on.
    pub(crate) fn add_partitions(
        &self,
        topic: Meant<'_>,
        partitions: u32,
    ) -> Result<Pending<TopicDescription>, Error> {
        if partitions > limits::MAX_PARTITIONS_PER_TOPIC {
            return Err(Error::InvalidPartitionCount { partitions });
        }
        let shared = &self.shared;
        let topic = shared.partitions.topics().find_meant(topic)?;
        shared.health.check_room()?;
        let mut planned = shared.sequencer.planned();
        let most = shared.partitions.count.most();
        let added = match planned.decide_add_partitions(topic.id, partitions, most) {
            Ok(added) => added,
            Err(refusal) => return shared.refuse_partitions(&topic, partitions, refusal),
        };
        let described = TopicDescription {
            partitions,
            ..describe(&topic)
        };
        if added == 0 {
            return shared.sequencer.queue_barrier(move || Ok(described));
        }
        let existing = planned.topics().partitions();
        let counted = shared.count_new(existing, added)?;
        let change = Change::AddPartitions {
            topic: topic.id,
            partitions,
        };
        let (mut commit, pending) = refusable(change, move || Ok(described));
        commit.counted = Some(Arc::new(counted));
        shared.sequencer.plan_commit(&mut planned, commit)?;
        Ok(pending)
    }

    /// Changes settings of a topic, all or none.
    pub(crate) fn alter_topic(
        &self,
        name: &str,
        set: &BTreeMap<String, String>,
        reset: &[String],
    ) -> Result<Pending<TopicDescription>, Error> {
        let shared = &self.shared;
        let topic = shared.partitions.topics().find(name)?;
        if let Some(both) = reset.iter().find(|name| set.contains_key(*name)) {
            let reason = format!("setting {both:?} is both in `set` and in `reset`; name it once");
            return Err(Error::MalformedRequest { reason });
        }
        // Errors in the settings are reported below.
        if let Ok(settings) = altered(&topic.settings(), set, reset) {
            shared.allow_compression(&settings)?;
        }
        // Waits for appends that are being queued.
        let mut open = topic.open.write();
        let mut planned = shared.sequencer.planned();
        let settings = match planned.decide_alter(topic.id, set, reset) {
            Ok(settings) => settings,
            Err(Refusal::Setting(error)) => return Err(error.into()),
            Err(_) => return shared.sequencer.refuse_durably(unknown(&topic)),
        };
        let described = TopicDescription {
            settings: settings.clone(),
            ..describe(&topic)
        };
        let appends = settings.appends;
        let change = Change::Alter {
            topic: topic.id,
            settings,
        };
        if *open == Some(appends) {
            return shared
                .sequencer
                .plan_refusable(&mut planned, change, move || Ok(described));
        }
        // Appends that are queued behind it rely on it.
        let queued = shared
            .sequencer
            .plan(&mut planned, change, move || Ok(described))?;
        *open = Some(appends);
        Ok(queued)
    }

    /// Deletes the records of a partition before an offset, unless a group holds some of them;
    /// answers with the new start of the log.
    pub(crate) fn trim<'a>(
        &self,
        topic: impl Into<Meant<'a>>,
        partition: PartitionId,
        before: Offset,
    ) -> Result<Pending<Offset>, Error> {
        self.trim_or_force(topic.into(), partition, before, false)
    }

    /// Deletes the records of a partition before an offset, even if a group holds some of them;
    /// answers with the new start of the log.
    pub(crate) fn force_trim<'a>(
        &self,
        topic: impl Into<Meant<'a>>,
        partition: PartitionId,
        before: Offset,
    ) -> Result<Pending<Offset>, Error> {
        self.trim_or_force(topic.into(), partition, before, true)
    }

    fn trim_or_force(
        &self,
        topic: Meant<'_>,
        partition: PartitionId,
        before: Offset,
        by_force: bool,
    ) -> Result<Pending<Offset>, Error> {
        let shared = &self.shared;
        let topic = shared.partitions.topics().find_meant(topic)?;
        let found = topic.partition(partition)?;
        found.check_end(before)?;
        let mut planned = shared.sequencer.planned();
        let Ok(known) = planned.decide_topic(found.topic.id) else {
            return shared.sequencer.refuse_durably(unknown(&found.topic));
        };
        let is_held = known.settings.retention_hold == RetentionHold::Groups && !by_force;
        if let Some(held) = held_before(&found, before, &planned).filter(|_| is_held) {
            return shared.sequencer.refuse_durably(held);
        }
        let change = Change::Trim {
            topic: found.topic.id,
            partition,
            before,
        };
        let start = move || Ok(lock(&found.partition().log).start());
        shared.sequencer.plan_refusable(&mut planned, change, start)
    }

    /// Describes a topic and its partitions. May read the beginnings of files.
    pub(crate) fn describe_topic(
        &self,
        name: &str,
    ) -> Result<(TopicDescription, Vec<PartitionDescription>), Error> {
        let topic = self.shared.partitions.topics().find(name)?;
        let is_compacted = topic.settings().is_compacted();
        let partitions = (0..topic.partitions.len()).map(|at| {
            let of = PartitionRef {
                topic: Arc::clone(&topic),
                at,
            };
            let compaction = is_compacted.then(|| self.shared.describe_compaction(&of));
            let compression_problem = self.shared.maintenance.compressor.problem(&of);
            let saved = self.shared.partitions.reader(&of).saved_bytes();
            let partition = of.partition();
            let scrubs = &self.shared.maintenance.scrubs;
            let is_scrubbed = self.shared.options.scrub_rate > 0;
            let scrubbed = is_scrubbed.then(|| scrubs.get((topic.id, partition.id)));
            let log = lock(&partition.log);
            let (segments, bytes) = log.size();
            PartitionDescription {
                partition: partition.id,
                earliest: log.start(),
                high_watermark: log.end(),
                segments: u32::try_from(segments).unwrap_or(u32::MAX),
                bytes,
                uncompressed_bytes: bytes + saved,
                compression_problem,
                compaction,
                scrubbed,
            }
        });
        Ok((describe(&topic), partitions.collect()))
    }

    /// At most `limit` topics whose names start with `prefix` and sort behind `after`, by name; and
    /// whether there are more.
    pub(crate) fn list_topics(
        &self,
        prefix: &str,
        after: &str,
        limit: usize,
        is_seen: impl Fn(&str) -> bool,
    ) -> (Vec<TopicDescription>, bool) {
        let topics = self.shared.partitions.topics();
        let mut matching = topics
            .by_name
            .values()
            .filter(|topic| topic.name.as_str() > after && topic.name.as_str().starts_with(prefix))
            .filter(|topic| is_seen(topic.name.as_str()));
        let page = matching.by_ref().take(limit).map(describe).collect();
        (page, matching.next().is_some())
    }
}

impl PartitionRef {
    /// Refuses an offset behind the high watermark.
    pub(super) fn check_end(&self, offset: Offset) -> Result<(), Error> {
        let (earliest, high_watermark) = self.range();
        if offset > high_watermark {
            return Err(Error::OffsetOutOfRange {
                topic: self.topic.name.to_string(),
                partition: self.partition().id,
                offset,
                earliest,
                high_watermark,
            });
        }
        Ok(())
    }

    /// The first offset that has not been trimmed, and the high watermark.
    pub(super) fn range(&self) -> (Offset, Offset) {
        self.partition().range()
    }
}

impl Shared {
    /// Why a topic cannot get more partitions.
    fn refuse_partitions<T: Send + 'static>(
        &self,
        topic: &Topic,
        asked: u32,
        refusal: Refusal,
    ) -> Result<Pending<T>, Error> {
        let name = topic.name.to_string();
        match refusal {
            Refusal::Versioned => Err(Error::VersionedTopic { topic: name }),
            Refusal::FewerPartitions { existing } => {
                let fewer = Error::FewerPartitions {
                    topic: name,
                    partitions: asked,
                    existing,
                };
                self.sequencer.refuse_durably(fewer)
            }
            Refusal::TooManyPartitions { existing } => Err(Error::TooManyPartitions {
                existing,
                asked,
                most: self.partitions.count.most(),
            }),
            _ => self.sequencer.refuse_durably(unknown(topic)),
        }
    }

    /// Counts the partitions of a new topic, if deleted topics leave room for them; `existing` is
    /// how many there are.
    fn count_new(&self, existing: usize, partitions: u32) -> Result<Counted, Error> {
        let count = usize::try_from(partitions).unwrap_or(usize::MAX);
        let counted = self.partitions.count.count_if_room(count);
        counted.ok_or_else(|| Error::DeletedPartitionsRemain {
            remaining: self.partitions.count.get().saturating_sub(existing),
            asked: partitions,
        })
    }
}

fn unknown(topic: &Topic) -> Error {
    Error::UnknownTopic {
        topic: topic.name.to_string(),
    }
}

fn describe(topic: &Arc<Topic>) -> TopicDescription {
    TopicDescription {
        name: topic.name.clone(),
        id: topic.id,
        partitions: topic.partition_count(),
        settings: topic.settings(),
    }
}
