//! Calls a thread that has rounds to make: housekeeping, indexing.

use std::{
    sync::{Condvar, Mutex, PoisonError},
    time::Duration,
};

/// How often the thread looks around when nobody calls it.
pub(super) const ROUND: Duration = Duration::from_secs(1);

/// Calls the housekeeping thread.
#[derive(Default)]
pub(super) struct Bell {
    state: Mutex<BellState>,
    rung: Condvar,
    /// Somebody waits for a journal file, and here for the housekeeping thread to have tried.
    tried: Condvar,
}

#[derive(Default)]
struct BellState {
    rung: bool,
    closed: bool,
    checkpoint_wanted: bool,
    rounds: u64,
}

impl Bell {
    pub(super) fn ring(&self) {
        self.lock().rung = true;
        self.rung.notify_all();
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.rung.notify_all();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Waits for a ring or the next round; whether to go on, and whether a checkpoint is wanted.
    pub(super) fn wait(&self) -> Option<bool> {
        let quiet =
            |state: &mut BellState| !state.rung && !state.closed && !state.checkpoint_wanted;
        let waited = self.rung.wait_timeout_while(self.lock(), ROUND, quiet);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.rung = false;
        let wanted = std::mem::take(&mut state.checkpoint_wanted);
        (!state.closed).then_some(wanted)
    }

    /// Asks for a checkpoint.
    pub(super) fn ask_for_checkpoint(&self) {
        self.lock().checkpoint_wanted = true;
        self.rung.notify_all();
    }

    /// Asks for a checkpoint and waits until it has been tried; returns at once when closed.
    pub(super) fn want_checkpoint(&self) {
        let mut state = self.lock();
        if state.closed {
            return;
        }
        // The round under way may be past the point where it would see this.
        let enough = state.rounds + 2;
        while state.rounds < enough && !state.closed {
            state.checkpoint_wanted = true;
            self.rung.notify_all();
            let rounds = state.rounds;
            let waited = self
                .tried
                .wait_while(state, |state| state.rounds == rounds && !state.closed);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits for the next round, which may find that a full disk has room again.
    pub(super) fn pause(&self) {
        let state = self.lock();
        let rounds = state.rounds;
        let waited = self.tried.wait_timeout_while(state, ROUND, |state| {
            state.rounds == rounds && !state.closed
        });
        drop(waited);
    }

    pub(super) fn round_done(&self) {
        self.lock().rounds += 1;
        self.tried.notify_all();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BellState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
