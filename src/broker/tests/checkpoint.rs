//! Which disk operations a checkpoint of many partitions takes.

use super::world::{append_of, create, encode_record, env, options, send};
use crate::{
    broker::{Broker, Options},
    env::sim::{OpKind, SimClock, SimDisk, SimRandom, Stats},
};

const PARTITIONS: u32 = 100;

/// The disk operations of a checkpoint of a hundred partitions, each with new records in an
/// existing segment, with this limit of open files.
fn checkpoint(open_files: usize) -> Stats {
    checkpoints(open_files)[1].clone()
}

/// The disk operations of the checkpoint before, which created the segments.
fn first_checkpoint(open_files: usize) -> Stats {
    checkpoints(open_files)[0].clone()
}

fn checkpoints(open_files: usize) -> [Stats; 2] {
    let disk = SimDisk::new(1);
    let environment = env(&disk, &SimClock::new(0), &SimRandom::new(1));
    let options = Options {
        open_files,
        open_segments: open_files,
        ..options()
    };
    let broker = Broker::open_stepped(environment, options).expect("nothing fails");
    create(&broker, "t", PARTITIONS);
    let append_to_all = || {
        for partition in 0..PARTITIONS {
            send(
                &broker,
                append_of("t", Some(partition), &[encode_record(1, 8)]),
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
