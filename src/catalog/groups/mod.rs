//! Consumer groups: who is in them, who has which partition, and how far each has come.
//!
//! The broker assigns (`assign.rs`). A partition has one owner at a time: it goes to the next one
//! only when the owner has handed it over (*drained*), was given time enough to do so, or is gone.
//! With each owner it gets a new *generation*, which a commit names: one of an earlier generation
//! is fenced, whoever sends it. Committed offsets belong to the topic's id, and go up unless they
//! are reset.
//!
//! Every decision becomes a [`GroupChange`], which says what came of it and not what was asked: it
//! is applied the same way by every version of the broker, whatever its assignment would have been.
//!
//! What a group waits for is no durable state: a member whose stream has broken, a partition that
//! is being drained, others that may join. [`Waits`] has it, with the time when the wait is over. A
//! start waits anew for all members, so that everyone keeps what it had.

mod apply;
mod assign;
mod changes;
mod decide;
mod failed;
mod held;
mod offsets;
mod room;
mod standing;
mod stuck;
mod waits;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;

use changes::Noted;
pub(crate) use decide::Join;
pub(crate) use failed::Failed;
pub(crate) use held::HeldFrom;
pub(crate) use offsets::{Commit, Fence, Outcome, SetTo};
use room::Used;
pub(crate) use standing::Standing;
use waits::Waits;

use crate::types::{GroupName, GroupNameError, Offset, PartitionId, TopicId, TopicName};

/// All groups.
#[derive(Clone, Debug, Default)]
pub(crate) struct Groups {
    by_name: BTreeMap<GroupName, Group>,
    used: Used,
    /// How many bytes of memory they may take up, where that is bounded: see `room.rs`.
    most_bytes: Option<usize>,
    /// The highest generation of all groups that were deleted: one that gets such a name goes on
    /// behind it, so that what a member of the former one sends is fenced.
    ended: Generation,
    /// What has changed since the last checkpoint, where one is written of these groups.
    noted: Option<Noted>,
}

/// What is durable of all groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// The highest generation of all groups that were deleted.
    pub(crate) ended: Generation,
    pub(crate) groups: BTreeMap<GroupName, State>,
}

/// A partition of a topic.
pub(crate) type Place = (TopicId, PartitionId);

/// What changes with each owner of a partition. Counted for the whole group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Generation(pub(crate) u64);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A member of a group, drawn at random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct MemberId(pub(crate) u64);

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Which client has a member. Whoever joins with a member's name and has not had it before is
/// another one, and from then on the former one does not get it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Instance(pub(crate) u64);

/// A group. It is there from its first member or committed offset on until it is deleted, or if it
/// is ephemeral, until its last member has left.
#[derive(Clone, Debug, Default)]
pub(crate) struct Group {
    state: State,
    waits: Waits,
}

/// What of a group is durable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) generation: Generation,
    pub(crate) is_ephemeral: bool,
    pub(crate) members: BTreeMap<MemberId, Member>,
    pub(crate) owned: BTreeMap<Place, Owned>,
    pub(crate) offsets: BTreeMap<Place, Committed>,
    /// Of a group that repeats what another has done: how far that had come. What is below is read
    /// as replayed; while nothing is committed, the partition is read from its beginning.
    pub(crate) replay_until: BTreeMap<Place, Offset>,
    /// Of all offsets.
    metadata_bytes: usize,
    /// What its members take up.
    member_bytes: usize,
}

/// A member as it has joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) id: MemberId,
    /// The client that has it now.
    pub(crate) instance: Instance,
    /// Its partitions are kept for the next member that joins with this name. Empty for none.
    pub(crate) name: Arc<str>,
    /// The topics it takes, and the beginnings of the names of topics it takes.
    pub(crate) topics: BTreeSet<TopicName>,
    pub(crate) prefixes: BTreeSet<Arc<str>>,
    /// How long it may be away.
    pub(crate) session: Duration,
    /// How long it may take to hand a partition over.
    pub(crate) drain: Duration,
    /// What it says it is, and where it comes from, for people.
    pub(crate) client: Arc<str>,
}

/// A partition that a member has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owned {
    pub(crate) owner: MemberId,
    /// In which it was assigned: what commits have to name.
    pub(crate) since: Generation,
    /// Whether the owner was told to hand it over.
    pub(crate) is_draining: bool,
}

