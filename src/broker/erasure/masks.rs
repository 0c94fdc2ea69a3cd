//! What readers are not shown of a partition although its files still have it.

use std::sync::{Arc, PoisonError};

use crate::{
    broker::state::Partition,
    catalog::{Erasure, Token},
    storage::{
        format::{
            erasure::{erase_in, erased_element},
            frame::Frame,
        },
        keys::hash::KeyHasher,
        log::FoundRecord,
    },
    types::{Offset, RecordView},
};

/// The erased entities of a partition whose bytes are not gone yet, as they are at one moment. None
/// as long as there was none: nearly every partition is like that, and a broker has many.
#[derive(Clone, Default)]
pub(in crate::broker) struct Masks(Option<Arc<Sorted>>);

#[derive(Clone, Default)]
struct Sorted {
    /// By the hashes of their keys.
    masks: Vec<Mask>,
    /// No record from this offset on is erased.
    end: Offset,
}

#[derive(Clone, Copy)]
struct Mask {
    token: Token,
    /// Records from this offset on are not erased.
    end: Offset,
}

impl Masks {
    /// Of these erasures.
    pub(super) fn of(erasures: &[Erasure]) -> Self {
        Self::sorted(
            erasures
                .iter()
                .map(|erasure| Mask {
                    token: erasure.token,
                    end: erasure.end,
                })
                .collect(),
        )
    }

    fn sorted(mut masks: Vec<Mask>) -> Self {
        masks.sort_by_key(|mask| mask.token.hash());
        let end = masks.iter().map(|mask| mask.end).max().unwrap_or_default();
        Self(Some(Arc::new(Sorted { masks, end })))
    }

    /// Whether nothing was erased, and nothing completed, between these.
    pub(in crate::broker) fn is_same(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }

    /// The frame without what is erased; none if it has nothing of it.
    pub(in crate::broker) fn erase_in(&self, hasher: &KeyHasher, frame: &Frame) -> Option<Frame> {
        let end = self.0.as_ref()?.end;
        if frame.header().base >= end {
            return None;
        }
        erase_in(frame, |record| self.token_of(hasher, record))
    }

    /// The record without what is erased.
    pub(in crate::broker) fn hide(&self, hasher: &KeyHasher, found: FoundRecord) -> FoundRecord {
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
        let Sorted { masks, end } = &**self.0.as_ref()?;
        let offset = record.offset.map(Offset).filter(|offset| offset < end)?;
        let key = record.key?;
        let hash = hasher.key(key).0;
        let first = masks.partition_point(|mask| mask.token.hash() < hash);
        let same_hash = masks[first..]
            .iter()
            .take_while(|mask| mask.token.hash() == hash);
        let mut of_key = same_hash.filter(|mask| offset < mask.end && mask.token.is_of(key));
        of_key.next().map(|mask| mask.token)
    }
}

impl Partition {
    /// What readers are not shown now.
    pub(in crate::broker) fn erased(&self) -> Masks {
        self.masks
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn add_mask(&self, erasure: &Erasure) {
        self.change_masks(|masks| {
            if masks.iter().all(|mask| mask.token != erasure.token) {
                masks.push(Mask {
                    token: erasure.token,
                    end: erasure.end,
                });
            }
        });
    }

    pub(super) fn remove_mask(&self, token: &Token) {
        self.change_masks(|masks| masks.retain(|mask| mask.token != *token));
    }

    fn change_masks(&self, change: impl FnOnce(&mut Vec<Mask>)) {
        let mut masks = self.masks.write().unwrap_or_else(PoisonError::into_inner);
        let mut changed = match &masks.0 {
            Some(sorted) => sorted.masks.clone(),
            None => Vec::new(),
        };
        change(&mut changed);
        *masks = Masks::sorted(changed);
    }
}
