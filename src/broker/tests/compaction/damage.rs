//! What prevents the compaction of a partition, and what works all the same.

use super::{
    trimmed::trim_partition,
    world::{HOUR, PARTITION, SECOND, START_MS, TOPIC, World, try_read},
};
use crate::{
    broker::{
        Meant, Options,
        tests::{
            faults::full::leave,
            world::{now, options},
        },
    },
    env::sim::{Fault, OpKind, fault::EMFILE},
    types::Offset,
};

/// A world whose topic has no compaction yet.
fn not_yet(settings: &[(&str, &str)]) -> World {
    let mut all = vec![("cleanup.policy", "delete")];
    all.extend(settings);
    World::with(&all)
}

/// A world with sixty records of one key in several segments, whose topic has been compacted only
/// since they were appended.
fn about_to_be_compacted() -> World {
    let world = not_yet(&[]);
    for nth in 0..60u8 {
        world.put("a", &[nth; 4_000]);
    }
    world.broker.keep_house(true);
    world.alter(&[("cleanup.policy", "compact")]);
    world
}

#[test]
fn a_segment_with_damage_stays_as_it_is_and_so_do_tombstones_behind_it() {
    let mut world = not_yet(&[("delete.retention.ms", "1s")]);
    world.put("a", b"before the damage");
    world.put("filler", &[1; 40_000]);
    world.roll();
    world.delete("a");
    world.roll();
    world.restart(true);
    let first = world.dir().join("00000000000000000000.log");
    world
        .disk
        .zero(&first, 20_000..20_100)
        .expect("it is there");
    let before = world.disk.content(&first).expect("it is there");
    world.alter(&[("cleanup.policy", "compact")]);
    world.compact();
    let after = world.disk.content(&first).expect("it is there");
    assert!(before == after, "nothing is removed because it is damaged");
    let problem = world.compaction().problem.expect("there is damage");
    assert_eq!(problem.again_ms, None, "{problem:?}");
    assert_eq!(world.broker.status().hindered_compactions, 1);
    world.pass(HOUR);
    let read = try_read(&world.broker, 2);
    let (found, _) = read.expect("it is behind the damage");
    let tombstone = found.iter().find(|found| found.key.as_deref() == Some("a"));
    assert!(tombstone.is_some(), "{found:?}");
}

#[test]
fn damage_is_told_of_again_after_a_restart_and_until_it_is_gone() {
    let mut world = not_yet(&[]);
    for nth in 0..60u8 {
        world.put("a", &[nth; 4_000]);
    }
    world.restart(true);
    let first = world.dir().join("00000000000000000000.log");
    let zeroed = world.disk.zero(&first, 20_000..20_100);
    zeroed.expect("it is there");
    world.alter(&[("cleanup.policy", "compact")]);
    world.compact();
    let problem = world.compaction().problem.expect("there is damage");
    assert!(
        problem.cause.contains("between offsets 0 and"),
        "{problem:?}"
    );
    let clean_to = world.compaction().clean_to;
    world.pass(HOUR);
    let passes = world.broker.shared.counts.compaction.passes.get();
    world.pass(HOUR);
    let later = world.broker.shared.counts.compaction.passes.get();
    assert_eq!(passes, later, "nothing is compacted again and again");

    world.restart(true);
    world.pass(2 * SECOND);
    assert_eq!(world.compaction().problem, Some(problem));
    assert_eq!(world.compaction().clean_to, clean_to);
    assert_eq!(world.broker.status().hindered_compactions, 1);

    trim_partition(&world, 59);
    world.pass(2 * SECOND);
    assert_eq!(world.compaction().problem, None);
    assert_eq!(world.broker.status().hindered_compactions, 0);
}

#[test]
fn a_full_disk_hinders_a_partition_until_there_is_room() {
    let world = about_to_be_compacted();
    world.disk.set_capacity(0);
    let compacted = world.broker.compact_topic(TOPIC);
    let compacted = compacted.expect("it is compacted");
    world.settle();
    let done = now(compacted).expect("whoever asked is told");
    done.expect("the description says what is in the way");
    let problem = world.compaction().problem.expect("there is no room");
    assert!(problem.again_ms.is_some(), "{problem:?}");
    assert_eq!(world.broker.status().hindered_compactions, 1);
    assert_eq!(world.offsets().len(), 60);
    world.disk.set_capacity(u64::MAX);
    world.pass(30 * SECOND);
    world.compact();
    assert_eq!(world.offsets(), [59]);
    assert_eq!(world.compaction().problem, None);
    assert_eq!(world.broker.status().hindered_compactions, 0);
}

#[test]
fn a_disk_that_its_appends_have_filled_is_freed_by_compaction() {
    let options = Options {
        disk_reserve_bytes: 128 << 10,
        ..options()
    };
    let world = World::with_options(&[("cleanup.policy", "delete")], options);
    world.broker.keep_house(true);
    for nth in 0..60u8 {
        world.put("a", &[nth; 4_000]);
    }
    world.broker.keep_house(true);
    world.alter(&[("cleanup.policy", "compact")]);
    // Not a segment more than the reserve, half of which is in its file.
    leave(&world.disk, 64 << 10);
    world.broker.keep_house(true);
    assert!(
        world.append(Some("a"), Some(&[0; 100])).is_err(),
        "the disk is full"
    );
    world.compact();
    assert_eq!(world.compaction().problem, None);
    assert_eq!(world.offsets(), [59]);
    let would = world
        .broker
        .preview_trim(Meant::from(TOPIC), PARTITION, Offset(60), true);
    assert_eq!(would.expect("in range").records, 1, "of sixty offsets");
    world.broker.keep_house(true);
    world.broker.keep_house(true);
    world.put("a", &[0; 100]);
}

#[test]
fn an_error_that_passes_is_tried_again_at_a_stated_time() {
    let world = about_to_be_compacted();
    let fault = Fault::on(OpKind::Create).in_path(".log.new").errno(EMFILE);
    world.disk.inject(fault);
    drop(world.broker.compact_topic(TOPIC).expect("it is compacted"));
    world.settle();
    let problem = world
        .compaction()
        .problem
        .expect("there are no descriptors");
    let again_ms = problem.again_ms.expect("it is tried again");
    assert!((START_MS + 30_000..START_MS + 31_000).contains(&again_ms));
    assert_eq!(world.offsets().len(), 60);
    world.pass(30 * SECOND);
    assert_eq!(world.offsets(), [59]);
    assert_eq!(world.compaction().problem, None);
}

#[test]
fn a_file_that_cannot_be_read_is_told_where_it_would_say_how_far_a_partition_is_clean() {
    let mut world = about_to_be_compacted();
    world.compact();
    let clean_to = world.compaction().clean_to;
    world.restart(true);
    let fault = Fault::on(OpKind::Open).in_path("compacted").errno(EMFILE);
    world.disk.inject(fault);
    let described = world.compaction();
    let problem = described.problem.expect("nobody can tell");
    assert!(problem.again_ms.is_some(), "{problem:?}");
    assert!(problem.cause.contains("compacted"), "{problem:?}");
    assert_eq!(world.compaction().clean_to, clean_to, "it has passed");
    assert_eq!(world.compaction().problem, None);
}
