//! Consumer groups: their members, the owners of partitions, and committed offsets.
//!
//! The broker assigns partitions (`assign.rs`). A partition has one owner at a time: the next owner
//! gets it only when the current one has handed it over (*drained*), has had its time to do so, or
//! is gone. With each owner a partition gets a new *generation*, which a commit must name: a commit
//! of an earlier generation is fenced, whoever sends it. Committed offsets belong to the topic's
//! id, and only go up unless they are reset.
//!
//! Every decision becomes a [`GroupChange`], which has the result of the decision and not the
//! request: all versions of the broker apply it in the same way, even if they would assign
//! differently.
//!
//! What a group waits for is not durable: a member whose stream has broken, a partition that is
//! being drained, further members that may join. [`Waits`] keeps these, each with its deadline.
//! After a start all members are waited for anew, so everyone keeps its partitions.

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
    /// How many bytes of memory groups may take, if that is bounded: see `room.rs`.
    most_bytes: Option<usize>,
    /// The highest generation of all deleted groups. A new group begins behind it, so members of a
    /// deleted group with the same name are fenced.
    ended: Generation,
    /// What has changed since the last checkpoint; `None` if no checkpoints are written from these
    /// groups.
    noted: Option<Noted>,
}

/// The durable state of all groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// The highest generation of all groups that were deleted.
    pub(crate) ended: Generation,
    pub(crate) groups: BTreeMap<GroupName, State>,
}

/// A partition of a topic.
pub(crate) type Place = (TopicId, PartitionId);

/// A number that grows with each change of owners. Counted for the whole group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Generation(pub(crate) u64);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The id of a member, drawn at random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct MemberId(pub(crate) u64);

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Identifies the client that has a member. If a client joins with a member's name for the first
/// time, it becomes a new instance, and the former one cannot get the member back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Instance(pub(crate) u64);

/// A group. It exists from its first member or committed offset on until it is deleted; an
/// ephemeral one until its last member has left.
#[derive(Clone, Debug, Default)]
pub(crate) struct Group {
    state: State,
    waits: Waits,
}

/// The durable state of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) generation: Generation,
    pub(crate) is_ephemeral: bool,
    /// When the group was made, by the broker's clock; for a fork, when the first of its line was.
    /// `None` if an earlier version has made it, and it has not changed since.
    pub(crate) began_ms: Option<i64>,
    pub(crate) members: BTreeMap<MemberId, Member>,
    pub(crate) owned: BTreeMap<Place, Owned>,
    pub(crate) offsets: BTreeMap<Place, Committed>,
    /// For a group that was forked to replay: how far the other group had come. Records below these
    /// offsets are marked as replayed. Until something is committed, the partition is read from its
    /// beginning.
    pub(crate) replay_until: BTreeMap<Place, Offset>,
    /// The size of the metadata of all offsets, in bytes.
    metadata_bytes: usize,
    /// The memory of its members, in bytes.
    member_bytes: usize,
}

/// A member as it has joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) id: MemberId,
    /// The client that has it now.
    pub(crate) instance: Instance,
    /// The name for which its partitions are kept until a member joins with it; empty for none.
    pub(crate) name: Arc<str>,
    /// The topics that it subscribes to, and prefixes of topics' names.
    pub(crate) topics: BTreeSet<TopicName>,
    pub(crate) prefixes: BTreeSet<Arc<str>>,
    /// How long it may send no heartbeat.
    pub(crate) session: Duration,
    /// How long it may take to hand a partition over.
    pub(crate) drain: Duration,
    /// A description of the client, and its address, shown to users.
    pub(crate) client: Arc<str>,
}

/// A partition with an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owned {
    pub(crate) owner: MemberId,
    /// The generation of the assignment, which commits must name.
    pub(crate) since: Generation,
    /// Whether the owner was told to hand it over.
    pub(crate) is_draining: bool,
}

/// A committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Committed {
    /// The next offset to read.
    pub(crate) next: Offset,
    /// When it was committed, by the broker's clock.
    pub(crate) at_ms: i64,
    /// Metadata that the client stores with it.
    pub(crate) metadata: Bytes,
}

/// A member that is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) member: MemberId,
    pub(crate) since: Duration,
}

/// The result of a decision about a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GroupChange {
    /// The new generation, never lower than before.
    pub(crate) generation: Generation,
    pub(crate) is_ephemeral: bool,
    /// New members, and known ones that have changed.
    pub(crate) joined: Vec<Member>,
    pub(crate) left: Vec<MemberId>,
    /// The new owners of these partitions.
    pub(crate) owned: Vec<(Place, Option<Owned>)>,
    /// The new offsets of these partitions.
    pub(crate) offsets: Vec<(Place, Committed)>,
    /// The offsets below which records of these partitions are marked as replayed.
    pub(crate) replay_until: Vec<(Place, Offset)>,
    /// When the group was made, if that is not stored yet.
    pub(crate) began_ms: Option<i64>,
    /// The group is deleted.
    pub(crate) is_deleted: bool,
}

/// The topics there are, as far as decisions about groups need them.
pub(crate) trait KnownTopics {
    /// The topic of this name, with the number of its partitions.
    fn named(&self, name: &TopicName) -> Option<(TopicId, u32)>;

