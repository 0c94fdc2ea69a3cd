//! 64 clients race on a few entities, on one thread and a simulated disk that loses power.
//!
//! A seed decides which client acts when, when the journal is written, when housekeeping runs, when
//! the broker restarts, and when the power fails. What the clients were told must be linearizable
//! for each entity, and for all entities of an append together.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

use super::{
    super::world::{below, create, env, options},
    clients::{Client, Met, Scene, TOPICS, ends_of},
    history::Accepted,
    recorder::Recorder,
};
use crate::{
    broker::{Broker, Options, lock},
    budget::Name,
    env::sim::{CrashMode, SimClock, SimDisk, SimRandom},
};

/// The clients of a race.
const CLIENTS: u32 = 64;

/// The steps of a race. In each, one client or the broker acts.
const STEPS: u64 = 4_000;

/// What all races came across.
#[derive(Clone, Debug, Default)]
struct Coverage {
    accepted: Accepted,
    met: Met,
    calls: usize,
    crashes: BTreeMap<CrashMode, u64>,
    crashed_recoveries: u64,
    restarts: u64,
    checkpoints: u64,
    runs: usize,
    merged_runs: usize,
    most_segments: u32,
}

#[test]
fn what_64_racing_clients_are_told_is_linearizable() {
    let coverage = campaign(0..50);
    let Accepted {
        appended,
        conflicts,
        reads,
        unknown_happened,
        unknown_never,
        ..
    } = coverage.accepted;
    for (what, count) in [
        ("appends", appended),
        ("conflicts", conflicts),
        ("reads", reads),
        ("unknown appends that happened", unknown_happened),
        ("unknown appends that did not", unknown_never),
    ] {
        assert!(count > 100, "only {count} {what}: {coverage:?}");
    }
    assert!(coverage.met.answered_again > 50, "{coverage:?}");
    assert!(
        coverage.runs > 100 && coverage.merged_runs > 10 && coverage.most_segments > 1,
        "{coverage:?}"
    );
    assert!(
        coverage.restarts > 20 && coverage.crashed_recoveries > 10,
        "{coverage:?}"
    );
    assert!(
        CrashMode::ALL.iter().all(|mode| coverage.crashes[mode] > 2),
        "{coverage:?}"
    );
}

/// Runs the seeds that `RACE_SEEDS` gives as `from..to`, or else 5,000.
#[test]
#[ignore = "a campaign: minutes to hours"]
fn what_64_racing_clients_are_told_is_linearizable_for_many_seeds() {
    #[expect(clippy::disallowed_methods, reason = "who replays a seed names it so")]
    let seeds = std::env::var("RACE_SEEDS").ok();
    let seeds = seeds.as_deref().map(|range| {
        let (from, to) = range.split_once("..").expect("RACE_SEEDS is from..to");
        from.parse().expect("a number")..to.parse().expect("a number")
    });
    campaign(seeds.unwrap_or(1_000..6_000));
}

fn campaign(seeds: std::ops::Range<u64>) -> Coverage {
    let mut coverage = Coverage::default();
    for seed in seeds.clone() {
        let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| Race::run(seed)));
        match run {
            Ok(run) => coverage.add(run),
            Err(panic) => {
                eprintln!(
                    "failed with seed {seed}; again: RACE_SEEDS={seed}..{} cargo test --lib many_seeds -- --ignored",
                    seed + 1
                );
                std::panic::resume_unwind(panic);
            }
        }
    }
    println!("seeds {seeds:?}: {coverage:#?}");
    coverage
}

impl Coverage {
    fn add(&mut self, other: Self) {
        self.accepted.appended += other.accepted.appended;
        self.accepted.conflicts += other.accepted.conflicts;
        self.accepted.reads += other.accepted.reads;
        self.accepted.unknown_happened += other.accepted.unknown_happened;
        self.accepted.unknown_never += other.accepted.unknown_never;
        self.met.retried += other.met.retried;
        self.met.answered_again += other.met.answered_again;
        self.met.refused += other.met.refused;
        self.calls += other.calls;
        for (mode, count) in other.crashes {
            *self.crashes.entry(mode).or_default() += count;
        }
        self.crashed_recoveries += other.crashed_recoveries;
        self.restarts += other.restarts;
        self.checkpoints += other.checkpoints;
        self.runs += other.runs;
        self.merged_runs += other.merged_runs;
        self.most_segments = self.most_segments.max(other.most_segments);
    }
}

