//! Producers: which of them are known, in which epoch, and the sequence of each one's next batch
//! for every partition. By this an append that comes again is found to be stored, one that comes
//! too early is refused, and one of a predecessor is fenced.
//!
//! A state machine: `decide.rs` answers and changes nothing, `apply.rs` takes durable facts and is
//! the only mutation, live and in recovery. The broker keeps two of them. What is *planned* has had
//! everything applied that is durable or under way, and decides; what is *applied* is behind it by
//! what is under way, and is what a checkpoint stores. As both take the same facts in the journal's
//! order, they agree once nothing is under way.
//!
//! Nothing here reads a clock. A producer's idle time advances by what is told of a clock that
//! cannot be set (`time.rs`), and by nothing else, so a wall clock that jumps a year forgets
//! nobody, and neither does a broker that was stopped for as long.
//!
//! What is applied also remembers where the batches are that a producer may still send again
//! (`remembered.rs`), so that it is told the same once more. An older one is known to be stored by
//! its sequence, and that is all it is told.
//!
//! Memory is bounded by [`Room::MOST`]. What would go past it is refused, unless others can be
//! forgotten for it (`room.rs`); where the log has it nevertheless, the producer is forgotten as a
//! whole, which it is told, never a sequence alone, by which a batch could be stored twice.

mod apply;
mod changes;
mod decide;
mod remembered;
mod room;
mod time;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, ops::Bound, sync::Arc, time::Duration};

pub(crate) use room::{HolderId, Room};

use crate::types::{PartitionId, ProducerId, Sequence, StoredBatch, TopicId, limits};

/// The producers that are known.
#[derive(Clone, Debug)]
pub(crate) struct Producers {
    known: BTreeMap<ProducerId, Incarnation>,
    by_name: BTreeMap<Arc<str>, ProducerId>,
    /// The sequence of the next batch; not 0, which every place without an entry has.
    next: BTreeMap<Place, u64>,
    /// How much time has been told of.
    now: Duration,
    /// Who is to be forgotten for being idle, and when.
    expiry: time::Expiry,
    /// What they may take up.
    most: Room,
    /// Of all names.
    name_bytes: usize,
    /// The connections that hold producers.
    holders: BTreeMap<HolderId, room::Held>,
    /// When it was last found that nobody can be forgotten.
    in_vain: Option<Duration>,
    /// Where the batches are that may still come again. What is planned has none.
    remembered: remembered::Remembered,
    /// What has changed since it was stored, if it is stored at all.
    noted: Option<changes::Noted>,
}

/// A partition that a producer has appended to. All places of a producer are neighbours in their
/// order.
type Place = (ProducerId, TopicId, PartitionId);

/// A producer's latest incarnation.
#[derive(Clone, Debug)]
struct Incarnation {
    epoch: u32,
    /// Empty for none.
    name: Arc<str>,
    used: Duration,
    /// How many partitions it has appended to.
    sequences: usize,
    /// The connection that used it last, which may have ended.
    holder: Option<HolderId>,
}

/// What a producer that opens is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    pub(crate) id: ProducerId,
    pub(crate) epoch: u32,
}

/// What an append of a producer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// To be stored: every batch is the next of its partition.
    New,
    /// Stored already, or under way: every batch.
    Duplicate,
}

/// Why a producer may not do what it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// This incarnation was never opened, or is forgotten.
    Unknown,
    /// A newer incarnation exists.
    Fenced { current: u32 },
    /// A batch, by its index among those asked about, comes where another sequence should: before
    /// it something is missing, or it is stored already and others are not.
    OutOfSequence { at: usize, expected: u64 },
    /// There is no room for another producer, or for the partitions that this one has not appended
    /// to yet.
    TooMany,
}

/// Everything about one producer, for a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) id: ProducerId,
    pub(crate) epoch: u32,
    /// For how long it has done nothing.
    pub(crate) idle: Duration,
    /// Empty for none.
    pub(crate) name: String,
    /// How far it has come, by topic and partition, in their order.
    pub(crate) sequences: Vec<Sequence>,
}

/// What a listing shows of a producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) id: ProducerId,
    pub(crate) epoch: u32,
    /// Empty for none.
    pub(crate) name: String,
    /// For how long it has done nothing.
    pub(crate) idle: Duration,
    /// How many partitions it has appended to.
    pub(crate) partitions: usize,
}

impl Producers {
    /// None yet, and this much room.
    pub(crate) fn new(most: Room) -> Self {
        Self {
            known: BTreeMap::new(),
            by_name: BTreeMap::new(),
            next: BTreeMap::new(),
            now: Duration::ZERO,
            expiry: time::Expiry::default(),
            most,
            name_bytes: 0,
            holders: BTreeMap::new(),
            in_vain: None,
            remembered: remembered::Remembered::new(limits::MOST_REMEMBERED_BATCHES),
            noted: None,
        }
    }

