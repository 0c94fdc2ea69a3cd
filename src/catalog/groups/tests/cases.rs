//! Single cases: which member gets which partition, when, and which commits count.

use std::time::Duration;

use bytes::Bytes;

use super::{DRAIN, SESSION, World, group_name, join, place, text};
use crate::{
    catalog::groups::{
        Commit, Committed, Fence, Generation, GroupChange, Groups, Join, MemberId, Outcome, Place,
        Refused, waits::JOINING,
    },
    types::{GroupName, Offset, PartitionId, TopicId, limits::MAX_GROUP_MEMBERS},
};

pub(super) const END: Offset = Offset(100);

pub(super) fn commit(place: Place, next: u64, fence: Fence) -> Commit {
    Commit {
        place,
        next: Offset(next),
        metadata: Bytes::new(),
        fence,
    }
}

/// The fence of a commit in this generation that names no member.
fn owned_since(since: Generation) -> Fence {
    Fence::Owned { since, by: None }
}

impl World {
    fn commit(&mut self, commits: Vec<Commit>) -> Result<Vec<Outcome>, Refused> {
        let decided = self
            .groups
            .decide_commit(&group_name(), commits, |_| Some(END), 7);
        let (outcomes, change) = decided?;
        if let Some(change) = change {
            self.apply(change);
        }
        Ok(outcomes)
    }

    pub(super) fn commit_one(&mut self, partition: u32, next: u64, fence: Fence) -> Outcome {
        let outcomes = self.commit(vec![commit(place(1, partition), next, fence)]);
        outcomes.expect("it is not refused").remove(0)
    }

    fn since(&self, partition: u32) -> Generation {
        self.owner(1, partition).expect("it has an owner").1
    }

    fn committed(&self, partition: u32) -> Option<Offset> {
        let state = self.state();
        state
            .offsets
            .get(&place(1, partition))
            .map(|committed| committed.next)
    }
}

#[test]
fn what_was_noted_is_looked_up_in_parts() {
    const PARTITIONS: u32 = 1000;
    let mut groups = Groups::default();
    groups.note_changes();
    let mut change = GroupChange::default();
    for partition in 0..PARTITIONS {
        let committed = Committed {
            next: Offset(1),
            at_ms: 0,
            metadata: Bytes::new(),
        };
        let place = (TopicId(1), PartitionId(partition));
        change.offsets.push((place, committed));
    }
    groups.apply(&group_name(), &change, Duration::ZERO);
    let (mut noted, mut looked_up) = (groups.take_noted(), 0);
    while !noted.is_empty() {
        let mut part = Vec::new();
        groups.look_up(&mut noted, 100, &mut part);
        let offsets: usize = part.iter().map(|(_, change)| change.offsets.len()).sum();
        assert!(offsets <= 100, "{offsets} at once");
        looked_up += offsets;
    }
    assert_eq!(looked_up, PARTITIONS as usize);
    assert!(groups.take_noted().is_empty());
}

#[test]
fn a_new_group_has_no_name_that_is_shown_as_another_and_one_of_before_keeps_it() {
    let name = GroupName::new("red\u{202e}nul").expect("it is stored as it is");
    let mut groups = Groups::default();
    let committed = || vec![commit(place(1, 0), 5, Fence::Forced)];
    let decide = |groups: &Groups| {
        let decided = groups.decide_commit(&name, committed(), |_| Some(END), 7);
        decided.map(|(_, change)| change)
    };
    let Err(Refused::BadName(error)) = decide(&groups) else {
        panic!("it is refused");
    };
    assert_eq!(error.letter.as_deref(), Some("U+202E"));
    assert!(error.to_string().contains("because of U+202E"), "{error}");

    groups.apply(&name, &GroupChange::default(), Duration::ZERO);
    assert!(decide(&groups).expect("it is there").is_some());
    groups.decide_delete(&name).expect("it is there");
}

