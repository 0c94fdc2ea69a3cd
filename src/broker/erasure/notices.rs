//! Telling readers that follow a topic what has been erased in it.

use std::{
    collections::VecDeque,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use super::ErasedEntity;
use crate::{broker::lock, types::PartitionId};

/// Most notices that are kept for readers that have not come to them: a reader that is so far
/// behind has been told of as many, and misses the oldest of the rest.
const MOST: usize = 10_000;

/// The notices of a topic. A reader is told of those that come after it began.
#[derive(Default)]
pub(in crate::broker) struct Notices {
    kept: Mutex<VecDeque<(PartitionId, ErasedEntity)>>,
    /// How many there have been.
    count: AtomicU64,
}

impl Notices {
    pub(super) fn add(&self, partition: PartitionId, notice: ErasedEntity) {
        let mut kept = lock(&self.kept);
        kept.push_back((partition, notice));
        if kept.len() > MOST {
            kept.pop_front();
        }
        self.count.fetch_add(1, Ordering::Release);
    }

    /// How many notices there have been: where a reader begins.
    pub(in crate::broker) fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// The next notice for a reader that was told of `told`, which is moved behind it.
    pub(in crate::broker) fn next(&self, told: &mut u64) -> Option<(PartitionId, ErasedEntity)> {
        if *told >= self.count() {
            return None;
        }
        let kept = lock(&self.kept);
        let first = self.count() - kept.len() as u64;
        *told = (*told).max(first) + 1;
        kept.get(usize::try_from(*told - 1 - first).ok()?).cloned()
    }
}
