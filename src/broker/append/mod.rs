//! Appends: the request, the answer, and the checks that need no lock.
//!
//! Reading order: this page; `assign.rs`, what is done under the partitions' locks; `frame.rs`,
//! which builds frames from records; `group_offsets.rs`, offsets that groups commit with an append;
//! `repeated.rs`, the answer to an append that is stored already.

mod assign;
mod frame;
mod group_offsets;
mod repeated;

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;

use super::{
    Admission, Broker, Condition, Error, Expected, Flow, Load, Pending, Producer, ProducerHolder,
    groups::GroupOffset, memory::Times, state::Topic, topics::Meant,
};
use crate::{
    catalog::groups::Commit,
    storage::{format::frame::HEADER_BYTES, keys::hash::KeyHash},
    types::{
        GroupName, Keys, Offset, PartitionId, RecordView, Records, TopicId, Version, limits,
        partition_of_key,
    },
};

/// One atomic commit, as the client sent it.
#[derive(Debug, Default)]
pub(crate) struct Append {
    pub(crate) batches: Vec<AppendBatch>,
    /// Conditions that must all hold.
    pub(crate) conditions: Vec<Condition>,
    /// For exactly-once appends; then every batch has a sequence.
    pub(crate) producer: Option<Producer>,
    /// The connection that it comes on, which holds the producer from then on.
    pub(crate) holder: Option<Arc<ProducerHolder>>,
    /// Whether the answer includes the version of every record.
    pub(crate) return_versions: bool,
    /// Offsets that groups commit with it, by group: all of them, or nothing is appended.
    pub(crate) group_offsets: Vec<(String, Vec<GroupOffset>)>,
}

/// Records for one topic.
#[derive(Debug)]
pub(crate) struct AppendBatch {
    pub(crate) topic: String,
    /// The topic's id, if a certain topic is meant; `None` for whichever has the name.
    pub(crate) topic_id: Option<TopicId>,
    /// `None`: chosen by key, or in turn for batches without keys.
    pub(crate) partition: Option<PartitionId>,
    /// The producer's sequence for this topic and partition.
    pub(crate) sequence: Option<u64>,
    /// The records in wire form, unchecked: tag, length and record, repeated.
    pub(crate) records: Bytes,
}

/// Where an append's records are: for each batch, a range in each partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Appended {
    pub(crate) batches: Vec<Vec<AppendedRange>>,
    /// Whether batches without ranges are stored already, by an earlier append, at positions that
    /// are not remembered. Otherwise such batches have no records.
    pub(crate) forgotten: bool,
}

/// A range of records in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AppendedRange {
    pub(crate) partition: PartitionId,
    pub(crate) first_offset: Offset,
    pub(crate) count: u32,
    pub(crate) append_time_ms: i64,
    /// The version of each record, in order, if they were asked for.
    pub(crate) versions: Vec<Version>,
}

/// The result of a first attempt to append.
pub(crate) enum Attempt {
    /// The append is ordered and queued.
    Queued(Pending<Appended>),
    /// Nothing has changed yet: continue with [`Broker::append_left`].
    Left(Left),
}

/// An append that must read files, or takes long because it has many records.
pub(crate) struct Left {
    rest: Box<Rest>,
    admission: Admission,
}

enum Rest {
    Unchecked(Append),
    Checked(Checked),
}

/// Whether files may be read on this thread.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Files {
    Read,
    Leave,
}

impl Attempt {
    fn left(rest: Rest, admission: Admission) -> Self {
        Self::Left(Left {
            rest: Box::new(rest),
            admission,
        })
    }
}

/// An append that was checked as far as no lock is needed.
struct Checked {
    batches: Vec<CheckedBatch>,
    conditions: Vec<CheckedCondition>,
    producer: Option<Producer>,
    holder: Option<Arc<ProducerHolder>>,
    return_versions: bool,
    commits: Vec<(GroupName, Vec<Commit>)>,
}

