//! Consumer groups: members that share the partitions of topics, and committed offsets.
//!
//! Reading order: this page, the options of a member; `member.rs`, a member; `batch.rs`, what it
//! receives; `upward.rs`, what it sends; `calls.rs` and `described.rs`, administration of groups.

mod batch;
mod calls;
mod described;
mod member;
mod upward;

use std::{fmt, time::Duration};

use bytes::Bytes;

pub use batch::{AssignedPartition, FailedPartition, GroupBatch, GroupRecord, Revoked};
pub use calls::{GroupReset, Groups, ResetGroup, ResetOffset};
pub use described::{
    CommittedOffset, GroupDescription, GroupMember, GroupPage, GroupPartitionDescription,
    GroupState, ListedGroup,
};
pub use member::Member;

use super::link::Link;
use super::{Client, Error, Outage, offsets::to_wire, outage::Outages};
use crate::{
    proto::{self, groups_client::GroupsClient},
    types::{Offset, PartitionId, Position, TopicId, limits},
};

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupPartition {
    /// The topic's name.
    pub topic: String,
    /// The partition.
    pub partition: PartitionId,
}

/// An offset of a group in a partition, as it is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupOffset {
    /// The topic's name.
    pub topic: String,
    /// The topic's id, if a certain topic is meant; `None` for whichever has the name.
    pub topic_id: Option<TopicId>,
    /// The partition.
    pub partition: PartitionId,
    /// The next offset to read.
    pub next_offset: Offset,
    /// The generation in which the partition was assigned; `None` for a commit from outside.
    pub generation: Option<u64>,
    /// Metadata to store with it, at most 4 KiB.
    pub metadata: Bytes,
}

/// The outcome of committing an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommitOutcome {
    /// It is committed, and durable.
    Done,
    /// This offset, or a later one, was committed already.
    Unchanged {
        /// The committed offset.
        committed: Offset,
    },
    /// The partition is not the member's, or not in this generation any more.
    Fenced,
    /// The partition does not exist, or the topic's name belongs to another topic by now.
    UnknownPartition,
    /// The offset is above the high watermark.
    BeyondEnd {
        /// The high watermark.
        high_watermark: Offset,
    },
    /// It may be committed or not: the broker failed while writing.
    Unknown,
}

/// What a member does in a partition without a committed offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoOffset {
    /// Begin here. Must not be an offset, because partitions differ.
    Start(Position),
    /// End with `NO_OFFSET`.
    Fail,
}

/// What a member does if the committed offset is outside the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OffsetGone {
    /// End with [`Error::OffsetOutOfRange`], which tells the log's range.
    #[default]
    Fail,
    /// Continue at the earliest record.
    Earliest,
    /// Continue at the end of the log.
    Latest,
}

type OnAssigned = Box<dyn FnMut(&[AssignedPartition]) + Send>;
type OnRevoked = Box<dyn FnMut(&mut Revoked) + Send>;
type OnFailed = Box<dyn FnMut(&FailedPartition) + Send>;

/// A member that is about to join a group; see [`Client::member`].
#[must_use]
pub struct NewMember {
    calls: GroupsClient<Link>,
    join: proto::JoinGroup,
    commits_itself: bool,
    commit_interval: Duration,
    until_caught_up: bool,
    retry_for: Duration,
    request_timeout: Duration,
    on_assigned: Option<OnAssigned>,
    on_revoked: Option<OnRevoked>,
    on_failed: Option<OnFailed>,
    outages: Outages,
}

impl Client {
    /// A new member of this group, which is made if there is none.
    ///
    /// ```no_run
    /// # async fn example(client: taffrail::client::Client) -> Result<(), taffrail::client::Error> {
    /// let mut member = client.member("billing").topic("orders").join().await?;
    /// while let Some(next) = member.next_record().await? {
    ///     println!("{}/{}", next.record.partition, next.record.offset);
    ///     // Asking for the next one says that this one has been handled: it is committed then.
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn member(&self, group: &str) -> NewMember {
        let join = proto::JoinGroup {
            group: group.to_owned(),
            credit: Some(credit(DEFAULT_RECORDS, DEFAULT_BYTES)),
            heartbeat: true,
            client: concat!("taffrail-rust/", env!("CARGO_PKG_VERSION")).to_owned(),
            max_response_bytes: limits::CLIENT_RESPONSE_BYTES,
            ..proto::JoinGroup::default()
        };
        NewMember {
            calls: self.groups.clone(),
            join,
            commits_itself: true,
            commit_interval: Duration::from_secs(1),
            until_caught_up: false,
            retry_for: Duration::from_secs(60),
            request_timeout: self.request_timeout,
            on_assigned: None,
            on_revoked: None,
            on_failed: None,
            outages: Outages::default(),
        }
    }

