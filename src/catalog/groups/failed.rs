//! Members whose streams the broker has ended with an error that joining again does not mend.

use std::sync::Arc;

use super::{GroupChange, Groups, KnownTopics, MemberId, Place, Refused, State};
use crate::types::GroupName;

/// Such a member. Not durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) member: MemberId,
    pub(crate) name: Arc<str>,
    /// The error, for people.
    pub(crate) error: String,
    /// The partition that it could not go on with, if it was for one.
    pub(crate) place: Option<Place>,
}

impl Groups {
    /// A member whose stream has ended so is gone, and others get its partitions at once. None
    /// where they are kept for its name.
    pub(crate) fn decide_failed(
        &self,
        group: &GroupName,
        member: MemberId,
        topics: &dyn KnownTopics,
    ) -> Result<Option<GroupChange>, Refused> {
        let found = self.find_member(group, member)?;
        let has_name = |known: &super::Member| !known.name.is_empty();
        match found.state.members.get(&member).is_some_and(has_name) {
            true => Ok(None),
            false => self.decide_leave(group, member, topics).map(Some),
        }
    }

    /// Takes note of why a member's stream was ended, to be told until the group can go on.
    pub(crate) fn note_failed(&mut self, group: &GroupName, failed: Failed) {
        if let Some(group) = self.by_name.get_mut(group) {
            group.waits.fail(failed);
        }
    }
}

impl Failed {
    /// Whether a change that is applied lets the group go on: the offset is another, or somebody
    /// has joined who may do better.
    pub(super) fn is_over(&self, state: &State, change: &GroupChange) -> bool {
        let mut set = change.offsets.iter().map(|(place, _)| *place);
        if self.place.is_some() && set.any(|place| Some(place) == self.place) {
            return true;
        }
        let mut joined = change.joined.iter().map(|member| member.id);
        match state.members.contains_key(&self.member) {
            // Its partitions are kept for it.
            true => joined.any(|id| id == self.member),
            false => joined.next().is_some(),
        }
    }
}
