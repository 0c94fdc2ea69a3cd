//! Waiting for a moment of a clock, or until somebody wakes the thread earlier.

use std::{
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use super::Clock;

/// Lets one thread wait for a moment on [`Clock::elapsed`].
pub(crate) struct Alarm {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    woken: Condvar,
}

#[derive(Default)]
struct State {
    is_woken: bool,
    is_closed: bool,
    /// The moment that the thread waits for, while it waits.
    waits_for: Option<Moment>,
}

#[derive(Clone, Copy)]
enum Moment {
    At(Duration),
    Never,
}

impl Alarm {
    /// An alarm by this clock.
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        let alarm = Arc::new(Self {
            clock: Arc::clone(&clock),
            state: Mutex::default(),
            woken: Condvar::new(),
        });
        clock.wake_when_moved(&alarm);
        alarm
    }

    /// Waits until this moment, or until woken; without a moment, until woken. Returns false once
    /// the alarm is closed.
    pub(crate) fn wait_until(&self, moment: Option<Duration>) -> bool {
        let mut state = self.lock();
        state.waits_for = Some(moment.map_or(Moment::Never, Moment::At));
        while !state.is_woken && !state.is_closed {
            let left = match moment {
                Some(moment) if moment <= self.clock.elapsed() => break,
                Some(moment) => self.clock.time_until(moment),
                None => None,
            };
            state = match left {
                Some(left) => {
                    let waited = self.woken.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => {
                    let waited = self.woken.wait(state);
                    waited.unwrap_or_else(PoisonError::into_inner)
                }
            };
        }
        state.waits_for = None;
        state.is_woken = false;
        !state.is_closed
    }

    /// Wakes the thread that waits here, or that is about to wait.
    pub(crate) fn wake(&self) {
        self.lock().is_woken = true;
        self.woken.notify_all();
    }

    /// As [`wake`](Self::wake), unless the thread waits for this moment already, or an earlier one.
    pub(crate) fn wake_by(&self, moment: Duration) {
        let mut state = self.lock();
        if let Some(Moment::At(at)) = state.waits_for
            && at <= moment
        {
            return;
        }
        state.is_woken = true;
        self.woken.notify_all();
    }

    /// Ends all waiting, now and later.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
        self.woken.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Alarm")
    }
}

/// The alarms to wake when a clock is moved.
#[derive(Debug, Default)]
pub(super) struct Alarms(Mutex<Vec<Weak<Alarm>>>);

impl Alarms {
    /// Adds an alarm, which is woken as long as it exists.
    pub(super) fn add(&self, alarm: &Arc<Alarm>) {
        let mut alarms = self.lock();
        alarms.retain(|alarm| alarm.strong_count() > 0);
        alarms.push(Arc::downgrade(alarm));
    }

    /// Wakes all alarms. They read the clock, which must therefore not be locked.
    pub(super) fn wake(&self) {
        let alarms = self.lock().clone();
        for alarm in alarms.iter().filter_map(Weak::upgrade) {
            alarm.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Alarm>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
