//! Owns the state of background work: housekeeping, indexing, erasure, compaction, compression and
//! scrubbing. What each remembers between its rounds is here, and how it is woken. The rounds
//! themselves are in `housekeeping.rs`, `keys/round.rs`, `erasure/remove.rs`, `compaction`,
//! `compression.rs` and `scrub.rs`; `schedule.rs` decides when one is due.

use std::{sync::Arc, time::Duration};

use super::{
    backup::Backups, compaction::Compactions, compression::Compressor, erasure::AllProgress,
    housekeeping::Housekeeper, scrub::Scrubs, wakeup::Wakeup,
};
use crate::env::{Alarm, OrderedMutex, rank};

/// What background threads remember between two rounds.
pub(super) struct Maintenance {
    pub(super) housekeeper: OrderedMutex<Housekeeper, rank::Housekeeper>,
    /// Wakes housekeeping.
    pub(super) housekeeping: Arc<Wakeup>,
    /// Wakes indexing.
    pub(super) indexing: Arc<Wakeup>,
    /// Wakes the thread that frees the space of removed files.
    pub(super) freeing: Arc<Wakeup>,
    /// The progress of erasures that are not complete.
    pub(super) erasures: OrderedMutex<AllProgress, rank::Erasures>,
    /// How far partitions have been compacted.
    pub(super) compactions: Arc<Compactions>,
    /// Compresses sealed segments.
    pub(super) compressor: Compressor,
    /// How far sealed segments have been verified.
    pub(super) scrubs: Scrubs,
    /// Which backup is under way.
    pub(super) backups: Backups,
}

/// Wakes the background threads.
pub(super) struct Wakeups {
    pub(super) housekeeping: Arc<Wakeup>,
    pub(super) indexing: Arc<Wakeup>,
    pub(super) freeing: Arc<Wakeup>,
}

impl Wakeups {
    /// The first round of housekeeping is due at `first`.
    pub(super) fn new(alarm: &Arc<Alarm>, first: Duration) -> Self {
        Self {
            housekeeping: Arc::new(Wakeup::new(Arc::clone(alarm), Some(first))),
            indexing: Arc::new(Wakeup::new(Arc::clone(alarm), None)),
            freeing: Arc::new(Wakeup::new(Arc::clone(alarm), None)),
        }
    }
}

impl Maintenance {
    pub(super) fn new(housekeeper: Housekeeper, wakeups: Wakeups) -> Self {
        Self {
            housekeeper: OrderedMutex::new(housekeeper),
            housekeeping: wakeups.housekeeping,
            indexing: wakeups.indexing,
            freeing: wakeups.freeing,
            erasures: OrderedMutex::new(AllProgress::default()),
            compactions: Arc::new(Compactions::new()),
            compressor: Compressor::default(),
            scrubs: Scrubs::new(),
            backups: Backups::default(),
        }
    }

    /// Tells the threads to end.
    pub(super) fn close(&self) {
        self.housekeeping.close();
        self.indexing.close();
        self.freeing.close();
    }
}