    /// With room for so many batches that may come again.
    pub(crate) fn remembering(mut self, most: usize) -> Self {
        self.remembered = remembered::Remembered::new(most);
        self
    }

    /// Remembers no more than so many batches that may come again.
    pub(crate) fn remember_at_most(&mut self, most: usize) {
        self.remembered.bound(most);
    }

    /// The same, to plan with: that batches are stored, and not where.
    pub(crate) fn to_plan(&self) -> Self {
        let remembered = self.remembered.without_any();
        Self {
            known: self.known.clone(),
            by_name: self.by_name.clone(),
            next: self.next.clone(),
            holders: self.holders.clone(),
            remembered,
            noted: None,
            ..*self
        }
    }

    /// Where a batch is stored, if that is remembered.
    pub(crate) fn stored(
        &self,
        id: ProducerId,
        epoch: u32,
        (topic, partition): (TopicId, PartitionId),
        sequence: u64,
    ) -> Option<StoredBatch> {
        let place = (id, topic, partition);
        let last = self.next.get(&place)?.checked_sub(1)?;
        let behind = last.checked_sub(sequence)?;
        self.remembered
            .find(&place, behind)
            .filter(|_| self.is_known(id, epoch))
    }

    /// How much memory is taken by the batches that are remembered, in bytes.
    pub(crate) fn remembered_bytes(&self) -> usize {
        self.remembered.bytes()
    }

    /// The producers behind this one, in the order of their ids, at most so many.
    pub(crate) fn list(&self, after: ProducerId, most: usize) -> Vec<Listed> {
        let behind = (Bound::Excluded(after), Bound::Unbounded);
        let mut listed = Vec::new();
        for (&id, incarnation) in self.known.range(behind).take(most) {
            listed.push(self.listed(id, incarnation));
        }
        listed
    }

    /// The producer of a name.
    pub(crate) fn named(&self, name: &str) -> Option<Listed> {
        let id = *self.by_name.get(name)?;
        Some(self.listed(id, &self.known[&id]))
    }

    /// The producer of an id.
    pub(crate) fn with_id(&self, id: ProducerId) -> Option<Listed> {
        Some(self.listed(id, self.known.get(&id)?))
    }

    fn listed(&self, id: ProducerId, incarnation: &Incarnation) -> Listed {
        Listed {
            id,
            epoch: incarnation.epoch,
            name: incarnation.name.as_ref().to_owned(),
            idle: self.idleness(incarnation),
            partitions: incarnation.sequences,
        }
    }

    /// Whether this incarnation may append.
    pub(crate) fn is_known(&self, id: ProducerId, epoch: u32) -> bool {
        self.known
            .get(&id)
            .is_some_and(|incarnation| incarnation.epoch == epoch)
    }

    /// The part of a snapshot behind this producer: producers with about so many sequences, at
    /// least one if there is one. Between two parts anything may be applied: what has not changed
    /// is whole, and applying once more what has changed since the first part makes all of it
    /// whole.
    pub(crate) fn snapshot_behind(&self, after: ProducerId, most: usize) -> Vec<Known> {
        let (mut known, mut count) = (Vec::new(), 0);
        let behind = (Bound::Excluded(after), Bound::Unbounded);
        for (&id, incarnation) in self.known.range(behind) {
            if count >= most {
                break;
            }
            count += 1 + incarnation.sequences;
            let mut sequences = Vec::with_capacity(incarnation.sequences);
            for (place, &next) in self.places(id) {
                sequences.push(self.sequence(place, next, u64::MAX));
            }
            known.push(Known {
                id,
                epoch: incarnation.epoch,
                idle: self.idleness(incarnation),
                name: incarnation.name.as_ref().to_owned(),
                sequences,
            });
        }
        known
    }

    /// What is known of a place, with so many of its batches at most.
    fn sequence(&self, place: &Place, next: u64, most: u64) -> Sequence {
        let &(_, topic, partition) = place;
        Sequence {
            topic,
            partition,
            next,
            stored: self.remembered.last(place, most),
        }
    }

    fn idleness(&self, incarnation: &Incarnation) -> Duration {
        self.now.saturating_sub(incarnation.used)
    }

    /// The partitions that a producer has appended to, with the sequence of its next batch.
    fn places(&self, id: ProducerId) -> impl Iterator<Item = (&Place, &u64)> {
        places_of(&self.next, id)
    }
}

/// What there is of the places of a producer.
fn places_of<T>(all: &BTreeMap<Place, T>, id: ProducerId) -> impl Iterator<Item = (&Place, &T)> {
    let first = (id, TopicId(0), PartitionId(0));
    let last = (id, TopicId(u64::MAX), PartitionId(u32::MAX));
    all.range(first..=last)
}

impl Default for Producers {
    fn default() -> Self {
        Self::new(Room::MOST)
    }
}
