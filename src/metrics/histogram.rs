//! How often something took how long, counted without a lock.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// The bounds of what is counted together, in microseconds: from below what a disk needs for a sync
/// up to what no client waits for.
const BOUNDS_US: [u64; 17] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000,
];

/// Times by their length. Aligned, so that two of them do not share a line of a processor's cache.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Histogram {
    /// How many were up to each bound and above the one before; the last are above all bounds.
    counts: [AtomicU64; BOUNDS_US.len() + 1],
    sum_ns: AtomicU64,
}

/// What a histogram has counted, as it is written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Distribution {
    /// The sum of all times, in seconds.
    pub(crate) sum: f64,
    /// How many were up to each bound, in seconds, and above the one before.
    pub(super) buckets: Vec<(f64, u64)>,
}

impl Histogram {
    /// Something took so long.
    pub(crate) fn observe(&self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.partition_point(|bound| *bound < us);
        self.counts[bucket].fetch_add(1, Relaxed);
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.sum_ns.fetch_add(ns, Relaxed);
    }

    pub(crate) fn distribution(&self) -> Distribution {
        let bounds = BOUNDS_US.iter().map(|us| *us as f64 / 1e6);
        let bounds = bounds.chain([f64::INFINITY]);
        let counts = self.counts.iter().map(|count| count.load(Relaxed));
        Distribution {
            sum: self.sum_ns.load(Relaxed) as f64 / 1e9,
            buckets: bounds.zip(counts).collect(),
        }
    }
}

impl Distribution {
    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }
}
