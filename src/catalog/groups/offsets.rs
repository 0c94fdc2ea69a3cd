//! How far groups have come: commits, resets and forks, decided.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::{
    Committed, Generation, GroupChange, Groups, KnownTopics, MemberId, Owned, Place, Refused, State,
};
use crate::types::{GroupName, Offset, PartitionId, TopicId};

/// An offset to be committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Commit {
    pub(crate) place: Place,
    /// The next offset to read.
    pub(crate) next: Offset,
    pub(crate) metadata: Bytes,
    pub(crate) fence: Fence,
}

/// Where an offset is set, and what the client keeps with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SetTo {
    pub(crate) next: Offset,
    pub(crate) metadata: Bytes,
}

impl From<Offset> for SetTo {
    fn from(next: Offset) -> Self {
        let metadata = Bytes::new();
        Self { next, metadata }
    }
}

/// What must hold for a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fence {
    /// The partition has been assigned in this generation, and has its owner still. Members may
    /// have got theirs in one generation, so a generation alone does not say whose a partition is:
    /// the owner must be this member, where one is named.
    Owned {
        since: Generation,
        by: Option<MemberId>,
    },
    /// The group has no members.
    NoMembers,
    /// Nothing: whoever has the partition is told that it is assigned anew.
    Forced,
}

/// What comes of a commit in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    /// The group is as far, or further.
    Unchanged {
        committed: Offset,
    },
    /// Another has the partition, or nobody.
    Fenced {
        current: Option<Generation>,
    },
    /// There is no such topic or partition.
    UnknownPartition,
    /// The log ends before it.
    BeyondEnd {
        end: Offset,
    },
}

impl Groups {
    /// Offsets are committed, each by itself: what comes of each, in their order. `end` is where a
    /// partition's log ends, if there is one.
    pub(crate) fn decide_commit(
        &self,
        group: &GroupName,
        commits: Vec<Commit>,
        end: impl Fn(Place) -> Option<Offset>,
        at_ms: i64,
    ) -> Result<(Vec<Outcome>, Option<GroupChange>), Refused> {
        self.check_name(group)?;
        let new = self.new_group();
        let state = &self.by_name.get(group).unwrap_or(&new).state;
        let is_fenced_by = |fence: Fence| commits.iter().any(|commit| commit.fence == fence);
        if is_fenced_by(Fence::NoMembers) {
            state.check_no_members()?;
        }
        let mut change = match is_fenced_by(Fence::Forced) {
            true => state.next(),
            false => state.same(),
        };
        let mut outcomes = Vec::with_capacity(commits.len());
        for commit in commits {
            let outcome = state.outcome(&commit, end(commit.place));
            if outcome == Outcome::Done {
                if commit.fence == Fence::Forced {
                    state.assign_anew(&mut change, commit.place);
                }
                let committed = Committed {
                    next: commit.next,
                    at_ms,
                    metadata: commit.metadata,
                };
                change.offsets.push((commit.place, committed));
            }
            outcomes.push(outcome);
        }
        if change.offsets.is_empty() {
            return Ok((outcomes, None));
        }
        self.check_room_for_offsets([(group, &change)])?;
        Ok((outcomes, Some(change)))
    }

    /// Offsets are set, lower ones too. Whoever has a partition is told that it is assigned anew,
    /// so that what it commits of what it has read before is fenced.
    pub(crate) fn decide_reset(
        &self,
        group: &GroupName,
        offsets: Vec<(Place, impl Into<SetTo>)>,
        at_ms: i64,
    ) -> Result<GroupChange, Refused> {
        self.check_name(group)?;
        let new = self.new_group();
        let state = &self.by_name.get(group).unwrap_or(&new).state;
        let mut change = state.next();
        for (place, to) in offsets {
            state.assign_anew(&mut change, place);
            let SetTo { next, metadata } = to.into();
            let committed = Committed {
                next,
                at_ms,
                metadata,
            };
            change.offsets.push((place, committed));
        }
        self.check_room_for_offsets([(group, &change)])?;
        Ok(change)
    }

    /// A new group is where another one is; or from the beginning of each partition of its topics,
    /// and what is below where the other is counts as replayed.
    pub(crate) fn decide_fork(
        &self,
        from: &GroupName,
        to: &GroupName,
        replay: bool,
        topics: &dyn KnownTopics,
        at_ms: i64,
    ) -> Result<GroupChange, Refused> {
        let old = &self.find(from)?.state;
        if self.by_name.contains_key(to) {
            return Err(Refused::GroupExists);
        }
        self.check_name(to)?;
        let mut change = self.new_group().state.next();
        // What is a replay for the other one is none the less for the new one.
        let mut until = old.replay_until.clone();
        if replay {
            for (place, committed) in &old.offsets {
                let replayed = until.entry(*place).or_default();
                *replayed = committed.next.max(*replayed);
            }
            for place in old.others(topics) {
                until.entry(place).or_default();
            }
        } else {
            let offsets = old.offsets.iter().map(|(place, committed)| {
                (
                    *place,
                    Committed {
                        at_ms,
                        ..committed.clone()
                    },
                )
            });
            change.offsets.extend(offsets);
        }
        change.replay_until.extend(until);
        change.retain(|place| topics.has(place));
        self.check_room_for_offsets([(to, &change)])?;
        Ok(change)
    }

    /// A group without members is deleted, with its offsets.
    pub(crate) fn decide_delete(&self, group: &GroupName) -> Result<GroupChange, Refused> {
        let state = &self.find(group)?.state;
        state.check_no_members()?;
        Ok(GroupChange {
            is_deleted: true,
            ..state.next()
        })
    }
}

impl State {
    fn check_no_members(&self) -> Result<(), Refused> {
        match self.members.len() {
            0 => Ok(()),
            members => Err(Refused::HasMembers { members }),
        }
    }

    /// The partitions of topics that the group reads, of which it has committed nothing.
    fn others(&self, topics: &dyn KnownTopics) -> Vec<Place> {
        let read = self.offsets.keys().chain(self.owned.keys());
        let read: BTreeSet<TopicId> = read.map(|place| place.0).collect();
        let mut others = Vec::new();
        for topic in read {
            let all = (0..).map(|partition| (topic, PartitionId(partition)));
            let there = all.take_while(|place| topics.has(*place));
            others.extend(there.filter(|place| !self.offsets.contains_key(place)));
        }
        others
    }

    fn outcome(&self, commit: &Commit, end: Option<Offset>) -> Outcome {
        let Some(end) = end else {
            return Outcome::UnknownPartition;
        };
        let owned = self.owned.get(&commit.place);
        if let Fence::Owned { since, by } = commit.fence {
            let is_its_own = |owned: &Owned| {
                owned.since == since && by.is_none_or(|member| owned.owner == member)
            };
            if !owned.is_some_and(is_its_own) {
                let current = owned.map(|owned| owned.since);
                return Outcome::Fenced { current };
            }
        }
        if commit.next > end {
            return Outcome::BeyondEnd { end };
        }
        match self.offsets.get(&commit.place) {
            Some(before)
                if commit.next < before.next
                    || commit.next == before.next && commit.metadata == before.metadata =>
            {
                let committed = before.next;
                Outcome::Unchanged { committed }
            }
            _ => Outcome::Done,
        }
    }

    /// Whoever has a partition gets it in the change's generation.
    fn assign_anew(&self, change: &mut GroupChange, place: Place) {
        if let Some(owned) = self.owned.get(&place) {
            let since = change.generation;
            change.owned.push((place, Some(Owned { since, ..*owned })));
        }
    }
}
