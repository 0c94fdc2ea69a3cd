//! Administration of groups, from outside their members.

use std::time::Duration;

use tonic::{Response, Status};

use super::{
    CommitOutcome, CommittedOffset, GroupDescription, GroupOffset, GroupPage,
    GroupPartitionDescription, ListedGroup,
};
use crate::client::link::Link;
use crate::{
    client::{
        Error,
        offsets::to_wire,
        status::{self, AtStake},
    },
    proto::{self, groups_client::GroupsClient, reset_group_request::To},
    types::{Offset, PartitionId, Position, TopicId},
};

/// Administers groups from outside; see [`Client::groups`](crate::client::Client::groups). Every
/// change is durable when it is answered.
#[derive(Clone, Debug)]
pub struct Groups {
    calls: GroupsClient<Link>,
    timeout: Duration,
}

/// A request to set offsets of a group.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct ResetGroup(proto::ResetGroupRequest);

/// A partition whose offset was set, or would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResetOffset {
    /// The topic's name.
    pub topic: String,
    /// The topic's identity.
    pub topic_id: Option<TopicId>,
    /// The partition.
    pub partition: PartitionId,
    /// The committed offset before, if there was one.
    pub before: Option<Offset>,
    /// The new offset.
    pub next_offset: Offset,
}

/// The result of a reset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupReset {
    /// What was set, or would be: the first 10,000, by topic and partition.
    pub offsets: Vec<ResetOffset>,
    /// Whether there are more. [`Groups::offsets`] has all that were set.
    pub more: bool,
}

impl ResetGroup {
    fn new(group: &str, to: To) -> Self {
        Self(proto::ResetGroupRequest {
            group: group.to_owned(),
            to: Some(to),
            ..proto::ResetGroupRequest::default()
        })
    }

    /// Sets offsets to this position in each partition.
    pub fn to_position(group: &str, position: Position) -> Self {
        Self::new(group, To::Position(to_wire(position)))
    }

    /// Moves offsets forward by this many records, or back if it is negative.
    pub fn by_shift(group: &str, records: i64) -> Self {
        Self::new(group, To::Shift(records))
    }

    /// Sets offsets to those of another group.
    pub fn to_group(group: &str, other: &str) -> Self {
        Self::new(group, To::FromGroup(other.to_owned()))
    }

    /// Sets these offsets.
    pub fn to_offsets(group: &str, offsets: impl IntoIterator<Item = GroupOffset>) -> Self {
        let offsets = offsets.into_iter().map(|offset| offset.to_wire());
        let offsets = proto::CommitOffsets {
            offsets: offsets.collect(),
        };
        Self::new(group, To::Offsets(offsets))
    }

    /// Sets offsets only in this topic, and in others that are named like this.
    pub fn topic(mut self, name: &str) -> Self {
        self.0.topics.push(name.to_owned());
        self
    }

    /// Sets offsets only in this partition of the one named topic, and in others that are named
    /// like this.
    pub fn partition(mut self, partition: PartitionId) -> Self {
        self.0.partitions.push(partition.0);
        self
    }

    /// If true, sets nothing and only returns what would be set.
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.0.dry_run = dry_run;
        self
    }
}

impl Groups {
    pub(super) fn new(calls: GroupsClient<Link>, timeout: Duration) -> Self {
        Self { calls, timeout }
    }

    /// Lists all groups.
    ///
    /// # Errors
    ///
    /// If the broker is not available.
    pub async fn list(&self) -> Result<Vec<ListedGroup>, Error> {
        let mut groups: Vec<ListedGroup> = Vec::new();
        loop {
            let after = groups.last().map(|group| group.group.clone());
            let page = self.list_page("", &after.unwrap_or_default(), 0).await?;
            groups.extend(page.groups);
            if !page.more {
                return Ok(groups);
            }
        }
    }

    /// Lists at most `limit` groups (0 for 1,000) whose names start with `prefix` and sort behind
    /// `after`.
    ///
    /// # Errors
    ///
    /// If the broker is not available.
    pub async fn list_page(
        &self,
        prefix: &str,
        after: &str,
        limit: u32,
    ) -> Result<GroupPage, Error> {
        let request = proto::ListGroupsRequest {
            prefix: prefix.to_owned(),
            page_size: limit,
            after: after.to_owned(),
        };
        let mut calls = self.calls.clone();
        let answer = self.answer(AtStake::Nothing, calls.list(request)).await?;
        Ok(GroupPage {
            groups: answer.groups.into_iter().map(ListedGroup::from).collect(),
            more: answer.more,
        })
    }

    /// Describes a group, its members and all of its partitions, which come page by page. Members
    /// and state are those of the last page.
    ///
    /// # Errors
    ///
    /// `UNKNOWN_GROUP`.
    pub async fn describe(&self, group: &str) -> Result<GroupDescription, Error> {
        let mut partitions: Vec<GroupPartitionDescription> = Vec::new();
        loop {
            let after = partitions.last().map(|last| proto::GroupPartition {
                topic: last.topic.clone(),
                partition: last.partition.0,
                topic_id: String::new(),
            });
            let request = proto::DescribeGroupRequest {
                group: group.to_owned(),
                page_size: 0,
                after,
            };
            let mut calls = self.calls.clone();
            let page = self
                .answer(AtStake::Nothing, calls.describe(request))
                .await?;
            let more = page.more;
            let page = GroupDescription::from(page);
            partitions.extend(page.partitions);
            if !more {
                return Ok(GroupDescription { partitions, ..page });
            }
        }
    }

