//! The catalog: named state that outlives the process, as one state machine. Topics, with their
//! settings and where their partitions start; producers; erasures and trims of entities; consumer
//! groups; access tokens.
//!
//! What is asked for is decided first (`decide.rs`), which changes nothing. [`Catalog::apply`]
//! takes a durable [`Change`] and is the only mutation, live, in recovery and where a data
//! directory is inspected. [`Catalog::snapshot_of_topics`] is what a checkpoint stores, and of
//! producers and groups what they say themselves. Nothing here does I/O, takes a lock, draws a
//! random number or reads a clock.
//!
//! A broker holds two. What is *planned* ([`Planned`]) has had every change that is durable or
//! queued, and decides; what is *applied* is behind it by what is queued, and is what others are
//! shown and a checkpoint stores. Both get the same changes in the journal's order, so they agree
//! when nothing is queued.
//!
//! Time is told to it, and it says when something is over next: [`Planned::next_deadline`]. What
//! comes of that say producers and groups ([`Planned::on_groups_deadline`]).
//!
//! Records are not here, but for what their frames say of producers: [`Catalog::apply_batch`].

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

/// All that a catalog holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// In the order of their names.
    pub(crate) topics: Vec<Topic>,
    /// In the order of their ids.
    pub(crate) producers: Vec<Known>,
    pub(crate) erasures: Vec<KnownErasure>,
    pub(crate) key_trims: Vec<KnownKeyTrim>,
    pub(crate) groups: groups::Snapshot,
    /// In the order of their ids.
    pub(crate) access_tokens: Vec<AccessToken>,
}

impl Catalog {
    /// With nothing in it, and this much room for producers.
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

    /// What groups wait for, and what is noted of them, is no durable state.
    pub(crate) fn groups_mut(&mut self) -> &mut Groups {
        &mut self.groups
    }

    /// Applies a durable change, as of `now` on the monotonic clock. All changes from some point
    /// on, applied again in their order, lead to the same state.
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

    /// Applies a change of a group, but for what is said of topics that are deleted: a checkpoint
    /// may know that before the change is replayed.
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

    /// Applies what a durable frame says of the producer that numbered it. Nothing if its topic is
    /// deleted: a checkpoint may know that before the frame is replayed.
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

    /// As [`apply_batch`](Self::apply_batch), and it is remembered where it is stored.
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

    /// Topics, erasures, trims of entities and access tokens, for a checkpoint: producers and
    /// groups may be many, and are taken in parts.
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

    /// What a snapshot was taken of, as of `now`.
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
        for known in snapshot.erasures {
            restored.add_erasure(known);
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

    /// Adds a topic, unless it is there. One that has its name was deleted, by a change that is
    /// lost to damage.
    fn add_topic(&mut self, topic: Topic) {
        if let Some(deleted) = self.topics.named(&topic.name).filter(|id| *id != topic.id) {
            self.remove_topic(deleted);
        }
        self.topics.add(topic);
    }

    /// Removes a topic, with what was known of it.
    fn remove_topic(&mut self, topic: TopicId) {
        if self.topics.remove(topic) {
            self.producers.forget_topic(topic);
            self.erasures.forget_topic(topic);
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
