//! The rules that must always hold for a group; checked after every durable change.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::world::{DRAIN, Member, SESSION, World};
use crate::{
    catalog::groups::{Generation, MemberId, Owned, Place, State},
    env::Clock,
    types::Offset,
};

/// How late due work may be done: the tests move time in whole milliseconds.
const LATE: Duration = Duration::from_millis(2);

/// The known state of a group, and what its members have done.
#[derive(Default)]
pub(super) struct Rules {
    before: State,
    /// The owner of each partition in each generation.
    owners: BTreeMap<(Place, Generation), MemberId>,
    /// The stream that was told of each ownership.
    told: BTreeMap<(Place, Generation), u64>,
    /// The last stream of each member.
    streams: BTreeMap<MemberId, u64>,
    /// Since when each partition is being handed over.
    draining: BTreeMap<Place, Duration>,
    handed_over: BTreeSet<(Place, MemberId)>,
    /// Members that may be gone, and since when.
    may_be_gone: BTreeMap<MemberId, Duration>,
    /// Members that must be gone, and since when.
    must_be_gone: BTreeMap<MemberId, Duration>,
    /// Partitions whose offset may go back, once.
    reset: BTreeSet<Place>,
}

impl Rules {
    pub(super) fn joined(&mut self, member: &Member, heartbeat: bool, now: Duration) {
        self.may_be_gone.remove(&member.id);
        self.must_be_gone.remove(&member.id);
        self.streams.insert(member.id, member.stream);
        if heartbeat {
            self.heard(member, now);
        }
    }

    /// Records a heartbeat of a member that promised them, unless its stream is fenced.
    pub(super) fn heard(&mut self, member: &Member, now: Duration) {
        if self.streams.get(&member.id) == Some(&member.stream) {
            self.may_be_gone.insert(member.id, now + SESSION);
            self.must_be_gone.insert(member.id, now + SESSION);
        }
    }

    /// Records that a member's stream has broken, unless another stream has fenced it.
    pub(super) fn lost(&mut self, member: &Member, now: Duration) {
        if self.streams.get(&member.id) != Some(&member.stream) {
            return;
        }
        let gone = self.may_be_gone.entry(member.id).or_insert(now + SESSION);
        *gone = (*gone).min(now + SESSION);
        self.must_be_gone.insert(member.id, now + SESSION);
    }

    pub(super) fn left(&mut self, member: MemberId, now: Duration) {
        self.may_be_gone.insert(member, Duration::ZERO);
        self.must_be_gone.insert(member, now);
    }

    pub(super) fn handed_over(&mut self, member: MemberId, places: &[Place]) {
        let places = places.iter().map(|place| (*place, member));
        self.handed_over.extend(places);
    }

    pub(super) fn reset(&mut self, place: Place) {
        self.reset.insert(place);
    }

    /// Records a restart of the broker: every member's time starts again. These offsets may or may
    /// not be committed.
    pub(super) fn restarted(&mut self, world: &World, doubtful: &BTreeMap<Place, Offset>) {
        let now = world.clock.elapsed();
        let state = world.state("g");
        assert!(
            is_kept(&self.before, &state, doubtful),
            "a restart has changed {:?} to {state:?}",
            self.before
        );
        self.draining.clear();
        self.must_be_gone.clear();
        for id in state.members.keys() {
            self.may_be_gone.insert(*id, now + SESSION);
            self.must_be_gone.insert(*id, now + SESSION);
        }
        self.before = state;
        self.note_draining(now);
    }

    /// Asserts that what a member was told is true, and that no other stream was told the same.
    pub(super) fn told(&mut self, member: &Member) {
        for (place, has) in &member.has {
            let key = (*place, has.generation);
            let owner = self.owners.get(&key);
            assert_eq!(owner, Some(&member.id), "of {key:?}");
            let stream = *self.told.entry(key).or_insert(member.stream);
            assert_eq!(stream, member.stream, "two streams have {key:?}");
        }
    }

    /// Checks the group's new state.
    pub(super) fn look(&mut self, world: &World) {
        let now = world.clock.elapsed();
        let state = world.state("g");
        self.look_at_time(&state, now);
        if state == self.before {
            return;
        }
        assert!(state.generation >= self.before.generation);
        self.look_at_offsets(&state);
        self.look_at_members(&state, now);
        for (place, owned) in &state.owned {
            self.look_at_owner(&state, *place, owned, now);
        }
        self.look_at_lost(&state, now);
        self.before = state;
        self.note_draining(now);
    }

