//! Where batches are stored that producers may still send again.
//!
//! Of every partition of every producer the last batches are remembered:
//! [`REMEMBERED_BATCHES`] while there is room for as many of all of them, else as many as there is
//! room for, the same number of each, and the last one whatever there are. The number is a power of
//! two, so that it seldom changes, and what one has too many goes when there is no room left, for
//! all at a time: a batch costs the same time on average, however many partitions there are.

use std::collections::{BTreeMap, VecDeque, btree_map::Entry};

use super::Place;
use crate::types::{StoredBatch, limits::REMEMBERED_BATCHES};

/// The batches that are remembered.
#[derive(Clone, Debug)]
pub(super) struct Remembered {
    places: BTreeMap<Place, Last>,
    /// Of all places.
    count: usize,
    most: usize,
}

/// The last batches of a place, without gaps.
#[derive(Clone, Debug)]
struct Last {
    newest: StoredBatch,
    /// Those before it, the oldest first. Most places have one batch.
    earlier: Option<Box<Earlier>>,
}

/// Apart, so that a place with one batch has no room for more.
#[derive(Clone, Debug, Default)]
struct Earlier {
    batches: VecDeque<StoredBatch>,
}

impl Remembered {
    /// None yet, and room for so many.
    pub(super) fn new(most: usize) -> Self {
        Self {
            places: BTreeMap::new(),
            count: 0,
            most,
        }
    }

    /// Gives it another bound.
    pub(super) fn bound(&mut self, most: usize) {
        self.most = most;
        if self.count > most.max(self.places.len()) {
            self.shrink();
        }
    }

    /// None, and as much room.
    pub(super) fn without_any(&self) -> Self {
        Self::new(self.most)
    }

    /// How much memory it takes beside that of one batch of each place, in bytes.
    pub(super) fn bytes(&self) -> usize {
        (self.count - self.places.len()) * size_of::<StoredBatch>()
    }

    /// The last batch of a place. `follows` says whether the one before it is the last that is
    /// remembered.
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

    /// The batch that has so many of its place behind it.
    pub(super) fn find(&self, place: &Place, behind: u64) -> Option<StoredBatch> {
        let last = self.places.get(place)?;
        let Some(back) = behind.checked_sub(1) else {
            return Some(last.newest);
        };
        let earlier = last.earlier.as_deref()?;
        let back = usize::try_from(back).ok()?;
        earlier.batches.iter().rev().nth(back).copied()
    }

    /// The last of a place, at most so many, the oldest first.
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

    /// Forgets those of a place.
    pub(super) fn forget(&mut self, place: &Place) {
        if let Some(last) = self.places.remove(place) {
            self.count -= last.len();
        }
    }

    /// How many of each place may be remembered.
    fn share(&self) -> usize {
        let share = self.most / self.places.len().max(1);
        1 << share.clamp(1, REMEMBERED_BATCHES).ilog2()
    }

    /// Forgets what is more than that.
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

    /// Forgets all but so many, at least one; returns how many these are.
    fn keep(&mut self, most: usize) -> usize {
        let too_many = self.len().saturating_sub(most);
        if most == 1 {
            self.earlier = None;
        } else if let Some(Earlier { batches }) = self.earlier.as_deref_mut() {
            batches.drain(..too_many);
            // Memory that was for many more.
            if batches.capacity() > 4 * most {
                batches.shrink_to(most);
            }
        }
        too_many
    }
}
