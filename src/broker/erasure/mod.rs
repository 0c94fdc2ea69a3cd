//! Erasing entities.
//!
//! To erase is one journal entry. When it is applied, the entity's records are hidden from readers
//! (`storage/log/hidden.rs`), and those that follow are told (`notices.rs`); then the call is
//! answered. The bytes are removed in the background (`remove.rs`): from the journal, by going on
//! in another file and writing zeros over the ones before; from segments (`places.rs` says which),
//! by writing them anew; from tables of last versions. A last journal entry says that they are
//! gone, and nothing is hidden any more. What keeps them from being gone is described
//! (`progress.rs`).
//!
//! Damage does not keep bytes, and does not keep an erasure from being recorded. Nobody can tell
//! what a damaged part of a segment or of a table of last versions has, so where it may be of an
//! erased entity its bytes go, and it is reported as damaged as before. Records that cannot be
//! compared with the key count by its hash; where not even the index can say what there is, the
//! entity is erased up to the present end, and its last version is unknown (`last_version.rs`).
//!
//! An erased record keeps a token instead of its key, by which the broker knows the entity again
//! when somebody names the key: its versions go on.

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

impl Broker {
    /// Erases an entity: once answered, no read returns what it held, and its bytes are being
    /// removed.
    pub(crate) fn erase_key(&self, topic: &str, key: &[u8]) -> Result<Pending<Erasure>, Error> {
        let shared = &self.shared;
        let topic = shared.partitions.topics().find(topic)?;
        let (partition, hash) = entity(&topic, key)?;
        // Not whether there is room: like a trim, it takes some in the journal and gives some back.
        // Of the memory of keys it takes none.
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

    /// How far an erasure has come.
    pub(crate) fn describe_erasure(&self, id: u64) -> Result<Erasure, Error> {
        let known = self.shared.sequencer.applied().erasures().get(id).cloned();
        known
            .map(|known| self.shared.describe(&known))
            .ok_or(Error::UnknownErasure { id })
    }

    /// The name of the topic that something was erased in.
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
                // The change has just been applied.
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

    /// What follows from an erasure in the catalog: readers are shown nothing of it, and its bytes
    /// are to be removed.
    pub(super) fn hide(&self, topic: TopicId, erasure: &catalog::Erasure) {
        if let Some(partition) = self.partitions.find_partition(topic, erasure.partition) {
            lock(&partition.partition().log).hide(erasure);
            partition.topic.file_is_stale.store(true, Ordering::Release);
            self.maintenance.indexing.notify();
        }
    }

    /// What follows from an erasure that is complete in the catalog: there is nothing left to hide.
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

    /// Hides what the erasures of the catalog that are not complete have erased.
    pub(super) fn hide_all(&self) {
        let mut waiting = Vec::new();
        for known in self.sequencer.applied().erasures().waiting() {
            waiting.push((known.topic, known.erasure.clone()));
        }
        for (topic, erasure) in &waiting {
            self.hide(*topic, erasure);
        }
    }

    /// The erasures of a topic that are not complete.
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
