//! The checkpoint: up to which journal entry everything is in segments, and how far each partition
//! reaches there.
//!
//! ```text
//!  0  8 bytes "TFRLCHKP"
//!  8  u32  version
//! 12  u32  checksum of the rest
//! 16  u64  applied: entries up to this sequence are in segments
//! 24  u64  journal file to start replaying from
//! 32  u32  topics, then of each: u64 id, u64 seed, string name, settings, u32 partitions, then of each partition:
//!          u64 start, u64 end, i64 last append time, u64 base offset of the active segment (all ones: none),
//!          u64 its length in bytes, u64 number up to which there are last versions (0: none)
//!     u32  producers, then of each: u64 id, u32 epoch, u64 idle milliseconds, string name,
//!          u32 sequences, then of each: u64 topic, u32 partition, u64 next sequence
//!     u32  erasures, then of each: u64 topic, u32 1 if complete, an erasure (`erasure.rs`)
//!     i64  the broker's time, milliseconds since 1970; it and what follows are missing where none was stored
//!     16 bytes id of the machine's start (zeros: unknown), u64 milliseconds since that start
//!     u64  number of the journal file taken into use last, u32 how many there are, u32 how many have a note; missing
//!          where none were stored
//!     u64  id of the data directory (0: unknown); missing where none was stored
//!     u64  number of the files with what has changed since (`delta.rs`); it and what follows are missing where there
//!          were none
//!     of each sequence above, in order: u32 batches that are remembered, then of each, the last of them last:
//!          u64 base offset, u32 records, i64 append time
//!     u64  highest generation of all groups that were deleted, u32 groups, then of each: string name, a change
//!          (`group.rs`); it and what follows are missing where there were none
//!     u32  trims of entities, then of each: u64 topic, a trim (`key_trim.rs`); it and what follows are missing where
//!          there were none
//!     u32  access tokens, then each (`access_token.rs`); missing where there were none
//! ```

use std::time::Duration;

use super::{
    VERSION,
    access_token::{put_access_tokens, take_access_tokens},
    change::{put_settings, take_settings},
    crc32,
    erasure::ERASURE_BYTES,
    fields::{Fields, put_count, put_string},
    group::{MIN_GROUP_BYTES, put_group, take_group},
    identity::Identity,
    key_trim::{put_key_trims, take_key_trims},
};
use crate::{
    catalog::{
        self, AccessToken, Erasure, KnownErasure, KnownKeyTrim, Snapshot,
        groups::{self, Generation},
        producers::Known,
    },
    types::{
        Offset, PartitionId, ProducerId, Sequence, StoredBatch, TopicId, TopicName, TopicSettings,
    },
};

const MAGIC: [u8; 8] = *b"TFRLCHKP";
const NO_SEGMENT: u64 = u64::MAX;
pub(super) const PARTITION_BYTES: usize = 48;
const MIN_TOPIC_BYTES: usize = 28;
const MIN_PRODUCER_BYTES: usize = 28;
const SEQUENCE_BYTES: usize = 20;
const STORED_BATCH_BYTES: usize = 20;

/// A checkpoint's content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    /// Journal entries up to this one need not be replayed.
    pub(crate) applied: u64,
    /// The number of the journal file that has, or will have, the first entry after `applied`.
    pub(crate) journal_file: u64,
    pub(crate) topics: Vec<Topic>,
    pub(crate) producers: Vec<Producer>,
    pub(crate) erasures: Vec<KnownErasure>,
    /// The time of the checkpoint; earlier versions did not store it.
    pub(crate) clock: Option<Clock>,
    /// Stored together with the time.
    pub(crate) journal: JournalFiles,
    /// The data directory that the checkpoint belongs to, stored together with the time; earlier
    /// versions did not store it.
    pub(crate) directory: Option<Identity>,
    /// The number of the files of deltas that follow, stored together with the directory. 0 if
    /// there are none: earlier versions wrote whole checkpoints only.
    pub(crate) delta_files: u64,
    /// Stored together with `delta_files`.
    pub(crate) groups: groups::Snapshot,
    /// Stored together with the groups; earlier versions have none.
    pub(crate) key_trims: Vec<KnownKeyTrim>,
    /// Stored together with the trims; earlier versions have none.
    pub(crate) access_tokens: Vec<AccessToken>,
}

/// The journal's files at the time of the checkpoint; earlier versions did not store them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct JournalFiles {
    /// The number of the file taken into use last.
    pub(crate) newest: u64,
    /// How many files had been made, from `1.journal` on.
    pub(crate) made: u32,
    /// How many files had a note in `journal/ring`, whether or not they had been made yet.
    pub(crate) noted: u32,
}

