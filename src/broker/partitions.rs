//! Owns all partitions: which topics are open, where their files are, and what is needed to read
//! them. Reads have a handle of this and of nothing else.
//!
//! It follows the applied catalog (`apply.rs`), and knows nothing of the journal.

use std::{
    path::Path,
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
};

use tokio::sync::watch;

use super::{
    erasure::Notices,
    health::Health,
    keys::{KeyIndex, KeyMemory, Rounds},
    lock,
    news::News,
    partition_count::{Counted, PartitionCount},
    partition_list::PartitionList,
    retention::Looks,
    seldom::Seldom,
    state::{DeletedTopic, Logs, Next, Partition, PartitionRef, Topic, Topics},
};
use crate::{
    catalog,
    env::{Env, Ordered, OrderedMutex, OrderedRwLock, rank},
    storage::{
        data_dir::DataDir,
        files::FileError,
        format::checkpoint::{self, Checkpoint, Topic as CheckpointTopic},
        keys::{Files, hash::KeyHasher, set},
        log::{Identity, Log, LogLock, OpenSegments, Writer},
    },
    types::{Keys, Offset, PartitionId, TopicId, TopicSettings},
};

/// All partitions.
pub(super) struct Partitions {
    pub(super) env: Env,
    pub(super) dir: Arc<DataDir>,
    pub(super) health: Arc<Health>,
    pub(super) segments: Arc<OpenSegments>,
    topics: OrderedRwLock<Topics, rank::Topics>,
    pub(super) count: PartitionCount,
    /// The commit barrier: held for writing while commits are applied, and for reading to see
    /// several partitions at one moment.
    commit_barrier: OrderedRwLock<(), rank::CommitBarrier>,
    /// Partitions with frames that no segment has.
    dirty: Mutex<Vec<PartitionRef>>,
    pub(super) key_memory: Arc<KeyMemory>,
    /// When key indexes are written again on a full disk.
    pub(super) rounds: Rounds,
    /// When to check each partition for its limits.
    pub(super) retention: Looks,
    /// Where damage was found and logged.
    pub(super) said_damage: Seldom<(TopicId, PartitionId, Offset)>,
}

impl Partitions {
    /// No partitions yet.
    pub(super) fn new(
        env: Env,
        dir: Arc<DataDir>,
        health: Arc<Health>,
        segments: Arc<OpenSegments>,
        count: PartitionCount,
        key_memory: Arc<KeyMemory>,
        retention: Looks,
    ) -> Self {
        Self {
            said_damage: Seldom::new(Arc::clone(&env.clock)),
            rounds: Rounds::default(),
            env,
            dir,
            health,
            segments,
            topics: OrderedRwLock::new(Topics::default()),
            count,
            commit_barrier: OrderedRwLock::new(()),
            dirty: Mutex::default(),
            key_memory,
            retention,
        }
    }

