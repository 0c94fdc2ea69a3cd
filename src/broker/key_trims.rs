//! Trimming entities: the records of a key below a version are removed; its versions continue.
//!
//! A trim is one journal entry. Once it is applied, readers do not see the records any more
//! (`storage/log/hidden.rs`); the next pass over the partition's segments removes their bytes
//! (`compaction/trims.rs`). Only reads are affected: conditions, the latest record and producers
//! still rely on all versions that the entity has had.
//!
//! Clients may trim an entity as often as they like, for example after each snapshot of it. There
//! is one trim for each key, which each request extends, and one row in a table for each key is
//! kept for good.

use std::sync::atomic::Ordering;

use super::{Broker, Error, Pending, Shared, entities::entity, lock, state::PartitionRef};
use crate::{
    catalog::{Change, KeyTrim, Refusal, Token, groups::Place},
    storage::keys::hash::KeyHash,
    types::{Offset, TopicId, Version},
};

/// An entity that was trimmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TrimmedEntity {
    /// Its first version; records of lower versions are gone.
    pub(crate) first: Version,
    /// Its latest version.
    pub(crate) latest: Version,
}

/// What must be known of an entity in order to trim it.
struct Known {
    partition: PartitionRef,
    hash: KeyHash,
    /// All records of the entity that anybody has seen are before this offset.
    end: Offset,
    now: TrimmedEntity,
}

impl Broker {
    /// Where an entity starts, and its latest version. Nothing is trimmed.
    pub(crate) fn preview_key_trim(
        &self,
        topic: &str,
        key: &[u8],
        before: Version,
    ) -> Result<Pending<TrimmedEntity>, Error> {
        let known = self.look_up_to_trim(topic, key, before)?;
        self.shared.sequencer.queue_barrier(move || Ok(known.now))
    }

    /// Trims an entity: once this is answered, no read returns its records below this version. May
    /// read files.
    pub(crate) fn trim_key(
        &self,
        topic: &str,
        key: &[u8],
        before: Version,
    ) -> Result<Pending<TrimmedEntity>, Error> {
        let shared = &self.shared;
        let Known {
            partition,
            hash,
            end,
            now,
        } = self.look_up_to_trim(topic, key, before)?;
        if before <= now.first {
            return shared.sequencer.queue_barrier(move || Ok(now));
        }
        let topic = &partition.topic;
        let mut planned = shared.sequencer.planned();
        let unknown = || Error::UnknownTopic {
            topic: topic.name.to_string(),
        };
        let Some(seed) = planned.topics().get(topic.id).map(|topic| topic.seed) else {
            return shared.sequencer.refuse_durably(unknown());
        };
        let trim = KeyTrim {
            partition: partition.partition().id,
            token: Token::of_trimmed(hash.0, seed, key),
            before,
            end,
            requested_ms: shared.clock.now_ms(),
        };
        match planned.decide_trim_key(topic.id, &trim) {
            Ok(()) => {}
            Err(Refusal::TooManyKeyTrims) => return Err(Error::TooManyKeyTrims),
            Err(_) => return shared.sequencer.refuse_durably(unknown()),
        }
        let change = Change::TrimKey {
            topic: topic.id,
            trim,
        };
        let trimmed = TrimmedEntity {
            first: before,
            ..now
        };
        shared
            .sequencer
            .plan_refusable(&mut planned, change, move || Ok(trimmed))
    }

    /// What must be known of an entity in order to trim it, or why it cannot be trimmed.
    fn look_up_to_trim(&self, topic: &str, key: &[u8], before: Version) -> Result<Known, Error> {
        let shared = &self.shared;
        let topic = shared.partitions.topics().find(topic)?;
        let (partition, hash) = entity(&topic, key)?;
        if before == Version::NONE {
            let reason = "an entity is trimmed before version 1 or a later one, not 0".to_owned();
            return Err(Error::MalformedRequest { reason });
        }
        // Free space is not checked: like a trim of a partition, this takes a little space in the
        // journal and frees more.
        shared.health.check_running()?;
        let end = partition.range().1;
        let latest = shared.partitions.latest_below(&partition, hash, key, end);
        let (latest, _) = topic.unless_deleted(latest)?;
        if before > latest.next() {
            return Err(Error::VersionOutOfRange {
                topic: topic.name.to_string(),
                before,
                latest,
            });
        }
        let first = shared.partitions.start_of_entity(&partition, hash, key)?;
        Ok(Known {
            partition,
            hash,
            end,
            now: TrimmedEntity { first, latest },
        })
    }
}

impl Shared {
    /// Hides the records of a partition that trims of entities in the catalog have taken.
    pub(super) fn hide_trimmed(&self, place: Place) {
        let Some(partition) = self.partitions.find_partition(place.0, place.1) else {
            return;
        };
        let mut trims: Vec<KeyTrim> = Vec::new();
        trims.extend(self.sequencer.applied().key_trims().of_partition(place));
        lock(&partition.partition().log).set_trimmed(trims);
        partition.topic.file_is_stale.store(true, Ordering::Release);
        self.maintenance.indexing.notify();
    }

    /// Hides the records of all partitions that trims of entities in the catalog have taken.
    pub(super) fn hide_all_trimmed(&self) {
        let places = self.sequencer.applied().key_trims().places();
        for place in places {
            self.hide_trimmed(place);
        }
    }

    /// The trims of a topic's entities that are not complete.
    pub(super) fn waiting_key_trims(&self, topic: TopicId) -> Vec<KeyTrim> {
        let mut waiting = Vec::new();
        for known in self.sequencer.applied().key_trims().iter() {
            if known.topic == topic {
                waiting.push(known.trim);
            }
        }
        waiting
    }
}
