//! Counts the bytes of a call's response that are not written yet.
//!
//! h2 does not report that it has written a message, but drops the message then. So a message
//! counts until it is dropped.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

/// The number of bytes of a call's response that are not written yet, in messages here and within
/// h2. Clones share the count.
#[derive(Clone, Default)]
pub(in crate::server) struct Alive(Arc<Mutex<(usize, Option<Waker>)>>);

/// Some of these bytes, counted until this is dropped.
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
    /// Counts this many bytes.
    pub(super) fn count(&self, bytes: usize) -> Counted {
        self.lock().0 += bytes;
        Counted {
            alive: self.clone(),
            bytes,
        }
    }

    /// The number of bytes counted.
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

    /// Ready when no more than this many bytes are counted.
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
