//! An erasure wins over compaction, even in the middle of a pass.

use super::world::{HOUR, SECOND, TOPIC, World};
use crate::{broker::tests::world::now, types::Version};

fn erase(world: &World, key: &str) -> u64 {
    let erased = world.broker.erase_key(TOPIC, key.as_bytes());
    world.broker.commit_all();
    let erased = now(erased.expect("it is taken")).expect("an answer");
    erased.expect("nothing fails").id
}

fn is_complete(world: &World, id: u64) -> bool {
    let erasure = world.broker.describe_erasure(id);
    erasure.expect("it is known").complete
}

#[test]
fn an_erasure_under_a_pass_is_complete_and_its_bytes_do_not_come_back() {
    // A pass has about this many steps; the erasure is tried after each of them.
    for steps in 0..30 {
        let world = World::with(&[("delete.retention.ms", "1s"), ("compaction.keep", "2")]);
        for nth in 0..40u8 {
            world.put(
                "the secret key",
                format!("the secret value {nth:04}").as_bytes(),
            );
            world.put(&format!("other {nth}"), &[nth; 5_000]);
        }
        world.delete("the secret key");
        world.compact();
        world.clock.advance(2 * SECOND);
        drop(world.broker.compact_topic(TOPIC).expect("it is compacted"));
        for _ in 0..steps {
            world.broker.step();
            world.broker.commit_all();
        }
        let id = erase(&world, "the secret key");
        for _ in 0..20 {
            world.settle();
        }
        assert!(is_complete(&world, id), "{steps}");
        world.pass(HOUR);
        world.broker.keep_house(true);
        for secret in ["the secret key", "the secret value"] {
            assert!(!world.has_bytes(secret.as_bytes()), "{steps}: {secret}");
        }
        assert_eq!(world.latest("the secret key").0, Version(41), "{steps}");
        assert_eq!(world.of_key("other 0").len(), 1);
    }
}

#[test]
fn an_erased_entity_goes_like_a_tombstone_and_its_versions_go_on() {
    let mut world = World::with(&[("delete.retention.ms", "60s")]);
    for nth in 0..30u8 {
        world.put("erased", &[nth; 3_000]);
    }
    world.put("stays", b"x");
    let id = erase(&world, "erased");
    for _ in 0..5 {
        world.settle();
        world.broker.keep_house(true);
    }
    assert!(is_complete(&world, id));
    world.compact();
    let found = world.read();
    assert_eq!(found.iter().filter(|found| found.is_erased).count(), 1);
    world.pass(60 * SECOND);
    assert_eq!(world.offsets(), [30]);
    for cleanly in [true, false] {
        world.restart(cleanly);
        assert_eq!(world.latest("erased"), (Version(30), None));
    }
    let appended = world
        .append(Some("erased"), Some(b"new"))
        .expect("it is taken");
    assert_eq!(appended.versions, [Version(31)]);
}
