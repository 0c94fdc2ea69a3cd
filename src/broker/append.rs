//! Appends: checking records, choosing partitions, assigning offsets, building frames.

use std::{
    ops::Range,
    sync::{Arc, MutexGuard, PoisonError, RwLockReadGuard, atomic::Ordering},
};

use bytes::{BufMut, Bytes, BytesMut};

use super::{
    Admission, Broker, Error, Pending,
    commit::Commit,
    lock,
    pending::pending,
    state::{Next, PartitionRef, Topic},
};
use crate::{
    storage::format::{
        entry::{self, Item},
        frame::{self, Frame},
    },
    types::{Durability, Offset, PartitionId, RecordView, Records, limits, partition_of_key},
};

/// One atomic commit, as the client sent it.
#[derive(Debug)]
pub(crate) struct Append {
    pub(crate) batches: Vec<AppendBatch>,
}

/// Records for one topic.
#[derive(Debug)]
pub(crate) struct AppendBatch {
    pub(crate) topic: String,
    /// None: by key, or by turns.
    pub(crate) partition: Option<PartitionId>,
    /// The records in wire form, unchecked: tag, length, record, again and again.
    pub(crate) records: Bytes,
}

/// Where an append's records are: for each batch, the ranges by partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Appended {
    pub(crate) batches: Vec<Vec<AppendedRange>>,
}

/// A run of records in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AppendedRange {
    pub(crate) partition: PartitionId,
    pub(crate) first_offset: Offset,
    pub(crate) count: u32,
    pub(crate) append_time_ms: i64,
}

/// A batch that has been checked.
struct Checked {
    topic: Arc<Topic>,
    records: Bytes,
    /// The records by partition, in each in the order they came.
    plan: Vec<Planned>,
}

/// What is known of a record before its offset is.
struct Planned {
    partition: PartitionId,
    /// The record's encoding, in the batch's bytes.
    range: Range<usize>,
    /// The client's timestamp; the append time stands in for it.
    timestamp_ms: Option<i64>,
}

/// The broker's fields in every record: tag and eight bytes for the offset, and for the append time.
const ASSIGNED_BYTES: usize = 18;
/// A timestamp that the client left out: tag and varint, at most.
const TIMESTAMP_BYTES: usize = 11;
const TIMESTAMP_TAG: u8 = 5 << 3;
const OFFSET_TAG: u8 = 12 << 3 | 1;
const APPEND_TIME_TAG: u8 = 14 << 3 | 1;
const ELEMENT_TAG: u8 = 15 << 3 | 2;

impl Broker {
    /// Waits until there is memory for a request of this many bytes.
    pub(crate) async fn admit(&self, bytes: usize) -> Result<Admission, Error> {
        self.shared.check_room()?;
        if self.shared.memory.is_pressed() {
            self.shared.housekeeping.ring();
        }
        self.shared.memory.admit(bytes).await
    }

    /// Checks an append, assigns its offsets and queues it for the journal. Refused whole, or taken whole.
    pub(crate) fn append(&self, append: Append, admission: Admission) -> Result<Pending<Appended>, Error> {
        let count = append.batches.len();
        if count > limits::MAX_BATCHES_PER_APPEND {
            return Err(Error::RequestTooLarge { what: "batches", count, limit: limits::MAX_BATCHES_PER_APPEND });
        }
        let checked = append.batches.into_iter().map(|batch| self.check(batch)).collect::<Result<Vec<_>, _>>()?;
        self.check_size(&checked)?;
        self.assign(&checked, admission)
    }

