//! What a broker has of topics and partitions beside what the catalog says of them: logs, locks,
//! and whoever waits. It follows the applied catalog, and this is the one way in which both change.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
};

use tokio::sync::watch;

use super::{
    Error, Meant, Shared,
    erasure::{Masks, Notices},
    keys::{Files, KeyIndex},
    lock,
    partition_count::Counted,
    partitions::Partitions,
};
use crate::{
    catalog::{self, Change},
    env::{Ordered, OrderedMutex, OrderedRwLock, rank},
    storage::{
        files::FileError,
        format::checkpoint,
        journal::FirstOffsets,
        keys::{hash::KeyHasher, set},
        log::{Identity, Log, LogLock, Writer},
    },
    types::{Keys, Offset, PartitionId, TopicId, TopicName, TopicSettings},
};

/// All topics, by what they are looked up by.
#[derive(Default)]
pub(super) struct Topics {
    pub(super) by_name: BTreeMap<TopicName, Arc<Topic>>,
    by_id: HashMap<TopicId, Arc<Topic>>,
    /// Topics that were deleted since the last checkpoint.
    pub(super) deleted: Vec<DeletedTopic>,
}

/// A topic that was deleted, and has files.
pub(super) struct DeletedTopic {
    pub(super) id: TopicId,
    /// Its partitions count until the files are removed. Nothing if nobody knows how many there
    /// are.
    _counted: Vec<Arc<Counted>>,
}

/// A topic.
pub(super) struct Topic {
    pub(super) id: TopicId,
    pub(super) hasher: KeyHasher,
    pub(super) name: TopicName,
    pub(super) partitions: Partitions,
    /// As the applied catalog has them.
    settings: RwLock<TopicSettings>,
    /// Whether appends may be queued. They hold it while they assign offsets and queue, so that
    /// nothing is queued behind the deletion of the topic. That the deletion is planned the catalog
    /// says too, but an append without a producer does not lock that.
    pub(super) open: OrderedRwLock<bool, rank::Open>,
    /// Moved each time that records have become visible, and when the topic is deleted.
    pub(super) moved: watch::Sender<()>,
    /// What readers that follow are told of erasures.
    pub(super) notices: Notices,
    pub(super) deleted: AtomicBool,
    /// The file that describes the topic does not say all of this.
    pub(super) file_is_stale: AtomicBool,
    /// Where the next batch without keys goes.
    pub(super) rotation: AtomicU32,
    /// Its partitions count as long as it is in memory, which a read may see to after its deletion.
    counted: Mutex<Vec<Arc<Counted>>>,
}

/// A partition.
pub(super) struct Partition {
    pub(super) id: PartitionId,
    /// What the next append gets. Ahead of the log by what is queued.
    pub(super) next: OrderedMutex<Next, rank::Next>,
    pub(super) log: LogLock,
    pub(super) writer: OrderedMutex<Writer, rank::Writer>,
    /// Held by who changes the files of the key index.
    pub(super) upkeep: OrderedMutex<(), rank::Upkeep>,
    /// What readers are not shown although files have it.
    pub(super) masks: RwLock<Masks>,
    /// What lies before this offset is in segments, and a checkpoint says so.
    pub(super) checkpointed: AtomicU64,
    pub(super) is_dirty: AtomicBool,
}

/// What the next append to a partition gets.
pub(super) struct Next {
    pub(super) offset: Offset,
    /// The versions that keys are at, and who has which offsets.
    pub(super) keys: KeyIndex,
    /// Append times never go back.
    pub(super) append_time_ms: i64,
}

const _: () = assert!(
    size_of::<Partition>() <= 520,
    "there may be 20,000 partitions, and most have nothing"
);

/// A partition with its topic.
#[derive(Clone)]
pub(super) struct PartitionRef {
    pub(super) topic: Arc<Topic>,
    pub(super) at: usize,
}

/// Where the logs of a topic come from.
#[derive(Clone, Copy)]
pub(super) enum Logs<'a> {
    /// There are none.
    New,
    /// Cut back to these places; those that are not listed, to nothing.
    Cut(&'a [checkpoint::Partition]),
    /// From their segments, beginning at `starts`. What is not sound from where the journal's
    /// frames begin is applied from there, unless it is before `synced`.
    Scan {
        starts: &'a [Offset],
        synced: &'a [Offset],
        journaled: &'a FirstOffsets,
    },
}