#[test]
fn the_first_member_has_everything_at_once() {
    let mut world = World::new(&[("t", 12)]);
    world.join(join(1, &["t"]));
    assert_eq!(world.shares(), [12]);
}

#[test]
fn one_that_joins_gets_its_whole_share_as_it_is_handed_over() {
    let mut world = World::new(&[("t", 12)]);
    let first = world.join(join(1, &["t"]));
    world.advance(JOINING);
    world.join(join(2, &["t"]));
    assert_eq!(world.shares(), [12, 0], "nothing has two owners");
    assert_eq!(world.draining(first).len(), 6);
    world.drain(first);
    assert_eq!(world.shares(), [6, 6]);
}

#[test]
fn a_hundred_that_join_within_a_second_make_a_few_generations() {
    let mut world = World::new(&[("t", 1_000)]);
    let mut planned = 0;
    for id in 1..=100 {
        let before = world.log.len();
        world.join(join(id, &["t"]));
        world.advance(Duration::from_millis(10));
        planned += world.log[before..]
            .iter()
            .filter(|(_, change)| !change.owned.is_empty())
            .count();
    }
    world.advance(JOINING);
    assert!(planned <= 5, "{planned} times");
    for id in 1..=100 {
        world.drain(MemberId(id));
    }
    assert_eq!(world.shares(), [10; 100]);
}

#[test]
fn a_hundred_that_hand_over_within_half_a_second_make_a_few_generations() {
    let mut world = World::new(&[("t", 1_000)]);
    for first in [1, 101] {
        for id in first..first + 100 {
            world.join(join(id, &["t"]));
        }
        world.advance(2 * JOINING);
        let before = world.state().generation.0;
        for id in 1..first {
            assert_eq!(world.draining(MemberId(id)).len(), 5);
        }
        for id in 1..=100 {
            world.drain(MemberId(id));
            world.advance(Duration::from_millis(5));
        }
        let generations = world.state().generation.0 - before;
        assert!(generations <= 4, "{generations} generations");
    }
    assert_eq!(world.shares(), [5; 200]);
}

#[test]
fn what_is_handed_over_waits_a_moment_for_the_rest_and_no_longer() {
    let mut world = World::new(&[("t", 8)]);
    for id in 1..=2 {
        world.join(join(id, &["t"]));
        world.advance(JOINING);
        world.drain(MemberId(1));
    }
    world.join(join(3, &["t"]));
    world.join(join(4, &["t"]));
    world.advance(2 * JOINING);
    let (one, two) = (world.draining(MemberId(1)), world.draining(MemberId(2)));
    assert_eq!((one.len(), two.len()), (2, 2));
    let unowned = |world: &World| 8 - world.state().owned.len();

    // The first one goes on at once, the second one waits for the others.
    world.hand_over(MemberId(1), &one[..1]);
    assert_eq!(unowned(&world), 0);
    world.hand_over(MemberId(1), &one[1..]);
    assert_eq!(unowned(&world), 1);
    let generation = world.state().generation;
    let fence = owned_since(generation);
    let fenced = Outcome::Fenced { current: None };
    assert_eq!(world.commit_one(one[1].1.0, 5, fence), fenced);
    world.advance(JOINING);
    assert_eq!(unowned(&world), 0);
    assert!(world.state().generation > generation);
    // So does the third one, until the last one is there.
    world.hand_over(MemberId(2), &two[..1]);
    assert_eq!(unowned(&world), 1);
    world.hand_over(MemberId(2), &two[1..]);
    assert_eq!(world.shares(), [2; 4]);
}

