//! Notes what has changed in groups since the last checkpoint, so that a checkpoint writes no more
//! than that.
//!
//! A whole group and its changes are both written as a [`GroupChange`], so the same `apply` reads
//! them.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use super::{GroupChange, Groups, MemberId, Place, State};
use crate::types::GroupName;

/// The parts of groups that were changed. Looking these up gives all changes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Noted(BTreeMap<GroupName, Touched>);

/// The changed parts of a group.
#[derive(Clone, Debug, Default)]
struct Touched {
    /// Whether it was deleted; another group may have its name since.
    is_deleted: bool,
    members: BTreeSet<MemberId>,
    owned: BTreeSet<Place>,
    offsets: BTreeSet<Place>,
    replay_until: BTreeSet<Place>,
}

impl Noted {
    /// Notes a change that is applied.
    pub(super) fn note(&mut self, name: &GroupName, change: &GroupChange) {
        let touched = self.0.entry(name.clone()).or_default();
        if change.is_deleted {
            *touched = Touched {
                is_deleted: true,
                ..Touched::default()
            };
            return;
        }
        touched.members.extend(&change.left);
        let joined = change.joined.iter().map(|member| member.id);
        touched.members.extend(joined);
        let owned = change.owned.iter().map(|(place, _)| *place);
        touched.owned.extend(owned);
        let offsets = change.offsets.iter().map(|(place, _)| *place);
        touched.offsets.extend(offsets);
        let replayed = change.replay_until.iter().map(|(place, _)| *place);
        touched.replay_until.extend(replayed);
    }

    /// Whether everything was looked up.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Touched {
    /// The change to the current state of the touched parts, for at most `left` of them; decreases
    /// `left`. Parts of deleted topics are left out.
    fn take_change(&mut self, state: &State, left: &mut usize) -> GroupChange {
        let mut change = state.same();
        change.began_ms = state.began_ms;
        while let Some(id) = pop(&mut self.members, left) {
            match state.members.get(&id) {
                Some(member) => change.joined.push(member.clone()),
                None => change.left.push(id),
            }
        }
        while let Some(place) = pop(&mut self.owned, left) {
            change.owned.push((place, state.owned.get(&place).copied()));
        }
        while let Some(place) = pop(&mut self.offsets, left) {
            if let Some(committed) = state.offsets.get(&place) {
                change.offsets.push((place, committed.clone()));
            }
        }
        while let Some(place) = pop(&mut self.replay_until, left) {
            if let Some(until) = state.replay_until.get(&place) {
                change.replay_until.push((place, *until));
            }
        }
        change
    }

    fn is_empty(&self) -> bool {
        self.members.is_empty()
            && self.owned.is_empty()
            && self.offsets.is_empty()
            && self.replay_until.is_empty()
    }
}

fn pop<T: Ord>(of: &mut BTreeSet<T>, left: &mut usize) -> Option<T> {
    let one_less = left.checked_sub(1)?;
    let first = of.pop_first()?;
    *left = one_less;
    Some(first)
}

impl State {
    /// The change that turns a new group into this one.
    pub(crate) fn whole(&self) -> GroupChange {
        let mut change = self.same();
        change.began_ms = self.began_ms;
        change.joined.extend(self.members.values().cloned());
        for (place, owned) in &self.owned {
            change.owned.push((*place, Some(*owned)));
        }
        for (place, committed) in &self.offsets {
            change.offsets.push((*place, committed.clone()));
        }
        for (place, until) in &self.replay_until {
            change.replay_until.push((*place, *until));
        }
        change
    }
}

impl Groups {
    /// Starts to note changes; what was noted before is in a snapshot.
    pub(crate) fn note_changes(&mut self) {
        self.noted = Some(Noted::default());
    }

    /// Takes everything that was noted since the last call, or since
    /// [`note_changes`](Self::note_changes). [`look_up`](Self::look_up) then finds the current
    /// state of it, in parts.
    pub(crate) fn take_noted(&mut self) -> Noted {
        self.noted.replace(Noted::default()).unwrap_or_default()
    }

    /// Looks up the current state of about `about` noted members and partitions. Deleted topics are
    /// left out. Changes may be applied between two calls; these are noted again.
    pub(crate) fn look_up(
        &self,
        noted: &mut Noted,
        about: usize,
        changes: &mut Vec<(GroupName, GroupChange)>,
    ) {
        let mut left = about;
        while left > 0
            && let Some(mut first) = noted.0.first_entry()
        {
            let (name, touched) = (first.key().clone(), first.get_mut());
            if std::mem::take(&mut touched.is_deleted) {
                let deleted = GroupChange {
                    is_deleted: true,
                    generation: self.ended,
                    ..GroupChange::default()
                };
                changes.push((name.clone(), deleted));
            }
            let group = self.by_name.get(&name);
            if let Some(group) = group {
                let change = touched.take_change(&group.state, &mut left);
                changes.push((name, change));
            }
            if group.is_none() || touched.is_empty() {
                first.remove();
            }
            left = left.saturating_sub(1);
        }
    }

    /// The groups behind `after` in the order of their names: as many as have about `about` offsets
    /// together, and at least one if there are any.
    pub(crate) fn snapshot_behind(
        &self,
        after: Option<&GroupName>,
        about: usize,
    ) -> Vec<(GroupName, State)> {
        let behind = match after {
            Some(after) => (Bound::Excluded(after), Bound::Unbounded),
            None => (Bound::Unbounded, Bound::Unbounded),
        };
        let (mut taken, mut size) = (Vec::new(), 0);
        for (name, group) in self.by_name.range::<GroupName, _>(behind) {
            taken.push((name.clone(), group.state.clone()));
            size += 1 + group.state.offsets.len() + group.state.members.len();
            if size >= about {
                break;
            }
        }
        taken
    }
}
