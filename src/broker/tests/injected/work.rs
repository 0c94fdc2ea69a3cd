//! A broker's work, divided into phases, and a disk to begin with.

use std::{collections::BTreeMap, time::Duration};

use super::book::{Book, Tolerance};
use crate::{
    broker::{
        Broker, OpenError, Options,
        tests::world::{below, create, env, now, options},
    },
    budget::Name,
    env::sim::{SimClock, SimDisk, SimRandom},
};

/// A disk that a crash has left, and the records it must have.
#[derive(Clone)]
pub(super) struct Begun {
    pub(super) disk: SimDisk,
    pub(super) book: Book,
    pub(super) seed: u64,
}

/// The phases of a broker's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Reads by offset and by time, of entities and of their latest records.
    Reads,
    /// Appends, without conditions, and with conditions that hold or do not.
    Appends,
    /// Housekeeping: checkpoints, and writing and merging of tables.
    Housekeeping,
    /// Trimming, and the removal of trimmed records.
    Trimming,
    /// An erasure, and the removal of its bytes.
    Erasure,
    /// A clean stop.
    Close,
}

pub(super) const PHASES: [Phase; 6] = [
    Phase::Reads,
    Phase::Appends,
    Phase::Housekeeping,
    Phase::Trimming,
    Phase::Erasure,
    Phase::Close,
];

/// Options with few open files, and with which tables are written soon.
fn small() -> Options {
    Options {
        memory: options().memory.with(Name::KeyIndex, 16 << 10),
        ..options()
    }
}

/// A broker with its clock.
pub(super) struct Running {
    pub(super) broker: Broker,
    clock: SimClock,
}

/// Starts a broker. Each start of a disk needs another seed.
pub(super) fn start(disk: &SimDisk, seed: u64) -> Result<Running, OpenError> {
    let clock = SimClock::new(1_700_000_000_000 + 1_000 * i64::try_from(seed % 1_000).unwrap_or(0));
    let environment = env(disk, &clock, &SimRandom::new(seed));
    Ok(Running {
        broker: Broker::open_stepped(environment, small())?,
        clock,
    })
}

/// Fills a disk with entities in sealed segments, in the active segment and in the journal; in
/// tables of records, among last versions, and in no index yet. Then crashes.
pub(super) fn begin(seed: u64) -> Begun {
    let disk = SimDisk::new(seed);
    let running = start(&disk, seed).expect("nothing fails");
    let broker = &running.broker;
    create(broker, "t", 1);
    let chance = SimRandom::new(seed);
    let mut book = Book::default();
    for nth in 0..260 {
        book.append(broker, below(&chance, 24), nth % 3 == 0, Tolerance::Nothing);
        if nth % 60 == 50 {
            broker.keep_house(true);
        }
        if nth == 120 {
            book.trim(broker, 100, Tolerance::Nothing);
            running.keep_house(3);
        }
    }
    book.check_all(broker, Tolerance::Nothing);
    let disk = disk.fork();
    if seed.is_multiple_of(2) {
        // Starts once more, so that everything is in segments; what the index had in memory is
        // lost.
        drop(start(&disk, seed + 1).expect("nothing fails"));
        let disk = disk.fork();
        return Begun { disk, book, seed };
    }
    Begun { disk, book, seed }
}

impl Running {
    /// Runs this many rounds of housekeeping.
    pub(super) fn keep_house(&self, rounds: u32) {
        for _ in 0..rounds {
            self.clock.advance(Duration::from_secs(5));
            self.broker.keep_house(true);
        }
    }

    /// Lets so much time pass that all retries have been made.
    pub(super) fn wait(&self) {
        self.clock.advance(Duration::from_secs(7_200));
        self.keep_house(2);
    }

    /// Does the work of a phase, and checks the answers.
    pub(super) fn work(&self, phase: Phase, book: &mut Book, passes: Tolerance) {
        let broker = &self.broker;
        match phase {
            Phase::Reads => book.check_all(broker, passes),
            Phase::Appends => {
                for entity in book.entities() {
                    book.append_refused(broker, entity, passes);
                    book.append(broker, entity, entity % 2 == 0, passes);
                }
                book.append(broker, 1_000, true, passes);
                book.append(broker, 1_001, false, passes);
            }
            Phase::Housekeeping => {
                for round in 0..6 {
                    for entity in [2 * round, 2_000 + round] {
                        book.append(broker, entity, false, passes);
                    }
                    self.keep_house(1);
                }
            }
            Phase::Trimming => {
                self.seal_soon();
                book.trim(broker, book.middle(), passes);
                self.keep_house(4);
                book.check_log(broker, passes);
            }
            Phase::Erasure => {
                book.erase(broker, 3, passes);
                self.keep_house(2);
                self.clock.advance(Duration::from_secs(11));
                self.keep_house(2);
                book.check_log(broker, passes);
            }
            Phase::Close => drop(broker.close()),
        }
    }

    /// Seals segments soon, so that trimmed segments can be removed.
    fn seal_soon(&self) {
        let set = BTreeMap::from([("segment.ms".to_owned(), "1000".to_owned())]);
        if let Ok(altered) = self.broker.alter_topic("t", &set, &[]) {
            self.broker.commit_all();
            drop(now(altered));
        }
    }
}