    /// Checks the records of a batch and settles where each goes.
    fn check(&self, batch: AppendBatch) -> Result<Checked, Error> {
        let topic = self.shared.topics().find(&batch.topic)?;
        if let Some(partition) = batch.partition {
            topic.partition(partition)?;
        }
        let turn = topic.rotation.load(Ordering::Relaxed) % topic.partition_count();
        let mut uses_turn = false;
        let limit = topic.settings().max_record_bytes;
        let malformed = |index, reason| Error::MalformedRecord { topic: batch.topic.clone(), index, reason };
        let mut plan = Vec::new();
        for (index, element) in Records::new(&batch.records).enumerate() {
            let (element, encoded) = element.map_err(|reason| malformed(index, reason))?;
            let record = RecordView::parse_new(encoded).map_err(|reason| malformed(index, reason))?;
            let bytes = (encoded.len() + assigned_len(&record)) as u64;
            if bytes > limit {
                return Err(Error::RecordTooLarge { topic: batch.topic.clone(), index, bytes, limit });
            }
            let partition = batch.partition.unwrap_or_else(|| match record.key {
                Some(key) => partition_of_key(key, topic.partition_count()),
                None => {
                    uses_turn = true;
                    PartitionId(turn)
                }
            });
            let range = element.end - encoded.len()..element.end;
            plan.push(Planned { partition, range, timestamp_ms: record.timestamp_ms });
        }
        if uses_turn {
            topic.rotation.fetch_add(1, Ordering::Relaxed);
        }
        // Stable: within a partition the order is the request's.
        plan.sort_by_key(|record| record.partition);
        Ok(Checked { topic, records: batch.records, plan })
    }

    fn check_size(&self, checked: &[Checked]) -> Result<(), Error> {
        let count = checked.iter().map(|batch| batch.plan.len()).sum::<usize>();
        if count == 0 {
            return Err(Error::EmptyAppend);
        }
        if count > limits::MAX_RECORDS_PER_APPEND {
            return Err(Error::RequestTooLarge { what: "records", count, limit: limits::MAX_RECORDS_PER_APPEND });
        }
        let records: usize = checked.iter().map(|batch| batch.records.len()).sum();
        let frames: usize = checked.iter().map(|batch| runs(&batch.plan).count()).sum();
        // Five bytes for a length that grows, a table row beside each header.
        let most = records + count * (ASSIGNED_BYTES + TIMESTAMP_BYTES + 5) + frames * (frame::HEADER_BYTES + 16) + 64;
        let capacity = usize::try_from(self.shared.options.journal().capacity()).unwrap_or(usize::MAX);
        if most > capacity {
            return Err(Error::RequestTooLarge { what: "bytes", count: most, limit: capacity });
        }
        Ok(())
    }

    /// Assigns offsets and queues the frames, under the locks of every partition that is written.
    fn assign(&self, checked: &[Checked], admission: Admission) -> Result<Pending<Appended>, Error> {
        let shared = &self.shared;
        let now = shared.env.clock.now_ms();
        let partitions = partitions_of(checked)?;
        let _open = match hold_open(&partitions) {
            Ok(open) => open,
            Err(closing) => return shared.refuse_durably(closing),
        };
        let mut next: Vec<MutexGuard<'_, Next>> =
            partitions.iter().map(|partition| lock(&partition.partition().next)).collect();

        let (mut items, mut owners) = (Vec::new(), Vec::new());
        let mut answer = Appended { batches: Vec::with_capacity(checked.len()) };
        let mut after: Vec<(Offset, i64)> =
            next.iter().map(|next| (next.offset, next.append_time_ms.max(now))).collect();
        for batch in checked {
            let mut ranges = Vec::new();
            for run in runs(&batch.plan) {
                let at = partitions
                    .binary_search_by_key(&(batch.topic.id, run[0].partition), key)
                    .expect("every partition of the plan was collected");
                let (first_offset, append_time_ms) = after[at];
                let frame = build_frame(batch, run, first_offset, append_time_ms);
                after[at].0 = frame.header().end();
                ranges.push(AppendedRange {
                    partition: run[0].partition,
                    first_offset,
                    count: frame.header().count,
                    append_time_ms,
                });
                items.push(Item::Frame(frame));
                owners.push(partitions[at].clone());
            }
            answer.batches.push(ranges);
        }

        debug_assert!(entry::encoded_len(&items) as u64 <= shared.options.journal().capacity());
        let sync = partitions.iter().any(|partition| partition.topic.settings().durability == Durability::Sync);
        let (giver, pending) = pending();
        let done = Box::new(move || giver.give(Ok(answer)));
        shared.queue.push(Commit { items, partitions: owners, sync, charge: admission.into_charge(), done })?;
        for (next, (offset, append_time_ms)) in next.iter_mut().zip(after) {
            **next = Next { offset, append_time_ms };
        }
        Ok(pending)
    }
}

