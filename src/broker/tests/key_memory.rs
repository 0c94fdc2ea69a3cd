//! The memory of key tables runs out, and is had again: whatever fills it, appends do not wait for
//! ever.

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

/// Housekeeping rounds that an append may wait for.
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

    /// Appends once there is memory.
    fn append(&mut self, append: Append) -> Result<Appended, Error> {
        for _ in 0..ROUNDS {
            if let Some(admission) = now(self.broker.admit_alone(100)) {
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
    // The table then covers a record, and holds no row.
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
