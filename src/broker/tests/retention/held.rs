//! `retention.hold=groups`.

use std::time::Duration;

use super::world::{Kept, PARTITION, TOPIC};
use crate::{
    broker::{Error, GroupOffset, Pending, ResetGroup, ResetTo, TopicFilter, tests::world::now},
    types::{Offset, Position},
};

const GROUP: &str = "billing";
const MINUTE: Duration = Duration::from_secs(60);

fn settled<T>(kept: &Kept, pending: Result<Pending<T>, Error>) -> Result<T, Error> {
    let pending = pending?;
    kept.broker.commit_all();
    let answer = now(pending).expect("an answer");
    kept.settle();
    answer
}

pub(super) fn commit(kept: &Kept, group: &str, next: u64) {
    let offset = GroupOffset {
        topic: TOPIC.to_owned(),
        topic_id: None,
        partition: PARTITION,
        next_offset: Offset(next),
        metadata: bytes::Bytes::new(),
        generation: None,
        member: None,
    };
    let committed = kept.broker.commit_offsets(group, vec![offset], false);
    settled(kept, committed).expect("it is committed");
}

pub(super) fn trim(kept: &Kept, before: u64, by_force: bool) -> Result<Offset, Error> {
    let before = Offset(before);
    let trimmed = match by_force {
        true => kept.broker.force_trim(TOPIC, PARTITION, before),
        false => kept.broker.trim(TOPIC, PARTITION, before),
    };
    settled(kept, trimmed)
}

/// Puts each record in its own segment.
fn old(settings: &[(&str, &str)]) -> Kept {
    let own = [("retention.hold", "groups"), ("segment.bytes", "64KiB")];
    let mut kept = Kept::with(&[&own[..], settings].concat());
    for _ in 0..5 {
        kept.append(60_000);
    }
    kept.settle_on_disk();
    kept
}

#[test]
fn what_a_group_has_not_committed_does_not_expire_and_goes_when_it_has() {
    let kept = old(&[("retention.ms", "60s")]);
    commit(&kept, GROUP, 2);
    kept.pass(2 * MINUTE);
    assert_eq!(kept.there(), 2..5);
    commit(&kept, GROUP, 4);
    assert_eq!(kept.there(), 4..5, "at once");
    commit(&kept, "audit", 5);
    commit(&kept, GROUP, 5);
    assert_eq!(kept.there(), 5..5);
}

#[test]
fn the_group_that_has_come_least_far_counts_and_a_deleted_one_does_not() {
    let kept = old(&[("retention.ms", "60s")]);
    commit(&kept, GROUP, 3);
    commit(&kept, "audit", 1);
    kept.pass(2 * MINUTE);
    assert_eq!(kept.there(), 1..5);
    settled(&kept, kept.broker.delete_group("audit")).expect("it is there");
    assert_eq!(kept.there(), 3..5);
    let to_latest = ResetGroup {
        group: GROUP.to_owned(),
        to: ResetTo::Position(Position::Latest),
        topics: Vec::new(),
        among: TopicFilter::default(),
        partitions: Vec::new(),
        dry_run: false,
    };
    settled(&kept, kept.broker.reset_group(to_latest)).expect("it is there");
    assert_eq!(kept.there(), 5..5);
}

#[test]
fn at_the_limit_appends_are_refused_with_the_group_and_go_on_when_it_has_read() {
    for policy in ["discard", "refuse"] {
        let mut kept = old(&[("retention.bytes", "512KiB"), ("limit.policy", policy)]);
        commit(&kept, GROUP, 1);
        let refused = loop {
            match kept.try_append(60_000) {
                Ok(_) => kept.settle(),
                Err(error) => break error,
            }
            assert!(kept.described().bytes <= (512 + 64) << 10);
        };
        let refused = match policy {
            "refuse" => {
                // A trim could make room.
                assert!(
                    matches!(refused, Error::PartitionFull { .. }),
                    "{refused:?}"
                );
                trim(&kept, 1, false).expect("it is read");
                kept.settle_on_disk();
                loop {
                    match kept.try_append(60_000) {
                        Ok(_) => kept.settle(),
                        Err(error) => break error,
                    }
                }
            }
            _ => refused,
        };
        let Error::RetentionHeld { group, from, .. } = &refused else {
            panic!("{refused:?}");
        };
        assert_eq!((group.as_str(), *from), (GROUP, Offset(1)));
        assert!(kept.there().start <= 1);
        commit(&kept, GROUP, kept.there().end);
        if policy == "refuse" {
            trim(&kept, kept.there().end, false).expect("all is read");
        }
        assert!(kept.try_append(60_000).is_ok());
    }
}

#[test]
fn a_hold_refuses_at_the_limit_though_the_broker_had_no_time_to_look() {
    for policy in ["discard", "refuse"] {
        let settings = [("retention.bytes", "512KiB"), ("limit.policy", policy)];
        let mut kept = old(&settings);
        commit(&kept, GROUP, 0);
        let refused = loop {
            if let Err(error) = kept.try_append(60_000) {
                break error;
            }
            assert!(kept.described().bytes <= 512 << 10, "{policy}");
        };
        assert!(
            matches!(&refused, Error::RetentionHeld { group, .. } if group == GROUP),
            "{policy}: {refused:?}"
        );
    }
}

#[test]
fn a_hold_is_named_where_a_trim_of_what_is_read_would_not_make_enough_room() {
    let mut kept = Kept::with(&[
        ("retention.hold", "groups"),
        ("retention.bytes", "512KiB"),
        ("limit.policy", "refuse"),
        ("segment.bytes", "64KiB"),
    ]);
    // A segment for each.
    kept.append(100);
    kept.append(65_400);
    kept.settle_on_disk();
    commit(&kept, GROUP, 1);
    let refused = loop {
        match kept.try_append(60_000) {
            Ok(_) => kept.settle(),
            Err(error) => break error,
        }
    };
    assert!(
        matches!(refused, Error::RetentionHeld { .. }),
        "{refused:?}"
    );
    commit(&kept, GROUP, kept.there().end);
    let refused = kept.try_append(60_000).expect_err("nothing is removed");
    assert!(
        matches!(refused, Error::PartitionFull { .. }),
        "{refused:?}"
    );
}

#[test]
fn settings_do_not_go_around_a_hold_and_neither_does_a_trim_without_force() {
    let kept = old(&[]);
    commit(&kept, GROUP, 2);
    kept.alter(&[("retention.bytes", "256KiB"), ("retention.ms", "1s")]);
    kept.pass(MINUTE);
    assert_eq!(kept.there(), 2..5);
    let refused = trim(&kept, 3, false).expect_err("it is held");
    assert!(matches!(&refused, Error::RetentionHeld { group, .. } if group == GROUP));
    assert_eq!(
        trim(&kept, 2, false),
        Ok(Offset(2)),
        "it has committed these"
    );
    assert_eq!(trim(&kept, 3, true), Ok(Offset(3)));
    kept.alter(&[("retention.hold", "none")]);
    kept.settle();
    assert_eq!(
        kept.there(),
        5..5,
        "switching it off is no way around: it is said"
    );
}

#[test]
fn a_hold_outlives_a_start() {
    for cleanly in [true, false] {
        let mut kept = old(&[("retention.ms", "60s")]);
        commit(&kept, GROUP, 2);
        kept.pass(2 * MINUTE);
        kept.restart(cleanly);
        kept.settle();
        kept.pass(MINUTE);
        assert_eq!(kept.there(), 2..5);
        commit(&kept, GROUP, 5);
        assert_eq!(kept.there(), 5..5);
    }
}
