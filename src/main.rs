//! The `taffrail` binary.

use std::process::ExitCode;

/// Gives freed memory back to the operating system within seconds, on a thread of its own. The
/// system's allocator may keep what a burst took for as long as the process lives.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    taffrail::cli::main()
}
