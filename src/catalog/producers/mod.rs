//! Producers: their epochs, and the sequence of each one's next batch for every partition. With
//! these, a repeated append is recognized as stored, one that comes too early is refused, and one
//! of an earlier epoch is fenced.
//!
//! It is a state machine: `decide.rs` answers and changes nothing; `apply.rs` takes durable facts
//! and is the only mutation, live and in recovery. The broker has two of them. The *planned* one
//! has had every fact that is durable or under way, and decides. The *applied* one has had durable
//! facts only, and is what a checkpoint stores. Both get the same facts in the journal's order, so
//! they agree when nothing is under way.
//!
//! Nothing here reads a clock. A producer's idle time only advances as the caller tells the time of
//! a monotonic clock (`time.rs`). So no producer is forgotten when the wall clock jumps by a year,
//! or when the broker was stopped for as long.
//!
//! The applied one also remembers the positions of batches that a producer may still repeat
//! (`remembered.rs`), to give the same answer again. Of older batches only the sequence tells that
//! they are stored, so the answer has no positions.
//!
//! Memory is bounded by [`Room::MOST`]. What would exceed it is refused, unless other producers can
//! be forgotten (`room.rs`). If the log exceeds it nevertheless, the whole producer is forgotten,
//! and its client is told so. A single sequence is never forgotten alone, because then a batch
//! could be stored twice.

mod apply;
mod changes;
mod decide;
mod remembered;
mod room;
mod time;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, ops::Bound, sync::Arc, time::Duration};

pub(crate) use room::{Excess, HolderId, Kind, Room};

use crate::types::{PartitionId, ProducerId, Sequence, StoredBatch, TopicId, limits};

/// The known producers.
#[derive(Clone, Debug)]
pub(crate) struct Producers {
    known: BTreeMap<ProducerId, Incarnation>,
    by_name: BTreeMap<Arc<str>, ProducerId>,
    /// The sequence of each place's next batch. Never 0: that is the next sequence of a place
    /// without an entry.
    next: BTreeMap<Place, u64>,
    /// The time that the caller has told.
    now: Duration,
    /// When idle producers are to be forgotten.
    expiry: time::Expiry,
    /// The most room that producers may take.
    most: Room,
    /// The length of all names together.
    name_bytes: usize,
    /// The connections that hold producers.
    holders: BTreeMap<HolderId, room::Held>,
    /// When it was last found that no producer can be forgotten.
    in_vain: Option<Duration>,
    /// The positions of batches that may still be repeated. The planned state has none.
    remembered: remembered::Remembered,
    /// What has changed since the last checkpoint; `None` if no checkpoints are written from this
    /// state.
    noted: Option<changes::Noted>,
}

/// A partition that a producer has appended to. Sorted like this, all places of a producer are
/// adjacent.
type Place = (ProducerId, TopicId, PartitionId);

/// A producer with its current epoch.
#[derive(Clone, Debug)]
struct Incarnation {
    epoch: u32,
    /// Empty if it has no name.
    name: Arc<str>,
    used: Duration,
    /// How many partitions it has appended to.
    sequences: usize,
    /// The connection that used it last; it may be closed.
    holder: Option<HolderId>,
}

/// The id and epoch that a producer gets when it opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    pub(crate) id: ProducerId,
    pub(crate) epoch: u32,
}

/// What a producer's append is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// New: every batch is the next of its partition.
    New,
    /// Repeated: every batch is stored already, or under way.
    Duplicate,
}

/// Why a request of a producer is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// This producer, or this epoch of it, was never opened or is forgotten.
    Unknown,
    /// A newer epoch exists.
    Fenced { current: u32 },
    /// The batch at index `at` should have another sequence: a batch before it is missing, or it is
    /// stored already while other batches of the append are not.
    OutOfSequence { at: usize, expected: u64 },
    /// There is no room for another producer, or for partitions that this one has not appended to
    /// yet.
    TooMany(Excess),
}

/// Everything about one producer, for a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) id: ProducerId,
    pub(crate) epoch: u32,
    /// For how long it has been idle.
    pub(crate) idle: Duration,
    /// Empty if it has no name.
    pub(crate) name: String,
    /// Its sequences, by topic and partition.
    pub(crate) sequences: Vec<Sequence>,
}

/// What a listing shows of a producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) id: ProducerId,
    pub(crate) epoch: u32,
    /// Empty if it has no name.
    pub(crate) name: String,
    /// For how long it has been idle.
    pub(crate) idle: Duration,
    /// How many partitions it has appended to.
    pub(crate) partitions: usize,
}

impl Producers {
    /// No producers, and this much room.
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

    /// Sets how many batches are remembered.
    pub(crate) fn remembering(mut self, most: usize) -> Self {
        self.remembered = remembered::Remembered::new(most);
        self
    }

    /// Changes how many batches are remembered.
    pub(crate) fn remember_at_most(&mut self, most: usize) {
        self.remembered.bound(most);
    }

    /// A copy for planning: it does not remember the positions of batches.
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

    /// The memory of remembered batches, in bytes.
    pub(crate) fn remembered_bytes(&self) -> usize {
        self.remembered.bytes()
    }

    /// At most `most` producers behind `after`, by id.
    pub(crate) fn list(&self, after: ProducerId, most: usize) -> Vec<Listed> {
        let behind = (Bound::Excluded(after), Bound::Unbounded);
        let mut listed = Vec::new();
        for (&id, incarnation) in self.known.range(behind).take(most) {
            listed.push(self.listed(id, incarnation));
        }
        listed
    }

    /// The producer with a name.
    pub(crate) fn named(&self, name: &str) -> Option<Listed> {
        let id = *self.by_name.get(name)?;
        Some(self.listed(id, &self.known[&id]))
    }

    /// The producer with an id.
    pub(crate) fn with_id(&self, id: ProducerId) -> Option<Listed> {
        Some(self.listed(id, self.known.get(&id)?))
    }

    /// The name of the producer with an id, if it has one.
    pub(crate) fn name(&self, id: ProducerId) -> Option<&str> {
        let name = self.known.get(&id)?.name.as_ref();
        Some(name).filter(|name| !name.is_empty())
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

    /// Whether this epoch of a producer may append.
    pub(crate) fn is_known(&self, id: ProducerId, epoch: u32) -> bool {
        self.known
            .get(&id)
            .is_some_and(|incarnation| incarnation.epoch == epoch)
    }

    /// A part of a snapshot: the producers behind `after` that have about `most` sequences, at
    /// least one if there is one. Changes may be applied between two parts. Producers that have not
    /// changed are consistent, and applying the changes noted since the first part makes the rest
    /// so.
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

    /// The sequence of a place, with at most `most` of its remembered batches.
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

/// The entries of a map that belong to a producer.
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
