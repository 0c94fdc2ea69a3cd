//! What groups wait for, and until when. Not durable.

use std::{collections::BTreeMap, time::Duration};

use super::{Failed, Generation, GroupChange, MemberId, Owned, Place, State, standing::Standing};
use crate::types::TopicId;

/// For how long after a member has joined further members are waited for, so that they get their
/// partitions together. The first member does not wait. The same holds for partitions that are
/// handed over while others are still to be: the first and the last ones do not wait.
pub(crate) const JOINING: Duration = Duration::from_millis(250);

#[derive(Clone, Debug, Default)]
pub(super) struct Waits {
    /// Members whose streams have broken, and when each counts as gone.
    away: BTreeMap<MemberId, Duration>,
    /// Partitions that owners must hand over, and when the owners lose them.
    draining: BTreeMap<Place, Duration>,
    /// When a joining member was last given partitions.
    assigned_at: Option<Duration>,
    /// When the members that have joined since then get theirs.
    joining: Option<Duration>,
    /// When partitions were last given to members.
    passed_on_at: Option<Duration>,
    /// For each partition with an owner, since when it makes no progress.
    standing: BTreeMap<Place, Standing>,
    /// The last member whose stream was ended for good, until the group can continue.
    failed: Option<Failed>,
    /// When a member last came or left, or a partition last got another owner.
    changed_at: Duration,
}

impl Waits {
    /// The waits of a new group.
    pub(super) fn new(now: Duration) -> Self {
        Self {
            changed_at: now,
            ..Self::default()
        }
    }

    /// After a start: all members may come back, and all draining partitions get their full time
    /// again.
    pub(super) fn begin(&mut self, state: &State, now: Duration) {
        for member in state.members.values() {
            self.away.insert(member.id, now + member.session);
        }
        self.wait_for_draining(state, now);
        self.changed_at = now;
        let owned = state.owned.keys();
        self.standing = owned.map(|place| (*place, Standing::from(now))).collect();
        // For members that have joined before and have no partitions yet.
        self.joining = Some(now + JOINING);
    }

    /// Updates the waits after a change was applied to a group of the generation `before`.
    pub(super) fn follow(
        &mut self,
        state: &State,
        change: &GroupChange,
        before: Generation,
        now: Duration,
    ) {
        if !change.joined.is_empty() {
            if self.may_assign(now) {
                self.assigned_at = Some(now);
                self.joining = None;
            } else if let Some(at) = self.assigned_at {
                self.joining.get_or_insert(at + JOINING);
            }
        }
        for member in &change.joined {
            self.away.remove(&member.id);
        }
        if !change.left.is_empty() {
            self.away.retain(|id, _| state.members.contains_key(id));
        }
        self.failed.take_if(|failed| failed.is_over(state, change));
        self.note_progress(change, now);
        if change.owned.is_empty() {
            // A quick way out for commits, which are many and hand nothing over.
            return;
        }
        let is_draining = |place: &Place| {
            state
                .owned
                .get(place)
                .is_some_and(|owned| owned.is_draining)
        };
        self.draining.retain(|place, _| is_draining(place));
        self.wait_for_draining(state, now);
        self.note_passed_on(change, before, now);
    }

    /// Notes that partitions were given to members; or that some were handed over, and will be
    /// given to others soon.
    fn note_passed_on(&mut self, change: &GroupChange, before: Generation, now: Duration) {
        let is_given = |owned: Option<Owned>| {
            let since = owned.map(|owned| owned.since);
            since == Some(change.generation)
        };
        let mut owned = change.owned.iter().map(|(_, owned)| *owned);
        if change.generation == before {
            if owned.any(|owned| owned.is_none()) {
                let last = self.passed_on_at.unwrap_or(now);
                self.joining.get_or_insert(last + JOINING);
            }
        } else if owned.any(is_given) {
            self.passed_on_at = Some(now);
        }
    }

    fn note_progress(&mut self, change: &GroupChange, now: Duration) {
        let come_or_gone = !change.joined.is_empty() || !change.left.is_empty();
        if come_or_gone || !change.owned.is_empty() {
            self.changed_at = now;
        }
        for (place, owned) in &change.owned {
            let Some(owned) = owned else {
                self.standing.remove(place);
                continue;
            };
            // A new owner is not progress, nor is the same owner that comes back.
            let standing = self.standing.entry(*place);
            let standing = standing.or_insert_with(|| Standing::from(now));
            // A pause ends with the owner's stream.
            let comes_back = change.joined.iter().any(|member| member.id == owned.owner);
            if comes_back || standing.paused_by() != Some(owned.owner) {
                standing.resume(now);
            }
        }
        for (place, _) in &change.offsets {
            if let Some(standing) = self.standing.get_mut(place) {
                standing.progress(now);
            }
        }
    }

