//! What is shown of a group: its lag in records and in time, and which partitions make no progress.

use std::{collections::BTreeSet, time::Duration};

use super::{
    super::world::{create, describe_all},
    world::{JOINING, World, join, join_named},
};
use crate::{
    broker::{
        groups::{CommitOutcome, DescribedGroup, DescribedPartition, GroupState, JoinGroup},
        lock,
    },
    types::{Offset, PartitionId},
};

const MINUTE: Duration = Duration::from_secs(60);

fn described(world: &World) -> DescribedGroup {
    world
        .broker()
        .describe_group(&describe_all("g"))
        .expect("it is there")
}

fn partition(world: &World, at: u32) -> DescribedPartition {
    let partitions = described(world).partitions;
    let found = partitions.into_iter().find(|of| of.place.1.0 == at);
    found.expect("the group has it")
}

fn stalled(world: &World) -> usize {
    let (listed, are_more) = world
        .broker()
        .list_groups("", "", 10, |_| true, &Default::default());
    assert!(!are_more);
    listed[0].stalled
}

#[test]
fn a_stuck_member_shows_as_stalled_within_a_minute_and_not_before() {
    let mut world = World::with_topic("t", 2);
    let mut member = world.join(join());
    world.advance(MINUTE);
    assert_eq!(stalled(&world), 0, "there is nothing to read");
    world.append("t", 1, 3);
    member.take_all();
    world.advance(MINUTE - Duration::from_millis(1));
    assert_eq!(stalled(&world), 0);
    world.advance(Duration::from_millis(1));
    assert_eq!(stalled(&world), 1);
    let stuck = partition(&world, 1);
    let now = 1_700_000_000_000 + 120_000 + JOINING.as_millis() as i64;
    assert_eq!(stuck.stalled_since_ms, Some(now - 60_000));
    assert_eq!(
        (stuck.lag, stuck.lag_exact, stuck.lag_ms),
        (3, true, 60_000)
    );
    assert_eq!(partition(&world, 0).stalled_since_ms, None);

    let place = world.place("t", 1);
    member.commit(&world, place);
    assert_eq!(stalled(&world), 0);
    let done = partition(&world, 1);
    assert_eq!((done.lag, done.lag_ms, done.stalled_since_ms), (0, 0, None));
    let committed = done.committed.expect("it has committed");
    assert_eq!((committed.next, committed.at_ms), (Offset(3), now));
}

#[test]
fn a_partition_is_stalled_also_if_its_owner_crashes_again_and_again() {
    let mut world = World::with_topic("t", 1);
    world.append("t", 0, 3);
    for _ in 0..12 {
        let mut member = world.join(join_named("one"));
        member.take_all();
        world.advance(Duration::from_secs(5));
    }
    assert_eq!(stalled(&world), 1);
    let mut member = world.join(join_named("one"));
    member.take_all();
    let place = world.place("t", 0);
    member.commit(&world, place);
    world.append("t", 0, 1);
    assert_eq!(stalled(&world), 0, "it has made progress");
}

#[test]
fn a_partition_is_stalled_also_if_it_is_taken_again_and_again() {
    let mut world = World::with_topic("t", 1);
    world.append("t", 0, 3);
    let mut member = world.join(JoinGroup {
        progress: Some(Duration::from_secs(20)),
        ..join()
    });
    let mut generations = BTreeSet::new();
    for _ in 0..6 {
        member.take_all();
        generations.extend(member.has.values().map(|has| has.generation));
        assert_eq!(stalled(&world), 0);
        world.advance(Duration::from_secs(10));
    }
    assert!(generations.len() > 1, "it was taken: {generations:?}");
    assert_eq!(stalled(&world), 1);
}

