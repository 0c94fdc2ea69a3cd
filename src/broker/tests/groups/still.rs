//! Groups while the clock stands still: what happens within one millisecond has an order all the
//! same.

use bytes::Bytes;

use super::world::{World, end_of, join, join_named};
use crate::{
    broker::{
        Error, Meant, TopicFilter,
        groups::{CommitOutcome, GroupOffset, JoinGroup, NoOffset, ResetGroup, ResetTo},
    },
    env::{Clock, sim::CrashMode},
    types::{Offset, PartitionId, Position},
};

/// Joins at the end.
fn latest() -> JoinGroup {
    JoinGroup {
        no_offset: NoOffset::Start(Position::Latest),
        ..join()
    }
}

/// Ways in which group `g` begins, where topic `t` has one partition with a record.
const BEGINNINGS: [fn(&World); 3] = [join_and_leave, commit_from_outside, reset_to_the_end];

fn join_and_leave(world: &World) {
    let mut member = world.try_join(latest()).expect("it may be");
    member.take_all();
    let left = member.session.leave();
    world.settled(left).expect("it is a member");
}

fn commit_from_outside(world: &World) {
    let offset = GroupOffset {
        topic: "t".to_owned(),
        topic_id: None,
        partition: PartitionId(0),
        next_offset: Offset(1),
        metadata: Bytes::new(),
        generation: None,
        member: None,
    };
    let committed = world.broker().commit_offsets("g", vec![offset], false);
    let outcomes = world.settled(committed).expect("it may be");
    assert_eq!(outcomes, [CommitOutcome::Done]);
}

fn reset_to_the_end(world: &World) {
    assert_eq!(reset_to(world, Position::Latest), Offset(1));
}

/// Resets group `g` in topic `t`, which has one partition; returns where to.
fn reset_to(world: &World, position: Position) -> Offset {
    let reset = world.broker().reset_group(ResetGroup {
        group: "g".to_owned(),
        to: ResetTo::Position(position),
        topics: vec!["t".to_owned()],
        partitions: Vec::new(),
        among: TopicFilter::default(),
        dry_run: false,
    });
    let set = world.settled(reset).expect("it may be");
    assert_eq!(set.len(), 1);
    set[0].next
}

#[test]
fn a_partition_that_comes_in_the_millisecond_in_which_a_group_began_is_read_from_its_beginning() {
    for begin in BEGINNINGS {
        let mut world = World::new(1);
        world.create_plain("t", 1);
        let stands_at = world.clock.elapsed();
        world.append("t", 0, 1);
        begin(&world);
        let added = world.broker().add_partitions(Meant::from("t"), 2);
        world.settled(added).expect("it may be");
        let ids = world.append("t", 1, 2);
        assert_eq!(world.clock.elapsed(), stands_at);

        let mut member = world.join(latest());
        let mut read = member.ids();
        world.broker().commit_all();
        read.extend(member.ids());
        assert_eq!(read, ids, "and nothing that was there before the group");
    }
}

#[test]
fn a_time_divides_what_was_appended_before_a_group_began_from_what_came_after() {
    for begin in BEGINNINGS {
        let mut world = World::with_topic("t", 1);
        world.append("t", 0, 1);
        begin(&world);
        world.append("t", 0, 1);
        let began_ms = world.state("g").began_ms.expect("it has begun");
        let stands_at = world.clock.elapsed();
        let after = reset_to(&world, Position::Timestamp(began_ms + 1));
        assert_eq!(after, Offset(1));
        let before = reset_to(&world, Position::Timestamp(began_ms));
        assert_eq!(before, Offset(0));
        assert_eq!(world.clock.elapsed(), stands_at);
    }
}

#[test]
fn commits_and_resets_count_in_the_order_in_which_they_came() {
    let mut world = World::with_topic("t", 1);
    let mut member = world.join(join());
    let stands_at = world.clock.elapsed();
    let ids = world.append("t", 0, 3);
    assert_eq!(member.ids(), ids);
    let place = world.place("t", 0);
    assert_eq!(member.commit(&world, place), CommitOutcome::Done);
    let committed = Offset(3);
    let again = member.commit(&world, place);
    assert_eq!(again, CommitOutcome::Unchanged { committed });

    let had = member.has[&place].clone();
    world.reset(place, Offset(1));
    let late = member.commit_at(&world, place, &had);
    assert!(
        matches!(late, Ok(CommitOutcome::Fenced { .. })),
        "what was read before the reset does not count: {late:?}"
    );
    assert_eq!(member.ids(), ids[1..]);
    assert_eq!(member.commit(&world, place), CommitOutcome::Done);
    let more = world.append("t", 0, 1);
    assert_eq!(member.ids(), more);
    assert_eq!(member.commit(&world, place), CommitOutcome::Done);

    let state = world.state("g");
    assert_eq!(state.offsets[&place].next, Offset(4));
    world.kill(CrashMode::LoseUnsynced);
    world.start();
    assert_eq!(world.state("g"), state);
    assert_eq!(world.clock.elapsed(), stands_at);
}

#[test]
fn the_later_of_two_joins_has_the_member() {
    let mut world = World::with_topic("t", 1);
    let mut first = world.try_join(join_named("m")).expect("it may be");
    first.take_all();
    let mut second = world.try_join(join_named("m")).expect("it may be");
    let fenced = end_of(&mut first);
    assert!(matches!(fenced, Error::MemberFenced { .. }), "{fenced:?}");
    drop(first);
    let ids = world.append("t", 0, 1);
    assert_eq!(second.ids(), ids);
}