    /// Notes that the owner of a partition pauses it.
    pub(super) fn pause(&mut self, place: Place, owner: MemberId, now: Duration) {
        if let Some(standing) = self.standing.get_mut(&place) {
            standing.pause(owner, now);
        }
    }

    /// Notes that this member pauses a partition no more.
    pub(super) fn resume(&mut self, place: Place, member: MemberId, now: Duration) {
        if let Some(standing) = self.standing.get_mut(&place)
            && standing.paused_by() == Some(member)
        {
            standing.resume(now);
        }
    }

    fn wait_for_draining(&mut self, state: &State, now: Duration) {
        for (place, owned) in state.owned.iter().filter(|(_, owned)| owned.is_draining) {
            let time = state.members.get(&owned.owner).map(|member| member.drain);
            let until = now + time.unwrap_or_default();
            self.draining.entry(*place).or_insert(until);
        }
    }

    pub(super) fn forget_topic(&mut self, topic: TopicId) {
        self.draining.retain(|place, _| place.0 != topic);
        self.standing.retain(|place, _| place.0 != topic);
        let is_of_topic = |failed: &mut Failed| failed.place.is_some_and(|place| place.0 == topic);
        self.failed.take_if(is_of_topic);
    }

    /// Whether a member that joins now gets partitions at once.
    pub(super) fn may_assign(&self, now: Duration) -> bool {
        self.assigned_at.is_none_or(|at| now >= at + JOINING)
    }

    /// Whether partitions that are handed over now are given to others at once.
    pub(super) fn may_pass_on(&self, now: Duration) -> bool {
        self.passed_on_at.is_none_or(|at| now >= at + JOINING)
    }

    /// Notes that all members that have joined were given partitions.
    pub(super) fn assigned(&mut self, now: Duration) {
        self.assigned_at = Some(now);
        self.passed_on_at = Some(now);
        self.joining = None;
    }

    /// Schedules a new assignment a moment later.
    pub(super) fn share_anew(&mut self, now: Duration) {
        self.joining.get_or_insert(now + JOINING);
    }

    /// Schedules a failed change to be decided again.
    pub(super) fn put_off(&mut self, now: Duration) {
        let again = now + JOINING;
        self.joining = Some(again);
        let over = self.away.values_mut().chain(self.draining.values_mut());
        over.for_each(|until| *until = again.max(*until));
    }

    /// Notes that a member's stream has broken.
    pub(super) fn lose(&mut self, id: MemberId, until: Duration) {
        self.away.entry(id).or_insert(until);
    }

    /// Whether a member's stream has broken.
    pub(super) fn is_away(&self, id: MemberId) -> bool {
        self.away.contains_key(&id)
    }

    /// Until when a partition must be handed over.
    pub(super) fn draining_until(&self, place: Place) -> Option<Duration> {
        self.draining.get(&place).copied()
    }

    /// The members that are away, each with its deadline.
    pub(super) fn away(&self) -> impl Iterator<Item = (MemberId, Duration)> {
        self.away.iter().map(|(id, until)| (*id, *until))
    }

    pub(super) fn standing(&self) -> &BTreeMap<Place, Standing> {
        &self.standing
    }

    pub(super) fn fail(&mut self, failed: Failed) {
        self.failed = Some(failed);
    }

    pub(super) fn failed(&self) -> Option<&Failed> {
        self.failed.as_ref()
    }

    pub(super) fn changed_at(&self) -> Duration {
        self.changed_at
    }

    /// The next deadline.
    pub(super) fn next(&self) -> Option<Duration> {
        let all = self.away.values().chain(self.draining.values());
        all.chain(&self.joining).min().copied()
    }

    /// The members that have been away for too long by now.
    pub(super) fn gone(&self, now: Duration) -> Vec<MemberId> {
        let over = self.away.iter().filter(|(_, until)| **until <= now);
        over.map(|(id, _)| *id).collect()
    }

    /// The partitions that were not handed over in time.
    pub(super) fn lost(&self, now: Duration) -> Vec<Place> {
        let over = self.draining.iter().filter(|(_, until)| **until <= now);
        over.map(|(place, _)| *place).collect()
    }
}