#[test]
fn a_stalled_partition_is_told_in_the_log_once_and_counted() {
    let mut world = World::with_topic("t", 1);
    let mut member = world.join(join());
    world.append("t", 0, 1);
    member.take_all();
    let said = |world: &World| {
        let maintenance = &world.broker().shared.maintenance;
        lock(&maintenance.housekeeper).group_watch.count
    };
    let look = |world: &World| {
        let shared = &world.broker().shared;
        let mut housekeeper = lock(&shared.maintenance.housekeeper);
        shared.watch_groups(&mut housekeeper.group_watch);
    };
    for _ in 0..20 {
        world.advance(Duration::from_secs(10));
        look(&world);
    }
    assert_eq!(said(&world), 1);
    let place = world.place("t", 0);
    member.commit(&world, place);
    world.append("t", 0, 1);
    for _ in 0..20 {
        world.advance(Duration::from_secs(10));
        look(&world);
    }
    assert_eq!(said(&world), 2);
}

#[test]
fn a_paused_partition_is_shown_as_paused_and_not_as_stalled() {
    let mut world = World::with_topic("t", 1);
    let mut member = world.join(join());
    member.take_all();
    world.append("t", 0, 3);
    let place = world.place("t", 0);
    member.session.pause(&[place]);
    world.advance(2 * MINUTE);
    let paused = partition(&world, 0);
    assert!(paused.is_paused);
    assert_eq!((paused.lag, paused.stalled_since_ms), (3, None));
    assert_eq!(stalled(&world), 0);
}

#[test]
fn paused_time_does_not_count_as_stalled_time() {
    let mut world = World::with_topic("t", 2);
    let mut member = world.join(join());
    world.append("t", 0, 3);
    world.append("t", 1, 3);
    member.take_all();
    let (place, other) = (world.place("t", 0), world.place("t", 1));
    world.advance(MINUTE / 2);
    for _ in 0..10 {
        member.session.pause(&[place]);
        world.advance(MINUTE);
        member.session.resume(&[place]);
    }
    assert_eq!(stalled(&world), 1, "the other one, which was not paused");
    assert_eq!(partition(&world, 0).stalled_since_ms, None);
    world.advance(MINUTE / 2 - Duration::from_millis(1));
    assert_eq!(partition(&world, 0).stalled_since_ms, None);
    world.advance(Duration::from_millis(1));
    let now = 1_700_000_000_000 + 11 * 60_000 + JOINING.as_millis() as i64;
    assert_eq!(partition(&world, 0).stalled_since_ms, Some(now - 60_000));
    assert_eq!(member.commit(&world, other), CommitOutcome::Done);
    assert_eq!(stalled(&world), 1);

    // Nor does a partition stand still if its record came after a pause, or if the stream broke
    // during a pause.
    member.session.pause(&[other]);
    world.advance(MINUTE);
    member.session.resume(&[other]);
    world.append("t", 1, 1);
    member.session.pause(&[other]);
    world.advance(2 * MINUTE);
    drop(member);
    let mut member = world.join(join());
    member.take_all();
    assert_eq!(partition(&world, 1).stalled_since_ms, None);
    world.advance(MINUTE);
    assert!(partition(&world, 1).stalled_since_ms.is_some());
}

#[test]
fn lag_counts_records_that_are_there_and_nothing_else() {
    let mut world = World::with_topic("t", 1);
    let mut member = world.join(join());
    world.append("t", 0, 10);
    member.take_all();
    assert_eq!(partition(&world, 0).lag, 10, "nothing is committed");
    let trimmed = world.broker().trim("t", PartitionId(0), Offset(4));
    world.broker().commit_all();
    drop(trimmed.expect("it may be"));
    let behind = partition(&world, 0);
    assert_eq!((behind.lag, behind.earliest), (6, Offset(4)));
    assert_eq!(behind.high_watermark, Offset(10));
    let place = world.place("t", 0);
    member.commit(&world, place);
    world.append("t", 0, 2);
    assert_eq!(partition(&world, 0).lag, 2);
}

