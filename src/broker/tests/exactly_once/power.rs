//! Producers while the broker loses power at every write and every sync.

use std::{collections::BTreeMap, time::Duration};

use super::{PARTITIONS, World, append_of, ids_of, small_tables};
use crate::{
    broker::{
        Appended, Error, Producer,
        tests::world::{below, now, send},
    },
    env::sim::{CrashMode, SimDisk, SimRandom},
    types::Offset,
};

/// An append of one or two batches that was asked for.
#[derive(Clone, Debug)]
struct Asked {
    producer: Producer,
    number: u64,
    batches: Vec<(u32, u64)>,
    answer: Option<Appended>,
}

/// What is known about a run that was cut off.
#[derive(Clone, Debug, Default)]
struct Known {
    /// In the order of each producer's sequences.
    asked: Vec<Asked>,
    /// The producer that may be fenced, because its reopening was asked for and not answered.
    may_be_fenced: Option<Producer>,
    fenced: Option<Producer>,
    trimmed: bool,
}

/// What all runs came across.
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

    /// Sends the next batches of a producer, sometimes twice before the answer comes.
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
            let admitted = now(self.world.broker.admit_alone(100)).expect("there is memory");
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
        let Ok(opened) = self.world.broker.open_producer("one", None) else {
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
    // Sends everything again, in order. Batches that were stored get the same answer as before; the
    // others are stored now.
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
