//! Appends: the request, its answer, and the single call.

use bytes::Bytes;
use prost::encoding;
use tokio::time::timeout;

use super::{
    Batch, Client, Error, GroupOffset, Member,
    shared::MAX_SHARED_BYTES,
    status::{AtStake, answer},
};
use crate::{
    proto::{
        self, AppendResponse,
        wire::{self, AppendRequest},
    },
    types::{Offset, PartitionId, Version},
};

/// One atomic commit: one [`Batch`], or several for any number of topics. All of it is stored, or
/// nothing; with conditions, only if all of them hold.
///
/// ```
/// use taffrail::{
///     client::{Append, Batch, Record},
///     types::Version,
/// };
///
/// let withdrawal = Batch::of("accounts", [Record::new().key("alice").event_type("withdrawn").value("42")]);
/// let append = Append::from(withdrawal).expect_version("accounts", "alice", Version(3));
/// ```
///
/// A clone shares the encoded records, so that keeping one to send it again is cheap.
#[derive(Clone, Debug)]
#[must_use]
pub struct Append {
    /// Each an encoded `AppendBatch`.
    batches: Vec<Bytes>,
    pub(super) conditions: Vec<proto::Condition>,
    producer: Option<proto::Producer>,
    return_versions: bool,
    /// Each an encoded `GroupOffsets`.
    group_offsets: Vec<Bytes>,
}

impl Append {
    /// The size of batches and conditions, in bytes. A request may have 16 MiB.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let batches: usize = self.batches.iter().map(Bytes::len).sum();
        batches
            + encoding::message::encoded_len_repeated(2, &self.conditions)
            + encoding::bytes::encoded_len_repeated(5, &self.group_offsets)
    }

    /// Asks for the version of every record in the answer: [`AppendedRange::versions`].
    pub fn return_versions(mut self) -> Self {
        self.return_versions = true;
        self
    }

    /// Commits the offset up to which a member of a group has handled records, in the same commit:
    /// [`GroupRecord::next`](super::GroupRecord::next) or
    /// [`GroupBatch::next`](super::GroupBatch::next). So what was read, changed and appended takes
    /// effect exactly once. If one of the offsets is fenced, or its partition is not this member's,
    /// nothing is appended.
    pub fn commit_offsets(
        mut self,
        member: &Member,
        offsets: impl IntoIterator<Item = GroupOffset>,
    ) -> Self {
        let offsets = offsets.into_iter().map(|offset| offset.to_wire());
        let offsets = proto::GroupOffsets {
            group: member.group().to_owned(),
            offsets: offsets.collect(),
            member_id: member.member_id().to_owned(),
        };
        self.group_offsets.push(wire::encode(&offsets));
        self
    }

    /// An append of encoded batches, each with its sequence, as this producer.
    pub(super) fn of_producer(batches: Vec<Bytes>, producer: proto::Producer) -> Self {
        Self {
            batches,
            conditions: Vec::new(),
            producer: Some(producer),
            return_versions: false,
            group_offsets: Vec::new(),
        }
    }

    pub(super) fn into_request(self) -> AppendRequest {
        let Self {
            batches,
            conditions,
            producer,
            return_versions,
            group_offsets,
        } = self;
        AppendRequest {
            batches,
            conditions,
            producer,
            return_versions,
            group_offsets,
        }
    }
}

impl From<Batch> for Append {
    fn from(batch: Batch) -> Self {
        vec![batch].into()
    }
}

impl From<Vec<Batch>> for Append {
    fn from(batches: Vec<Batch>) -> Self {
        let batches = batches.into_iter().map(Batch::into_encoded).collect();
        Self {
            batches,
            conditions: Vec::new(),
            producer: None,
            return_versions: false,
            group_offsets: Vec::new(),
        }
    }
}

impl<const N: usize> From<[Batch; N]> for Append {
    fn from(batches: [Batch; N]) -> Self {
        Vec::from(batches).into()
    }
}

/// Where the records of an append are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// For each batch of the append, in order: a range of records in each partition, by partition
    /// number. The records of a partition keep the order that they had in the batch.
    pub batches: Vec<Vec<AppendedRange>>,
}

impl Appended {
    /// All ranges, batch after batch.
    pub fn ranges(&self) -> impl Iterator<Item = &AppendedRange> {
        self.batches.iter().flatten()
    }
}

/// A range of records in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendedRange {
    /// The partition.
    pub partition: PartitionId,
    /// The offset of the first record; the others follow it without a gap.
    pub first_offset: Offset,
    /// How many records there are.
    pub count: u32,
    /// When the broker took them, in milliseconds since 1970-01-01T00:00:00Z.
    pub append_time_ms: i64,
    /// The version of each record, in order, if the append [asked for
    /// them](Append::return_versions); [`Version::NONE`] for one without a key, and for all in
    /// topics with `keys=plain`.
    pub versions: Vec<Version>,
}

impl AppendedRange {
    /// The offset behind the last record.
    #[must_use]
    pub fn end(&self) -> Offset {
        self.first_offset.plus(u64::from(self.count))
    }
}

impl From<AppendResponse> for Appended {
    fn from(response: AppendResponse) -> Self {
        let range = |range: proto::AppendedRange| AppendedRange {
            partition: PartitionId(range.partition),
            first_offset: Offset(range.first_offset),
            count: range.count,
            append_time_ms: range.append_time_ms,
            versions: range.versions.into_iter().map(Version).collect(),
        };
        let batches = response.batches.into_iter();
        Self {
            batches: batches
                .map(|batch| batch.ranges.into_iter().map(range).collect())
                .collect(),
        }
    }
}

impl Client {
    /// Appends a batch, or several in one atomic commit, and waits until it is durable.
    ///
    /// Appends of all tasks share one `AppendStream` of this connection; those of more than 64 KiB
    /// are calls of their own. Two appends that do not wait for each other have no order.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] if a condition does not hold. With it, [`Error::Refused`] and
    /// [`Error::Unavailable`], nothing was stored. With [`Error::OutcomeUnknown`], either all was
    /// stored or nothing.
    pub async fn append(&self, append: impl Into<Append>) -> Result<Appended, Error> {
        let append = append.into();
        if append.bytes() <= MAX_SHARED_BYTES {
            let appended = self.appends.append(&self.log, append);
            return timeout(self.request_timeout, appended)
                .await
                .unwrap_or_else(|_| Err(Error::timed_out(AtStake::Change)));
        }
        let mut log = self.log.clone();
        let appended = log.append(append.into_request());
        answer(self.request_timeout, AtStake::Change, appended)
            .await
            .map(Appended::from)
    }
}