/// A batch that was checked.
struct CheckedBatch {
    topic: Arc<Topic>,
    sequence: Option<u64>,
    records: Bytes,
    /// The records by partition, in each in the order of the request.
    plan: Vec<Planned>,
}

/// What is known of a record before it has an offset.
struct Planned {
    partition: PartitionId,
    /// The range of the record's encoding in the batch.
    encoded: Span,
    /// The range of its key, with the key's hash, in topics with versions.
    key: Option<(Span, KeyHash)>,
    /// The client's timestamp; without one, the append time is used.
    timestamp_ms: Option<i64>,
}

/// A range of a batch's bytes. 32 bits are enough, because a request is far below 4 GiB.
#[derive(Clone, Copy)]
struct Span {
    start: u32,
    len: u32,
}

/// A condition that was checked.
struct CheckedCondition {
    topic: Arc<Topic>,
    partition: PartitionId,
    /// The hash of the key, if it is about one.
    hash: Option<KeyHash>,
    condition: Condition,
}

impl Span {
    /// Where in `bytes` its part `slice` is.
    fn of(slice: &[u8], bytes: &[u8]) -> Self {
        let start = slice.as_ptr().addr() - bytes.as_ptr().addr();
        let short = |number: usize| u32::try_from(number).expect("a request is far below 4 GiB");
        Self {
            start: short(start),
            len: short(slice.len()),
        }
    }

    fn in_bytes(self, bytes: &[u8]) -> &[u8] {
        let start = self.start as usize;
        &bytes[start..start + self.len as usize]
    }
}

impl Broker {
    /// Waits until there is room for a request, and it is its flow's turn.
    pub(crate) async fn admit(&self, flow: &Flow, load: Load) -> Result<Admission, Error> {
        let shared = &self.shared;
        let asked = shared.env.clock.elapsed();
        shared.health.check_room()?;
        if shared.memory.is_pressed() {
            self.shared.maintenance.housekeeping.notify();
        }
        let key_memory = &shared.partitions.key_memory;
        let turn = key_memory.wait(load, &shared.health).await?;
        let wake = || self.shared.maintenance.housekeeping.notify();
        let admitted = self.shared.memory.admit(flow, load, wake).await?;
        shared.health.take_room(admitted.bytes())?;
        let room = key_memory.reserve(load, turn, &shared.health).await?;
        let admitted_at = shared.env.clock.elapsed();
        let times = Times {
            asked,
            admitted: admitted_at,
        };
        Ok(admitted.with(room).timed(times))
    }

    /// Checks an append, assigns offsets and versions to its records, and queues it for the
    /// journal. It is refused or accepted as a whole. Mostly this is done in memory. If a key must
    /// be looked up in files, or the records are so many that it takes long, the append is left to
    /// a thread that nobody else waits for.
    pub(crate) fn try_append(
        &self,
        append: Append,
        admission: Admission,
    ) -> Result<Attempt, Error> {
        if admission.has_turn() {
            return Ok(Attempt::left(Rest::Unchecked(append), admission));
        }
        self.assign(self.check_append(append)?, admission, Files::Leave)
    }

    /// Continues an append that was left. May read files.
    pub(crate) fn append_left(&self, left: Left) -> Result<Pending<Appended>, Error> {
        let Left { rest, admission } = left;
        let checked = match *rest {
            Rest::Unchecked(append) => self.check_append(append)?,
            Rest::Checked(checked) => checked,
        };
        match self.assign(checked, admission, Files::Read)? {
            Attempt::Queued(pending) => Ok(pending),
            Attempt::Left(_) => unreachable!("files may be read"),
        }
    }

