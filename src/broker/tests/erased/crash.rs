//! The power is cut at every operation of an erasure, in every crash mode, and once more while the
//! erasure is resumed.

use std::collections::BTreeMap;

use super::{
    Secret, World, append_of, assert_only_the_secret_is_gone, complete, everything, other, plain,
    send, small_tables, try_read,
};
use crate::{
    broker::{Broker, Filter},
    env::sim::{CrashMode, SimDisk},
    types::{Offset, PartitionId, Version},
};

/// What all runs came across.
#[derive(Debug, Default)]
struct Coverage {
    states: u64,
    erased: u64,
    kept: u64,
    complete: u64,
    crashed_again: u64,
}

/// An erasure that runs until the power fails.
struct Run {
    world: World,
    secret: Secret,
    /// The records before the erasure.
    before: BTreeMap<u64, Vec<u8>>,
    versions: u64,
    answered: bool,
    is_complete: bool,
}

#[test]
fn after_every_crash_an_erasure_is_there_as_a_whole_or_not_at_all_and_completes() {
    let mut coverage = Coverage::default();
    for seed in [1, 2, 3] {
        campaign(seed, &mut coverage);
    }
    println!("{coverage:?}");
    assert!(
        coverage.states > 1_000 && coverage.erased > 500 && coverage.kept > 10,
        "{coverage:?}"
    );
    assert!(
        coverage.complete > 5 && coverage.crashed_again > 100,
        "{coverage:?}"
    );
}

fn campaign(seed: u64, coverage: &mut Coverage) {
    let mut whole = Run::prepare(seed);
    let from = whole.world.disk.operations();
    whole.go();
    assert!(whole.answered && whole.is_complete, "nothing fails");
    whole.secret.assert_gone(&whole.world.disk);
    let last = whole.world.disk.operations();
    for operation in from + 1..=last {
        let mut run = Run::prepare(seed);
        let disk = run.world.disk.clone();
        if operation.is_multiple_of(2) {
            disk.crash_within(operation);
        } else {
            disk.crash_at(operation);
        }
        run.go();
        assert!(
            !disk.is_on(),
            "operation {operation} of seed {seed} was not reached the second time"
        );
        for mode in CrashMode::ALL {
            let survived = disk.power_cut(seed ^ operation, mode);
            let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                run.check(operation, survived, coverage);
            }));
            if let Err(panic) = checked {
                eprintln!("failed at operation {operation} of seed {seed}, {mode:?}");
                std::panic::resume_unwind(panic);
            }
        }
    }
}

impl Run {
    /// An entity with records wherever records can be: trimmed, in sealed segments, in the active
    /// segment, in memory.
    fn prepare(seed: u64) -> Self {
        let world = World::new(seed, small_tables());
        let secret = Secret::new(&world.chance);
        let versions = match seed {
            1 => 4,
            _ => 8,
        };
        for nth in 0..versions {
            secret.append(&world.broker, nth, if seed == 1 { 100 } else { 18_000 });
            if seed == 3 && nth == 5 {
                trim(&world, Offset(10));
            }
            if nth % 4 == 2 {
                world.keep_house(true);
            }
        }
        send(&world.broker, append_of(&[other("x", 1), plain(2)])).expect("nothing fails");
        let before = everything(&world.broker);
        Self {
            world,
            secret,
            before,
            versions,
            answered: false,
            is_complete: false,
        }
    }

    /// Erases the entity, until the erasure is complete or the power fails.
    fn go(&mut self) {
        let broker = &self.world.broker;
        let Ok(pending) = broker.erase_key("t", &self.secret.key()) else {
            return;
        };
        broker.commit_all();
        let Some(Ok(erasure)) = super::now(pending) else {
            return;
        };
        self.answered = true;
        for _ in 0..10 {
            if broker
                .describe_erasure(erasure.id)
                .expect("it is known")
                .complete
            {
                self.is_complete = true;
                return;
            }
            self.world.keep_house(false);
            if !self.world.disk.is_on() {
                return;
            }
        }
        panic!("an erasure does not complete");
    }

