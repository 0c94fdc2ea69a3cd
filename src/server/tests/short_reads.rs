//! Reads that run in place, until one has waited for a file.

use std::{sync::Arc, time::Duration};

use crate::{env::sim::SimClock, server::blocking::ShortReads};

#[test]
fn reads_are_done_in_place_until_one_takes_long() {
    let clock = SimClock::new(0);
    let reads = ShortReads::new(Arc::new(clock.clone()));
    let read = |takes: u64| reads.read(|| clock.advance(Duration::from_micros(takes)));
    let may_wait = || {
        (0..1_000)
            .take_while(|_| reads.takes_one_that_may_wait())
            .count()
    };
    // This test has no runtime, without which a read that may wait would panic.
    for _ in 0..1_000 {
        read(100);
    }
    read(1_000);
    assert_eq!(may_wait(), 4, "a single one");
    for behind in [8, 16, 32, 64, 128, 128] {
        read(1_000);
        assert_eq!(may_wait(), behind, "the next one in place was long, too");
    }
    for _ in 0..1_000 {
        read(100);
    }
    read(1_000);
    assert_eq!(may_wait(), 4, "those before were short");
}