/// A race under way.
struct Race {
    seed: u64,
    chance: SimRandom,
    clock: SimClock,
    disk: SimDisk,
    broker: Option<Broker>,
    starts: u64,
    clients: Vec<Client>,
    recorder: Mutex<Recorder>,
    /// The files of key indexes that have existed.
    runs: BTreeSet<String>,
    coverage: Coverage,
}

impl Race {
    fn run(seed: u64) -> Coverage {
        let mut race = Self::begin(seed);
        for _ in 0..STEPS {
            race.step();
        }
        race.finish()
    }

    fn begin(seed: u64) -> Self {
        let disk = SimDisk::new(seed);
        let mut race = Self {
            seed,
            chance: SimRandom::new(seed),
            clock: SimClock::new(1_700_000_000_000),
            disk,
            broker: None,
            starts: 0,
            clients: (0..CLIENTS).map(|_| Client::default()).collect(),
            recorder: Mutex::default(),
            runs: BTreeSet::new(),
            coverage: Coverage::default(),
        };
        race.open().expect("nothing fails");
        for (topic, partitions) in TOPICS {
            create(race.broker(), topic, partitions);
        }
        race
    }

    fn options(&self) -> Options {
        // A table is due when it takes a 16th of this memory, or a 1,024th when half of the memory
        // is used.
        Options {
            memory: options().memory.with(
                Name::KeyIndex,
                [16 << 10, 64 << 10, 1 << 20][(self.seed % 3) as usize],
            ),
            ..options()
        }
    }

    fn broker(&self) -> &Broker {
        self.broker.as_ref().expect("it is open")
    }

    fn open(&mut self) -> Result<(), crate::broker::OpenError> {
        self.starts += 1;
        let random = SimRandom::new(self.seed * 1_000 + self.starts);
        self.broker = Some(Broker::open_stepped(
            env(&self.disk, &self.clock, &random),
            self.options(),
        )?);
        Ok(())
    }

    fn one_in(&self, count: u64) -> bool {
        below(&self.chance, count) == 0
    }

    fn step(&mut self) {
        match below(&self.chance, 800) {
            0 => self.restart(),
            1 => self.disk.power_off(),
            2 => self
                .disk
                .crash_at(self.disk.operations() + 1 + below(&self.chance, 30)),
            3 => self
                .disk
                .crash_within(self.disk.operations() + 1 + below(&self.chance, 30)),
            4..=13 => self.keep_house(true),
            14..=60 => self.keep_house(false),
            61..=160 => self.broker().commit_all(),
            _ => {
                let who = below(&self.chance, u64::from(CLIENTS)) as usize;
                self.act(who);
            }
        }
        if !self.disk.is_on() {
            self.recover();
        }
        let failure = self.broker().shared.health.failure();
        assert_eq!(failure, None, "storage has failed with the power on");
    }

    fn act(&mut self, who: usize) {
        let mut scene = Scene {
            broker: self.broker.as_ref().expect("it is open"),
            chance: &self.chance,
            recorder: &self.recorder,
            met: &mut self.coverage.met,
        };
        self.clients[who].act(who as u32, &mut scene);
    }

    fn keep_house(&mut self, checkpoint: bool) {
        self.clock.advance(std::time::Duration::from_millis(
            100 + below(&self.chance, 900),
        ));
        self.broker().keep_house(checkpoint);
        self.coverage.checkpoints += u64::from(checkpoint);
        self.look_at_runs();
    }

