//! Erasing entities.
//!
//! An erasure is one journal entry. When it is applied, the entity's records are hidden from
//! readers (`storage/log/hidden.rs`), readers that follow the topic are told (`notices.rs`), and
//! the call is answered. The bytes are removed in the background (`remove.rs`): from the journal,
//! by continuing in another file and overwriting the earlier ones with zeros; from segments
//! (`places.rs` says which), by writing them anew; and from tables of last versions. A last journal
//! entry says that the bytes are gone, and nothing is hidden any more. What delays the removal is
//! described by `progress.rs`.
//!
//! Damage neither keeps bytes nor keeps an erasure from being recorded. Nobody can tell what a
//! damaged part of a segment or table has. So if it may belong to an erased entity, its bytes are
//! removed, and it is reported as damaged as before. Records that cannot be compared with the key
//! count by its hash. If not even the index can tell, the entity is erased up to the present end,
//! and its last version is unknown (`last_version.rs`).
//!
//! An erased record has a token in place of its key. By that the broker recognizes the entity when
//! a request names the key, and its versions continue.

mod last_version;
mod notices;
mod places;
mod progress;
mod remove;

use std::sync::atomic::Ordering;

use last_version::LastVersion;
pub(super) use notices::Notices;
pub(super) use progress::AllProgress;

use super::{Broker, Error, Pending, Shared, entities::entity, lock, state::PartitionRef};
use crate::{
    catalog::{self, Change, KnownErasure, Refusal, Token},
    storage::format::erasure::key_sha256,
    types::{Offset, TopicId, TopicName, Version},
};

/// An erasure, and how far the removal of the bytes is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Erasure {
    pub(crate) id: u64,
    /// Whether the bytes are gone from every file.
    pub(crate) complete: bool,
    pub(crate) requested_ms: i64,
    pub(crate) deadline_ms: i64,
    /// The version of the last erased record; [`Version::UNKNOWN`] if nobody can tell.
    pub(crate) through: Version,
    /// Why the last attempt did not remove all bytes.
    pub(crate) problem: Option<String>,
}

/// What readers that follow are told of an erasure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ErasedEntity {
    pub(crate) key_sha256: [u8; 32],
    pub(crate) through: Version,
    pub(crate) end: Offset,
}

impl Broker {
    /// Erases an entity: once this is answered, no read returns its records' content, and the bytes
    /// are being removed.
    pub(crate) fn erase_key(&self, topic: &str, key: &[u8]) -> Result<Pending<Erasure>, Error> {
        let shared = &self.shared;
        let topic = shared.partitions.topics().find(topic)?;
        let (partition, hash) = entity(&topic, key)?;
        // Free space is not checked: like a trim, an erasure takes a little space in the journal
        // and frees more. It takes no memory for keys.
        shared.health.check_running()?;
        if shared.sequencer.applied().decide_erase(topic.id) == Err(Refusal::TooManyErasures) {
            return Err(Error::TooManyErasures);
        }
        if let Some(erased) = shared.erased_before(&partition, hash, key)? {
            let described = shared.describe(&erased);
            return shared.sequencer.queue_barrier(move || Ok(described));
        }
        let mut last = LastVersion::of(&partition, hash, key);
        loop {
            let next = lock(&partition.partition().next);
            if let Some(through) = last.version(&next) {
                let erasure = catalog::Erasure {
                    id: shared.env.random.next_u64(),
                    partition: partition.partition().id,
                    token: Token::new(hash.0, shared.env.random.next_u64(), key),
                    end: next.offset,
                    through,
                    requested_ms: shared.clock.now_ms(),
                };
                return shared.queue_erasure(&partition, erasure, key);
            }
            drop(next);
            last.look_up(&shared.partitions)?;
        }
    }

    /// The state of an erasure.
    pub(crate) fn describe_erasure(&self, id: u64) -> Result<Erasure, Error> {
        let known = self.shared.sequencer.applied().erasures().get(id).cloned();
        known
            .map(|known| self.shared.describe(&known))
            .ok_or(Error::UnknownErasure { id })
    }

