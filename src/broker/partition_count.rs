//! How many partitions there are.
//!
//! A partition counts from the moment when its topic is about to be created until nothing of it is
//! left: neither its memory, which a read may hold for a while after the topic's deletion, nor its
//! files, which are removed after the next checkpoint. Otherwise topics could be deleted and
//! created faster than they are removed.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::{Notify, futures::Notified};

use crate::{
    budget::Part,
    types::limits::{MAX_PARTITIONS, PARTITION_BYTES},
};

/// Counts the partitions of all topics, and their memory.
#[derive(Clone)]
pub(super) struct PartitionCount(Arc<State>);

struct State {
    catalog: Arc<Part>,
    counted: AtomicUsize,
    freed: Notify,
}

/// Partitions that count as long as this lives.
pub(super) struct Counted {
    state: Arc<State>,
    partitions: usize,
}

impl PartitionCount {
    pub(super) fn new(catalog: Arc<Part>) -> Self {
        Self(Arc::new(State {
            catalog,
            counted: AtomicUsize::new(0),
            freed: Notify::new(),
        }))
    }

    /// How many partitions there may be: as many as the catalog's memory allows. Producers have
    /// bounds of their own, so a start with less memory does not forget any.
    pub(super) fn most(&self) -> usize {
        MAX_PARTITIONS.min(self.0.catalog.bound() / PARTITION_BYTES)
    }

    /// Counts this many more partitions, unless they would be too many.
    pub(super) fn count_if_room(&self, partitions: usize) -> Option<Counted> {
        let counted = &self.0.counted;
        let add = |now: usize| {
            now.checked_add(partitions)
                .filter(|sum| *sum <= self.most())
        };
        counted
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, add)
            .ok()?;
        Some(self.counted(partitions))
    }

    /// Counts partitions that exist.
    pub(super) fn count(&self, partitions: usize) -> Counted {
        self.0.counted.fetch_add(partitions, Ordering::AcqRel);
        self.counted(partitions)
    }

    /// How many partitions count.
    pub(super) fn get(&self) -> usize {
        self.0.counted.load(Ordering::Acquire)
    }

    /// Resolves when some partitions have stopped counting since this call.
    pub(super) fn freed(&self) -> Notified<'_> {
        self.0.freed.notified()
    }

    /// Ends all waits for fewer partitions, because storage has failed.
    pub(super) fn close(&self) {
        self.0.freed.notify_waiters();
    }

    fn counted(&self, partitions: usize) -> Counted {
        self.0.catalog.add(partitions * PARTITION_BYTES);
        Counted {
            state: Arc::clone(&self.0),
            partitions,
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let Self { state, partitions } = self;
        state.catalog.subtract(*partitions * PARTITION_BYTES);
        state.counted.fetch_sub(*partitions, Ordering::AcqRel);
        state.freed.notify_waiters();
    }
}