    fn check(&self, operation: u64, disk: SimDisk, coverage: &mut Coverage) {
        coverage.states += 1;
        let Self {
            secret,
            before,
            versions,
            ..
        } = self;
        let disk = self.crash_again(operation, disk, coverage);
        let broker = open(&disk, operation);
        let erased = self.check_visible(&broker, &disk);
        if !erased {
            coverage.kept += 1;
            assert_eq!(
                secret.append_at(&broker, *versions, b"new"),
                Ok(Version(versions + 1))
            );
            return;
        }
        coverage.erased += 1;
        assert_eq!(secret.append_at(&broker, versions - 1, b"late").ok(), None);
        secret.assert_hidden(&broker, *versions);
        let is_complete = broker
            .shared
            .sequencer
            .applied()
            .erasures()
            .waiting()
            .count()
            == 0;
        coverage.complete += u64::from(is_complete);
        complete(&broker, || {
            broker.keep_house(false);
            broker.commit_all();
        });
        secret.assert_gone(&disk);
        assert_only_the_secret_is_gone(secret, before, &everything(&broker));
        drop(broker);
        let disk = disk.power_cut(operation, CrashMode::LoseUnsynced);
        let broker = open(&disk, operation + 1);
        assert_only_the_secret_is_gone(secret, before, &everything(&broker));
        assert_eq!(
            secret.append_at(&broker, *versions, b"new"),
            Ok(Version(versions + 1))
        );
    }

    /// Returns whether the erasure has happened; asserts that it then has for all records.
    fn check_visible(&self, broker: &Broker, disk: &SimDisk) -> bool {
        let erased = self.is_erased(&everything(broker));
        if erased {
            self.secret.assert_hidden(broker, self.versions);
        }
        if self.is_complete {
            self.secret.assert_gone(disk);
        }
        erased
    }

    fn is_erased(&self, found: &BTreeMap<u64, Vec<u8>>) -> bool {
        let erased = *found != self.before;
        assert!(
            erased || !self.answered,
            "the erasure was answered, and is undone"
        );
        if erased {
            assert_only_the_secret_is_gone(&self.secret, &self.before, found);
        }
        erased
    }

    /// Two of three states lose power again during the recovery, or while the erasure is resumed.
    fn crash_again(&self, operation: u64, disk: SimDisk, coverage: &mut Coverage) -> SimDisk {
        if operation.is_multiple_of(3) {
            return disk;
        }
        disk.crash_within(1 + operation * 7 % 90);
        let environment = super::env(
            &disk,
            &super::SimClock::new(1),
            &super::SimRandom::new(operation + 500),
        );
        if let Ok(broker) = Broker::open_stepped(environment, small_tables()) {
            for _ in 0..4 {
                // A read may write an index file, and the power may fail then.
                match try_read(&broker, Filter::default()) {
                    Ok(found) => drop(self.is_erased(&found)),
                    Err(error) => assert!(!disk.is_on(), "{error}"),
                }
                broker.keep_house(false);
                broker.commit_all();
            }
        } else {
            assert!(!disk.is_on(), "recovery failed with the power on");
        }
        coverage.crashed_again += u64::from(!disk.is_on());
        disk.power_cut(operation + 1, CrashMode::RandomSubset)
    }
}

fn open(disk: &SimDisk, seed: u64) -> Broker {
    let environment = super::env(
        disk,
        &super::SimClock::new(1_700_000_000_000),
        &super::SimRandom::new(seed + 900),
    );
    Broker::open_stepped(environment, small_tables())
        .unwrap_or_else(|error| panic!("cannot be opened: {error}"))
}

fn trim(world: &World, before: Offset) {
    let trimmed = world
        .broker
        .trim("t", PartitionId(0), before)
        .expect("it is in the log");
    world.broker.commit_all();
    super::now(trimmed)
        .expect("an answer")
        .expect("nothing fails");
}
