//! Wakes a connection's task, but not during its own turn.
//!
//! h2 wakes the connection's task when a call gives it a response, and the task that waits for a
//! part of a request when the connection's task lets it take that part from the socket. A task that
//! wakes itself gets another turn, for which another thread is woken. So what happens during a turn
//! is recorded here instead, for the task to look at in the same turn.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Wake, Waker},
};

/// Whether there is something to do for a connection's task.
#[derive(Clone, Default)]
pub(super) struct Rest(Arc<Noted>);

#[derive(Default)]
struct Noted(Mutex<State>);

#[derive(Default)]
struct State {
    any: bool,
    /// Wakes the connection's task while it does not have its turn.
    resting: Option<Waker>,
}

impl Rest {
    /// Begins a turn of the connection's task, in which the task is not woken but looks by itself.
    pub(super) fn begin_turn(&self) {
        self.0.lock().resting = None;
    }

    /// Whether there has been something to do since the last call.
    pub(super) fn take(&self) -> bool {
        std::mem::take(&mut self.0.lock().any)
    }

    /// Ends the turn: the connection's task is woken when there is something to do, or has been
    /// meanwhile.
    pub(super) fn end_turn(&self, connection: &Waker) {
        let mut state = self.0.lock();
        if state.any {
            drop(state);
            connection.wake_by_ref();
        } else {
            state.resting = Some(connection.clone());
        }
    }

    /// Notes that there is something to do.
    pub(super) fn note(&self) {
        self.0.note();
    }

    /// A waker that does the same.
    pub(super) fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.0))
    }
}

impl Noted {
    fn note(&self) {
        let mut state = self.lock();
        state.any = true;
        let resting = state.resting.take();
        drop(state);
        if let Some(connection) = resting {
            connection.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Noted {
    fn wake(self: Arc<Self>) {
        self.note();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.note();
    }
}
