//! What of a call's answer has not been written.
//!
//! h2 does not say when it has written something, but drops it then. So what it is given is counted
//! until it is dropped.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

/// How many bytes of a call's answer have not been written: in messages, and with HTTP/2. Clones
/// are the same.
#[derive(Clone, Default)]
pub(in crate::server) struct Alive(Arc<Mutex<(usize, Option<Waker>)>>);

/// Some of these bytes, until they are dropped.
pub(super) struct Counted {
    alive: Alive,
    bytes: usize,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.alive.subtract(self.bytes);
    }
}

impl Alive {
    /// Counts so many bytes.
    pub(super) fn count(&self, bytes: usize) -> Counted {
        self.lock().0 += bytes;
        Counted {
            alive: self.clone(),
            bytes,
        }
    }

    /// How many bytes there are.
    pub(super) fn bytes(&self) -> usize {
        self.lock().0
    }

    fn subtract(&self, bytes: usize) {
        let mut alive = self.lock();
        alive.0 -= bytes;
        let waker = alive.1.take();
        drop(alive);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Ready when there are no more than this.
    pub(in crate::server) fn poll_at_most(&self, bytes: usize, cx: &mut Context<'_>) -> Poll<()> {
        let mut alive = self.lock();
        if alive.0 <= bytes {
            return Poll::Ready(());
        }
        alive.1 = Some(cx.waker().clone());
        Poll::Pending
    }

    fn lock(&self) -> MutexGuard<'_, (usize, Option<Waker>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
