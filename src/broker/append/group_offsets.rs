//! Offsets that an append commits for groups: the records that it was made from were read up to
//! there. All of them are committed in the append's journal entry, or nothing is appended.

use std::collections::BTreeSet;

use super::Checked;
use crate::{
    broker::{
        Broker, Error, Shared,
        groups::{Asked, CommitFenced, GroupOffset, check_offsets, out_of_range, refused},
    },
    catalog::{
        Change, Planned,
        groups::{Commit, Fence, Outcome, Place, Refused},
    },
    types::GroupName,
};

impl Broker {
    /// Checks the group offsets as far as no lock is needed.
    pub(super) fn check_group_offsets(
        &self,
        of_groups: Vec<(String, Vec<GroupOffset>)>,
    ) -> Result<Vec<(GroupName, Vec<Commit>)>, Error> {
        let malformed = |reason: String| Err(Error::MalformedRequest { reason });
        let mut checked = Vec::with_capacity(of_groups.len());
        let mut seen = BTreeSet::new();
        for (group, offsets) in of_groups {
            let group = GroupName::new(&group)?;
            if !seen.insert(group.clone()) {
                return malformed(format!("group {:?} is named twice", group.as_str()));
            }
            check_offsets(&offsets)?;
            let mut commits = Vec::with_capacity(offsets.len());
            for offset in offsets {
                let Some(generation) = offset.generation else {
                    return malformed(format!(
                        "an offset of group {:?} has no generation: an append commits what was assigned to a member",
                        group.as_str()
                    ));
                };
                let fence = Fence::Owned {
                    since: generation,
                    by: offset.member,
                };
                commits.push(self.shared.commit_of(offset, fence)?);
            }
            self.shared.check_once(&commits)?;
            checked.push((group, commits));
        }
        Ok(checked)
    }
}

impl Shared {
    /// The changes of groups that an append makes, or why it is refused.
    pub(super) fn decide_group_offsets(
        &self,
        append: &Checked,
        planned: Option<&Planned>,
    ) -> Result<Vec<Change>, Error> {
        let Some(planned) = planned else {
            return Ok(Vec::new());
        };
        let mut decided_all = Vec::with_capacity(append.commits.len());
        for (group, commits) in &append.commits {
            if planned.groups().get(group).is_none() {
                return Err(refused(group, Refused::UnknownGroup));
            }
            let decided = self.decide_commit(planned, group, commits.clone());
            let (outcomes, change) = decided.map_err(|error| refused(group, error))?;
            self.check_outcomes(group, commits, &outcomes)?;
            decided_all.extend(change.map(|change| (group, change)));
        }
        // Each change fits by itself; check that all fit together.
        let together = decided_all.iter().map(|(group, change)| (*group, change));
        if let Some((first, _)) = decided_all.first() {
            let checked = planned.groups().check_room_for_offsets(together);
            checked.map_err(|error| refused(first, error))?;
        }
        let mut changes = Vec::with_capacity(decided_all.len());
        for (group, change) in decided_all {
            let group = group.clone();
            changes.push(Change::Group { group, change });
        }
        Ok(changes)
    }

    /// Refuses commits if one of them would not take effect.
    fn check_outcomes(
        &self,
        group: &GroupName,
        commits: &[Commit],
        outcomes: &[Outcome],
    ) -> Result<(), Error> {
        let mut fenced = Vec::new();
        for (commit, outcome) in commits.iter().zip(outcomes) {
            match outcome {
                Outcome::Done | Outcome::Unchanged { .. } => {}
                Outcome::Fenced { current } => fenced.push((commit, *current)),
                Outcome::UnknownPartition => return Err(self.unknown_topic(commit.place)),
                Outcome::BeyondEnd { .. } => return Err(self.beyond_end(group, commit)),
            }
        }
        let Some(&(first, current)) = fenced.first() else {
            return Ok(());
        };
        let (generation, member) = match first.fence {
            Fence::Owned { since, by } => (since, by),
            Fence::NoMembers | Fence::Forced => Default::default(),
        };
        Err(Error::CommitFenced(CommitFenced {
            group: group.to_string(),
            topic: self.topic_name(first.place),
            partition: first.place.1,
            partitions: fenced.len(),
            generation,
            member,
            current,
        }))
    }

    fn beyond_end(&self, group: &GroupName, commit: &Commit) -> Error {
        let Some(at) = self
            .partitions
            .find_partition(commit.place.0, commit.place.1)
        else {
            return self.unknown_topic(commit.place);
        };
        out_of_range(group, &at, commit.next, at.range(), Asked::Commit)
    }

    fn unknown_topic(&self, place: Place) -> Error {
        Error::UnknownTopic {
            topic: self.topic_name(place),
        }
    }
}

/// The most bytes that a group's commits take in the journal.
pub(super) fn most_bytes((group, commits): &(GroupName, Vec<Commit>)) -> usize {
    let mut bytes = group.as_str().len() + 128;
    for commit in commits {
        bytes += 32 + commit.metadata.len() + 28;
    }
    bytes
}
