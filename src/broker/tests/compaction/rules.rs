//! Which records stay, and what readers, conditions and later appends see.

use super::world::{PARTITION, SECOND, TOPIC, World};
use crate::{
    broker::{
        Condition, Expected,
        tests::world::{append_of, encode_proto, send},
    },
    types::Version,
};

/// A world in which each of these keys was written this many times, in turns.
fn written(settings: &[(&str, &str)], keys: &[&str], times: u8) -> World {
    let world = World::with(settings);
    for nth in 0..times {
        for key in keys {
            world.put(key, &[nth; 1_000]);
        }
    }
    world
}

#[test]
fn the_last_record_of_each_key_stays_where_it_was_and_readers_are_told_up_to_the_end() {
    let world = written(&[], &["a", "b", "c"], 40);
    world.compact();
    let found = world.read();
    let offsets: Vec<u64> = found.iter().map(|found| found.offset).collect();
    assert_eq!(offsets, [117, 118, 119]);
    for found in &found {
        assert_eq!(found.version, Some(40));
        assert_eq!(found.value.as_deref(), Some(&[39; 1_000][..]));
    }
    let described = world.described();
    assert_eq!((described.earliest.0, described.high_watermark.0), (0, 120));
    assert_eq!(
        described
            .compaction
            .as_ref()
            .expect("it is compacted")
            .clean_to
            .0,
        120
    );
    assert!(described.bytes < 8_000, "{described:?}");
    // A read from the offset of a removed record begins with the next record that is left.
    assert_eq!(world.read_from(1).0.len(), 3);
    assert_eq!(world.read_from(118).0.len(), 2);
    assert_eq!(world.read_from(119).1, 120);
}

#[test]
fn as_many_records_of_each_key_stay_as_are_to_be_kept() {
    let world = written(&[("compaction.keep", "3")], &["a", "b"], 50);
    world.compact();
    assert_eq!(world.of_key("a"), [(48, 94), (49, 96), (50, 98)]);
    assert_eq!(world.of_key("b"), [(48, 95), (49, 97), (50, 99)]);
    // If fewer records are kept, clean segments are not clean any more.
    world.alter(&[("compaction.keep", "2")]);
    world.compact();
    assert_eq!(world.of_key("a"), [(49, 96), (50, 98)]);
    // If more records are kept, removed ones do not come back.
    world.alter(&[("compaction.keep", "5")]);
    world.put("a", b"new");
    world.compact();
    assert_eq!(world.of_key("a"), [(49, 96), (50, 98), (51, 100)]);
}

#[test]
fn reads_of_an_entity_return_what_is_left_and_show_the_gap_and_its_versions_go_on() {
    let mut world = written(&[("compaction.keep", "2")], &["a"], 100);
    world.put("b", b"once");
    world.compact();
    for cleanly in [true, false] {
        assert_eq!(world.versions("a"), (vec![99, 100], 100));
        assert_eq!(world.latest("a"), (Version(100), Some(vec![99; 1_000])));
        assert_eq!(world.latest("b"), (Version(1), Some(b"once".to_vec())));
        world.restart(cleanly);
    }
    let appended = world.append(Some("a"), Some(b"next")).expect("it is taken");
    assert_eq!(appended.versions, [Version(101)]);
    assert_eq!(world.versions("a"), (vec![99, 100, 101], 101));
}

#[test]
fn conditions_hold_of_what_is_compacted_as_before() {
    let world = written(&[], &["a"], 100);
    world.compact();
    let send_if = |expected| {
        let record = encode_proto(&crate::proto::Record {
            key: Some(b"other".as_slice().into()),
            value: Some(b"x".as_slice().into()),
            ..Default::default()
        });
        let mut append = append_of(TOPIC, None, &[record]);
        append.conditions.push(Condition {
            topic: TOPIC.to_owned(),
            topic_id: None,
            expected,
        });
        send(&world.broker, append)
    };
    let key = || b"a".as_slice().into();
    let at = |version| Expected::KeyAt {
        key: key(),
        version,
    };
    send_if(at(Version(99))).expect_err("it is at 100");
    send_if(at(Version(100))).expect("it is at 100");
    send_if(Expected::KeyAbsent { key: key() }).expect_err("it is there");
    let next = Expected::PartitionAt {
        partition: PARTITION,
        next: crate::types::Offset(101),
    };
    send_if(next).expect("offsets are what they were");
}

#[test]
fn the_newest_by_offset_stays_whatever_clients_say_of_time() {
    let world = World::with(&[]);
    for timestamp_ms in [5_000, 1_000, 3_000] {
        let record = encode_proto(&crate::proto::Record {
            key: Some(b"a".as_slice().into()),
            value: Some(b"x".as_slice().into()),
            timestamp_ms: Some(timestamp_ms),
            ..Default::default()
        });
        send(&world.broker, append_of(TOPIC, None, &[record])).expect("it is taken");
    }
    world.compact();
    assert_eq!(world.offsets(), [2]);
}

#[test]
fn what_was_compacted_is_not_begun_again_after_a_start() {
    let mut world = written(&[], &["a", "b"], 80);
    world.compact();
    let before = world.compaction();
    assert_eq!(before.clean_to.0, 160);
    for cleanly in [true, false] {
        world.restart(cleanly);
        assert_eq!(world.compaction(), before, "{cleanly}");
        world.pass(10 * SECOND);
        assert_eq!(world.compaction(), before, "nothing was due");
    }
}

#[test]
fn a_key_that_is_written_for_ever_takes_bounded_bytes_and_segments() {
    let world = World::with(&[]);
    let (mut most, mut most_segments) = (0, 0);
    for round in 0..60u8 {
        for _ in 0..40 {
            world.put("a", &[round; 2_000]);
        }
        world.broker.keep_house(true);
        world.pass(2 * SECOND);
        let described = world.described();
        most = most.max(described.bytes);
        most_segments = most_segments.max(described.segments);
    }
    assert!(most < 400_000, "{most}");
    assert!(most_segments <= 8, "{most_segments}");
    assert_eq!(world.latest("a"), (Version(2_400), Some(vec![59; 2_000])));
}
