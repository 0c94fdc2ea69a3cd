//! How many there are of something, and were at most: connections, calls.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

#[derive(Debug, Default)]
pub(super) struct Tally {
    now: AtomicUsize,
    most: AtomicUsize,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub(super) struct Counted(Arc<Tally>);

/// What the server counts.
#[derive(Clone, Debug)]
pub(super) struct Tallies {
    pub(super) connections: Arc<Tally>,
    pub(super) administrators: Arc<Tally>,
    pub(super) calls: Arc<Tally>,
}

impl Tallies {
    pub(super) fn new() -> Self {
        Self {
            connections: Arc::default(),
            administrators: Arc::default(),
            calls: Arc::default(),
        }
    }
}

impl Tally {
    /// Counts one more.
    pub(super) fn count(self: &Arc<Self>) -> Counted {
        let now = self.now.fetch_add(1, Relaxed) + 1;
        self.most.fetch_max(now, Relaxed);
        Counted(Arc::clone(self))
    }

    pub(super) fn now(&self) -> usize {
        self.now.load(Relaxed)
    }

    pub(super) fn most(&self) -> usize {
        self.most.load(Relaxed)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Relaxed);
    }
}
