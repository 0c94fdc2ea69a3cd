//! Which task polls a call: that of its connection, or one of its own.
//!
//! The call of a group's member mostly takes commits, and responds to each once it is durable. The
//! connection's task has just read the commit, and it writes the response. So it polls the call as
//! well: no other task is woken, and the responses to commits that became durable together are one
//! write. A message with many records takes longer to make, and the connection's other calls do not
//! wait for it: the call gets a task of its own until it has nothing more to send.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

/// A call, until it is answered.
pub(super) struct Call {
    future: Pin<Box<dyn Future<Output = ()> + Send>>,
    home: Home,
}

/// Why a task polls a call no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Done {
    Ended,
    /// The other task is to poll it.
    Moves,
}

/// The task that polls a call, as the call itself sees it. Only that task uses it.
#[derive(Clone, Default)]
pub(super) struct Home(Arc<Polled>);

#[derive(Default)]
struct Polled {
    may_move: bool,
    /// Whether the call has a task of its own.
    is_alone: AtomicBool,
    wants_to_move: AtomicBool,
}

impl Home {
    /// The home of a call that moves between the two tasks.
    pub(super) fn that_moves() -> Self {
        Self(Arc::new(Polled {
            may_move: true,
            ..Polled::default()
        }))
    }

    /// Notes that the call's next step takes long. Returns whether the step must wait for a task of
    /// the call's own, which polls the call at once.
    pub(super) fn needs_own_task(&self) -> bool {
        let moves = self.0.may_move && !self.0.is_alone.load(Relaxed);
        if moves {
            self.0.wants_to_move.store(true, Relaxed);
        }
        moves
    }

    /// Notes that the call has nothing to send.
    pub(super) fn rests(&self) {
        if self.0.may_move && self.0.is_alone.load(Relaxed) {
            self.0.wants_to_move.store(true, Relaxed);
        }
    }

    fn begin(&self, is_alone: bool) {
        self.0.is_alone.store(is_alone, Relaxed);
    }

    fn takes_wish(&self) -> bool {
        self.0.wants_to_move.swap(false, Relaxed)
    }
}

impl Call {
    pub(super) fn new(future: impl Future<Output = ()> + Send + 'static, home: Home) -> Self {
        let future = Box::pin(future);
        Self { future, home }
    }

    /// Lets the connection's task poll it from now on.
    pub(super) fn share(&self) {
        self.home.begin(false);
    }

    /// Ready when this task polls it no longer. A call that moves must be polled by the other task
    /// at once, because nothing wakes it before.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Done> {
        match self.future.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Done::Ended),
            Poll::Pending if self.home.takes_wish() => Poll::Ready(Done::Moves),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Polls it as a task of its own. Returns it when it is the connection's task that is to poll
    /// it.
    pub(super) async fn alone(mut self) -> Option<Self> {
        self.home.begin(true);
        match poll_fn(|cx| self.poll(cx)).await {
            Done::Ended => None,
            Done::Moves => Some(self),
        }
    }
}
