//! The time as producers are told it, and which of them have been idle for too long.

use std::time::Duration;

use super::Producers;
use crate::types::ProducerId;

/// How long after idle producers were found they are searched again, in case the journal has not
/// accepted the changes that forget them.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// When producers are to be forgotten.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Expiry {
    /// How long a producer may be idle; `None` is for ever.
    horizon: Option<Duration>,
    /// The last time that was told, on the caller's clock.
    told: Duration,
    /// No producer was last used before this; `None` without producers.
    first_used: Option<Duration>,
    /// When idle producers were last searched.
    looked: Option<Duration>,
}

impl Expiry {
    /// Notes that a new producer was used at this time.
    pub(super) fn note_used(&mut self, at: Duration) {
        let first = self.first_used.unwrap_or(at);
        self.first_used = Some(first.min(at));
    }

    /// When a producer may have been idle for too long: never later than one has.
    fn next(&self) -> Option<Duration> {
        let next = self.first_used?.saturating_add(self.horizon?);
        let again = self.looked.map(|looked| looked.saturating_add(LOOK_AGAIN));
        Some(next.max(again.unwrap_or_default()))
    }
}

impl Producers {
    /// Begins to be told the time. Producers that are idle for longer than `horizon` are to be
    /// forgotten.
    pub(crate) fn begin(&mut self, now: Duration, horizon: Duration) {
        self.expiry.told = now;
        self.expiry.horizon = Some(horizon);
    }

    /// Tells the time. A producer that is used afterwards is used at this time.
    pub(crate) fn tell_time(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.expiry.told);
        self.expiry.told = self.expiry.told.max(now);
        self.tick(passed);
    }

    /// Lets time pass; called only while the broker runs.
    pub(super) fn tick(&mut self, elapsed: Duration) {
        self.now = self.now.saturating_add(elapsed);
    }

    /// When to call [`on_deadline`](Self::on_deadline) next.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        let left = self.expiry.next()?.saturating_sub(self.now);
        Some(self.expiry.told.saturating_add(left))
    }

    /// The producers that have been idle for too long. The caller queues changes that forget them;
    /// until these are applied, the producers are found again a moment later.
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

    /// The producers that have been idle for `horizon` or longer.
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
