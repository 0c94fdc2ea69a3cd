//! How much memory groups take, and how much they may take.

use super::{Topics, World, group_name, join, place};
use crate::{
    catalog::groups::{
        Commit, Fence, Groups, Join, Many, MemberId, Outcome, Refused, waits::JOINING,
    },
    types::{
        GroupName, Offset,
        limits::{
            GROUP_BYTES, GROUP_MEMBER_BYTES, GROUP_OFFSET_BYTES, GROUP_TOPIC_BYTES,
            MAX_OWNED_PARTITIONS, OWNED_PARTITION_BYTES,
        },
    },
};

/// The size of a member that subscribes to one topic with a name of one byte and has the client
/// name `test`.
const MEMBER: usize = GROUP_MEMBER_BYTES + 4 + GROUP_TOPIC_BYTES + 1;

impl World {
    fn commit_to(&mut self, partition: u32, next: u64, bytes: usize) -> Result<Outcome, Refused> {
        let commit = Commit {
            place: place(1, partition),
            next: Offset(next),
            metadata: vec![7; bytes].into(),
            fence: Fence::Forced,
        };
        let end = |_| Some(Offset(100));
        let decided = self
            .groups
            .decide_commit(&group_name(), vec![commit], end, 0);
        let (mut outcomes, change) = decided?;
        if let Some(change) = change {
            self.apply(change);
        }
        Ok(outcomes.remove(0))
    }

    fn refused_to_join(&self, join: Join) -> Option<Refused> {
        let joined = self
            .groups
            .decide_join(&group_name(), join, &self.topics, self.now);
        joined.err()
    }
}

/// Of what there would be more than there may be.
fn exceeded(refused: Option<Refused>) -> (Many, usize) {
    let Some(Refused::TooMany { what, count, most }) = refused else {
        panic!("{refused:?}");
    };
    assert!(count > most, "{what:?}: {count} of {most}");
    (what, most)
}

#[test]
fn all_that_groups_take_up_is_counted_and_given_back() {
    let mut world = World::new(&[("t", 3)]);
    let bytes = |world: &World| {
        let restored = Groups::restore(world.groups.snapshot(), world.now);
        assert_eq!(world.groups.bytes(), restored.bytes());
        world.groups.bytes()
    };
    assert_eq!(bytes(&world), 0);
    world.join(join(1, &["t"]));
    let joined = GROUP_BYTES + MEMBER + 3 * OWNED_PARTITION_BYTES;
    assert_eq!(bytes(&world), joined);
    world.join(Join {
        back: Some(MemberId(1)),
        name: "x".repeat(100).as_str().into(),
        ..join(1, &["t"])
    });
    assert_eq!(bytes(&world), joined + 100);
    assert_eq!(world.commit_to(0, 5, 40), Ok(Outcome::Done));
    assert_eq!(world.commit_to(1, 5, 0), Ok(Outcome::Done));
    assert_eq!(bytes(&world), joined + 100 + 2 * GROUP_OFFSET_BYTES + 40);
    assert_eq!(world.commit_to(0, 6, 10), Ok(Outcome::Done));
    assert_eq!(bytes(&world), joined + 100 + 2 * GROUP_OFFSET_BYTES + 10);
    world.leave(1);
    assert_eq!(bytes(&world), GROUP_BYTES + 2 * GROUP_OFFSET_BYTES + 10);
    let deleted = world.groups.decide_delete(&group_name());
    world.apply(deleted.expect("nobody is in it"));
    assert_eq!(bytes(&world), 0);
}

