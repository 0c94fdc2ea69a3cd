//! Creating, deleting, altering, trimming and describing topics.

use std::{
    collections::BTreeMap,
    pin::pin,
    sync::{Arc, PoisonError},
};

use super::{
    Broker, Error, Pending, Shared,
    commit::{Commit, Undo},
    lock,
    pending::pending,
    state::{PartitionRef, Topic},
};
use crate::{
    catalog::Change,
    storage::format::entry::Item,
    types::{Offset, PartitionId, SettingError, TopicId, TopicName, TopicSettings, limits},
};

/// A topic as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TopicDescription {
    pub(crate) name: TopicName,
    pub(crate) id: TopicId,
    pub(crate) partitions: u32,
    pub(crate) settings: TopicSettings,
}

/// The topic that a request means: the one of this name, if it still is the one with this id.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meant<'a> {
    pub(crate) name: &'a str,
    /// None: whichever has the name.
    pub(crate) id: Option<TopicId>,
}

impl<'a> From<&'a str> for Meant<'a> {
    fn from(name: &'a str) -> Self {
        Self { name, id: None }
    }
}

/// A partition as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PartitionDescription {
    pub(crate) partition: PartitionId,
    pub(crate) earliest: Offset,
    pub(crate) high_watermark: Offset,
    pub(crate) segments: u32,
    pub(crate) bytes: u64,
}

impl Broker {
    /// Creates a topic. Where partitions of deleted topics take its room, it waits until they are
    /// gone, or `patience` ends.
    pub(crate) async fn create_topic_in_time(
        &self,
        name: &str,
        partitions: u32,
        settings: &BTreeMap<String, String>,
        patience: impl Future<Output = ()>,
    ) -> Result<TopicDescription, Error> {
        let mut patience = pin!(patience);
        loop {
            let freed = self.shared.partition_count.freed();
            let refused = match self.create_topic(name, partitions, settings) {
                Err(error @ Error::DeletedPartitionsRemain { .. }) => error,
                created => return created?.await,
            };
            self.shared.housekeeping.ask_for_checkpoint();
            tokio::select! {
                () = freed => {}
                () = &mut patience => return Err(refused),
            }
        }
    }

    /// Creates a topic. 0 partitions stand for one.
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
        let settings = with(TopicSettings::default(), settings, &[])?;
        self.shared.check_room()?;
        if !self.shared.reserve(&name, partitions)? {
            return self.shared.refuse_durably(Error::TopicExists {
                topic: name.to_string(),
            });
        }
        let id = TopicId(self.shared.env.random.next_u64());
        let seed = self.shared.env.random.next_u64();
        let change = Change::Create {
            topic: id,
            seed,
            name: name.clone(),
            partitions,
            settings: settings.clone(),
        };
        let created = TopicDescription {
            name: name.clone(),
            id,
            partitions,
            settings,
        };
        let undo = {
            let name = name.clone();
            Box::new(move |shared: &Shared| shared.release(&name, partitions))
        };
        let created = move || Ok(created);
        let queued = self.shared.queue_undoable(change, undo, created);
        if queued.is_err() {
            self.shared.release(&name, partitions);
        }
        queued
    }

    /// Deletes a topic and all its records.
    pub(crate) fn delete_topic(&self, name: &str) -> Result<Pending<()>, Error> {
        let topic = self.shared.topics().find(name)?;
        let mut closing = topic
            .closing
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if *closing {
            return self.shared.refuse_durably(Error::UnknownTopic {
                topic: name.to_owned(),
            });
        }
        let undo = {
            let topic = Arc::clone(&topic);
            Box::new(move |_: &Shared| {
                let closing = topic.closing.write();
                *closing.unwrap_or_else(PoisonError::into_inner) = false;
            })
        };
        let change = Change::Delete { topic: topic.id };
        let queued = self.shared.queue_undoable(change, undo, || Ok(()));
        *closing = queued.is_ok();
        queued
    }

    /// Changes settings of a topic, all or none.
    pub(crate) fn alter_topic(
        &self,
        name: &str,
        set: &BTreeMap<String, String>,
        reset: &[String],
    ) -> Result<Pending<TopicDescription>, Error> {
        let topic = self.shared.topics().find(name)?;
        if let Some(both) = reset.iter().find(|name| set.contains_key(*name)) {
            let reason = format!("setting {both:?} is both in `set` and in `reset`; name it once");
            return Err(Error::MalformedRequest { reason });
        }
        let closing = topic.closing.read().unwrap_or_else(PoisonError::into_inner);
        if *closing {
            return self.shared.refuse_durably(Error::UnknownTopic {
                topic: name.to_owned(),
            });
        }
        let mut planned = lock(&topic.planned);
        let settings = with(planned.clone(), set, reset)?;
        if settings.keys != planned.keys {
            return Err(SettingError::Fixed { name: "keys" }.into());
        }
        let described = TopicDescription {
            settings: settings.clone(),
            ..describe(&topic)
        };
        let change = Change::Alter {
            topic: topic.id,
            settings: settings.clone(),
        };
        let undo = {
            let topic = Arc::clone(&topic);
            // All other changes that are queued are taken back as well.
            Box::new(move |_: &Shared| *lock(&topic.planned) = topic.settings())
        };
        let described = move || Ok(described);
        let queued = self.shared.queue_undoable(change, undo, described)?;
        *planned = settings;
        Ok(queued)
    }

    /// Deletes the records of a partition before an offset; answers with the log's start.
    pub(crate) fn trim<'a>(
        &self,
        topic: impl Into<Meant<'a>>,
        partition: PartitionId,
        before: Offset,
    ) -> Result<Pending<Offset>, Error> {
        let found = self
            .shared
            .topics()
            .find_meant(topic.into())?
            .partition(partition)?;
        let (earliest, high_watermark) = found.range();
        if before > high_watermark {
            return Err(Error::OffsetOutOfRange {
                topic: found.topic.name.to_string(),
                partition,
                offset: before,
                earliest,
                high_watermark,
            });
        }
        let change = Change::Trim {
            topic: found.topic.id,
            partition,
            before,
        };
        let start = move || Ok(lock(&found.partition().log).start());
        self.shared
            .queue_undoable(change, Box::new(|_: &Shared| {}), start)
    }

    /// Describes a topic and its partitions.
    pub(crate) fn describe_topic(
        &self,
        name: &str,
    ) -> Result<(TopicDescription, Vec<PartitionDescription>), Error> {
        let topic = self.shared.topics().find(name)?;
        let partitions = topic.partitions.iter().map(|partition| {
            let log = lock(&partition.log);
            let (segments, bytes) = log.size();
            PartitionDescription {
                partition: partition.id,
                earliest: log.start(),
                high_watermark: log.end(),
                segments: u32::try_from(segments).unwrap_or(u32::MAX),
                bytes,
            }
        });
        Ok((describe(&topic), partitions.collect()))
    }

    /// The topics whose names start with `prefix` and sort behind `after`, by name, at most
    /// `limit`; and whether there are more.
    pub(crate) fn list_topics(
        &self,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> (Vec<TopicDescription>, bool) {
        let topics = self.shared.topics();
        let mut matching = topics
            .by_name
            .values()
            .filter(|topic| topic.name.as_str() > after && topic.name.as_str().starts_with(prefix));
        let page = matching.by_ref().take(limit).map(describe).collect();
        (page, matching.next().is_some())
    }
}

