//! Decides about members that join, leave and hand partitions over. Nothing is changed here.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{
    Group, GroupChange, Groups, Instance, KnownTopics, Many, Member, MemberId, Owned, Place,
    Refused, State,
    assign::{self, Holder, Wanted},
};
use crate::types::{
    GroupName, TopicName,
    limits::{MAX_GROUP_MEMBERS, MAX_GROUP_TOPICS},
};

/// The request of a member that joins.
#[derive(Clone, Debug)]
pub(crate) struct Join {
    /// The id for it if it is a new member.
    pub(crate) fresh: MemberId,
    /// The id that it had, if it comes back.
    pub(crate) back: Option<MemberId>,
    /// Which client it is, if it comes back. `None` is the first client that had this member.
    pub(crate) instance: Option<Instance>,
    /// Its name, which is unique in the group; empty for none.
    pub(crate) name: Arc<str>,
    pub(crate) topics: BTreeSet<TopicName>,
    pub(crate) prefixes: BTreeSet<Arc<str>>,
    pub(crate) session: Duration,
    pub(crate) drain: Duration,
    pub(crate) client: Arc<str>,
    /// Whether the group ends with its last member.
    pub(crate) is_ephemeral: bool,
    /// The time, by the broker's clock.
    pub(crate) at_ms: i64,
}

/// The result of a join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Joined {
    pub(crate) member: MemberId,
    pub(crate) instance: Instance,
    /// Whether the member existed already. Then a stream that still has it is fenced.
    pub(crate) was_there: bool,
    pub(crate) change: GroupChange,
}

impl Groups {
    /// Decides a join. A member that existed before, by its name or its former id, keeps its
    /// partitions in a new generation, so commits of its former stream are fenced. A new client
    /// gets the member with its name; the client that had it before cannot come back, neither by
    /// the id nor by the name.
    pub(crate) fn decide_join(
        &self,
        group: &GroupName,
        join: Join,
        topics: &dyn KnownTopics,
        now: Duration,
    ) -> Result<Joined, Refused> {
        self.check_name(group)?;
        let new = self.new_group();
        let found = self.by_name.get(group);
        let Group { state, waits } = found.unwrap_or(&new);
        let back = join.back.and_then(|id| state.members.get(&id));
        let known = state.named(&join.name).or(back);
        let is_new = known.is_none();
        check_join(found, &join, is_new)?;
        let comes_as = join.instance.or(join.back.map(Instance::first_of));
        if let (Some(known), Some(instance)) = (known, comes_as)
            && known.instance != instance
        {
            return Err(Refused::Fenced);
        }
        // A member that comes back by its id alone keeps its name.
        let name = match known {
            Some(known) if join.name.is_empty() => Arc::clone(&known.name),
            _ => join.name,
        };
        let member = Member {
            id: known.map_or(join.fresh, |known| known.id),
            instance: comes_as.unwrap_or(Instance::first_of(join.fresh)),
            name,
            topics: join.topics,
            prefixes: join.prefixes,
            session: join.session,
            drain: join.drain,
            client: join.client,
        };
        self.check_room_for_member(group, state, &member, topics)?;
        let (id, instance, was_there) = (member.id, member.instance, !is_new);
        let may_assign = waits.may_assign(now);
        // A new member that gets nothing yet needs no new generation, so many joins make few
        // generations.
        let next = match was_there || may_assign {
            true => state.next(),
            false => state.same(),
        };
        let mut change = GroupChange {
            is_ephemeral: join.is_ephemeral,
            began_ms: state.begin(join.at_ms),
            ..next
        };
        let mut takes = BTreeSet::new();
        member.takes(topics, &mut |topic, _| {
            takes.insert(topic);
        });
        change.joined.push(member);
        for (place, owned) in state.owned.iter().filter(|(_, owned)| owned.owner == id) {
            let since = change.generation;
            // If it does not subscribe to the topic any more, it must hand the partition over when
            // partitions are next assigned.
            let is_draining = owned.is_draining || !takes.contains(&place.0);
            let anew = Owned {
                since,
                is_draining,
                ..*owned
            };
            change.owned.push((*place, Some(anew)));
        }
        if may_assign {
            let is_away = |other| other != id && waits.is_away(other);
            state.assign(&mut change, topics, is_away, &mut self.room_for_owned());
        }
        change.retain(|place| topics.has(place));
        Ok(Joined {
            member: id,
            instance,
            was_there,
            change,
        })
    }

