//! What must hold after any sequence of acts of members, of operators and of time.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;
use proptest::prelude::*;

use super::{DRAIN, SESSION, Topics, World, group_name, join};
use crate::{
    catalog::groups::{
        Commit, Fence, Generation, Groups, Join, MemberId, Outcome, Owned, Place, State,
    },
    types::{Offset, PartitionId, TopicId},
};

const MEMBERS: u64 = 8;
const NAMES: [&str; 2] = ["a", "b"];
const END: Offset = Offset(1_000_000);

#[derive(Clone, Debug)]
enum Act {
    Join {
        named: bool,
        topics: usize,
    },
    Leave(usize),
    Lose(usize),
    ComeBack(usize),
    Drain(usize),
    /// A commit that moves the offset by `by` - 4, by a member or without a member's name.
    Commit {
        place: usize,
        by: u64,
        late: bool,
        member: Option<usize>,
    },
    Reset {
        place: usize,
        to: u64,
    },
    Grow,
    Pass {
        ms: u64,
    },
    Restart,
}

fn any_act() -> impl Strategy<Value = Act> {
    let at = 0..64_usize;
    prop_oneof![
        3 => (any::<bool>(), 1..4_usize).prop_map(|(named, topics)| Act::Join { named, topics }),
        1 => at.clone().prop_map(Act::Leave),
        2 => at.clone().prop_map(Act::Lose),
        2 => at.clone().prop_map(Act::ComeBack),
        4 => at.clone().prop_map(Act::Drain),
        6 => (at.clone(), 0..9_u64, any::<bool>(), proptest::option::of(at.clone()))
            .prop_map(|(place, by, late, member)| Act::Commit { place, by, late, member }),
        1 => (at, 0..9_u64).prop_map(|(place, to)| Act::Reset { place, to }),
        1 => Just(Act::Grow),
        4 => (0..20_000_u64).prop_map(|ms| Act::Pass { ms }),
        1 => Just(Act::Restart),
    ]
}

/// A group, and what was true of it before the last act.
struct Run {
    world: World,
    partitions: u32,
    joined: u64,
    owners: BTreeMap<(Place, Generation), MemberId>,
    seen: usize,
    /// The state that results from the changes alone.
    replayed: State,
}

fn topics(partitions: u32) -> Topics {
    Topics::new(&[("x", partitions), ("y", 3), ("z", 1)])
}

impl Run {
    fn new() -> Self {
        let mut world = World::new(&[]);
        world.topics = topics(4);
        Self {
            world,
            partitions: 4,
            joined: 0,
            owners: BTreeMap::new(),
            seen: 0,
            replayed: State::default(),
        }
    }

    fn member(&self, at: usize) -> Option<MemberId> {
        let members: Vec<MemberId> = self.world.state().members.into_keys().collect();
        (!members.is_empty()).then(|| members[at % members.len()])
    }

    fn act(&mut self, act: &Act) {
        match *act {
            Act::Join { named, topics } if self.world.state().members.len() < MEMBERS as usize => {
                self.joined += 1;
                let name = NAMES[self.joined as usize % NAMES.len()];
                let member = join(self.joined, &["x", "y", "z"][..topics]);
                let name = if named { name } else { "" };
                self.world.join(Join {
                    name: name.into(),
                    ..member
                });
            }
            Act::Join { .. } => {}
            Act::Leave(at) => {
                if let Some(member) = self.member(at) {
                    self.world.leave(member.0);
                }
            }
            Act::Lose(at) => {
                if let Some(member) = self.member(at) {
                    self.world.lose(member.0);
                }
            }
            Act::ComeBack(at) => {
                if let Some(member) = self.member(at) {
                    let known = self.world.state().members.remove(&member);
                    self.world.join(Join {
                        back: Some(member),
                        instance: known.map(|known| known.instance),
                        ..join(0, &["x", "y"])
                    });
                }
            }
            Act::Drain(at) => {
                if let Some(member) = self.member(at) {
                    self.world.drain(member);
                }
            }
            Act::Commit {
                place,
                by,
                late,
                member,
            } => {
                let member = member.and_then(|at| self.member(at));
                self.commit(place, by, late, member);
            }
            Act::Reset { place, to } => {
                let places: Vec<Place> = self.world.state().owned.into_keys().collect();
                if !places.is_empty() {
                    let offsets = vec![(places[place % places.len()], Offset(to))];
                    let reset = self.world.groups.decide_reset(&group_name(), offsets, 0);
                    self.world.apply(reset.expect("there is room"));
                }
            }
            Act::Grow => {
                self.partitions += 1;
                self.world.topics = topics(self.partitions);
                for (group, change) in self.world.groups.on_topics(&self.world.topics) {
                    self.world.apply_to(group, change);
                }
            }
            Act::Pass { ms } => self.world.advance(Duration::from_millis(ms)),
            Act::Restart => {
                let snapshot = self.world.groups.snapshot();
                self.world.groups = Groups::restore(snapshot, self.world.now);
            }
        }
    }

