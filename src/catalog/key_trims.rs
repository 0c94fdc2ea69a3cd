//! Trims of entities: the records of a key below a version are gone.
//!
//! A trim is kept here until the bytes of its records are gone from the partition's segments. From
//! then on a table of last versions says where the entity starts (`storage/keys/last_versions.rs`).
//! So the memory is bounded by the trims that are not complete, not by all trims ever.

use std::collections::BTreeMap;

use super::{Token, groups::Place};
use crate::types::{Offset, PartitionId, TopicId, Version};

/// A trim of an entity. It has a token instead of the key, the same for every trim of that key
/// ([`Token::of_trimmed`]), so that nothing of the key is left here if the entity is erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyTrim {
    pub(crate) partition: PartitionId,
    pub(crate) token: Token,
    /// Records of lower versions are gone.
    pub(crate) before: Version,
    /// All records of lower versions are before this offset.
    pub(crate) end: Offset,
    pub(crate) requested_ms: i64,
}

/// A trim of an entity, with its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KnownKeyTrim {
    pub(crate) topic: TopicId,
    pub(crate) trim: KeyTrim,
}

/// The trims of entities that are not complete, at most one for each key.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyTrims {
    known: BTreeMap<(Place, Token), KeyTrim>,
}

impl KnownKeyTrim {
    /// The partition and key that it belongs to; there is one trim for each.
    pub(crate) fn of(&self) -> (Place, Token) {
        ((self.topic, self.trim.partition), self.trim.token)
    }
}

impl KeyTrims {
    /// How many trims there are.
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    /// All trims.
    pub(crate) fn iter(&self) -> impl Iterator<Item = KnownKeyTrim> {
        let known = self.known.iter();
        known.map(|(((topic, _), _), trim)| KnownKeyTrim {
            topic: *topic,
            trim: *trim,
        })
    }

    /// The partitions with trims, in order.
    pub(crate) fn places(&self) -> Vec<Place> {
        let mut places: Vec<Place> = self.known.keys().map(|(place, _)| *place).collect();
        places.dedup();
        places
    }

    /// The trims in a partition.
    pub(crate) fn of_partition(&self, place: Place) -> impl Iterator<Item = &KeyTrim> {
        let from = (place, Token::FIRST);
        let rest = self.known.range(from..);
        rest.take_while(move |((of, _), _)| *of == place)
            .map(|(_, trim)| trim)
    }

    /// Whether there is a trim of this key.
    pub(crate) fn has(&self, of: (Place, Token)) -> bool {
        self.known.contains_key(&of)
    }

    /// Adds a trim. If there is one for the key already, it is extended, and keeps the time of its
    /// first request.
    pub(super) fn add(&mut self, known: KnownKeyTrim) {
        let waiting = self.known.entry(known.of()).or_insert(known.trim);
        if waiting.before < known.trim.before {
            waiting.before = known.trim.before;
            waiting.end = known.trim.end;
        }
    }

    /// Notes that the bytes of records below this version are gone.
    pub(super) fn complete(&mut self, of: (Place, Token), before: Version) {
        if self
            .known
            .get(&of)
            .is_some_and(|trim| trim.before <= before)
        {
            self.known.remove(&of);
        }
    }

    /// Forgets the trims in a deleted topic.
    pub(super) fn forget_topic(&mut self, topic: TopicId) {
        self.known.retain(|((of, _), _), _| *of != topic);
    }
}