    /// Decides that a member leaves: others get its partitions at once.
    pub(crate) fn decide_leave(
        &self,
        group: &GroupName,
        member: MemberId,
        topics: &dyn KnownTopics,
    ) -> Result<GroupChange, Refused> {
        let group = self.find_member(group, member)?;
        Ok(group.without(&[member], &[], topics, &mut self.room_for_owned()))
    }

    /// Decides that a member is removed, as it is when this client has it.
    pub(crate) fn decide_remove(
        &self,
        group: &GroupName,
        (member, instance): (MemberId, Instance),
        topics: &dyn KnownTopics,
    ) -> Result<GroupChange, Refused> {
        let known = self.find_member(group, member)?.state.members.get(&member);
        if known.is_none_or(|known| known.instance != instance) {
            return Err(Refused::UnknownMember);
        }
        self.decide_leave(group, member, topics)
    }

    /// Decides that a member has handed these partitions over. Ignores partitions that it does not
    /// own, or was not told to hand over. While the group waits for further ones, these may stay
    /// without an owner for a moment, so that many that are handed over make few generations.
    pub(crate) fn decide_drained(
        &self,
        group: &GroupName,
        member: MemberId,
        places: &[Place],
        topics: &dyn KnownTopics,
        now: Duration,
    ) -> Result<Option<GroupChange>, Refused> {
        let group = self.find_member(group, member)?;
        let is_drained = |place: &Place| {
            let owned = group.state.owned.get(place);
            owned.is_some_and(|owned| owned.owner == member && owned.is_draining)
        };
        let drained: Vec<Place> = places.iter().copied().filter(is_drained).collect();
        if drained.is_empty() {
            return Ok(None);
        }
        let mut owned = group.state.owned.iter();
        let are_more = owned.any(|(place, owned)| owned.is_draining && !drained.contains(place));
        if are_more && !group.waits.may_pass_on(now) {
            let mut change = group.state.same();
            change.owned = drained.into_iter().map(|place| (place, None)).collect();
            return Ok(Some(change));
        }
        let room = &mut self.room_for_owned();
        Ok(Some(group.without(&[], &drained, topics, room)))
    }

    /// Notes that a member's stream has broken. It may come back within its session time.
    pub(crate) fn lose(&mut self, group: &GroupName, member: MemberId, now: Duration) {
        if let Some(group) = self.by_name.get_mut(group)
            && let Some(known) = group.state.members.get(&member)
        {
            group.waits.lose(member, now + known.session);
        }
    }

    /// When [`Self::on_deadline`] has to be called next.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        let waits = self.by_name.values().filter_map(|group| group.waits.next());
        waits.min()
    }

    /// The changes for waits that have ended by now, one for each group. If the journal refuses
    /// one, call [`Self::put_off`].
    pub(crate) fn on_deadline(
        &mut self,
        topics: &dyn KnownTopics,
        now: Duration,
    ) -> Vec<(GroupName, GroupChange)> {
        let (mut changes, mut room) = (Vec::new(), self.room_for_owned());
        for (name, group) in &mut self.by_name {
            if group.waits.next().is_none_or(|next| next > now) {
                continue;
            }
            let (gone, lost) = (group.waits.gone(now), group.waits.lost(now));
            let change = group.without(&gone, &lost, topics, &mut room);
            group.waits.assigned(now);
            if change != group.state.next() {
                changes.push((name.clone(), change));
            }
        }
        changes
    }

    /// Assigns the group's partitions again, a moment later.
    pub(crate) fn share_anew(&mut self, group: &GroupName, now: Duration) {
        if let Some(group) = self.by_name.get_mut(group) {
            group.waits.share_anew(now);
        }
    }

    /// Decides again, a moment later, what [`Self::on_deadline`] has decided.
    pub(crate) fn put_off(&mut self, group: &GroupName, now: Duration) {
        if let Some(group) = self.by_name.get_mut(group) {
            group.waits.put_off(now);
        }
    }

    /// The changes for topics and partitions that are new or gone, one for each group.
    pub(crate) fn on_topics(&self, topics: &dyn KnownTopics) -> Vec<(GroupName, GroupChange)> {
        let (mut changes, mut room) = (Vec::new(), self.room_for_owned());
        for (name, group) in &self.by_name {
            let change = group.without(&[], &[], topics, &mut room);
            if change != group.state.next() {
                changes.push((name.clone(), change));
            }
        }
        changes
    }
}

