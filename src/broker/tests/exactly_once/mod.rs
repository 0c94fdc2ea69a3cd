//! Producers that number their batches: each batch is stored once, and each repetition is answered
//! like the first time, as long as the batch is remembered.

mod power;
mod remembered;

use std::{collections::BTreeMap, time::Duration};

use super::world::{create, encode_keyed, env, now, options, read_all, send};
use crate::{
    broker::{Append, AppendBatch, Appended, Broker, Error, Options, Producer},
    budget::Name,
    env::sim::{CrashMode, SimClock, SimDisk, SimRandom},
    types::{PartitionId, ProducerId, limits::REMEMBERED_BATCHES},
};

const PARTITIONS: u32 = 2;

/// A broker with topic `t`.
struct World {
    disk: SimDisk,
    clock: SimClock,
    broker: Broker,
    options: Options,
    starts: u64,
}

impl World {
    fn new(disk: &SimDisk, seed: u64, options: Options) -> Option<Self> {
        let world = Self::on(disk.clone(), seed, options)?;
        create(&world.broker, "t", PARTITIONS);
        Some(world)
    }

    fn on(disk: SimDisk, seed: u64, options: Options) -> Option<Self> {
        let clock = SimClock::new(1_700_000_000_000);
        let broker =
            Broker::open_stepped(env(&disk, &clock, &SimRandom::new(seed)), options.clone())
                .ok()?;
        Some(Self {
            disk,
            clock,
            broker,
            options,
            starts: seed,
        })
    }

    fn restart(self, cut: Option<CrashMode>) -> Self {
        let disk = match cut {
            None => {
                self.broker.close().expect("nothing fails");
                self.disk.fork()
            }
            Some(mode) => self.disk.power_cut(self.starts, mode),
        };
        Self::on(disk, self.starts + 1, self.options).expect("it can be opened")
    }

    fn open(&self, name: &str) -> Producer {
        let opened = self
            .broker
            .open_producer(name, None)
            .expect("its name is good");
        self.broker.commit_all();
        now(opened).expect("an answer").expect("nothing fails")
    }

    fn keep_house(&self, checkpoint: bool) {
        self.clock.advance(Duration::from_millis(500));
        self.broker.keep_house(checkpoint);
        self.broker.commit_all();
    }

    /// Trims everything, and removes the segments.
    fn trim_everything(&self) {
        for partition in (0..PARTITIONS).map(PartitionId) {
            let end = self.broker.describe_topic("t").expect("it is there").1[partition.0 as usize]
                .high_watermark;
            let trimmed = self
                .broker
                .trim("t", partition, end)
                .expect("it is in the log");
            self.broker.commit_all();
            assert_eq!(now(trimmed).expect("an answer"), Ok(end));
        }
        (0..3).for_each(|_| self.keep_house(true));
    }

    /// How often each record id occurs.
    fn ids(&self) -> BTreeMap<u64, u64> {
        let mut ids = BTreeMap::new();
        for partition in (0..PARTITIONS).map(PartitionId) {
            for (_, id) in read_all(&self.broker, "t", partition) {
                *ids.entry(id).or_default() += 1;
            }
        }
        ids
    }
}

/// Options with which tables of key indexes are written soon, so that batches are looked up in
/// files.
fn small_tables() -> Options {
    Options {
        memory: options().memory.with(Name::KeyIndex, 16 << 10),
        ..options()
    }
}

/// The record ids of a batch, different for each producer number, partition and sequence.
fn ids_of(number: u64, partition: u32, sequence: u64) -> Vec<u64> {
    let first = ((sequence * 16 + number) * 8 + u64::from(partition)) * 4;
    (first..first + 1 + sequence % 3).collect()
}

fn batch_of(number: u64, partition: u32, sequence: u64) -> AppendBatch {
    let len = if sequence % 10 == 7 { 5_000 } else { 40 };
    let records = ids_of(number, partition, sequence)
        .into_iter()
        .flat_map(|id| encode_keyed(id, len, partition, PARTITIONS))
        .collect::<Vec<u8>>();
    let partition = Some(PartitionId(partition));
    AppendBatch {
        topic_id: None,
        topic: "t".into(),
        partition,
        sequence: Some(sequence),
        records: records.into(),
    }
}