/// The time of the checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Clock {
    /// The broker's time, in milliseconds since 1970.
    pub(crate) now_ms: i64,
    /// The id of the machine's current start; zeros if it is unknown.
    pub(crate) boot: [u8; 16],
    /// How long ago the machine started, in milliseconds.
    pub(crate) since_boot_ms: u64,
}

/// A producer at the checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Producer {
    pub(crate) id: ProducerId,
    pub(crate) epoch: u32,
    /// For how long it has been idle, counted while a broker ran.
    pub(crate) idle_ms: u64,
    /// Empty if it has no name.
    pub(crate) name: String,
    /// The producer's next sequence in each topic and partition.
    pub(crate) sequences: Vec<Sequence>,
}

/// A topic at the checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Topic {
    pub(crate) id: TopicId,
    /// The seed of the hashes in the topic's key indexes.
    pub(crate) seed: u64,
    pub(crate) name: TopicName,
    pub(crate) settings: TopicSettings,
    pub(crate) partitions: Vec<Partition>,
}

/// A partition at the checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Partition {
    /// The first offset that has not been trimmed.
    pub(crate) start: Offset,
    /// The offset behind the last record in segments.
    pub(crate) end: Offset,
    /// The append time of the last record; times never go back along a partition.
    pub(crate) last_append_time_ms: i64,
    /// The active segment, if there is one.
    pub(crate) active: Option<Active>,
    /// The highest number of a table of last versions, or of a retired file; 0 if there is none.
    pub(crate) retired: u64,
}

/// How far the active segment reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Active {
    pub(crate) base: Offset,
    /// Bytes of the file that are sound and synced.
    pub(crate) len: u64,
}

impl Partition {
    /// A partition without records.
    pub(crate) const EMPTY: Self = Self {
        start: Offset::ZERO,
        end: Offset::ZERO,
        last_append_time_ms: i64::MIN,
        active: None,
        retired: 0,
    };
}

impl Producer {
    /// A known producer of the catalog, as it is stored.
    pub(crate) fn of(known: Known) -> Self {
        Self {
            id: known.id,
            epoch: known.epoch,
            idle_ms: u64::try_from(known.idle.as_millis()).unwrap_or(u64::MAX),
            name: known.name,
            sequences: known.sequences,
        }
    }

    fn known(&self) -> Known {
        Known {
            id: self.id,
            epoch: self.epoch,
            idle: Duration::from_millis(self.idle_ms),
            name: self.name.clone(),
            sequences: self.sequences.clone(),
        }
    }
}

impl Topic {
    fn known(&self) -> catalog::Topic {
        let starts = self.partitions.iter().map(|partition| partition.start);
        catalog::Topic {
            id: self.id,
            seed: self.seed,
            name: self.name.clone(),
            settings: self.settings.clone(),
            starts: starts.collect(),
        }
    }
}