    /// Asserts that no member is waited for longer than it has time, after which others get its
    /// partitions.
    fn look_at_time(&self, state: &State, now: Duration) {
        for (id, gone) in &self.must_be_gone {
            let is_over = *gone + LATE < now;
            let is_there = state.members.contains_key(id);
            assert!(
                !is_over || !is_there,
                "{id:?} is still there at {now:?}, after {gone:?}"
            );
        }
        for (place, since) in &self.draining {
            let owned = state.owned.get(place);
            let is_still = owned == self.before.owned.get(place);
            let is_over = *since + DRAIN + LATE < now;
            assert!(
                !is_over || !is_still,
                "{place:?} is being handed over at {now:?}, since {since:?}"
            );
        }
    }

    fn look_at_offsets(&mut self, state: &State) {
        for (place, before) in &self.before.offsets {
            let after = state.offsets.get(place).map(|committed| committed.next);
            if after.is_none_or(|after| after < before.next) {
                let is_reset = self.reset.remove(place);
                assert!(
                    is_reset,
                    "{place:?} went back from {} to {after:?}",
                    before.next
                );
            }
        }
    }

    fn look_at_members(&self, state: &State, now: Duration) {
        for id in self.before.members.keys() {
            if state.members.contains_key(id) {
                continue;
            }
            let since = self.may_be_gone.get(id);
            let may_be = since.is_some_and(|since| *since <= now);
            assert!(may_be, "{id:?} is gone at {now:?}, not at {since:?}");
        }
    }

    fn look_at_owner(&mut self, state: &State, place: Place, owned: &Owned, now: Duration) {
        let key = (place, owned.since);
        let owner = *self.owners.entry(key).or_insert(owned.owner);
        assert_eq!(owner, owned.owner, "{key:?} has two owners");
        let Some(before) = self.before.owned.get(&place) else {
            return;
        };
        if before.owner == owned.owner {
            return;
        }
        assert!(
            owned.since > before.since,
            "{place:?} goes on in no later generation"
        );
        let may_be = self.may_be_taken(state, place, before, now);
        assert!(may_be, "{place:?} is taken from {before:?} at {now:?}");
    }

    /// Asserts that partitions without an owner were not taken from one that goes on.
    fn look_at_lost(&self, state: &State, now: Duration) {
        for (place, before) in &self.before.owned {
            let may_be =
                state.owned.contains_key(place) || self.may_be_taken(state, *place, before, now);
            assert!(may_be, "{place:?} is lost by {before:?} at {now:?}");
        }
    }

    /// Whether the owner of a partition is gone, or has handed it over, or has had its time to.
    fn may_be_taken(&self, state: &State, place: Place, before: &Owned, now: Duration) -> bool {
        let is_gone = !state.members.contains_key(&before.owner);
        let is_drained = self.handed_over.contains(&(place, before.owner));
        // A stream that was never told of its ownership has nothing to hand over.
        let stream = self.streams.get(&before.owner);
        let is_unknown = self.told.get(&(place, before.since)) != stream;
        let is_late = self
            .draining
            .get(&place)
            .is_some_and(|since| *since + DRAIN <= now);
        is_gone || before.is_draining && (is_drained || is_unknown || is_late)
    }

    fn note_draining(&mut self, now: Duration) {
        let state = &self.before;
        let is_draining = |place: &Place| {
            let owned = state.owned.get(place);
            owned.is_some_and(|owned| owned.is_draining)
        };
        self.draining.retain(|place, _| is_draining(place));
        for place in state.owned.keys().filter(|place| is_draining(place)) {
            self.draining.entry(*place).or_insert(now);
        }
        self.handed_over.retain(|(place, _)| is_draining(place));
    }
}

/// Whether a start found everything that was durable, and nothing else except doubtful offsets.
fn is_kept(before: &State, after: &State, doubtful: &BTreeMap<Place, Offset>) -> bool {
    let are_offsets_kept = after.offsets.iter().all(|(place, committed)| {
        before.offsets.get(place) == Some(committed) || doubtful.get(place) == Some(&committed.next)
    });
    are_offsets_kept
        && before
            .offsets
            .keys()
            .all(|place| after.offsets.contains_key(place))
        && before.members == after.members
        && before.owned == after.owned
}