    /// A commit by the owner of a partition or by a former owner. Only the owner's counts, and only
    /// if it does not go back.
    fn commit(&mut self, place: usize, by: u64, late: bool, member: Option<MemberId>) {
        let before = self.world.state();
        let known: Vec<(Place, Generation)> = match late {
            true => self.owners.keys().copied().collect(),
            false => before
                .owned
                .iter()
                .map(|(place, owned)| (*place, owned.since))
                .collect(),
        };
        if known.is_empty() {
            return;
        }
        let (place, generation) = known[place % known.len()];
        let committed = before
            .offsets
            .get(&place)
            .map_or(Offset(0), |committed| committed.next);
        let commit = Commit {
            place,
            next: Offset((committed.0 + by).saturating_sub(4)),
            metadata: Bytes::new(),
            fence: Fence::Owned {
                since: generation,
                by: member,
            },
        };
        let next = commit.next;
        let decided =
            self.world
                .groups
                .decide_commit(&group_name(), vec![commit], |_| Some(END), 0);
        let (outcomes, change) = decided.expect("it is not refused");
        if let Some(change) = change {
            self.world.apply(change);
        }
        let is_owned = before.owned.get(&place).is_some_and(|owned| {
            owned.since == generation && member.is_none_or(|member| owned.owner == member)
        });
        let is_known = before.offsets.contains_key(&place);
        let after = self
            .world
            .state()
            .offsets
            .get(&place)
            .map(|committed| committed.next);
        match &outcomes[0] {
            Outcome::Done => {
                assert!(is_owned && (next > committed || !is_known));
                assert_eq!(after, Some(next));
            }
            Outcome::Unchanged { committed: said } => {
                assert!(is_owned && is_known && next <= committed);
                assert_eq!((*said, after), (committed, Some(committed)));
            }
            Outcome::Fenced { current } => {
                let owned = before.owned.get(&place);
                assert!(!is_owned && *current == owned.map(|owned| owned.since));
            }
            other => panic!("{other:?}"),
        }
    }

    /// Checks every change since the last call, and the state after it.
    fn check(&mut self) {
        for (_, change) in &self.world.log[self.seen..] {
            let before = self.replayed.clone();
            self.replayed.apply(change);
            let after = &self.replayed;
            assert!(after.generation >= before.generation);
            for (place, owned) in &after.owned {
                assert!(owned.since <= after.generation);
                assert!(after.members.contains_key(&owned.owner), "{owned:?}");
                let first = self
                    .owners
                    .entry((*place, owned.since))
                    .or_insert(owned.owner);
                assert_eq!(*first, owned.owner, "two owners in one generation");
                if let Some(had) = before.owned.get(place) {
                    check_handed_over(had, owned, after);
                }
            }
        }
        self.seen = self.world.log.len();
        assert_eq!(self.replayed, self.world.state());
    }

    /// No member joins or leaves any more: lets time pass until all waits are over.
    fn settle(&mut self) {
        for (member, known) in self.world.state().members.into_iter().skip(1) {
            self.world.join(Join {
                back: Some(member),
                instance: Some(known.instance),
                ..join(0, &["x", "y"])
            });
        }
        self.world.advance(DRAIN + 3 * SESSION);
        self.check();
    }
}

/// A new owner gets a partition only from a member that was told to hand it over, or that is gone.
fn check_handed_over(had: &Owned, has: &Owned, after: &State) {
    if had.owner != has.owner {
        assert!(had.is_draining || !after.members.contains_key(&had.owner));
        assert!(has.since > had.since);
    }
}

/// Every subscribed partition has an owner, and no member has two more than another to which it
/// could give one.
fn check_balanced(run: &Run) {
    let state = run.world.state();
    assert_eq!(
        run.world.groups.next_deadline(),
        None,
        "nothing is waited for"
    );
    let mut counts: BTreeMap<MemberId, usize> = state.members.keys().map(|id| (*id, 0)).collect();
    for owned in state.owned.values() {
        assert!(!owned.is_draining);
        *counts.get_mut(&owned.owner).expect("it is a member") += 1;
    }
    let all = [("x", 1, run.partitions), ("y", 2, 3), ("z", 3, 1)];
    for (name, id, partitions) in all {
        let topic = TopicId(id);
        let takes = |id: &MemberId| {
            let mut topics = state.members[id].topics.iter();
            topics.any(|topic| topic.as_str() == name)
        };
        let takers: BTreeSet<MemberId> = counts.keys().copied().filter(takes).collect();
        for partition in (0..partitions).map(PartitionId) {
            let owned = state.owned.get(&(topic, partition));
            assert_eq!(owned.is_some(), !takers.is_empty());
            let Some(owned) = owned else { continue };
            assert!(takers.contains(&owned.owner));
            for taker in &takers {
                assert!(counts[&owned.owner] <= counts[taker] + 1, "{counts:?}");
            }
        }
    }
}