    /// Keeps others from looking at several partitions while commits are applied.
    pub(super) fn close_commit_barrier(&self) -> Ordered<RwLockWriteGuard<'_, ()>> {
        self.commit_barrier.write()
    }

    /// Calls `look` to see several partitions at one moment: before their ends lies all of every
    /// atomic append, or nothing of it.
    pub(super) fn at_one_moment<T>(&self, look: impl FnOnce() -> T) -> T {
        let _gate = self.commit_barrier.read();
        look()
    }

    /// The partition with this topic and number, if it exists.
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

    /// Opens a topic of the catalog, unless it is open. `counted` holds the count of its
    /// partitions, if they were counted already.
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
        let counted = counted.unwrap_or_else(|| Arc::new(self.count.count(count)));
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
            partitions: PartitionList::new(partitions),
            settings: RwLock::new(of.settings.clone()),
            open: OrderedRwLock::new(Some(of.settings.appends)),
            is_importing: AtomicBool::new(false),
            moved: watch::Sender::new(()),
            news: News::default(),
            notices: Notices::default(),
            deleted: AtomicBool::new(false),
            file_is_stale: AtomicBool::new(true),
            rotation: AtomicU32::new(0),
            counted: Mutex::new(vec![counted]),
        });
        self.topics_mut().insert(Arc::clone(&topic));
        self.retention.look_at_limits(&topic);
        Ok(())
    }

    /// Opens partitions that were added to a topic.
    pub(super) fn open_added(
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
        let counted = counted.unwrap_or_else(|| Arc::new(self.count.count(more)));
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

    /// Opens a partition. `hasher` is that of its key index; `None` if it has no index.
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
                if hasher.is_some() {
                    let through = set::highest_number(&*self.env.files, &log.dir())?;
                    log.set_retired_file(through);
                }
                log
            }
        };
        match (logs, hasher) {
            (Logs::New, _) => {}
            (Logs::Cut(_) | Logs::Scan { .. }, Some(hasher)) => {
                let found = Files::open(&*self.env.files, &log, hasher)?;
                if !found.is_nothing() {
                    log.change_index(|files| *files = found);
                }
            }
            (Logs::Cut(_) | Logs::Scan { .. }, None) => {
                // If the checkpoint relies on last versions, they must stay until the next one.
                let with_last_versions = log.retired_file() == 0;
                set::remove_all(&*self.env.files, &log.dir(), with_last_versions)?;
                log.set_retired_file(0);
            }
        }
        let keys = KeyIndex::new(log.end());
        let next = Next {
            offset: log.end(),
            keys,
            append_time_ms: log.last_append_time_ms(),
            appended_bytes: log.appended_bytes(),
        };
        Ok(Partition {
            id,
            next: OrderedMutex::new(next),
            checkpointed: AtomicU64::new(log.end().0),
            known_sealed: AtomicU64::new(0),
            log: LogLock::new(log),
            writer: OrderedMutex::new(Writer::default()),
            upkeep: OrderedMutex::new(()),
            is_dirty: AtomicBool::new(false),
        })
    }

    /// Notes that a topic is deleted. Its files stay until no checkpoint knows it.
    pub(super) fn close_topic(&self, id: TopicId) {
        let mut topics = self.topics_mut();
        let removed = topics.remove(id);
        topics.deleted.push(DeletedTopic {
            id,
            _counted: removed.map_or_else(Vec::new, |topic| lock(&topic.counted).clone()),
        });
        drop(topics);
        self.health.make_room_soon();
    }

    /// Changes a topic's settings.
    pub(super) fn alter_topic(&self, id: TopicId, settings: &TopicSettings) {
        if let Some(topic) = self.topics().find_by_id(id) {
            let mut altered = topic
                .settings
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            altered.clone_from(settings);
            drop(altered);
            topic.file_is_stale.store(true, Ordering::Relaxed);
            self.retention.look_at_limits(topic);
        }
    }

    /// Trims a log.
    pub(super) fn trim(&self, topic: TopicId, partition: PartitionId, before: Offset) {
        if let Some(found) = self.find_partition(topic, partition) {
            lock(&found.partition().log).trim(before);
            self.retention.note_trimmed(&found);
            found.topic.file_is_stale.store(true, Ordering::Relaxed);
        }
        self.health.make_room_soon();
    }

    /// Lets the log of a partition without records start and end at an offset.
    pub(super) fn start_at(&self, topic: TopicId, partition: PartitionId, offset: Offset) {
        let Some(found) = self.find_partition(topic, partition) else {
            return;
        };
        let mut next = lock(&found.partition().next);
        if lock(&found.partition().log).start_at(offset) {
            next.offset = offset;
            next.keys.start_at(offset);
            next.keys.count_memory(&self.key_memory);
            found.topic.file_is_stale.store(true, Ordering::Relaxed);
        }
    }

    /// Lets those append who may by the settings of the topics.
    pub(super) fn open_to_appends(&self) {
        for topic in self.all_topics() {
            let appends = topic.settings().appends;
            *topic.open.write() = Some(appends);
        }
    }

    /// Notes that a partition has frames that no segment has.
    pub(super) fn mark_dirty(&self, partition: &PartitionRef) {
        if !partition.partition().is_dirty.swap(true, Ordering::AcqRel) {
            lock(&self.dirty).push(partition.clone());
        }
    }

    /// Takes the partitions with frames that no segment has, in the order in which they became
    /// dirty.
    pub(super) fn take_dirty(&self) -> Vec<PartitionRef> {
        std::mem::take(&mut *lock(&self.dirty))
    }

    /// Puts back partitions that were taken but not written out.
    pub(super) fn put_back_dirty(&self, left: impl Iterator<Item = PartitionRef>) {
        lock(&self.dirty).extend(left);
    }

    pub(super) fn all_topics(&self) -> Vec<Arc<Topic>> {
        self.topics().by_name.values().cloned().collect()
    }

    /// Describes topics for a checkpoint, with the state of each partition. A topic that was just
    /// added to the catalog and is not open yet is added again by the journal.
    pub(super) fn describe_topics(&self, topics: Vec<catalog::Topic>) -> Vec<CheckpointTopic> {
        let mut described = Vec::with_capacity(topics.len());
        for topic in topics {
            let Some(open) = self.topics().find_by_id(topic.id).cloned() else {
                continue;
            };
            let partitions = open.partitions.iter();
            described.push(CheckpointTopic {
                id: topic.id,
                seed: topic.seed,
                name: topic.name,
                settings: topic.settings,
                partitions: partitions
                    .map(|partition| lock(&partition.log).checkpoint())
                    .collect(),
            });
        }
        described
    }

    /// Notes what a checkpoint covers.
    pub(super) fn note_checkpoint(&self, checkpoint: &Checkpoint) {
        for known in &checkpoint.topics {
            let Some(topic) = self.topics().find_by_id(known.id).cloned() else {
                continue;
            };
            for (partition, known) in topic.partitions.iter().zip(&known.partitions) {
                partition.note_checkpoint(known);
            }
        }
    }

    /// Whether there are sealed segments that the last checkpoint does not know as sealed; these
    /// cannot be written anew before the next one.
    pub(super) fn has_unknown_segments(&self) -> bool {
        let is_unknown = |partition: &Partition| {
            let known = partition.known_sealed.load(Ordering::Acquire);
            let sealed = partition.log.view().sealed_end();
            sealed.is_some_and(|end| end.0 > known)
        };
        let topics = self.all_topics();
        let mut partitions = topics.iter().flat_map(|topic| topic.partitions.iter());
        partitions.any(is_unknown)
    }

    /// The partitions with segments that are in no view any more but still have files.
    pub(super) fn with_gone_segments(&self) -> Vec<PartitionRef> {
        let mut found = Vec::new();
        for topic in self.all_topics() {
            for at in 0..topic.partitions.len() {
                if lock(&topic.partitions[at].log).has_gone() {
                    let topic = Arc::clone(&topic);
                    found.push(PartitionRef { topic, at });
                }
            }
        }
        found
    }

    /// Whether there are deleted topics, or trimmed segments whose last versions are kept, which
    /// the next checkpoint allows to be removed.
    pub(super) fn has_what_to_remove(&self) -> bool {
        let has_retired = |topic: &Arc<Topic>| {
            let mut partitions = topic.partitions.iter();
            partitions.any(|partition| lock(&partition.log).has_retired())
        };
        let any_deleted = !self.topics().deleted.is_empty();
        any_deleted || self.all_topics().iter().any(has_retired)
    }
}
