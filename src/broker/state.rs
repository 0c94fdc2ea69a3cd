//! The state of topics and partitions that the catalog does not have: logs, locks, and wake-ups.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
};

use tokio::sync::watch;

use super::{
    Error, Meant, erasure::Notices, keys::KeyIndex, lock, news::News, partition_count::Counted,
    partition_list::PartitionList,
};
use crate::{
    env::{OrderedMutex, OrderedRwLock, rank},
    storage::{
        format::checkpoint,
        journal::FirstOffsets,
        keys::{Files, hash::KeyHasher},
        log::{LogLock, Writer},
    },
    types::{AppendsFrom, Keys, Offset, PartitionId, TopicId, TopicName, TopicSettings},
};

/// All topics, by name and by id.
#[derive(Default)]
pub(super) struct Topics {
    pub(super) by_name: BTreeMap<TopicName, Arc<Topic>>,
    by_id: HashMap<TopicId, Arc<Topic>>,
    /// Topics that were deleted since the last checkpoint.
    pub(super) deleted: Vec<DeletedTopic>,
}

/// A deleted topic that still has files.
pub(super) struct DeletedTopic {
    pub(super) id: TopicId,
    /// Keeps its partitions counted until the files are removed. Empty if their number is not
    /// known.
    pub(super) _counted: Vec<Arc<Counted>>,
}

/// A topic.
pub(super) struct Topic {
    pub(super) id: TopicId,
    pub(super) hasher: KeyHasher,
    pub(super) name: TopicName,
    pub(super) partitions: PartitionList,
    /// The settings in the applied catalog.
    pub(super) settings: RwLock<TopicSettings>,
    /// Whose appends may be queued; none's once the topic is about to be deleted. An append holds
    /// this lock while it assigns offsets and queues, so that nothing is queued behind the topic's
    /// deletion, or beside an import. The planned catalog knows of both too, but an append without
    /// a producer does not lock that.
    pub(super) open: OrderedRwLock<Option<AppendsFrom>, rank::Open>,
    /// Whether an import is under way.
    pub(super) is_importing: AtomicBool,
    /// Notified whenever records become visible, and when the topic is deleted.
    pub(super) moved: watch::Sender<()>,
    /// In which partitions records became visible.
    pub(super) news: News,
    /// Notices of erasures for readers that follow.
    pub(super) notices: Notices,
    pub(super) deleted: AtomicBool,
    /// Whether the topic's file must be written again.
    pub(super) file_is_stale: AtomicBool,
    /// The partition of the next batch without keys.
    pub(super) rotation: AtomicU32,
    /// Keeps its partitions counted as long as the topic is in memory, which a read may extend
    /// beyond its deletion.
    pub(super) counted: Mutex<Vec<Arc<Counted>>>,
}

/// A partition.
pub(super) struct Partition {
    pub(super) id: PartitionId,
    /// The offset and versions that the next append gets, which are ahead of the log while appends
    /// are queued.
    pub(super) next: OrderedMutex<Next, rank::Next>,
    pub(super) log: LogLock,
    pub(super) writer: OrderedMutex<Writer, rank::Writer>,
    /// Held while the files of the key index are changed.
    pub(super) upkeep: OrderedMutex<(), rank::Upkeep>,
    /// All records before this offset are in segments, and a checkpoint says so.
    pub(super) checkpointed: AtomicU64,
    /// All records before this offset are in segments that a checkpoint knows as sealed.
    pub(super) known_sealed: AtomicU64,
    pub(super) is_dirty: AtomicBool,
}

/// The offset and versions that the next append to a partition gets.
pub(super) struct Next {
    pub(super) offset: Offset,
    /// The current versions of keys, and the offsets of their records.
    pub(super) keys: KeyIndex,
    /// The earliest append time of the next append: times never go back.
    pub(super) append_time_ms: i64,
    /// The log's count of appended bytes, plus the bytes of queued appends.
    pub(super) appended_bytes: u64,
}

const _: () = assert!(
    size_of::<Partition>() <= 552,
    "there may be 20,000 partitions, and most have nothing"
);

/// A partition with its topic.
#[derive(Clone)]
pub(super) struct PartitionRef {
    pub(super) topic: Arc<Topic>,
    pub(super) at: usize,
}

/// How the logs of a topic are opened.
#[derive(Clone, Copy)]
pub(super) enum Logs<'a> {
    /// The topic is new and has no logs.
    New,
    /// Logs are cut back to these states; partitions that are not listed, to nothing.
    Cut(&'a [checkpoint::Partition]),
    /// Logs are scanned, beginning at `starts`. What is not sound from where the journal's frames
    /// begin is applied again from there, unless it is before `synced`.
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

    /// Whether its topic is deleted.
    pub(super) fn is_deleted(&self) -> bool {
        self.topic.deleted.load(Ordering::Acquire)
    }
}

impl Partition {
    /// Where its log starts and ends.
    pub(super) fn range(&self) -> (Offset, Offset) {
        self.log.range()
    }

    /// Notes what a checkpoint says of the partition.
    pub(super) fn note_checkpoint(&self, known: &checkpoint::Partition) {
        self.checkpointed.store(known.end.0, Ordering::Release);
        let sealed = known.active.map_or(known.end, |active| active.base);
        self.known_sealed.store(sealed.0, Ordering::Release);
    }

    /// The files of the key index.
    pub(super) fn index(&self) -> Arc<Files> {
        Arc::clone(self.log.view().index())
    }

    /// Skips lost records up to this offset, during a start: reading them reports the loss, and
    /// their entities are not known.
    pub(super) fn pass_over_lost(&self, end: Offset) {
        let mut next = lock(&self.next);
        let mut log = lock(&self.log);
        if log.end() < end {
            log.apply_loss(end);
            next.keys.lose(end, &mut log);
            next.offset = end;
        }
    }
}

impl Topic {
    /// The result of a read, or an error if the topic was deleted meanwhile: its files are being
    /// removed, so the result may be anything, and another topic may have its name.
    pub(super) fn unless_deleted<T>(&self, read: Result<T, Error>) -> Result<T, Error> {
        if self.deleted.load(Ordering::Acquire) {
            return Err(Error::UnknownTopic {
                topic: self.name.to_string(),
            });
        }
        read
    }

    /// Whether its keys have versions.
    pub(super) fn keys(&self) -> Keys {
        let settings = self.settings.read();
        settings.unwrap_or_else(PoisonError::into_inner).keys
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
    /// A topic that an earlier start began to remove.
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

    /// The topic that a request means; another one with the same name does not count.
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

    /// Adds a topic. Another one with its name must have been deleted, by a change that was lost to
    /// damage; its files stay.
    pub(super) fn insert(&mut self, topic: Arc<Topic>) {
        if let Some(id) = self.by_name.get(&topic.name).map(|other| other.id) {
            self.remove(id);
        }
        self.by_name.insert(topic.name.clone(), Arc::clone(&topic));
        self.by_id.insert(topic.id, topic);
    }

    pub(super) fn remove(&mut self, id: TopicId) -> Option<Arc<Topic>> {
        let topic = self.by_id.remove(&id)?;
        self.by_name.remove(&topic.name);
        topic.deleted.store(true, Ordering::Release);
        topic.moved.send_replace(());
        Some(topic)
    }
}
