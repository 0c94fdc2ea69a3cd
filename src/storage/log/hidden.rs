//! What readers of a log are not shown although its files still have it: erased entities, and
//! records trimmed by entity.

use std::sync::Arc;

use super::{FoundRecord, Log};
use crate::{
    catalog::{Erasure, KeyTrim, Token},
    storage::{
        format::{
            erasure::{Left, edit, erased_element},
            frame::Frame,
        },
        keys::hash::{KeyHash, KeyHasher},
    },
    types::{Offset, RecordView, Version},
};

/// What is hidden in a partition at one moment, because its bytes are not gone yet. Nearly every
/// partition hides nothing, and then it takes no memory.
#[derive(Clone, Default)]
pub(crate) struct Hidden {
    erased: Option<Arc<Sorted<Erased>>>,
    trimmed: Trimmed,
}

/// The entities of a partition at one moment that were trimmed and whose bytes are not gone yet.
#[derive(Clone, Default)]
pub(crate) struct Trimmed(Option<Arc<Sorted<KeyTrim>>>);

/// Entities with hidden records.
#[derive(Clone)]
struct Sorted<E> {
    /// Sorted by the hashes of their keys.
    entities: Vec<E>,
    /// Nothing is hidden from this offset on.
    end: Offset,
}

#[derive(Clone, Copy)]
struct Erased {
    token: Token,
    /// Records from this offset on are not erased.
    end: Offset,
}

/// An entity with hidden records before an offset.
trait Entity: Copy {
    fn token(&self) -> &Token;
    fn end(&self) -> Offset;
}

impl Entity for Erased {
    fn token(&self) -> &Token {
        &self.token
    }

    fn end(&self) -> Offset {
        self.end
    }
}

impl Entity for KeyTrim {
    fn token(&self) -> &Token {
        &self.token
    }

    fn end(&self) -> Offset {
        self.end
    }
}

impl<E: Entity> Sorted<E> {
    fn of(mut entities: Vec<E>) -> Option<Arc<Self>> {
        entities.sort_by_key(|entity| entity.token().hash());
        let end = entities.iter().map(Entity::end).max()?;
        Some(Arc::new(Self { entities, end }))
    }

    /// Finds the entity of a key.
    ///
    /// Comparing hashes takes nanoseconds, computing a token's digest half a microsecond. So the
    /// digest is computed only for entities whose hash is equal to the key's, however many entities
    /// there are.
    fn find(&self, hash: KeyHash, key: &[u8]) -> Option<&E> {
        let first = self
            .entities
            .partition_point(|entity| entity.token().hash() < hash.0);
        let mut same_hash = self.entities[first..]
            .iter()
            .take_while(|entity| entity.token().hash() == hash.0);
        same_hash.find(|entity| entity.token().is_of(key))
    }
}

impl Hidden {
    /// Whether both are the same value: nothing was erased or trimmed, or completed, between them.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.has_same_erasures(other) && is_same(&self.trimmed.0, &other.trimmed.0)
    }

    /// Whether both have the same erasures: nothing was erased, or its erasure completed, between
    /// them.
    pub(crate) fn has_same_erasures(&self, other: &Self) -> bool {
        is_same(&self.erased, &other.erased)
    }

    /// The trimmed entities.
    pub(crate) fn trimmed(&self) -> &Trimmed {
        &self.trimmed
    }

    /// The frame without what is hidden; `None` if nothing of it is hidden.
    pub(crate) fn edit(&self, hasher: &KeyHasher, frame: &Frame) -> Option<Frame> {
        let ends = [
            self.erased.as_ref().map(|erased| erased.end),
            self.trimmed.0.as_ref().map(|trimmed| trimmed.end),
        ];
        if frame.header().base >= ends.into_iter().flatten().max()? {
            return None;
        }
        edit(frame, |record| self.left_of(hasher, record))
    }

    /// The record without what was erased; `None` if it was trimmed.
    pub(super) fn hide(&self, hasher: &KeyHasher, found: FoundRecord) -> Option<FoundRecord> {
        if self.erased.is_none() && self.trimmed.is_empty() {
            return Some(found);
        }
        let record = found.view();
        match self.left_of(hasher, &record) {
            Left::All => Some(found),
            Left::Erased(token) => {
                let left = erased_element(&record, &token);
                Some(FoundRecord::from_element(left))
            }
            Left::Nothing => None,
        }
    }

    /// What readers see of a record.
    fn left_of(&self, hasher: &KeyHasher, record: &RecordView<'_>) -> Left {
        let (Some(key), Some(offset)) = (record.key, record.offset.map(Offset)) else {
            return Left::All;
        };
        if self.trimmed.has(hasher, record) {
            return Left::Nothing;
        }
        let erased = self.erased.as_ref().filter(|erased| offset < erased.end);
        let Some(entities) = erased else {
            return Left::All;
        };
        match entities.find(hasher.key(key), key) {
            Some(entity) if offset < entity.end => Left::Erased(entity.token),
            _ => Left::All,
        }
    }
}

impl Trimmed {
    /// Whether no entity is trimmed.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Records from this offset on are not trimmed.
    pub(crate) fn end(&self) -> Offset {
        self.0.as_ref().map_or(Offset::ZERO, |trimmed| trimmed.end)
    }

    /// All of them, in the order of their hashes.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &KeyTrim> {
        self.0.iter().flat_map(|trimmed| &trimmed.entities)
    }

    /// The version below which a key's records are gone, if its entity is trimmed.
    pub(crate) fn start_of(&self, hash: KeyHash, key: &[u8]) -> Option<Version> {
        let trim = self.0.as_ref()?.find(hash, key)?;
        Some(trim.before)
    }

    /// Whether a record is trimmed. A record that was erased before has no key any more, so what is
    /// left of it stays.
    pub(crate) fn has(&self, hasher: &KeyHasher, record: &RecordView<'_>) -> bool {
        let Some(trimmed) = &self.0 else {
            return false;
        };
        let (Some(key), Some(version)) = (record.key, record.version.map(Version)) else {
            return false;
        };
        let is_behind = |offset| Offset(offset) >= trimmed.end;
        if record.offset.is_some_and(is_behind) {
            return false;
        }
        let found = trimmed.find(hasher.key(key), key);
        found.is_some_and(|trim| version < trim.before)
    }
}

fn is_same<T>(one: &Option<Arc<T>>, other: &Option<Arc<T>>) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        _ => false,
    }
}

impl Log {
    /// Hides an erased entity from readers, from now on.
    pub(crate) fn hide(&mut self, erasure: &Erasure) {
        let (token, end) = (erasure.token, erasure.end);
        let mut entities = self.erased_entities();
        if entities.iter().all(|entity| entity.token != token) {
            entities.push(Erased { token, end });
        }
        self.change_view(|view| view.hidden.erased = Sorted::of(entities));
    }

    /// Ends hiding an erased entity: no file has its bytes any more.
    pub(crate) fn end_hiding(&mut self, token: &Token) {
        let mut entities = self.erased_entities();
        entities.retain(|entity| entity.token != *token);
        self.change_view(|view| view.hidden.erased = Sorted::of(entities));
    }

    fn erased_entities(&self) -> Vec<Erased> {
        let view = self.view();
        let erased = view.hidden.erased.as_ref();
        erased.map_or_else(Vec::new, |erased| erased.entities.clone())
    }

    /// Replaces the set of trimmed entities whose records are hidden.
    pub(crate) fn set_trimmed(&mut self, trims: Vec<KeyTrim>) {
        self.change_view(|view| view.hidden.trimmed = Trimmed(Sorted::of(trims)));
    }
}
