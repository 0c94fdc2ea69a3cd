//! Groups as the broker describes them.

use bytes::Bytes;

use crate::{
    proto,
    types::{Offset, PartitionId, TopicId},
};

/// A committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The topic's name.
    pub topic: String,
    /// The topic's id, which the offset belongs to.
    pub topic_id: Option<TopicId>,
    /// The partition.
    pub partition: PartitionId,
    /// The next offset to read.
    pub next_offset: Offset,
    /// Metadata that a client has stored with it.
    pub metadata: Bytes,
    /// When it was committed, in milliseconds since 1970-01-01T00:00:00Z, by the broker's clock.
    pub committed_at_ms: i64,
}

/// The state of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GroupState {
    /// It has no members.
    Empty,
    /// Every partition has an owner that may read it.
    Stable,
    /// Partitions are being handed over from one member to another.
    Moving,
    /// A member's stream has broken, and it may come back within its session time.
    Waiting,
    /// A state that this client does not know.
    Unknown,
}

/// A group in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedGroup {
    /// The name.
    pub group: String,
    /// Its state.
    pub state: GroupState,
    /// How many members it has.
    pub members: u32,
    /// How many partitions are assigned.
    pub partitions: u32,
    /// How many records it still has to read.
    pub lag: u64,
    /// How many of its partitions are stalled.
    pub stalled_partitions: u32,
    /// Whether it ends with its last member.
    pub is_ephemeral: bool,
}

/// Some groups of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupPage {
    /// The groups, by name.
    pub groups: Vec<ListedGroup>,
    /// Whether there are more behind the last one.
    pub more: bool,
}

/// A group at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescription {
    /// The name.
    pub group: String,
    /// Its state.
    pub state: GroupState,
    /// Why it is in this state, as text.
    pub reason: String,
    /// Since when it is in this state, in milliseconds since 1970-01-01T00:00:00Z; 0 if not known.
    pub state_since_ms: i64,
    /// The generation of its last assignment.
    pub generation: u64,
    /// Whether it ends with its last member.
    pub is_ephemeral: bool,
    /// Its members, by id.
    pub members: Vec<GroupMember>,
    /// Partitions that are assigned or have a committed offset, by topic and partition.
    pub partitions: Vec<GroupPartitionDescription>,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    /// Its id.
    pub member_id: String,
    /// Its name; empty if it has none.
    pub name: String,
    /// The client's description of itself.
    pub client: String,
    /// The client's address.
    pub address: String,
    /// Whether its stream is open.
    pub is_connected: bool,
    /// How many partitions it owns.
    pub partitions: u32,
    /// How many records and bytes may be sent to it before it gives more credit.
    pub credit_left: Option<(u64, u64)>,
    /// When it last sent something, in milliseconds since 1970-01-01T00:00:00Z; 0 if not since the
    /// broker was started.
    pub last_heard_ms: i64,
}

/// A partition as a group reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupPartitionDescription {
    /// The topic's name.
    pub topic: String,
    /// The topic's identity.
    pub topic_id: Option<TopicId>,
    /// The partition.
    pub partition: PartitionId,
    /// The id of the member that owns it; empty if nobody does.
    pub member_id: String,
    /// Its name, if it has one.
    pub member_name: String,
    /// The generation in which it was assigned.
    pub generation: u64,
    /// Whether its owner was told to hand it over.
    pub is_draining: bool,
    /// Whether its owner has paused it.
    pub is_paused: bool,
    /// The committed offset, if there is one.
    pub committed: Option<Offset>,
    /// When that was committed, in milliseconds since 1970-01-01T00:00:00Z.
    pub committed_at_ms: Option<i64>,
    /// The offset that the partition's next record will get.
    pub high_watermark: Offset,
    /// The first offset that has not been trimmed.
    pub earliest: Offset,
    /// How many records are left to read.
    pub lag: u64,
    /// Whether `lag` is exact; otherwise it is an estimate.
    pub lag_exact: bool,
    /// The age of the next record to read, in milliseconds.
    pub lag_ms: u64,
    /// Since when it is stalled, in milliseconds since 1970-01-01T00:00:00Z.
    pub stalled_since_ms: Option<i64>,
    /// In how many milliseconds, at the earliest, retention removes the next record to read; `None`
    /// if age does not remove it.
    pub lost_in_ms: Option<u64>,
    /// Why it cannot be read on: a reason and a text; empty if nothing is known to be in the way.
    pub error: String,
}

impl GroupState {
    /// The state as a word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Stable => "stable",
            Self::Moving => "moving",
            Self::Waiting => "waiting",
            Self::Unknown => "unknown",
        }
    }
}

impl From<proto::GroupState> for GroupState {
    fn from(state: proto::GroupState) -> Self {
        match state {
            proto::GroupState::Empty => Self::Empty,
            proto::GroupState::Stable => Self::Stable,
            proto::GroupState::Moving => Self::Moving,
            proto::GroupState::Waiting => Self::Waiting,
            proto::GroupState::Unspecified => Self::Unknown,
        }
    }
}

impl From<proto::CommittedOffset> for CommittedOffset {
    fn from(offset: proto::CommittedOffset) -> Self {
        Self {
            topic_id: TopicId::parse(&offset.topic_id),
            topic: offset.topic,
            partition: PartitionId(offset.partition),
            next_offset: Offset(offset.next_offset),
            metadata: offset.metadata,
            committed_at_ms: offset.committed_at_ms,
        }
    }
}

impl From<proto::ListedGroup> for ListedGroup {
    fn from(group: proto::ListedGroup) -> Self {
        Self {
            state: group.state().into(),
            group: group.group,
            members: group.members,
            partitions: group.partitions,
            lag: group.lag,
            stalled_partitions: group.stalled_partitions,
            is_ephemeral: group.ephemeral,
        }
    }
}

impl From<proto::DescribeGroupResponse> for GroupDescription {
    fn from(group: proto::DescribeGroupResponse) -> Self {
        Self {
            state: group.state().into(),
            group: group.group,
            reason: group.reason,
            state_since_ms: group.state_since_ms,
            generation: group.generation,
            is_ephemeral: group.ephemeral,
            members: group.members.into_iter().map(Into::into).collect(),
            partitions: group.partitions.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<proto::GroupMember> for GroupMember {
    fn from(member: proto::GroupMember) -> Self {
        let credit_left = member.credit_left;
        Self {
            member_id: member.member_id,
            name: member.name,
            client: member.client,
            address: member.address,
            is_connected: member.connected,
            partitions: member.partitions,
            credit_left: credit_left.map(|credit| (credit.records, credit.bytes)),
            last_heard_ms: member.last_heard_ms,
        }
    }
}

impl From<proto::GroupPartitionDescription> for GroupPartitionDescription {
    fn from(partition: proto::GroupPartitionDescription) -> Self {
        Self {
            topic_id: TopicId::parse(&partition.topic_id),
            topic: partition.topic,
            partition: PartitionId(partition.partition),
            member_id: partition.member_id,
            member_name: partition.member_name,
            generation: partition.generation,
            is_draining: partition.draining,
            is_paused: partition.paused,
            committed: partition.committed_offset.map(Offset),
            committed_at_ms: partition.committed_at_ms,
            high_watermark: Offset(partition.high_watermark),
            earliest: Offset(partition.earliest),
            lag: partition.lag,
            lag_exact: partition.lag_exact,
            lag_ms: partition.lag_ms,
            stalled_since_ms: Some(partition.stalled_since_ms).filter(|since| *since != 0),
            lost_in_ms: partition.lost_in_ms,
            error: partition.error,
        }
    }
}
