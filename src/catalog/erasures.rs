//! Erasures of entities: which there are, and which of them are complete.

use std::collections::{BTreeMap, VecDeque};

use crate::types::{Offset, PartitionId, TopicId, Version, limits};

/// What stands for the key of an erased entity; `storage/format/erasure.rs` says how it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Token(pub(crate) [u8; Token::BYTES]);

impl Token {
    /// The size of a token.
    pub(crate) const BYTES: usize = 32;

    /// The first one in their order.
    pub(crate) const FIRST: Self = Self([0; Self::BYTES]);
}

/// The erasure of an entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Erasure {
    pub(crate) id: u64,
    pub(crate) partition: PartitionId,
    pub(crate) token: Token,
    /// Behind the last record that is erased.
    pub(crate) end: Offset,
    /// The version of that record; [`Version::UNKNOWN`] where records that may be the entity's were
    /// damaged when it was erased. Whatever it is, all of its records before `end` are erased.
    pub(crate) through: Version,
    pub(crate) requested_ms: i64,
}

/// An erasure, and how far it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KnownErasure {
    pub(crate) topic: TopicId,
    /// Whether the bytes are gone from every file.
    pub(crate) complete: bool,
    pub(crate) erasure: Erasure,
}

/// All erasures that are known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Erasures {
    known: BTreeMap<u64, KnownErasure>,
    /// Those that are complete, in the order in which they became so.
    complete: VecDeque<u64>,
}

impl Erasures {
    /// The erasure of an id.
    pub(crate) fn get(&self, id: u64) -> Option<&KnownErasure> {
        self.known.get(&id)
    }

    /// All of them, in the order of their ids.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &KnownErasure> {
        self.known.values()
    }

    /// Those whose bytes are not gone yet.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = &KnownErasure> {
        self.iter().filter(|known| !known.complete)
    }

    /// How many there are of those.
    pub(super) fn count_waiting(&self) -> usize {
        self.known.len() - self.complete.len()
    }

    /// All of them, so that adding one after the other gives the same again: those that are
    /// complete in the order in which they became so.
    pub(super) fn snapshot(&self) -> Vec<KnownErasure> {
        let complete = self.complete.iter().filter_map(|id| self.get(*id));
        self.waiting().chain(complete).cloned().collect()
    }

    /// Adds an erasure, unless it is there.
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

    /// The bytes of an erasure are gone.
    pub(super) fn complete(&mut self, id: u64) {
        if let Some(known) = self.known.get_mut(&id).filter(|known| !known.complete) {
            known.complete = true;
            self.remember(id);
        }
    }

    /// Forgets the one that has been complete for longest, if there are too many.
    fn remember(&mut self, id: u64) {
        self.complete.push_back(id);
        if self.complete.len() > limits::MAX_ERASURES
            && let Some(oldest) = self.complete.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    /// Forgets what was erased in a topic that is deleted.
    pub(super) fn forget_topic(&mut self, topic: TopicId) {
        self.known.retain(|_, known| known.topic != topic);
        let known = &self.known;
        self.complete.retain(|id| known.contains_key(id));
    }
}
