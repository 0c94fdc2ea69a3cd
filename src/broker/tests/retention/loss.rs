//! Groups that retention is about to overtake.

use std::time::Duration;

use super::{
    super::world::describe_all,
    held::commit,
    world::{Kept, TOPIC},
};

const SECOND: Duration = Duration::from_secs(1);

fn lost_in_ms(kept: &Kept) -> Option<u64> {
    let described = kept
        .broker
        .describe_group(&describe_all("billing"))
        .expect("it is there");
    described.partitions[0].lost_in_ms
}

/// The number of warnings so far.
fn warnings(kept: &Kept) -> u64 {
    kept.broker.shared.partitions.retention.warnings()
}

#[test]
fn a_group_is_told_when_it_loses_records_and_warned_of_before() {
    let mut kept = Kept::with(&[("retention.ms", "100s")]);
    kept.append(100);
    kept.settle();
    commit(&kept, "billing", 0);
    kept.pass(40 * SECOND);
    assert_eq!(lost_in_ms(&kept), Some(60_000));
    kept.append(100);
    kept.pass(49 * SECOND);
    assert_eq!(warnings(&kept), 0);
    assert_eq!(lost_in_ms(&kept), Some(11_000));
    kept.pass(SECOND);
    assert_eq!(warnings(&kept), 1, "a tenth of the time is left");
    kept.pass(9 * SECOND);
    assert_eq!((warnings(&kept), lost_in_ms(&kept)), (1, Some(1_000)));
    kept.pass(SECOND);
    assert_eq!(kept.there(), 1..2);
    assert_eq!(lost_in_ms(&kept), Some(40_000));
}

/// Appends until the partition starts at this offset or behind it.
fn append_until(kept: &mut Kept, start: u64) {
    while kept.there().start < start {
        kept.append(60_000);
        kept.settle();
    }
}

#[test]
fn a_group_is_warned_of_once_when_removal_by_size_overtakes_it() {
    let mut kept = Kept::with(&[("retention.bytes", "256KiB"), ("keys", "plain")]);
    kept.append(60_000);
    commit(&kept, "billing", 0);
    kept.settle();
    assert_eq!((kept.there().start, warnings(&kept)), (0, 0));
    append_until(&mut kept, 1);
    assert_eq!(warnings(&kept), 1);
    append_until(&mut kept, 4);
    assert_eq!(warnings(&kept), 1, "not for each segment");
    let end = kept.there().end;
    commit(&kept, "billing", end);
    append_until(&mut kept, end);
    assert_eq!(warnings(&kept), 1, "it had committed what was removed");
    append_until(&mut kept, end + 1);
    assert_eq!(warnings(&kept), 2, "it is behind again");
}

#[test]
fn a_group_that_has_committed_or_is_waited_for_is_not_warned_of() {
    let mut kept = Kept::with(&[("retention.ms", "100s")]);
    kept.append(100);
    commit(&kept, "billing", 1);
    kept.pass(95 * SECOND);
    assert_eq!((warnings(&kept), lost_in_ms(&kept)), (0, None));
    kept.append(100);
    kept.alter(&[("retention.hold", "groups")]);
    kept.pass(200 * SECOND);
    assert_eq!((warnings(&kept), lost_in_ms(&kept)), (0, None));
    let described = kept.broker.describe_topic(TOPIC).expect("there").0;
    assert_eq!(described.settings.longest_life_ms(), None);
}
