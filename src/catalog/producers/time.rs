//! Time, as far as producers are told of it, and who has been idle for too long.

use std::time::Duration;

use super::Producers;
use crate::types::ProducerId;

/// How long after producers were found to be idle it is looked for them once more: the journal may
/// not have taken that they are forgotten.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// When producers are to be forgotten.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Expiry {
    /// How long a producer may be idle. None: for ever.
    horizon: Option<Duration>,
    /// The last moment that was told, on the clock of whoever tells.
    told: Duration,
    /// No producer was used last before this; none without a producer.
    first_used: Option<Duration>,
    /// When it was last looked who is idle.
    looked: Option<Duration>,
}

impl Expiry {
    /// A producer is new, and used at this time.
    pub(super) fn note_used(&mut self, at: Duration) {
        let first = self.first_used.unwrap_or(at);
        self.first_used = Some(first.min(at));
    }

    /// When somebody may have been idle for too long: not later than anybody has.
    fn next(&self) -> Option<Duration> {
        let next = self.first_used?.saturating_add(self.horizon?);
        let again = self.looked.map(|looked| looked.saturating_add(LOOK_AGAIN));
        Some(next.max(again.unwrap_or_default()))
    }
}

impl Producers {
    /// From this moment on time is told by a clock; those that are idle for longer than `horizon`
    /// are to be forgotten.
    pub(crate) fn begin(&mut self, now: Duration, horizon: Duration) {
        self.expiry.told = now;
        self.expiry.horizon = Some(horizon);
    }

    /// Says what time it is. What is used after this, is used now.
    pub(crate) fn tell_time(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.expiry.told);
        self.expiry.told = self.expiry.told.max(now);
        self.tick(passed);
    }

    /// Time passes, while the broker runs.
    pub(super) fn tick(&mut self, elapsed: Duration) {
        self.now = self.now.saturating_add(elapsed);
    }

    /// When [`on_deadline`](Self::on_deadline) may find somebody.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        let left = self.expiry.next()?.saturating_sub(self.now);
        Some(self.expiry.told.saturating_add(left))
    }

    /// Those that have been idle for too long by now. To forget one is a durable change like any
    /// other. They are found again a moment later, unless that has come about.
    pub(crate) fn on_deadline(&mut self, now: Duration) -> Vec<ProducerId> {
        self.tell_time(now);
        let (Some(horizon), Some(next)) = (self.expiry.horizon, self.expiry.next()) else {
            return Vec::new();
        };
        if next > self.now {
            return Vec::new();
        }
        self.expiry.looked = Some(self.now);
        self.expiry.first_used = self.known.values().map(|known| known.used).min();
        self.idle_for(horizon)
    }

    /// The producers that have done nothing for `horizon` or longer.
    pub(super) fn idle_for(&self, horizon: Duration) -> Vec<ProducerId> {
        let mut idle = Vec::new();
        for (&id, incarnation) in &self.known {
            if self.idleness(incarnation) >= horizon {
                idle.push(id);
            }
        }
        idle
    }
}