#[test]
fn who_does_not_hand_over_in_time_loses_just_that() {
    let mut world = World::new(&[("t", 4)]);
    let slow = world.join(join(1, &["t"]));
    world.advance(JOINING);
    world.join(join(2, &["t"]));
    let lost = world.draining(slow);
    let fence = owned_since(world.since(lost[0].1.0));
    assert_eq!(
        world.commit_one(lost[0].1.0, 5, fence),
        Outcome::Done,
        "it may finish"
    );
    world.advance(DRAIN - Duration::from_millis(1));
    assert_eq!(world.shares(), [4, 0]);
    world.advance(Duration::from_millis(1));
    assert_eq!(world.shares(), [2, 2]);
    let current = Some(world.since(lost[0].1.0));
    assert_eq!(
        world.commit_one(lost[0].1.0, 6, fence),
        Outcome::Fenced { current }
    );
    assert_eq!(world.committed(lost[0].1.0), Some(Offset(5)));
}

#[test]
fn who_is_away_keeps_its_partitions_for_its_session() {
    let mut world = World::new(&[("t", 4)]);
    world.join(join(1, &["t"]));
    world.advance(JOINING);
    world.join(join(2, &["t"]));
    world.drain(MemberId(1));
    world.lose(1);
    world.advance(SESSION - Duration::from_millis(1));
    assert_eq!(world.shares(), [2, 2]);
    world.advance(Duration::from_millis(1));
    assert_eq!(world.shares(), [4]);
}

#[test]
fn who_comes_back_has_its_partitions_and_its_former_stream_is_fenced() {
    let mut world = World::new(&[("t", 4)]);
    let named = |id, name| Join {
        name: text(name),
        ..join(id, &["t"])
    };
    let first = world.join(named(1, "a"));
    let before = owned_since(world.since(0));
    world.lose(1);
    world.advance(SESSION / 2);
    assert_eq!(world.join(named(2, "a")), first, "by its name");
    let back = Join {
        back: Some(first),
        instance: Some(world.state().members[&first].instance),
        ..named(3, "a")
    };
    world.advance(SESSION * 3);
    assert_eq!(world.join(back), first, "by what it was called");
    assert_eq!(world.shares(), [4], "nothing has moved");
    let current = Some(world.since(0));
    assert_eq!(world.commit_one(0, 5, before), Outcome::Fenced { current });
}

#[test]
fn a_start_moves_nothing_while_all_come_back() {
    let mut world = World::new(&[("t", 100)]);
    for id in 1..=10 {
        world.join(join(id, &["t"]));
    }
    world.advance(JOINING);
    world.drain(MemberId(1));
    let before = world.state();
    let snapshot = world.groups.snapshot();
    world.now = Duration::ZERO;
    world.groups = Groups::restore(snapshot, world.now);
    for id in 1..=10 {
        world.advance(SESSION / 20);
        let back = Some(MemberId(id));
        world.join(Join {
            back,
            ..join(1_000 + id, &["t"])
        });
    }
    world.advance(SESSION * 3);
    let owners = |state: &crate::catalog::groups::State| {
        let owned = state.owned.iter();
        owned
            .map(|(place, owned)| (*place, owned.owner, owned.is_draining))
            .collect::<Vec<_>>()
    };
    assert_eq!(owners(&world.state()), owners(&before));
}

#[test]
fn a_commit_counts_by_the_generation_of_its_partition() {
    let mut world = World::new(&[("t", 2)]);
    world.join(join(1, &["t"]));
    world.advance(JOINING);
    world.join(join(2, &["t"]));
    world.drain(MemberId(1));
    let (mine, others) = (world.since(0), world.since(1));
    assert_ne!(mine, others);
    let outcomes = world.commit(vec![
        commit(place(1, 0), 5, owned_since(mine)),
        commit(place(1, 1), 5, owned_since(mine)),
        commit(place(1, 7), 5, owned_since(mine)),
        commit(place(1, 0), 101, owned_since(mine)),
    ]);
    let fenced = Outcome::Fenced {
        current: Some(others),
    };
    let expected = [
        Outcome::Done,
        fenced,
        Outcome::Fenced { current: None },
        Outcome::BeyondEnd { end: END },
    ];
    assert_eq!(outcomes.expect("it is not refused"), expected);
    assert_eq!(
        (world.committed(0), world.committed(1)),
        (Some(Offset(5)), None)
    );
}

