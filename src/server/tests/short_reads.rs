//! Reads that run in place, until one has waited for a file.

use std::{sync::Arc, time::Duration};

use crate::{env::sim::SimClock, server::blocking::ShortReads};

#[test]
fn reads_are_done_in_place_until_one_takes_long_and_one_of_a_hundred_behind_that() {
    let clock = SimClock::new(0);
    let reads = ShortReads::new(Arc::new(clock.clone()));
    let read = |takes: u64| reads.read(|| clock.advance(Duration::from_micros(takes)));
    // This test has no runtime, without which a read that may wait would panic.
    for _ in 0..1_000 {
        read(100);
    }
    read(1_000);
    for _ in 0..2 {
        let may_wait = (0..100).filter(|_| reads.takes_one_that_may_wait());
        assert_eq!(may_wait.count(), 100);
        assert!(!reads.takes_one_that_may_wait(), "one is tried again");
        read(1_000);
    }
    (0..100).for_each(|_| assert!(reads.takes_one_that_may_wait()));
    for _ in 0..1_000 {
        read(100);
    }
}
