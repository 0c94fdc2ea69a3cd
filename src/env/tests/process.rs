//! What a process takes.

use crate::env::process::{Process, resident};

#[test]
fn resident_memory_is_read_in_kib() {
    let status = "Name:\ttaffrail\nVmHWM:\t   9000 kB\nVmRSS:\t    4321 kB\nThreads:\t5\n";
    assert_eq!(resident(status), Some(4_321 * 1024));
    assert_eq!(resident("Name:\ttaffrail\n"), None);
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_that_is_open_is_counted() {
    let count = |process: &Process| process.open_files.expect("Linux says");
    let before = Process::look();
    let held: Vec<_> = (0..100)
        .map(|_| std::io::pipe().expect("there are some left"))
        .collect();
    let with = Process::look();
    // Other tests open and close files meanwhile, but not as many.
    assert!(count(&with) > count(&before) + 100, "{before:?}, {with:?}");
    assert!(
        with.resident_bytes > Some(1 << 20) && with.maps > Some(10),
        "{with:?}"
    );
    assert!(
        with.open_files_limit
            .is_none_or(|limit| limit >= count(&with))
    );
    drop(held);
}
