//! The calls on groups that do not belong to a member.

use super::{events::committed_offset, join::id_text, offsets::group_offsets};
use crate::{
    broker::{
        Broker, CommitOutcome, DescribeGroup, DescribedGroup, DescribedMember, DescribedPartition,
        Error, FetchOffsets, FetchedOffset, GroupState, ListedGroup, Pending, ResetGroup,
        ResetOffset, ResetTo,
    },
    proto::{
        self, CommitRequest, CommitResponse, DescribeGroupRequest, DescribeGroupResponse,
        FetchOffsetsRequest, FetchOffsetsResponse, GroupPartition, ListGroupsRequest,
        ListGroupsResponse, ResetGroupRequest, ResetGroupResponse, reset_group_request::To,
    },
    server::{
        auth::Access,
        groups::events::{Asked, commit_result},
        log::position,
        turns::LongTurn,
    },
    types::{
        PartitionId,
        limits::{
            MAX_GROUP_PARTITIONS_PER_PAGE, MAX_GROUPS_PER_PAGE, MAX_OFFSETS_PER_PAGE,
            MAX_OFFSETS_PER_RESET,
        },
    },
};

/// A commit under way: its offsets, and their future outcomes.
pub(super) struct Committing {
    asked: Vec<Asked>,
    outcomes: Pending<Vec<CommitOutcome>>,
}

pub(super) fn commit(broker: &Broker, request: CommitRequest) -> Result<Committing, Error> {
    let offsets = group_offsets(request.offsets)?;
    if offsets.iter().any(|offset| offset.generation.is_some()) {
        return Err(Error::MalformedRequest {
            reason: "a commit from outside of the group's streams names no generation".to_owned(),
        });
    }
    Ok(Committing {
        asked: offsets.iter().map(Asked::of).collect(),
        outcomes: broker.commit_offsets(&request.group, offsets, request.force)?,
    })
}

impl Committing {
    /// Waits until the commit is durable.
    pub(super) async fn committed(self) -> Result<CommitResponse, Error> {
        let outcomes = self.outcomes.await?;
        let results = self.asked.into_iter().zip(&outcomes);
        let results = results.map(|(asked, outcome)| commit_result(asked, Some(outcome)));
        Ok(CommitResponse {
            results: results.collect(),
        })
    }
}

/// A page of a group's committed offsets, in the topics that the caller may see.
pub(super) fn fetch_offsets(
    broker: &Broker,
    request: FetchOffsetsRequest,
    access: &Access,
    turn: &mut LongTurn,
) -> Result<FetchOffsetsResponse, Error> {
    let fetch = FetchOffsets {
        group: request.group,
        topic: Some(request.topic).filter(|topic| !topic.is_empty()),
        after: request.after.map(place),
        most: page(request.page_size, MAX_OFFSETS_PER_PAGE),
        among: access.seen(),
    };
    let (fetched, more) = broker.committed_offsets(&fetch)?;
    turn.count(fetched.len())?;
    Ok(FetchOffsetsResponse {
        offsets: fetched.iter().map(fetched_offset).collect(),
        more,
    })
}

fn fetched_offset(fetched: &FetchedOffset) -> proto::CommittedOffset {
    committed_offset(&fetched.topic, fetched.place, &fetched.committed)
}

/// A partition by its topic's name and its number.
fn place(partition: GroupPartition) -> (String, PartitionId) {
    (partition.topic, PartitionId(partition.partition))
}

/// The size of a page: as asked for, 0 being the most.
fn page(asked: u32, most: usize) -> usize {
    match usize::try_from(asked) {
        Ok(0) | Err(_) => most,
        Ok(size) => size.min(most),
    }
}

/// A page of the groups that the caller may see.
pub(super) fn list(
    broker: &Broker,
    request: &ListGroupsRequest,
    access: &Access,
) -> ListGroupsResponse {
    let most = page(request.page_size, MAX_GROUPS_PER_PAGE);
    let is_seen = |name: &str| access.sees_group(name);
    let (groups, more) = broker.list_groups(
        &request.prefix,
        &request.after,
        most,
        is_seen,
        &access.seen(),
    );
    ListGroupsResponse {
        groups: groups.iter().map(listed).collect(),
        more,
    }
}

/// A page of a group, with its partitions in the topics that the caller may see.
pub(super) fn describe(
    broker: &Broker,
    request: DescribeGroupRequest,
    access: &Access,
    turn: &mut LongTurn,
) -> Result<DescribeGroupResponse, Error> {
    let group = broker.describe_group(&DescribeGroup {
        group: request.group,
        after: request.after.map(place),
        most: page(request.page_size, MAX_GROUP_PARTITIONS_PER_PAGE),
        among: access.seen(),
    })?;
    turn.count(group.members.len() + group.partitions.len())?;
    Ok(described(group))
}

