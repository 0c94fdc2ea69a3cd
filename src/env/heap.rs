//! The heap of the process: settings of glibc's allocator, and giving free memory back.
//!
//! By default, glibc's allocator has up to eight arenas for each core, maps each large buffer on
//! its own until it has learnt a better threshold, and each arena keeps the memory of a burst for
//! as long as the process lives. With two arenas and no mapped buffers, memory is soon used again
//! by whichever thread needs it next, so its pages are present already. With other allocators
//! (musl, macOS) nothing is set.

/// How many arenas there are. Threads share them, except for a few small blocks that each keeps.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const ARENAS: i32 = 2;

/// Blocks of at least this size are mapped by themselves; smaller ones come from an arena. It is
/// glibc's maximum, and twice the largest request.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const MAPPED_FROM: i32 = 32 << 20;

/// How many free bytes at the end of the heap are kept; more is given back at once.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const FREE_AT_END: i32 = 2 * MAPPED_FROM;

/// Sets the allocator up. Must be called before there are threads.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn set_up_heap() {
    let settings = [
        (libc::M_ARENA_MAX, ARENAS),
        (libc::M_MMAP_THRESHOLD, MAPPED_FROM),
        (libc::M_TRIM_THRESHOLD, FREE_AT_END),
    ];
    for (setting, value) in settings {
        // SAFETY: `mallopt` takes two numbers, and locks what it changes.
        #[expect(unsafe_code, reason = "the safety comment says what makes it sound")]
        let is_set = unsafe { libc::mallopt(setting, value) };
        debug_assert_eq!(is_set, 1, "glibc takes each of these values");
    }
}

/// Gives free pages of the heap back to the operating system. Other threads that need the heap
/// meanwhile wait some milliseconds.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn trim_heap() {
    // SAFETY: any thread may call `malloc_trim` at any time: it locks what it examines, and does
    // not touch memory in use.
    #[expect(unsafe_code, reason = "the safety comment says what makes it sound")]
    let _was_any_free = unsafe { libc::malloc_trim(0) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn set_up_heap() {}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn trim_heap() {}
