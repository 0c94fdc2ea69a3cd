//! The counters of a broker. Nothing here takes a lock.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use super::{Histogram, Metric, Page};

/// A number that only rises.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

/// A number that can be set to any value.
#[derive(Debug, Default)]
pub(crate) struct Gauge(AtomicU64);

/// What a broker has counted since its start.
#[derive(Debug)]
pub(crate) struct Counts {
    pub(crate) appends: Appends,
    pub(crate) journal: Journal,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) backup: Backup,
    pub(crate) scrub: Scrub,
    pub(crate) compaction: Compaction,
    /// The size of compressed segments before they were compressed, in bytes.
    pub(crate) compressed: Counter,
    /// How long it took after each change of a group until its partitions were with their new
    /// owners.
    pub(crate) rebalances: Histogram,
}

/// The outcomes of appends, and how long they took.
#[derive(Debug)]
pub(crate) struct Appends {
    /// Appends that are durable and visible.
    pub(crate) stored: Counter,
    /// Their records, and the size of these with the fields that the broker adds.
    pub(crate) records: Counter,
    pub(crate) bytes: Counter,
    pub(crate) conflicts: Counter,
    pub(crate) refusals: Refusals,
    /// Appends that were not permitted.
    pub(crate) denied: Counter,
    /// Appends that were refused because of a quota.
    pub(crate) over_quota: Counter,
    /// The wait of an append for memory, and for its turn.
    pub(crate) wait: Histogram,
    /// The time from then until the journal took the append; it was checked and ordered meanwhile.
    pub(crate) queue: Histogram,
    /// The time from the arrival of the request until the append was durable and visible.
    pub(crate) whole: Histogram,
}

/// Times of the journal thread, which alone counts here.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    /// Writes of the queued commits.
    pub(crate) write: Histogram,
    /// Syncs after these writes.
    pub(crate) sync: Histogram,
    /// The time in which an entry that is durable became visible.
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

/// The backups that were sent to their end, and the last of them.
#[derive(Debug, Default)]
pub(crate) struct Backup {
    count: Counter,
    /// When it was begun, by the clock of the environment.
    pub(crate) begun_ms: Gauge,
    /// When it was taken, in milliseconds since 1970.
    taken_ms: Gauge,
    bytes: Gauge,
    sent: Gauge,
    took_ms: Gauge,
}

/// Counts for background verification.
#[derive(Debug, Default)]
pub(crate) struct Scrub {
    pub(crate) bytes: Counter,
    /// How often a partition's segments were all verified.
    pub(crate) rounds: Counter,
}

/// Counts of compaction.
#[derive(Debug, Default)]
pub(crate) struct Compaction {
    /// Completed passes over a partition.
    pub(crate) passes: Counter,
    /// Bytes that passes have read.
    pub(crate) bytes: Counter,
    /// Records that passes have removed.
    pub(crate) removed: Counter,
}

/// Refused requests by reason.
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
    /// Counts a checkpoint that took this long and covers the entries up to this one.
    pub(crate) fn note(&self, took: Duration, at: Duration, covered: u64) {
        self.took.observe(took);
        self.at_ms
            .set(u64::try_from(at.as_millis()).unwrap_or(u64::MAX));
        self.covered.set(covered);
    }
}

impl Backup {
    /// Counts a backup that was sent completely: when it was taken, when and for how long it was
    /// sent, the size of its files, and how many bytes of these were sent.
    pub(crate) fn note(&self, taken_ms: i64, (begun, took): (Duration, Duration), bytes: [u64; 2]) {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.begun_ms.set(millis(begun));
        self.taken_ms.set(u64::try_from(taken_ms).unwrap_or(0));
        self.took_ms.set(millis(took));
        self.bytes.set(bytes[0]);
        self.sent.set(bytes[1]);
        self.count.add(1);
    }

    fn show(&self, page: &mut Page) {
        page.set(Metric::Backups, self.count.get());
        if self.count.get() == 0 {
            return;
        }
        let seconds = |ms: &Gauge| ms.get() as f64 / 1e3;
        page.set(Metric::BackupTaken, seconds(&self.taken_ms));
        page.set(Metric::BackupTime, seconds(&self.took_ms));
        page.set(Metric::BackupBytes, self.bytes.get());
        page.set(Metric::BackupSent, self.sent.get());
    }
}

impl Refusals {
    fn new(reasons: &[&'static str]) -> Self {
        let count = |reason: &&'static str| (*reason, Counter::default());
        Self(reasons.iter().map(count).collect())
    }

    /// Counts a refusal for this reason, if it is a known one.
    pub(crate) fn count(&self, reason: &str) {
        if let Some((_, count)) = self.0.iter().find(|(known, _)| *known == reason) {
            count.add(1);
        }
    }
}

impl Counts {
    /// Counts from 0. `reasons` are those for which an append can be refused.
    pub(crate) fn new(reasons: &[&'static str]) -> Self {
        Self {
            appends: Appends {
                stored: Counter::default(),
                records: Counter::default(),
                bytes: Counter::default(),
                conflicts: Counter::default(),
                refusals: Refusals::new(reasons),
                denied: Counter::default(),
                over_quota: Counter::default(),
                wait: Histogram::default(),
                queue: Histogram::default(),
                whole: Histogram::default(),
            },
            journal: Journal::default(),
            checkpoint: Checkpoint::default(),
            backup: Backup::default(),
            scrub: Scrub::default(),
            compaction: Compaction::default(),
            compressed: Counter::default(),
            rebalances: Histogram::default(),
        }
    }

    /// Puts all counts on a page.
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
        for (reason, count) in [
            ("PERMISSION_DENIED", &appends.denied),
            ("QUOTA_EXCEEDED", &appends.over_quota),
        ] {
            page.set_for(Metric::AppendRefusals, &[("reason", reason)], count.get());
        }
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
        self.backup.show(page);
        page.set(Metric::ScrubBytes, self.scrub.bytes.get());
        page.set(Metric::ScrubRounds, self.scrub.rounds.get());
        page.set(Metric::Compactions, self.compaction.passes.get());
        page.set(Metric::CompactionBytes, self.compaction.bytes.get());
        page.set(Metric::CompactionRecords, self.compaction.removed.get());
        page.set(Metric::CompressionBytes, self.compressed.get());
        page.set(Metric::GroupRebalances, self.rebalances.distribution());
    }
}
