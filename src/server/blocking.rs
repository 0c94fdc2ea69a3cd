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

/// The limit of threads for appends that wait for files. The threads belong to the process, so this
/// does, too.
static PLACES: Semaphore = Semaphore::const_new(APPENDS_IN_FILES);

/// Runs work that may wait for a file. Other tasks continue on another thread meanwhile; in a
/// runtime with one thread they wait.
pub(super) fn blocking<T>(work: impl FnOnce() -> T) -> T {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::MultiThread => tokio::task::block_in_place(work),
        _ => work(),
    }
}

/// A read within this time has found everything in memory.
const SHORT: Duration = Duration::from_micros(200);

/// After a read that took longer, so many reads are treated as ones that may wait before one runs
/// in place again: few at first, because where the processors are busy a read may take long without
/// having waited for a file; twice as many each time that the next one in place is long, too.
const FEWEST_BEHIND: u32 = 4;
const MOST_BEHIND: u32 = 128;

/// Reads that nearly always find everything in memory, and then take a few microseconds: far less
/// than handing the other tasks to another thread. One such read at a time is run in place, as if
/// it could not wait, unless one has waited lately. So a disk that hangs blocks one thread of
/// several.
pub(super) struct ShortReads {
    clock: Arc<dyn Clock>,
    /// Whether a read is running in place.
    is_busy: AtomicBool,
    /// How many reads are treated as ones that may wait, before one runs in place again.
    may_wait: AtomicU32,
    /// How many will be if the next read in place is long.
    behind: AtomicU32,
}

impl ShortReads {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            is_busy: AtomicBool::new(false),
            may_wait: AtomicU32::new(0),
            behind: AtomicU32::new(FEWEST_BEHIND),
        }
    }

    /// Reads something small.
    pub(super) fn read<T>(&self, read: impl FnOnce() -> T) -> T {
        if self.takes_one_that_may_wait() || !has_other_threads() {
            return blocking(read);
        }
        let Some(_busy) = Busy::begin(&self.is_busy) else {
            return blocking(read);
        };
        let began = self.clock.elapsed();
        let done = read();
        let is_short = self.clock.elapsed().saturating_sub(began) <= SHORT;
        self.note(is_short);
        done
    }

    /// Notes how long the read in place took; there is one at a time.
    fn note(&self, is_short: bool) {
        let behind = self.behind.load(Ordering::Relaxed);
        let next = match is_short {
            true => FEWEST_BEHIND,
            false => (behind * 2).min(MOST_BEHIND),
        };
        if !is_short {
            self.may_wait.store(behind, Ordering::Relaxed);
        }
        if next != behind {
            self.behind.store(next, Ordering::Relaxed);
        }
    }

    /// Returns whether the next read must be treated as one that may wait, and counts it.
    pub(super) fn takes_one_that_may_wait(&self) -> bool {
        // The count is nearly always 0; then no memory is written that other threads read.
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

/// Held by the read that runs in place.
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

/// Whether other tasks can continue while this one blocks its thread.
fn has_other_threads() -> bool {
    match Handle::try_current() {
        Ok(runtime) if runtime.runtime_flavor() == RuntimeFlavor::MultiThread => {
            runtime.metrics().num_workers() > 1
        }
        // Such a runtime runs all work in place.
        _ => true,
    }
}

/// Like [`blocking`], for an append, which shares its task with other calls that must continue.
/// Waiting appends hold no thread. Work that has begun is completed even if its call is cancelled.
pub(super) async fn elsewhere<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
        return work();
    }
    // The semaphore is never closed.
    let place = PLACES.acquire().await.ok();
    let work = move || {
        let _place = place;
        work()
    };
    match spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // The runtime shuts down, and this call with it.
            Err(_) => std::future::pending().await,
        },
    }
}
