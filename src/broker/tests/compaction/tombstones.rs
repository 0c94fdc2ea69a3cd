//! How long tombstones live, and what is known of an entity after its tombstone is gone.

use super::world::{DAY, HOUR, MS, SECOND, World};
use crate::types::Version;

/// A world in which an entity was deleted and then compacted.
fn deleted(settings: &[(&str, &str)]) -> World {
    let world = World::with(settings);
    for _ in 0..3 {
        world.put("gone", &[1; 100]);
    }
    world.put("stays", b"x");
    world.delete("gone");
    world.compact();
    assert_eq!(world.offsets(), [3, 4]);
    world
}

#[test]
fn a_tombstone_lives_for_its_time_from_its_first_compaction_also_where_nothing_is_appended() {
    let world = deleted(&[("delete.retention.ms", "60s")]);
    world.pass(60 * SECOND - MS);
    assert_eq!(world.offsets(), [3, 4]);
    world.pass(MS);
    assert_eq!(world.offsets(), [3]);
}

#[test]
fn its_time_begins_once_whatever_compactions_and_starts_come_behind() {
    let mut world = deleted(&[("delete.retention.ms", "60s")]);
    for nth in 0..5 {
        world.pass(10 * SECOND);
        world.put("stays", b"again");
        if nth % 2 == 0 {
            world.restart(nth == 2);
        }
        world.compact();
        assert_eq!(world.of_key("gone"), [(4, 4)], "{nth}");
    }
    world.pass(10 * SECOND);
    assert_eq!(world.of_key("gone"), []);
}

#[test]
fn its_time_is_a_day_where_nobody_says_otherwise_and_may_be_for_ever() {
    let world = deleted(&[]);
    world.pass(DAY - MS);
    assert_eq!(world.of_key("gone").len(), 1);
    world.pass(MS);
    assert_eq!(world.of_key("gone").len(), 0);
    let world = deleted(&[("delete.retention.ms", "-1")]);
    world.pass(1_000 * DAY);
    world.compact();
    assert_eq!(world.of_key("gone").len(), 1);
}

#[test]
fn the_versions_of_an_entity_go_on_when_nothing_is_left_of_it() {
    for (compacts_behind, cleanly) in [(false, true), (false, false), (true, true), (true, false)] {
        let mut world = deleted(&[("delete.retention.ms", "1s")]);
        world.pass(HOUR);
        assert_eq!(world.offsets(), [3]);
        assert_eq!(world.latest("gone"), (Version(4), None));
        if compacts_behind {
            world.put("stays", b"again");
            world.compact();
        }
        world.restart(cleanly);
        assert_eq!(world.latest("gone"), (Version(4), None));
        assert_eq!(world.versions("gone"), (vec![], 4));
        let appended = world
            .append(Some("gone"), Some(b"back"))
            .expect("it is taken");
        assert_eq!(appended.versions, [Version(5)]);
        world.compact();
        assert_eq!(world.versions("gone"), (vec![5], 5));
    }
}

#[test]
fn with_a_tombstone_goes_what_is_before_it_of_its_key_and_nothing_behind_it() {
    let world = World::with(&[("compaction.keep", "3"), ("delete.retention.ms", "60s")]);
    world.put("a", b"1");
    world.put("a", b"2");
    world.delete("a");
    world.put("b", b"1");
    world.delete("b");
    world.put("b", b"3");
    world.compact();
    assert_eq!(world.offsets(), [0, 1, 2, 3, 4, 5]);
    world.pass(60 * SECOND);
    assert_eq!(world.offsets(), [5]);
    assert_eq!(world.latest("a"), (Version(3), None));
    assert_eq!(world.latest("b"), (Version(3), Some(b"3".to_vec())));
}

#[test]
fn a_tombstone_behind_which_the_key_was_written_again_goes_like_any_record() {
    let world = World::with(&[]);
    world.put("a", b"1");
    world.delete("a");
    world.put("a", b"3");
    world.compact();
    assert_eq!(world.of_key("a"), [(3, 2)]);
}