#[test]
fn a_group_that_a_commit_has_made_is_empty_since_then() {
    let world = World::with_topic("t", 1);
    world.advance(MINUTE);
    world.reset(world.place("t", 0), Offset(0));
    let made_ms = 1_700_000_000_000 + 60_000;
    world.advance(MINUTE);
    let group = described(&world);
    assert_eq!((group.state, group.since_ms), (GroupState::Empty, made_ms));
}

#[test]
fn a_group_says_what_its_members_name_and_there_is_not() {
    let world = World::with_topic("t", 1);
    let _member = world.join(JoinGroup {
        topics: vec!["t".to_owned(), "typo".to_owned()],
        prefixes: vec!["t".to_owned(), "logs.".to_owned(), "x".to_owned()],
        ..join()
    });
    let group = described(&world);
    let missing = "there is no topic \"typo\"; no topic's name begins with \"logs.\", \"x\"";
    assert!(group.reason.ends_with(missing), "{}", group.reason);
}

#[test]
fn a_group_says_what_it_waits_for() {
    let world = World::with_topic("t", 2);
    assert!(world.broker().describe_group(&describe_all("g")).is_err());
    let first = world.join(join_named("one"));
    let group = described(&world);
    assert_eq!(group.state, GroupState::Stable);
    assert_eq!(group.reason, "its member has all of its partitions");
    let live = group.members[0].live.clone().expect("its stream is open");
    assert_eq!(
        (live.address.as_str(), &*group.members[0].name),
        ("test", "one")
    );
    let second = world.join(join_named("two"));
    let moving = described(&world);
    assert_eq!(moving.state, GroupState::Moving);
    assert!(moving.reason.contains("\"one\""), "{}", moving.reason);
    drop(second);
    // The broken stream is noticed when the broker looks at deadlines.
    world.broker().shared.keep_groups();
    let waiting = described(&world);
    assert_eq!(waiting.state, GroupState::Waiting);
    assert!(waiting.reason.contains("\"two\""), "{}", waiting.reason);
    drop(first);
    world.advance(2 * MINUTE);
    let empty = described(&world);
    assert_eq!((empty.state, empty.members.len()), (GroupState::Empty, 0));
}

#[test]
fn partitions_that_nobody_has_committed_are_shown_with_what_is_unread() {
    let mut world = World::with_topic("t", 2);
    world.append("t", 0, 3);
    world.append("t", 1, 5);
    let mut member = world.join(join());
    member.take_all();
    let place = world.place("t", 0);
    assert_eq!(member.commit(&world, place), CommitOutcome::Done);
    drop(member.session.leave());
    world.broker().commit_all();
    assert_eq!((partition(&world, 0).lag, partition(&world, 1).lag), (0, 5));
    let (listed, _) = world
        .broker()
        .list_groups("", "", 10, |_| true, &Default::default());
    assert_eq!((listed[0].partitions, listed[0].lag), (2, 5));
}

#[test]
fn partitions_without_an_owner_for_want_of_room_are_told_and_given_when_there_is_room() {
    let world = World::with_topic("t", 1);
    let mut member = world.join(JoinGroup {
        prefixes: vec!["m".to_owned()],
        ..join()
    });
    member.take_all();
    world.reset_of("other", world.place("t", 0), Offset(0));
    let all = world.broker().shared.sequencer.planned().groups().bytes();
    let bound = |bytes| {
        let mut planned = world.broker().shared.sequencer.planned();
        planned.groups_mut().set_most_bytes(bytes);
    };
    bound(all);
    create(world.broker(), "more", 3);
    world.advance(JOINING);
    member.take_all();
    assert_eq!(member.has.len(), 1);
    let group = described(&world);
    assert_eq!(group.state, GroupState::Moving);
    let reason = "3 partitions have no owner: groups have no room for more";
    assert!(group.reason.starts_with(reason), "{}", group.reason);
    assert_eq!(group.partitions.len(), 4);

    let deleted = world.broker().delete_group("other");
    world.broker().commit_all();
    drop(deleted.expect("nobody is in it"));
    world.advance(JOINING);
    member.take_all();
    assert!(member.has.len() > 1, "{:?}", member.has);
}
