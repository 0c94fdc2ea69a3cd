//! What becomes of the files of replaced segments.

use bytes::Bytes;

use super::world::{MS, PARTITION, TOPIC, World};
use crate::broker::{Read, Step, tests::world::now};

/// Appends more than two segments of records, all of one key.
fn fill(world: &World) {
    for nth in 0..150u8 {
        world.put("a", &[nth; 1_000]);
    }
    world.roll();
}

/// How often segment files were truncated since tracing began.
fn cuts(world: &World) -> usize {
    let trace = world.disk.trace();
    let is_cut = |line: &&String| line.contains("SetLen ") && line.contains(".log");
    trace.iter().filter(is_cut).count()
}

/// How often segment files were truncated during a compaction of the topic.
fn cuts_of_compaction(world: &World) -> usize {
    world.disk.record_trace();
    world.compact();
    (0..100).for_each(|_| world.pass(10 * MS));
    cuts(world)
}

/// The first records, as slices of a segment's map.
fn first_records(world: &World) -> Vec<Bytes> {
    let read = Read {
        topic: TOPIC.to_owned(),
        partitions: vec![(PARTITION, None)],
        max_records: 10,
        ..Read::default()
    };
    let mut reader = world.broker.read(read).expect("they are there");
    match reader.step().expect("they can be read") {
        Step::Batch(batch) => batch.records,
        Step::Wait(_) | Step::End => panic!("there are records"),
    }
}

#[test]
fn a_segment_that_gave_way_is_given_back_step_by_step_unless_somebody_has_bytes_of_it() {
    let world = World::with(&[]);
    fill(&world);
    // The simulated disk does not allow that a mapped file is truncated.
    let held = first_records(&world);
    let copy: Vec<Vec<u8>> = held.iter().map(|slice| slice.to_vec()).collect();
    let while_held = cuts_of_compaction(&world);
    assert_eq!(held, copy);
    drop(held);
    fill(&world);
    let without = cuts_of_compaction(&world);
    assert!(without >= 6, "{without} steps of two segments");
    assert!(while_held < without, "{while_held}: one is held");
    assert_eq!(world.versions("a"), (vec![300], 300));
}

#[test]
fn a_trimmed_segment_is_given_back_in_steps_between_which_time_passes() {
    let world = World::with(&[("cleanup.policy", "delete")]);
    fill(&world);
    let end = world.described().high_watermark;
    let trimmed = world.broker.trim(TOPIC, PARTITION, end);
    world.broker.commit_all();
    let trimmed = now(trimmed.expect("it is in the log")).expect("an answer");
    assert_eq!(trimmed, Ok(end));
    world.disk.record_trace();
    for _ in 0..4 {
        world.broker.keep_house(true);
        world.broker.commit_all();
    }
    let names = |world: &World| {
        let files = world.disk.files().into_iter();
        let segments = files.filter(|path| path.extension().is_some_and(|end| end == "log"));
        segments.count()
    };
    assert_eq!(names(&world), 1, "the names go at once");
    let mut cut = cuts(&world);
    assert!(cut <= 1, "{cut} steps at one moment");
    for _ in 0..20 {
        world.clock.advance(10 * MS);
        world.broker.step();
        let before = std::mem::replace(&mut cut, cuts(&world));
        assert!(cut <= before + 1, "{} steps at one moment", cut - before);
    }
    assert!(cut >= 6, "{cut} steps of two segments");
}