proptest! {
    #[test]
    fn no_partition_has_two_owners_and_no_offset_goes_back(
        acts in proptest::collection::vec(any_act(), 1..80),
    ) {
        let mut run = Run::new();
        for act in &acts {
            run.act(act);
            run.check();
        }
        run.settle();
        check_balanced(&run);
    }

    #[test]
    fn any_snapshot_and_the_changes_behind_it_make_the_same_state(
        acts in proptest::collection::vec(any_act(), 1..60),
        at in any::<proptest::sample::Index>(),
        again in any::<proptest::sample::Index>(),
    ) {
        let mut run = Run::new();
        for act in &acts {
            run.act(act);
        }
        let log = &run.world.log;
        let at = at.index(log.len() + 1);
        let mut groups = Groups::default();
        for (name, change) in &log[..at] {
            groups.apply(name, change, Duration::ZERO);
        }
        let mut groups = Groups::restore(groups.snapshot(), Duration::ZERO);
        // A change that was applied already may be applied again.
        for (name, change) in &log[again.index(at + 1)..] {
            groups.apply(name, change, Duration::ZERO);
        }
        let state = groups.get(&group_name()).map(|group| group.state().clone());
        prop_assert_eq!(state.unwrap_or_default(), run.world.state());
    }

    #[test]
    fn what_was_noted_since_a_snapshot_makes_of_it_what_there_is(
        before in proptest::collection::vec(any_act(), 0..40),
        behind in proptest::collection::vec(any_act(), 0..40),
        forgets in any::<bool>(),
        deletes in any::<bool>(),
    ) {
        let mut run = Run::new();
        before.iter().for_each(|act| run.act(act));
        let mut snapshot = run.world.groups.snapshot();
        run.world.groups.note_changes();
        if deletes {
            let members: Vec<MemberId> = run.world.state().members.into_keys().collect();
            members.iter().for_each(|member| run.world.leave(member.0));
            if let Ok(deleted) = run.world.groups.decide_delete(&group_name()) {
                run.world.apply(deleted);
            }
        }
        // A restart begins from the stored state.
        let behind = behind.iter().filter(|act| !matches!(act, Act::Restart));
        behind.for_each(|act| run.act(act));
        if forgets {
            run.world.groups.forget_topic(TopicId(1));
            snapshot.forget_topic(TopicId(1));
        }
        for (name, change) in run.world.groups.take_changes(1) {
            snapshot.apply(&name, &change);
        }
        prop_assert_eq!(&snapshot, &run.world.groups.snapshot());
        prop_assert_eq!(run.world.groups.take_changes(usize::MAX), Vec::new());
        let restored = Groups::restore(snapshot.clone(), Duration::ZERO);
        prop_assert_eq!(restored.used, run.world.groups.used);
        for (name, state) in &snapshot.groups {
            let mut whole = State::default();
            whole.apply(&state.whole());
            prop_assert_eq!(&whole, state, "{}", name);
        }
    }

    #[test]
    fn what_is_applied_between_two_parts_of_what_was_noted_is_noted_again(
        before in proptest::collection::vec(any_act(), 0..40),
        noted in proptest::collection::vec(any_act(), 0..40),
        between in proptest::collection::vec(any_act(), 0..40),
        forgets in any::<bool>(),
    ) {
        let mut run = Run::new();
        before.iter().for_each(|act| run.act(act));
        let mut snapshot = run.world.groups.snapshot();
        run.world.groups.note_changes();
        let act = |run: &mut Run, act: &Act| {
            // A restart begins from the stored state.
            if !matches!(act, Act::Restart) {
                run.act(act);
            }
        };
        noted.iter().for_each(|noted| act(&mut run, noted));
        let (mut first, mut changes) = (run.world.groups.take_noted(), Vec::new());
        let mut between = between.iter();
        while !first.is_empty() {
            run.world.groups.look_up(&mut first, 1, &mut changes);
            between.next().into_iter().for_each(|between| act(&mut run, between));
        }
        if forgets {
            run.world.groups.forget_topic(TopicId(1));
        }
        for (name, change) in changes {
            snapshot.apply(&name, &change);
        }
        if forgets {
            snapshot.forget_topic(TopicId(1));
        }
        for (name, change) in run.world.groups.take_changes(1) {
            snapshot.apply(&name, &change);
        }
        prop_assert_eq!(&snapshot, &run.world.groups.snapshot());
    }
}