#[test]
fn a_commit_of_what_another_got_in_the_same_generation_is_fenced() {
    let mut world = World::new(&[("t", 2)]);
    world.join(join(1, &["t"]));
    world.advance(JOINING);
    world.join(join(2, &["t"]));
    world.join(join(3, &["t"]));
    world.leave(1);
    assert_eq!(world.shares(), [1, 1]);
    let since = world.since(0);
    assert_eq!(world.since(1), since);
    for (place, owned) in world.state().owned {
        let other = MemberId(5 - owned.owner.0);
        let by = |member| Fence::Owned {
            since,
            by: Some(member),
        };
        let current = Some(since);
        let partition = place.1.0;
        let stolen = world.commit_one(partition, 9, by(other));
        assert_eq!(stolen, Outcome::Fenced { current });
        assert_eq!(world.committed(partition), None);
        assert_eq!(
            world.commit_one(partition, 5, by(owned.owner)),
            Outcome::Done
        );
    }
}

#[test]
fn only_a_reset_lowers_an_offset() {
    let mut world = World::new(&[("t", 1)]);
    world.join(join(1, &["t"]));
    let fence = owned_since(world.since(0));
    assert_eq!(world.commit_one(0, 50, fence), Outcome::Done);
    let committed = Offset(50);
    for lower in [0, 49, 50] {
        assert_eq!(
            world.commit_one(0, lower, fence),
            Outcome::Unchanged { committed }
        );
        assert_eq!(
            world.commit_one(0, lower, Fence::Forced),
            Outcome::Unchanged { committed }
        );
    }
    let reset = world
        .groups
        .decide_reset(&group_name(), vec![(place(1, 0), Offset(3))], 9);
    world.apply(reset.expect("there is room"));
    assert_eq!(world.committed(0), Some(Offset(3)));
    let current = Some(world.since(0));
    assert_eq!(
        world.commit_one(0, 60, fence),
        Outcome::Fenced { current },
        "it was under way"
    );
}

#[test]
fn a_commit_from_outside_needs_an_empty_group_or_force() {
    let mut world = World::new(&[("t", 1)]);
    assert_eq!(world.commit_one(0, 5, Fence::NoMembers), Outcome::Done);
    world.join(join(1, &["t"]));
    let refused = world.commit(vec![commit(place(1, 0), 9, Fence::NoMembers)]);
    assert_eq!(refused, Err(Refused::HasMembers { members: 1 }));
    let before = world.since(0);
    assert_eq!(world.commit_one(0, 9, Fence::Forced), Outcome::Done);
    assert!(world.since(0) > before, "its owner begins anew");
}

#[test]
fn a_member_takes_new_topics_and_partitions_and_gives_up_what_it_does_not_take() {
    let mut world = World::new(&[("a-1", 2), ("b", 2)]);
    let mut both = join(1, &["b"]);
    both.prefixes.insert(text("a-"));
    world.join(both);
    assert_eq!(world.shares(), [4]);
    world.topics = super::Topics::new(&[("a-1", 3), ("b", 2), ("c", 5), ("a-2", 1)]);
    for (group, change) in world.groups.on_topics(&world.topics) {
        world.apply_to(group, change);
    }
    assert_eq!(world.shares(), [6]);
    assert_eq!(world.groups.on_topics(&world.topics), []);
    let back = Some(MemberId(1));
    world.advance(JOINING);
    world.join(Join {
        back,
        ..join(2, &["b"])
    });
    assert_eq!(
        world.draining(MemberId(1)).len(),
        4,
        "it may finish what it has"
    );
    world.drain(MemberId(1));
    assert_eq!(world.shares(), [2]);
}

