//! Trims of entities: what readers see at once, what is remembered, and when the bytes are removed.

use super::world::{HOUR, SECOND, TOPIC, World, records as records_in, try_read};
use crate::{
    broker::{
        Error, Read, Step,
        key_trims::TrimmedEntity,
        tests::world::{append_of, encode_proto, now, send},
    },
    types::{Offset, PartitionId, Position, Version},
};

const POLICIES: [&str; 2] = ["compact", "delete"];

/// A world whose topic has this policy and keeps many records of each key.
fn world(policy: &str) -> World {
    World::with(&[("cleanup.policy", policy), ("compaction.keep", "1000")])
}

fn value(key: &str, nth: u64) -> Vec<u8> {
    let mut value = format!("value {nth:03} of {key};").into_bytes();
    value.resize(3_000, b'.');
    value
}

/// Appends these versions to an entity, with as many records of other entities in between.
fn fill(world: &World, key: &str, versions: std::ops::RangeInclusive<u64>) {
    for nth in versions {
        world.put(key, &value(key, nth));
        world.put("other", &value("other", nth));
    }
}

fn waiting(world: &World) -> usize {
    let shared = &world.broker.shared;
    shared.sequencer.applied().key_trims().len()
}

fn has_value(world: &World, key: &str, nth: u64) -> bool {
    world.segments_have(format!("value {nth:03} of {key};").as_bytes())
}

fn erase(world: &World, key: &str) {
    let erased = world.broker.erase_key(TOPIC, key.as_bytes());
    world.broker.commit_all();
    let erased = now(erased.expect("it is taken")).expect("an answer");
    let id = erased.expect("nothing fails").id;
    for _ in 0..5 {
        world.settle();
        world.broker.keep_house(true);
    }
    let erasure = world.broker.describe_erasure(id).expect("it is known");
    assert!(erasure.complete, "{erasure:?}");
}

pub(super) fn trim_partition(world: &World, before: u64) {
    let trimmed = world.broker.trim(TOPIC, PartitionId(0), Offset(before));
    world.broker.commit_all();
    now(trimmed.expect("it is there"))
        .expect("an answer")
        .expect("nothing fails");
    for _ in 0..3 {
        world.broker.keep_house(true);
        world.settle();
    }
}

#[test]
fn what_is_trimmed_of_an_entity_is_gone_at_once_and_its_bytes_with_the_next_pass() {
    for policy in POLICIES {
        let mut world = world(policy);
        fill(&world, "a", 1..=40);
        let before = world.read();
        let trimmed = world.trim_key("a", 31).expect("it is at version 40");
        let (first, latest) = (Version(31), Version(40));
        assert_eq!(trimmed, TrimmedEntity { first, latest });
        let left: Vec<u64> = (31..=40).collect();
        for stage in [
            "at once",
            "restarted",
            "restarted hard",
            "compacted",
            "restarted again",
        ] {
            match stage {
                "at once" => {}
                "compacted" => {
                    assert!(has_value(&world, "a", 1), "nothing has asked for it to go");
                    world.compact();
                    world.broker.keep_house(true);
                    assert_eq!(waiting(&world), 0);
                    for nth in 1..=30 {
                        assert!(!has_value(&world, "a", nth), "{policy}: {nth}");
                    }
                }
                stage => world.restart(stage != "restarted hard"),
            }
            assert_eq!(world.versions("a"), (left.clone(), 40), "{policy}, {stage}");
            assert_eq!(world.start_of("a"), 31, "{policy}, {stage}");
            assert_eq!(world.start_of("other"), 1, "{policy}, {stage}");
            assert_eq!(world.latest("a"), (Version(40), Some(value("a", 40))));
            let mut expected = before.clone();
            let is_trimmed = |key: &Option<String>| key.as_deref() == Some("a");
            expected.retain(|found| !is_trimmed(&found.key) || found.version > Some(30));
            assert_eq!(world.read(), expected, "{policy}, {stage}");
        }
        let appended = world.append(Some("a"), Some(b"next")).expect("it is taken");
        assert_eq!(appended.versions, [Version(41)]);
    }
}

