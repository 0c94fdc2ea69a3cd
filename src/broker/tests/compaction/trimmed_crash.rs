//! The power is cut at every write and every sync of a trim of entities, and of the pass that
//! removes the bytes, in every crash mode. Afterwards the trim has happened or not, and the bytes
//! are gone in the end.

use super::world::{Found, HOUR, World};
use crate::{env::sim::CrashMode, types::Version};

#[derive(Debug, Default)]
struct Coverage {
    states: u64,
    as_before: u64,
    trimmed: u64,
    complete: u64,
}

/// A trim of entities that runs until the power fails.
struct Run {
    world: World,
    before: Vec<Found>,
    is_answered: bool,
}

#[test]
fn after_every_crash_a_trim_of_an_entity_is_there_as_a_whole_or_not_at_all() {
    let mut coverage = Coverage::default();
    for policy in ["delete", "compact"] {
        campaign(policy, &mut coverage);
    }
    println!("{coverage:?}");
    assert!(
        coverage.states > 300
            && coverage.as_before > 10
            && coverage.trimmed > 100
            && coverage.complete > 5,
        "{coverage:?}"
    );
}

fn campaign(policy: &str, coverage: &mut Coverage) {
    let mut whole = Run::prepare(policy);
    let from = whole.world.disk.operations();
    whole.go();
    assert_eq!(waiting(&whole.world), 0, "nothing fails");
    let last = whole.world.disk.operations();
    for operation in from + 1..=last {
        let mut run = Run::prepare(policy);
        let disk = run.world.disk.clone();
        if operation.is_multiple_of(2) {
            disk.crash_within(operation);
        } else {
            disk.crash_at(operation);
        }
        run.go();
        assert!(!disk.is_on(), "operation {operation} was not reached");
        for mode in CrashMode::ALL {
            let mut again = Run::prepare(policy);
            again.is_answered = run.is_answered;
            again.world.go_on_with(disk.power_cut(operation, mode));
            let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                again.check(coverage);
            }));
            if let Err(panic) = checked {
                eprintln!("failed at operation {operation}, {policy}, {mode:?}");
                std::panic::resume_unwind(panic);
            }
        }
    }
}

fn waiting(world: &World) -> usize {
    let shared = &world.broker.shared;
    shared.sequencer.applied().key_trims().len()
}

fn is_trimmed(found: &Found) -> bool {
    match found.key.as_deref() {
        Some("some") => found.version < Some(7),
        Some("all") => true,
        _ => false,
    }
}

impl Run {
    /// Several segments with records of two entities, one of which will lose all of its records.
    fn prepare(policy: &str) -> Self {
        let world = World::with(&[("cleanup.policy", policy), ("compaction.keep", "1000")]);
        for nth in 0..10u8 {
            world.put("some", &[b"some"[..].repeat(1_000), vec![nth]].concat());
            world.put("all", &[b"all "[..].repeat(1_000), vec![nth]].concat());
            world.put("none", &[nth; 3_000]);
        }
        world.broker.keep_house(true);
        let before = world.read();
        Self {
            world,
            before,
            is_answered: false,
        }
    }

    /// Trims the entities, and removes the bytes.
    fn go(&mut self) {
        let trimmed = [("some", 7), ("all", 11)].map(|(key, before)| {
            let broker = &self.world.broker;
            let trimming = broker.trim_key(super::world::TOPIC, key.as_bytes(), Version(before));
            broker.commit_all();
            let answer = trimming.ok().and_then(crate::broker::tests::world::now);
            matches!(answer, Some(Ok(_)))
        });
        self.is_answered = trimmed == [true, true];
        if self.is_answered {
            drop(self.world.broker.compact_topic(super::world::TOPIC));
            self.world.settle();
        }
    }

    fn check(&self, coverage: &mut Coverage) {
        let world = &self.world;
        coverage.states += 1;
        let found = world.read();
        let expected: Vec<&Found> = self
            .before
            .iter()
            .filter(|found| !is_trimmed(found))
            .collect();
        if found == self.before {
            assert!(!self.is_answered, "it was answered, and is undone");
            coverage.as_before += 1;
            return;
        }
        if !self.is_answered && found.iter().any(is_trimmed) {
            // Only one of the two trims was done.
            return;
        }
        assert_eq!(found.iter().collect::<Vec<_>>(), expected);
        coverage.trimmed += 1;
        coverage.complete += u64::from(waiting(world) == 0);
        self.check_versions();
        world.pass(25 * HOUR);
        world.broker.keep_house(true);
        assert_eq!(waiting(world), 0);
        assert!(!world.segments_have(&b"all "[..].repeat(10)));
        assert_eq!(world.read().iter().collect::<Vec<_>>(), expected);
        self.check_versions();
        let appended = world.append(Some("all"), Some(b"y")).expect("it is taken");
        assert_eq!(appended.versions, [Version(11)]);
    }

    fn check_versions(&self) {
        assert_eq!(self.world.versions("some"), (vec![7, 8, 9, 10], 10));
        assert_eq!(self.world.start_of("some"), 7);
        assert_eq!(self.world.versions("all"), (vec![], 10));
        assert_eq!(self.world.start_of("all"), 11);
        assert_eq!(self.world.latest("all"), (Version(10), None));
    }
}
