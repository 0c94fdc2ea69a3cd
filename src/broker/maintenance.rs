//! The owner of what is done in the background: housekeeping, indexing, removing what was erased,
//! compaction, compression, and scrubbing. What each of them remembers is here, and how it is
//! called. The rounds themselves are in `housekeeping.rs`, `keys/upkeep.rs`, `erasure/remove.rs`,
//! `compaction`, `compression.rs` and `scrub.rs`; when one is
//! due, `schedule.rs` says.

use std::{sync::Arc, time::Duration};

use super::{
    compaction::Compactions, compression::Compressor, erasure::AllProgress,
    housekeeping::Housekeeper, scrub::Scrubs, wakeup::Wakeup,
};
use crate::env::{Alarm, OrderedMutex, rank};

/// Owns what threads remember from one round to the next.
pub(super) struct Maintenance {
    pub(super) housekeeper: OrderedMutex<Housekeeper, rank::Housekeeper>,
    /// Calls housekeeping.
    pub(super) housekeeping: Arc<Wakeup>,
    /// Calls indexing.
    pub(super) indexing: Arc<Wakeup>,
    /// Calls whoever gives back the room of files that are gone.
    pub(super) freeing: Arc<Wakeup>,
    /// What has been done about erasures that are not complete.
    pub(super) erasures: OrderedMutex<AllProgress, rank::Erasures>,
    /// How far partitions have been compacted.
    pub(super) compactions: Arc<Compactions>,
    /// Compresses sealed segments.
    pub(super) compressor: Compressor,
    /// How far sealed segments have been verified.
    pub(super) scrubs: Scrubs,
}

/// What calls the threads.
pub(super) struct Wakeups {
    pub(super) housekeeping: Arc<Wakeup>,
    pub(super) indexing: Arc<Wakeup>,
    pub(super) freeing: Arc<Wakeup>,
}

impl Wakeups {
    /// Housekeeping is due at this moment first.
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
        }
    }

    /// Lets the threads end.
    pub(super) fn close(&self) {
        self.housekeeping.close();
        self.indexing.close();
        self.freeing.close();
    }
}