    /// Checks everything that needs no lock.
    fn check_append(&self, append: Append) -> Result<Checked, Error> {
        let counts = [
            (
                "batches",
                append.batches.len(),
                limits::MAX_BATCHES_PER_APPEND,
            ),
            (
                "conditions",
                append.conditions.len(),
                limits::MAX_CONDITIONS_PER_APPEND,
            ),
            (
                "groups",
                append.group_offsets.len(),
                limits::MAX_GROUPS_PER_APPEND,
            ),
        ];
        if let Some((what, count, limit)) =
            counts.into_iter().find(|(_, count, limit)| count > limit)
        {
            return Err(Error::RequestTooLarge { what, count, limit });
        }
        check_sequences(&append)?;
        let conditions = append.conditions.into_iter().enumerate();
        let checked = Checked {
            batches: self.check_batches(append.batches)?,
            conditions: conditions
                .map(|(at, condition)| self.check_condition(at, condition))
                .collect::<Result<_, _>>()?,
            producer: append.producer,
            holder: append.holder,
            return_versions: append.return_versions,
            commits: self.check_group_offsets(append.group_offsets)?,
        };
        self.check_size(&checked)?;
        Ok(checked)
    }

    fn check_batches(&self, batches: Vec<AppendBatch>) -> Result<Vec<CheckedBatch>, Error> {
        let mut checked = Vec::with_capacity(batches.len());
        let mut room = limits::MAX_RECORDS_PER_APPEND;
        for batch in batches {
            let batch = self.check(batch, room)?;
            room -= batch.plan.len();
            checked.push(batch);
        }
        Ok(checked)
    }

    /// Checks the records of a batch, at most `room` of them, and chooses the partition of each.
    fn check(&self, batch: AppendBatch, room: usize) -> Result<CheckedBatch, Error> {
        let topic = self.shared.partitions.topics().find_meant(Meant {
            name: &batch.topic,
            id: batch.topic_id,
        })?;
        if let Some(partition) = batch.partition {
            topic.partition(partition)?;
        }
        let turn = PartitionId(topic.rotation.load(Ordering::Relaxed) % topic.partition_count());
        let mut uses_turn = false;
        let settings = topic.settings();
        let malformed = |index, reason| Error::MalformedRecord {
            topic: batch.topic.clone(),
            index,
            reason,
        };
        let mut plan = Vec::new();
        for (index, element) in Records::new(&batch.records).enumerate() {
            if index == room {
                let limit = limits::MAX_RECORDS_PER_APPEND;
                return Err(Error::RequestTooLarge {
                    what: "records",
                    count: limit + 1,
                    limit,
                });
            }
            let (_, encoded) = element.map_err(|reason| malformed(index, reason))?;
            let record =
                RecordView::parse_new(encoded).map_err(|reason| malformed(index, reason))?;
            if record.key.is_none() && settings.is_compacted() {
                let topic = batch.topic.clone();
                return Err(Error::KeyRequired { topic, index });
            }
            let (bytes, limit) = (
                (encoded.len() + frame::added_len(&record)) as u64,
                settings.max_record_bytes,
            );
            if bytes > limit {
                return Err(Error::RecordTooLarge {
                    topic: batch.topic.clone(),
                    index,
                    bytes,
                    limit,
                });
            }
            let versioned = record.key.filter(|_| settings.keys == Keys::Versioned);
            let by_key = |key| partition_of_key(key, topic.partition_count());
            let partition = match (batch.partition, versioned) {
                (Some(partition), Some(key)) if partition != by_key(key) => {
                    let (topic, belongs) = (batch.topic.clone(), by_key(key));
                    return Err(Error::WrongPartition {
                        topic,
                        index,
                        partition,
                        belongs,
                    });
                }
                (Some(partition), _) => partition,
                (None, _) => record.key.map_or_else(
                    || {
                        uses_turn = true;
                        turn
                    },
                    by_key,
                ),
            };
            let key = versioned.map(|key| (Span::of(key, &batch.records), topic.hasher.key(key)));
            let encoded = Span::of(encoded, &batch.records);
            plan.push(Planned {
                partition,
                encoded,
                key,
                timestamp_ms: record.timestamp_ms,
            });
        }
        if uses_turn {
            topic.rotation.fetch_add(1, Ordering::Relaxed);
        }
        // A stable sort: within a partition, the records keep the request's order.
        plan.sort_by_key(|record| record.partition);
        Ok(CheckedBatch {
            topic,
            sequence: batch.sequence,
            records: batch.records,
            plan,
        })
    }