/// The runs of a plan that go to one partition each.
fn runs(plan: &[Planned]) -> impl Iterator<Item = &[Planned]> {
    plan.chunk_by(|one, other| one.partition == other.partition)
}

/// What partitions are locked in the order of.
fn key(partition: &PartitionRef) -> (crate::types::TopicId, PartitionId) {
    (partition.topic.id, partition.partition().id)
}

/// The partitions that are written, each once, in the order in which everybody locks them.
fn partitions_of(checked: &[Checked]) -> Result<Vec<PartitionRef>, Error> {
    let mut partitions = Vec::new();
    for batch in checked {
        for run in runs(&batch.plan) {
            partitions.push(batch.topic.partition(run[0].partition)?);
        }
    }
    partitions.sort_by_key(key);
    partitions.dedup_by_key(|partition| key(partition));
    Ok(partitions)
}

/// Keeps the topics from being deleted until the append is queued.
fn hold_open(partitions: &[PartitionRef]) -> Result<Vec<RwLockReadGuard<'_, bool>>, Error> {
    let mut held = Vec::new();
    for partition in partitions.chunk_by(|one, other| Arc::ptr_eq(&one.topic, &other.topic)).map(|of_one| &of_one[0]) {
        let closing = partition.topic.closing.read().unwrap_or_else(PoisonError::into_inner);
        if *closing {
            return Err(Error::UnknownTopic { topic: partition.topic.name.to_string() });
        }
        held.push(closing);
    }
    Ok(held)
}

/// Builds the frame of a run: the client's bytes, behind each record what the broker assigns.
fn build_frame(batch: &Checked, run: &[Planned], base: Offset, append_time_ms: i64) -> Frame {
    let bytes: usize = run.iter().map(|record| record.range.len()).sum();
    let room = frame::HEADER_BYTES + bytes + run.len() * (6 + ASSIGNED_BYTES + TIMESTAMP_BYTES);
    let mut out = BytesMut::with_capacity(room);
    out.put_bytes(0, frame::HEADER_BYTES);
    let mut latest_timestamp_ms = i64::MIN;
    let mut offset = base;
    for record in run {
        let assigned = ASSIGNED_BYTES + record.timestamp_ms.map_or_else(|| timestamp_len(append_time_ms), |_| 0);
        out.put_u8(ELEMENT_TAG);
        put_varint(&mut out, (record.range.len() + assigned) as u64);
        out.put_slice(&batch.records[record.range.clone()]);
        if record.timestamp_ms.is_none() {
            out.put_u8(TIMESTAMP_TAG);
            put_varint(&mut out, append_time_ms.cast_unsigned());
        }
        out.put_u8(OFFSET_TAG);
        out.put_u64_le(offset.0);
        out.put_u8(APPEND_TIME_TAG);
        out.put_i64_le(append_time_ms);
        latest_timestamp_ms = latest_timestamp_ms.max(record.timestamp_ms.unwrap_or(append_time_ms));
        offset = offset.plus(1);
    }
    let count = u32::try_from(run.len()).expect("bounded by MAX_RECORDS_PER_APPEND");
    let header = frame::Header {
        topic: batch.topic.id,
        partition: run[0].partition,
        count,
        base,
        append_time_ms,
        latest_timestamp_ms,
        span: count,
    };
    Frame::seal(header, out)
}

/// The most that the broker adds to a record.
fn assigned_len(record: &RecordView<'_>) -> usize {
    ASSIGNED_BYTES + if record.timestamp_ms.is_some() { 0 } else { TIMESTAMP_BYTES }
}

fn timestamp_len(timestamp_ms: i64) -> usize {
    let bits = 64 - (timestamp_ms.cast_unsigned() | 1).leading_zeros() as usize;
    1 + bits.div_ceil(7)
}

fn put_varint(out: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}
