//! How much is used each second.

use std::{num::NonZeroU64, time::Duration};

const SECOND_NS: u128 = 1_000_000_000;

/// A bucket that holds what may be used within a second, and fills by time. What is used at once
/// may be more than there is in it: then it is filled up again before anything else is used.
///
/// Kept is the moment at which it is empty no more, in nanoseconds: whatever is used puts it off by
/// the time that the rate needs for that.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rate {
    free_ns: u128,
}

impl Rate {
    /// How long it takes until something may be used.
    pub(super) fn wait(self, now: Duration) -> Duration {
        let wait_ns = self.free_ns.saturating_sub(now.as_nanos());
        Duration::from_nanos(u64::try_from(wait_ns).unwrap_or(u64::MAX))
    }

    /// Uses so much of what a second allows.
    pub(super) fn use_up(&mut self, amount: u64, limit: NonZeroU64, now: Duration) {
        let full_ns = now.as_nanos().saturating_sub(SECOND_NS);
        let needs_ns = u128::from(amount) * SECOND_NS / u128::from(limit.get());
        self.free_ns = self.free_ns.max(full_ns) + needs_ns;
    }

    /// Whether nothing is missing in it.
    pub(super) fn is_full(self, now: Duration) -> bool {
        self.free_ns + SECOND_NS <= now.as_nanos() || self.free_ns == 0
    }
}
