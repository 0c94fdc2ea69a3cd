//! When a partition is compacted: at the exact millisecond.

use crate::{
    broker::compaction::decide::{Decision, Facts, decide},
    types::{Offset, TopicSettings},
};

const NOW_MS: i64 = 1_000_000;

fn settings(set: &[(&str, &str)]) -> TopicSettings {
    let mut settings = TopicSettings::default();
    for (name, value) in set {
        settings.set(name, value).expect("a good value");
    }
    settings
}

/// The facts of a clean partition with ten sealed segments and an empty active one.
fn clean() -> Facts {
    Facts {
        end: Offset(1_000),
        sealed_end: Offset(1_000),
        sealed_bytes: 10_000,
        dirty_bytes: 0,
        clean_to: Offset(1_000),
        dirty_since_ms: None,
        oldest_tombstone_ms: None,
        tombstones_from_ms: i64::MIN,
        is_asked: false,
        is_unfinished: false,
        trims_due_ms: None,
        trims_end: Offset::ZERO,
    }
}

/// The facts of a partition with this many new bytes in sealed segments, the oldest of this age.
fn dirty(bytes: u64, age_ms: i64) -> Facts {
    Facts {
        clean_to: Offset(500),
        dirty_bytes: bytes,
        dirty_since_ms: Some(NOW_MS - age_ms),
        ..clean()
    }
}

#[test]
fn nothing_is_done_where_all_is_clean_also_if_somebody_asks() {
    let settings = TopicSettings::default();
    assert_eq!(decide(&settings, &clean(), NOW_MS), Decision::Wait(None));
    let asked = Facts {
        is_asked: true,
        ..clean()
    };
    assert_eq!(decide(&settings, &asked, NOW_MS), Decision::Wait(None));
}

#[test]
fn a_pass_waits_until_half_is_new_or_the_lag_is_over() {
    let settings = settings(&[("max.compaction.lag.ms", "60s")]);
    let waits = Decision::Wait(Some(NOW_MS + 1));
    assert_eq!(decide(&settings, &dirty(4_999, 59_999), NOW_MS), waits);
    assert_eq!(decide(&settings, &dirty(5_000, 0), NOW_MS), Decision::Pass);
    assert_eq!(decide(&settings, &dirty(1, 60_000), NOW_MS), Decision::Pass);
    let asked = Facts {
        is_asked: true,
        ..dirty(1, 0)
    };
    assert_eq!(decide(&settings, &asked, NOW_MS), Decision::Pass);
    let unfinished = Facts {
        is_unfinished: true,
        ..dirty(1, 0)
    };
    assert_eq!(decide(&settings, &unfinished, NOW_MS), Decision::Pass);
}

#[test]
fn the_active_segment_is_sealed_when_its_lag_is_over_or_somebody_asks() {
    let settings = settings(&[("max.compaction.lag.ms", "60s")]);
    let active = |age_ms| Facts {
        end: Offset(1_001),
        dirty_since_ms: Some(NOW_MS - age_ms),
        ..clean()
    };
    let waits = Decision::Wait(Some(NOW_MS + 1));
    assert_eq!(decide(&settings, &active(59_999), NOW_MS), waits);
    assert_eq!(decide(&settings, &active(60_000), NOW_MS), Decision::Seal);
    let asked = Facts {
        is_asked: true,
        ..active(0)
    };
    assert_eq!(decide(&settings, &asked, NOW_MS), Decision::Seal);
    // New sealed segments come first, without the active one.
    let both = Facts {
        end: Offset(1_001),
        ..dirty(1, 60_000)
    };
    assert_eq!(decide(&settings, &both, NOW_MS), Decision::Pass);
}

#[test]
fn nothing_is_done_before_records_are_old_enough() {
    let settings = settings(&[
        ("min.compaction.lag.ms", "60s"),
        ("max.compaction.lag.ms", "1s"),
    ]);
    let young = Facts {
        is_asked: true,
        ..dirty(10_000, 59_999)
    };
    let waits = Decision::Wait(Some(NOW_MS + 1));
    assert_eq!(decide(&settings, &young, NOW_MS), waits);
    assert_eq!(decide(&settings, &young, NOW_MS + 1), Decision::Pass);
}

#[test]
fn a_tombstone_is_looked_for_when_its_time_is_over_and_not_again_at_once() {
    let minute = settings(&[("delete.retention.ms", "60s")]);
    let facts = Facts {
        oldest_tombstone_ms: Some(NOW_MS - 59_999),
        ..clean()
    };
    let waits = Decision::Wait(Some(NOW_MS + 1));
    assert_eq!(decide(&minute, &facts, NOW_MS), waits);
    assert_eq!(decide(&minute, &facts, NOW_MS + 1), Decision::Pass);
    let rests = Facts {
        tombstones_from_ms: NOW_MS + 5,
        ..facts
    };
    let waits = Decision::Wait(Some(NOW_MS + 5));
    assert_eq!(decide(&minute, &rests, NOW_MS + 1), waits);
    let for_ever = settings(&[("delete.retention.ms", "-1")]);
    assert_eq!(decide(&for_ever, &facts, i64::MAX), Decision::Wait(None));
}
