//! An append that must read files is left to a thread that may block; one that need not is done at
//! once.

use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::world::{create, encode_proto, env, now, options};
use crate::{
    broker::{
        Append, AppendBatch, Appended, Attempt, Broker, Condition, Error, Expected, Flow, Load,
        Options,
    },
    budget::Name,
    env::sim::{OpKind, SimClock, SimDisk, SimRandom},
    proto,
    types::{Version, limits::MANY_RECORDS},
};

const KEYS: u64 = 500;

fn open(disk: &SimDisk, seed: u64) -> Broker {
    let small_tables = Options {
        memory: options().memory.with(Name::KeyIndex, 16 << 10),
        ..options()
    };
    let world = env(
        disk,
        &SimClock::new(1_700_000_000_000),
        &SimRandom::new(seed),
    );
    Broker::open_stepped(world, small_tables).expect("nothing fails")
}

fn key(number: u64) -> Bytes {
    format!("key {number}").into()
}

/// An append to the entity with this key, on the condition that it is at this version. Its event id
/// lets the broker recognize it when it is repeated.
fn append_of(key: Bytes, version: u64) -> Append {
    let record = proto::Record {
        key: Some(key.clone()),
        event_id: key.clone(),
        ..Default::default()
    };
    let records = encode_proto(&record).into();
    Append {
        batches: vec![AppendBatch {
            topic_id: None,
            topic: "t".into(),
            partition: None,
            sequence: None,
            records,
        }],
        conditions: vec![Condition {
            topic_id: None,
            topic: "t".into(),
            expected: Expected::KeyAt {
                key,
                version: Version(version),
            },
        }],
        ..Append::default()
    }
}

/// A disk and a broker that has just started: its tables in memory are empty, and most keys are in
/// files.
fn cold() -> (SimDisk, Broker) {
    let disk = SimDisk::new(1);
    let broker = open(&disk, 1);
    create(&broker, "t", 1);
    for number in 0..KEYS {
        send(&disk, &broker, append_of(key(number), 0))
            .0
            .expect("nothing fails");
        if number % 100 == 99 {
            broker.checkpoint_now().expect("nothing fails");
        }
    }
    broker.close().expect("nothing fails");
    (disk.clone(), open(&disk, 2))
}

/// Appends. Returns the answer, and how often the broker said that it must read files; without
/// saying so it reads none.
fn send(disk: &SimDisk, broker: &Broker, append: Append) -> (Result<Appended, Error>, u32) {
    let opened_or_read = || {
        let stats = disk.stats();
        [OpKind::Read, OpKind::Map, OpKind::Open]
            .map(|kind| stats.operations.get(&kind).copied().unwrap_or_default())
    };
    let (mut asked, mut inside) = (0, [0; 3]);
    let mut has_read = |before: [u64; 3]| {
        let after = opened_or_read();
        asked += 1;
        inside = std::array::from_fn(|kind| inside[kind] + after[kind] - before[kind]);
    };
    let admission = now(broker.admit_alone(100))
        .expect("there is memory")
        .expect("nothing fails");
    let before = opened_or_read();
    let attempt = broker.try_append(append, admission);
    let mut pending = match attempt.expect("nothing fails") {
        Attempt::Queued(pending) => pending,
        Attempt::Left(left) => {
            let before = opened_or_read();
            let pending = broker.append_left(left).expect("it is queued");
            has_read(before);
            pending
        }
    };
    let between = opened_or_read();
    broker.commit_all();
    let durable = opened_or_read();
    let Poll::Ready(unmade) = pending.poll_unmade(&mut Context::from_waker(Waker::noop())) else {
        panic!("it is durable");
    };
    let reads_files = unmade.reads_files();
    let known = opened_or_read();
    let answer = unmade.make();
    if reads_files {
        has_read(known);
    }
    let after = opened_or_read();
    let here: [u64; 3] =
        std::array::from_fn(|kind| between[kind] - before[kind] + after[kind] - durable[kind]);
    assert_eq!(here, inside, "files were read on the caller's thread");
    (answer, asked)
}

#[test]
fn only_a_key_that_is_in_files_alone_makes_an_append_read_them() {
    let (disk, broker) = cold();
    for (what, number, version, asked) in [
        ("in files", 7, 1, 1),
        ("in memory by now", 7, 2, 0),
        ("new", KEYS + 1, 0, 0),
        ("new before", KEYS + 1, 1, 0),
    ] {
        let (answer, found) = send(&disk, &broker, append_of(key(number), version));
        assert!(answer.is_ok(), "{what}: {answer:?}");
        assert_eq!(found, asked, "{what}");
    }
}

#[test]
fn an_append_that_comes_again_is_looked_up_where_files_may_be_read() {
    let (disk, broker) = cold();
    let (first, asked) = send(&disk, &broker, append_of(key(9), 1));
    assert_eq!(asked, 1);
    let (again, asked) = send(&disk, &broker, append_of(key(9), 1));
    assert_eq!((again, asked), (first, 1));
    let (other, asked) = send(&disk, &broker, append_of(key(9), 7));
    assert!(matches!(other, Err(Error::Conflict { .. })), "{other:?}");
    assert_eq!(asked, 1, "it could have been stored before");
}

#[test]
fn an_append_of_very_many_records_is_prepared_where_nobody_waits() {
    let memory = options().memory.with(Name::Appends, 64 << 20);
    let options = Options {
        memory,
        ..options()
    };
    let world = env(&SimDisk::new(1), &SimClock::new(0), &SimRandom::new(1));
    let broker = Broker::open_stepped(world, options).expect("nothing fails");
    create(&broker, "t", 1);
    for (records, expected) in [(MANY_RECORDS, true), (MANY_RECORDS + 1, false)] {
        let load = Load {
            bytes: 0,
            batches: 1,
            records,
        };
        let admission = now(broker.admit(&Flow::default(), load)).expect("there is memory");
        let append = append_of(key(KEYS + records as u64), 0);
        let attempt = broker.try_append(append, admission.expect("nothing fails"));
        let is_queued = match attempt.expect("nothing fails") {
            Attempt::Queued(_) => true,
            Attempt::Left(left) => broker.append_left(left).is_err(),
        };
        assert_eq!(is_queued, expected, "{records} records");
    }
}
