//! A broker without any more appends: what waits for a checkpoint does not wait for ever.

use std::path::PathBuf;

use super::{
    compaction::world::{PARTITION, SECOND, TOPIC, World},
    world::now,
};

const DELETE: (&str, &str) = ("cleanup.policy", "delete");

/// The time within which an idle broker removes what must be removed.
const SECONDS: u32 = 15;

/// The files of segments.
fn segments(world: &World) -> Vec<PathBuf> {
    let mut files = world.disk.files();
    files.retain(|path| path.extension().is_some_and(|end| end == "log"));
    files
}

/// Lets time pass without any calls.
fn idle(world: &World) {
    for _ in 0..SECONDS {
        world.pass(SECOND);
    }
}

#[test]
fn segments_that_expire_are_removed_although_nothing_is_appended() {
    let world = World::with(&[DELETE, ("retention.ms", "60s")]);
    world.roll();
    world.put("last", b"one");
    idle(&world);
    assert_eq!(segments(&world).len(), 2);
    world.pass(60 * SECOND);
    assert_eq!(world.offsets(), [0; 0]);
    idle(&world);
    assert_eq!(segments(&world), Vec::<PathBuf>::new());
}

#[test]
fn segments_that_compaction_has_replaced_are_removed_when_nobody_reads_them_any_more() {
    let world = World::with(&[]);
    world.put("key", &[1; 1_000]);
    world.roll();
    world.put("key", &[2; 1_000]);
    let view = {
        let topics = world.broker.shared.partitions.topics();
        let topic = topics.find(TOPIC).expect("it is there");
        let partition = topic.partition(PARTITION).expect("it is there");
        partition.partition().log.view().clone()
    };
    world.compact();
    idle(&world);
    let in_use = segments(&world).len();
    drop(view);
    world.pass(SECOND);
    assert!(segments(&world).len() < in_use, "{in_use} were there");
    assert!(!world.segments_have(&[1; 1_000]), "no file has it");
}

#[test]
fn a_segment_that_was_sealed_for_its_age_is_compressed() {
    let settings = [DELETE, ("compression", "zstd"), ("segment.ms", "1m")];
    let world = World::with(&settings);
    world.put("key", &[1; 40_000]);
    world.pass(61 * SECOND);
    idle(&world);
    idle(&world);
    let described = world.described();
    let (bytes, uncompressed) = (described.bytes, described.uncompressed_bytes);
    assert!(bytes < uncompressed / 2, "{bytes} of {uncompressed}");
}

#[test]
fn the_files_of_a_deleted_topic_are_removed() {
    let world = World::with(&[]);
    world.roll();
    idle(&world);
    let deleted = world.broker.delete_topic(TOPIC).expect("it is there");
    world.broker.commit_all();
    now(deleted).expect("an answer").expect("nothing fails");
    idle(&world);
    assert_eq!(segments(&world), Vec::<PathBuf>::new());
}

#[test]
fn a_broker_that_has_nothing_to_do_writes_nothing() {
    let world = World::with(&[DELETE, ("retention.ms", "60s")]);
    world.roll();
    world.pass(60 * SECOND);
    idle(&world);
    idle(&world);
    world.disk.record_trace();
    idle(&world);
    assert_eq!(world.disk.trace(), [""; 0]);
}