fn check_join(group: Option<&Group>, join: &Join, is_new: bool) -> Result<(), Refused> {
    let count = join.topics.len() + join.prefixes.len();
    if count > MAX_GROUP_TOPICS {
        return Err(Refused::TooMany {
            what: Many::Topics,
            count,
            most: MAX_GROUP_TOPICS,
        });
    }
    let Some(group) = group else {
        return Ok(());
    };
    let is_ephemeral = group.state.is_ephemeral;
    if is_ephemeral != join.is_ephemeral {
        return Err(Refused::OtherKind { is_ephemeral });
    }
    let count = group.state.members.len() + 1;
    if is_new && count > MAX_GROUP_MEMBERS {
        return Err(Refused::TooMany {
            what: Many::Members,
            count,
            most: MAX_GROUP_MEMBERS,
        });
    }
    Ok(())
}

impl Group {
    /// Removes members, takes partitions from their owners, and assigns all these to others. `room`
    /// is how many more partitions may have an owner.
    pub(super) fn without(
        &self,
        gone: &[MemberId],
        lost: &[Place],
        topics: &dyn KnownTopics,
        room: &mut usize,
    ) -> GroupChange {
        let mut change = self.state.next();
        change.left.extend_from_slice(gone);
        let is_last = !gone.is_empty() && self.state.members.len() == gone.len();
        if self.state.is_ephemeral && is_last {
            change.is_deleted = true;
            return change;
        }
        for (place, owned) in &self.state.owned {
            if gone.contains(&owned.owner) || lost.contains(place) {
                change.owned.push((*place, None));
            }
        }
        let is_away = |member| self.waits.is_away(member);
        self.state.assign(&mut change, topics, is_away, room);
        // A partition about to be deleted is left to the deletion of its topic, which may still be
        // refused.
        change.retain(|place| topics.has(place));
        change
    }
}

impl State {
    /// Adds assignments to a change: partitions without an owner get one, and owners that must give
    /// some up are told to hand them over. Members that are away keep their partitions and get
    /// none. Partitions beyond `room` stay without an owner.
    fn assign(
        &self,
        change: &mut GroupChange,
        topics: &dyn KnownTopics,
        is_away: impl Fn(MemberId) -> bool,
        room: &mut usize,
    ) {
        let mut after = self.clone();
        after.apply(change);
        *room += self.owned.len().saturating_sub(after.owned.len());
        let holder = |place| match after.owned.get(&place) {
            Some(owned) if owned.is_draining => Holder::Nobody,
            Some(owned) if is_away(owned.owner) => Holder::Away,
            Some(owned) => Holder::Member(owned.owner),
            None => Holder::Nobody,
        };
        let target = assign::assign(&after.wanted(topics, &is_away), holder);
        let mut owned: BTreeMap<Place, Option<Owned>> = change.owned.drain(..).collect();
        let mut given = 0;
        for (&place, &owner) in target
            .iter()
            .filter(|(at, _)| !after.owned.contains_key(at))
            .take(*room)
        {
            let new = Owned {
                owner,
                since: change.generation,
                is_draining: false,
            };
            owned.insert(place, Some(new));
            given += 1;
        }
        *room -= given;
        for (&place, has) in after.owned.iter().filter(|(_, has)| !has.is_draining) {
            // A member that is away cannot hand anything over, so it keeps its partitions.
            if target.get(&place) != Some(&has.owner) && !is_away(has.owner) {
                let is_draining = true;
                owned.insert(
                    place,
                    Some(Owned {
                        is_draining,
                        ..*has
                    }),
                );
            }
        }
        change.owned = owned.into_iter().collect();
    }

    /// The topics of the members that are not away.
    pub(super) fn wanted(
        &self,
        topics: &dyn KnownTopics,
        is_away: impl Fn(MemberId) -> bool,
    ) -> Wanted {
        let mut wanted = Wanted::default();
        for member in self.members.values().filter(|member| !is_away(member.id)) {
            wanted.members.insert(member.id);
            member.takes(topics, &mut |topic, partitions| {
                wanted.partitions.insert(topic, partitions);
                wanted.takers.entry(topic).or_default().insert(member.id);
            });
        }
        wanted
    }
}
