//! When a partition is compacted.

use super::world::{DAY, HOUR, MS, SECOND, World};

#[test]
fn what_nobody_appends_to_any_more_is_compacted_when_its_lag_is_over() {
    let world = World::with(&[("max.compaction.lag.ms", "10s")]);
    for _ in 0..10 {
        world.put("a", b"x");
    }
    world.pass(10 * SECOND - MS);
    assert_eq!(world.offsets().len(), 10);
    world.pass(MS);
    assert_eq!(world.offsets(), [9], "the active segment was sealed for it");
}

#[test]
fn the_lag_is_a_day_where_nobody_says_otherwise() {
    let world = World::with(&[]);
    for _ in 0..10 {
        world.put("a", b"x");
    }
    world.pass(DAY - MS);
    assert_eq!(world.offsets().len(), 10);
    world.pass(MS);
    assert_eq!(world.offsets(), [9]);
}

#[test]
fn sealed_segments_are_compacted_as_soon_as_half_of_them_are_new() {
    let world = World::with(&[]);
    for _ in 0..50 {
        world.put("a", &[1; 4_000]);
    }
    world.roll();
    world.pass(2 * SECOND);
    assert_eq!(world.of_key("a"), [(50, 49)]);
}

#[test]
fn records_are_left_alone_until_they_are_old_enough() {
    let lags = [
        ("min.compaction.lag.ms", "60s"),
        ("max.compaction.lag.ms", "60s"),
    ];
    let world = World::with(&lags);
    for _ in 0..30 {
        world.put("a", &[1; 4_000]);
    }
    world.pass(30 * SECOND);
    for _ in 0..30 {
        world.put("a", &[1; 4_000]);
    }
    world.compact();
    world.pass(30 * SECOND - MS);
    assert_eq!(world.offsets().len(), 60, "not even on command");
    world.pass(MS);
    // A record that is old enough is removed for a newer one only if that is old enough, too.
    let (first, rest): (Vec<u64>, Vec<u64>) = world.offsets().into_iter().partition(|at| *at < 30);
    assert_eq!((first, rest.len()), (vec![29], 30));
    world.pass(HOUR);
    assert_eq!(world.offsets(), [59]);
}

#[test]
fn an_idle_partition_is_not_compacted_again_and_again() {
    let world = World::with(&[]);
    for _ in 0..50 {
        world.put("a", &[1; 4_000]);
    }
    world.compact();
    let last = world.compaction().last_ms;
    for _ in 0..100 {
        world.pass(HOUR);
    }
    assert_eq!(world.compaction().last_ms, last);
}
