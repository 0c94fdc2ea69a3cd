//! The heap of the process: how glibc's allocator is set, and what is free given back.
//!
//! As it comes, glibc's allocator has up to eight arenas for each core, maps each large buffer
//! until it knows better, and keeps in every arena what a burst has taken for as long as the
//! process lives. With two arenas and nothing mapped a buffer is used again soon, whichever thread
//! takes it next, so that its pages are there already. Elsewhere (musl, macOS) the allocator is
//! left alone.

/// How many arenas there are. Threads share them, but for small blocks, of which each has a few.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const ARENAS: i32 = 2;

/// What is smaller is not mapped but taken from an arena: the most that glibc allows, and twice the
/// largest request.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const MAPPED_FROM: i32 = 32 << 20;

/// How much may be free at the end of the heap before it is given back at once.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const FREE_AT_END: i32 = 2 * MAPPED_FROM;

/// Sets the allocator. To be called before there are threads.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn set_up_heap() {
    let settings = [
        (libc::M_ARENA_MAX, ARENAS),
        (libc::M_MMAP_THRESHOLD, MAPPED_FROM),
        (libc::M_TRIM_THRESHOLD, FREE_AT_END),
    ];
    for (setting, value) in settings {
        // SAFETY: it takes two numbers, and locks what it changes.
        #[expect(unsafe_code, reason = "the safety comment says what makes it sound")]
        let is_set = unsafe { libc::mallopt(setting, value) };
        debug_assert_eq!(is_set, 1, "glibc takes each of these values");
    }
}

/// Gives pages of the heap that are free back to the operating system. Threads that need the heap
/// meanwhile wait for milliseconds.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn trim_heap() {
    // SAFETY: any thread may call it at any time: it locks what it looks at, and touches nothing
    // that is in use.
    #[expect(unsafe_code, reason = "the safety comment says what makes it sound")]
    let _was_any_free = unsafe { libc::malloc_trim(0) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn set_up_heap() {}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn trim_heap() {}