#[test]
fn versions_go_on_where_all_of_an_entity_is_trimmed() {
    for policy in POLICIES {
        let mut world = world(policy);
        fill(&world, "a", 1..=12);
        world.trim_key("a", 13).expect("it is at version 12");
        for stage in ["at once", "compacted", "restarted", "restarted hard"] {
            match stage {
                "at once" => {}
                "compacted" => world.compact(),
                stage => world.restart(stage == "restarted"),
            }
            assert_eq!(world.versions("a"), (vec![], 12), "{policy}, {stage}");
            assert_eq!(world.start_of("a"), 13, "{policy}, {stage}");
            assert_eq!(world.latest("a"), (Version(12), None), "{policy}, {stage}");
        }
        let appended = world.append(Some("a"), Some(b"next")).expect("it is taken");
        assert_eq!(appended.versions, [Version(13)]);
        assert_eq!(world.versions("a"), (vec![13], 13));
    }
}

#[test]
fn a_trim_is_refused_that_is_behind_the_next_version_or_of_nothing() {
    let world = world("delete");
    fill(&world, "a", 1..=3);
    let refused = Error::VersionOutOfRange {
        topic: TOPIC.to_owned(),
        before: Version(5),
        latest: Version(3),
    };
    assert_eq!(world.trim_key("a", 5), Err(refused));
    assert!(matches!(
        world.trim_key("a", 0),
        Err(Error::MalformedRequest { .. })
    ));
    assert!(matches!(
        world.trim_key(&"k".repeat(65_536), 1),
        Err(Error::MalformedRequest { .. })
    ));
    let unknown = world.broker.trim_key("nowhere", b"a", Version(1)).err();
    assert!(matches!(unknown, Some(Error::UnknownTopic { .. })));
    let nothing = TrimmedEntity {
        first: Version(1),
        latest: Version::NONE,
    };
    assert_eq!(world.trim_key("nobody", 1), Ok(nothing), "an empty start");
    assert_eq!(waiting(&world), 0);
    let trimmed = world.trim_key("a", 3).expect("it is at version 3");
    assert_eq!(world.trim_key("a", 2), Ok(trimmed), "it starts further on");
    assert_eq!(waiting(&world), 1, "there is one for each key");
}

#[test]
fn the_bytes_go_when_the_oldest_trim_has_waited_for_the_lag() {
    for policy in POLICIES {
        let world = World::with(&[
            ("cleanup.policy", policy),
            ("compaction.keep", "1000"),
            ("max.compaction.lag.ms", "2h"),
            ("min.compaction.lag.ms", "2h"),
        ]);
        fill(&world, "a", 1..=4);
        world.trim_key("a", 4).expect("it is at version 4");
        world.pass(HOUR);
        world.trim_key("other", 2).expect("it is at version 4");
        world.pass(HOUR - 10 * SECOND);
        world.broker.keep_house(true);
        assert!(has_value(&world, "a", 1), "{policy}: too early");
        world.pass(20 * SECOND);
        world.broker.keep_house(true);
        assert!(
            !has_value(&world, "a", 1),
            "{policy}: the active segment is sealed for it"
        );
        assert!(!has_value(&world, "other", 1), "{policy}: all go together");
        assert_eq!(waiting(&world), 0, "{policy}");
        assert_eq!(world.versions("a"), (vec![4], 4), "{policy}");
    }
}

#[test]
fn a_trimmed_entity_that_is_erased_and_one_that_was_erased_keep_their_start_and_version() {
    for policy in POLICIES {
        let mut world = world(policy);
        fill(&world, "first erased", 1..=6);
        fill(&world, "first trimmed", 1..=6);
        erase(&world, "first erased");
        world
            .trim_key("first erased", 4)
            .expect("it is at version 6");
        world
            .trim_key("first trimmed", 7)
            .expect("it is at version 6");
        erase(&world, "first trimmed");
        for stage in ["at once", "compacted", "restarted"] {
            match stage {
                "at once" => {}
                "compacted" => world.compact(),
                _ => world.restart(true),
            }
            let (versions, latest) = world.versions("first erased");
            assert_eq!(
                (&versions[..], latest),
                (&[4, 5, 6][..], 6),
                "{policy}, {stage}"
            );
            let (versions, latest) = world.versions("first trimmed");
            assert_eq!((&versions[..], latest), (&[][..], 6), "{policy}, {stage}");
        }
        for nth in 1..=6 {
            assert!(!has_value(&world, "first trimmed", nth), "{policy}: {nth}");
        }
        // The remaining records go with the partition's trim, and versions do not go back.
        let end = world.put("last", b"x");
        trim_partition(&world, end);
        world.restart(true);
        for key in ["first erased", "first trimmed"] {
            assert_eq!(world.versions(key), (vec![], 6), "{policy}, {key}");
            let appended = world.append(Some(key), Some(b"next")).expect("it is taken");
            assert_eq!(appended.versions, [Version(7)], "{policy}, {key}");
        }
    }
}