pub(super) fn reset_request(
    request: ResetGroupRequest,
    access: &Access,
) -> Result<ResetGroup, Error> {
    let to = match request.to {
        Some(To::Position(place)) => ResetTo::Position(position::position(Some(place))?),
        Some(To::Shift(records)) => ResetTo::Shift(records),
        Some(To::FromGroup(group)) => ResetTo::Group(group),
        Some(To::Offsets(offsets)) => ResetTo::Offsets(group_offsets(offsets.offsets)?),
        None => {
            return Err(Error::MalformedRequest {
                reason: "the reset does not say what to set offsets to".to_owned(),
            });
        }
    };
    Ok(ResetGroup {
        group: request.group,
        to,
        topics: request.topics,
        among: access.readable(),
        partitions: request.partitions.into_iter().map(PartitionId).collect(),
        dry_run: request.dry_run,
    })
}

/// The response to a reset: as many of the offsets as it may have, in the topics that the caller
/// may see. They are set already, so without memory for them it has none.
pub(in crate::server) fn reset_response(
    mut offsets: Vec<ResetOffset>,
    access: &Access,
    turn: &mut LongTurn,
) -> ResetGroupResponse {
    offsets.retain(|offset| access.sees_topic(offset.topic.as_str()));
    let all = offsets.len();
    offsets.sort_by(|a, b| (&a.topic, a.place.1).cmp(&(&b.topic, b.place.1)));
    offsets.truncate(MAX_OFFSETS_PER_RESET);
    if turn.count(offsets.len()).is_err() {
        offsets.clear();
    }
    ResetGroupResponse {
        more: offsets.len() < all,
        offsets: offsets.into_iter().map(reset_offset).collect(),
    }
}

fn reset_offset(offset: ResetOffset) -> proto::ResetOffset {
    proto::ResetOffset {
        topic: offset.topic.to_string(),
        partition: offset.place.1.0,
        topic_id: offset.place.0.to_string(),
        before: offset.before.map(|before| before.0),
        next_offset: offset.next.0,
    }
}

fn state(state: GroupState) -> proto::GroupState {
    match state {
        GroupState::Empty => proto::GroupState::Empty,
        GroupState::Stable => proto::GroupState::Stable,
        GroupState::Moving => proto::GroupState::Moving,
        GroupState::Waiting => proto::GroupState::Waiting,
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn listed(group: &ListedGroup) -> proto::ListedGroup {
    proto::ListedGroup {
        group: group.name.to_string(),
        state: state(group.state).into(),
        members: number(group.members),
        partitions: number(group.partitions),
        lag: group.lag,
        stalled_partitions: number(group.stalled),
        ephemeral: group.is_ephemeral,
    }
}

fn described(group: DescribedGroup) -> DescribeGroupResponse {
    DescribeGroupResponse {
        group: group.name.to_string(),
        state: state(group.state).into(),
        reason: group.reason,
        state_since_ms: group.since_ms,
        generation: group.generation.0,
        ephemeral: group.is_ephemeral,
        members: group.members.iter().map(member).collect(),
        partitions: group.partitions.iter().map(partition).collect(),
        more: group.more,
    }
}

fn member(member: &DescribedMember) -> proto::GroupMember {
    let live = member.live.as_ref();
    proto::GroupMember {
        member_id: id_text(member.id, member.instance),
        name: member.name.to_string(),
        client: member.client.to_string(),
        address: live.map(|live| live.address.clone()).unwrap_or_default(),
        connected: live.is_some(),
        partitions: number(member.partitions),
        credit_left: live.map(|live| proto::Credit {
            records: live.credit_left.records,
            bytes: live.credit_left.bytes,
        }),
        last_heard_ms: live.map_or(0, |live| live.heard_ms),
    }
}

fn partition(partition: &DescribedPartition) -> proto::GroupPartitionDescription {
    let (topic_id, number) = partition.place;
    let owner = partition.owner.as_ref();
    let committed = partition.committed.as_ref();
    proto::GroupPartitionDescription {
        topic: partition.topic.to_string(),
        partition: number.0,
        topic_id: topic_id.to_string(),
        member_id: owner
            .map(|owner| id_text(owner.id, owner.instance))
            .unwrap_or_default(),
        member_name: owner
            .map(|owner| owner.name.to_string())
            .unwrap_or_default(),
        generation: partition.generation.unwrap_or_default().0,
        draining: partition.is_draining,
        paused: partition.is_paused,
        committed_offset: committed.map(|committed| committed.next.0),
        committed_at_ms: committed.map(|committed| committed.at_ms),
        high_watermark: partition.high_watermark.0,
        earliest: partition.earliest.0,
        lag: partition.lag,
        lag_exact: partition.lag_exact,
        lag_ms: partition.lag_ms,
        stalled_since_ms: partition.stalled_since_ms.unwrap_or_default(),
        lost_in_ms: partition.lost_in_ms,
        error: partition.error.to_string(),
    }
}
