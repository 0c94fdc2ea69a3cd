//! Work that may wait for a file.

use std::{
    panic::resume_unwind,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::Semaphore,
    task::spawn_blocking,
};

use super::limits::APPENDS_IN_FILES;
use crate::env::Clock;

/// The threads are the process's, and so are these.
static PLACES: Semaphore = Semaphore::const_new(APPENDS_IN_FILES);

/// Runs what may wait for a file to be read. Other tasks go on meanwhile, on another thread; a
/// runtime with one thread has none and waits.
pub(super) fn blocking<T>(work: impl FnOnce() -> T) -> T {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::MultiThread => tokio::task::block_in_place(work),
        _ => work(),
    }
}

/// A read that takes no longer has found all in memory.
const SHORT: Duration = Duration::from_micros(200);

/// So many reads behind one that took longer may wait for a file.
const BEHIND_A_LONG_ONE: u32 = 100;

/// Reads that nearly always find all in memory, and then take a few microseconds: far less than it
/// takes to leave other tasks to another thread. One at a time is done as if it could not wait, as
/// long as none has waited lately: where a disk hangs, it holds up one thread of several.
pub(super) struct ShortReads {
    clock: Arc<dyn Clock>,
    /// One is done as if it could not wait.
    is_busy: AtomicBool,
    /// How many may wait before one is tried again that must not.
    may_wait: AtomicU32,
}

impl ShortReads {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            is_busy: AtomicBool::new(false),
            may_wait: AtomicU32::new(0),
        }
    }

    /// Reads something that is small.
    pub(super) fn read<T>(&self, read: impl FnOnce() -> T) -> T {
        if self.takes_one_that_may_wait() || !has_other_threads() {
            return blocking(read);
        }
        let Some(_busy) = Busy::begin(&self.is_busy) else {
            return blocking(read);
        };
        let began = self.clock.elapsed();
        let done = read();
        if self.clock.elapsed().saturating_sub(began) > SHORT {
            self.may_wait.store(BEHIND_A_LONG_ONE, Ordering::Relaxed);
        }
        done
    }

    /// Counts one of those that may wait, if there are any left.
    pub(super) fn takes_one_that_may_wait(&self) -> bool {
        // Nearly always there are none, and then nothing is written that other threads read.
        if self.may_wait.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let left = |count: u32| count.checked_sub(1);
        let taken = self
            .may_wait
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, left);
        taken.is_ok()
    }
}

/// Held by the one that is done as if it could not wait.
struct Busy<'a>(&'a AtomicBool);

impl<'a> Busy<'a> {
    fn begin(is_busy: &'a AtomicBool) -> Option<Self> {
        (!is_busy.swap(true, Ordering::Acquire)).then_some(Self(is_busy))
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// Whether other tasks go on while this one has its thread.
fn has_other_threads() -> bool {
    match Handle::try_current() {
        Ok(runtime) if runtime.runtime_flavor() == RuntimeFlavor::MultiThread => {
            runtime.metrics().num_workers() > 1
        }
        // All work is done like this there.
        _ => true,
    }
}

/// As [`blocking`], for an append, which shares its task with other calls, which go on too. What
/// waits has no thread; work that has begun is done even if its call is cancelled meanwhile.
pub(super) async fn elsewhere<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
        return work();
    }
    // It is never closed.
    let place = PLACES.acquire().await.ok();
    let work = move || {
        let _place = place;
        work()
    };
    match spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // The runtime ends, and this call with it.
            Err(_) => std::future::pending().await,
        },
    }
}
