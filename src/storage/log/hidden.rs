//! What readers are not shown of a log although its files still have it.

use std::sync::Arc;

use super::{FoundRecord, Log};
use crate::{
    catalog::{Erasure, Token},
    storage::{
        format::{
            erasure::{erase_in, erased_element},
            frame::Frame,
        },
        keys::hash::KeyHasher,
    },
    types::{Offset, RecordView},
};

/// The erased entities of a partition whose bytes are not gone yet, as they are at one moment. None
/// as long as there was none: nearly every partition is like that, and a broker has many.
#[derive(Clone, Default)]
pub(crate) struct Hidden(Option<Arc<Sorted>>);

#[derive(Clone, Default)]
struct Sorted {
    /// By the hashes of their keys.
    entities: Vec<Entity>,
    /// No record from this offset on is erased.
    end: Offset,
}

#[derive(Clone, Copy)]
struct Entity {
    token: Token,
    /// Records from this offset on are not erased.
    end: Offset,
}

impl Hidden {
    /// Of these erasures.
    pub(crate) fn of(erasures: &[Erasure]) -> Self {
        Self::sorted(erasures.iter().map(Entity::of).collect())
    }

    fn sorted(mut entities: Vec<Entity>) -> Self {
        entities.sort_by_key(|entity| entity.token.hash());
        let end = entities.iter().map(|entity| entity.end).max();
        let end = end.unwrap_or_default();
        Self(Some(Arc::new(Sorted { entities, end })))
    }

    /// Whether nothing was erased, and nothing completed, between these.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }

    /// The frame without what is erased; none if it has nothing of it.
    pub(crate) fn erase_in(&self, hasher: &KeyHasher, frame: &Frame) -> Option<Frame> {
        let end = self.0.as_ref()?.end;
        if frame.header().base >= end {
            return None;
        }
        erase_in(frame, |record| self.token_of(hasher, record))
    }

    /// The record without what is erased.
    pub(super) fn hide(&self, hasher: &KeyHasher, found: FoundRecord) -> FoundRecord {
        if self.0.is_none() {
            return found;
        }
        let record = found.view();
        match self.token_of(hasher, &record) {
            Some(token) => FoundRecord::from_element(erased_element(&record, &token)),
            None => found,
        }
    }

    /// The token that stands for a record's key, if the record is erased.
    ///
    /// A hash is had in nanoseconds, the digest in a token in half a microsecond: only records
    /// whose hash is that of an erased key cost that, however many there are of both.
    fn token_of(&self, hasher: &KeyHasher, record: &RecordView<'_>) -> Option<Token> {
        let Sorted { entities, end } = &**self.0.as_ref()?;
        let offset = record.offset.map(Offset).filter(|offset| offset < end)?;
        let key = record.key?;
        let hash = hasher.key(key).0;
        let first = entities.partition_point(|entity| entity.token.hash() < hash);
        let same_hash = entities[first..]
            .iter()
            .take_while(|entity| entity.token.hash() == hash);
        let mut of_key = same_hash.filter(|entity| offset < entity.end && entity.token.is_of(key));
        of_key.next().map(|entity| entity.token)
    }

    fn entities(&self) -> Vec<Entity> {
        let sorted = self.0.as_ref();
        sorted.map_or_else(Vec::new, |sorted| sorted.entities.clone())
    }
}

impl Entity {
    fn of(erasure: &Erasure) -> Self {
        Self {
            token: erasure.token,
            end: erasure.end,
        }
    }
}

impl Log {
    /// Hides what is erased: readers are not shown it from now on.
    pub(crate) fn hide(&mut self, erasure: &Erasure) {
        let mut entities = self.view().hidden.entities();
        if entities.iter().all(|entity| entity.token != erasure.token) {
            entities.push(Entity::of(erasure));
        }
        self.change_view(|view| view.hidden = Hidden::sorted(entities));
    }

    /// Takes note that no file has what was erased.
    pub(crate) fn end_hiding(&mut self, token: &Token) {
        let mut entities = self.view().hidden.entities();
        entities.retain(|entity| entity.token != *token);
        self.change_view(|view| view.hidden = Hidden::sorted(entities));
    }
}
