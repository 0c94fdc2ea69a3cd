//! Partitions that make no progress are given to another member.

use super::{Group, GroupChange, Groups, KnownTopics, MemberId, Place, Refused};
use crate::types::{GroupName, TopicId};

impl Groups {
    /// Takes partitions that make no progress from their owner. If no other member subscribes to
    /// the topic, the same member gets them again, in a new generation and from the committed
    /// offset on.
    pub(crate) fn decide_stuck(
        &self,
        group: &GroupName,
        member: MemberId,
        places: &[Place],
        topics: &dyn KnownTopics,
    ) -> Result<Option<GroupChange>, Refused> {
        let group = self.find_member(group, member)?;
        let owned = &group.state.owned;
        let has = |place: &Place| owned.get(place).is_some_and(|has| has.owner == member);
        let stuck: Vec<Place> = places.iter().copied().filter(has).collect();
        if stuck.is_empty() {
            return Ok(None);
        }
        let room = &mut self.room_for_owned();
        let mut change = group.without(&[], &stuck, topics, room);
        for place in stuck {
            group.give_to_another(&mut change, place, member, topics);
        }
        Ok(Some(change))
    }
}

impl Group {
    /// If a change gives a partition to this member, gives it to another that subscribes to the
    /// topic, if there is one.
    fn give_to_another(
        &self,
        change: &mut GroupChange,
        place: Place,
        member: MemberId,
        topics: &dyn KnownTopics,
    ) {
        let Some(other) = self.another_taker(change, place.0, member, topics) else {
            return;
        };
        for (at, owned) in &mut change.owned {
            if *at == place
                && let Some(owned) = owned
                && owned.owner == member
            {
                owned.owner = other;
            }
        }
    }

    /// The member with the fewest partitions among the others that subscribe to a topic.
    fn another_taker(
        &self,
        change: &GroupChange,
        topic: TopicId,
        member: MemberId,
        topics: &dyn KnownTopics,
    ) -> Option<MemberId> {
        let mut after = self.state.clone();
        after.apply(change);
        let wanted = after.wanted(topics, |other| self.waits.is_away(other));
        let takers = wanted.takers.get(&topic)?.iter().copied();
        let others = takers.filter(|other| *other != member);
        let count = |member: &MemberId| {
            let owned = after.owned.values();
            owned.filter(|owned| owned.owner == *member).count()
        };
        others.min_by_key(count)
    }
}
