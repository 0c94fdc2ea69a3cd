//! Applies durable facts about producers: the only way in which they change.
//!
//! Recovery may meet a fact that was applied already, because a frame may be both in a segment and
//! in the journal. Therefore epochs and sequences only go up, and applying all facts from some
//! point on again changes nothing.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{Incarnation, Known, Place, Producers, Room};
use crate::types::{PartitionId, ProducerId, StoredBatch, TopicId};

impl Producers {
    /// Restores producers from a snapshot; `remembered` bounds the batches that are remembered.
    /// Idle times continue from where they were.
    pub(crate) fn restore(
        snapshot: impl IntoIterator<Item = Known>,
        most: Room,
        remembered: usize,
    ) -> Self {
        let snapshot: Vec<Known> = snapshot.into_iter().collect();
        let now = snapshot
            .iter()
            .map(|known| known.idle)
            .max()
            .unwrap_or_default();
        let mut restored = Self {
            now,
            ..Self::new(most).remembering(remembered)
        };
        for known in snapshot {
            restored.apply_open(known.id, known.epoch, &known.name);
            for sequence in known.sequences {
                let place = (known.id, sequence.topic, sequence.partition);
                restored.raise(place, sequence.next);
                for batch in sequence.stored {
                    restored.remember(place, batch, true);
                }
            }
            if let Some(incarnation) = restored.known.get_mut(&known.id) {
                incarnation.used = now.saturating_sub(known.idle);
            }
        }
        restored.expiry.note_used(Duration::ZERO);
        restored
    }

    /// A producer has this epoch; its sequences begin at 0.
    pub(crate) fn apply_open(&mut self, id: ProducerId, epoch: u32, name: &str) {
        if self
            .known
            .get(&id)
            .is_some_and(|incarnation| incarnation.epoch >= epoch)
        {
            return self.apply_use(id);
        }
        self.apply_forget(id);
        if let Some(&other) = self.by_name.get(name) {
            self.apply_forget(other);
        }
        // The bound on names is not checked: they may have been accepted when there was more room.
        if self.known.len() >= self.most.producers {
            return;
        }
        let name: Arc<str> = name.into();
        if !name.is_empty() {
            self.by_name.insert(Arc::clone(&name), id);
        }
        self.name_bytes += name.len();
        self.expiry.note_used(self.now);
        if let Some(noted) = &mut self.noted {
            noted.anew(id);
        }
        self.known.insert(
            id,
            Incarnation {
                epoch,
                name,
                used: self.now,
                sequences: 0,
                holder: None,
            },
        );
    }

    /// A batch of a producer is stored. Does nothing if the producer is not known or has a newer
    /// epoch.
    pub(crate) fn apply_batch(
        &mut self,
        id: ProducerId,
        epoch: u32,
        topic: TopicId,
        partition: PartitionId,
        sequence: u64,
    ) {
        let Some(incarnation) = self
            .known
            .get_mut(&id)
            .filter(|incarnation| incarnation.epoch <= epoch)
        else {
            return;
        };
        incarnation.used = self.now;
        let is_newer = incarnation.epoch < epoch;
        incarnation.epoch = epoch;
        if let Some(noted) = &mut self.noted {
            noted.used(id);
        }
        if is_newer {
            // The change that opened this epoch was lost to damage. The epoch before it must stay
            // fenced.
            if let Some(noted) = &mut self.noted {
                noted.anew(id);
            }
            let forgotten = self.forget_places(id);
            self.count_less(id, forgotten);
        }
        // After damage, batches before this one may be missing; the producer has continued behind
        // them.
        self.raise((id, topic, partition), sequence.saturating_add(1));
    }

    /// As [`apply_batch`](Self::apply_batch), and remembers where the batch is stored.
    pub(crate) fn apply_stored(
        &mut self,
        id: ProducerId,
        epoch: u32,
        topic: TopicId,
        partition: PartitionId,
        sequence: u64,
        stored: StoredBatch,
    ) {
        let place = (id, topic, partition);
        let before = self.next.get(&place).copied().unwrap_or_default();
        self.apply_batch(id, epoch, topic, partition, sequence);
        let next = self.next.get(&place).copied();
        if self.is_known(id, epoch) && next > Some(before) {
            self.remember(place, stored, before == sequence);
        }
    }

    /// A producer did something that changes nothing, for example it repeated an append.
    pub(crate) fn apply_use(&mut self, id: ProducerId) {
        if let Some(incarnation) = self.known.get_mut(&id) {
            incarnation.used = self.now;
            if let Some(noted) = &mut self.noted {
                noted.used(id);
            }
        }
    }

    /// A producer is forgotten, and its name with it.
    pub(crate) fn apply_forget(&mut self, id: ProducerId) {
        let Some(incarnation) = self.known.remove(&id) else {
            return;
        };
        self.by_name.remove(&incarnation.name);
        self.name_bytes -= incarnation.name.len();
        self.give_back(incarnation.holder, Room::of(&incarnation));
        if let Some(noted) = &mut self.noted {
            noted.anew(id);
        }
        self.forget_places(id);
    }

    /// A topic is deleted. A new topic with its name has another id, so the sequences are not
    /// needed any more.
    pub(crate) fn forget_topic(&mut self, deleted: TopicId) {
        let mut forgotten: BTreeMap<ProducerId, usize> = BTreeMap::new();
        let remembered = &mut self.remembered;
        self.next.retain(|place, _| {
            let &(id, topic, _) = place;
            if topic == deleted {
                *forgotten.entry(id).or_default() += 1;
                remembered.forget(place);
            }
            topic != deleted
        });
        if let Some(noted) = &mut self.noted {
            noted.topic_gone(deleted);
        }
        for (id, sequences) in forgotten {
            self.count_less(id, sequences);
        }
    }

    /// Raises the sequence of a producer's next batch in a partition to at least `next`.
    fn raise(&mut self, place: Place, next: u64) {
        let before = self.next.get(&place).copied();
        if before >= Some(next) {
            return;
        }
        let Some(incarnation) = self.known.get_mut(&place.0) else {
            return;
        };
        if before.is_none() {
            if self.next.len() >= self.most.sequences {
                return self.apply_forget(place.0);
            }
            incarnation.sequences += 1;
            let holder = incarnation.holder;
            self.add(holder, Room::of_sequences(1));
        }
        self.next.insert(place, next);
        if let Some(noted) = &mut self.noted {
            noted.appended(place, before.unwrap_or_default());
        }
    }

    /// Remembers the last batch of a place, if the place is known.
    fn remember(&mut self, place: Place, batch: StoredBatch, follows: bool) {
        if self.next.contains_key(&place) {
            self.remembered.push(place, batch, follows);
        }
    }

    /// Forgets the sequences of a producer; returns how many there were.
    fn forget_places(&mut self, id: ProducerId) -> usize {
        let places: Vec<Place> = self.places(id).map(|(place, _)| *place).collect();
        for place in &places {
            self.next.remove(place);
            self.remembered.forget(place);
        }
        places.len()
    }

    /// Reduces a producer's number of sequences.
    fn count_less(&mut self, id: ProducerId, sequences: usize) {
        if let Some(incarnation) = self.known.get_mut(&id) {
            incarnation.sequences -= sequences;
            let holder = incarnation.holder;
            self.give_back(holder, Room::of_sequences(sequences));
        }
    }
}
