//! Producers that number their batches: each is stored once, and answered as the first time however
//! often it comes.

use std::{collections::BTreeMap, time::Duration};

use super::world::{below, create, encode_keyed, env, now, options, read_all, send};
use crate::{
    broker::{Append, AppendBatch, Appended, Broker, Error, Options, Producer},
    env::sim::{CrashMode, SimClock, SimDisk, SimRandom},
    types::{Offset, PartitionId, ProducerId},
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
        let opened = self.broker.open_producer(name).expect("its name is good");
        self.broker.commit_all();
        now(opened).expect("an answer").expect("nothing fails")
    }

    fn keep_house(&self, checkpoint: bool) {
        self.clock.advance(Duration::from_millis(500));
        self.broker.keep_house(checkpoint);
        self.broker.commit_all();
    }

    /// Trims everything, and lets the segments be removed.
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

    /// How many records there are by id.
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

/// Tables of key indexes that are due soon, so that batches are looked up in files.
fn small_tables() -> Options {
    Options {
        key_memory_bytes: 16 << 10,
        ..options()
    }
}

/// The ids of a batch: of no other producer number, partition or sequence.
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
        topic: "t".into(),
        partition,
        sequence: Some(sequence),
        records: records.into(),
    }
}

/// Batches of producer number `number`: partition and sequence of each.
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
        // Two of them under way at the same time.
        let [first, second] = [(); 2].map(|()| {
            let admission = now(world.broker.admit(100))
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
            assert_eq!(again.as_ref(), Ok(answer), "sequence {sequence}, {when}");
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
            // What a stopped broker does not see does not count, nor does a clock that is set.
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
    // 54 s and some; a batch that comes again counts as use.
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

/// An append of one batch or two that was asked for.
#[derive(Clone, Debug)]
struct Asked {
    producer: Producer,
    number: u64,
    batches: Vec<(u32, u64)>,
    answer: Option<Appended>,
}

/// What is known of a run that was cut off.
#[derive(Clone, Debug, Default)]
struct Known {
    /// In the order of each producer's sequences.
    asked: Vec<Asked>,
    /// An incarnation that was asked for and not answered may fence this producer.
    may_be_fenced: Option<Producer>,
    fenced: Option<Producer>,
    trimmed: bool,
}

/// What a campaign came across.
#[derive(Debug, Default)]
struct Coverage {
    states: u64,
    answered: u64,
    unknown_stored: u64,
    unknown_not: u64,
    fenced: u64,
    trimmed: u64,
}

#[test]
fn every_batch_is_stored_once_whenever_the_power_fails() {
    let mut coverage = Coverage::default();
    for seed in [1, 2] {
        let disk = SimDisk::new(seed);
        let mut run = Run::begin(&disk, seed);
        let from = disk.operations();
        run.live();
        let last = disk.operations();
        for operation in from + 1..=last {
            let disk = SimDisk::new(seed);
            let mut run = Run::begin(&disk, seed);
            if operation.is_multiple_of(2) {
                disk.crash_within(operation);
            } else {
                disk.crash_at(operation);
            }
            run.live();
            assert!(
                !disk.is_on(),
                "operation {operation} of seed {seed} was not reached the second time"
            );
            for mode in CrashMode::ALL {
                let survived = disk.power_cut(seed ^ operation, mode);
                let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    check_state(seed + operation, survived, run.known.clone(), &mut coverage);
                }));
                if let Err(panic) = checked {
                    eprintln!("failed at operation {operation} of seed {seed}, {mode:?}");
                    std::panic::resume_unwind(panic);
                }
            }
        }
    }
    println!("{coverage:?}");
    assert!(
        coverage.states > 1_000 && coverage.answered > 10_000,
        "{coverage:?}"
    );
    assert!(
        coverage.unknown_stored > 50 && coverage.unknown_not > 50,
        "{coverage:?}"
    );
    assert!(
        coverage.fenced > 100 && coverage.trimmed > 100,
        "{coverage:?}"
    );
}

struct Run {
    world: World,
    chance: SimRandom,
    producers: [Producer; 2],
    next: [[u64; PARTITIONS as usize]; 2],
    known: Known,
}

impl Run {
    fn begin(disk: &SimDisk, seed: u64) -> Self {
        let world = World::new(disk, seed, small_tables()).expect("nothing fails yet");
        let producers = [world.open("one"), world.open("two")];
        Self {
            world,
            chance: SimRandom::new(seed),
            producers,
            next: [[0; 2]; 2],
            known: Known::default(),
        }
    }

    fn live(&mut self) {
        for step in 0..18 {
            for number in 0..2 {
                self.ask(number);
            }
            self.world
                .clock
                .advance(Duration::from_millis(100 + below(&self.chance, 900)));
            match below(&self.chance, 8) {
                0 => self.world.broker.keep_house(true),
                1 | 2 => self.world.broker.keep_house(false),
                _ => {}
            }
            if step == 6 {
                self.open_again();
            }
            if step == 11 {
                self.trim();
            }
            if !self.world.disk.is_on() {
                return;
            }
        }
    }

