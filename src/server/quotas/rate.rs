//! A rate, as a bucket that fills with time.

use std::{num::NonZeroU64, time::Duration};

const SECOND_NS: u128 = 1_000_000_000;

/// A bucket that holds what may be used within a second. More may be taken at once than it holds;
/// then nothing can be taken until it has filled up again.
///
/// The only state is the time, in nanoseconds, from which on it is not empty: taking something
/// moves it on by the time that the rate needs for that.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rate {
    free_ns: u128,
}

impl Rate {
    /// How long until something may be taken.
    pub(super) fn wait(self, now: Duration) -> Duration {
        let wait_ns = self.free_ns.saturating_sub(now.as_nanos());
        Duration::from_nanos(u64::try_from(wait_ns).unwrap_or(u64::MAX))
    }

    /// Takes an amount, at a rate of `limit` a second.
    pub(super) fn use_up(&mut self, amount: u64, limit: NonZeroU64, now: Duration) {
        let full_ns = now.as_nanos().saturating_sub(SECOND_NS);
        let needs_ns = u128::from(amount) * SECOND_NS / u128::from(limit.get());
        self.free_ns = self.free_ns.max(full_ns) + needs_ns;
    }

    /// Whether it is full.
    pub(super) fn is_full(self, now: Duration) -> bool {
        self.free_ns + SECOND_NS <= now.as_nanos() || self.free_ns == 0
    }
}