/// How far a group has come in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Committed {
    /// The next offset to read.
    pub(crate) next: Offset,
    /// When it was committed, by the broker's clock.
    pub(crate) at_ms: i64,
    /// What the client keeps with it.
    pub(crate) metadata: Bytes,
}

/// A member that is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) member: MemberId,
    pub(crate) since: Duration,
}

/// What came of a decision about a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GroupChange {
    /// The generation from then on, never less than before.
    pub(crate) generation: Generation,
    pub(crate) is_ephemeral: bool,
    /// New members, and what is new of known ones.
    pub(crate) joined: Vec<Member>,
    pub(crate) left: Vec<MemberId>,
    /// Who has these from then on.
    pub(crate) owned: Vec<(Place, Option<Owned>)>,
    /// Offsets from then on.
    pub(crate) offsets: Vec<(Place, Committed)>,
    /// Below which offsets records count as replayed.
    pub(crate) replay_until: Vec<(Place, Offset)>,
    /// The group is not there any more.
    pub(crate) is_deleted: bool,
}

/// The topics there are, as a decision about groups needs them.
pub(crate) trait KnownTopics {
    /// The topic of this name, with the number of its partitions.
    fn named(&self, name: &TopicName) -> Option<(TopicId, u32)>;

    /// Calls `found` with every topic whose name begins so.
    fn with_prefix(&self, prefix: &str, found: &mut dyn FnMut(TopicId, u32));

    /// Whether there is such a partition.
    fn has(&self, place: Place) -> bool;
}

/// What there may be too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Many {
    Groups,
    /// Of a group.
    Members,
    /// That a member takes, with prefixes.
    Topics,
    /// Of all groups.
    Offsets,
    /// Of all groups.
    MetadataBytes,
    /// That members of all groups have.
    Partitions,
    /// Of memory, of all groups.
    Bytes,
}

/// Why a request about a group is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// There is no such group.
    UnknownGroup,
    /// It has no such member, or not any more.
    UnknownMember,
    /// There is a group of that name.
    GroupExists,
    /// There is none, and a new one may not have that name.
    BadName(GroupNameError),
    /// It has members, which what is asked would take by surprise.
    HasMembers { members: usize },
    /// There are as many as there may be.
    TooMany { what: Many, most: usize },
    /// A group is ephemeral for all its members or for none.
    OtherKind { is_ephemeral: bool },
    /// Another client has joined as the member that wants to come back.
    Fenced,
}

impl Groups {
    pub(crate) fn get(&self, name: &GroupName) -> Option<&Group> {
        self.by_name.get(name)
    }

