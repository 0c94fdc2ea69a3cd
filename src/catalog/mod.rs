//! The catalog: named, durable state, as one state machine. It has topics, with their settings and
//! the starts of their partitions; producers; erasures and trims of entities; consumer groups; and
//! access tokens.
//!
//! A request is first decided (`decide.rs`), which changes nothing. [`Catalog::apply`] takes a
//! durable [`Change`] and is the only mutation, whether live, in recovery or when a data directory
//! is inspected. A checkpoint stores [`Catalog::snapshot_of_topics`], and snapshots of producers
//! and groups, which these make themselves. Nothing here does I/O, takes a lock, draws a random
//! number or reads a clock.
//!
//! A broker has two catalogs. The *planned* one ([`Planned`]) has had every change that is durable
//! or queued, and decides. The *applied* one has had durable changes only; it is what clients see
//! and what a checkpoint stores. Both get the same changes in the journal's order, so they are
//! equal when nothing is queued.
//!
//! The caller tells the catalog the time, and asks it for its next deadline:
//! [`Planned::next_deadline`]. Producers and groups then say what to change
//! ([`Planned::on_groups_deadline`]).
//!
//! Records are not here, except for what their frames say about producers:
//! [`Catalog::apply_batch`].

pub(crate) mod access_tokens;
mod change;
mod decide;
mod erasures;
pub(crate) mod groups;
mod key_trims;
mod planned;
pub(crate) mod producers;
mod topics;

#[cfg(test)]
mod tests;

pub(crate) use access_tokens::{AccessToken, AccessTokens};
pub(crate) use change::Change;
pub(crate) use decide::{Refusal, altered};
pub(crate) use erasures::{Erasure, Erasures, KnownErasure, Token};
pub(crate) use key_trims::{KeyTrim, KeyTrims, KnownKeyTrim};
pub(crate) use planned::{Planned, Settled};
pub(crate) use topics::{Topic, Topics};

use std::time::Duration;

use groups::{GroupChange, Groups};
use producers::{Known, Producers, Room};

use crate::types::{GroupName, Offset, PartitionId, ProducerId, StoredBatch, TopicId, limits};

/// Topics, producers, erasures, groups and access tokens.
#[derive(Clone, Debug)]
pub(crate) struct Catalog {
    topics: Topics,
    pub(crate) producers: Producers,
    erasures: Erasures,
    key_trims: KeyTrims,
    groups: Groups,
    access_tokens: AccessTokens,
}

/// Everything in a catalog.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// By name.
    pub(crate) topics: Vec<Topic>,
    /// By id.
    pub(crate) producers: Vec<Known>,
    pub(crate) erasures: Vec<KnownErasure>,
    pub(crate) key_trims: Vec<KnownKeyTrim>,
    pub(crate) groups: groups::Snapshot,
    /// By id.
    pub(crate) access_tokens: Vec<AccessToken>,
}

impl Catalog {
    /// An empty catalog with this much room for producers.
    pub(crate) fn new(room: Room) -> Self {
        Self {
            topics: Topics::default(),
            producers: Producers::new(room),
            erasures: Erasures::default(),
            key_trims: KeyTrims::default(),
            groups: Groups::default(),
            access_tokens: AccessTokens::default(),
        }
    }

    pub(crate) fn topics(&self) -> &Topics {
        &self.topics
    }

    pub(crate) fn erasures(&self) -> &Erasures {
        &self.erasures
    }

    pub(crate) fn key_trims(&self) -> &KeyTrims {
        &self.key_trims
    }

    pub(crate) fn access_tokens(&self) -> &AccessTokens {
        &self.access_tokens
    }

    pub(crate) fn groups(&self) -> &Groups {
        &self.groups
    }

    /// Mutable access, for state of groups that is not durable: what they wait for, and what they
    /// note for checkpoints.
    pub(crate) fn groups_mut(&mut self) -> &mut Groups {
        &mut self.groups
    }

    /// Applies a durable change; `now` is on the monotonic clock. Applying all changes from some
    /// point on again, in order, leads to the same state.
    pub(crate) fn apply(&mut self, change: &Change, now: Duration) {
        match change {
            Change::Create {
                topic,
                seed,
                name,
                partitions,
                settings,
            } => {
                let partitions = usize::try_from(*partitions).unwrap_or(usize::MAX);
                self.add_topic(Topic {
                    id: *topic,
                    seed: *seed,
                    name: name.clone(),
                    settings: settings.clone(),
                    starts: vec![Offset::ZERO; partitions],
                });
            }
            Change::Delete { topic } => self.remove_topic(*topic),
            Change::Alter { topic, settings } => self.topics.alter(*topic, settings),
            Change::Trim {
                topic,
                partition,
                before,
            }
            | Change::StartAt {
                topic,
                partition,
                offset: before,
            } => self.topics.trim(*topic, *partition, *before),
            Change::OpenProducer {
                producer,
                epoch,
                name,
            } => self.producers.apply_open(*producer, *epoch, name),
            Change::ForgetProducer { producer } => self.producers.apply_forget(*producer),
            Change::Erase { topic, erasure } => self.add_erasure(KnownErasure {
                topic: *topic,
                complete: false,
                erasure: erasure.clone(),
            }),
            Change::ErasureComplete { id } => self.erasures.complete(*id),
            Change::TrimKey { topic, trim } => self.add_key_trim(KnownKeyTrim {
                topic: *topic,
                trim: *trim,
            }),
            Change::KeysTrimmed {
                topic,
                partition,
                trims,
            } => {
                for (token, before) in trims {
                    let of = ((*topic, *partition), *token);
                    self.key_trims.complete(of, *before);
                }
            }
            Change::AddPartitions { topic, partitions } => {
                self.topics.add_partitions(*topic, *partitions);
            }
            Change::Group { group, change } => self.apply_group(group, change, now),
            Change::CreateToken { token } => self.access_tokens.add(token.clone()),
            Change::RevokeToken { id } => self.access_tokens.remove(*id),
        }
    }

