//! Trimming entities: the records of a key below a version are gone, and its versions go on.
//!
//! To trim is one journal entry. When it is applied, readers are not shown the records any more
//! (`storage/log/hidden.rs`); their bytes go with the next pass over the partition's segments
//! (`compaction/trims.rs`). Nothing but reads changes: conditions, the latest record and producers
//! go by versions that the entity has had.
//!
//! What builds on it, such as snapshots of entities, may trim as often as it likes: there is one
//! trim for each key, which goes further each time, and what must be remembered for good is one row
//! of a table for each key.

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
    /// Where it starts: records of lower versions are gone.
    pub(crate) first: Version,
    /// Its latest version.
    pub(crate) latest: Version,
}

/// What there is to know of an entity that is to be trimmed.
struct Known {
    partition: PartitionRef,
    hash: KeyHash,
    /// No record of it that anybody has seen is at this offset, or behind it.
    end: Offset,
    now: TrimmedEntity,
}

impl Broker {
    /// Where an entity starts, and its latest version, as a trim would find it; nothing is trimmed.
    pub(crate) fn preview_key_trim(
        &self,
        topic: &str,
        key: &[u8],
        before: Version,
    ) -> Result<Pending<TrimmedEntity>, Error> {
        let known = self.look_up_to_trim(topic, key, before)?;
        self.shared.sequencer.queue_barrier(move || Ok(known.now))
    }

    /// Trims an entity: once answered, no read returns its records below this version. May read
    /// files.
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

    /// What there is to know of an entity that is to be trimmed, or why it cannot be.
    fn look_up_to_trim(&self, topic: &str, key: &[u8], before: Version) -> Result<Known, Error> {
        let shared = &self.shared;
        let topic = shared.partitions.topics().find(topic)?;
        let (partition, hash) = entity(&topic, key)?;
        if before == Version::NONE {
            let reason = "an entity is trimmed before version 1 or a later one, not 0".to_owned();
            return Err(Error::MalformedRequest { reason });
        }
        // Not whether there is room: like a trim of a partition, it takes some in the journal and
        // gives some back.
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
    /// What follows from trims of entities in the catalog: readers are shown nothing of what they
    /// have taken, until it is gone.
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

    /// The same for all partitions.
    pub(super) fn hide_all_trimmed(&self) {
        let places = self.sequencer.applied().key_trims().places();
        for place in places {
            self.hide_trimmed(place);
        }
    }

    /// The trims of a topic's entities whose bytes are not gone.
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
