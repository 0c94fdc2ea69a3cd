//! The memory for key tables is used up and becomes free again: whatever fills it, appends do not
//! wait for ever.

use std::time::Duration;

use super::world::{create, encode_proto, env, now, options};
use crate::{
    broker::{
        Append, AppendBatch, Appended, Broker, Condition, Error, Expected, Flow, Load, Options,
    },
    budget::Name,
    env::sim::{SimClock, SimDisk, SimRandom},
    proto,
    types::{Version, limits::MANY_RECORDS},
};

/// The most rounds of housekeeping that an append may wait for.
const ROUNDS: usize = 20;

struct Pressed {
    broker: Broker,
    clock: SimClock,
    /// How often an append had to wait.
    waits: usize,
}

impl Pressed {
    fn open(key_memory_bytes: usize, partitions: u32) -> Self {
        let clock = SimClock::new(1_700_000_000_000);
        let environment = env(&SimDisk::new(1), &clock, &SimRandom::new(1));
        let options = Options {
            memory: options().memory.with(Name::KeyIndex, key_memory_bytes),
            ..options()
        };
        let broker = Broker::open_stepped(environment, options).expect("nothing fails");
        create(&broker, "t", partitions);
        Self {
            broker,
            clock,
            waits: 0,
        }
    }

    /// Appends as soon as there is memory.
    fn append(&mut self, append: Append) -> Result<Appended, Error> {
        let load = Load {
            bytes: 100,
            batches: 1,
            records: 1,
        };
        self.append_load(append, load)
    }

    fn append_load(&mut self, append: Append, load: Load) -> Result<Appended, Error> {
        for _ in 0..ROUNDS {
            if let Some(admission) = now(self.broker.admit(&Flow::default(), load)) {
                let pending = self
                    .broker
                    .append(append, admission.expect("there is room"))?;
                self.broker.commit_all();
                return now(pending).expect("an answer");
            }
            self.waits += 1;
            self.clock.advance(Duration::from_secs(20));
            self.broker.keep_house(true);
        }
        panic!("no memory after {ROUNDS} rounds");
    }
}

/// An append with conditions on keys of this size that do not exist.
fn with_large_conditions(number: usize, keys: usize, key_bytes: usize) -> (Append, Load) {
    let condition = |at| Condition {
        topic_id: None,
        topic: "t".into(),
        expected: Expected::KeyExists {
            key: format!("{number}-{at}-{}", "k".repeat(key_bytes)).into(),
        },
    };
    let load = Load {
        bytes: keys * (key_bytes + 100),
        batches: 1,
        records: 1,
    };
    (append_of(None, (0..keys).map(condition).collect()), load)
}

fn append_of(key: Option<String>, conditions: Vec<Condition>) -> Append {
    let record = proto::Record {
        key: key.map(Into::into),
        value: Some(bytes::Bytes::from_static(b"v")),
        ..Default::default()
    };
    let records = encode_proto(&record).into();
    let batch = AppendBatch {
        topic_id: None,
        topic: "t".into(),
        partition: None,
        sequence: None,
        records,
    };
    Append {
        batches: vec![batch],
        conditions,
        ..Append::default()
    }
}

#[test]
fn keys_that_only_conditions_name_give_their_memory_back() {
    let mut pressed = Pressed::open(256 << 10, 1);
    // The table then covers a record, but has no row.
    pressed
        .append(append_of(None, Vec::new()))
        .expect("nothing fails");
    for number in 0..20_000 {
        let key = format!("nobody {number}").into();
        let condition = Condition {
            topic_id: None,
            topic: "t".into(),
            expected: Expected::KeyAt {
                key,
                version: Version(7),
            },
        };
        let refused = pressed.append(append_of(None, vec![condition]));
        assert!(
            matches!(refused, Err(Error::Conflict { .. })),
            "{refused:?}"
        );
    }
    assert!(pressed.waits > 3, "memory ran out {} times", pressed.waits);
}

#[test]
fn many_tables_that_are_small_each_give_their_memory_back() {
    let mut pressed = Pressed::open(512 << 10, 1_024);
    for number in 0..16_000 {
        pressed
            .append(append_of(Some(format!("key {number}")), Vec::new()))
            .expect("nothing fails");
    }
    assert!(pressed.waits > 3, "memory ran out {} times", pressed.waits);
}