    /// Applies a change of a group, without what it says about deleted topics: a checkpoint may
    /// have the deletion before the change is replayed.
    fn apply_group(&mut self, group: &GroupName, change: &GroupChange, now: Duration) {
        let topics = &self.topics;
        let is_there = |(topic, partition)| topics.has_partition(topic, partition);
        if change.is_all(is_there) {
            return self.groups.apply(group, change, now);
        }
        let mut change = change.clone();
        change.retain(is_there);
        self.groups.apply(group, &change, now);
    }

    /// Applies what a durable frame says about its producer. Does nothing if the topic is deleted:
    /// a checkpoint may have the deletion before the frame is replayed.
    pub(crate) fn apply_batch(
        &mut self,
        producer: ProducerId,
        epoch: u32,
        topic: TopicId,
        partition: PartitionId,
        sequence: u64,
    ) {
        if self.topics.has_partition(topic, partition) {
            let producers = &mut self.producers;
            producers.apply_batch(producer, epoch, topic, partition, sequence);
        }
    }

    /// As [`apply_batch`](Self::apply_batch), and remembers where the batch is stored.
    pub(crate) fn apply_stored(
        &mut self,
        producer: ProducerId,
        epoch: u32,
        topic: TopicId,
        partition: PartitionId,
        sequence: u64,
        stored: StoredBatch,
    ) {
        if self.topics.has_partition(topic, partition) {
            let producers = &mut self.producers;
            producers.apply_stored(producer, epoch, topic, partition, sequence, stored);
        }
    }

    /// Topics, erasures, trims of entities and access tokens, for a checkpoint. Producers and
    /// groups may be many, so they are taken in parts elsewhere.
    pub(crate) fn snapshot_of_topics(&self) -> Snapshot {
        Snapshot {
            topics: self.topics.iter().cloned().collect(),
            producers: Vec::new(),
            erasures: self.erasures.snapshot(),
            key_trims: self.key_trims.iter().collect(),
            groups: groups::Snapshot::default(),
            access_tokens: self.access_tokens.iter().cloned().collect(),
        }
    }

    /// Restores a catalog from a snapshot; `now` is the current time.
    pub(crate) fn restore(snapshot: Snapshot, room: Room, now: Duration) -> Self {
        let mut restored = Self {
            producers: Producers::restore(
                snapshot.producers,
                room,
                limits::MOST_REMEMBERED_BATCHES,
            ),
            ..Self::new(room)
        };
        for topic in snapshot.topics {
            restored.add_topic(topic);
        }
        for mut known in snapshot.erasures {
            let place = (known.topic, known.erasure.partition);
            known.complete |= !restored.topics.has_partition(place.0, place.1);
            restored.erasures.add(known);
        }
        for known in snapshot.key_trims {
            restored.add_key_trim(known);
        }
        restored.access_tokens = snapshot.access_tokens.into_iter().collect();
        let (mut groups, topics) = (snapshot.groups, &restored.topics);
        groups.retain(|(topic, partition)| topics.has_partition(topic, partition));
        restored.groups = Groups::restore(groups, now);
        restored
    }

    /// Adds a topic, unless it exists already. Another topic with the same name must have been
    /// deleted, by a change that was lost to damage, so it is removed.
    fn add_topic(&mut self, topic: Topic) {
        if let Some(deleted) = self.topics.named(&topic.name).filter(|id| *id != topic.id) {
            self.remove_topic(deleted);
        }
        self.topics.add(topic);
    }

    /// Removes a topic, and all that was known about it but its erasures.
    fn remove_topic(&mut self, topic: TopicId) {
        if self.topics.remove(topic) {
            self.producers.forget_topic(topic);
            self.erasures.complete_topic(topic);
            self.key_trims.forget_topic(topic);
            self.groups.forget_topic(topic);
        }
    }

    fn add_erasure(&mut self, known: KnownErasure) {
        if self
            .topics
            .has_partition(known.topic, known.erasure.partition)
        {
            self.erasures.add(known);
        }
    }

    fn add_key_trim(&mut self, known: KnownKeyTrim) {
        let partition = known.trim.partition;
        if self.topics.has_partition(known.topic, partition) {
            self.key_trims.add(known);
        }
    }
}
