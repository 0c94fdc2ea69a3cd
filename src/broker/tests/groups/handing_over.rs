//! Partitions that go from one member to another.

use std::time::Duration;

use super::{
    super::world::create,
    world::{DRAIN, SESSION, World, join, join_named},
};
use crate::{
    broker::{
        Error, Meant,
        groups::{CommitOutcome, Event, JoinGroup},
    },
    catalog::groups::Generation,
};

/// Longer than it takes until members that joined are given their partitions.
const MOMENT: Duration = Duration::from_secs(1);

#[test]
fn a_partition_goes_to_its_next_owner_when_the_old_one_has_handed_it_over() {
    let mut world = World::with_topic("t", 2);
    world.append("t", 0, 3);
    let ids = world.append("t", 1, 3);
    let mut old = world.join(join());
    old.take_all();
    let mut new = world.join(join());
    world.advance(MOMENT);
    // The old owner may take its time, but gets no further records.
    let more = world.append("t", 1, 2);
    world.advance(DRAIN - 2 * MOMENT);
    assert_eq!(new.take_all(), 0);
    old.take_all();
    assert_eq!(old.partitions(), [0]);
    assert_eq!(old.got.len(), 6);
    let place = world.place("t", 1);
    let mut has = old.has[&world.place("t", 0)].clone();
    has.generation = world.state("g").owned[&place].since;
    has.next = crate::types::Offset(2);
    let done = old.commit_at(&world, place, &has);
    assert_eq!(done, Ok(CommitOutcome::Done), "it is its own still");
    assert_eq!(old.hand_over(), 1);
    world.broker().commit_all();
    assert_eq!(new.ids(), [&ids[2..], &more].concat());
    let late = old.commit_at(&world, place, &has);
    assert!(matches!(late, Ok(CommitOutcome::Fenced { .. })), "{late:?}");
}

#[test]
fn the_last_partition_of_a_topic_is_handed_over_at_once() {
    let mut world = World::with_topic("t", 1);
    create(world.broker(), "u", 1);
    let both = || JoinGroup {
        topics: vec!["t".to_owned(), "u".to_owned()],
        ..join()
    };
    let mut old = world.join(both());
    old.take_all();
    assert_eq!(old.has.len(), 2);
    let mut new = world.join(both());
    old.take_all();
    let [place] = old.to_hand_over[..] else {
        panic!("it is to hand over one: {:?}", old.to_hand_over);
    };
    let topic = old.leaving[&place].topic.clone();
    old.hand_over();
    world.broker().commit_all();
    let ids = world.append(&topic, 0, 3);
    assert_eq!(new.ids(), ids);
    assert_eq!(new.has.len(), 1);
}

#[test]
fn a_partition_is_taken_from_who_does_not_hand_it_over_in_time() {
    let mut world = World::with_topic("t", 2);
    world.append("t", 1, 3);
    let mut old = world.join(join());
    old.take_all();
    let mut new = world.join(join());
    old.take_all();
    world.advance(DRAIN - MOMENT);
    assert_eq!(new.take_all(), 0);
    world.advance(MOMENT);
    assert_eq!(new.ids().len(), 3);
    assert_eq!(new.partitions(), [1]);
    assert_eq!(old.partitions(), [0]);
}

#[test]
fn the_time_to_hand_over_is_told_and_none_is_left_of_what_is_gone() {
    let world = World::with_topic("t", 2);
    let mut old = world.join(join());
    old.take_all();
    let mut new = world.join(join());
    let Ok(Some(Event::Revoked { partitions, time })) = old.take() else {
        panic!("it is to hand over");
    };
    assert_eq!(partitions.len(), 1);
    assert!(time > DRAIN - MOMENT && time <= DRAIN, "{time:?}");
    old.hand_over();
    world.broker().commit_all();
    world.settle(&mut [&mut old, &mut new]);
    // A third member, which takes no events for a while.
    let mut third = world.join(join());
    drop(new.session.leave().expect("it is a member"));
    world.broker().commit_all();
    world.advance(MOMENT);
    third.take_all();
    old.take_all();
    assert_eq!(old.partitions().len() + third.partitions().len(), 2);
}

