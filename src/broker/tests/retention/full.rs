//! `retention.bytes` while appends are refused.

use std::time::Duration;

use super::world::{Kept, PARTITION, TOPIC};
use crate::{
    broker::{
        Error, Options,
        tests::world::{append_of, encode_record, now, options},
    },
    budget::Sizes,
    types::Offset,
};

const LIMIT: u64 = 512 << 10;

fn refusing(more: &[(&str, &str)]) -> Kept {
    let limits = [("retention.bytes", "512KiB"), ("limit.policy", "refuse")];
    Kept::with(&[&limits[..], more].concat())
}

/// Appends until an append is refused; returns the error.
fn fill(kept: &mut Kept) -> Error {
    for _ in 0..1_000 {
        match kept.try_append(9_000) {
            Ok(_) => kept.settle(),
            Err(error) => return error,
        }
    }
    panic!("nothing is refused: {:?}", kept.described());
}

#[test]
fn a_full_partition_refuses_appends_and_takes_them_again_when_it_is_trimmed() {
    let mut kept = refusing(&[]);
    let refused = fill(&mut kept);
    let bytes = kept.described().bytes;
    assert!((LIMIT - 10_000..=LIMIT).contains(&bytes), "{bytes}");
    assert!(
        matches!(&refused, Error::PartitionFull { limit, .. } if *limit == LIMIT),
        "{refused:?}"
    );
    kept.settle_on_disk();
    assert_eq!(kept.there().start, 0, "nothing is discarded");
    assert!(kept.try_append(9_000).is_err());
    let trimmed = kept
        .broker
        .trim(TOPIC, PARTITION, Offset(kept.there().end / 2));
    kept.broker.commit_all();
    now(trimmed.expect("in range"))
        .expect("an answer")
        .expect("nothing fails");
    assert!(kept.try_append(9_000).is_ok());
}

#[test]
fn what_can_never_fit_is_refused_for_good() {
    let roomy = Options {
        journal_file_bytes: 2 << 20,
        memory: Sizes::default(),
        ..options()
    };
    let limits = [("retention.bytes", "256KiB"), ("limit.policy", "refuse")];
    let mut kept = Kept::with_options(&limits, roomy);
    let refused = kept.try_append(300_000).expect_err("it is too large");
    assert!(
        matches!(refused, Error::RequestTooLarge { limit: 262_144, .. }) && !refused.may_pass(),
        "{refused}"
    );
    kept.append(200_000);
}

#[test]
fn what_is_queued_counts() {
    let kept = refusing(&[("retention.bytes", "256KiB")]);
    let mut waiting = Vec::new();
    let mut refused = 0;
    for id in 0..100 {
        let append = append_of(TOPIC, Some(0), &[encode_record(id, 9_000)]);
        let admission = now(kept.broker.admit_alone(9_000));
        let Some(admission) = admission else { break };
        match kept.broker.append(append, admission.expect("it runs")) {
            Ok(pending) => waiting.push(pending),
            Err(error) => panic!("refused at once: {error}"),
        }
    }
    kept.broker.commit_all();
    for pending in waiting {
        match now(pending).expect("an answer") {
            Ok(_) => {}
            Err(Error::PartitionFull { .. }) => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    let bytes = kept.described().bytes;
    assert!(
        refused > 0 && bytes <= LIMIT / 2,
        "{refused} refused, {bytes}"
    );
}

#[test]
fn where_appends_are_refused_age_makes_room_without_being_asked() {
    let mut kept = refusing(&[("retention.ms", "60s")]);
    fill(&mut kept);
    kept.pass(Duration::from_secs(60));
    assert!(kept.try_append(9_000).is_ok());
}

#[test]
fn an_altered_policy_holds_at_once() {
    let mut kept = refusing(&[]);
    fill(&mut kept);
    kept.alter(&[("limit.policy", "discard")]);
    assert!(kept.try_append(9_000).is_ok());
    for _ in 0..100 {
        kept.append(9_000);
    }
    kept.settle_on_disk();
    assert!(kept.described().bytes <= LIMIT);
    kept.alter(&[("limit.policy", "refuse"), ("retention.bytes", "256KiB")]);
    kept.settle_on_disk();
    assert!(kept.described().bytes > 256 << 10, "nothing is discarded");
    assert!(kept.try_append(100).is_err());
}
