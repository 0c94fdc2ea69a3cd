//! Reads of a topic that is deleted meanwhile, and calls that come before the deletion is durable.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::world::{append_of, create, encode_proto, encode_record, now, open, read_all, send};
use crate::{
    broker::{Broker, Error, Read, ReadKey, ResponseLimit},
    env::sim::SimDisk,
    proto,
    types::PartitionId,
};

const RECORDS: usize = 40;

/// A broker whose topic `t` has records of key `k` in several segments.
fn broker() -> Broker {
    let broker = open(&SimDisk::new(1), 1).expect("nothing fails");
    create(&broker, "t", 1);
    for _ in 0..RECORDS {
        let record = encode_proto(&proto::Record {
            key: Some(Bytes::from_static(b"k")),
            value: Some(vec![7; 50_000].into()),
            ..Default::default()
        });
        send(&broker, append_of("t", None, &[record])).expect("there is room");
        broker.keep_house(false);
        broker.commit_all();
    }
    broker
}

/// Deletes the topic, and creates another under its name.
fn recreate(broker: &Broker, files_are_removed: bool) {
    let deleted = broker.delete_topic("t").expect("it is there");
    broker.commit_all();
    assert_eq!(now(deleted), Some(Ok(())));
    if files_are_removed {
        broker.keep_house(true);
        broker.commit_all();
    }
    create(broker, "t", 1);
}

fn unknown() -> Error {
    Error::UnknownTopic {
        topic: "t".to_owned(),
    }
}

#[test]
fn each_ends_with_an_error_and_not_as_if_it_were_complete() {
    for (files_are_open, files_are_removed) in [(true, true), (true, false), (false, true)] {
        let broker = broker();
        let read = Read {
            topic: "t".to_owned(),
            ..Read::default()
        };
        let of_key = ReadKey {
            topic: "t".to_owned(),
            key: Bytes::from_static(b"k"),
            ..ReadKey::default()
        };
        let mut reader = broker.read(read).expect("it is there");
        let mut of_key = broker.read_key(of_key).expect("it is there");
        let mut latest = broker
            .read_latest("t", &[Bytes::from_static(b"k")], ResponseLimit::default())
            .expect("it is there");
        if files_are_open {
            reader.step().expect("the first records");
            of_key.step().expect("the first records");
        }

        recreate(&broker, files_are_removed);
        assert_eq!(reader.step().err(), Some(unknown()));
        assert_eq!(of_key.step().err(), Some(unknown()));
        assert_eq!(latest.step().err(), Some(unknown()));
        assert_eq!(
            read_all(&broker, "t", PartitionId(0)),
            [],
            "the other is empty"
        );
    }
}

#[test]
fn what_is_decided_counts_what_is_queued() {
    let broker = broker();
    let create = |partitions| broker.create_topic("t", partitions, &BTreeMap::new());
    let deleted = broker.delete_topic("t").expect("it is there");
    // The topic's name is free, and is taken again, before the deletion or the creation is durable.
    let created = create(3).expect("the deletion is queued");
    let taken = create(1).expect("the refusal waits for what it tells of");
    let closed = append_of("t", None, &[encode_record(1, 8)]);
    let refused = send(&broker, closed);
    assert_eq!(now(deleted), Some(Ok(())));
    let created = now(created).expect("it is durable").expect("nothing fails");
    assert_eq!(created.partitions, 3);
    let exists = Error::TopicExists { topic: "t".into() };
    assert_eq!(now(taken), Some(Err(exists)));
    assert_eq!(refused.err(), Some(unknown()));
    let described = broker.describe_topic("t").expect("it is there").0;
    assert_eq!(described.id, created.id);
}
