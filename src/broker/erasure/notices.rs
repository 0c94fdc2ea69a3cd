//! Tells readers that follow a topic what was erased in it.

use std::{
    collections::VecDeque,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use super::ErasedEntity;
use crate::{broker::lock, types::PartitionId};

/// Most notices that are kept for readers that are behind. A reader further behind misses the
/// oldest.
const MOST: usize = 10_000;

/// The notices of a topic. A reader is told of those that come after it began.
#[derive(Default)]
pub(in crate::broker) struct Notices {
    kept: Mutex<VecDeque<(PartitionId, ErasedEntity)>>,
    /// How many notices there were.
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

    /// How many notices there were; a reader begins behind these.
    pub(in crate::broker) fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// The next notice for a reader that has seen `told` notices; increases `told`.
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
