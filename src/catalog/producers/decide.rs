//! Decides requests of producers, according to the planned state. Nothing is changed here.

use std::collections::{BTreeMap, BTreeSet};

use super::{Decision, Excess, HolderId, Opened, Producers, Refused, Room};
use crate::types::{PartitionId, ProducerId, TopicId};

/// What a batch is.
enum Standing {
    Next,
    Stored,
}

impl Producers {
    /// The id and epoch of a producer that opens. A known name gets the next epoch of its id;
    /// otherwise it is the first epoch of `fresh_id`, a random id. An empty name is no name.
    /// `holder` is the connection on which it opens, if there is one.
    pub(crate) fn decide_open(
        &self,
        name: &str,
        fresh_id: ProducerId,
        holder: Option<HolderId>,
    ) -> Result<Opened, Excess> {
        let known = self
            .by_name
            .get(name)
            .map(|&id| (id, self.known[&id].epoch));
        // A name that has used up its epochs gets another id. Applying that forgets the old id,
        // which stops its batches as fencing would.
        if let Some((id, epoch)) = known.and_then(|(id, epoch)| Some((id, epoch.checked_add(1)?))) {
            return Ok(Opened { id, epoch });
        }
        if known.is_none() {
            self.check_room(Room::of_new(name), holder)?;
        }
        Ok(Opened {
            id: self.free_id(fresh_id),
            epoch: 1,
        })
    }

    /// The first id, from `id` on, that no producer has. 0 is left out: in a frame it stands for no
    /// producer.
    fn free_id(&self, mut id: ProducerId) -> ProducerId {
        while id.0 == 0 || self.known.contains_key(&id) {
            id = ProducerId(id.0.wrapping_add(1));
        }
        id
    }

    /// What an append is, given the topic, partition and sequence of each batch. Several batches
    /// for one partition must have consecutive sequences.
    pub(crate) fn decide_append(
        &self,
        id: ProducerId,
        epoch: u32,
        batches: &[(TopicId, PartitionId, u64)],
        holder: Option<HolderId>,
    ) -> Result<Decision, Refused> {
        let current = self.known.get(&id).ok_or(Refused::Unknown)?.epoch;
        if epoch != current {
            return Err(if epoch < current {
                Refused::Fenced { current }
            } else {
                Refused::Unknown
            });
        }
        // The next sequence of each partition, behind the batches so far.
        let mut planned = BTreeMap::new();
        let mut stored: Option<(usize, u64)> = None;
        for (at, &(topic, partition, sequence)) in batches.iter().enumerate() {
            let known = self.next.get(&(id, topic, partition)).copied().unwrap_or(0);
            let next = planned.get(&(topic, partition)).copied().unwrap_or(known);
            match standing(sequence, known, next)
                .ok_or(Refused::OutOfSequence { at, expected: next })?
            {
                Standing::Next => {
                    planned.insert((topic, partition), sequence.saturating_add(1));
                }
                Standing::Stored => {
                    stored.get_or_insert((at, next));
                }
            }
        }
        match stored {
            None => match self.check_room(self.room_for(id, batches), holder) {
                Ok(()) => Ok(Decision::New),
                Err(excess) => Err(Refused::TooMany(excess)),
            },
            Some(_) if planned.is_empty() => Ok(Decision::Duplicate),
            Some((at, expected)) => Err(Refused::OutOfSequence { at, expected }),
        }
    }

    /// What the batches of an append need: room for the partitions that their producer has not
    /// appended to yet.
    pub(crate) fn room_for(&self, id: ProducerId, batches: &[(TopicId, PartitionId, u64)]) -> Room {
        let mut new = BTreeSet::new();
        for &(topic, partition, _) in batches {
            if !self.next.contains_key(&(id, topic, partition)) {
                new.insert((topic, partition));
            }
        }
        Room::of_sequences(new.len())
    }
}

/// What a batch with this sequence is; `None` if it does not fit. `known` is the next sequence
/// before this append, `next` the one behind the append's earlier batches. A sequence used earlier
/// in the same append is not stored yet, so a second batch with it is no duplicate.
fn standing(sequence: u64, known: u64, next: u64) -> Option<Standing> {
    if sequence == next {
        Some(Standing::Next)
    } else {
        (sequence < known).then_some(Standing::Stored)
    }
}