impl PartitionRef {
    pub(super) fn partition(&self) -> &Partition {
        &self.topic.partitions[self.at]
    }

    /// Whether its topic was deleted.
    pub(super) fn is_deleted(&self) -> bool {
        self.topic.deleted.load(Ordering::Acquire)
    }
}

impl Partition {
    /// Where its log starts and ends.
    pub(super) fn range(&self) -> (Offset, Offset) {
        let log = lock(&self.log);
        (log.start(), log.end())
    }

    /// Passes over records up to this offset that are lost, in a start: reading them says so, and
    /// nobody knows which entities they are of.
    pub(super) fn pass_over_lost(&self, end: Offset) {
        let mut next = lock(&self.next);
        let mut log = lock(&self.log);
        if log.end() < end {
            log.apply_loss(end);
            next.keys.lose(end);
            next.offset = end;
        }
    }
}

impl Topic {
    /// What came of reading the topic, unless it has been deleted meanwhile: its files are removed,
    /// so that anything may have come of it, and another topic may have its name.
    pub(super) fn unless_deleted<T>(&self, read: Result<T, Error>) -> Result<T, Error> {
        if self.deleted.load(Ordering::Acquire) {
            return Err(Error::UnknownTopic {
                topic: self.name.to_string(),
            });
        }
        read
    }

    pub(super) fn settings(&self) -> TopicSettings {
        self.settings
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The partition of this number.
    pub(super) fn partition(self: &Arc<Self>, id: PartitionId) -> Result<PartitionRef, Error> {
        let at = usize::try_from(id.0).unwrap_or(usize::MAX);
        if at < self.partitions.len() {
            return Ok(PartitionRef {
                topic: Arc::clone(self),
                at,
            });
        }
        Err(Error::UnknownPartition {
            topic: self.name.to_string(),
            partition: id,
            partitions: self.partition_count(),
        })
    }

    pub(super) fn partition_count(&self) -> u32 {
        u32::try_from(self.partitions.len()).expect("bounded when the topic is created")
    }
}

impl DeletedTopic {
    /// One that an earlier start began to remove.
    pub(super) fn found(id: TopicId) -> Self {
        Self {
            id,
            _counted: Vec::new(),
        }
    }
}

impl Topics {
    pub(super) fn find(&self, name: &str) -> Result<Arc<Topic>, Error> {
        let name = TopicName::new(name)?;
        let found = self.by_name.get(&name).cloned();
        found.ok_or_else(|| Error::UnknownTopic {
            topic: name.to_string(),
        })
    }

    /// The topic that is meant: another one of that name is none.
    pub(super) fn find_meant(&self, meant: Meant<'_>) -> Result<Arc<Topic>, Error> {
        let topic = self.find(meant.name)?;
        match meant.id {
            Some(expected) if expected != topic.id => Err(Error::TopicRecreated {
                topic: topic.name.to_string(),
                expected,
                actual: topic.id,
            }),
            _ => Ok(topic),
        }
    }

    pub(super) fn find_by_id(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.by_id.get(&id)
    }

    /// Adds a topic. If another has its name, that was deleted, by a change that is lost to damage;
    /// its files stay.
    fn insert(&mut self, topic: Arc<Topic>) {
        if let Some(id) = self.by_name.get(&topic.name).map(|other| other.id) {
            self.remove(id);
        }
        self.by_name.insert(topic.name.clone(), Arc::clone(&topic));
        self.by_id.insert(topic.id, topic);
    }

    fn remove(&mut self, id: TopicId) -> Option<Arc<Topic>> {
        let topic = self.by_id.remove(&id)?;
        self.by_name.remove(&topic.name);
        topic.deleted.store(true, Ordering::Release);
        topic.moved.send_replace(());
        Some(topic)
    }
}

impl Shared {
    /// The partition of these numbers, if there is one.
    pub(super) fn find_partition(
        &self,
        topic: TopicId,
        partition: PartitionId,
    ) -> Option<PartitionRef> {
        let topic = self.topics().find_by_id(topic)?.clone();
        topic.partition(partition).ok()
    }