    /// Sends the next batches of a producer, sometimes twice before there is an answer.
    fn ask(&mut self, number: usize) {
        let partition = below(&self.chance, 2) as u32;
        let mut batches = vec![(partition, self.next[number][partition as usize])];
        if below(&self.chance, 4) == 0 {
            batches.push((1 - partition, self.next[number][1 - partition as usize]));
        }
        let producer = self.producers[number];
        let incarnation = number as u64 + 2 * u64::from(producer.epoch);
        let tries = 1 + below(&self.chance, 2);
        let mut pending = Vec::new();
        for _ in 0..tries {
            let append = append_of(producer, incarnation, &batches);
            let admitted = now(self.world.broker.admit(100)).expect("there is memory");
            pending.extend(
                admitted
                    .and_then(|admission| self.world.broker.append(append, admission))
                    .ok(),
            );
        }
        self.world.broker.commit_all();
        let answers: Vec<Appended> = pending
            .into_iter()
            .filter_map(|pending| now(pending)?.ok())
            .collect();
        assert!(
            answers.windows(2).all(|pair| pair[0] == pair[1]),
            "{answers:?}"
        );
        let answer = answers.into_iter().next();
        if answer.is_some() {
            batches.iter().for_each(|(partition, sequence)| {
                self.next[number][*partition as usize] = sequence + 1;
            });
        }
        self.known.asked.push(Asked {
            producer,
            number: incarnation,
            batches,
            answer,
        });
    }

    fn open_again(&mut self) {
        let Ok(opened) = self.world.broker.open_producer("one") else {
            return;
        };
        self.known.may_be_fenced = Some(self.producers[0]);
        self.world.broker.commit_all();
        let Some(Ok(opened)) = now(opened) else {
            return;
        };
        self.known.fenced = self.known.may_be_fenced.take();
        self.producers[0] = opened;
        self.next[0] = [0; 2];
    }

    fn trim(&mut self) {
        let Ok((_, partitions)) = self.world.broker.describe_topic("t") else {
            return;
        };
        for described in partitions {
            let end = Offset(described.high_watermark.0);
            if let Ok(trimmed) = self.world.broker.trim("t", described.partition, end) {
                self.known.trimmed = true;
                self.world.broker.commit_all();
                drop(trimmed);
            }
        }
    }
}

fn check_state(seed: u64, disk: SimDisk, mut known: Known, coverage: &mut Coverage) {
    coverage.states += 1;
    coverage.trimmed += u64::from(known.trimmed);
    let mut world = World::on(disk, seed + 10_000, small_tables()).expect("it can be opened");
    let before = world.ids();
    assert!(
        before.values().all(|count| *count == 1),
        "a batch is stored twice: {before:?}"
    );
    for asked in &known.asked {
        check_stored(asked, &before, known.trimmed);
    }
    // All is sent again, in order: what was stored is answered as it was, and the rest is stored
    // now.
    for asked in &mut known.asked {
        let again = send(
            &world.broker,
            append_of(asked.producer, asked.number, &asked.batches),
        );
        if let Err(Error::Fenced { .. }) = again {
            let fenced = [known.fenced, known.may_be_fenced].contains(&Some(asked.producer));
            assert!(fenced, "fenced by nobody: {asked:?}");
            coverage.fenced += 1;
            continue;
        }
        let again = again.unwrap_or_else(|error| panic!("{asked:?}: {error}"));
        assert_ne!(
            known.fenced,
            Some(asked.producer),
            "it was fenced: {asked:?}"
        );
        match &asked.answer {
            Some(answer) => {
                coverage.answered += 1;
                assert_eq!(again, *answer, "answered in another way: {asked:?}");
            }
            None => {
                let stored = asked.ids().iter().all(|id| before.contains_key(id));
                coverage.unknown_stored += u64::from(stored);
                coverage.unknown_not += u64::from(!stored);
                asked.answer = Some(again);
            }
        }
    }
    let after = world.ids();
    assert!(
        after.values().all(|count| *count == 1),
        "a batch is stored twice: {after:?}"
    );
    world = world.restart(Some(CrashMode::RandomSubset));
    assert_eq!(world.ids(), after);
    for asked in known.asked.iter().filter(|asked| asked.answer.is_some()) {
        let again = send(
            &world.broker,
            append_of(asked.producer, asked.number, &asked.batches),
        );
        if !matches!(again, Err(Error::Fenced { .. })) {
            assert_eq!(
                again.as_ref().ok(),
                asked.answer.as_ref(),
                "answered in another way: {asked:?}, {again:?}"
            );
        }
    }
    assert_eq!(world.ids(), after);
}

fn check_stored(asked: &Asked, there: &BTreeMap<u64, u64>, trimmed: bool) {
    let ids = asked.ids();
    let present = ids.iter().filter(|id| there.contains_key(id)).count();
    assert!(
        present == 0 || present == ids.len() || trimmed,
        "part of an append is there: {asked:?}"
    );
    assert!(
        asked.answer.is_none() || present == ids.len() || trimmed,
        "an answered append is gone: {asked:?}"
    );
}

impl Asked {
    fn ids(&self) -> Vec<u64> {
        self.batches
            .iter()
            .flat_map(|(partition, sequence)| ids_of(self.number, *partition, *sequence))
            .collect()
    }
}
