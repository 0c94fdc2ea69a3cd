//! Counts of what has happened on a simulated disk, so that a test suite can assert that it tested
//! something.

use std::collections::BTreeMap;

use super::{CrashMode, OpKind};

/// Counts of what happened on a simulated disk. [`Stats::add`] sums those of many disks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stats {
    /// How many operations of each kind were begun.
    pub(crate) operations: BTreeMap<OpKind, u64>,
    /// How many operations of each kind failed because of an injected fault.
    pub(crate) faults: BTreeMap<OpKind, u64>,
    /// How many bytes were read, not counting maps.
    pub(crate) bytes_read: u64,
    /// How many bytes were written past the cache, by the extension of the file.
    pub(crate) written_directly: BTreeMap<String, u64>,
    /// Most files that a single call synced.
    pub(crate) most_synced_together: usize,
    /// Most files that were announced for syncing before one of them was synced.
    pub(crate) most_begun_together: usize,
    /// How many operations failed for lack of space.
    pub(crate) disk_full: u64,
    /// How many operations failed because the power was off.
    pub(crate) power_off: u64,
    /// The effect of the power cut that this disk comes from, by mode.
    pub(crate) cuts: BTreeMap<CrashMode, CutEffect>,
}

/// The effect of power cuts of one mode on unsynced changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CutEffect {
    /// How many cuts there were.
    pub(crate) cuts: u64,
    /// Unsynced sectors that have what the process last saw.
    pub(crate) sectors_kept: u64,
    /// Unsynced sectors that have something else.
    pub(crate) sectors_lost: u64,
    /// Files with another length than the process last saw.
    pub(crate) lengths_lost: u64,
    /// Unsynced creations, renames and removals that survived.
    pub(crate) names_kept: u64,
    /// Unsynced creations, renames and removals that did not.
    pub(crate) names_lost: u64,
}

impl Stats {
    /// Adds the counts of another disk.
    pub(crate) fn add(&mut self, other: &Self) {
        for (kind, count) in &other.operations {
            *self.operations.entry(*kind).or_default() += count;
        }
        for (kind, count) in &other.faults {
            *self.faults.entry(*kind).or_default() += count;
        }
        self.bytes_read += other.bytes_read;
        for (extension, bytes) in &other.written_directly {
            *self.written_directly.entry(extension.clone()).or_default() += bytes;
        }
        self.most_synced_together = self.most_synced_together.max(other.most_synced_together);
        self.most_begun_together = self.most_begun_together.max(other.most_begun_together);
        self.disk_full += other.disk_full;
        self.power_off += other.power_off;
        for (mode, effect) in &other.cuts {
            self.cuts.entry(*mode).or_default().add(effect);
        }
    }
}

impl CutEffect {
    /// Whether a power cut lost anything.
    pub(crate) fn lost_something(&self) -> bool {
        self.sectors_lost + self.lengths_lost + self.names_lost > 0
    }

    fn add(&mut self, other: &Self) {
        self.cuts += other.cuts;
        self.sectors_kept += other.sectors_kept;
        self.sectors_lost += other.sectors_lost;
        self.lengths_lost += other.lengths_lost;
        self.names_kept += other.names_kept;
        self.names_lost += other.names_lost;
    }
}