    fn check_condition(
        &self,
        index: usize,
        condition: Condition,
    ) -> Result<CheckedCondition, Error> {
        let topic = self
            .shared
            .partitions
            .topics()
            .find_meant(condition.meant())?;
        let (partition, hash) = match &condition.expected {
            Expected::PartitionAt { partition, .. } => {
                (topic.partition(*partition)?.partition().id, None)
            }
            Expected::KeyAbsent { key }
            | Expected::KeyExists { key }
            | Expected::KeyAt { key, .. } => {
                if key.is_empty() || key.len() > limits::MAX_KEY_BYTES {
                    let reason = "its key does not have 1 to 65,535 bytes";
                    return Err(Error::MalformedCondition { index, reason });
                }
                topic.check_versioned()?;
                (
                    partition_of_key(key, topic.partition_count()),
                    Some(topic.hasher.key(key)),
                )
            }
        };
        Ok(CheckedCondition {
            topic,
            partition,
            hash,
            condition,
        })
    }

    fn check_size(&self, checked: &Checked) -> Result<(), Error> {
        let count = checked
            .batches
            .iter()
            .map(|batch| batch.plan.len())
            .sum::<usize>();
        if count == 0 {
            return Err(Error::EmptyAppend);
        }
        let records: usize = checked
            .batches
            .iter()
            .map(|batch| batch.records.len())
            .sum();
        let frames: usize = checked
            .batches
            .iter()
            .map(|batch| runs(&batch.plan).count())
            .sum();
        let commits: usize = checked.commits.iter().map(group_offsets::most_bytes).sum();
        // Five bytes for a longer length field, and a table row for each header.
        let most = records
            + count * (frame::MOST_ADDED_BYTES + 5)
            + frames * (HEADER_BYTES + 16)
            + commits
            + 64;
        let capacity =
            usize::try_from(self.shared.options.journal().capacity()).unwrap_or(usize::MAX);
        if most > capacity {
            return Err(Error::RequestTooLarge {
                what: "bytes",
                count: most,
                limit: capacity,
            });
        }
        Ok(())
    }
}

impl Topic {
    /// Refuses operations on entities in a topic without versions.
    pub(super) fn check_versioned(&self) -> Result<(), Error> {
        match self.keys() {
            Keys::Versioned => Ok(()),
            Keys::Plain => Err(Error::PlainTopic {
                topic: self.name.to_string(),
            }),
        }
    }
}

/// Checks that each batch of a producer has a sequence and is for one partition, and that other
/// batches have none.
fn check_sequences(append: &Append) -> Result<(), Error> {
    let malformed = |reason: &str| {
        Err(Error::MalformedRequest {
            reason: reason.to_owned(),
        })
    };
    let numbered = append
        .batches
        .iter()
        .filter(|batch| batch.sequence.is_some())
        .count();
    match append.producer {
        None if numbered > 0 => {
            malformed("a batch has a sequence, but the request has no producer")
        }
        Some(_) if numbered < append.batches.len() => {
            malformed("the request has a producer, but a batch has no sequence")
        }
        Some(_) if append.batches.iter().any(|batch| batch.partition.is_none()) => malformed(
            "a batch with a sequence must name its partition: sequences are counted in it",
        ),
        Some(_) if append.batches.iter().any(|batch| batch.records.is_empty()) => {
            malformed("a batch with a sequence must have records")
        }
        _ => Ok(()),
    }
}

/// Splits a plan into runs of records for one partition each.
fn runs(plan: &[Planned]) -> impl Iterator<Item = &[Planned]> {
    plan.chunk_by(|one, other| one.partition == other.partition)
}
