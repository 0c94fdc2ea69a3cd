//! What a member receives: assignments, revocations and records.

use std::{collections::VecDeque, sync::Arc};

use super::{GroupOffset, GroupPartition};
use crate::{
    client::{ErasedEntity, StoredRecord, stored::Runs},
    proto::{self, Credit, wire::Records},
    types::{MalformedRecord, Offset, PartitionId, RecordView, TopicId},
};

/// A partition that the member owns from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssignedPartition {
    /// The topic's name.
    pub topic: String,
    /// The topic's identity.
    pub topic_id: Option<TopicId>,
    /// The partition.
    pub partition: PartitionId,
    /// The generation, which commits name.
    pub generation: u64,
    /// The offset of its first record.
    pub next_offset: Offset,
    /// The committed offset, if there is one.
    pub committed: Option<super::CommittedOffset>,
    /// The offset that the partition's next record will get.
    pub high_watermark: Offset,
    /// Records below this offset are replayed: see [`GroupRecord::is_replayed`].
    pub replayed_below: Offset,
}

/// Partitions that a member must give back.
#[derive(Debug)]
pub struct Revoked {
    /// The partitions.
    pub partitions: Vec<GroupPartition>,
    /// Whether they were taken already: then nothing of them can be committed any more.
    pub is_taken: bool,
    pub(super) commits: Vec<GroupOffset>,
}

impl Revoked {
    /// Commits this offset before the partitions are given back.
    pub fn commit(&mut self, offset: GroupOffset) {
        self.commits.push(offset);
    }
}

/// A partition that a member cannot read on: see
/// [`NewMember::on_failed`](super::NewMember::on_failed).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedPartition {
    /// The topic's name.
    pub topic: String,
    /// The topic's identity.
    pub topic_id: Option<TopicId>,
    /// The partition.
    pub partition: PartitionId,
    /// The generation in which it is assigned.
    pub generation: u64,
    /// Why: `NO_OFFSET`, `OFFSET_OUT_OF_RANGE`, `DAMAGED_RECORDS` or `RECORD_EXCEEDS_RESPONSE`.
    pub reason: String,
    /// Why, in words, and what to do.
    pub message: String,
    /// The first offset that has not been trimmed.
    pub earliest: Offset,
    /// The offset that the partition's next record will get.
    pub high_watermark: Offset,
}

impl From<proto::PartitionFailed> for FailedPartition {
    fn from(failed: proto::PartitionFailed) -> Self {
        Self {
            topic_id: TopicId::parse(&failed.topic_id),
            topic: failed.topic,
            partition: PartitionId(failed.partition),
            generation: failed.generation,
            reason: failed.reason,
            message: failed.message,
            earliest: Offset(failed.earliest),
            high_watermark: Offset(failed.high_watermark),
        }
    }
}

/// Some records of one partition.
#[derive(Clone, Debug)]
pub struct GroupBatch {
    /// What to commit when these records, and all earlier ones of the partition, are handled.
    pub next: GroupOffset,
    /// The offset that the partition's next record will get.
    pub high_watermark: Offset,
    /// Records below this offset are replayed: see [`GroupRecord::is_replayed`].
    pub replayed_below: Offset,
    erased: Vec<ErasedEntity>,
    runs: Runs,
    pub(super) cost: Credit,
}

impl GroupBatch {
    pub(super) fn new(records: Records) -> Self {
        Self {
            next: records.next.unwrap_or_default().into(),
            high_watermark: Offset(records.high_watermark),
            replayed_below: Offset(records.replayed_below),
            erased: records
                .erased
                .iter()
                .filter_map(ErasedEntity::new)
                .collect(),
            runs: Runs(records.records),
            cost: records.cost.unwrap_or_default(),
        }
    }

    /// The records in offset order, borrowed from the received bytes: nothing is allocated.
    pub fn records(&self) -> impl Iterator<Item = Result<RecordView<'_>, MalformedRecord>> {
        self.runs.records()
    }

    /// The records in offset order as owned values, which share the received bytes.
    pub fn owned_records(&self) -> impl Iterator<Item = Result<StoredRecord, MalformedRecord>> {
        self.runs.owned_records(self.next.partition)
    }

    /// Entities that were erased since the partition was assigned: erase what was derived from
    /// their records too.
    #[must_use]
    pub fn erased(&self) -> &[ErasedEntity] {
        &self.erased
    }

    /// The size of the records, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.runs.bytes()
    }

    pub(super) fn place(&self) -> Place {
        Place::of(&self.next)
    }
}

/// A record, and what to commit once it is handled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRecord {
    /// The record.
    pub record: StoredRecord,
    /// Whether the group from which this one was forked has handled the record already. Then its
    /// effects outside the group's own state should not be repeated.
    pub is_replayed: bool,
    /// The partition that it is from, as assigned.
    from: Arc<GroupOffset>,
}

impl GroupRecord {
    /// The topic's name.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.from.topic
    }

    /// What to commit once this record, and all earlier ones of its partition, are handled.
    #[must_use]
    pub fn next(&self) -> GroupOffset {
        GroupOffset {
            next_offset: Offset(self.record.offset.0 + 1),
            ..(*self.from).clone()
        }
    }
}

/// A batch whose records are taken one by one.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) next: Arc<GroupOffset>,
    pub(super) cost: Credit,
    replayed_below: Offset,
    records: VecDeque<StoredRecord>,
}

impl Opened {
    pub(super) fn new(batch: &GroupBatch) -> Result<Self, MalformedRecord> {
        let records: Result<_, _> = batch.owned_records().collect();
        Ok(Self {
            next: Arc::new(batch.next.clone()),
            cost: batch.cost,
            replayed_below: batch.replayed_below,
            records: records?,
        })
    }

    pub(super) fn pop(&mut self) -> Option<GroupRecord> {
        let record = self.records.pop_front()?;
        Some(GroupRecord {
            is_replayed: record.offset < self.replayed_below,
            record,
            from: Arc::clone(&self.next),
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}

/// A partition in the member's own lists. A topic that was created again counts as another one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place(String, Option<TopicId>, PartitionId);

impl Place {
    pub(super) fn of(offset: &GroupOffset) -> Self {
        Self(offset.topic.clone(), offset.topic_id, offset.partition)
    }

    pub(super) fn to_public(&self) -> GroupPartition {
        GroupPartition {
            topic: self.0.clone(),
            partition: self.2,
        }
    }

    pub(super) fn to_wire(&self) -> proto::GroupPartition {
        proto::GroupPartition {
            topic: self.0.clone(),
            partition: self.2.0,
            topic_id: self.1.map(|id| id.to_string()).unwrap_or_default(),
        }
    }
}

impl From<proto::GroupPartition> for Place {
    fn from(partition: proto::GroupPartition) -> Self {
        let id = TopicId::parse(&partition.topic_id);
        Self(partition.topic, id, PartitionId(partition.partition))
    }
}

impl From<proto::AssignedPartition> for AssignedPartition {
    fn from(partition: proto::AssignedPartition) -> Self {
        Self {
            topic: partition.topic,
            topic_id: TopicId::parse(&partition.topic_id),
            partition: PartitionId(partition.partition),
            generation: partition.generation,
            next_offset: Offset(partition.next_offset),
            committed: partition.committed.map(Into::into),
            high_watermark: Offset(partition.high_watermark),
            replayed_below: Offset(partition.replayed_below),
        }
    }
}

impl AssignedPartition {
    pub(super) fn place(&self) -> Place {
        Place(self.topic.clone(), self.topic_id, self.partition)
    }
}
