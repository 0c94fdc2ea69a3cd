//! More keys than memory has room for.

use super::world::{SECOND, World};
use crate::{
    broker::{Options, tests::world::options},
    budget::Name,
};

const KEYS: u64 = 6_000;

/// A quarter of this memory is less than the keys need.
fn little_memory() -> Options {
    Options {
        memory: options().memory.with(Name::KeyIndex, 4 << 20),
        ..options()
    }
}

fn key(nth: u64) -> String {
    format!("key {nth:0200}")
}

#[test]
fn passes_go_on_where_the_one_before_had_no_memory_for_more_keys() {
    let world = World::with_options(&[], little_memory());
    for nth in 0..2 * KEYS {
        world.put(&key(nth % KEYS), &[7; 20]);
        if nth % 500 == 0 {
            world.broker.keep_house(true);
        }
    }
    world.compact();
    let offsets = world.offsets();
    assert_eq!(offsets, (KEYS..2 * KEYS).collect::<Vec<_>>());
    assert_eq!(world.compaction().clean_to.0, 2 * KEYS);
    let part = world.broker.shared.budget.part(Name::KeyIndex);
    assert!(part.most() <= part.bound(), "{part:?}");
}

#[test]
fn more_tombstones_than_there_is_memory_for_go_all_the_same() {
    let settings = [("delete.retention.ms", "60s")];
    let world = World::with_options(&settings, little_memory());
    for nth in 0..KEYS {
        world.delete(&key(nth));
        if nth % 500 == 0 {
            world.broker.keep_house(true);
        }
    }
    world.put("stays", b"x");
    world.compact();
    assert_eq!(world.offsets().len() as u64, KEYS + 1);
    for _ in 0..3 {
        world.pass(60 * SECOND);
    }
    assert_eq!(world.offsets(), [KEYS]);
    for nth in [0, KEYS / 2, KEYS - 1] {
        let (version, value) = world.latest(&key(nth));
        assert_eq!((version.0, value), (1, None));
    }
}
