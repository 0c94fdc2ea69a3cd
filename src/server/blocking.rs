//! Work that may wait for a file.

use std::panic::resume_unwind;

use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::Semaphore,
    task::spawn_blocking,
};

use super::limits::APPENDS_IN_FILES;

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

/// The same for an append, which shares its task with other calls, which go on too. What waits has
/// no thread; work that has begun is done even if its call is cancelled meanwhile.
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