    /// The committed offsets of a group.
    ///
    /// # Errors
    ///
    /// `UNKNOWN_GROUP`.
    pub async fn offsets(&self, group: &str) -> Result<Vec<CommittedOffset>, Error> {
        let mut offsets: Vec<CommittedOffset> = Vec::new();
        loop {
            let after = offsets.last().map(|last| proto::GroupPartition {
                topic: last.topic.clone(),
                partition: last.partition.0,
                topic_id: String::new(),
            });
            let request = proto::FetchOffsetsRequest {
                group: group.to_owned(),
                topic: String::new(),
                page_size: 0,
                after,
            };
            let mut calls = self.calls.clone();
            let page = self
                .answer(AtStake::Nothing, calls.fetch_offsets(request))
                .await?;
            offsets.extend(page.offsets.into_iter().map(CommittedOffset::from));
            if !page.more {
                return Ok(offsets);
            }
        }
    }

    /// Commits offsets from outside; returns the outcome of each, in order. While the group has
    /// members, this needs `force`, and then offsets only go up.
    ///
    /// # Errors
    ///
    /// `GROUP_HAS_MEMBERS`, `INVALID_GROUP_NAME`, `TOO_MANY_OFFSETS`.
    pub async fn commit(
        &self,
        group: &str,
        offsets: impl IntoIterator<Item = GroupOffset>,
        force: bool,
    ) -> Result<Vec<CommitOutcome>, Error> {
        let offsets = offsets.into_iter().map(|offset| offset.to_wire());
        let request = proto::CommitRequest {
            group: group.to_owned(),
            offsets: offsets.collect(),
            force,
        };
        let mut calls = self.calls.clone();
        let answer = self.answer(AtStake::Change, calls.commit(request)).await?;
        Ok(answer.results.iter().map(CommitOutcome::from).collect())
    }

    /// Sets offsets, lower ones too, even while the group has members: their commits of records
    /// that they read before are fenced.
    ///
    /// # Errors
    ///
    /// `UNKNOWN_TOPIC`, `UNKNOWN_PARTITION`, `UNKNOWN_GROUP`, [`Error::OffsetOutOfRange`]. Nothing
    /// is set then.
    pub async fn reset(&self, reset: ResetGroup) -> Result<GroupReset, Error> {
        let mut calls = self.calls.clone();
        let answer = self.answer(AtStake::Change, calls.reset(reset.0)).await?;
        Ok(GroupReset {
            offsets: answer.offsets.into_iter().map(ResetOffset::from).collect(),
            more: answer.more,
        })
    }

    /// Creates a group with the offsets of another one. With `replay`, it begins at the earliest
    /// records instead, and those that the other group has handled are marked.
    ///
    /// # Errors
    ///
    /// `UNKNOWN_GROUP`, `GROUP_EXISTS`.
    pub async fn fork(&self, group: &str, new_group: &str, replay: bool) -> Result<(), Error> {
        let request = proto::ForkGroupRequest {
            group: group.to_owned(),
            new_group: new_group.to_owned(),
            replay,
        };
        let mut calls = self.calls.clone();
        self.answer(AtStake::Change, calls.fork(request)).await?;
        Ok(())
    }

    /// Removes a member that is not to come back: others get its partitions at once. `member_id` is
    /// [`GroupMember::member_id`](super::GroupMember::member_id).
    ///
    /// # Errors
    ///
    /// `UNKNOWN_GROUP`, `UNKNOWN_MEMBER`.
    pub async fn remove_member(&self, group: &str, member_id: &str) -> Result<(), Error> {
        let request = proto::RemoveMemberRequest {
            group: group.to_owned(),
            member_id: member_id.to_owned(),
        };
        let mut calls = self.calls.clone();
        self.answer(AtStake::Change, calls.remove_member(request))
            .await?;
        Ok(())
    }

    /// Deletes a group without members, and its offsets.
    ///
    /// # Errors
    ///
    /// `UNKNOWN_GROUP`, `GROUP_HAS_MEMBERS`.
    pub async fn delete(&self, group: &str) -> Result<(), Error> {
        let request = proto::DeleteGroupRequest {
            group: group.to_owned(),
        };
        let mut calls = self.calls.clone();
        self.answer(AtStake::Change, calls.delete(request)).await?;
        Ok(())
    }

    async fn answer<T>(
        &self,
        at_stake: AtStake,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Error> {
        status::answer(self.timeout, at_stake, call).await
    }
}

impl From<proto::ResetOffset> for ResetOffset {
    fn from(offset: proto::ResetOffset) -> Self {
        Self {
            topic_id: TopicId::parse(&offset.topic_id),
            topic: offset.topic,
            partition: PartitionId(offset.partition),
            before: offset.before.map(Offset),
            next_offset: Offset(offset.next_offset),
        }
    }
}