impl PartitionRef {
    /// The first offset that has not been trimmed, and the high watermark.
    pub(super) fn range(&self) -> (Offset, Offset) {
        self.partition().range()
    }
}

impl Shared {
    /// Reserves a name and room for the partitions of a new topic; false if the name is taken.
    fn reserve(&self, name: &TopicName, partitions: u32) -> Result<bool, Error> {
        let mut topics = self.topics_mut();
        if topics.by_name.contains_key(name) || topics.reserved.contains_key(name) {
            return Ok(false);
        }
        let (existing, most) = (topics.partitions, self.partition_count.most());
        let count = usize::try_from(partitions).unwrap_or(usize::MAX);
        if existing.saturating_add(count) > most {
            return Err(Error::TooManyPartitions {
                existing,
                asked: partitions,
                most,
            });
        }
        let Some(counted) = self.partition_count.count_if_room(count) else {
            return Err(Error::DeletedPartitionsRemain {
                remaining: self.partition_count.get() - existing,
                asked: partitions,
            });
        };
        topics.partitions += count;
        topics.reserved.insert(name.clone(), Arc::new(counted));
        Ok(true)
    }

    fn release(&self, name: &TopicName, partitions: u32) {
        let mut topics = self.topics_mut();
        topics.reserved.remove(name);
        topics.partitions -= usize::try_from(partitions).unwrap_or(0);
    }

    /// Queues a change; answers when it is durable and applied.
    pub(super) fn queue_change<T: Send + 'static>(
        &self,
        change: Change,
        answer: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<Pending<T>, Error> {
        self.queue_items(vec![Item::Change(change)], None, answer)
    }

    /// The same of a change that is refused where the journal has no room for it, after `undo`.
    fn queue_undoable<T: Send + 'static>(
        &self,
        change: Change,
        undo: Undo,
        answer: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<Pending<T>, Error> {
        self.queue_items(vec![Item::Change(change)], Some(undo), answer)
    }

    /// Refuses a request because of something that may not be durable yet: the refusal waits for
    /// it.
    pub(super) fn refuse_durably<T: Send + 'static>(
        &self,
        error: Error,
    ) -> Result<Pending<T>, Error> {
        // What it tells of may be taken back.
        let undo: Undo = Box::new(|_: &Shared| {});
        self.queue_items(Vec::new(), Some(undo), move || Err(error))
            .map(Pending::refused)
    }

    pub(super) fn queue_items<T: Send + 'static>(
        &self,
        items: Vec<Item>,
        undo: Option<Undo>,
        answer: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<Pending<T>, Error> {
        let (giver, pending) = pending();
        let done =
            Box::new(move |done: Result<(), Error>| giver.give(done.and_then(|()| answer())));
        self.queue.push(Commit {
            items,
            partitions: Vec::new(),
            sync: true,
            charge: None,
            under_way: None,
            done,
            undo,
        })?;
        Ok(pending)
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

fn with(
    mut settings: TopicSettings,
    set: &BTreeMap<String, String>,
    reset: &[String],
) -> Result<TopicSettings, Error> {
    for (name, value) in set {
        settings.set(name, value)?;
    }
    for name in reset {
        settings.reset(name)?;
    }
    Ok(settings)
}
