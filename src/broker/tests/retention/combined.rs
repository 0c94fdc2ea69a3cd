//! Every combination of limits: the one that is hit first counts.

use std::time::Duration;

use super::{
    held::commit,
    world::{Kept, PARTITION, TOPIC},
};
use crate::{
    broker::{
        Error,
        tests::world::{append_of, encode_proto, send},
    },
    proto,
};

const LIMIT: u64 = 256 << 10;
const SEGMENT: u64 = 64 << 10;
const RECORDS: u32 = 20;
const RECORD_BYTES: usize = 60_000;
const GROUP: &str = "billing";

/// Settings of a topic.
#[derive(Clone, Copy, Debug)]
struct Limits {
    cleanup: &'static str,
    policy: &'static str,
    hold: &'static str,
    ms: &'static str,
    bytes: &'static str,
}

impl Limits {
    fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for cleanup in ["delete", "compact,delete"] {
            for policy in ["discard", "refuse"] {
                for hold in ["none", "groups"] {
                    for ms in ["-1", "60s"] {
                        for bytes in ["-1", "256KiB"] {
                            all.push(Self {
                                cleanup,
                                policy,
                                hold,
                                ms,
                                bytes,
                            });
                        }
                    }
                }
            }
        }
        all
    }

    /// A topic with a segment for each record, all of different keys.
    fn topic(self) -> Kept {
        let kept = Kept::with(&[
            ("cleanup.policy", self.cleanup),
            ("limit.policy", self.policy),
            ("retention.hold", self.hold),
            ("retention.ms", self.ms),
            ("retention.bytes", self.bytes),
            ("segment.bytes", "64KiB"),
        ]);
        commit(&kept, GROUP, 0);
        kept
    }

    fn is_held(self) -> bool {
        self.hold == "groups"
    }
}

/// Appends a record of a key of its own.
fn append(kept: &Kept, number: u32) -> Result<(), Error> {
    let record = encode_proto(&proto::Record {
        key: Some(number.to_le_bytes().to_vec().into()),
        value: Some(vec![7; RECORD_BYTES].into()),
        ..Default::default()
    });
    send(&kept.broker, append_of(TOPIC, Some(PARTITION.0), &[record]))?;
    kept.settle();
    Ok(())
}

#[test]
fn the_size_counts_where_it_is_hit_before_the_age() {
    for limits in Limits::all() {
        let kept = limits.topic();
        let mut refused = None;
        for number in 0..RECORDS {
            if let Err(error) = append(&kept, number) {
                refused = Some(error);
                break;
            }
        }
        let there = kept.there();
        let is_full = limits.bytes != "-1";
        match (is_full, limits.is_held(), limits.policy) {
            (false, ..) => assert_eq!(
                (refused, there),
                (None, 0..u64::from(RECORDS)),
                "{limits:?}"
            ),
            (true, false, "discard") => {
                assert_eq!(refused, None, "{limits:?}");
                assert!(there.start > 0, "{limits:?}");
                let bytes = kept.described().bytes;
                assert!(bytes <= LIMIT + SEGMENT, "{limits:?}: {bytes}");
            }
            (true, true, _) => {
                let held =
                    matches!(&refused, Some(Error::RetentionHeld { group, .. }) if group == GROUP);
                assert!(held && there.start == 0, "{limits:?}: {refused:?}");
            }
            _ => {
                let full = matches!(&refused, Some(Error::PartitionFull { .. }));
                assert!(full && there.start == 0, "{limits:?}: {refused:?}");
            }
        }
    }
}

#[test]
fn the_age_counts_where_it_is_hit_before_the_size_and_makes_room_for_more() {
    for limits in Limits::all() {
        let kept = limits.topic();
        for number in 0..4 {
            append(&kept, number).expect("there is room");
        }
        kept.settle_on_disk();
        kept.pass(Duration::from_secs(120));
        kept.settle_on_disk();
        let goes = limits.ms != "-1" && !limits.is_held();
        let start = if goes { 4 } else { 0 };
        assert_eq!(kept.there(), start..4, "{limits:?}");
        if goes {
            for number in 4..8 {
                append(&kept, number).expect("what has gone makes room");
            }
        }
    }
}
