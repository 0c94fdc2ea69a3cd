//! The measurements of one run.

use std::{sync::Arc, time::Duration};

use hdrhistogram::Histogram;

use crate::env::Clock;

/// The latencies of requests, in microseconds up to ten minutes, to three digits.
#[derive(Clone, Debug)]
pub(super) struct Latencies(Histogram<u64>);

/// How many records were handled, and how fast.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) records: u64,
    pub(super) bytes: u64,
    pub(super) took: Duration,
    /// The latencies of requests; for reads of a topic, of batches.
    pub(super) latencies: Latencies,
    /// The time of an empty call, if the load's latency is compared with it.
    pub(super) round_trip: Option<Duration>,
    /// The broker's CPU time, if this command has started it.
    pub(super) broker_cpu: Option<BrokerCpu>,
    /// The number of commits by consumer groups, if some committed meanwhile.
    pub(super) commits: Option<u64>,
    /// The turns that it consists of, if groups commit in every other one.
    pub(super) turns: Vec<Turn>,
    /// The run that this one is compared with.
    pub(super) beside: Option<Box<Self>>,
}

/// A part of a run, in which groups commit or stand still.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    pub(super) with_commits: bool,
    pub(super) commits: u64,
    pub(super) bytes: u64,
    pub(super) took: Duration,
    pub(super) broker_cpu: BrokerCpu,
}

/// CPU time of a broker.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct BrokerCpu {
    pub(super) all: Duration,
    /// The part of the journal thread, which writes and applies entries.
    pub(super) journal: Duration,
    /// The part of the threads on which calls run.
    pub(super) calls: Duration,
}

impl BrokerCpu {
    pub(super) fn since(self, before: Self) -> Self {
        Self {
            all: self.all.saturating_sub(before.all),
            journal: self.journal.saturating_sub(before.journal),
            calls: self.calls.saturating_sub(before.calls),
        }
    }
}

impl Latencies {
    const LONGEST: Duration = Duration::from_secs(600);

    pub(super) fn new() -> Self {
        Self(Histogram::new_with_bounds(1, micros(Self::LONGEST), 3).expect("the bounds are valid"))
    }

    pub(super) fn record(&mut self, latency: Duration) {
        self.0.saturating_record(micros(latency));
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all have the same bounds");
    }

    /// The latency that this share of the requests did not exceed.
    pub(super) fn quantile(&self, part: f64) -> Duration {
        Duration::from_micros(self.0.value_at_quantile(part))
    }

    pub(super) fn count(&self) -> u64 {
        self.0.len()
    }

    pub(super) fn max(&self) -> Duration {
        Duration::from_micros(self.0.max())
    }
}

impl Run {
    /// This run, beside another to compare it with.
    pub(super) fn beside(self, other: Self) -> Self {
        Self {
            beside: Some(Box::new(other)),
            ..self
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "three digits are printed")]
    pub(super) fn records_per_second(&self) -> f64 {
        self.records as f64 / self.took.as_secs_f64()
    }

    #[expect(clippy::cast_precision_loss, reason = "three digits are printed")]
    pub(super) fn requests_per_second(&self) -> f64 {
        self.latencies.count() as f64 / self.took.as_secs_f64()
    }

    #[expect(clippy::cast_precision_loss, reason = "three digits are printed")]
    pub(super) fn commits_per_second(&self) -> Option<f64> {
        self.commits
            .map(|commits| commits as f64 / self.took.as_secs_f64())
    }

    #[expect(clippy::cast_precision_loss, reason = "three digits are printed")]
    /// CPU time for each gigabyte, in milliseconds.
    pub(super) fn cpu_ms_per_gigabyte(&self, of: impl Fn(BrokerCpu) -> Duration) -> Option<f64> {
        let gigabytes = self.bytes as f64 / 1e9;
        self.broker_cpu
            .map(|cpu| of(cpu).as_secs_f64() * 1e3 / gigabytes)
    }

    #[expect(clippy::cast_precision_loss, reason = "three digits are printed")]
    pub(super) fn megabytes_per_second(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.took.as_secs_f64()
    }
}

/// Measures how long something takes.
pub(super) struct Stopwatch {
    clock: Arc<dyn Clock>,
    started: Duration,
}

impl Stopwatch {
    pub(super) fn start(clock: &Arc<dyn Clock>) -> Self {
        Self {
            clock: Arc::clone(clock),
            started: clock.elapsed(),
        }
    }

    /// A stopwatch that was started this long after another.
    pub(super) fn after(other: &Self, later: Duration) -> Self {
        Self {
            clock: Arc::clone(&other.clock),
            started: other.started + later,
        }
    }

    /// The time since it was started; zero if that is still to come.
    pub(super) fn elapsed(&self) -> Duration {
        self.clock.elapsed().saturating_sub(self.started)
    }
}

/// The median of a figure; for an even number of values, the lower of the two in the middle.
pub(super) fn median<F, T: PartialOrd>(figures: &[F], of: impl Fn(&F) -> T) -> T {
    let mut values: Vec<T> = figures.iter().map(of).collect();
    values.sort_by(|a, b| a.partial_cmp(b).expect("a figure is a number"));
    let middle = (values.len() - 1) / 2;
    values.swap_remove(middle)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
