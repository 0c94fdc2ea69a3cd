//! Correct histories are accepted, and the order that the checker finds explains them.

use super::{
    history::Accepted,
    plain::assert_explains,
    random::{Shape, correct_history},
};

/// Checks a correct history, and the order that the checker finds.
fn accept(seed: u64, shape: Shape) -> Accepted {
    let history = correct_history(seed, shape);
    let accepted = history
        .check()
        .unwrap_or_else(|fault| panic!("seed {seed}, {shape:?}: {fault}"));
    accepted
        .orders
        .iter()
        .for_each(|order| assert_explains(&history, order));
    accepted
}

fn assert_covered(accepted: &Accepted) {
    let Accepted {
        appended,
        conflicts,
        reads,
        unknown_happened,
        unknown_never,
        ..
    } = accepted;
    let least = *[appended, conflicts, reads, unknown_happened, unknown_never]
        .into_iter()
        .min()
        .expect("some");
    assert!(least > 0, "{accepted:?}");
}

#[test]
fn histories_of_single_entities_are_accepted() {
    for seed in 0..150 {
        let shape = Shape {
            clients: 2 + (seed as u32 % 4) * 20,
            calls: 400,
            keys: 1 + seed as u32 % 3,
            several: false,
            crash_every: 400,
            give_up_every: 20,
        };
        assert_covered(&accept(seed, shape));
    }
}

#[test]
fn histories_of_calls_on_several_entities_are_accepted() {
    for seed in 0..100 {
        let shape = Shape {
            clients: 2 + (seed as u32 % 4) * 8,
            calls: 300,
            keys: 2 + seed as u32 % 3,
            several: true,
            crash_every: 300,
            give_up_every: 20,
        };
        let accepted = accept(seed, shape);
        assert_covered(&accepted);
        assert_eq!(
            accepted.orders.len(),
            1,
            "all entities are checked together"
        );
    }
}

#[test]
fn a_long_history_of_64_clients_on_one_entity_is_accepted() {
    let shape = Shape {
        clients: 64,
        calls: 64 * 500,
        keys: 1,
        several: false,
        crash_every: 4_000,
        give_up_every: 100,
    };
    assert_covered(&accept(64, shape));
}

#[test]
fn a_long_history_of_64_clients_on_four_entities_at_once_is_accepted() {
    let shape = Shape {
        clients: 64,
        calls: 2_000,
        keys: 4,
        several: true,
        crash_every: 1_000,
        give_up_every: 100,
    };
    assert_covered(&accept(64, shape));
}
