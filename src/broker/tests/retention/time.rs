//! `retention.ms`.

use std::time::Duration;

use super::world::{Kept, START_MS, TOPIC};
use crate::broker::tests::world::{append_of, encode_proto, send};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

#[test]
fn records_go_at_the_moment_at_which_they_are_old_enough_also_where_nothing_is_appended_any_more() {
    let mut kept = Kept::with(&[("retention.ms", "60s")]);
    kept.append(100);
    kept.pass(10 * SECOND);
    kept.append(100);
    kept.pass(MINUTE - MS);
    assert_eq!(kept.there(), 0..2, "the newest is a millisecond too young");
    kept.pass(MS);
    assert_eq!(kept.there(), 2..2);
    kept.settle_on_disk();
    assert_eq!(kept.segment_files(), [0u64; 0], "no file is left");
}

#[test]
fn a_segment_goes_when_its_last_record_is_old_enough_and_no_record_lives_longer_than_is_said() {
    let mut kept = Kept::with(&[("retention.ms", "60s")]);
    let settings = kept.broker.describe_topic(TOPIC).expect("there").0.settings;
    let longest = Duration::from_millis(settings.longest_life_ms().expect("it is limited"));
    assert_eq!(longest, 75 * SECOND);
    let mut appended = Vec::new();
    for second in 0..400u64 {
        appended.push(second);
        assert_eq!(kept.append(50).0, second);
        kept.pass(SECOND);
        let there = kept.there();
        let age = |offset: u64| Duration::from_secs(second + 1 - appended[offset as usize]);
        assert!(age(there.start) <= longest, "{there:?} at {second}");
        if there.start > 0 {
            let youngest_gone = age(there.start - 1);
            assert!(youngest_gone >= MINUTE, "{there:?} at {second}");
        }
    }
    assert!(kept.there().start > 300);
}

#[test]
fn times_of_clients_keep_nothing_and_remove_nothing() {
    let mut kept = Kept::with(&[("retention.ms", "60s")]);
    for timestamp_ms in [START_MS + 3_000_000, START_MS - 315_360_000_000] {
        let record = encode_proto(&crate::proto::Record {
            timestamp_ms: Some(timestamp_ms),
            value: Some(vec![0; 8].into()),
            ..Default::default()
        });
        send(&kept.broker, append_of(TOPIC, Some(0), &[record])).expect("it is taken");
    }
    kept.append(100);
    kept.pass(MINUTE - MS);
    assert_eq!(kept.there(), 0..3);
    kept.pass(MS);
    assert_eq!(kept.there(), 3..3);
}

#[test]
fn an_altered_limit_holds_at_once_for_segments_of_before_also_after_a_start() {
    for cleanly in [true, false] {
        let mut kept = Kept::with(&[("segment.bytes", "64KiB")]);
        for _ in 0..10 {
            kept.append(30_000);
            kept.pass(MINUTE);
        }
        kept.settle_on_disk();
        kept.restart(cleanly);
        kept.settle();
        assert_eq!(kept.there(), 0..10);
        // Two records share a segment, so the one that is five minutes old keeps the one before it.
        kept.alter(&[("retention.ms", "330s")]);
        kept.settle();
        assert_eq!(kept.there(), 4..10, "cleanly: {cleanly}");
        kept.alter(&[("retention.ms", "-1")]);
        kept.pass(HOUR);
        assert_eq!(kept.there(), 4..10);
    }
}

#[test]
fn what_is_removed_stays_removed_and_versions_and_offsets_go_on() {
    let mut kept = Kept::with(&[("retention.ms", "60s")]);
    for expected in 1..=3 {
        assert_eq!(kept.append_keyed("entity"), expected);
    }
    kept.pass(HOUR);
    kept.settle_on_disk();
    assert_eq!(kept.there(), 3..3);
    for (cleanly, expected) in [(true, 4), (false, 5)] {
        kept.restart(cleanly);
        assert_eq!(kept.append_keyed("entity"), expected);
        kept.pass(HOUR);
        kept.settle_on_disk();
        assert_eq!(kept.there(), expected..expected);
    }
}

#[test]
fn a_clock_that_jumps_a_year_ahead_removes_nothing_before_it_has_stood_there() {
    let mut kept = Kept::with(&[("retention.ms", "7d")]);
    kept.append(100);
    kept.pass(MINUTE);
    let year_ms = 365 * 86_400_000;
    kept.clock.set_now_ms(START_MS + 60_000 + year_ms);
    kept.settle();
    for _ in 0..59 {
        kept.pass(MINUTE);
        assert_eq!(kept.there(), 0..1);
    }
    kept.pass(2 * MINUTE);
    assert_eq!(kept.there(), 1..1, "it has stood for an hour");
}

#[test]
fn a_segment_that_cannot_be_read_any_more_holds_up_what_is_behind_it_no_longer_than_itself() {
    let mut kept = Kept::with(&[("segment.bytes", "64KiB")]);
    for _ in 0..4 {
        kept.append(40_000);
        kept.pass(MINUTE);
    }
    kept.settle_on_disk();
    kept.restart(true);
    let first = kept.dir().join("00000000000000000000.log");
    kept.disk.zero(&first, 64..40_000).expect("it is there");
    kept.alter(&[("retention.ms", "1h")]);
    kept.settle();
    kept.pass(HOUR - MS);
    assert_eq!(kept.there().start, 0);
    kept.pass(MS);
    assert_eq!(kept.there(), 4..4);
}
