//! Counts the memory of producers, apart from the catalog's decisions, and how many were forgotten
//! to make room.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use super::lock;
use crate::{
    budget::Part,
    catalog::producers::{HolderId, Producers},
};

/// How often the log says how many producers were forgotten to make room.
const SAID_EVERY: Duration = Duration::from_secs(60);

/// Counts the memory of producers in the catalog's part of the budget.
pub(super) struct ProducerMemory {
    part: Arc<Part>,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    /// The bytes that are counted for producers now.
    counted: usize,
    /// How many of these bytes are for remembered batches.
    remembered: usize,
    /// How many producers were forgotten to make room since the log last said so.
    forgotten: u64,
    /// When the log last said how many.
    said_at: Option<Duration>,
    /// The id of the next connection that may hold producers.
    next_holder: u64,
}

impl ProducerMemory {
    pub(super) fn new(part: Arc<Part>) -> Self {
        Self {
            part,
            counts: Mutex::default(),
        }
    }

    /// A new id for a connection that may hold producers.
    pub(super) fn new_holder(&self) -> HolderId {
        let mut counts = lock(&self.counts);
        let id = HolderId(counts.next_holder);
        counts.next_holder += 1;
        id
    }

    /// Counts the planned producers. What appends add is counted a moment later.
    pub(super) fn count(&self, planned: &Producers) {
        self.recount(&mut lock(&self.counts), planned);
    }

    /// Counts the planned producers, with `remembered` bytes for their remembered batches.
    pub(super) fn count_with(&self, planned: &Producers, remembered: usize) {
        let mut counts = lock(&self.counts);
        counts.remembered = remembered;
        self.recount(&mut counts, planned);
    }

    fn recount(&self, counts: &mut Counts, planned: &Producers) {
        let bytes = planned.used().bytes() + counts.remembered;
        let before = std::mem::replace(&mut counts.counted, bytes);
        self.part.add(bytes.saturating_sub(before));
        self.part.subtract(before.saturating_sub(bytes));
    }

    /// Notes that producers were forgotten to make room.
    pub(super) fn note_forgotten(&self, producers: usize) {
        lock(&self.counts).forgotten += producers as u64;
    }

    /// Logs how many were forgotten to make room.
    pub(super) fn say_forgotten(&self, now: Duration) {
        let mut counts = lock(&self.counts);
        let said = counts.said_at;
        let is_due = said.is_none_or(|said| now.saturating_sub(said) >= SAID_EVERY);
        if counts.forgotten == 0 || !is_due {
            return;
        }
        let producers = std::mem::take(&mut counts.forgotten);
        counts.said_at = Some(now);
        drop(counts);
        tracing::info!(
            producers,
            "forgotten to make room for others: those that have stored nothing first, then those idle the longest"
        );
    }
}
