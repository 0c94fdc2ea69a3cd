//! The checkpoint: up to which journal entry everything is in segments, and how far each partition reaches there.
//!
//! ```text
//!  0  8 bytes "TFRLCHKP"
//!  8  u32  version
//! 12  u32  checksum of the rest
//! 16  u64  applied: entries up to this sequence are in segments
//! 24  u64  journal file to start replaying from
//! 32  u32  topics, then of each: u64 id, string name, settings, u32 partitions, then of each partition:
//!          u64 start, u64 end, i64 last append time, u64 base offset of the active segment (all ones: none),
//!          u64 its length in bytes
//! ```

use super::{
    VERSION,
    change::{put_settings, take_settings},
    crc32,
    fields::{Fields, put_count, put_string},
};
use crate::types::{Offset, TopicId, TopicName, TopicSettings};

const MAGIC: [u8; 8] = *b"TFRLCHKP";
const NO_SEGMENT: u64 = u64::MAX;
const PARTITION_BYTES: usize = 40;
const MIN_TOPIC_BYTES: usize = 20;

/// A checkpoint's content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    /// Journal entries up to this one need not be replayed.
    pub(crate) applied: u64,
    /// The number of the journal file that holds the entry behind it, or will.
    pub(crate) journal_file: u64,
    pub(crate) topics: Vec<Topic>,
}

/// A topic at the checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Topic {
    pub(crate) id: TopicId,
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
    pub(crate) const EMPTY: Self =
        Self { start: Offset::ZERO, end: Offset::ZERO, last_append_time_ms: i64::MIN, active: None };
}

impl Checkpoint {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut rest = Vec::new();
        rest.extend_from_slice(&self.applied.to_le_bytes());
        rest.extend_from_slice(&self.journal_file.to_le_bytes());
        put_count(&mut rest, self.topics.len());
        for topic in &self.topics {
            rest.extend_from_slice(&topic.id.0.to_le_bytes());
            put_string(&mut rest, topic.name.as_str());
            put_settings(&mut rest, &topic.settings);
            put_count(&mut rest, topic.partitions.len());
            for partition in &topic.partitions {
                let (base, len) = partition.active.map_or((NO_SEGMENT, 0), |active| (active.base.0, active.len));
                for field in [partition.start.0, partition.end.0] {
                    rest.extend_from_slice(&field.to_le_bytes());
                }
                rest.extend_from_slice(&partition.last_append_time_ms.to_le_bytes());
                for field in [base, len] {
                    rest.extend_from_slice(&field.to_le_bytes());
                }
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
        if magic != MAGIC || version != VERSION.to_le_bytes() || crc32(&[&version, fields.0]) != checksum {
            return None;
        }
        let (applied, journal_file) = (fields.u64()?, fields.u64()?);
        let count = fields.count(MIN_TOPIC_BYTES)?;
        let topics = (0..count).map(|_| decode_topic(&mut fields)).collect::<Option<_>>()?;
        fields.is_empty().then_some(Self { applied, journal_file, topics })
    }
}

fn decode_topic(fields: &mut Fields<'_>) -> Option<Topic> {
    let id = TopicId(fields.u64()?);
    let name = TopicName::new(fields.string()?).ok()?;
    let settings = take_settings(fields)?;
    let count = fields.count(PARTITION_BYTES)?;
    let partitions = (0..count).map(|_| decode_partition(fields)).collect::<Option<_>>()?;
    Some(Topic { id, name, settings, partitions })
}

fn decode_partition(fields: &mut Fields<'_>) -> Option<Partition> {
    let (start, end) = (Offset(fields.u64()?), Offset(fields.u64()?));
    let last_append_time_ms = fields.i64()?;
    let (base, len) = (fields.u64()?, fields.u64()?);
    let active = (base != NO_SEGMENT).then_some(Active { base: Offset(base), len });
    Some(Partition { start, end, last_append_time_ms, active })
}
