//! A topic that gets more partitions.

use super::world::{append_of, create, encode_record, now, open, read_all, send};
use crate::{
    broker::{Broker, Error, Meant, TopicDescription},
    env::sim::{CrashMode, SimDisk},
    types::{PartitionId, limits},
};

fn create_plain(broker: &Broker, topic: &str, partitions: u32) {
    let settings = [("keys".to_owned(), "plain".to_owned())].into();
    let created = broker.create_topic(topic, partitions, &settings);
    broker.commit_all();
    let created = now(created.expect("it may be")).expect("an answer");
    created.expect("nothing fails");
}

fn add(broker: &Broker, topic: &str, to: u32) -> Result<TopicDescription, Error> {
    let added = broker.add_partitions(Meant::from(topic), to)?;
    broker.commit_all();
    now(added).expect("what was committed is answered")
}

fn append(broker: &Broker, partition: u32, id: u64) {
    let append = append_of("t", Some(partition), &[encode_record(id, 30)]);
    send(broker, append).expect("nothing fails");
}

fn ids(broker: &Broker, partition: u32) -> Vec<u64> {
    let all = read_all(broker, "t", PartitionId(partition));
    all.into_iter().map(|(_, id)| id).collect()
}

#[test]
fn a_topic_with_plain_keys_gets_more_partitions_and_never_fewer() {
    let broker = open(&SimDisk::new(1), 1).expect("nothing fails");
    create_plain(&broker, "t", 2);
    assert_eq!(add(&broker, "t", 5).expect("it may be").partitions, 5);
    assert_eq!(add(&broker, "t", 5).expect("it has them").partitions, 5);
    append(&broker, 4, 7);
    assert_eq!(ids(&broker, 4), [7]);
    create(&broker, "versioned", 2);
    for (topic, to, reason) in [
        ("none", 3, "UNKNOWN_TOPIC"),
        ("versioned", 3, "VERSIONED_TOPIC"),
        ("t", 4, "INVALID_PARTITION_COUNT"),
        (
            "t",
            limits::MAX_PARTITIONS_PER_TOPIC + 1,
            "INVALID_PARTITION_COUNT",
        ),
    ] {
        let refused = add(&broker, topic, to).unwrap_err();
        assert_eq!(refused.reason(), reason, "{topic} {to}");
    }
}

#[test]
fn new_partitions_outlive_every_crash_with_what_is_in_them() {
    let disk = SimDisk::new(3);
    let broker = open(&disk, 1).expect("nothing fails");
    create_plain(&broker, "t", 2);
    append(&broker, 1, 1);
    broker.checkpoint_now().expect("nothing fails");
    add(&broker, "t", 3).expect("it may be");
    append(&broker, 2, 2);
    for is_checkpointed in [false, true] {
        if is_checkpointed {
            broker.checkpoint_now().expect("nothing fails");
        }
        for (seed, mode) in (5..).zip(CrashMode::ALL) {
            let survived = disk.fork().power_cut(seed, mode);
            let again = open(&survived, seed).expect("it starts");
            assert_eq!(ids(&again, 1), [1]);
            assert_eq!(ids(&again, 2), [2]);
            append(&again, 2, 3);
            again.close().expect("nothing fails");
            let last = open(&survived, seed + 10).expect("it starts");
            assert_eq!(ids(&last, 2), [2, 3]);
        }
    }
}