    /// The name of the topic of an erasure.
    pub(crate) fn topic_of_erasure(&self, id: u64) -> Option<TopicName> {
        let applied = self.shared.sequencer.applied();
        let topic = applied.erasures().get(id)?.topic;
        Some(applied.topics().get(topic)?.name.clone())
    }
}

impl Shared {
    fn queue_erasure(
        &self,
        partition: &PartitionRef,
        erasure: catalog::Erasure,
        key: &[u8],
    ) -> Result<Pending<Erasure>, Error> {
        let topic = &partition.topic;
        let mut planned = self.sequencer.planned();
        match planned.decide_erase(topic.id) {
            Ok(()) => {}
            Err(Refusal::TooManyErasures) => return Err(Error::TooManyErasures),
            Err(_) => {
                return self.sequencer.refuse_durably(Error::UnknownTopic {
                    topic: topic.name.to_string(),
                });
            }
        }
        let described = self.describe(&KnownErasure {
            topic: topic.id,
            complete: false,
            erasure: erasure.clone(),
        });
        let notice = ErasedEntity {
            key_sha256: key_sha256(key),
            through: erasure.through,
            end: erasure.end,
        };
        let change = Change::Erase {
            topic: topic.id,
            erasure,
        };
        let told = partition.clone();
        self.sequencer
            .plan_refusable(&mut planned, change, move || {
                // Now, because the change has just been applied.
                told.topic.notices.add(told.partition().id, notice);
                told.topic.moved.send_replace(());
                Ok(described)
            })
    }

    fn describe(&self, known: &KnownErasure) -> Erasure {
        let deadline = i64::try_from(self.options.erasure_deadline.as_millis()).unwrap_or(i64::MAX);
        Erasure {
            id: known.erasure.id,
            complete: known.complete,
            requested_ms: known.erasure.requested_ms,
            deadline_ms: known.erasure.requested_ms.saturating_add(deadline),
            through: known.erasure.through,
            problem: lock(&self.maintenance.erasures).problem(known.erasure.id),
        }
    }

    /// Hides an entity from readers when its erasure is applied; its bytes are then to be removed.
    pub(super) fn hide(&self, topic: TopicId, erasure: &catalog::Erasure) {
        self.kept.close();
        if let Some(partition) = self.partitions.find_partition(topic, erasure.partition) {
            lock(&partition.partition().log).hide(erasure);
            partition.topic.file_is_stale.store(true, Ordering::Release);
            self.maintenance.indexing.notify();
        }
    }

    /// Ends hiding when an erasure is complete in the catalog.
    pub(super) fn end_hiding(&self, id: u64) {
        lock(&self.maintenance.erasures).remove(id);
        let Some(known) = self.sequencer.applied().erasures().get(id).cloned() else {
            return;
        };
        if let Some(partition) = self
            .partitions
            .find_partition(known.topic, known.erasure.partition)
        {
            lock(&partition.partition().log).end_hiding(&known.erasure.token);
            partition.topic.file_is_stale.store(true, Ordering::Release);
        }
    }

    /// Hides all entities whose erasures are not complete in the catalog.
    pub(super) fn hide_all(&self) {
        let mut waiting = Vec::new();
        for known in self.sequencer.applied().erasures().waiting() {
            waiting.push((known.topic, known.erasure.clone()));
        }
        for (topic, erasure) in &waiting {
            self.hide(*topic, erasure);
        }
    }

    /// The erasures in a topic that are not complete.
    pub(super) fn waiting_erasures(&self, topic: TopicId) -> Vec<catalog::Erasure> {
        let mut waiting = Vec::new();
        for known in self.sequencer.applied().erasures().waiting() {
            if known.topic == topic {
                waiting.push(known.erasure.clone());
            }
        }
        waiting
    }
}
