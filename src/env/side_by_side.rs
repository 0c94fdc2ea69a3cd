//! Syncs many files in parallel.
//!
//! A sync mostly waits for the disk, which can do many at a time. Measured on ext4, 10,000 small
//! files take 1.7 s one after the other, 0.4 s with 8 threads and 0.27 s with 16. Syncing the whole
//! file system would be faster still, but it waits for what other processes have written too, and
//! not every kernel reports the errors that it meets.

use std::{
    io,
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use super::ToSync;

/// How many files are synced at a time.
const THREADS: usize = 16;

/// Little stack is enough, because these threads only call the operating system.
const STACK_BYTES: usize = 64 << 10;

/// Calls `sync` for each of these; returns the results in order.
pub(super) fn sync_each(
    these: &[ToSync<'_>],
    sync: impl Fn(&ToSync<'_>) -> io::Result<()> + Sync,
) -> Vec<io::Result<()>> {
    let next = AtomicUsize::new(0);
    let results: Vec<OnceLock<io::Result<()>>> = these.iter().map(|_| OnceLock::new()).collect();
    let work = || {
        while let Some(at) =
            Some(next.fetch_add(1, Ordering::Relaxed)).filter(|at| *at < these.len())
        {
            drop(results[at].set(sync(&these[at])));
        }
    };
    thread::scope(|scope| {
        for _ in 1..THREADS.min(these.len()) {
            let builder = thread::Builder::new()
                .name("sync".to_owned())
                .stack_size(STACK_BYTES);
            // With fewer threads it only takes longer.
            if builder.spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        work();
    });
    let synced = results.into_iter().map(OnceLock::into_inner);
    synced
        .map(|result| result.expect("all were taken, and the threads have ended"))
        .collect()
}
