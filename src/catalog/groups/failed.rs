//! Members whose streams the broker has ended, with an error that joining again does not resolve.

use std::sync::Arc;

use super::{GroupChange, Groups, KnownTopics, MemberId, Place, Refused, State};
use crate::types::GroupName;

/// A member that the broker has ended with an error. Not durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    pub(crate) member: MemberId,
    pub(crate) name: Arc<str>,
    /// The error's text.
    pub(crate) error: String,
    /// The partition that caused the error, if it was one.
    pub(crate) place: Option<Place>,
}

impl Groups {
    /// Removes such a member, so that others get its partitions at once. `None` if the partitions
    /// are kept for its name.
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

    /// Remembers why a member's stream was ended, to show it until the group can continue.
    pub(crate) fn note_failed(&mut self, group: &GroupName, failed: Failed) {
        if let Some(group) = self.by_name.get_mut(group) {
            group.waits.fail(failed);
        }
    }
}

impl Failed {
    /// Whether a change lets the group continue: the offset in question has changed, or somebody
    /// has joined who may be able to read it.
    pub(super) fn is_over(&self, state: &State, change: &GroupChange) -> bool {
        let mut set = change.offsets.iter().map(|(place, _)| *place);
        if self.place.is_some() && set.any(|place| Some(place) == self.place) {
            return true;
        }
        let mut joined = change.joined.iter().map(|member| member.id);
        match state.members.contains_key(&self.member) {
            // The member's partitions are kept for it, so only itself can continue.
            true => joined.any(|id| id == self.member),
            false => joined.next().is_some(),
        }
    }
}