#[test]
fn an_ephemeral_group_ends_with_its_last_member_and_no_other() {
    let mut world = World::new(&[("t", 2)]);
    let ephemeral = |id| Join {
        is_ephemeral: true,
        ..join(id, &["t"])
    };
    world.join(ephemeral(1));
    world.join(ephemeral(2));
    let mixed = world
        .groups
        .decide_join(&group_name(), join(3, &["t"]), &world.topics, world.now);
    assert_eq!(mixed, Err(Refused::OtherKind { is_ephemeral: true }));
    world.leave(1);
    assert!(world.groups.get(&group_name()).is_some());
    world.lose(2);
    world.advance(SESSION);
    assert!(world.groups.get(&group_name()).is_none());
}

#[test]
fn a_member_of_a_group_that_has_ended_is_fenced_in_the_next_one_of_that_name() {
    let mut world = World::new(&[("t", 2)]);
    let ephemeral = |id| Join {
        is_ephemeral: true,
        ..join(id, &["t"])
    };
    world.join(ephemeral(1));
    let old = world.since(0);
    world.leave(1);
    world.groups = Groups::restore(world.groups.snapshot(), world.now);
    world.join(ephemeral(2));
    let current = Some(world.since(0));
    let late = world.commit_one(0, 5, owned_since(old));
    assert_eq!(late, Outcome::Fenced { current });
}

#[test]
fn a_full_group_takes_those_back_that_it_has() {
    let mut world = World::new(&[("t", 1)]);
    let most = MAX_GROUP_MEMBERS as u64;
    for id in 1..=most {
        world.join(join(id, &["other"]));
    }
    let one_more = world.groups.decide_join(
        &group_name(),
        join(most + 1, &["t"]),
        &world.topics,
        world.now,
    );
    assert!(matches!(one_more, Err(Refused::TooMany { .. })));
    let back = world.join(Join {
        back: Some(MemberId(7)),
        ..join(most + 2, &["t"])
    });
    assert_eq!(back, MemberId(7));
}

#[test]
fn a_group_with_members_is_not_deleted() {
    let mut world = World::new(&[("t", 2)]);
    world.join(join(1, &["t"]));
    let deleted = world.groups.decide_delete(&group_name());
    assert_eq!(deleted, Err(Refused::HasMembers { members: 1 }));
    world.leave(1);
    let deleted = world
        .groups
        .decide_delete(&group_name())
        .expect("nobody is in it");
    world.apply(deleted);
    assert!(world.groups.get(&group_name()).is_none());
    assert_eq!(
        world.groups.decide_delete(&group_name()),
        Err(Refused::UnknownGroup)
    );
}

/// A member that joins with a name of its own.
fn join_named(id: u64, name: &str, topics: &[&str]) -> Join {
    Join {
        name: text(name),
        ..join(id, topics)
    }
}

#[test]
fn one_that_comes_back_for_other_topics_has_nothing_of_the_former_ones() {
    let mut world = World::new(&[("a", 2), ("b", 1)]);
    let first = world.join(join_named(1, "n", &["a"]));
    assert_eq!(world.shares(), [2]);
    // So soon after the join, nobody is given anything yet.
    let back = world.join(join_named(2, "n", &["b"]));
    assert_eq!(back, first);
    assert_eq!(world.draining(back).len(), 2);
    let other = world.join(join(3, &["a"]));
    world.drain(back);
    world.advance(JOINING);
    let owner = |topic, partition| world.owner(topic, partition).map(|(owner, _)| owner);
    assert_eq!(owner(1, 0), Some(other));
    assert_eq!(owner(1, 1), Some(other));
    assert_eq!(owner(2, 0), Some(back));
}

#[test]
fn one_that_comes_back_by_its_id_alone_keeps_its_name() {
    let mut world = World::new(&[("t", 1)]);
    let first = world.join(join_named(1, "n", &["t"]));
    let back = Join {
        back: Some(first),
        ..join(2, &["t"])
    };
    assert_eq!(world.join(back), first);
    assert_eq!(world.join(join_named(3, "n", &["t"])), first, "by its name");
}
