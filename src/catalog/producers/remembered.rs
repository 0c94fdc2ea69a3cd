//! The positions of batches that producers may still repeat.
//!
//! For every place, which is a partition of a producer, the last batches are remembered:
//! [`REMEMBERED_BATCHES`] if there is room for as many of every place; otherwise fewer, the same
//! number for each; and the last one in any case. The number is a power of two, so it changes
//! seldom. Batches beyond it are forgotten only when there is no room left, for all places at once.
//! So a batch costs the same time on average, however many places there are.

use std::collections::{BTreeMap, VecDeque, btree_map::Entry};

use super::Place;
use crate::types::{StoredBatch, limits::REMEMBERED_BATCHES};

/// The remembered batches.
#[derive(Clone, Debug)]
pub(super) struct Remembered {
    places: BTreeMap<Place, Last>,
    /// The number of batches of all places.
    count: usize,
    most: usize,
}

/// The last batches of a place, consecutive.
#[derive(Clone, Debug)]
struct Last {
    newest: StoredBatch,
    /// The batches before it, oldest first. Most places have just one batch.
    earlier: Option<Box<Earlier>>,
}

/// In a box of its own, so that a place with one batch takes no memory for more.
#[derive(Clone, Debug, Default)]
struct Earlier {
    batches: VecDeque<StoredBatch>,
}

impl Remembered {
    /// Remembers none yet, and `most` in all.
    pub(super) fn new(most: usize) -> Self {
        Self {
            places: BTreeMap::new(),
            count: 0,
            most,
        }
    }

    /// Changes the bound.
    pub(super) fn bound(&mut self, most: usize) {
        self.most = most;
        if self.count > most.max(self.places.len()) {
            self.shrink();
        }
    }

    /// Remembers none, with the same bound.
    pub(super) fn without_any(&self) -> Self {
        Self::new(self.most)
    }

    /// Its memory beyond one batch of each place, in bytes.
    pub(super) fn bytes(&self) -> usize {
        (self.count - self.places.len()) * size_of::<StoredBatch>()
    }

    /// Adds the last batch of a place. `follows` says whether it follows directly on the last
    /// remembered one; otherwise those are forgotten.
    pub(super) fn push(&mut self, place: Place, batch: StoredBatch, follows: bool) {
        let share = self.share();
        match self.places.entry(place) {
            Entry::Vacant(vacant) => {
                vacant.insert(Last {
                    newest: batch,
                    earlier: None,
                });
                self.count += 1;
            }
            Entry::Occupied(mut last) => {
                let last = last.get_mut();
                if follows {
                    last.push(batch);
                    self.count += 1;
                    self.count -= last.keep(share);
                } else {
                    self.count -= last.keep(1);
                    last.newest = batch;
                }
            }
        }
        if self.count > self.most.max(self.places.len()) {
            self.shrink();
        }
    }

    /// The batch of a place that has `behind` newer ones.
    pub(super) fn find(&self, place: &Place, behind: u64) -> Option<StoredBatch> {
        let last = self.places.get(place)?;
        let Some(back) = behind.checked_sub(1) else {
            return Some(last.newest);
        };
        let earlier = last.earlier.as_deref()?;
        let back = usize::try_from(back).ok()?;
        earlier.batches.iter().rev().nth(back).copied()
    }

    /// The last batches of a place, at most `most`, oldest first.
    pub(super) fn last(&self, place: &Place, most: u64) -> Vec<StoredBatch> {
        let Some(last) = self.places.get(place).filter(|_| most > 0) else {
            return Vec::new();
        };
        let earlier = last
            .earlier
            .iter()
            .flat_map(|earlier| earlier.batches.iter());
        let len = last.len();
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let newest = std::iter::once(&last.newest);
        let all = earlier.chain(newest);
        all.skip(len.saturating_sub(most)).copied().collect()
    }

    /// Forgets the batches of a place.
    pub(super) fn forget(&mut self, place: &Place) {
        if let Some(last) = self.places.remove(place) {
            self.count -= last.len();
        }
    }

    /// How many batches of each place may be remembered.
    fn share(&self) -> usize {
        let share = self.most / self.places.len().max(1);
        1 << share.clamp(1, REMEMBERED_BATCHES).ilog2()
    }

    /// Forgets the batches beyond each place's share.
    fn shrink(&mut self) {
        let share = self.share();
        for last in self.places.values_mut() {
            self.count -= last.keep(share);
        }
    }
}

impl Last {
    fn len(&self) -> usize {
        1 + self
            .earlier
            .as_ref()
            .map_or(0, |earlier| earlier.batches.len())
    }

    fn push(&mut self, batch: StoredBatch) {
        let before = std::mem::replace(&mut self.newest, batch);
        let earlier = self.earlier.get_or_insert_default();
        earlier.batches.push_back(before);
    }

    /// Keeps the last `most` batches, at least one; returns how many were forgotten.
    fn keep(&mut self, most: usize) -> usize {
        let too_many = self.len().saturating_sub(most);
        if most == 1 {
            self.earlier = None;
        } else if let Some(Earlier { batches }) = self.earlier.as_deref_mut() {
            batches.drain(..too_many);
            // Frees memory that was needed for many more.
            if batches.capacity() > 4 * most {
                batches.shrink_to(most);
            }
        }
        too_many
    }
}
