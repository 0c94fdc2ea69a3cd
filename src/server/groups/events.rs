//! Converts a session's events to messages on the wire.

use bytes::Bytes;

use super::join::id_text;
use crate::{
    broker::{
        AssignedPartition, CommitOutcome, Event, FailedPartition, GroupOffset, RecordsOf, Session,
    },
    budget::Held,
    catalog::groups::{Committed, Place},
    proto::{
        self, Assigned, CaughtUp, Heartbeat, Joined, PartitionFailed, Partitions, Revoked,
        wire::{self, ConsumeMessage, ConsumeResponse, Records},
    },
    server::log::read::erased,
    types::TopicName,
};

/// A message ready to be sent: its head, and the records behind it, if it has any.
pub(in crate::server) struct Message {
    pub(super) head: Bytes,
    pub(super) records: Vec<Bytes>,
    /// The memory in which the head is counted, if it is.
    pub(super) held: Option<Held>,
}

impl Message {
    /// Counts the message in memory taken for it, shrunk to the message's length.
    pub(super) fn counted_with(self, mut held: Held) -> Self {
        held.shrink_to(self.head.len());
        Self {
            held: Some(held),
            ..self
        }
    }

    /// The bytes in which it is counted.
    pub(super) fn held_bytes(&self) -> usize {
        self.held.as_ref().map_or(0, Held::bytes)
    }
}

impl From<ConsumeMessage> for Message {
    fn from(message: ConsumeMessage) -> Self {
        Self {
            head: wire::encode(&ConsumeResponse::from(message)),
            records: Vec::new(),
            held: None,
        }
    }
}

impl From<Event> for Message {
    fn from(event: Event) -> Self {
        match event {
            Event::Assigned(partitions) => {
                let partitions = partitions.into_iter().map(assigned).collect();
                ConsumeMessage::Assigned(Assigned { partitions }).into()
            }
            Event::Revoked { partitions, time } => {
                let partitions = partitions.iter().map(partition).collect();
                let revoked = Revoked {
                    partitions: Some(Partitions { partitions }),
                    drain_ms: u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
                };
                ConsumeMessage::Revoked(revoked).into()
            }
            Event::Records(records) => of_records(&records),
            Event::Failed(failed) => ConsumeMessage::Failed(of_failed(&failed)).into(),
            Event::CaughtUp => ConsumeMessage::CaughtUp(CaughtUp {}).into(),
        }
    }
}

/// How many bytes the message with these records has.
pub(super) fn response_bytes(records: &RecordsOf) -> usize {
    let message = of_records(records);
    message.head.len() + records_bytes(&message.records)
}

fn records_bytes(records: &[Bytes]) -> usize {
    records.iter().map(Bytes::len).sum()
}

fn of_records(records: &RecordsOf) -> Message {
    let batch = &records.batch;
    let next = proto::GroupOffset {
        topic: records.topic.to_string(),
        partition: batch.partition.0,
        next_offset: batch.next_offset.0,
        topic_id: records.topic_id.to_string(),
        generation: records.generation.0,
        metadata: Bytes::new(),
    };
    let cost = proto::Credit {
        records: records.cost.records,
        bytes: records.cost.bytes,
    };
    let head = Records {
        next: Some(next),
        cost: Some(cost),
        high_watermark: batch.high_watermark.0,
        caught_up: batch.caught_up,
        replayed_below: records.replayed_below.unwrap_or_default().0,
        erased: batch.erased.iter().map(erased).collect(),
        records: Vec::new(),
    };
    Message {
        head: ConsumeResponse::head_of(&head, records_bytes(&batch.records)),
        records: batch.records.clone(),
        held: None,
    }
}

fn of_failed(failed: &FailedPartition) -> PartitionFailed {
    PartitionFailed {
        topic: failed.topic.to_string(),
        partition: failed.partition.0,
        topic_id: failed.topic_id.to_string(),
        generation: failed.generation.0,
        reason: failed.error.reason().to_owned(),
        message: failed.error.to_string(),
        earliest: failed.earliest.0,
        high_watermark: failed.high_watermark.0,
    }
}

fn assigned(partition: AssignedPartition) -> proto::AssignedPartition {
    let topic = &partition.topic;
    let place = (partition.topic_id, partition.partition);
    let committed = partition.committed.as_ref();
    proto::AssignedPartition {
        topic: topic.to_string(),
        partition: partition.partition.0,
        topic_id: partition.topic_id.to_string(),
        generation: partition.generation.0,
        next_offset: partition.next_offset.0,
        committed: committed.map(|committed| committed_offset(topic, place, committed)),
        high_watermark: partition.high_watermark.0,
        replayed_below: partition.replayed_below.unwrap_or_default().0,
    }
}

pub(super) fn committed_offset(
    topic: &TopicName,
    (topic_id, partition): Place,
    committed: &Committed,
) -> proto::CommittedOffset {
    proto::CommittedOffset {
        topic: topic.to_string(),
        partition: partition.0,
        topic_id: topic_id.to_string(),
        next_offset: committed.next.0,
        metadata: committed.metadata.clone(),
        committed_at_ms: committed.at_ms,
    }
}

fn partition((topic, (topic_id, partition)): &(TopicName, Place)) -> proto::GroupPartition {
    proto::GroupPartition {
        topic: topic.to_string(),
        partition: partition.0,
        topic_id: topic_id.to_string(),
    }
}

pub(super) fn joined(session: &Session, session_ms: u64, drain_ms: u64) -> Message {
    ConsumeMessage::Joined(Joined {
        member_id: id_text(session.member_id(), session.instance()),
        session_timeout_ms: session_ms,
        drain_timeout_ms: drain_ms,
    })
    .into()
}

pub(in crate::server) fn heartbeat() -> Message {
    ConsumeMessage::Heartbeat(Heartbeat {}).into()
}

/// An offset that a client asked to commit, without its metadata.
pub(super) struct Asked {
    topic: String,
    partition: u32,
    next_offset: u64,
}

impl Asked {
    /// The memory that a commit's offset takes until its outcome is sent, including the outcome and
    /// the cost of allocation. The response made from it is smaller.
    pub(super) fn bytes_of(offset: &proto::GroupOffset) -> usize {
        size_of::<Self>() + size_of::<CommitOutcome>() + 16 + offset.topic.len()
    }

    pub(super) fn of(offset: &GroupOffset) -> Self {
        Self {
            topic: offset.topic.clone(),
            partition: offset.partition.0,
            next_offset: offset.next_offset.0,
        }
    }
}

/// The outcome of an offset's commit; `None` if it is unknown.
pub(super) fn commit_result(asked: Asked, outcome: Option<&CommitOutcome>) -> proto::CommitResult {
    use proto::CommitOutcome as Wire;
    let mut result = proto::CommitResult {
        topic: asked.topic,
        partition: asked.partition,
        ..proto::CommitResult::default()
    };
    let outcome = match outcome {
        Some(CommitOutcome::Done) => {
            result.committed_offset = asked.next_offset;
            Wire::Done
        }
        Some(CommitOutcome::Unchanged { committed }) => {
            result.committed_offset = committed.0;
            Wire::Unchanged
        }
        Some(CommitOutcome::Fenced { current }) => {
            result.generation = current.unwrap_or_default().0;
            Wire::Fenced
        }
        Some(CommitOutcome::UnknownPartition) => Wire::UnknownPartition,
        Some(CommitOutcome::BeyondEnd { end }) => {
            result.high_watermark = end.0;
            Wire::BeyondEnd
        }
        None => Wire::OutcomeUnknown,
    };
    result.set_outcome(outcome);
    result
}
