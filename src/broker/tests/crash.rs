//! The power is cut at every change of the disk, in every crash mode, and once more during or after
//! recovery.
//!
//! For each seed a workload runs once to count its operations, then once more up to each of them.
//! At every point where the power fails, each [`CrashMode`] gives a disk. It is opened, checked
//! against the ledger, appended to, cut again, opened and checked again. A failure names the seed,
//! the operation and the mode, which suffice to reproduce it.

use super::{
    ledger::{Ledger, Seen},
    workload::{Did, Life},
    world::{append_of, encode_keyed, now, open},
};
use crate::{
    broker::Broker,
    env::sim::{CrashMode, SimDisk, Stats},
};

/// The crash from which a state comes.
#[derive(Clone, Copy, Debug)]
struct Origin {
    seed: u64,
    operation: u64,
}

/// What all runs of the test came across.
#[derive(Debug, Default)]
struct Coverage {
    states: u64,
    records: u64,
    unknown_present: u64,
    unknown_absent: u64,
    crashed_recoveries: u64,
    kept_aside: u64,
    did: Did,
    disk: Stats,
}

impl Coverage {
    fn add(&mut self, seen: Seen) {
        self.records += seen.records;
        self.unknown_present += seen.unknown_present;
        self.unknown_absent += seen.unknown_absent;
    }
}

/// A seed decides everything that happens in a run.
const SEEDS: [u64; 3] = [1, 2, 3];

/// The steps of a workload: enough to roll segments and to use every journal file again.
const STEPS: u32 = 60;

#[test]
fn every_crash_leaves_a_state_that_keeps_every_promise() {
    let mut coverage = Coverage::default();
    for seed in SEEDS {
        campaign(seed, &mut coverage, live);
    }
    println!("seeds {SEEDS:?}: {coverage:#?}");
    assert!(coverage.states >= 5_000, "only {} states", coverage.states);
    assert!(coverage.did.created > 0 && coverage.did.deleted > 0 && coverage.did.trimmed > 0);
    assert!(coverage.did.checkpoints > 0 && coverage.did.most_segments > 1);
    assert!(coverage.unknown_present > 0 && coverage.unknown_absent > 0 && coverage.records > 0);
    assert!(coverage.crashed_recoveries > 0 && coverage.kept_aside > 0);
    assert!(
        coverage.disk.written_directly.contains_key("log"),
        "no segment was written past the cache"
    );
    let losing = CrashMode::ALL
        .iter()
        .filter(|mode| !matches!(mode, CrashMode::KeepAll | CrashMode::KeepAllDurable));
    for mode in losing {
        let effect = &coverage.disk.cuts[mode];
        assert!(
            effect.sectors_lost + effect.lengths_lost + effect.names_lost > 0,
            "{mode:?} never lost anything"
        );
    }
}

#[test]
fn every_crash_while_records_become_old_leaves_the_state_before_or_behind_it() {
    let mut coverage = Coverage::default();
    let lived = |life: Life| {
        let mut life = life.with_limits();
        life.live(STEPS);
        life
    };
    campaign(11, &mut coverage, lived);
    println!("seed 11: {coverage:#?}");
    assert!(coverage.states >= 1_000, "only {} states", coverage.states);
    assert!(coverage.did.retained > 10 && coverage.did.checkpoints > 0);
    assert!(coverage.records > 0 && coverage.crashed_recoveries > 0);
}

/// Runs a workload to its end.
fn live(mut life: Life) -> Life {
    life.live(STEPS);
    life
}

fn campaign(seed: u64, coverage: &mut Coverage, live: impl Fn(Life) -> Life) {
    let disk = SimDisk::new(seed);
    let whole = live(Life::begin(&disk, seed).expect("nothing fails"));
    let last = disk.operations();
    let (_, did) = whole.end();
    coverage.did.created += did.created;
    coverage.did.deleted += did.deleted;
    coverage.did.trimmed += did.trimmed;
    coverage.did.appended += did.appended;
    coverage.did.checkpoints += did.checkpoints;
    coverage.did.retained += did.retained;
    coverage.did.most_segments = coverage.did.most_segments.max(did.most_segments);

    for operation in 1..=last {
        let disk = SimDisk::new(seed);
        if operation.is_multiple_of(2) {
            disk.crash_within(operation);
        } else {
            disk.crash_at(operation);
        }
        let ledger = match Life::begin(&disk, seed) {
            Some(life) => live(life).end().0,
            None => Ledger::default(),
        };
        assert!(
            !disk.is_on(),
            "operation {operation} of seed {seed} was not reached the second time"
        );
        coverage.disk.add(&disk.stats());
        for mode in CrashMode::ALL {
            let origin = Origin { seed, operation };
            let survived = disk.power_cut(seed ^ operation, mode);
            coverage.disk.add(&survived.stats());
            let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                check_state(origin, survived, ledger.clone(), coverage);
            }));
            if let Err(panic) = checked {
                eprintln!("failed at {origin:?}, {mode:?}");
                std::panic::resume_unwind(panic);
            }
        }
    }
}

fn check_state(origin: Origin, disk: SimDisk, mut ledger: Ledger, coverage: &mut Coverage) {
    coverage.states += 1;
    let disk = crash_recovery(origin, disk, coverage);
    let broker =
        open(&disk, origin.seed + 200).unwrap_or_else(|error| panic!("cannot be opened: {error}"));
    coverage.add(ledger.check(&broker));
    coverage.kept_aside += u64::from(
        disk.files()
            .iter()
            .any(|path| path.starts_with("/data/aside")),
    );

    append_everywhere(&broker, &mut ledger);
    ledger.check(&broker);
    drop(broker);
    let again = disk.power_cut(origin.operation, CrashMode::LoseUnsynced);
    let broker = open(&again, origin.seed + 300)
        .unwrap_or_else(|error| panic!("cannot be opened again: {error}"));
    ledger.check(&broker);
}

/// Every third state loses power again during its recovery.
fn crash_recovery(origin: Origin, disk: SimDisk, coverage: &mut Coverage) -> SimDisk {
    if !origin.operation.is_multiple_of(3) {
        return disk;
    }
    disk.crash_within(1 + origin.operation % 11);
    if open(&disk, origin.seed + 100).is_ok() {
        // The recovery took fewer operations.
        return disk.power_cut(origin.operation, CrashMode::KeepAll);
    }
    assert!(!disk.is_on(), "recovery failed with the power on");
    coverage.crashed_recoveries += 1;
    disk.power_cut(origin.operation + 1, CrashMode::RandomSubset)
}

/// Appends to every partition of every topic that exists.
fn append_everywhere(broker: &Broker, ledger: &mut Ledger) {
    for (key, topic) in ledger.topics.clone() {
        if topic.deleted.is_some() {
            continue;
        }
        for partition in 0..topic.partitions {
            let id = ledger.fresh_id();
            let asked = ledger.append_asked(key, vec![id]);
            let append = append_of(
                &topic.name,
                Some(partition),
                &[encode_keyed(id, 100, partition, topic.partitions)],
            );
            let admission = now(broker.admit_alone(100))
                .expect("there is memory")
                .expect("there is room");
            let pending = broker
                .append(append, admission)
                .expect("the topic is there");
            broker.commit_all();
            let appended = now(pending).expect("an answer").expect("nothing fails");
            ledger.append_answered(asked, &appended);
        }
    }
}
