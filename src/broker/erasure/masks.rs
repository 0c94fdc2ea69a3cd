//! What readers are not shown of a partition although its files still have it.

use std::sync::{Arc, PoisonError};

use crate::{
    broker::state::Partition,
    storage::{
        format::{
            erasure::{Erasure, Token, erase_in, erased_element},
            frame::Frame,
        },
        keys::hash::KeyHasher,
        log::FoundRecord,
    },
    types::{Offset, RecordView},
};

/// The erased entities of a partition whose bytes are not gone yet, as they are at one moment.
#[derive(Clone, Default)]
pub(in crate::broker) struct Masks(Arc<Vec<Mask>>);

#[derive(Clone, Copy)]
struct Mask {
    token: Token,
    /// Records from this offset on are not erased.
    end: Offset,
}

impl Masks {
    /// Whether nothing was erased, and nothing completed, between these.
    pub(in crate::broker) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The frame without what is erased.
    pub(in crate::broker) fn hide_in(&self, hasher: &KeyHasher, frame: Frame) -> Frame {
        if self.0.iter().all(|mask| mask.end <= frame.header().base) {
            return frame;
        }
        erase_in(&frame, |record| self.token_of(hasher, record)).unwrap_or(frame)
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
    fn token_of(&self, hasher: &KeyHasher, record: &RecordView<'_>) -> Option<Token> {
        let key = record.key.filter(|_| !self.0.is_empty())?;
        let hash = hasher.key(key).0;
        let offset = Offset(record.offset?);
        let is_it = |mask: &&Mask| offset < mask.end && mask.token.hash() == hash && mask.token.is_of(key);
        self.0.iter().find(is_it).map(|mask| mask.token)
    }
}

impl Partition {
    /// What readers are not shown now.
    pub(in crate::broker) fn erased(&self) -> Masks {
        self.masks.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn add_mask(&self, erasure: &Erasure) {
        self.change_masks(|masks| {
            if masks.iter().all(|mask| mask.token != erasure.token) {
                masks.push(Mask { token: erasure.token, end: erasure.end });
            }
        });
    }

    pub(super) fn remove_mask(&self, token: &Token) {
        self.change_masks(|masks| masks.retain(|mask| mask.token != *token));
    }

    fn change_masks(&self, change: impl FnOnce(&mut Vec<Mask>)) {
        let mut masks = self.masks.write().unwrap_or_else(PoisonError::into_inner);
        let mut changed = Vec::clone(&masks.0);
        change(&mut changed);
        *masks = Masks(Arc::new(changed));
    }
}
