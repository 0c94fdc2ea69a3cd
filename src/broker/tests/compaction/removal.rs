//! What becomes of the files of segments in whose place others are.

use bytes::Bytes;

use super::world::{PARTITION, TOPIC, World};
use crate::broker::{Read, Step};

/// Two segments and more, of one key.
fn fill(world: &World) {
    for nth in 0..150u8 {
        world.put("a", &[nth; 1_000]);
    }
    world.roll();
}

/// How often files of segments were made shorter while the topic was compacted.
fn cuts(world: &World) -> usize {
    world.disk.record_trace();
    world.compact();
    let trace = world.disk.trace();
    let is_cut = |line: &&String| line.contains("SetLen ") && line.contains(".log");
    trace.iter().filter(is_cut).count()
}

/// The first records, as a reader has them in a segment's map.
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
    // The simulated disk does not allow a mapped file to become shorter.
    let held = first_records(&world);
    let copy: Vec<Vec<u8>> = held.iter().map(|slice| slice.to_vec()).collect();
    let while_held = cuts(&world);
    assert_eq!(held, copy);
    drop(held);
    fill(&world);
    let without = cuts(&world);
    assert!(without >= 6, "{without} steps of two segments");
    assert!(while_held < without, "{while_held}: one is held");
    assert_eq!(world.versions("a"), (vec![300], 300));
}
