//! Work that may wait for a file.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Runs what may wait for a file to be read. Other calls go on meanwhile, on another thread; a
/// runtime with one thread has none and waits.
pub(super) fn blocking<T>(work: impl FnOnce() -> T) -> T {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::MultiThread => tokio::task::block_in_place(work),
        _ => work(),
    }
}