#[test]
fn who_was_never_given_a_partition_on_this_stream_has_nothing_to_hand_over() {
    let world = World::with_topic("t", 2);
    let mut old = world.join(join_named("a"));
    old.take_all();
    let mut new = world.join(join_named("b"));
    world.advance(MOMENT);
    drop(old);
    let mut old = world.join(join_named("a"));
    old.take_all();
    assert_eq!(old.partitions(), [0]);
    assert!(old.to_hand_over.is_empty());
    world.broker().commit_all();
    new.take_all();
    assert_eq!(new.partitions(), [1]);
}

#[test]
fn who_leaves_leaves_its_partitions_to_others_at_once() {
    let world = World::with_topic("t", 4);
    let mut a = world.join(join());
    let mut b = world.join(join());
    world.advance(MOMENT);
    world.settle(&mut [&mut a, &mut b]);
    assert_eq!((a.partitions().len(), b.partitions().len()), (2, 2));
    drop(a.session.leave().expect("it is a member"));
    world.broker().commit_all();
    b.take_all();
    assert_eq!(b.partitions(), [0, 1, 2, 3]);
}

#[test]
fn who_does_not_come_back_in_its_sessions_time_loses_its_partitions() {
    let world = World::with_topic("t", 4);
    let mut a = world.join(join());
    let mut b = world.join(join());
    world.advance(MOMENT);
    world.settle(&mut [&mut a, &mut b]);
    drop(a);
    world.advance(SESSION - Duration::from_millis(1));
    assert_eq!(b.take_all(), 0);
    world.advance(Duration::from_millis(1));
    b.take_all();
    assert_eq!(b.partitions(), [0, 1, 2, 3]);
}

#[test]
fn nobody_commits_a_partition_that_another_member_has() {
    let mut world = World::with_topic("t", 2);
    world.append("t", 0, 4);
    world.append("t", 1, 4);
    let mut a = world.join(join());
    let mut b = world.join(join());
    world.advance(MOMENT);
    world.settle(&mut [&mut a, &mut b]);
    let (place, has) = b.has.pop_first().expect("it has one");
    for generation in 0..=world.state("g").generation.0 {
        let of_another = super::world::Has {
            generation: Generation(generation),
            ..has.clone()
        };
        let outcome = a.commit_at(&world, place, &of_another);
        assert!(
            matches!(outcome, Ok(CommitOutcome::Fenced { .. })),
            "{outcome:?} with generation {generation}"
        );
    }
}

#[test]
fn a_late_member_is_refused_what_it_commits_after_its_partition_went_to_another() {
    let mut world = World::with_topic("t", 1);
    let ids = world.append("t", 0, 4);
    let mut late = world.join(JoinGroup {
        heartbeat: true,
        ..join()
    });
    let mut other = world.join(join());
    world.advance(MOMENT);
    assert_eq!(late.ids(), ids);
    let place = world.place("t", 0);
    let has = late.has[&place].clone();
    world.advance(SESSION);
    assert_eq!(other.ids(), ids);
    let refused = late.commit_at(&world, place, &has);
    assert!(matches!(refused, Err(Error::SessionEnded { .. })));
    assert_eq!(other.commit(&world, place), CommitOutcome::Done);
}

#[test]
fn new_partitions_and_topics_are_given_to_members_that_take_them() {
    let world = World::with_topic("t", 1);
    let mut member = world.join(JoinGroup {
        topics: Vec::new(),
        prefixes: vec!["t".to_owned()],
        ..join()
    });
    member.take_all();
    create(world.broker(), "t2", 3);
    world.advance(MOMENT);
    member.take_all();
    assert_eq!(member.has.len(), 4);
}

#[test]
fn partitions_that_a_topic_gets_are_given_to_its_members() {
    let mut world = World::new(1);
    let settings = [("keys".to_owned(), "plain".to_owned())].into();
    let created = world.broker().create_topic("t", 2, &settings);
    world.broker().commit_all();
    drop(created.expect("it may be"));
    let mut member = world.join(join());
    member.take_all();
    assert_eq!(member.partitions(), [0, 1]);
    let added = world.broker().add_partitions(Meant::from("t"), 4);
    world.broker().commit_all();
    drop(added.expect("it may be"));
    world.broker().shared.keep_groups();
    world.broker().commit_all();
    let ids = world.append("t", 3, 2);
    assert_eq!(member.ids(), ids);
    assert_eq!(member.partitions(), [0, 1, 2, 3]);
}
