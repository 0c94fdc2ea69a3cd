//! Upkeep of key indexes while the disk is full: it waits, and is neither tried nor logged without
//! an end.

use std::{io::ErrorKind, time::Duration};

use super::{
    Broker, SimClock, SimDisk, SimRandom, create,
    full::{give_room, leave},
    options,
};
use crate::{
    broker::tests::world::{append_of, encode_keyed, env, send},
    env::{
        FileSystem,
        sim::{Fault, OpKind},
    },
};

const PARTITIONS: u32 = 20;

/// A broker that lacks the index file of every partition, and its clock.
fn without_indexes(disk: &SimDisk) -> (Broker, SimClock) {
    let clock = SimClock::new(1_700_000_000_000);
    let open = |start| {
        let env = env(disk, &clock, &SimRandom::new(start));
        Broker::open_stepped(env, options()).unwrap_or_else(|error| panic!("{error}"))
    };
    let broker = open(1);
    create(&broker, "t", PARTITIONS);
    for at in 0..PARTITIONS {
        let record = encode_keyed(1, 100, at, PARTITIONS);
        send(&broker, append_of("t", Some(at), &[record])).expect("nothing fails");
    }
    broker.checkpoint_now().expect("nothing fails");
    drop(broker);
    let tables = tables(disk);
    assert_eq!(tables.len(), PARTITIONS as usize);
    for path in tables {
        disk.remove_file(&path).expect("it is there");
    }
    (open(2), clock)
}

fn tables(disk: &SimDisk) -> Vec<std::path::PathBuf> {
    let mut files = disk.files();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "keys"));
    files
}

/// In the path of a table that is being written, which has the offsets that it covers.
const UNFINISHED: &str = "-0000000";

/// How often a table was begun since the trace was.
fn begun(disk: &SimDisk) -> usize {
    let trace = disk.trace();
    let begun = |line: &&String| line.contains("Create ") && line.contains(UNFINISHED);
    trace.iter().filter(begun).count()
}

/// Everything that is woken, over and over.
fn spin(broker: &Broker) {
    broker.keep_house(false);
    (0..50).for_each(|_| broker.step());
}

#[test]
fn a_table_that_finds_no_room_is_the_only_one_that_is_tried_for_ten_seconds() {
    let disk = SimDisk::new(1);
    let (broker, clock) = without_indexes(&disk);
    // No file can be made, though there are free bytes, as without inodes.
    let full = Fault::on(OpKind::Create).in_path(UNFINISHED);
    disk.inject(full.error(ErrorKind::StorageFull).for_ever());
    disk.record_trace();
    spin(&broker);
    assert_eq!(begun(&disk), 1);
    clock.advance(Duration::from_secs(9));
    spin(&broker);
    assert_eq!(begun(&disk), 1);
    clock.advance(Duration::from_secs(1));
    spin(&broker);
    assert_eq!(begun(&disk), 2);

    disk.clear_faults();
    clock.advance(Duration::from_secs(10));
    spin(&broker);
    assert_eq!(tables(&disk).len(), PARTITIONS as usize);
}

#[test]
fn tables_are_written_as_soon_as_the_disk_has_room_again() {
    let disk = SimDisk::new(1);
    let (broker, _clock) = without_indexes(&disk);
    leave(&disk, 0);
    disk.record_trace();
    spin(&broker);
    assert_eq!((begun(&disk), tables(&disk).len()), (1, 0));
    give_room(&disk);
    spin(&broker);
    assert_eq!(tables(&disk).len(), PARTITIONS as usize);
}
