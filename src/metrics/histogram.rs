//! Histograms of times, counted without a lock.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// The upper bounds of the buckets in microseconds, from less than a disk needs for a sync up to
/// more than any client waits.
const BOUNDS_US: [u64; 17] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000,
];

/// A histogram of times. Aligned so that two histograms do not share a cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Histogram {
    /// How many times were above the previous bound and up to this one; the last count is of times
    /// above all bounds.
    counts: [AtomicU64; BOUNDS_US.len() + 1],
    sum_ns: AtomicU64,
}

/// The content of a histogram, as it is written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Distribution {
    /// The sum of all times, in seconds.
    pub(crate) sum: f64,
    /// For each bound in seconds, how many times were above the previous bound and up to this one.
    pub(super) buckets: Vec<(f64, u64)>,
}

impl Histogram {
    /// Counts one time.
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
