//! Applies durable changes: the only way in which groups change, live and in recovery. If all
//! changes from some point on are applied again, nothing changes.

use std::time::Duration;

use super::{Group, GroupChange, Groups, Place, Snapshot, State, waits::Waits};
use crate::types::{GroupName, TopicId};

impl Groups {
    /// Restores groups from a snapshot. All members are waited for from `now` on.
    pub(crate) fn restore(snapshot: Snapshot, now: Duration) -> Self {
        let mut groups = Self {
            ended: snapshot.ended,
            ..Self::default()
        };
        for (name, state) in snapshot.groups {
            groups.used = groups.used.with(state.size());
            let mut group = Group {
                state,
                ..Group::default()
            };
            group.waits.begin(&group.state, now);
            groups.by_name.insert(name, group);
        }
        groups
    }

    /// The durable state of all groups.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "a checkpoint takes it in parts")
    )]
    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot {
            ended: self.ended,
            ..Snapshot::default()
        };
        for (name, group) in &self.by_name {
            snapshot.groups.insert(name.clone(), group.state.clone());
        }
        snapshot
    }

    /// Applies a change, as of `now`.
    pub(crate) fn apply(&mut self, name: &GroupName, change: &GroupChange, now: Duration) {
        if let Some(noted) = &mut self.noted {
            noted.note(name, change);
        }
        let group = self.by_name.entry(name.clone());
        let group = group.or_insert_with(|| Group {
            waits: Waits::new(now),
            ..Group::default()
        });
        self.used = self.used.without(group.state.size());
        if change.is_deleted {
            self.ended = self.ended.max(change.generation);
            self.by_name.remove(name);
            return;
        }
        let before = group.state.generation;
        group.state.apply(change);
        group.waits.follow(&group.state, change, before, now);
        self.used = self.used.with(group.state.size());
    }

    /// Forgets a deleted topic; a new topic with its name has another id.
    pub(crate) fn forget_topic(&mut self, topic: TopicId) {
        for group in self.by_name.values_mut() {
            self.used = self.used.without(group.state.size());
            group.state.forget_topic(topic);
            group.waits.forget_topic(topic);
            self.used = self.used.with(group.state.size());
        }
    }

    /// After a start: waits for all members from `now` on, including those whose joins were
    /// replayed.
    pub(crate) fn wait_for_all(&mut self, now: Duration) {
        for group in self.by_name.values_mut() {
            group.waits = Waits::default();
            group.waits.begin(&group.state, now);
        }
    }

    /// A copy that is used for decisions only: it does not note changes for checkpoints.
    pub(crate) fn to_plan(&self) -> Self {
        Self {
            by_name: self.by_name.clone(),
            used: self.used,
            most_bytes: self.most_bytes,
            ended: self.ended,
            noted: None,
        }
    }
}

impl Snapshot {
    /// Applies a change that was noted after the snapshot.
    pub(crate) fn apply(&mut self, name: &GroupName, change: &GroupChange) {
        if change.is_deleted {
            self.ended = self.ended.max(change.generation);
            self.groups.remove(name);
            return;
        }
        self.groups.entry(name.clone()).or_default().apply(change);
    }

    pub(crate) fn forget_topic(&mut self, topic: TopicId) {
        self.retain(|place| place.0 != topic);
    }

    /// Forgets partitions that do not exist.
    pub(crate) fn retain(&mut self, is_there: impl Fn(Place) -> bool) {
        for state in self.groups.values_mut() {
            state.retain(&is_there);
        }
    }
}

impl State {
    pub(crate) fn apply(&mut self, change: &GroupChange) {
        self.generation = self.generation.max(change.generation);
        self.is_ephemeral = change.is_ephemeral;
        self.began_ms = change.began_ms.or(self.began_ms);
        for id in &change.left {
            let left = self.members.remove(id);
            self.member_bytes -= left.map_or(0, |left| left.bytes());
        }
        for member in &change.joined {
            self.member_bytes += member.bytes();
            let before = self.members.insert(member.id, member.clone());
            self.member_bytes -= before.map_or(0, |before| before.bytes());
        }
        for (place, owned) in &change.owned {
            match owned {
                Some(owned) => drop(self.owned.insert(*place, *owned)),
                None => drop(self.owned.remove(place)),
            }
        }
        for (place, committed) in &change.offsets {
            self.metadata_bytes += committed.metadata.len();
            if let Some(before) = self.offsets.insert(*place, committed.clone()) {
                self.metadata_bytes -= before.metadata.len();
            }
        }
        self.replay_until
            .extend(change.replay_until.iter().copied());
    }

    fn forget_topic(&mut self, topic: TopicId) {
        self.retain(|place| place.0 != topic);
    }

    /// Forgets partitions that do not exist.
    fn retain(&mut self, is_there: impl Fn(Place) -> bool) {
        self.owned.retain(|place, _| is_there(*place));
        self.replay_until.retain(|place, _| is_there(*place));
        let metadata_bytes = &mut self.metadata_bytes;
        self.offsets.retain(|place, committed| {
            let is_there = is_there(*place);
            if !is_there {
                *metadata_bytes -= committed.metadata.len();
            }
            is_there
        });
    }
}
