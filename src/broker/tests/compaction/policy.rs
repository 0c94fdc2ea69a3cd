//! Settings, and records that compaction must leave alone.

use super::world::{HOUR, TOPIC, World, named};
use crate::broker::{Error, tests::world::now};

#[test]
fn records_without_a_key_are_refused_and_those_that_were_there_stay() {
    let world = World::with(&[("cleanup.policy", "delete")]);
    for nth in 0..60 {
        world
            .append(None, Some(&[nth; 1_000]))
            .expect("it is taken");
        world.put("a", &[nth; 1_000]);
    }
    world.alter(&[("cleanup.policy", "compact")]);
    let refused = world.append(None, Some(b"x")).expect_err("it has no key");
    let expected = Error::KeyRequired {
        topic: TOPIC.to_owned(),
        index: 0,
    };
    assert_eq!(refused, expected);
    world.compact();
    let found = world.read();
    let without_key = found.iter().filter(|found| found.key.is_none());
    assert_eq!(without_key.count(), 60, "they are of no entity");
    assert_eq!(world.of_key("a"), [(60, 119)]);
}

#[test]
fn topics_with_plain_keys_cannot_be_compacted() {
    let world = World::with(&[]);
    let settings = named(&[("keys", "plain"), ("cleanup.policy", "compact")]);
    let refused = world.broker.create_topic("plain", 1, &settings).map(drop);
    let error = refused.expect_err("it has no versions").to_string();
    assert!(error.contains("keys=plain"), "{error}");
    let created = world
        .broker
        .create_topic("plain", 1, &named(&[("keys", "plain")]));
    world.broker.commit_all();
    now(created.expect("good"))
        .expect("an answer")
        .expect("nothing fails");
    let altered = world
        .broker
        .alter_topic(
            "plain",
            &named(&[("cleanup.policy", "compact,delete")]),
            &[],
        )
        .map(drop);
    altered.expect_err("it has no versions");
}

#[test]
fn limits_remove_nothing_where_compaction_alone_cleans_up() {
    let world = World::with(&[("retention.ms", "60s"), ("retention.bytes", "256KiB")]);
    for nth in 0..200u32 {
        world.put(&format!("key {nth}"), &[1; 5_000]);
    }
    world.pass(HOUR);
    world.compact();
    assert_eq!(world.offsets().len(), 200);
    let longest = world
        .broker
        .describe_topic(TOPIC)
        .expect("there")
        .0
        .settings
        .longest_life_ms();
    assert_eq!(longest, None);
    world.alter(&[("cleanup.policy", "compact,delete")]);
    world.settle();
    assert_eq!(world.described().earliest.0, 200);
}

#[test]
fn a_topic_that_is_not_compacted_is_not_compacted_on_command() {
    let world = World::with(&[("cleanup.policy", "delete")]);
    let refused = world.broker.compact_topic(TOPIC).map(drop);
    let expected = Error::NotCompacted {
        topic: TOPIC.to_owned(),
    };
    assert_eq!(refused.expect_err("it is not"), expected);
    assert_eq!(world.described().compaction, None);
}
