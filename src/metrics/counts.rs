//! What a broker counts while it works. Nothing here takes a lock.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use super::{Histogram, Metric, Page};

/// A number that only rises.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

/// A number that is set.
#[derive(Debug, Default)]
pub(crate) struct Gauge(AtomicU64);

/// What a broker counts, from its start on.
#[derive(Debug)]
pub(crate) struct Counts {
    pub(crate) appends: Appends,
    pub(crate) journal: Journal,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) scrub: Scrub,
    pub(crate) compaction: Compaction,
    /// Bytes of sealed segments that were compressed, before they were.
    pub(crate) compressed: Counter,
    /// How long it took until the partitions of a group were with those who are to have them.
    pub(crate) rebalances: Histogram,
}

/// What has become of appends, and how long it took.
#[derive(Debug)]
pub(crate) struct Appends {
    /// Those that are durable, and visible.
    pub(crate) stored: Counter,
    /// Their records, and their bytes with all that the broker adds.
    pub(crate) records: Counter,
    pub(crate) bytes: Counter,
    pub(crate) conflicts: Counter,
    pub(crate) refusals: Refusals,
    /// Those that their clients may not make.
    pub(crate) denied: Counter,
    /// Until there was room for one, and it was its turn.
    pub(crate) wait: Histogram,
    /// From then on, until the journal took it: it was checked, and had its place in the order.
    pub(crate) queue: Histogram,
    /// All of it, from when the request was there until it was durable and visible.
    pub(crate) whole: Histogram,
}

/// What the journal does. Only its thread counts here.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    /// Writes of all that was queued.
    pub(crate) write: Histogram,
    /// Syncs of what was written.
    pub(crate) sync: Histogram,
    /// Until what was durable was visible.
    pub(crate) apply: Histogram,
}

/// The checkpoints that were written.
#[derive(Debug, Default)]
pub(crate) struct Checkpoint {
    took: Histogram,
    /// When the last one was written, by the clock of the environment.
    pub(crate) at_ms: Gauge,
    /// The last journal entry that it covers.
    pub(crate) covered: Gauge,
}

/// What was verified in the background.
#[derive(Debug, Default)]
pub(crate) struct Scrub {
    pub(crate) bytes: Counter,
    /// How often all that there was had been verified.
    pub(crate) rounds: Counter,
}

/// What compaction has done.
#[derive(Debug, Default)]
pub(crate) struct Compaction {
    /// Passes over a partition that came to their end.
    pub(crate) passes: Counter,
    /// Bytes that these have read.
    pub(crate) bytes: Counter,
    /// Records that they have removed.
    pub(crate) removed: Counter,
}

/// How often something was refused for each reason.
#[derive(Debug)]
pub(crate) struct Refusals(Box<[(&'static str, Counter)]>);

impl Counter {
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Gauge {
    fn set(&self, number: u64) {
        self.0.store(number, Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Checkpoint {
    /// One is written. It took so long, and covers the entries up to this one.
    pub(crate) fn note(&self, took: Duration, at: Duration, covered: u64) {
        self.took.observe(took);
        self.at_ms
            .set(u64::try_from(at.as_millis()).unwrap_or(u64::MAX));
        self.covered.set(covered);
    }
}

impl Refusals {
    fn new(reasons: &[&'static str]) -> Self {
        let count = |reason: &&'static str| (*reason, Counter::default());
        Self(reasons.iter().map(count).collect())
    }

    /// Something was refused for this reason, which is one of those that there are.
    pub(crate) fn count(&self, reason: &str) {
        if let Some((_, count)) = self.0.iter().find(|(known, _)| *known == reason) {
            count.add(1);
        }
    }
}

impl Counts {
    /// `reasons` are those for which an append can be refused.
    pub(crate) fn new(reasons: &[&'static str]) -> Self {
        Self {
            appends: Appends {
                stored: Counter::default(),
                records: Counter::default(),
                bytes: Counter::default(),
                conflicts: Counter::default(),
                refusals: Refusals::new(reasons),
                denied: Counter::default(),
                wait: Histogram::default(),
                queue: Histogram::default(),
                whole: Histogram::default(),
            },
            journal: Journal::default(),
            checkpoint: Checkpoint::default(),
            scrub: Scrub::default(),
            compaction: Compaction::default(),
            compressed: Counter::default(),
            rebalances: Histogram::default(),
        }
    }

    /// Puts all of it on a page.
    pub(crate) fn show(&self, page: &mut Page) {
        self.show_appends(page);
        self.show_background(page);
    }

    fn show_appends(&self, page: &mut Page) {
        let Self {
            appends, journal, ..
        } = self;
        page.set(Metric::Appends, appends.stored.get());
        page.set(Metric::AppendRecords, appends.records.get());
        page.set(Metric::AppendBytes, appends.bytes.get());
        page.set(Metric::AppendConflicts, appends.conflicts.get());
        for (reason, count) in &appends.refusals.0 {
            page.set_for(Metric::AppendRefusals, &[("reason", reason)], count.get());
        }
        let denied = [("reason", "PERMISSION_DENIED")];
        page.set_for(Metric::AppendRefusals, &denied, appends.denied.get());
        page.set(Metric::AppendWait, appends.wait.distribution());
        page.set(Metric::AppendQueue, appends.queue.distribution());
        page.set(Metric::AppendTime, appends.whole.distribution());
        page.set(Metric::JournalWrite, journal.write.distribution());
        page.set(Metric::JournalSync, journal.sync.distribution());
        page.set(Metric::JournalApply, journal.apply.distribution());
    }

    fn show_background(&self, page: &mut Page) {
        let took = self.checkpoint.took.distribution();
        page.set(Metric::CheckpointTime, took);
        page.set(Metric::ScrubBytes, self.scrub.bytes.get());
        page.set(Metric::ScrubRounds, self.scrub.rounds.get());
        page.set(Metric::Compactions, self.compaction.passes.get());
        page.set(Metric::CompactionBytes, self.compaction.bytes.get());
        page.set(Metric::CompactionRecords, self.compaction.removed.get());
        page.set(Metric::CompressionBytes, self.compressed.get());
        page.set(Metric::GroupRebalances, self.rebalances.distribution());
    }
}