    /// Administers groups.
    #[must_use]
    pub fn groups(&self) -> Groups {
        Groups::new(self.groups.clone(), self.request_timeout)
    }
}

/// The default for how many records are sent ahead of what was handled.
const DEFAULT_RECORDS: u64 = 100_000;

/// The default for how many bytes of records are sent ahead of what was handled.
const DEFAULT_BYTES: u64 = 8 << 20;

fn credit(records: u64, bytes: u64) -> proto::Credit {
    proto::Credit { records, bytes }
}

impl NewMember {
    /// Tells when the member has lost the broker, and when it has joined again. What it calls must
    /// not block.
    pub fn on_outage(mut self, listener: impl Fn(Outage) + Send + Sync + 'static) -> Self {
        self.outages = Outages::told_to(listener);
        self
    }

    /// Subscribes to this topic, in addition to others. A topic that does not exist yet is read
    /// once it does.
    pub fn topic(mut self, name: &str) -> Self {
        self.join.topics.push(name.to_owned());
        self
    }

    /// Subscribes to all topics whose names begin with this prefix, including future ones.
    pub fn topic_prefix(mut self, prefix: &str) -> Self {
        self.join.topic_prefixes.push(prefix.to_owned());
        self
    }

    /// A name for this member: its partitions are kept for the next member that joins with the same
    /// name, which fences the former one.
    pub fn name(mut self, name: &str) -> Self {
        self.join.member_name = name.to_owned();
        self
    }

    /// A description of this program, shown to users.
    pub fn client_name(mut self, client: &str) -> Self {
        self.join.client = client.to_owned();
        self
    }

    /// How much is sent ahead of what was handled. Default: 100,000 records and 8 MiB.
    pub fn credit(mut self, records: u64, bytes: u64) -> Self {
        self.join.credit = Some(credit(records, bytes));
        self
    }

    /// How much of one partition is sent ahead of what was handled of it, so that a partition whose
    /// records take long does not hold up the others. Default: as much as for all of them.
    pub fn partition_credit(mut self, records: u64, bytes: u64) -> Self {
        self.join.partition_credit = Some(credit(records, bytes));
        self
    }

    /// What to do in a partition without a committed offset. Default: begin at the earliest record.
    pub fn no_offset(mut self, policy: NoOffset) -> Self {
        let policy = match policy {
            NoOffset::Start(start) => proto::no_offset::Policy::Start(to_wire(start)),
            NoOffset::Fail => proto::no_offset::Policy::Fail(true),
        };
        self.join.no_offset = Some(proto::NoOffset {
            policy: Some(policy),
        });
        self
    }

    /// What to do if the committed offset is outside the log. Default: fail.
    pub fn offset_gone(mut self, policy: OffsetGone) -> Self {
        let policy = match policy {
            OffsetGone::Fail => proto::OffsetGone::Fail,
            OffsetGone::Earliest => proto::OffsetGone::Earliest,
            OffsetGone::Latest => proto::OffsetGone::Latest,
        };
        self.join.offset_gone = policy.into();
        self
    }

    /// How long the member may send no heartbeat before others get its partitions: 1 s to 1 h.
    /// Default: 10 s.
    pub fn session_timeout(mut self, time: Duration) -> Self {
        self.join.session_timeout_ms = millis(time);
        self
    }

    /// How long the member may take to hand a partition over: up to 1 h. Default: 30 s.
    pub fn drain_timeout(mut self, time: Duration) -> Self {
        self.join.drain_timeout_ms = Some(millis(time));
        self
    }