    /// Records the key index's files by partition and offsets covered.
    fn look_at_runs(&mut self) {
        for path in self
            .disk
            .files()
            .iter()
            .filter(|path| path.extension().is_some_and(|ending| ending == "keys"))
        {
            self.runs.insert(path.to_string_lossy().into_owned());
        }
        for (topic, _) in TOPICS {
            let described = self.broker().describe_topic(topic);
            let segments = described
                .iter()
                .flat_map(|(_, of)| of)
                .map(|partition| partition.segments)
                .max();
            self.coverage.most_segments = self.coverage.most_segments.max(segments.unwrap_or(0));
        }
    }

    /// Stops the broker and starts it again. Calls under way are answered before.
    fn restart(&mut self) {
        let broker = self.broker.take().expect("it is open");
        let closed = broker.close();
        if self.disk.is_on() {
            closed.expect("nothing fails with the power on");
        }
        for who in 0..CLIENTS as usize {
            let mut scene = Scene {
                broker: &broker,
                chance: &self.chance,
                recorder: &self.recorder,
                met: &mut self.coverage.met,
            };
            self.clients[who].hear_last(&mut scene);
        }
        lock(&self.recorder).crashed();
        self.return_clients();
        drop(broker);
        self.coverage.restarts += 1;
        if self.disk.is_on() && self.open().is_err() {
            assert!(!self.disk.is_on(), "it cannot be opened with the power on");
        }
    }

    /// Calls that were unanswered when the broker went away are given up, or made again.
    fn return_clients(&mut self) {
        for client in &mut self.clients {
            client.meet_crash(
                &self.chance,
                &mut lock(&self.recorder),
                &mut self.coverage.met,
            );
        }
    }

    /// Restores the power, which perhaps fails once more while the broker starts.
    fn recover(&mut self) {
        if let Some(broker) = self.broker.take() {
            for who in 0..CLIENTS as usize {
                if self.one_in(2) {
                    let mut scene = Scene {
                        broker: &broker,
                        chance: &self.chance,
                        recorder: &self.recorder,
                        met: &mut self.coverage.met,
                    };
                    self.clients[who].hear_last(&mut scene);
                }
            }
            lock(&self.recorder).crashed();
            self.return_clients();
        }
        loop {
            let mode = CrashMode::ALL[below(&self.chance, CrashMode::ALL.len() as u64) as usize];
            *self.coverage.crashes.entry(mode).or_default() += 1;
            self.disk = self.disk.power_cut(below(&self.chance, u64::MAX), mode);
            if self.one_in(4) {
                self.disk.crash_within(1 + below(&self.chance, 20));
            }
            match self.open() {
                Ok(()) if self.disk.is_on() => return,
                Ok(()) => self.broker = None,
                Err(error) => assert!(!self.disk.is_on(), "it cannot be opened: {error}"),
            }
            self.coverage.crashed_recoveries += 1;
        }
    }

    /// Brings the broker to rest, and checks what the clients were told.
    fn finish(mut self) -> Coverage {
        self.restart();
        // Power cuts that are still scheduled do not happen any more.
        self.broker = None;
        self.disk = self.disk.power_cut(self.seed, CrashMode::KeepAll);
        self.open().expect("nothing fails");
        self.look_at_runs();
        let history = lock(&self.recorder).clone().finish(ends_of(self.broker()));
        self.coverage.calls = history.calls.len();
        self.coverage.accepted = history.check().unwrap_or_else(|fault| panic!("{fault}"));
        self.coverage.runs = self.runs.len();
        self.coverage.merged_runs = merged(&self.runs);
        self.coverage
    }
}

/// The number of these files that cover more than another file with the same first offset, because
/// they were merged.
fn merged(runs: &BTreeSet<String>) -> usize {
    // In `A-B.keys`, names with the same part before the first dash have the same partition and
    // first offset.
    let begins = |path: &String| path.split('-').next().map(str::to_owned);
    let starts: Vec<_> = runs.iter().map(begins).collect();
    starts.len() - starts.iter().collect::<BTreeSet<_>>().len()
}
