//! The resources that a process uses.

use std::time::Duration;

use crate::env::process::{Process, cpu_time, cpu_time_of, resident, scheduled, threads_of};

#[test]
fn resident_memory_is_read_in_kib() {
    let status = "Name:\ttaffrail\nVmHWM:\t   9000 kB\nVmRSS:\t    4321 kB\nThreads:\t5\n";
    assert_eq!(resident(status), Some(4_321 * 1024));
    assert_eq!(resident("Name:\ttaffrail\n"), None);
}

#[test]
fn time_on_processors_is_that_of_the_program_and_of_the_system_for_it() {
    let stat = "4711 (a (name) 9) S 1 2 3 4 5 6 7 8 9 10 250 30 5000 6000 20 0 5 0";
    assert_eq!(cpu_time(stat), Some(Duration::from_millis(2_800)));
    assert_eq!(cpu_time("4711 (cut short) S 1 2"), None);
    assert!(cpu_time_of(std::process::id()).is_some());
}

#[cfg(target_os = "linux")]
#[test]
fn time_on_processors_is_told_by_threads_names() {
    assert_eq!(
        scheduled("1234567 8 9\n"),
        Some(Duration::from_nanos(1_234_567))
    );
    assert_eq!(scheduled(""), None);
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    let (end, ended) = std::sync::mpsc::sync_channel::<()>(1);
    let thread = std::thread::Builder::new().name("a worker".to_owned());
    let thread = thread.spawn(move || {
        tell.send(()).expect("it is waited for");
        ended.recv().expect("it is ended");
    });
    told.recv().expect("it runs");
    let threads = threads_of(std::process::id()).expect("Linux says");
    let is_there = threads.values().any(|thread| thread.name == "a worker");
    assert!(is_there, "{threads:?}");
    end.send(()).expect("it waits");
    thread
        .expect("it was started")
        .join()
        .expect("it has ended");
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
    // Other tests open and close files at the same time, but not as many.
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