#[test]
fn long_keys_of_conditions_keep_within_the_bound() {
    let mut pressed = Pressed::open(2 << 20, 10);
    for number in 0..40 {
        let (append, load) = with_large_conditions(number, 100, 6_000);
        let refused = pressed.append_load(append, load);
        assert!(
            matches!(refused, Err(Error::Conflict { .. })),
            "{refused:?}"
        );
    }
    assert!(pressed.waits > 3, "memory ran out {} times", pressed.waits);
    let part = pressed.broker.budget().part(Name::KeyIndex);
    assert!(
        part.most() <= part.bound(),
        "{} of {} bytes",
        part.most(),
        part.bound()
    );
}

#[test]
fn appends_that_are_admitted_together_have_room_for_the_keys_of_all() {
    let pressed = Pressed::open(128 << 10, 1);
    let bound = pressed.broker.budget().part(Name::KeyIndex).bound();
    let load = Load {
        bytes: bound / 3,
        batches: 1,
        records: 1,
    };
    let (one, other, third) = (Flow::default(), Flow::default(), Flow::default());
    let first = now(pressed.broker.admit(&one, load)).expect("there is room");
    let second = now(pressed.broker.admit(&other, load)).expect("there is room");
    let mut waiting = Box::pin(pressed.broker.admit(&third, load));
    assert!(now(&mut waiting).is_none(), "two thirds are taken");
    assert!(
        now(pressed.broker.admit_alone(100)).is_some(),
        "small ones find room"
    );
    drop(first);
    assert!(now(waiting).is_some(), "a third is free again");
    drop(second);
}

#[test]
fn an_erasure_takes_no_key_memory() {
    const KEYS: usize = 30;
    let mut pressed = Pressed::open(16 << 20, 1);
    let key = |number| format!("{number}-{}", "k".repeat(60_000));
    for number in 0..KEYS {
        pressed
            .append(append_of(Some(key(number)), Vec::new()))
            .expect("nothing fails");
    }
    let budget = pressed.broker.budget().clone();
    let part = budget.part(Name::KeyIndex);
    // The keys are written to files.
    part.add(part.bound());
    for _ in 0..ROUNDS {
        pressed.clock.advance(Duration::from_secs(20));
        pressed.broker.keep_house(true);
    }
    part.subtract(part.bound());
    let before = part.used();
    assert!(
        before < 200_000,
        "the keys are in files, not {before} bytes"
    );

    for number in 0..KEYS {
        let key = key(number);
        let erasing = pressed.broker.erase_key("t", key.as_bytes());
        let erasing = erasing.expect("it is there");
        pressed.broker.commit_all();
        let erased = now(erasing).expect("an answer").expect("nothing fails");
        assert_eq!(erased.through, Version(1));
    }
    // Each append updates the memory that the tables count.
    pressed
        .append(append_of(None, Vec::new()))
        .expect("nothing fails");
    let after = part.used();
    assert!(after < before + 60_000, "{before} bytes, then {after}");
    let again = pressed.append(append_of(Some(key(0)), Vec::new()));
    let append = again.expect("an erased entity goes on");
    assert_eq!(append.batches[0][0].count, 1);
}

#[test]
fn appends_of_many_records_leave_key_memory_to_those_of_few() {
    let memory = options().memory.with(Name::Appends, 64 << 20);
    let options = Options {
        memory,
        ..options()
    };
    let environment = env(&SimDisk::new(1), &SimClock::new(0), &SimRandom::new(1));
    let broker = Broker::open_stepped(environment, options).expect("nothing fails");
    let many = |records| Load {
        bytes: 1,
        batches: 1,
        records,
    };
    let flow = Flow::default();
    let ask = |records| Box::pin(broker.admit(&flow, many(records)));
    let first = now(ask(MANY_RECORDS + 1)).expect("there is room");
    let mut second = ask(MANY_RECORDS + 1);
    assert!(now(&mut second).is_none(), "it is not its turn");
    assert!(now(ask(MANY_RECORDS)).is_some());
    drop(first);
    let second = now(second).expect("it is its turn");
    drop(second);

    let part = broker.budget().part(Name::KeyIndex);
    part.add(part.bound() * 3 / 4);
    assert!(
        now(ask(MANY_RECORDS + 1)).is_none(),
        "tables are written out"
    );
    assert!(now(ask(MANY_RECORDS)).is_some());
}