#[test]
fn versions_do_not_go_back_where_a_partition_is_trimmed_under_a_trim_that_waits() {
    let mut world = world("delete");
    fill(&world, "a", 1..=60);
    world.trim_key("a", 61).expect("it is at version 60");
    world.broker.keep_house(true);
    // The segments with some of the records go first; then the pass removes the other records.
    trim_partition(&world, 40);
    world.compact();
    trim_partition(&world, 80);
    world.restart(true);
    assert_eq!(world.versions("a"), (vec![], 60));
    let appended = world.append(Some("a"), Some(b"next")).expect("it is taken");
    assert_eq!(appended.versions, [Version(61)]);
}

#[test]
fn an_entity_starts_where_the_log_does_if_its_first_records_have_expired() {
    let world = world("delete");
    fill(&world, "a", 1..=60);
    for before in [5, 60] {
        trim_partition(&world, before);
        let first = world.of_key("a")[0].0;
        assert_eq!(world.start_of("a"), first, "{before}");
    }
}

#[test]
fn a_reader_that_has_fetched_ahead_returns_nothing_that_is_trimmed_meanwhile() {
    let world = world("delete");
    for nth in 0..40u8 {
        let records = ["a", "other"].map(|key| {
            encode_proto(&crate::proto::Record {
                key: Some(key.into()),
                value: Some(vec![nth; 40_000].into()),
                ..Default::default()
            })
        });
        send(&world.broker, append_of(TOPIC, Some(0), &records)).expect("it is taken");
    }
    let read = Read {
        topic: TOPIC.to_owned(),
        partitions: vec![(PartitionId(0), Some(Position::Earliest))],
        ..Read::default()
    };
    let mut reader = world.broker.read(read).expect("it can be read");
    let mut next = || match reader.step().expect("it can be read") {
        Step::Batch(batch) => {
            let mut offsets = Vec::new();
            for slice in &batch.records {
                offsets.extend(records_in(slice).iter().map(|found| found.offset));
            }
            offsets
        }
        _ => Vec::new(),
    };
    let mut first = next();
    for _ in 0..3 {
        first.extend(next());
    }
    assert!(first.len() < 40, "{first:?}");
    world.trim_key("a", 40).expect("it is at version 40");
    let mut rest = Vec::new();
    loop {
        let offsets = next();
        if offsets.is_empty() {
            break;
        }
        rest.extend(offsets);
    }
    // The even offsets are the entity's; the last of them is left.
    let expected = (first.len() as u64..80).filter(|offset| offset % 2 == 1 || *offset == 78);
    assert_eq!(rest, expected.collect::<Vec<u64>>());
}

#[test]
fn where_a_segment_is_damaged_what_was_trimmed_there_stays_hidden() {
    let mut world = world("delete");
    fill(&world, "a", 1..=40);
    world.broker.keep_house(true);
    world.restart(true);
    let first = world.dir().join("00000000000000000000.log");
    world.disk.zero(&first, 1_000..1_010).expect("it is there");
    world.trim_key("a", 40).expect("it is at version 40");
    world.compact();
    assert_eq!(
        waiting(&world),
        1,
        "nobody can tell whether its bytes are gone"
    );
    world.restart(true);
    assert_eq!(world.start_of("a"), 40);
    assert_eq!(world.latest("a").0, Version(40));
    let behind = try_read(&world.broker, 4).expect("it is behind the damage");
    let of_key: Vec<_> = behind
        .0
        .iter()
        .filter(|found| found.key.as_deref() == Some("a"))
        .collect();
    assert_eq!(of_key.len(), 1, "{of_key:?}");
    assert_eq!(of_key[0].version, Some(40));
}
