//! Reading again a part of what a read has returned.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::world::{append_of, encode_proto, now, open, send};
use crate::{
    broker::{Broker, Read, Reader, Step},
    env::sim::SimDisk,
    types::{Offset, PartitionId},
};

const RECORD: usize = 30_000;

/// A topic with three records, which go into one response.
fn broker_on(disk: &SimDisk) -> Broker {
    let broker = open(disk, 1).expect("nothing fails");
    let created = broker.create_topic("t", 1, &BTreeMap::new());
    let created = created.expect("it is a good name");
    broker.commit_all();
    now(created).expect("an answer").expect("nothing fails");
    for key in ["one", "two", "three"] {
        let record = crate::proto::Record {
            key: Some(key.into()),
            value: Some(vec![key.as_bytes()[1]; RECORD].into()),
            ..crate::proto::Record::default()
        };
        let append = append_of("t", Some(0), &[encode_proto(&record)]);
        send(&broker, append).expect("nothing fails");
    }
    broker
}

fn reader(broker: &Broker) -> Reader {
    let read = Read {
        topic: "t".into(),
        ..Read::default()
    };
    broker.read(read).expect("it is there")
}

/// The records of the next response.
fn next(reader: &mut Reader) -> Vec<u8> {
    match reader.step().expect("nothing is damaged") {
        Step::Batch(batch) => batch.records.concat(),
        _ => panic!("there are records"),
    }
}

#[test]
fn a_part_of_a_response_is_read_without_the_rest() {
    let disk = SimDisk::new(1);
    let broker = broker_on(&disk);
    broker.checkpoint_now().expect("nothing fails");
    let mut reader = reader(&broker);
    let all = next(&mut reader);
    for part in [0..1, 15_000..18_000, 27_000..75_000, 0..all.len()] {
        let before = disk.stats().bytes_read;
        let slices = reader.part_again(part.clone()).expect("it lies in a file");
        assert!(slices.concat() == all[part.clone()], "{part:?}");
        assert_eq!(disk.stats().bytes_read - before, part.len() as u64);
    }
    assert_eq!(reader.part_again(0..all.len() + 1), None);
}

#[test]
fn what_was_in_memory_is_read_in_parts_once_it_was_read_from_a_file() {
    let disk = SimDisk::new(1);
    let broker = broker_on(&disk);
    let mut reader = reader(&broker);
    let all = next(&mut reader);
    assert_eq!(reader.part_again(0..10), None, "it is not known where");
    broker.checkpoint_now().expect("nothing fails");
    let again: Vec<Bytes> = reader.again().expect("nothing is damaged");
    assert!(again.concat() == all);
    let part = reader.part_again(30_000..30_010).expect("it is now");
    assert_eq!(part.concat(), all[30_000..30_010]);
}

#[test]
fn no_part_is_read_of_what_may_not_be_shown_any_more() {
    let disk = SimDisk::new(1);
    let broker = broker_on(&disk);
    broker.checkpoint_now().expect("nothing fails");
    let mut readers = [reader(&broker), reader(&broker), reader(&broker)];
    for reader in &mut readers {
        next(reader);
        assert!(reader.part_again(0..10).is_some());
    }
    let erased = broker.erase_key("t", b"two").expect("it is there");
    broker.commit_all();
    drop(erased);
    assert_eq!(
        readers[0].part_again(0..10),
        None,
        "it has an erased record"
    );

    let all = readers[1].again().expect("nothing is damaged").concat();
    assert_eq!(
        readers[1].part_again(0..all.len()),
        None,
        "a part is hidden"
    );
    next(&mut reader(&broker));
    let trimmed = broker.trim("t", PartitionId(0), Offset(1));
    let trimmed = trimmed.expect("it is in the log");
    broker.commit_all();
    assert_eq!(now(trimmed).expect("an answer"), Ok(Offset(1)));
    assert_eq!(readers[2].part_again(0..10), None, "its first is trimmed");

    let mut behind = reader(&broker);
    next(&mut behind);
    let deleted = broker.delete_topic("t").expect("it is there");
    broker.commit_all();
    now(deleted).expect("an answer").expect("nothing fails");
    assert_eq!(behind.part_again(0..10), None, "its topic is deleted");
}
