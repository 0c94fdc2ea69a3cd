//! Trims of entities: of a key, the records below a version are gone.
//!
//! One is known here until their bytes are gone from the partition's segments. From then on a table
//! of last versions says where the entity starts (`storage/keys/last_versions.rs`), so what is in
//! memory is bounded by what waits, and not by how many entities were ever trimmed.

use std::collections::BTreeMap;

use super::{Token, groups::Place};
use crate::types::{Offset, PartitionId, TopicId, Version};

/// A trim of an entity. Of its key only a token is known, the same for every trim of one key
/// ([`Token::of_trimmed`]): should the entity be erased, nothing of the key is left here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyTrim {
    pub(crate) partition: PartitionId,
    pub(crate) token: Token,
    /// Records of lower versions are gone.
    pub(crate) before: Version,
    /// No such record is at this offset, or behind it.
    pub(crate) end: Offset,
    pub(crate) requested_ms: i64,
}

/// A trim of an entity in its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KnownKeyTrim {
    pub(crate) topic: TopicId,
    pub(crate) trim: KeyTrim,
}

/// The trims of entities whose bytes are not gone yet: one for each key.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyTrims {
    known: BTreeMap<(Place, Token), KeyTrim>,
}

impl KnownKeyTrim {
    /// What it is of: there is one trim for each.
    pub(crate) fn of(&self) -> (Place, Token) {
        ((self.topic, self.trim.partition), self.trim.token)
    }
}

impl KeyTrims {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = KnownKeyTrim> {
        let known = self.known.iter();
        known.map(|(((topic, _), _), trim)| KnownKeyTrim {
            topic: *topic,
            trim: *trim,
        })
    }

    /// The partitions that have some, in order.
    pub(crate) fn places(&self) -> Vec<Place> {
        let mut places: Vec<Place> = self.known.keys().map(|(place, _)| *place).collect();
        places.dedup();
        places
    }

    /// Those of a partition.
    pub(crate) fn of_partition(&self, place: Place) -> impl Iterator<Item = &KeyTrim> {
        let from = (place, Token::FIRST);
        let rest = self.known.range(from..);
        rest.take_while(move |((of, _), _)| *of == place)
            .map(|(_, trim)| trim)
    }

    /// Whether there is one of this key.
    pub(crate) fn has(&self, of: (Place, Token)) -> bool {
        self.known.contains_key(&of)
    }

    /// The records below a version are gone. One that waits already goes further; it has waited
    /// since it was first asked for.
    pub(super) fn add(&mut self, known: KnownKeyTrim) {
        let waiting = self.known.entry(known.of()).or_insert(known.trim);
        if waiting.before < known.trim.before {
            waiting.before = known.trim.before;
            waiting.end = known.trim.end;
        }
    }

    /// The bytes of records below this version are gone.
    pub(super) fn complete(&mut self, of: (Place, Token), before: Version) {
        if self
            .known
            .get(&of)
            .is_some_and(|trim| trim.before <= before)
        {
            self.known.remove(&of);
        }
    }

    /// Forgets those of a topic that is deleted.
    pub(super) fn forget_topic(&mut self, topic: TopicId) {
        self.known.retain(|((of, _), _), _| *of != topic);
    }
}
