//! The power is cut at every write and every sync of a compaction, in every crash mode. Afterwards
//! each segment has its old or its new content, and another compaction leads to the same end.

use std::collections::BTreeMap;

use super::world::{Found, SECOND, World};
use crate::{env::sim::CrashMode, types::Version};

#[derive(Debug, Default)]
struct Coverage {
    states: u64,
    as_before: u64,
    as_after: u64,
    between: u64,
}

/// A compaction that runs until the power fails.
struct Run {
    world: World,
    before: BTreeMap<u64, Found>,
}

#[test]
fn after_every_crash_no_record_is_missing_that_stays_and_compaction_comes_to_the_same_end() {
    let mut coverage = Coverage::default();
    for keep in ["1", "2"] {
        campaign(keep, &mut coverage);
    }
    println!("{coverage:?}");
    assert!(
        coverage.states > 300
            && coverage.as_before > 10
            && coverage.as_after > 10
            && coverage.between > 10,
        "{coverage:?}"
    );
}

fn campaign(keep: &str, coverage: &mut Coverage) {
    let whole = Run::prepare(keep);
    let from = whole.world.disk.operations();
    whole.go();
    let after = found(&whole.world);
    let last = whole.world.disk.operations();
    assert!(after.len() < whole.before.len());
    for operation in from + 1..=last {
        let run = Run::prepare(keep);
        let disk = run.world.disk.clone();
        if operation.is_multiple_of(2) {
            disk.crash_within(operation);
        } else {
            disk.crash_at(operation);
        }
        run.go();
        assert!(!disk.is_on(), "operation {operation} was not reached");
        for mode in CrashMode::ALL {
            let mut again = Run::prepare(keep);
            again.world.clock.advance(20 * SECOND);
            again.world.go_on_with(disk.power_cut(operation, mode));
            let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                again.check(&after, coverage);
            }));
            if let Err(panic) = checked {
                eprintln!("failed at operation {operation}, keep {keep}, {mode:?}");
                std::panic::resume_unwind(panic);
            }
        }
    }
}

fn found(world: &World) -> BTreeMap<u64, Found> {
    let found = world.read().into_iter();
    found.map(|found| (found.offset, found)).collect()
}

impl Run {
    /// Several segments, with tombstones that expire before the next compaction.
    fn prepare(keep: &str) -> Self {
        let world = World::with(&[("compaction.keep", keep), ("delete.retention.ms", "10s")]);
        for nth in 0..8u8 {
            world.put("often", &[nth; 9_000]);
            world.put(&format!("once {nth}"), &[nth; 4_000]);
        }
        world.put("deleted", b"x");
        world.delete("deleted");
        world.compact();
        for nth in 8..14u8 {
            world.put("often", &[nth; 9_000]);
            world.put("twice", &[nth; 9_000]);
        }
        world.broker.keep_house(true);
        let before = found(&world);
        Self { world, before }
    }

    /// Compacts, and removes the expired tombstones.
    fn go(&self) {
        self.world.clock.advance(10 * SECOND);
        drop(self.world.broker.compact_topic(super::world::TOPIC));
        self.world.settle();
    }

    fn check(&self, after: &BTreeMap<u64, Found>, coverage: &mut Coverage) {
        coverage.states += 1;
        let there = found(&self.world);
        for (offset, found) in &there {
            assert_eq!(Some(found), self.before.get(offset), "it is as it was");
        }
        for offset in after.keys() {
            assert!(there.contains_key(offset), "{offset} is to stay");
        }
        match () {
            () if there == self.before => coverage.as_before += 1,
            () if there == *after => coverage.as_after += 1,
            () => coverage.between += 1,
        }
        self.world.compact();
        self.world.pass(20 * SECOND);
        self.world.compact();
        assert_eq!(&found(&self.world), after);
        assert_eq!(self.world.latest("deleted"), (Version(2), None));
        let appended = self.world.append(Some("deleted"), Some(b"y"));
        assert_eq!(appended.expect("it is taken").versions, [Version(3)]);
        let appended = self.world.append(Some("often"), Some(b"y"));
        assert_eq!(appended.expect("it is taken").versions, [Version(15)]);
    }
}