    /// That there is a group of this name, or may be.
    fn check_name(&self, name: &GroupName) -> Result<(), Refused> {
        match self.by_name.contains_key(name) {
            true => Ok(()),
            false => name.check_new().map_err(Refused::BadName),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&GroupName, &Group)> {
        self.by_name.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// The highest generation of all groups that were deleted.
    pub(crate) fn ended(&self) -> Generation {
        self.ended
    }

    /// A member asks for no records of these partitions for now: that they stand still is no news.
    pub(crate) fn pause(
        &mut self,
        group: &GroupName,
        member: MemberId,
        places: &[Place],
        now: Duration,
    ) {
        let Some(Group { state, waits }) = self.by_name.get_mut(group) else {
            return;
        };
        for place in places {
            let owned = state.owned.get(place);
            if owned.is_some_and(|owned| owned.owner == member) {
                waits.pause(*place, member, now);
            }
        }
    }

    /// A member asks for records of these again, or its stream is over.
    pub(crate) fn resume(
        &mut self,
        group: &GroupName,
        member: MemberId,
        places: &[Place],
        now: Duration,
    ) {
        if let Some(group) = self.by_name.get_mut(group) {
            for place in places {
                group.waits.resume(*place, member, now);
            }
        }
    }

    /// A group that is not there yet.
    fn new_group(&self) -> Group {
        let mut group = Group::default();
        group.state.generation = self.ended;
        group
    }

    fn find(&self, name: &GroupName) -> Result<&Group, Refused> {
        self.by_name.get(name).ok_or(Refused::UnknownGroup)
    }

    /// A group of which this is a member.
    fn find_member(&self, name: &GroupName, member: MemberId) -> Result<&Group, Refused> {
        let group = self.find(name)?;
        match group.state.members.contains_key(&member) {
            true => Ok(group),
            false => Err(Refused::UnknownMember),
        }
    }
}

impl Group {
    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// Until when the owner of a partition is to hand it over, if it is to.
    pub(crate) fn draining_until(&self, place: Place) -> Option<Duration> {
        self.waits.draining_until(place)
    }

    /// Of each partition that has an owner, since when it stands still, as far as this process
    /// knows.
    pub(crate) fn standing(&self) -> &BTreeMap<Place, Standing> {
        self.waits.standing()
    }

    /// The last member whose stream was ended with an error that joining again does not mend, as
    /// long as the group cannot go on for that.
    pub(crate) fn failed(&self) -> Option<&Failed> {
        self.waits.failed()
    }

    /// When somebody came or left, or a partition got another owner.
    pub(crate) fn changed_at(&self) -> Duration {
        self.waits.changed_at()
    }

    /// The member that has been away for longest.
    pub(crate) fn waiting(&self) -> Option<Waiting> {
        let mut longest: Option<Waiting> = None;
        for (member, until) in self.waits.away() {
            let session = self.state.members.get(&member).map(|known| known.session);
            let since = until.saturating_sub(session.unwrap_or_default());
            if longest.is_none_or(|longest| since < longest.since) {
                longest = Some(Waiting { member, since });
            }
        }
        longest
    }
}

impl GroupChange {
    /// Leaves out what is said of partitions that are not there.
    pub(crate) fn retain(&mut self, is_there: impl Fn(Place) -> bool) {
        self.owned.retain(|(place, _)| is_there(*place));
        self.offsets.retain(|(place, _)| is_there(*place));
        self.replay_until.retain(|(place, _)| is_there(*place));
    }

    /// Whether all that is said is of partitions that are there.
    pub(crate) fn is_all(&self, is_there: impl Fn(Place) -> bool) -> bool {
        self.owned.iter().all(|(place, _)| is_there(*place))
            && self.offsets.iter().all(|(place, _)| is_there(*place))
            && self.replay_until.iter().all(|(place, _)| is_there(*place))
    }
}

impl State {
    /// The member of this name, if one is.
    fn named(&self, name: &str) -> Option<&Member> {
        let mut members = self.members.values();
        members.find(|member| !name.is_empty() && *member.name == *name)
    }

    /// A change of nothing, with the next generation.
    fn next(&self) -> GroupChange {
        GroupChange {
            generation: Generation(self.generation.0 + 1),
            is_ephemeral: self.is_ephemeral,
            ..GroupChange::default()
        }
    }

    /// The same without a new generation: nobody gets another partition by it.
    fn same(&self) -> GroupChange {
        GroupChange {
            generation: self.generation,
            ..self.next()
        }
    }
}

impl State {
    /// Up to where records of a partition are replayed, if it is to be read from its beginning. One
    /// that the topic has got since is, and has nothing that the other group has had.
    pub(crate) fn replay_until(&self, place: Place) -> Option<Offset> {
        let of_topic = (place.0, PartitionId(0))..=(place.0, PartitionId(u32::MAX));
        match self.replay_until.get(&place) {
            Some(until) => Some(*until),
            None if self.replay_until.range(of_topic).next().is_some() => Some(Offset::ZERO),
            None => None,
        }
    }

    /// The topics that members take, with how many partitions each has.
    pub(crate) fn taken(&self, topics: &dyn KnownTopics) -> BTreeMap<TopicId, u32> {
        let mut taken = BTreeMap::new();
        for member in self.members.values() {
            member.takes(topics, &mut |topic, partitions| {
                taken.insert(topic, partitions);
            });
        }
        taken
    }
}

impl Instance {
    /// The client that was the first to have a member.
    pub(crate) fn first_of(member: MemberId) -> Self {
        Self(member.0)
    }
}

impl Member {
    fn takes(&self, topics: &dyn KnownTopics, found: &mut dyn FnMut(TopicId, u32)) {
        for name in &self.topics {
            if let Some((topic, partitions)) = topics.named(name) {
                found(topic, partitions);
            }
        }
        for prefix in &self.prefixes {
            topics.with_prefix(prefix, found);
        }
    }
}
