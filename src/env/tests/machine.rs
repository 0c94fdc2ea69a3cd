//! How much memory there is.

use crate::env::machine::{limit_files, memory_bytes, total};

#[test]
fn the_machine_says_how_much_memory_it_has() {
    let text = "MemTotal:       24645996 kB\nMemFree:        10645996 kB\n";
    assert_eq!(total(text), Some(24_645_996 * 1024));
    assert_eq!(total("MemFree: 5 kB\n"), None);
    assert!(memory_bytes().is_some_and(|bytes| bytes > 16 << 20));
}

#[test]
fn every_group_around_a_process_may_limit_it() {
    assert_eq!(
        limit_files("0::/a.slice/b.scope\n"),
        [
            "a.slice/b.scope/memory.max",
            "a.slice/memory.max",
            "memory.max"
        ]
    );
    assert_eq!(limit_files("0::/\n"), ["memory.max"]);
    assert_eq!(
        limit_files("3:cpu,cpuacct:/x\n2:memory:/docker/y\n"),
        [
            "memory/docker/y/memory.limit_in_bytes",
            "memory/docker/memory.limit_in_bytes",
            "memory/memory.limit_in_bytes"
        ]
    );
    assert_eq!(limit_files("no line of a group"), [""; 0]);
}
