//! Erasing entities.
//!
//! To erase is one journal entry. When it is applied, readers are shown nothing of the entity's
//! records any more (`masks.rs`), and those that follow are told (`notices.rs`); then the call is
//! answered. The bytes are removed in the background (`scrub.rs`): from the journal, by going on in
//! another file and writing zeros over the ones before; from segments (`places.rs` says which), by
//! writing them anew; from retired facts. A last journal entry says that they are gone, and the
//! masks go. What keeps them from being gone is told to whoever asks (`progress.rs`).
//!
//! Damage does not keep bytes, and does not keep an erasure from being recorded. Nobody can tell
//! what a damaged part of a segment or of a file of retired facts has, so where it may be of an
//! erased entity its bytes go, and it is reported as damaged as before. Records that cannot be
//! compared with the key count by its hash; where not even the index can say what there is, the
//! entity is erased up to the present end, and its last version is unknown (`last_version.rs`).
//!
//! An erased record keeps a token instead of its key, by which the broker knows the entity again
//! when somebody names the key: its versions go on.

mod last_version;
mod masks;
mod notices;
mod places;
mod progress;
mod scrub;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::PoisonError,
};

use last_version::LastVersion;
pub(super) use masks::Masks;
pub(super) use notices::Notices;

use super::{
    Broker, Error, Pending, Shared, commit::Commit, entities::entity, lock, pending::pending,
    state::PartitionRef,
};
use crate::{
    catalog::{self, Change, KnownErasure, Token},
    storage::{
        files::FileError,
        format::{entry::Item, erasure::key_sha256},
    },
    types::{Offset, TopicId, Version, limits},
};

/// The removal of an entity's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Erasure {
    pub(crate) id: u64,
    /// Whether the bytes are gone from every file.
    pub(crate) complete: bool,
    pub(crate) requested_ms: i64,
    pub(crate) deadline_ms: i64,
    /// The version of the last record that was erased; [`Version::UNKNOWN`] where nobody can tell.
    pub(crate) through: Version,
    /// Why they were not when that was tried last.
    pub(crate) problem: Option<String>,
}

/// What a reader that follows is told of an erasure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ErasedEntity {
    pub(crate) key_sha256: [u8; 32],
    pub(crate) through: Version,
    pub(crate) end: Offset,
}

/// All erasures that are known.
#[derive(Default)]
pub(super) struct Erasures {
    known: BTreeMap<u64, KnownErasure>,
    /// Those that are complete, in the order in which they became so.
    complete: VecDeque<u64>,
    /// What has been done about the others.
    progress: BTreeMap<u64, progress::Progress>,
}

impl Broker {
    /// Erases an entity: once answered, no read returns what it held, and its bytes are being
    /// removed.
    pub(crate) fn erase_key(&self, topic: &str, key: &[u8]) -> Result<Pending<Erasure>, Error> {
        let shared = &self.shared;
        let topic = shared.topics().find(topic)?;
        let (partition, hash) = entity(&topic, key)?;
        // Not whether there is room: like a trim, it takes some in the journal and gives some back.
        shared.check_running()?;
        if lock(&shared.erasures).waiting().count() >= limits::MAX_ERASURES {
            return Err(Error::TooManyErasures);
        }
        if let Some(erased) = shared.erased_before(&partition, hash, key)? {
            let described = shared.describe(&erased);
            return shared.queue_items(Vec::new(), None, move || Ok(described));
        }
        let closing = topic.closing.read().unwrap_or_else(PoisonError::into_inner);
        if *closing {
            return shared.refuse_durably(Error::UnknownTopic {
                topic: topic.name.to_string(),
            });
        }
        let mut last = LastVersion::of(&partition, hash, key);
        loop {
            let mut next = [lock(&partition.partition().next)];
            if let Some(through) = last.version(&mut next) {
                let erasure = catalog::Erasure {
                    id: shared.env.random.next_u64(),
                    partition: partition.partition().id,
                    token: Token::new(hash.0, shared.env.random.next_u64(), key),
                    end: next[0].offset,
                    through,
                    requested_ms: shared.now_ms(),
                };
                return shared.queue_erasure(&partition, erasure, key);
            }
            drop(next);
            last.look_up(shared)?;
        }
    }

    /// How far an erasure has come.
    pub(crate) fn describe_erasure(&self, id: u64) -> Result<Erasure, Error> {
        let known = lock(&self.shared.erasures).known.get(&id).cloned();
        known
            .map(|known| self.shared.describe(&known))
            .ok_or(Error::UnknownErasure { id })
    }
}