    /// A partition with unhandled records is taken from the member after this time without a commit
    /// or [`Member::still_working`]. Default: never.
    pub fn progress_timeout(mut self, time: Duration) -> Self {
        self.join.progress_timeout_ms = millis(time);
        self
    }

    /// Makes the group ephemeral: it ends with its last member.
    pub fn ephemeral(mut self) -> Self {
        self.join.ephemeral = true;
        self
    }

    /// Turns off automatic commits: only [`Member::commit`] commits.
    pub fn commit_explicitly(mut self) -> Self {
        self.commits_itself = false;
        self
    }

    /// How often handled records are committed while there is more to handle. Default: 1 s.
    pub fn commit_interval(mut self, interval: Duration) -> Self {
        self.commit_interval = interval;
        self
    }

    /// Ends when everything there is was handled, instead of waiting for more; also if other
    /// members have all partitions and none is left for this one.
    pub fn until_caught_up(mut self) -> Self {
        self.until_caught_up = true;
        self
    }

    /// For how long to try to join again while the broker is away. Default: 60 s.
    pub fn retry_for(mut self, time: Duration) -> Self {
        self.retry_for = time;
        self
    }

    /// Calls this with partitions that the member owns from now on, or that are assigned to it
    /// anew.
    pub fn on_assigned(mut self, call: impl FnMut(&[AssignedPartition]) + Send + 'static) -> Self {
        self.on_assigned = Some(Box::new(call));
        self
    }

    /// Calls this with partitions that the member must give back, before it does. It may commit
    /// what was handled of them: [`Revoked::commit`].
    pub fn on_revoked(mut self, call: impl FnMut(&mut Revoked) + Send + 'static) -> Self {
        self.on_revoked = Some(Box::new(call));
        self
    }

    /// Calls this with a partition that cannot be read on, because its records are damaged or its
    /// offset is gone, and goes on with the others. The member still owns it; it is tried again
    /// once it is reset or has another owner. Without this, the member ends with the error.
    pub fn on_failed(mut self, call: impl FnMut(&FailedPartition) + Send + 'static) -> Self {
        self.join.tell_failed = true;
        self.on_failed = Some(Box::new(call));
        self
    }

    /// Joins. If the broker is away, tries again for [`retry_for`](Self::retry_for).
    ///
    /// # Errors
    ///
    /// `INVALID_GROUP_NAME`, `INVALID_TOPIC_NAME`, `TOO_MANY_MEMBERS`, `TOO_MANY_GROUPS`,
    /// `GROUP_KIND`, or if the broker is not available.
    pub async fn join(self) -> Result<Member, Error> {
        Member::join(self).await
    }
}

impl fmt::Debug for NewMember {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("NewMember");
        debug.field("join", &self.join).finish_non_exhaustive()
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl GroupOffset {
    pub(super) fn to_wire(&self) -> proto::GroupOffset {
        proto::GroupOffset {
            topic: self.topic.clone(),
            partition: self.partition.0,
            next_offset: self.next_offset.0,
            topic_id: self.topic_id.map(|id| id.to_string()).unwrap_or_default(),
            generation: self.generation.unwrap_or_default(),
            metadata: self.metadata.clone(),
        }
    }
}

impl From<proto::GroupOffset> for GroupOffset {
    fn from(offset: proto::GroupOffset) -> Self {
        Self {
            topic_id: TopicId::parse(&offset.topic_id),
            topic: offset.topic,
            partition: PartitionId(offset.partition),
            next_offset: Offset(offset.next_offset),
            generation: Some(offset.generation).filter(|generation| *generation != 0),
            metadata: offset.metadata,
        }
    }
}

impl From<&proto::CommitResult> for CommitOutcome {
    fn from(result: &proto::CommitResult) -> Self {
        use proto::CommitOutcome as Wire;
        match result.outcome() {
            Wire::Done => Self::Done,
            Wire::Unchanged => Self::Unchanged {
                committed: Offset(result.committed_offset),
            },
            Wire::Fenced => Self::Fenced,
            Wire::UnknownPartition => Self::UnknownPartition,
            Wire::BeyondEnd => Self::BeyondEnd {
                high_watermark: Offset(result.high_watermark),
            },
            Wire::Unspecified | Wire::OutcomeUnknown => Self::Unknown,
        }
    }
}
