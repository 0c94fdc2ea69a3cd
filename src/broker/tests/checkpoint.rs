//! Which disk operations a checkpoint of many partitions takes.

use super::world::{append_of, create, encode_record, env, options, send};
use crate::{
    broker::{Broker, Options},
    budget::Sizes,
    env::sim::{OpKind, SimClock, SimDisk, SimRandom, Stats},
};

const PARTITIONS: u32 = 100;

/// The disk operations of a checkpoint of a hundred partitions, each with new records in an
/// existing segment, with this limit of open files.
fn checkpoint(open_files: usize) -> Stats {
    checkpoints(open_files, 8)[1].clone()
}

/// The disk operations of the checkpoint before, which created the segments.
fn first_checkpoint(open_files: usize) -> Stats {
    checkpoints(open_files, 8)[0].clone()
}

/// Two checkpoints, before each of which a record of this size is appended to each partition.
fn checkpoints(open_files: usize, record_bytes: usize) -> [Stats; 2] {
    let disk = SimDisk::new(1);
    // So that large records are in the cache, too.
    disk.refuse_direct();
    let environment = env(&disk, &SimClock::new(0), &SimRandom::new(1));
    let options = Options {
        open_files,
        open_segments: open_files,
        // So large that nothing makes housekeeping begin before it is told to.
        memory: Sizes::default(),
        journal_file_bytes: 16 << 20,
        ..options()
    };
    let broker = Broker::open_stepped(environment, options).expect("nothing fails");
    create(&broker, "t", PARTITIONS);
    let append_to_all = || {
        for partition in 0..PARTITIONS {
            send(
                &broker,
                append_of("t", Some(partition), &[encode_record(1, record_bytes)]),
            )
            .expect("there is room");
        }
    };
    [(); 2].map(|()| {
        append_to_all();
        let before = disk.stats();
        broker.keep_house(true);
        let mut stats = disk.stats();
        for (kind, count) in before.operations {
            *stats.operations.entry(kind).or_default() -= count;
        }
        stats
    })
}

#[test]
fn segments_are_synced_together_as_far_as_files_may_be_open() {
    assert_eq!(checkpoint(64).most_synced_together, 32);
    assert_eq!(checkpoint(2).most_synced_together, 1);
}

/// The journal's next write waits for all that the disk was given before.
#[test]
fn no_more_than_a_step_is_given_to_the_disk_at_a_time_where_segments_have_much_to_sync() {
    let [_, stats] = checkpoints(64, 40 << 10);
    assert_eq!(
        stats.most_begun_together, 25,
        "25 of 40 KiB are just less than a MiB"
    );
}

#[test]
fn the_disk_has_begun_to_write_all_that_is_synced_together_when_the_first_is_synced() {
    assert_eq!(checkpoint(64).most_begun_together, 32);
}

#[test]
fn a_segment_is_written_to_through_the_file_that_was_created() {
    let stats = first_checkpoint(64);
    let most = u64::from(PARTITIONS) / 5;
    let opened = stats.operations[&OpKind::Open];
    assert!(opened < most, "{opened} files were opened again");
    let removed = stats.operations.get(&OpKind::RemoveFile).copied();
    assert!(
        removed.unwrap_or_default() < most,
        "{removed:?} were removed beforehand"
    );
    let made = stats.operations[&OpKind::CreateDir];
    assert!(
        made < u64::from(PARTITIONS) + most,
        "{made} directories were made"
    );
}

#[test]
fn a_segment_is_synced_while_it_is_still_open_from_being_written() {
    let opened = checkpoint(64).operations[&OpKind::Open];
    assert!(
        opened < u64::from(PARTITIONS) * 6 / 5,
        "{opened} files were opened"
    );
}
