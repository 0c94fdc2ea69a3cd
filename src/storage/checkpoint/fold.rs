//! Combines a checkpoint with the deltas that follow it.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    catalog::{KnownErasure, KnownKeyTrim, Token, groups::Place},
    storage::format::{
        checkpoint::{Checkpoint, Partition, Producer, Topic},
        delta::{ChangedProducer, ChangedTopic, Delta, Description},
    },
    types::{PartitionId, ProducerId, Sequence, StoredBatch, TopicId, limits},
};

/// A checkpoint while deltas are added to it.
pub(super) struct Folded {
    /// All of the checkpoint but topics, producers, erasures and trims, which the fields below
    /// have.
    rest: Checkpoint,
    topics: BTreeMap<TopicId, Topic>,
    producers: BTreeMap<ProducerId, Folding>,
    /// By id, each with a counter of changes: completed erasures are forgotten in the order in
    /// which they were completed.
    erasures: BTreeMap<u64, (u64, KnownErasure)>,
    changed_erasures: u64,
    key_trims: BTreeMap<(Place, Token), KnownKeyTrim>,
    /// How much time has passed for producers since the checkpoint.
    passed_ms: u64,
    /// Topics that are gone. `finish` leaves out their sequences; that may wait, because topic ids
    /// are not used again.
    topics_gone: BTreeSet<TopicId>,
}

/// A producer while deltas are added.
struct Folding {
    epoch: u32,
    name: String,
    /// For how long the producer had been idle when `passed_ms` had passed since the checkpoint.
    idle_ms: u64,
    passed_ms: u64,
    sequences: BTreeMap<(TopicId, PartitionId), (u64, Vec<StoredBatch>)>,
}

impl Folded {
    pub(super) fn new(mut checkpoint: Checkpoint) -> Self {
        let topics = std::mem::take(&mut checkpoint.topics);
        let erasures = std::mem::take(&mut checkpoint.erasures);
        let key_trims = std::mem::take(&mut checkpoint.key_trims);
        let mut producers = BTreeMap::new();
        for producer in std::mem::take(&mut checkpoint.producers) {
            let mut folding = Folding::new(producer.epoch, producer.name, producer.idle_ms, 0);
            folding.add(producer.sequences);
            producers.insert(producer.id, folding);
        }
        let mut folded = Self {
            rest: checkpoint,
            topics: topics.into_iter().map(|topic| (topic.id, topic)).collect(),
            producers,
            erasures: BTreeMap::new(),
            changed_erasures: 0,
            key_trims: key_trims.iter().map(|trim| (trim.of(), *trim)).collect(),
            passed_ms: 0,
            topics_gone: BTreeSet::new(),
        };
        for known in erasures {
            folded.change_erasure(known);
        }
        folded
    }

    /// Adds a delta; `None` if it changes something that does not exist, so it cannot belong here.
    pub(super) fn add(&mut self, delta: Delta) -> Option<()> {
        self.rest.applied = delta.applied;
        self.rest.journal_file = delta.journal_file;
        self.rest.clock = Some(delta.clock);
        self.rest.journal = delta.journal;
        for gone in delta.topics_gone {
            self.topics.remove(&gone);
            self.topics_gone.insert(gone);
            self.rest.groups.forget_topic(gone);
        }
        for topic in delta.topics {
            self.change_topic(topic)?;
        }
        self.passed_ms = self.passed_ms.saturating_add(delta.producers.passed_ms);
        for gone in delta.producers.gone {
            self.producers.remove(&gone);
        }
        for producer in delta.producers.changed {
            self.change_producer(producer)?;
        }
        for gone in delta.erasures_gone {
            self.erasures.remove(&gone);
        }
        for known in delta.erasures {
            self.change_erasure(known);
        }
        for gone in delta.key_trims_gone {
            self.key_trims.remove(&gone);
        }
        for trim in delta.key_trims {
            self.key_trims.insert(trim.of(), trim);
        }
        if let Some(tokens) = delta.access_tokens {
            self.rest.access_tokens = tokens;
        }
        for (name, change) in &delta.groups {
            self.rest.groups.apply(name, change);
        }
        Some(())
    }