/// An append of producer number `number`, with a batch for each partition and sequence.
fn append_of(producer: Producer, number: u64, batches: &[(u32, u64)]) -> Append {
    let batch = |(partition, sequence): &(u32, u64)| batch_of(number, *partition, *sequence);
    let batches = batches.iter().map(batch).collect();
    Append {
        batches,
        producer: Some(producer),
        ..Append::default()
    }
}

#[test]
fn a_batch_that_comes_again_is_answered_as_the_first_time_whatever_happened_in_between() {
    const BATCHES: u64 = 600;
    let mut world = World::new(&SimDisk::new(1), 1, small_tables()).expect("nothing fails");
    let producer = world.open("orders");
    let mut answers: Vec<Appended> = Vec::new();
    for sequence in 0..BATCHES {
        // Two appends at the same time.
        let [first, second] = [(); 2].map(|()| {
            let admission = now(world.broker.admit_alone(100))
                .expect("there is memory")
                .expect("there is room");
            world
                .broker
                .append(append_of(producer, 0, &[(0, sequence)]), admission)
                .expect("it is queued")
        });
        world.broker.commit_all();
        let first = now(first).expect("an answer").expect("nothing fails");
        assert_eq!(
            now(second).expect("an answer"),
            Ok(first.clone()),
            "at once"
        );
        answers.push(first);
        world.keep_house(sequence % 50 == 49);
    }
    let check = |world: &World, when: &str| {
        for (sequence, answer) in answers
            .iter()
            .enumerate()
            .filter(|(sequence, _)| sequence % 7 == 0)
        {
            let again = send(
                &world.broker,
                append_of(producer, 0, &[(0, sequence as u64)]),
            );
            if sequence + REMEMBERED_BATCHES >= answers.len() {
                assert_eq!(again.as_ref(), Ok(answer), "sequence {sequence}, {when}");
            } else {
                assert_eq!(again, Ok(forgotten()), "sequence {sequence}, {when}");
            }
        }
        let gap = send(&world.broker, append_of(producer, 0, &[(0, BATCHES + 1)]));
        assert!(
            matches!(
                gap,
                Err(Error::OutOfSequence {
                    expected: BATCHES,
                    ..
                })
            ),
            "{gap:?}, {when}"
        );
    };
    check(&world, "later");
    assert!(world.ids().values().all(|count| *count == 1));
    world = world.restart(None);
    check(&world, "after a restart");
    world = world.restart(Some(CrashMode::LoseUnsynced));
    check(&world, "after a power cut");
    world.trim_everything();
    assert_eq!(world.ids(), BTreeMap::new());
    check(&world, "when all records are trimmed");
    world = world.restart(None);
    check(&world, "when all records are trimmed, after a restart");
    world.keep_house(true);
    world = world.restart(Some(CrashMode::LoseUnsynced));
    check(&world, "when all records are trimmed, after a power cut");
    assert!(send(&world.broker, append_of(producer, 0, &[(0, BATCHES)])).is_ok());
}

/// The answer to a repeated batch whose offsets are no longer remembered.
fn forgotten() -> Appended {
    Appended {
        batches: vec![Vec::new()],
        forgotten: true,
    }
}

#[test]
fn an_append_of_several_batches_is_known_again_as_a_whole_and_refused_if_only_some_are_stored() {
    let world = World::new(&SimDisk::new(2), 2, options()).expect("nothing fails");
    let producer = world.open("orders");
    let first = send(
        &world.broker,
        append_of(producer, 0, &[(0, 0), (1, 0), (0, 1)]),
    );
    assert!(first.is_ok());
    let world = world.restart(None);
    assert_eq!(
        send(
            &world.broker,
            append_of(producer, 0, &[(0, 0), (1, 0), (0, 1)])
        ),
        first
    );
    for mixed in [&[(0, 1), (1, 1)][..], &[(1, 1), (0, 1)], &[(0, 2), (1, 0)]] {
        let refused = send(&world.broker, append_of(producer, 0, mixed));
        assert!(
            matches!(refused, Err(Error::OutOfSequence { .. })),
            "{mixed:?}: {refused:?}"
        );
    }
    assert!(send(&world.broker, append_of(producer, 0, &[(0, 2), (1, 1)])).is_ok());
    assert!(world.ids().values().all(|count| *count == 1));
}

