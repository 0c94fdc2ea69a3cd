//! Forks: where a group begins that is made from another one, and what is marked as replayed.

use super::{
    Topics, World,
    cases::{END, commit},
    group_name, join, place,
};
use crate::{
    catalog::groups::{Fence, Refused, State},
    types::{GroupName, Offset},
};

fn name(name: &str) -> GroupName {
    GroupName::new(name).expect("it is valid")
}

impl World {
    fn fork(&mut self, from: &str, to: &str, replay: bool) -> State {
        let fork = self
            .groups
            .decide_fork(&name(from), &name(to), replay, &self.topics, 9);
        self.apply_to(name(to), fork.expect("there is room"));
        let group = self.groups.get(&name(to)).expect("it is there");
        group.state().clone()
    }
}

#[test]
fn a_fork_is_where_the_other_group_is_or_repeats_what_that_has_done() {
    let mut world = World::new(&[("t", 1)]);
    world.commit_one(0, 5, Fence::NoMembers);
    let at = place(1, 0);
    let there = world.fork("g", "there", false);
    assert_eq!(there.offsets[&at].next, Offset(5));
    let again = world.fork("g", "again", true);
    assert!(again.offsets.is_empty());
    assert_eq!(again.replay_until[&at], Offset(5));
    let twice = world
        .groups
        .decide_fork(&group_name(), &name("there"), false, &world.topics, 9);
    assert_eq!(twice, Err(Refused::GroupExists));
}

#[test]
fn a_fork_of_a_group_in_a_replay_has_its_mark() {
    let mut world = World::new(&[("t", 2)]);
    world.commit_one(0, 8, Fence::NoMembers);
    world.commit_one(1, 8, Fence::NoMembers);
    world.fork("g", "replay", true);
    let ahead = commit(place(1, 1), 11, Fence::NoMembers);
    let behind = commit(place(1, 0), 3, Fence::NoMembers);
    let decided =
        world
            .groups
            .decide_commit(&name("replay"), vec![behind, ahead], |_| Some(END), 7);
    let change = decided.expect("nobody is in it").1;
    world.apply_to(name("replay"), change.expect("both are committed"));
    for (to, replay, second) in [("copy", false, 8), ("again", true, 11)] {
        let forked = world.fork("replay", to, replay);
        let until: Vec<Offset> = forked.replay_until.values().copied().collect();
        assert_eq!(until, [Offset(8), Offset(second)], "{to}");
    }
}

#[test]
fn what_is_marked_is_below_the_offsets_of_the_other_group_when_the_fork_is_made() {
    let mut world = World::new(&[("t", 1)]);
    world.commit_one(0, 5, Fence::NoMembers);
    let at = place(1, 0);
    let early = world.fork("g", "early", true);
    world.commit_one(0, 9, Fence::NoMembers);
    let group = world.groups.get(&name("early")).expect("it is there");
    assert_eq!(
        *group.state(),
        early,
        "what is committed later changes nothing"
    );
    assert_eq!(world.fork("g", "late", true).replay_until[&at], Offset(9));
    // What a reset has moved back is to be done again, by the fork too.
    let back = vec![(at, Offset(2))];
    let reset = world.groups.decide_reset(&group_name(), back, 7);
    world.apply(reset.expect("there is room"));
    assert_eq!(world.fork("g", "reset", true).replay_until[&at], Offset(2));
}

#[test]
fn where_the_other_group_has_committed_nothing_all_is_read_and_nothing_marked() {
    let mut world = World::new(&[("a", 2), ("b", 2)]);
    world.join(join(1, &["a", "b", "c"]));
    world.commit_one(0, 5, Fence::Forced);
    // It reads this topic too, though nobody has been given its partition yet.
    world.topics = Topics::new(&[("a", 2), ("b", 2), ("c", 1)]);
    let forked = world.fork("g", "again", true);
    let until: Vec<_> = forked.replay_until.into_iter().collect();
    let expected = [
        (place(1, 0), Offset(5)),
        (place(1, 1), Offset(0)),
        (place(2, 0), Offset(0)),
        (place(2, 1), Offset(0)),
        (place(3, 0), Offset(0)),
    ];
    assert_eq!(until, expected);
}
