//! Decides about committed offsets: commits, resets and forks.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::{
    Committed, Generation, GroupChange, Groups, KnownTopics, MemberId, Owned, Place, Refused, State,
};
use crate::types::{GroupName, Offset, PartitionId, TopicId};

/// An offset to commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Commit {
    pub(crate) place: Place,
    /// The next offset to read.
    pub(crate) next: Offset,
    pub(crate) metadata: Bytes,
    pub(crate) fence: Fence,
}

/// An offset to set, with its metadata.
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

/// What a commit requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fence {
    /// The partition was assigned in this generation and still has this owner. Members may have
    /// been assigned partitions in the same generation, so the generation alone does not tell who
    /// owns a partition: if `by` names a member, it must be the owner.
    Owned {
        since: Generation,
        by: Option<MemberId>,
    },
    /// The group has no members.
    NoMembers,
    /// Nothing. If the partition has an owner, it is told that the partition is assigned anew.
    Forced,
}

/// The result of a commit in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    /// The group has committed this offset, or a later one, already.
    Unchanged {
        committed: Offset,
    },
    /// Another member owns the partition, or nobody does.
    Fenced {
        current: Option<Generation>,
    },
    /// The topic or partition does not exist.
    UnknownPartition,
    /// The offset is behind the end of the log.
    BeyondEnd {
        end: Offset,
    },
}

impl Groups {
    /// Decides each commit on its own; the outcomes are in the same order. `end` returns the end of
    /// a partition's log, if the partition exists.
    pub(crate) fn decide_commit(
        &self,
        group: &GroupName,
        commits: Vec<Commit>,
        end: impl Fn(Place) -> Option<Offset>,
        at_ms: i64,
    ) -> Result<(Vec<Outcome>, Option<GroupChange>), Refused> {
        let new;
        let state = match self.by_name.get(group) {
            Some(found) => &found.state,
            None => {
                self.check_name(group)?;
                new = self.new_group();
                &new.state
            }
        };
        let is_fenced_by = |fence: Fence| commits.iter().any(|commit| commit.fence == fence);
        if is_fenced_by(Fence::NoMembers) {
            state.check_no_members()?;
        }
        let mut change = match is_fenced_by(Fence::Forced) {
            true => state.next(),
            false => state.same(),
        };
        change.began_ms = state.begin(at_ms);
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

    /// Decides to set offsets, lower ones too. Each partition is assigned anew to its owner, so
    /// that commits of what the owner has read before are fenced.
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
        change.began_ms = state.begin(at_ms);
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

    /// Decides to create a group from another one. It gets the other's offsets; or, with `replay`,
    /// it reads each partition of its topics from the beginning, and records below the other's
    /// offsets are marked as replayed.
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
        // Partitions that have come since then are new to both groups.
        change.began_ms = old.began_ms.or(Some(at_ms));
        // Records that are marked for the other group are marked for the new one too.
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

    /// Decides to delete a group with its offsets. It must have no members.
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

    /// The partitions without a committed offset, in topics that the group reads.
    fn others(&self, topics: &dyn KnownTopics) -> Vec<Place> {
        let read = self.offsets.keys().chain(self.owned.keys());
        let mut read: BTreeSet<TopicId> = read.map(|place| place.0).collect();
        read.extend(self.taken(topics).keys());
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

    /// Assigns a partition to its current owner again, in the change's generation.
    fn assign_anew(&self, change: &mut GroupChange, place: Place) {
        if let Some(owned) = self.owned.get(&place) {
            let since = change.generation;
            change.owned.push((place, Some(Owned { since, ..*owned })));
        }
    }
}
