//! Reads and appends during a compaction.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::world::{MS, PARTITION, SECOND, TOPIC, World, records};
use crate::{
    broker::{
        GroupOffset, Read, Step,
        tests::world::{append_of, describe_all, encode_proto, now, send},
    },
    types::{Offset, Records},
};

#[test]
fn a_read_that_began_before_ends_where_it_is_to_end_also_within_what_was_compacted() {
    let world = World::with(&[]);
    for nth in 0..5 {
        world.put("b", &[nth; 100]);
        world.put("a", &[nth; 100]);
    }
    let read = Read {
        topic: TOPIC.to_owned(),
        ..Read::default()
    };
    let mut reader = world.broker.read(read).expect("it can be read");
    for _ in 0..100 {
        world.put("a", &[9; 100]);
    }
    world.compact();
    let (mut records, mut next) = (0, 0);
    for _ in 0..10 {
        match reader.step().expect("it can be read") {
            Step::Batch(batch) => {
                for slice in &batch.records {
                    records += Records::new(slice).count();
                }
                next = batch.next_offset.0;
            }
            Step::Wait(_) => panic!("a finite read waits"),
            // A record of `b`; the records of `a` are gone.
            Step::End => return assert_eq!((records, next), (1, 10)),
        }
    }
    panic!("the read does not end");
}

#[test]
fn a_producer_goes_on_and_is_answered_again_when_its_records_were_compacted() {
    let mut world = World::with(&[]);
    let opened = world.broker.open_producer("", None);
    world.broker.commit_all();
    let producer = now(opened.expect("there is room"))
        .expect("an answer")
        .expect("nothing fails");
    let append = |sequence: u64| {
        let record = encode_proto(&crate::proto::Record {
            key: Some(b"a".as_slice().into()),
            value: Some(sequence.to_le_bytes().to_vec().into()),
            ..Default::default()
        });
        let mut append = append_of(TOPIC, Some(0), &[record]);
        append.batches[0].sequence = Some(sequence);
        append.producer = Some(producer);
        append
    };
    let mut answers = Vec::new();
    for sequence in 0..20 {
        answers.push(send(&world.broker, append(sequence)).expect("it is the next"));
    }
    world.compact();
    assert_eq!(world.offsets(), [19]);
    for cleanly in [true, false] {
        for sequence in [0, 10, 19] {
            let again = send(&world.broker, append(sequence));
            assert_eq!(again.as_ref(), Ok(&answers[sequence as usize]));
        }
        world.restart(cleanly);
    }
    assert_eq!(world.offsets(), [19]);
    send(&world.broker, append(20)).expect("it is the next");
}

#[test]
fn a_reader_from_the_beginning_ends_with_the_right_state_while_it_is_compacted() {
    let world = World::with(&[("cleanup.policy", "delete")]);
    let mut expected = BTreeMap::new();
    for nth in 0..400u32 {
        let key = format!("key {}", nth % 37);
        let offset = world.put(&key, &[nth as u8; 30_000]);
        expected.insert(key, offset);
        if nth % 20 == 0 {
            world.broker.keep_house(true);
        }
    }
    world.alter(&[("cleanup.policy", "compact")]);
    let read = Read {
        topic: TOPIC.to_owned(),
        ..Read::default()
    };
    let mut reader = world.broker.read(read).expect("it can be read");
    drop(world.broker.compact_topic(TOPIC).expect("it is compacted"));
    let (mut state, mut last, mut steps) = (BTreeMap::new(), None, 0);
    while let Step::Batch(batch) = reader.step().expect("it can be read") {
        for record in batch.records.iter().flat_map(records) {
            assert!(last < Some(record.offset), "in order");
            last = Some(record.offset);
            state.insert(record.key.expect("keyed"), record.offset);
        }
        steps += 1;
        // A pass has more steps than the read.
        for _ in 0..10 {
            world.broker.step();
            world.clock.advance(MS);
        }
    }
    assert_eq!(state, expected);
    assert!(steps > 3, "{steps}");
    world.settle();
    assert_eq!(world.offsets().len(), 37);
}

/// By how many records a group lags, and whether these were counted.
fn lag(world: &World, group: &str) -> (u64, bool) {
    let group = world
        .broker
        .describe_group(&describe_all(group))
        .expect("it is there");
    (group.partitions[0].lag, group.partitions[0].lag_exact)
}

fn commit(world: &World, group: &str, next: u64) {
    let offset = GroupOffset {
        topic: TOPIC.to_owned(),
        topic_id: None,
        partition: PARTITION,
        next_offset: Offset(next),
        metadata: Bytes::new(),
        generation: None,
        member: None,
    };
    let committed = world.broker.commit_offsets(group, vec![offset], false);
    world.broker.commit_all();
    drop(committed.expect("it may be"));
}

#[test]
fn a_group_behind_which_all_is_compacted_away_has_no_lag_for_certain() {
    let mut world = World::with(&[("delete.retention.ms", "1s")]);
    for key in ["a", "b"] {
        world.put(key, b"x");
        world.delete(key);
    }
    commit(&world, "within", 2);
    assert_eq!(lag(&world, "within"), (2, true));
    world.compact();
    // The broker's clock is a millisecond ahead since the group was made.
    world.pass(SECOND + MS);
    assert!(world.offsets().is_empty());
    for cleanly in [true, false] {
        assert_eq!(lag(&world, "within"), (0, true));
        world.restart(cleanly);
    }
}

#[test]
fn a_group_lags_by_the_records_that_are_there_and_not_by_their_offsets() {
    let mut world = World::with(&[]);
    for nth in 0..100 {
        world.put("a", &[nth; 100]);
    }
    world.put("b", &[0; 100]);
    for (group, next) in [("at the start", 0), ("within", 50), ("at the end", 101)] {
        commit(&world, group, next);
    }
    assert_eq!(lag(&world, "at the start"), (101, true));
    assert_eq!(lag(&world, "within"), (51, true));
    world.compact();
    assert_eq!(world.offsets(), [99, 100]);
    for cleanly in [true, false] {
        assert_eq!(lag(&world, "at the start"), (2, true));
        let (within, is_exact) = lag(&world, "within");
        assert!((1..=2).contains(&within) && !is_exact, "{within}");
        assert_eq!(lag(&world, "at the end"), (0, true));
        world.restart(cleanly);
    }
    world.put("c", &[0; 100]);
    assert_eq!(lag(&world, "at the start"), (3, true));
    assert_eq!(lag(&world, "at the end"), (1, true));
}
