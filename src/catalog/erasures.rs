//! Erasures of entities, and which of them are complete.

use std::collections::{BTreeMap, VecDeque};

use crate::types::{Offset, PartitionId, TopicId, Version, limits};

/// Stands for the key of an erased entity; `storage/format/erasure.rs` says how it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Token(pub(crate) [u8; Token::BYTES]);

impl Token {
    /// The size of a token.
    pub(crate) const BYTES: usize = 32;

    /// The first token in the order of tokens.
    pub(crate) const FIRST: Self = Self([0; Self::BYTES]);
}

/// The erasure of an entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Erasure {
    pub(crate) id: u64,
    pub(crate) partition: PartitionId,
    pub(crate) token: Token,
    /// The offset behind the last erased record.
    pub(crate) end: Offset,
    /// The version of the last erased record; [`Version::UNKNOWN`] if records that may be the
    /// entity's were damaged at the time. In any case all its records before `end` are erased.
    pub(crate) through: Version,
    pub(crate) requested_ms: i64,
}

/// An erasure, and whether it is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KnownErasure {
    pub(crate) topic: TopicId,
    /// Whether the bytes are gone from every file.
    pub(crate) complete: bool,
    pub(crate) erasure: Erasure,
}

/// All known erasures.
#[derive(Clone, Debug, Default)]
pub(crate) struct Erasures {
    known: BTreeMap<u64, KnownErasure>,
    /// The ids of completed erasures, in the order of their completion.
    complete: VecDeque<u64>,
}

impl Erasures {
    /// The erasure with an id.
    pub(crate) fn get(&self, id: u64) -> Option<&KnownErasure> {
        self.known.get(&id)
    }

    /// All erasures, in the order of their ids.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &KnownErasure> {
        self.known.values()
    }

    /// Erasures whose bytes are not gone yet.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = &KnownErasure> {
        self.iter().filter(|known| !known.complete)
    }

    /// How many erasures are not complete yet.
    pub(super) fn count_waiting(&self) -> usize {
        self.known.len() - self.complete.len()
    }

    /// All erasures, completed ones in the order of their completion: adding them one by one
    /// restores the same state.
    pub(super) fn snapshot(&self) -> Vec<KnownErasure> {
        let complete = self.complete.iter().filter_map(|id| self.get(*id));
        self.waiting().chain(complete).cloned().collect()
    }

    /// Adds an erasure, unless it is known already.
    pub(super) fn add(&mut self, known: KnownErasure) {
        let (id, complete) = (known.erasure.id, known.complete);
        if self.known.contains_key(&id) {
            return;
        }
        self.known.insert(id, known);
        if complete {
            self.remember(id);
        }
    }

    /// Marks an erasure as complete: its bytes are gone.
    pub(super) fn complete(&mut self, id: u64) {
        if let Some(known) = self.known.get_mut(&id).filter(|known| !known.complete) {
            known.complete = true;
            self.remember(id);
        }
    }

    /// Remembers a completed erasure; if there are too many, forgets the one completed first.
    fn remember(&mut self, id: u64) {
        self.complete.push_back(id);
        if self.complete.len() > limits::MAX_ERASURES
            && let Some(oldest) = self.complete.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    /// Completes the erasures in a deleted topic, whose files go with it. They stay known: a backup
    /// may have the topic still.
    pub(super) fn complete_topic(&mut self, topic: TopicId) {
        let mut of_topic = Vec::new();
        for known in self.waiting() {
            if known.topic == topic {
                of_topic.push(known.erasure.id);
            }
        }
        for id in of_topic {
            self.complete(id);
        }
    }
}
