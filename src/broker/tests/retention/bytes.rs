//! `retention.bytes`.

use std::time::Duration;

use super::world::Kept;
use crate::{
    broker::{Options, tests::world::options},
    budget::Sizes,
};

const LIMIT: u64 = 512 << 10;
const SEGMENT: u64 = LIMIT / 4;

fn limited() -> Kept {
    Kept::with(&[("retention.bytes", "512KiB"), ("keys", "plain")])
}

#[test]
fn what_stays_is_within_the_limit_and_within_a_segment_of_it() {
    let mut kept = limited();
    for _ in 0..400 {
        kept.append(9_000);
        kept.settle();
        let bytes = kept.described().bytes;
        assert!(bytes <= LIMIT + SEGMENT, "{bytes} under load");
    }
    kept.settle_on_disk();
    let bytes = kept.described().bytes;
    assert!(
        (LIMIT - SEGMENT..=LIMIT).contains(&bytes),
        "{bytes} at rest"
    );
    let on_disk: u64 = kept.segment_files().iter().sum();
    assert_eq!(on_disk, bytes, "nothing else is on the disk");
}

#[test]
fn the_disk_has_no_more_than_two_segments_above_the_limit_where_rounds_keep_up() {
    let mut kept = limited();
    for _ in 0..400 {
        kept.append(9_000);
        kept.settle();
        kept.pass(Duration::from_millis(10));
        let on_disk: u64 = kept.segment_files().iter().sum();
        assert!(on_disk <= LIMIT + 2 * SEGMENT, "{on_disk} on the disk");
    }
}

#[test]
fn a_record_that_is_larger_than_the_limit_stays_until_another_follows() {
    let roomy = Options {
        journal_file_bytes: 2 << 20,
        memory: Sizes::default(),
        ..options()
    };
    let limits = [("retention.bytes", "256KiB"), ("keys", "plain")];
    let mut kept = Kept::with_options(&limits, roomy);
    kept.append(100);
    kept.append(300_000);
    kept.settle_on_disk();
    assert_eq!(kept.there(), 1..2);
    kept.append(300_000);
    kept.settle_on_disk();
    assert_eq!(kept.there(), 2..3);
}

#[test]
fn an_altered_limit_holds_at_once_for_segments_of_before() {
    let mut kept = Kept::with(&[("segment.bytes", "64KiB"), ("keys", "plain")]);
    for _ in 0..40 {
        kept.append(30_000);
    }
    kept.settle_on_disk();
    assert_eq!(kept.there(), 0..40);
    kept.alter(&[("retention.bytes", "512KiB")]);
    kept.settle();
    let bytes = kept.described().bytes;
    assert!((LIMIT - SEGMENT..=LIMIT).contains(&bytes), "{bytes}");
}

#[test]
fn the_limit_that_is_hit_first_wins() {
    let limits = [("retention.bytes", "512KiB"), ("retention.ms", "60s")];
    let mut kept = Kept::with(&limits);
    for _ in 0..100 {
        kept.append(9_000);
    }
    kept.settle();
    let there = kept.there();
    assert!(there.start > 0 && there.end == 100, "{there:?}: by size");
    kept.pass(Duration::from_secs(60));
    assert_eq!(kept.there(), 100..100, "by age");
}

#[test]
fn what_is_trimmed_leaves_the_disk_also_where_no_segment_was_full() {
    for restarts in [false, true] {
        let mut kept = Kept::with(&[("keys", "plain")]);
        for _ in 0..20 {
            kept.append(9_000);
        }
        kept.settle_on_disk();
        assert_eq!(kept.segment_files().len(), 1);
        let end = kept.there().end;
        super::held::trim(&kept, end, false).expect("in range");
        if restarts {
            kept.restart(true);
        }
        for _ in 0..3 {
            kept.pass(Duration::from_secs(11));
            kept.settle_on_disk();
        }
        assert!(kept.segment_files().is_empty(), "restarts: {restarts}");
        assert_eq!(kept.there(), end..end);
        assert_eq!(kept.append(100).0, end);
    }
}

#[test]
fn a_trim_of_all_makes_room_for_appends_that_were_refused() {
    let limits = [("retention.bytes", "256KiB"), ("limit.policy", "refuse")];
    let mut kept = Kept::with(&[&limits[..], &[("segment.bytes", "64MiB")]].concat());
    while kept.try_append(30_000).is_ok() {
        kept.settle();
    }
    kept.settle_on_disk();
    super::held::trim(&kept, kept.there().end, false).expect("in range");
    kept.pass(Duration::from_secs(2));
    kept.settle_on_disk();
    for _ in 0..7 {
        kept.append(30_000);
    }
}

#[test]
fn the_limit_holds_while_more_is_appended_than_one_check_can_seal() {
    let mut kept = Kept::with(&[
        ("retention.bytes", "512KiB"),
        ("segment.bytes", "64KiB"),
        ("keys", "plain"),
    ]);
    for _ in 0..100 {
        for _ in 0..20 {
            kept.append(9_000);
        }
        kept.broker.step();
        kept.broker.commit_all();
    }
    assert!(kept.there().start > 0);
    kept.settle_on_disk();
    assert!(kept.described().bytes <= LIMIT);
}
