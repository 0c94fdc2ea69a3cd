//! How long compaction pauses after a step.

use std::time::Duration;

use crate::broker::compaction::pause;

const MIB: u64 = 1 << 20;

#[test]
fn it_reads_64_mib_a_second_unless_it_is_behind_and_waits_where_appends_do() {
    let took = Duration::from_millis(100);
    let rate = Some(64 * MIB);
    let step = |is_hurried: bool, is_crowded| {
        let rate = rate.filter(|_| !is_hurried);
        pause(32 * MIB, took, rate, is_crowded)
    };
    assert_eq!(step(false, false), Duration::from_millis(400));
    assert_eq!(step(true, false), Duration::ZERO);
    assert_eq!(step(true, true), Duration::from_millis(100));
    assert_eq!(step(false, true), Duration::from_millis(400));
    // A slower disk is left alone for as long as the step used it.
    let slow = Duration::from_secs(3);
    assert_eq!(pause(32 * MIB, slow, rate, true), slow);
    assert_eq!(pause(32 * MIB, slow, rate, false), Duration::ZERO);
}
