//! Wakes a background thread to make a round: when somebody has work for it, or at a time that it
//! has set. `schedule.rs` waits for these times; nothing here waits for time to pass.

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

use crate::env::Alarm;

/// Wakes a background thread.
pub(super) struct Wakeup {
    state: Mutex<WakeupState>,
    /// The alarm of the thread that waits for deadlines.
    alarm: Arc<Alarm>,
    called: Condvar,
    /// Waited for by those who need a journal file, until the housekeeping thread has tried to free
    /// one.
    tried: Condvar,
}

#[derive(Default)]
struct WakeupState {
    notified: bool,
    closed: bool,
    checkpoint_wanted: bool,
    rounds: u64,
    /// When the thread is woken even if nobody calls.
    due: Option<Duration>,
}

impl WakeupState {
    fn is_quiet(&self) -> bool {
        !self.notified && !self.checkpoint_wanted
    }
}

impl Wakeup {
    /// Due at `first`, unless somebody calls before.
    pub(super) fn new(alarm: Arc<Alarm>, first: Option<Duration>) -> Self {
        let state = WakeupState {
            due: first,
            ..WakeupState::default()
        };
        Self {
            state: Mutex::new(state),
            alarm,
            called: Condvar::new(),
            tried: Condvar::new(),
        }
    }

    /// Makes the thread make a round.
    pub(super) fn notify(&self) {
        self.lock().notified = true;
        self.called.notify_all();
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.called.notify_all();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Waits for a call. Returns whether a checkpoint is wanted; `None` if closed.
    pub(super) fn wait(&self) -> Option<bool> {
        let is_quiet = |state: &mut WakeupState| state.is_quiet() && !state.closed;
        let waited = self.called.wait_while(self.lock(), is_quiet);
        let state = waited.unwrap_or_else(PoisonError::into_inner);
        let closed = state.closed;
        drop(state);
        if closed { None } else { self.take() }
    }

    /// As [`wait`](Self::wait), without waiting; `None` without a call.
    pub(super) fn take(&self) -> Option<bool> {
        let mut state = self.lock();
        if state.is_quiet() {
            return None;
        }
        state.notified = false;
        state.due = None;
        Some(std::mem::take(&mut state.checkpoint_wanted))
    }

    /// When the thread is woken even if nobody calls.
    pub(super) fn due(&self) -> Option<Duration> {
        self.lock().due
    }

    /// Whether that time has come; true only once.
    pub(super) fn take_due(&self, now: Duration) -> bool {
        self.lock().due.take_if(|due| *due <= now).is_some()
    }

    /// Asks for a checkpoint.
    pub(super) fn ask_for_checkpoint(&self) {
        self.lock().checkpoint_wanted = true;
        self.called.notify_all();
    }

    /// Asks for a checkpoint and waits until it was tried; returns at once when closed.
    pub(super) fn want_checkpoint(&self) {
        let mut state = self.lock();
        if state.closed {
            return;
        }
        // The round under way may be too far to notice this.
        let enough = state.rounds + 2;
        while state.rounds < enough && !state.closed {
            state.checkpoint_wanted = true;
            self.called.notify_all();
            let rounds = state.rounds;
            let waited = self
                .tried
                .wait_while(state, |state| state.rounds == rounds && !state.closed);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits for the next round, in which a full disk may have space again.
    pub(super) fn pause(&self) {
        let state = self.lock();
        let rounds = state.rounds;
        let waited = self
            .tried
            .wait_while(state, |state| state.rounds == rounds && !state.closed);
        drop(waited);
    }

    /// Ends a round; the next one is due at `due`.
    pub(super) fn round_done(&self, due: Option<Duration>) {
        let mut state = self.lock();
        state.rounds += 1;
        state.due = due;
        drop(state);
        self.tried.notify_all();
        if let Some(due) = due {
            self.alarm.wake_by(due);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, WakeupState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