    fn change_erasure(&mut self, known: KnownErasure) {
        self.changed_erasures += 1;
        let changed = (self.changed_erasures, known);
        self.erasures.insert(changed.1.erasure.id, changed);
    }

    fn change_topic(&mut self, changed: ChangedTopic) -> Option<()> {
        if let Some(description) = changed.description {
            let Description {
                seed,
                name,
                settings,
                partitions,
            } = description;
            let before = self.topics.remove(&changed.id);
            let mut topic = Topic {
                id: changed.id,
                seed,
                name,
                settings,
                partitions: before.map(|topic| topic.partitions).unwrap_or_default(),
            };
            let count = usize::try_from(partitions).ok()?;
            topic.partitions.resize(count, Partition::EMPTY);
            self.topics.insert(changed.id, topic);
        }
        let topic = self.topics.get_mut(&changed.id)?;
        for (number, partition) in changed.partitions {
            *topic.partitions.get_mut(usize::try_from(number.0).ok()?)? = partition;
        }
        Some(())
    }

    fn change_producer(&mut self, changed: ChangedProducer) -> Option<()> {
        if let Some((epoch, name)) = changed.anew {
            let anew = Folding::new(epoch, name, 0, 0);
            self.producers.insert(changed.id, anew);
        }
        let folding = self.producers.get_mut(&changed.id)?;
        folding.idle_ms = changed.idle_ms;
        folding.passed_ms = self.passed_ms;
        folding.add(changed.sequences);
        Some(())
    }

    /// The checkpoint as a whole one would have been written in place of the last delta.
    pub(super) fn finish(self) -> Checkpoint {
        let mut producers = Vec::with_capacity(self.producers.len());
        for (id, folding) in self.producers {
            let since = self.passed_ms.saturating_sub(folding.passed_ms);
            let mut sequences = Vec::with_capacity(folding.sequences.len());
            for ((topic, partition), (next, stored)) in folding.sequences {
                if self.topics_gone.contains(&topic) {
                    continue;
                }
                sequences.push(Sequence {
                    topic,
                    partition,
                    next,
                    stored,
                });
            }
            producers.push(Producer {
                id,
                epoch: folding.epoch,
                idle_ms: folding.idle_ms.saturating_add(since),
                name: folding.name,
                sequences,
            });
        }
        let mut erasures: Vec<(u64, KnownErasure)> = self.erasures.into_values().collect();
        // Erasures that are not complete come first; their order does not matter.
        erasures.sort_by_key(|(order, known)| known.complete.then_some(*order));
        Checkpoint {
            topics: self.topics.into_values().collect(),
            producers,
            erasures: erasures.into_iter().map(|(_, known)| known).collect(),
            key_trims: self.key_trims.into_values().collect(),
            ..self.rest
        }
    }
}

impl Folding {
    fn new(epoch: u32, name: String, idle_ms: u64, passed_ms: u64) -> Self {
        Self {
            epoch,
            name,
            idle_ms,
            passed_ms,
            sequences: BTreeMap::new(),
        }
    }

    /// Takes over changed sequences, and appends their new batches to the remembered ones.
    fn add(&mut self, sequences: Vec<Sequence>) {
        for sequence in sequences {
            let place = (sequence.topic, sequence.partition);
            let known = self.sequences.entry(place).or_default();
            // The checkpoint may know some of these batches already.
            let since = sequence.next.saturating_sub(known.0);
            let since = usize::try_from(since).unwrap_or(usize::MAX);
            let known_already = sequence.stored.len().checked_sub(since);
            if known_already.is_none() {
                // Batches in between are missing, and remembered ones must be consecutive.
                known.1.clear();
            }
            known.0 = known.0.max(sequence.next);
            let new = sequence.stored.into_iter();
            known.1.extend(new.skip(known_already.unwrap_or_default()));
            let too_many = known.1.len().saturating_sub(limits::REMEMBERED_BATCHES);
            known.1.drain(..too_many);
        }
    }
}