#[test]
fn where_there_is_no_room_what_is_new_is_refused_and_what_is_there_goes_on() {
    let mut world = World::new(&[("t", 2)]);
    world.join(join(1, &["t"]));
    assert_eq!(world.commit_to(0, 5, 10), Ok(Outcome::Done));
    let most = world.groups.bytes();
    world.groups.set_most_bytes(most);
    let full = (Many::Bytes, most);

    assert_eq!(exceeded(world.refused_to_join(join(2, &["t"]))), full);
    let other = GroupName::new("other").expect("it is valid");
    let joined = world
        .groups
        .decide_join(&other, join(3, &["t"]), &world.topics, world.now);
    assert_eq!(exceeded(joined.err()), full);
    let forked = world
        .groups
        .decide_fork(&group_name(), &other, true, &world.topics, 0);
    assert_eq!(exceeded(forked.err()), full);
    let set = vec![(place(1, 1), Offset(0))];
    let reset = world.groups.decide_reset(&group_name(), set, 0);
    assert_eq!(exceeded(reset.err()), full);
    assert_eq!(exceeded(world.commit_to(1, 5, 0).err()), full);
    assert_eq!(exceeded(world.commit_to(0, 6, 11).err()), full);

    assert_eq!(world.commit_to(0, 6, 10), Ok(Outcome::Done));
    let back = world.join(Join {
        back: Some(MemberId(1)),
        ..join(9, &["t"])
    });
    assert_eq!(back, MemberId(1));
    assert_eq!(world.groups.bytes(), most);
}

#[test]
fn a_member_for_whose_partitions_there_is_no_room_does_not_join() {
    let most = u32::try_from(MAX_OWNED_PARTITIONS).expect("it fits");
    let world = World::new(&[("t", most), ("u", 1)]);
    let refused = exceeded(world.refused_to_join(join(1, &["t", "u"])));
    assert_eq!(refused, (Many::Partitions, MAX_OWNED_PARTITIONS));
}

#[test]
fn new_partitions_without_room_have_no_owner_until_there_is_room() {
    let mut world = World::new(&[("t", 4)]);
    world.join(join(1, &["t"]));
    let room = |partitions: usize| partitions * OWNED_PARTITION_BYTES + OWNED_PARTITION_BYTES - 1;
    let most = world.groups.bytes() + room(3);
    world.groups.set_most_bytes(most);
    let follow = |world: &mut World, partitions| {
        world.topics = Topics::new(&[("t", partitions)]);
        for (_, change) in world.groups.on_topics(&world.topics) {
            world.apply(change);
        }
        world.shares()
    };
    assert_eq!(follow(&mut world, 10), [7], "three of six");
    assert_eq!(follow(&mut world, 10), [7]);
    world.groups.set_most_bytes(most + room(10));
    assert_eq!(follow(&mut world, 10), [10]);
}

#[test]
fn what_moves_takes_no_room() {
    let mut world = World::new(&[("t", 4)]);
    world.join(join(1, &["t"]));
    world.advance(super::DRAIN);
    world.join(join(2, &["t"]));
    world.groups.set_most_bytes(world.groups.bytes());
    world.drain(MemberId(1));
    assert_eq!(world.shares(), [2, 2]);
    world.leave(1);
    assert_eq!(world.shares(), [4]);
}

#[test]
fn a_member_that_comes_back_for_more_topics_needs_room_for_them() {
    let mut world = World::new(&[("t", 2), ("u", 3)]);
    world.join(join(1, &["t"]));
    let topic = GROUP_TOPIC_BYTES + 1;
    let needs = topic + 3 * OWNED_PARTITION_BYTES;
    let most = world.groups.bytes() + needs - 1;
    world.groups.set_most_bytes(most);
    let back = |topics: &[&str]| Join {
        back: Some(MemberId(1)),
        ..join(9, topics)
    };
    let full = (Many::Bytes, most);
    assert_eq!(exceeded(world.refused_to_join(back(&["t", "u"]))), full);
    // Names of topics that do not exist take room, too.
    let names: Vec<String> = (0..1_000).map(|at| format!("{at:0>249}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(exceeded(world.refused_to_join(back(&names))), full);
    world.groups.set_most_bytes(most + 1);
    world.join(back(&["t", "u"]));
    world.advance(JOINING);
    assert_eq!(world.shares(), [5]);
    assert_eq!(world.groups.bytes(), most + 1);

    // With the same topics or fewer, the member can come back however little room is left.
    world.groups.set_most_bytes(0);
    for topics in [&["t", "u"][..], &["u"], &["u"]] {
        assert_eq!(world.join(back(topics)), MemberId(1));
    }
    let refused = exceeded(world.refused_to_join(back(&["t", "u"])));
    assert_eq!(refused, (Many::Bytes, 0));
}