    /// Calls `found` for every topic whose name begins with `prefix`.
    fn with_prefix(&self, prefix: &str, found: &mut dyn FnMut(TopicId, u32));

    /// Whether this partition exists.
    fn has(&self, place: Place) -> bool;
}

/// What there can be too many of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Many {
    Groups,
    /// Members of one group.
    Members,
    /// Topics and prefixes that a member subscribes to.
    Topics,
    /// Committed offsets of all groups.
    Offsets,
    /// Bytes of metadata of all groups.
    MetadataBytes,
    /// Partitions that the members of all groups own.
    Partitions,
    /// Bytes of memory of all groups.
    Bytes,
}

/// Why a request about a group is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// There is no such group.
    UnknownGroup,
    /// The group has no such member, or not any more.
    UnknownMember,
    /// A group with this name exists.
    GroupExists,
    /// The group does not exist, and a new one may not have this name.
    BadName(GroupNameError),
    /// The group has members, which the request would disturb.
    HasMembers { members: usize },
    /// There would be `count`, and `most` are allowed.
    TooMany {
        what: Many,
        count: usize,
        most: usize,
    },
    /// A group is ephemeral for all its members or for none.
    OtherKind { is_ephemeral: bool },
    /// Another client has joined as the member that wants to come back.
    Fenced,
}

impl Groups {
    pub(crate) fn get(&self, name: &GroupName) -> Option<&Group> {
        self.by_name.get(name)
    }

    /// Checks that a group with this name exists or may be created.
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

    /// The highest generation of all deleted groups.
    pub(crate) fn ended(&self) -> Generation {
        self.ended
    }

    /// Notes that a member pauses these partitions: it asks for no records for now, so they do not
    /// count as stalled.
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

    /// Notes that a member asks for records of these partitions again, or that its stream has
    /// ended.
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

    /// A group that does not exist yet.
    fn new_group(&self) -> Group {
        let mut group = Group::default();
        group.state.generation = self.ended;
        group
    }

    fn find(&self, name: &GroupName) -> Result<&Group, Refused> {
        self.by_name.get(name).ok_or(Refused::UnknownGroup)
    }

    /// The group, which must have this member.
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

    /// Until when the owner of a partition must hand it over, if it was told to.
    pub(crate) fn draining_until(&self, place: Place) -> Option<Duration> {
        self.waits.draining_until(place)
    }

    /// For each partition with an owner, since when it makes no progress, as far as this process
    /// knows.
    pub(crate) fn standing(&self) -> &BTreeMap<Place, Standing> {
        self.waits.standing()
    }

    /// The last member whose stream was ended with an error that joining again does not resolve,
    /// until the group can continue.
    pub(crate) fn failed(&self) -> Option<&Failed> {
        self.waits.failed()
    }

    /// When a member last came or left, or a partition last got another owner.
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
    /// Leaves out partitions that do not exist.
    pub(crate) fn retain(&mut self, is_there: impl Fn(Place) -> bool) {
        self.owned.retain(|(place, _)| is_there(*place));
        self.offsets.retain(|(place, _)| is_there(*place));
        self.replay_until.retain(|(place, _)| is_there(*place));
    }

    /// Whether the change is about existing partitions only.
    pub(crate) fn is_all(&self, is_there: impl Fn(Place) -> bool) -> bool {
        self.owned.iter().all(|(place, _)| is_there(*place))
            && self.offsets.iter().all(|(place, _)| is_there(*place))
            && self.replay_until.iter().all(|(place, _)| is_there(*place))
    }
}

impl State {
    /// The member with this name, if there is one.
    fn named(&self, name: &str) -> Option<&Member> {
        let mut members = self.members.values();
        members.find(|member| !name.is_empty() && *member.name == *name)
    }

    /// An empty change with the next generation.
    fn next(&self) -> GroupChange {
        GroupChange {
            generation: Generation(self.generation.0 + 1),
            is_ephemeral: self.is_ephemeral,
            ..GroupChange::default()
        }
    }

    /// An empty change without a new generation, for changes that give nobody another partition.
    fn same(&self) -> GroupChange {
        GroupChange {
            generation: self.generation,
            ..self.next()
        }
    }
}

impl State {
    /// The beginning to store with a change at this time, if none is stored.
    fn begin(&self, at_ms: i64) -> Option<i64> {
        match self.began_ms {
            Some(_) => None,
            None => Some(at_ms),
        }
    }

    /// Up to where records of a partition are marked as replayed, if the group replays. A partition
    /// that its topic has got since then is read from its beginning too, with nothing marked.
    pub(crate) fn replay_until(&self, place: Place) -> Option<Offset> {
        let of_topic = (place.0, PartitionId(0))..=(place.0, PartitionId(u32::MAX));
        match self.replay_until.get(&place) {
            Some(until) => Some(*until),
            None if self.replay_until.range(of_topic).next().is_some() => Some(Offset::ZERO),
            None => None,
        }
    }

    /// The topics that members subscribe to, with their numbers of partitions.
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
    /// The instance of the first client that had this member.
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
