//! A clock that tests set.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::env::{Alarm, BootId, Clock, alarm::Alarms};

/// 2024-01-01T00:00:00Z: where a simulated clock starts unless told otherwise.
const DEFAULT_START_MS: i64 = 1_704_067_200_000;

/// A clock that stands still until it is told to move. Clones are the same clock.
#[derive(Clone, Debug)]
pub(crate) struct SimClock(Arc<Hands>);

#[derive(Debug)]
struct Hands {
    times: Mutex<Times>,
    alarms: Alarms,
}

#[derive(Debug)]
struct Times {
    now_ms: i64,
    elapsed: Duration,
    boot: BootId,
}

impl SimClock {
    /// A clock with this wall-clock time, of a machine that was just started.
    pub(crate) fn new(now_ms: i64) -> Self {
        let times = Times {
            now_ms,
            elapsed: Duration::ZERO,
            boot: i128::from(now_ms).to_be_bytes(),
        };
        Self(Arc::new(Hands {
            times: Mutex::new(times),
            alarms: Alarms::default(),
        }))
    }

    /// Lets time pass, for both the wall clock and [`Clock::elapsed`].
    pub(crate) fn advance(&self, by: Duration) {
        let mut times = self.times();
        times.now_ms = times
            .now_ms
            .saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX));
        times.elapsed = times.elapsed.saturating_add(by);
        drop(times);
        self.0.alarms.wake();
    }

    /// Sets the wall clock, forward or back, as an operator or a time server would;
    /// [`Clock::elapsed`] does not notice.
    pub(crate) fn set_now_ms(&self, now_ms: i64) {
        self.times().now_ms = now_ms;
        self.0.alarms.wake();
    }

    fn times(&self) -> MutexGuard<'_, Times> {
        let times = self.0.times.lock();
        times.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for SimClock {
    fn default() -> Self {
        Self::new(DEFAULT_START_MS)
    }
}

impl Clock for SimClock {
    fn now_ms(&self) -> i64 {
        self.times().now_ms
    }

    fn elapsed(&self) -> Duration {
        self.times().elapsed
    }

    fn since_boot(&self) -> Duration {
        self.times().elapsed
    }

    fn boot(&self) -> Option<BootId> {
        Some(self.times().boot)
    }

    fn time_until(&self, _: Duration) -> Option<Duration> {
        None
    }

    fn wake_when_moved(&self, alarm: &Arc<Alarm>) {
        self.0.alarms.add(alarm);
    }
}