#[test]
fn a_new_producer_has_no_name_that_is_shown_as_another() {
    let world = World::new(&SimDisk::new(1), 1, options()).expect("nothing fails");
    for (name, letter) in [("red\u{202e}nul", "U+202E"), ("a\nb", "U+000A")] {
        let refused = world.broker.open_producer(name, None).expect_err(name);
        assert_eq!(refused.reason(), "MALFORMED_REQUEST");
        assert!(refused.to_string().contains(letter), "{refused}");
    }
    world.open("Rechnungen für März");
}

#[test]
fn a_name_that_is_opened_again_fences_its_predecessor_for_good() {
    for cut in [
        None,
        Some(CrashMode::LoseUnsynced),
        Some(CrashMode::KeepAll),
    ] {
        let world = World::new(&SimDisk::new(3), 3, options()).expect("nothing fails");
        let first = world.open("orders");
        assert!(send(&world.broker, append_of(first, 0, &[(0, 0)])).is_ok());
        let second = world.open("orders");
        assert_eq!((second.id, second.epoch), (first.id, first.epoch + 1));
        let check = |world: &World| {
            for sequence in [0, 1] {
                let refused = send(&world.broker, append_of(first, 0, &[(0, sequence)]));
                let id = first.id;
                assert_eq!(
                    refused,
                    Err(Error::Fenced {
                        id,
                        epoch: first.epoch,
                        current: second.epoch
                    })
                );
            }
            let unknown = Producer {
                epoch: second.epoch + 1,
                ..second
            };
            let refused = send(&world.broker, append_of(unknown, 0, &[(0, 0)]));
            assert_eq!(refused, Err(Error::UnknownProducer { id: first.id }));
        };
        check(&world);
        let world = world.restart(cut);
        check(&world);
        // Sequences begin anew.
        assert!(send(&world.broker, append_of(second, 1, &[(0, 0)])).is_ok());
        check(&world);
        assert_eq!(world.open("orders").epoch, second.epoch + 1);
        assert!(
            world.open("").id != world.open("").id,
            "without a name each is new"
        );
    }
}

#[test]
fn a_producer_that_is_idle_for_too_long_is_forgotten_and_told_so() {
    let idle = Options {
        producer_idle: Duration::from_secs(60),
        ..options()
    };
    let mut world = World::new(&SimDisk::new(4), 4, idle).expect("nothing fails");
    let (idler, user) = (world.open("idler"), world.open("user"));
    let first = send(&world.broker, append_of(idler, 0, &[(0, 0)]));
    assert!(first.is_ok());
    for round in 0..6 {
        assert!(send(&world.broker, append_of(user, 1, &[(0, round)])).is_ok());
        if round == 2 {
            // Idle time does not count while the broker is stopped, nor when the wall clock is set.
            world = world.restart(None);
            world.clock.set_now_ms(1_900_000_000_000);
        }
        assert_eq!(
            send(&world.broker, append_of(user, 1, &[(0, 0)])).map(|_| ()),
            Ok(()),
            "known in round {round}"
        );
        world.clock.advance(Duration::from_secs(9));
        world.keep_house(true);
    }
    // A little over 54 s have passed; sending a batch again counts as use.
    let another = world.open("another");
    assert_eq!(send(&world.broker, append_of(idler, 0, &[(0, 0)])), first);
    world.clock.advance(Duration::from_secs(50));
    world.keep_house(false);
    assert_eq!(send(&world.broker, append_of(idler, 0, &[(0, 0)])), first);
    world.clock.advance(Duration::from_secs(61));
    world.keep_house(false);
    for cut in [None, None, Some(CrashMode::LoseUnsynced)] {
        for (producer, sequence) in [(idler, 0), (idler, 1), (user, 6), (another, 0)] {
            let refused = send(&world.broker, append_of(producer, 0, &[(0, sequence)]));
            assert_eq!(refused, Err(Error::UnknownProducer { id: producer.id }));
        }
        world = world.restart(cut);
    }
    let again = world.open("idler");
    assert_ne!(
        again.id, idler.id,
        "what was forgotten is not taken for known"
    );
    assert!(send(&world.broker, append_of(again, 2, &[(0, 0)])).is_ok());
    let unknown = Producer {
        id: ProducerId(77),
        epoch: 1,
    };
    let refused = send(&world.broker, append_of(unknown, 0, &[(0, 0)]));
    assert_eq!(refused, Err(Error::UnknownProducer { id: ProducerId(77) }));
}
