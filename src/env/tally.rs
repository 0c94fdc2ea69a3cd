//! Limits how often the same message is logged, however often there is cause for it.

use std::time::Duration;

/// How often something has happened, to be logged at most once in a period: at once, and then with
/// how often it has happened since.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tally {
    period: Duration,
    said: Option<Duration>,
    unsaid: u64,
}

impl Default for Tally {
    /// For a line that is logged at most once in ten seconds.
    fn default() -> Self {
        Self::new(Duration::from_secs(10))
    }
}

impl Tally {
    /// Nothing has happened yet.
    pub(crate) const fn new(period: Duration) -> Self {
        Self {
            period,
            said: None,
            unsaid: 0,
        }
    }

    /// Counts what has happened once; returns the number to log, if it is to be logged now.
    pub(crate) fn happened(&mut self, now: Duration) -> Option<u64> {
        self.add(1);
        self.take_due(now)
    }

    /// Counts what has happened so many times.
    pub(crate) fn add(&mut self, count: u64) {
        self.unsaid += count;
    }

    /// How often it has happened since it was logged, if that is to be logged now.
    pub(crate) fn take_due(&mut self, now: Duration) -> Option<u64> {
        if self.unsaid == 0 || !self.is_over(now) {
            return None;
        }
        self.said = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }

    /// Whether it could be logged again.
    pub(crate) fn is_over(&self, now: Duration) -> bool {
        self.said
            .is_none_or(|said| now.saturating_sub(said) >= self.period)
    }
}