impl Shared {
    fn queue_erasure(
        &self,
        partition: &PartitionRef,
        erasure: catalog::Erasure,
        key: &[u8],
    ) -> Result<Pending<Erasure>, Error> {
        let topic = partition.topic.id;
        let described = self.describe(&KnownErasure {
            topic,
            complete: false,
            erasure: erasure.clone(),
        });
        let notice = ErasedEntity {
            key_sha256: key_sha256(key),
            through: erasure.through,
            end: erasure.end,
        };
        let (giver, pending) = pending();
        let told = partition.clone();
        let done = Box::new(move |done: Result<(), Error>| {
            if done.is_ok() {
                // The change has just been applied.
                told.topic.notices.add(told.partition().id, notice);
                told.topic.moved.send_replace(());
            }
            giver.give(done.map(|()| described));
        });
        let items = vec![Item::Change(Change::Erase { topic, erasure })];
        self.queue.push(Commit {
            items,
            partitions: Vec::new(),
            sync: true,
            charge: None,
            under_way: None,
            done,
            undo: Some(Box::new(|_: &Shared| {})),
        })?;
        self.indexing.ring();
        Ok(pending)
    }

    fn describe(&self, known: &KnownErasure) -> Erasure {
        let deadline = i64::try_from(self.options.erasure_deadline.as_millis()).unwrap_or(i64::MAX);
        Erasure {
            id: known.erasure.id,
            complete: known.complete,
            requested_ms: known.erasure.requested_ms,
            deadline_ms: known.erasure.requested_ms.saturating_add(deadline),
            through: known.erasure.through,
            problem: lock(&self.erasures).problem(known.erasure.id),
        }
    }

    /// Applies a durable erasure: from now on readers are shown nothing of it.
    pub(super) fn apply_erasure(&self, topic: TopicId, erasure: &catalog::Erasure) {
        let found = self
            .topics()
            .find_by_id(topic)
            .map(|topic| topic.partition(erasure.partition));
        let Some(Ok(partition)) = found else { return };
        partition.partition().add_mask(erasure);
        partition
            .topic
            .file_is_stale
            .store(true, std::sync::atomic::Ordering::Release);
        lock(&self.erasures).add(KnownErasure {
            topic,
            complete: false,
            erasure: erasure.clone(),
        });
    }

    /// Applies that the bytes of an erasure are gone.
    pub(super) fn apply_erasure_complete(&self, id: u64) {
        let Some(known) = lock(&self.erasures).complete(id) else {
            return;
        };
        let found = self
            .topics()
            .find_by_id(known.topic)
            .map(|topic| topic.partition(known.erasure.partition));
        if let Some(Ok(partition)) = found {
            partition.partition().remove_mask(&known.erasure.token);
            partition
                .topic
                .file_is_stale
                .store(true, std::sync::atomic::Ordering::Release);
        }
    }

    /// Takes up the erasures of a checkpoint, when their topics are open.
    pub(super) fn restore_erasures(&self, known: &[KnownErasure]) -> Result<(), FileError> {
        for known in known {
            if known.complete {
                lock(&self.erasures).add(known.clone());
            } else {
                self.apply_erasure(known.topic, &known.erasure);
            }
        }
        Ok(())
    }

    /// The erasures as a checkpoint stores them.
    pub(super) fn known_erasures(&self) -> Vec<KnownErasure> {
        lock(&self.erasures).known.values().cloned().collect()
    }

    /// The erasures of a topic that are not complete.
    pub(super) fn waiting_erasures(&self, topic: TopicId) -> Vec<catalog::Erasure> {
        let erasures = lock(&self.erasures);
        erasures
            .waiting()
            .filter(|known| known.topic == topic)
            .map(|known| known.erasure.clone())
            .collect()
    }
}

impl Erasures {
    /// Those whose bytes are not gone yet.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &KnownErasure> {
        self.known.values().filter(|known| !known.complete)
    }

    fn add(&mut self, known: KnownErasure) {
        if known.complete {
            self.remember(known.erasure.id);
        }
        self.known.entry(known.erasure.id).or_insert(known);
    }

    fn complete(&mut self, id: u64) -> Option<KnownErasure> {
        let known = self.known.get_mut(&id).filter(|known| !known.complete)?;
        self.progress.remove(&id);
        known.complete = true;
        let known = known.clone();
        self.remember(id);
        Some(known)
    }

    /// Forgets the one that has been complete for longest, if there are too many.
    fn remember(&mut self, id: u64) {
        self.complete.push_back(id);
        if self.complete.len() > limits::MAX_ERASURES {
            self.complete
                .pop_front()
                .and_then(|oldest| self.known.remove(&oldest));
        }
    }

    /// Forgets what was erased in a topic that is deleted.
    pub(super) fn forget_topic(&mut self, topic: TopicId) {
        self.known.retain(|_, known| known.topic != topic);
        let known = &self.known;
        self.complete.retain(|id| known.contains_key(id));
        self.progress.retain(|id, _| known.contains_key(id));
    }
}