impl Checkpoint {
    /// The catalog's part of the checkpoint, with only those topics for which `is_there` is true.
    pub(crate) fn snapshot(&self, is_there: impl Fn(TopicId) -> bool) -> Snapshot {
        let topics = self.topics.iter().filter(|topic| is_there(topic.id));
        Snapshot {
            topics: topics.map(Topic::known).collect(),
            producers: self.producers.iter().map(Producer::known).collect(),
            erasures: self.erasures.clone(),
            key_trims: self.key_trims.clone(),
            groups: self.groups.clone(),
            access_tokens: self.access_tokens.clone(),
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut rest = Vec::new();
        rest.extend_from_slice(&self.applied.to_le_bytes());
        rest.extend_from_slice(&self.journal_file.to_le_bytes());
        put_count(&mut rest, self.topics.len());
        self.topics
            .iter()
            .for_each(|topic| put_topic(&mut rest, topic));
        put_count(&mut rest, self.producers.len());
        self.producers
            .iter()
            .for_each(|producer| put_producer(&mut rest, producer));
        put_erasures(&mut rest, &self.erasures);
        if let Some(clock) = &self.clock {
            put_clock(&mut rest, clock);
            put_journal_files(&mut rest, &self.journal);
            rest.extend_from_slice(&Identity::to_field(self.directory));
        }
        if self.delta_files > 0 {
            rest.extend_from_slice(&self.delta_files.to_le_bytes());
            for producer in &self.producers {
                for sequence in &producer.sequences {
                    put_stored(&mut rest, &sequence.stored);
                }
            }
            // Each optional part needs all parts before it, so that it is found at its place.
            let has_tokens = !self.access_tokens.is_empty();
            let has_key_trims = has_tokens || !self.key_trims.is_empty();
            if has_key_trims || self.groups != groups::Snapshot::default() {
                put_groups(&mut rest, &self.groups);
            }
            if has_key_trims {
                put_key_trims(&mut rest, &self.key_trims);
            }
            if has_tokens {
                put_access_tokens(&mut rest, &self.access_tokens);
            }
        }
        let version = VERSION.to_le_bytes();
        let checksum = crc32(&[&version, &rest]).to_le_bytes();
        [&MAGIC[..], &version, &checksum, &rest].concat()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        let magic: [u8; 8] = fields.array()?;
        let version: [u8; 4] = fields.array()?;
        let checksum = fields.u32()?;
        if magic != MAGIC
            || version != VERSION.to_le_bytes()
            || crc32(&[&version, fields.0]) != checksum
        {
            return None;
        }
        let (applied, journal_file) = (fields.u64()?, fields.u64()?);
        let count = fields.count(MIN_TOPIC_BYTES)?;
        let topics = (0..count)
            .map(|_| decode_topic(&mut fields))
            .collect::<Option<_>>()?;
        let count = fields.count(MIN_PRODUCER_BYTES)?;
        let mut producers: Vec<Producer> = (0..count)
            .map(|_| decode_producer(&mut fields))
            .collect::<Option<_>>()?;
        let erasures = take_erasures(&mut fields)?;
        let clock = match fields.is_empty() {
            true => None,
            false => Some(take_clock(&mut fields)?),
        };
        let journal = match fields.is_empty() {
            true => JournalFiles::default(),
            false => take_journal_files(&mut fields)?,
        };
        let directory = match fields.is_empty() {
            true => None,
            false => Identity::of_field(fields.u64()?),
        };
        let mut delta_files = 0;
        if !fields.is_empty() {
            delta_files = fields.u64()?;
            for producer in &mut producers {
                for sequence in &mut producer.sequences {
                    sequence.stored = take_stored(&mut fields)?;
                }
            }
        }
        let groups = match fields.is_empty() {
            true => groups::Snapshot::default(),
            false => take_groups(&mut fields)?,
        };
        let key_trims = match fields.is_empty() {
            true => Vec::new(),
            false => take_key_trims(&mut fields)?,
        };
        let access_tokens = match fields.is_empty() {
            true => Vec::new(),
            false => take_access_tokens(&mut fields)?,
        };
        fields.is_empty().then_some(Self {
            applied,
            journal_file,
            topics,
            producers,
            erasures,
            clock,
            journal,
            directory,
            delta_files,
            groups,
            key_trims,
            access_tokens,
        })
    }

    /// The version of a checkpoint, even of one that this version cannot read.
    pub(crate) fn version(bytes: &[u8]) -> Option<u32> {
        let mut fields = Fields(bytes);
        let magic: [u8; 8] = fields.array()?;
        (magic == MAGIC).then(|| fields.u32()).flatten()
    }
}

fn put_topic(out: &mut Vec<u8>, topic: &Topic) {
    out.extend_from_slice(&topic.id.0.to_le_bytes());
    out.extend_from_slice(&topic.seed.to_le_bytes());
    put_string(out, topic.name.as_str());
    put_settings(out, &topic.settings);
    put_count(out, topic.partitions.len());
    for partition in &topic.partitions {
        put_partition(out, partition);
    }
}

pub(super) fn put_partition(out: &mut Vec<u8>, partition: &Partition) {
    let (base, len) = partition
        .active
        .map_or((NO_SEGMENT, 0), |active| (active.base.0, active.len));
    for field in [partition.start.0, partition.end.0] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    out.extend_from_slice(&partition.last_append_time_ms.to_le_bytes());
    for field in [base, len] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    out.extend_from_slice(&partition.retired.to_le_bytes());
}

fn put_producer(out: &mut Vec<u8>, producer: &Producer) {
    out.extend_from_slice(&producer.id.0.to_le_bytes());
    out.extend_from_slice(&producer.epoch.to_le_bytes());
    out.extend_from_slice(&producer.idle_ms.to_le_bytes());
    put_string(out, &producer.name);
    put_count(out, producer.sequences.len());
    for sequence in &producer.sequences {
        put_sequence(out, sequence);
    }
}

/// Writes a sequence without its remembered batches.
pub(super) fn put_sequence(out: &mut Vec<u8>, sequence: &Sequence) {
    out.extend_from_slice(&sequence.topic.0.to_le_bytes());
    out.extend_from_slice(&sequence.partition.0.to_le_bytes());
    out.extend_from_slice(&sequence.next.to_le_bytes());
}

pub(super) fn put_stored(out: &mut Vec<u8>, stored: &[StoredBatch]) {
    put_count(out, stored.len());
    for batch in stored {
        out.extend_from_slice(&batch.base.0.to_le_bytes());
        out.extend_from_slice(&batch.count.to_le_bytes());
        out.extend_from_slice(&batch.append_time_ms.to_le_bytes());
    }
}

pub(super) fn put_erasures(out: &mut Vec<u8>, erasures: &[KnownErasure]) {
    put_count(out, erasures.len());
    for known in erasures {
        out.extend_from_slice(&known.topic.0.to_le_bytes());
        out.extend_from_slice(&u32::from(known.complete).to_le_bytes());
        known.erasure.put(out);
    }
}

pub(super) fn put_clock(out: &mut Vec<u8>, clock: &Clock) {
    out.extend_from_slice(&clock.now_ms.to_le_bytes());
    out.extend_from_slice(&clock.boot);
    out.extend_from_slice(&clock.since_boot_ms.to_le_bytes());
}

pub(super) fn put_journal_files(out: &mut Vec<u8>, files: &JournalFiles) {
    out.extend_from_slice(&files.newest.to_le_bytes());
    out.extend_from_slice(&files.made.to_le_bytes());
    out.extend_from_slice(&files.noted.to_le_bytes());
}

fn put_groups(out: &mut Vec<u8>, snapshot: &groups::Snapshot) {
    out.extend_from_slice(&snapshot.ended.0.to_le_bytes());
    put_count(out, snapshot.groups.len());
    for (name, state) in &snapshot.groups {
        put_group(out, name, &state.whole());
    }
}

fn take_groups(fields: &mut Fields<'_>) -> Option<groups::Snapshot> {
    let mut snapshot = groups::Snapshot {
        ended: Generation(fields.u64()?),
        ..groups::Snapshot::default()
    };
    for _ in 0..fields.count(MIN_GROUP_BYTES)? {
        let (name, whole) = take_group(fields)?;
        snapshot.apply(&name, &whole);
    }
    Some(snapshot)
}

fn decode_topic(fields: &mut Fields<'_>) -> Option<Topic> {
    let (id, seed) = (TopicId(fields.u64()?), fields.u64()?);
    let name = TopicName::new(fields.string()?).ok()?;
    let settings = take_settings(fields)?;
    let count = fields.count(PARTITION_BYTES)?;
    let partitions = (0..count)
        .map(|_| take_partition(fields))
        .collect::<Option<_>>()?;
    Some(Topic {
        id,
        seed,
        name,
        settings,
        partitions,
    })
}

pub(super) fn take_partition(fields: &mut Fields<'_>) -> Option<Partition> {
    let (start, end) = (Offset(fields.u64()?), Offset(fields.u64()?));
    let last_append_time_ms = fields.i64()?;
    let (base, len) = (fields.u64()?, fields.u64()?);
    let active = (base != NO_SEGMENT).then_some(Active {
        base: Offset(base),
        len,
    });
    Some(Partition {
        start,
        end,
        last_append_time_ms,
        active,
        retired: fields.u64()?,
    })
}

fn decode_producer(fields: &mut Fields<'_>) -> Option<Producer> {
    let (id, epoch, idle_ms) = (ProducerId(fields.u64()?), fields.u32()?, fields.u64()?);
    let name = fields.string()?.to_owned();
    let count = fields.count(SEQUENCE_BYTES)?;
    let sequences = (0..count)
        .map(|_| take_sequence(fields))
        .collect::<Option<_>>()?;
    Some(Producer {
        id,
        epoch,
        idle_ms,
        name,
        sequences,
    })
}

pub(super) fn take_sequence(fields: &mut Fields<'_>) -> Option<Sequence> {
    Some(Sequence {
        topic: TopicId(fields.u64()?),
        partition: PartitionId(fields.u32()?),
        next: fields.u64()?,
        stored: Vec::new(),
    })
}

pub(super) fn take_stored(fields: &mut Fields<'_>) -> Option<Vec<StoredBatch>> {
    let count = fields.count(STORED_BATCH_BYTES)?;
    let mut stored = Vec::with_capacity(count);
    for _ in 0..count {
        stored.push(StoredBatch {
            base: Offset(fields.u64()?),
            count: fields.u32()?,
            append_time_ms: fields.i64()?,
        });
    }
    Some(stored)
}

pub(super) fn take_clock(fields: &mut Fields<'_>) -> Option<Clock> {
    Some(Clock {
        now_ms: fields.i64()?,
        boot: fields.array()?,
        since_boot_ms: fields.u64()?,
    })
}

pub(super) fn take_journal_files(fields: &mut Fields<'_>) -> Option<JournalFiles> {
    Some(JournalFiles {
        newest: fields.u64()?,
        made: fields.u32()?,
        noted: fields.u32()?,
    })
}

pub(super) fn take_erasures(fields: &mut Fields<'_>) -> Option<Vec<KnownErasure>> {
    let count = fields.count(12 + ERASURE_BYTES)?;
    let mut erasures = Vec::with_capacity(count);
    for _ in 0..count {
        let (topic, complete) = (TopicId(fields.u64()?), fields.u32()? != 0);
        erasures.push(KnownErasure {
            topic,
            complete,
            erasure: Erasure::take(fields)?,
        });
    }
    Some(erasures)
}
