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
//! Nothing here reads a clock. A producer's idle time advances by what [`Producers::tick`] is told
//! and by nothing else, so a clock that jumps a year forgets nobody, and neither does a broker that
//! was stopped for as long.
//!
//! Memory is bounded by [`MAX_PRODUCERS`] and [`MAX_PRODUCER_SEQUENCES`]. What would go past them
//! is refused; where the log has it nevertheless, the producer is forgotten as a whole, which it is
//! told, never a sequence alone, by which a batch could be stored twice.
//!
//! [`MAX_PRODUCERS`]: crate::types::limits::MAX_PRODUCERS
//! [`MAX_PRODUCER_SEQUENCES`]: crate::types::limits::MAX_PRODUCER_SEQUENCES

mod apply;
mod decide;

#[cfg(test)]
mod tests;

use std::{cmp::Reverse, collections::BTreeMap, time::Duration};

use crate::types::{
    PartitionId, ProducerId, TopicId,
    limits::{MAX_PRODUCER_SEQUENCES, MAX_PRODUCERS},
};

/// The producers that are known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Producers {
    known: BTreeMap<ProducerId, Incarnation>,
    by_name: BTreeMap<Box<str>, ProducerId>,
    /// The sequence of the next batch; not 0, which every place without an entry has.
    next: BTreeMap<Place, u64>,
    /// How much time has been told of.
    now: Duration,
}

/// A partition that a producer has appended to. All places of a producer are neighbours in their
/// order.
type Place = (ProducerId, TopicId, PartitionId);

/// A producer's latest incarnation.
#[derive(Clone, Debug)]
struct Incarnation {
    epoch: u32,
    /// Empty for none.
    name: Box<str>,
    used: Duration,
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
    /// The sequence of its next batch, by topic and partition, in their order.
    pub(crate) next: Vec<(TopicId, PartitionId, u64)>,
}

impl Producers {
    /// Whether this incarnation may append.
    pub(crate) fn is_known(&self, id: ProducerId, epoch: u32) -> bool {
        self.known
            .get(&id)
            .is_some_and(|incarnation| incarnation.epoch == epoch)
    }

    /// Whether this producer is known, in whatever incarnation.
    pub(crate) fn knows(&self, id: ProducerId) -> bool {
        self.known.contains_key(&id)
    }

    /// The producers that have done nothing for `horizon` or longer. Forgetting one is a durable
    /// change like any other.
    pub(crate) fn idle_for(&self, horizon: Duration) -> Vec<ProducerId> {
        let idle = self
            .known
            .iter()
            .filter(|(_, incarnation)| self.idleness(incarnation) >= horizon);
        idle.map(|(id, _)| *id).collect()
    }

    /// The producers to forget early, because an eighth of the room for producers or for their
    /// sequences, or less, is left: those without a name that have done nothing for `horizon` or
    /// longer, the longest first, until an eighth of the room for both is free. A name is a promise
    /// to come back; without one a producer that is gone is gone.
    pub(crate) fn idle_in_a_crowd(&self, horizon: Duration) -> Vec<ProducerId> {
        let over = |count: usize, most: usize| count.saturating_sub(most - most / 8);
        let mut producers_over = over(self.known.len(), MAX_PRODUCERS);
        let mut sequences_over = over(self.next.len(), MAX_PRODUCER_SEQUENCES);
        if producers_over == 0 && sequences_over == 0 {
            return Vec::new();
        }
        let idle = self
            .known
            .iter()
            .map(|(id, incarnation)| (self.idleness(incarnation), *id, incarnation));
        let mut idle: Vec<_> = idle
            .filter(|(idle, _, one)| one.name.is_empty() && *idle >= horizon)
            .collect();
        idle.sort_unstable_by_key(|(idle, id, _)| (Reverse(*idle), *id));
        let mut forgotten = Vec::new();
        for (_, id, _) in idle {
            if producers_over == 0 && sequences_over == 0 {
                break;
            }
            producers_over = producers_over.saturating_sub(1);
            sequences_over = sequences_over.saturating_sub(self.places(id).count());
            forgotten.push(id);
        }
        forgotten
    }

    /// All that is known, in the order of the ids.
    pub(crate) fn snapshot(&self) -> Vec<Known> {
        let known = |(&id, incarnation): (&ProducerId, &Incarnation)| Known {
            id,
            epoch: incarnation.epoch,
            idle: self.idleness(incarnation),
            name: incarnation.name.as_ref().to_owned(),
            next: self
                .places(id)
                .map(|(&(_, topic, partition), &next)| (topic, partition, next))
                .collect(),
        };
        self.known.iter().map(known).collect()
    }

    fn idleness(&self, incarnation: &Incarnation) -> Duration {
        self.now.saturating_sub(incarnation.used)
    }

    /// The partitions that a producer has appended to, with the sequence of its next batch.
    fn places(&self, id: ProducerId) -> impl Iterator<Item = (&Place, &u64)> {
        let first = (id, TopicId(0), PartitionId(0));
        let last = (id, TopicId(u64::MAX), PartitionId(u32::MAX));
        self.next.range(first..=last)
    }
}
