//! The memory that a read holds between its steps.

use bytes::Bytes;

use super::world::{append_of, create, encode_record, open, send};
use crate::{
    broker::{Broker, Read, Reader, Step},
    env::sim::SimDisk,
    types::{PartitionId, Position},
};

const PARTITIONS: u32 = 40;

fn append_to_each(broker: &Broker, frames: u64) {
    for id in 0..frames {
        for partition in 0..PARTITIONS {
            let records = [encode_record(id, 8), encode_record(id, 8)];
            send(broker, append_of("t", Some(partition), &records)).expect("nothing fails");
        }
    }
}

/// Reads as long as there is something; returns the number of bytes.
fn read_on(reader: &mut Reader) -> usize {
    let mut bytes = 0;
    while let Step::Batch(batch) = reader.step().expect("nothing is damaged") {
        bytes += batch.records.iter().map(Bytes::len).sum::<usize>();
    }
    bytes
}

#[test]
fn what_a_reader_holds_does_not_depend_on_what_it_has_read() {
    let broker = open(&SimDisk::new(1), 1).expect("nothing fails");
    create(&broker, "t", PARTITIONS);
    let read = Read {
        topic: "t".into(),
        follow: true,
        ..Read::default()
    };
    let mut reader = broker.read(read).expect("it is there");
    read_on(&mut reader);
    let before = reader.memory();
    assert!(before < 64 * PARTITIONS as usize, "{before} bytes");
    for round in 0..3 {
        append_to_each(&broker, 20);
        if round == 1 {
            broker.keep_house(true);
        }
        assert!(read_on(&mut reader) > 0);
        assert_eq!(reader.memory(), before, "round {round}");
    }
}

#[test]
fn frames_are_fetched_ahead_for_one_partition_at_a_time() {
    let broker = open(&SimDisk::new(1), 1).expect("nothing fails");
    create(&broker, "t", PARTITIONS);
    append_to_each(&broker, 4);
    let read = Read {
        topic: "t".into(),
        max_records: 1,
        ..Read::default()
    };
    let mut reader = broker.read(read).expect("it is there");
    let before = reader.memory();
    reader.step().expect("nothing is damaged");
    let ahead = reader.memory() - before;
    assert!(ahead > 0, "the rest of what was fetched");
    assert!(ahead < 4 * 512, "{ahead} bytes: frames of one partition");
    reader.let_go();
    assert_eq!(reader.memory(), before);
}

#[test]
fn for_a_few_records_no_more_is_fetched_than_the_frames_that_have_them() {
    let broker = open(&SimDisk::new(1), 1).expect("nothing fails");
    create(&broker, "t", PARTITIONS);
    append_to_each(&broker, 30);
    for is_in_files in [false, true] {
        if is_in_files {
            broker.keep_house(true);
        }
        let read = Read {
            topic: "t".into(),
            partitions: vec![(PartitionId(7), None)],
            max_records: 3,
            ..Read::default()
        };
        let mut reader = broker.read(read).expect("it is there");
        let before = reader.memory();
        let Step::Batch(batch) = reader.step().expect("nothing is damaged") else {
            panic!("there are records");
        };
        assert_eq!(batch.next_offset.0, 3);
        let ahead = reader.memory() - before;
        assert!((1..1_500).contains(&ahead), "{ahead} bytes: one frame");
    }
}

#[test]
fn a_step_is_light_where_it_reads_no_file_and_little_of_what_is_in_memory() {
    let broker = open(&SimDisk::new(1), 1).expect("nothing fails");
    create(&broker, "t", 2);
    let read = |start| Read {
        topic: "t".into(),
        start,
        follow: true,
        ..Read::default()
    };
    let reader = |start| broker.read(read(start)).expect("it is there");
    let append = |id, len| {
        let records = [encode_record(id, len)];
        send(&broker, append_of("t", Some(1), &records)).expect("nothing fails");
    };
    let mut at_end = reader(Position::Latest);
    assert!(at_end.is_light(0), "there is nothing");
    append(1, 100);
    append(2, 1_000);
    assert!(!at_end.is_light(1_000), "what has come since");
    assert!(at_end.is_light(2_000));
    let mut from_start = reader(Position::Earliest);
    assert!(from_start.is_light(2_000));
    broker.checkpoint_now().expect("nothing fails");
    assert!(!from_start.is_light(2_000), "it is in a file");
    read_on(&mut from_start);
    read_on(&mut at_end);
    assert!(from_start.is_light(0), "there is nothing more");
    append(3, 500);
    assert!(from_start.is_light(1_000) && at_end.is_light(1_000));
}

fn follow(broker: &Broker, partitions: &[u32]) -> Reader {
    let partition = |id: &u32| (PartitionId(*id), None);
    let read = Read {
        topic: "t".into(),
        partitions: partitions.iter().map(partition).collect(),
        follow: true,
        ..Read::default()
    };
    broker.read(read).expect("it is there")
}

/// How many partitions' limits a reader looks at until it waits again, and the partitions of the
/// records it returned.
fn read_moved(reader: &mut Reader) -> (u64, Vec<u32>) {
    let (before, mut from) = (reader.looks(), Vec::new());
    loop {
        // As the server asks before each step.
        reader.is_light(usize::MAX);
        let Step::Batch(batch) = reader.step().expect("nothing is damaged") else {
            return (reader.looks() - before, from);
        };
        if !batch.records.is_empty() {
            from.push(batch.partition.0);
        }
    }
}

#[test]
fn a_reader_of_many_partitions_looks_at_those_that_have_moved() {
    const MANY: u32 = 1_000;
    let broker = open(&SimDisk::new(1), 1).expect("nothing fails");
    create(&broker, "t", MANY);
    let append = |partition| {
        let records = [encode_record(1, 8)];
        send(&broker, append_of("t", Some(partition), &records)).expect("nothing fails");
    };
    let mut all = follow(&broker, &[]);
    let mut some = follow(&broker, &[700, 7]);
    read_moved(&mut all);
    read_moved(&mut some);
    append(7);
    append(900);
    let (looks, from) = read_moved(&mut all);
    assert_eq!(from, [7, 900]);
    assert!(looks <= 2 * 2, "{looks} looks at {MANY} partitions");
    assert_eq!(read_moved(&mut some).1, [7]);

    // More than a reader remembers.
    for _ in 0..5 {
        (0..MANY).for_each(append);
    }
    let (_, mut from) = read_moved(&mut all);
    from.sort_unstable();
    from.dedup();
    assert_eq!(from.len(), MANY as usize);
    assert_eq!(read_moved(&mut some).1, [700, 7]);
    append(3);
    let (looks, from) = read_moved(&mut all);
    assert_eq!(from, [3]);
    assert!(looks <= 2, "{looks} looks at {MANY} partitions");
}