    pub(super) fn topics(&self) -> Ordered<RwLockReadGuard<'_, Topics>> {
        self.topics.read()
    }

    pub(super) fn topics_mut(&self) -> Ordered<RwLockWriteGuard<'_, Topics>> {
        self.topics.write()
    }

    /// Opens a topic of the catalog, unless it is open. `counted` is what counts its partitions, if
    /// they are counted yet.
    pub(super) fn open_topic(
        &self,
        of: &catalog::Topic,
        logs: Logs<'_>,
        counted: Option<Arc<Counted>>,
    ) -> Result<(), FileError> {
        let id = of.id;
        if self.topics().find_by_id(id).is_some() {
            return Ok(());
        }
        let count = of.starts.len();
        let counted = counted.unwrap_or_else(|| Arc::new(self.partition_count.count(count)));
        let hasher = KeyHasher::new(id, of.seed);
        let dir = self.dir.topic(id).into();
        let hasher_of_index = (of.settings.keys == Keys::Versioned).then_some(&hasher);
        let mut partitions = Vec::with_capacity(count);
        for (partition, _) in (0..).zip(&of.starts) {
            let partition = PartitionId(partition);
            partitions.push(self.open_partition(id, partition, &dir, hasher_of_index, logs)?);
        }
        let topic = Arc::new(Topic {
            id,
            hasher,
            name: of.name.clone(),
            partitions: Partitions::new(partitions),
            settings: RwLock::new(of.settings.clone()),
            open: OrderedRwLock::new(true),
            moved: watch::Sender::new(()),
            notices: Notices::default(),
            deleted: AtomicBool::new(false),
            file_is_stale: AtomicBool::new(true),
            rotation: AtomicU32::new(0),
            counted: Mutex::new(vec![counted]),
        });
        self.topics_mut().insert(topic);
        Ok(())
    }

    /// Opens partitions that a topic has got.
    fn open_added(
        &self,
        topic: TopicId,
        count: u32,
        logs: Logs<'_>,
        counted: Option<Arc<Counted>>,
    ) -> Result<(), FileError> {
        let Some(topic) = self.topics().find_by_id(topic).cloned() else {
            return Ok(());
        };
        let known = topic.partition_count();
        if count <= known {
            return Ok(());
        }
        let more = usize::try_from(count - known).unwrap_or(usize::MAX);
        let counted = counted.unwrap_or_else(|| Arc::new(self.partition_count.count(more)));
        lock(&topic.counted).push(counted);
        let dir = self.dir.topic(topic.id).into();
        let is_versioned = topic.settings().keys == Keys::Versioned;
        let hasher = is_versioned.then_some(&topic.hasher);
        let mut added = Vec::with_capacity(more);
        for id in (known..count).map(PartitionId) {
            added.push(self.open_partition(topic.id, id, &dir, hasher, logs)?);
        }
        topic.partitions.add(added);
        topic.file_is_stale.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// The hasher is that of the key index; none where there is none.
    fn open_partition(
        &self,
        topic: TopicId,
        id: PartitionId,
        topic_dir: &Arc<Path>,
        hasher: Option<&KeyHasher>,
        logs: Logs<'_>,
    ) -> Result<Partition, FileError> {
        let identity = Identity {
            topic,
            partition: id,
        };
        let at = usize::try_from(id.0).expect("bounded when the topic is created");
        let dir = Arc::clone(topic_dir);
        let mut log = match logs {
            Logs::New => Log::new(identity, dir),
            Logs::Cut(to) => {
                let to = to.get(at).copied().unwrap_or(checkpoint::Partition::EMPTY);
                Log::cut(identity, dir, to, &self.segments)?
            }
            Logs::Scan {
                starts,
                synced,
                journaled,
            } => {
                let start = starts.get(at).copied().unwrap_or_default();
                let synced = synced.get(at).copied().unwrap_or_default();
                let redo_from = journaled.get(&(topic, id)).map(|first| synced.max(*first));
                let mut log = Log::scan(identity, dir, start, redo_from, &self.segments)?;
                if let Some(hasher) = hasher {
                    let retired = self.whole_retired(&log, hasher)?;
                    log.set_retired_file(retired);
                }
                log
            }
        };
        let files = match (logs, hasher) {
            (Logs::New, _) => Files::none(),
            (Logs::Cut(_) | Logs::Scan { .. }, Some(hasher)) => {
                Arc::new(Files::open(&*self.env.files, &log, hasher)?)
            }
            (Logs::Cut(_) | Logs::Scan { .. }, None) => {
                // A checkpoint that names a file of retired facts goes on doing so until the next
                // one.
                let with_retired = log.retired_file() == 0;
                set::remove_all(&*self.env.files, &log.dir(), with_retired)?;
                log.set_retired_file(0);
                Files::none()
            }
        };
        let keys = KeyIndex::new(log.end(), files);
        let next = Next {
            offset: log.end(),
            keys,
            append_time_ms: log.last_append_time_ms(),
        };
        Ok(Partition {
            id,
            next: OrderedMutex::new(next),
            checkpointed: AtomicU64::new(log.end().0),
            log: LogLock::new(log),
            writer: OrderedMutex::new(Writer::default()),
            upkeep: OrderedMutex::new(()),
            masks: RwLock::default(),
            is_dirty: AtomicBool::new(false),
        })
    }

    /// Applies a durable change: to the catalog, and then to what follows it. The only way in which
    /// either changes, live and in recovery. `counted` is what counts the partitions of a new
    /// topic, if they are counted yet.
    pub(super) fn apply_change(
        &self,
        change: &Change,
        logs: Logs<'_>,
        counted: Option<Arc<Counted>>,
    ) -> Result<(), FileError> {
        if let Change::Group { group, change } = change {
            self.sessions.fence(group, change);
        }
        lock(&self.applied).apply(change, self.env.clock.elapsed());
        match change {
            Change::Create { topic, .. } => {
                let created = lock(&self.applied).topics().get(*topic).cloned();
                if let Some(created) = created {
                    self.open_topic(&created, logs, counted)?;
                    self.note_topics();
                }
            }
            Change::Delete { topic } => {
                lock(&self.planned).settle(change);
                self.close_topic(*topic);
                self.sessions.tell_all();
                self.note_topics();
            }
            Change::Alter { topic, settings } => {
                if let Some(topic) = self.topics().find_by_id(*topic) {
                    let mut altered = topic
                        .settings
                        .write()
                        .unwrap_or_else(PoisonError::into_inner);
                    altered.clone_from(settings);
                    topic.file_is_stale.store(true, Ordering::Relaxed);
                }
            }
            Change::Trim {
                topic,
                partition,
                before,
            } => self.trim_log(*topic, *partition, *before),
            Change::AddPartitions { topic, partitions } => {
                self.open_added(*topic, *partitions, logs, counted)?;
                self.note_topics();
            }
            Change::OpenProducer { .. } | Change::ForgetProducer { .. } => {}
            Change::Group { group, change } => self.tell_sessions(group, change),
            Change::Erase { topic, erasure } => self.hide(*topic, erasure),
            Change::ErasureComplete { id } => self.end_hiding(*id),
        }
        Ok(())
    }

    fn close_topic(&self, id: TopicId) {
        let mut topics = self.topics_mut();
        let removed = topics.remove(id);
        topics.deleted.push(DeletedTopic {
            id,
            _counted: removed.map_or_else(Vec::new, |topic| lock(&topic.counted).clone()),
        });
        drop(topics);
        self.forget_progress();
        self.health.make_room_soon();
    }

    fn trim_log(&self, topic: TopicId, partition: PartitionId, before: Offset) {
        if let Some(found) = self.find_partition(topic, partition) {
            lock(&found.partition().log).trim(before);
            found.topic.file_is_stale.store(true, Ordering::Relaxed);
        }
        self.health.make_room_soon();
    }

    /// Takes note that a partition has frames that no segment has.
    pub(super) fn mark_dirty(&self, partition: &PartitionRef) {
        if !partition.partition().is_dirty.swap(true, Ordering::AcqRel) {
            lock(&self.dirty).push(partition.clone());
        }
    }
}
