//! The preview of what retention would remove.

use std::{collections::BTreeMap, time::Duration};

use super::{
    held::{commit, trim},
    world::{Kept, PARTITION, TOPIC},
};
use crate::{
    broker::{Error, Meant, Removal},
    types::Offset,
};

/// Six records a minute apart, two to a segment. A group has committed the first.
fn kept() -> Kept {
    let mut kept = Kept::with(&[("segment.bytes", "64KiB")]);
    for _ in 0..6 {
        kept.append(30_000);
        kept.pass(Duration::from_secs(60));
    }
    commit(&kept, "billing", 1);
    kept
}

fn preview(kept: &Kept, set: &[(&str, &str)]) -> Result<Vec<Removal>, Error> {
    let set = set.iter();
    let set: BTreeMap<String, String> = set
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    kept.broker.preview_alter(TOPIC, &set, &[])
}

#[test]
fn an_alter_says_what_it_would_remove_and_then_removes_just_that() {
    for limit in [
        ("retention.ms", "270s"),
        ("retention.bytes", "256KiB"),
        ("retention.ms", "1s"),
    ] {
        for at_rest in [true, false] {
            let kept = kept();
            if at_rest {
                kept.settle_on_disk();
            }
            let before = kept.described();
            let would = preview(&kept, &[limit]).expect("a good value");
            assert_eq!(kept.described(), before, "nothing is changed");
            kept.alter(&[limit]);
            kept.settle();
            let start = kept.there().start;
            let said = would.first().map_or(0, |removal| removal.before.0);
            // While records are in memory only, it is not known where segments will end.
            assert!(said == start || !at_rest, "{limit:?}: {would:?}, {start}");
            let Some(removal) = would.first().filter(|_| at_rest) else {
                continue;
            };
            assert_eq!(removal.records, start);
            assert_eq!(removal.bytes, before.bytes - kept.described().bytes);
            assert_eq!(removal.groups.len(), 1);
            assert_eq!(removal.groups[0].0.as_str(), "billing");
            assert_eq!(removal.groups[0].1, start - 1);
        }
    }
}

#[test]
fn what_cannot_be_set_is_refused_by_a_preview_as_well() {
    let kept = kept();
    let refused = preview(&kept, &[("retention.ms", "1ms")]).expect_err("too small");
    assert!(matches!(refused, Error::InvalidSetting(_)));
    assert_eq!(preview(&kept, &[("retention.ms", "1d")]), Ok(Vec::new()));
}

#[test]
fn a_trim_says_what_would_go() {
    let kept = kept();
    kept.settle_on_disk();
    let meant = Meant::from(TOPIC);
    let would = kept.broker.preview_trim(meant, PARTITION, Offset(3), false);
    let would = would.expect("in range");
    assert_eq!((would.before, would.records), (Offset(3), 3));
    assert_eq!(would.groups[0].1, 2);
    let bytes = kept.described().bytes;
    assert_eq!(kept.there(), 0..6, "nothing is changed");
    trim(&kept, 3, false).expect("in range");
    assert_eq!(bytes - kept.described().bytes, would.bytes);
    let beyond = kept.broker.preview_trim(meant, PARTITION, Offset(7), false);
    assert!(matches!(beyond, Err(Error::OffsetOutOfRange { .. })));
}

#[test]
fn a_trim_that_a_group_holds_up_is_refused_by_a_preview_as_well() {
    let kept = kept();
    kept.alter(&[("retention.hold", "groups")]);
    let meant = Meant::from(TOPIC);
    let preview = |by_force| {
        kept.broker
            .preview_trim(meant, PARTITION, Offset(3), by_force)
    };
    assert!(matches!(preview(false), Err(Error::RetentionHeld { .. })));
    assert_eq!(preview(true).map(|removal| removal.records), Ok(3));
}

#[test]
fn an_alter_says_what_the_next_append_lets_go() {
    let mut kept = Kept::with(&[]);
    for _ in 0..20 {
        kept.append(30_000);
    }
    commit(&kept, "billing", 5);
    kept.settle_on_disk();
    let limit = ("retention.bytes", "256KiB");
    let would = preview(&kept, &[limit]).expect("a good value");
    assert_eq!((would[0].before, would[0].groups[0].1), (Offset(20), 15));
    kept.alter(&[limit]);
    kept.append(100);
    kept.settle_on_disk();
    assert_eq!(kept.there(), 20..21);
}
