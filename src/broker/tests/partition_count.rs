//! Partitions of deleted topics count towards the limit until nothing of them is left.

use std::{collections::BTreeMap, future, pin::pin};

use super::world::{create, env, now, open, options};
use crate::{
    broker::{Broker, Error, Options, Read},
    budget::Name,
    env::sim::{SimClock, SimDisk, SimRandom},
    types::limits::{MAX_PARTITIONS, MAX_PARTITIONS_PER_TOPIC, PARTITION_BYTES, PRODUCER_BYTES},
};

/// A broker at its limit of partitions. Its topics are `t0`, `t1` and so on.
fn full() -> Broker {
    let broker = open(&SimDisk::new(1), 1).expect("nothing fails");
    for number in 0..MAX_PARTITIONS / MAX_PARTITIONS_PER_TOPIC as usize {
        create(&broker, &format!("t{number}"), MAX_PARTITIONS_PER_TOPIC);
    }
    broker
}

fn delete(broker: &Broker, topic: &str) {
    let deleted = broker.delete_topic(topic).expect("it is there");
    broker.commit_all();
    assert_eq!(now(deleted), Some(Ok(())));
}

/// The error with which the creation of a topic with this many partitions is refused, if it is.
fn refusal(broker: &Broker, partitions: u32) -> Option<Error> {
    broker
        .create_topic("new", partitions, &BTreeMap::new())
        .err()
}

fn remaining(asked: u32) -> Error {
    Error::DeletedPartitionsRemain {
        remaining: MAX_PARTITIONS_PER_TOPIC as usize,
        asked,
    }
}

#[test]
fn a_deleted_topic_counts_until_its_files_are_removed() {
    let broker = full();
    let existing = MAX_PARTITIONS;
    assert_eq!(
        refusal(&broker, 1),
        Some(Error::TooManyPartitions {
            existing,
            asked: 1,
            most: MAX_PARTITIONS,
        })
    );
    delete(&broker, "t0");
    assert_eq!(refusal(&broker, 1), Some(remaining(1)));
    broker.keep_house(true);
    assert_eq!(refusal(&broker, MAX_PARTITIONS_PER_TOPIC), None);
}

#[test]
fn a_deleted_topic_counts_as_long_as_a_read_holds_it() {
    let broker = full();
    let read = Read {
        topic: "t0".to_owned(),
        ..Read::default()
    };
    let reader = broker.read(read).expect("it is there");
    delete(&broker, "t0");
    broker.keep_house(true);
    assert_eq!(refusal(&broker, 2), Some(remaining(2)));
    drop(reader);
    assert_eq!(refusal(&broker, 2), None);
}

#[test]
fn a_creation_waits_for_the_room_that_a_deleted_topic_leaves() {
    let broker = full();
    delete(&broker, "t0");
    let settings = BTreeMap::new();
    let mut created = pin!(broker.create_topic_in_time(
        "new",
        MAX_PARTITIONS_PER_TOPIC,
        &settings,
        future::pending()
    ));
    assert_eq!(now(created.as_mut()), None);
    broker.commit_all();
    assert_eq!(now(created.as_mut()), None, "nothing was queued");
    broker.keep_house(true);
    assert_eq!(now(created.as_mut()), None, "it is queued");
    broker.commit_all();
    let created = now(created).expect("an answer").expect("nothing fails");
    assert_eq!(created.partitions, MAX_PARTITIONS_PER_TOPIC);
}

#[test]
fn a_creation_that_has_waited_too_long_is_refused() {
    let broker = full();
    delete(&broker, "t0");
    let settings = BTreeMap::new();
    let created = broker.create_topic_in_time("new", 3, &settings, future::ready(()));
    assert_eq!(now(created), Some(Err(remaining(3))));
}

#[test]
fn a_creation_that_was_taken_back_leaves_its_room() {
    let broker = full();
    delete(&broker, "t0");
    broker.keep_house(true);
    broker.shared.committer.close();
    assert_eq!(refusal(&broker, 7), Some(Error::ShuttingDown));
    assert_eq!(
        broker.shared.partitions.count.get(),
        MAX_PARTITIONS - MAX_PARTITIONS_PER_TOPIC as usize
    );
}

#[test]
fn partitions_and_producers_count_as_memory_of_the_catalog_until_they_are_gone() {
    let (disk, clock) = (SimDisk::new(1), SimClock::new(1_700_000_000_000));
    let memory = options().memory.with(Name::Catalog, 20 * PARTITION_BYTES);
    let options = Options {
        memory,
        ..options()
    };
    let random = SimRandom::new(1);
    let broker = Broker::open_stepped(env(&disk, &clock, &random), options).expect("nothing fails");
    let used = || broker.budget().part(Name::Catalog).used();
    let create = |name: &str| broker.create_topic(name, 20, &BTreeMap::new()).map(drop);
    assert_eq!(create("t"), Ok(()));
    broker.commit_all();
    assert_eq!(used(), 20 * PARTITION_BYTES);
    assert_eq!(
        create("u"),
        Err(Error::TooManyPartitions {
            existing: 20,
            asked: 20,
            most: 20,
        })
    );
    drop(broker.open_producer("four", None).expect("there is room"));
    broker.commit_all();
    assert_eq!(used(), 20 * PARTITION_BYTES + PRODUCER_BYTES + 4);
    drop(broker.delete_topic("t").expect("it is there"));
    broker.commit_all();
    broker.keep_house(true);
    broker.keep_house(true);
    assert_eq!(used(), PRODUCER_BYTES + 4);
}
