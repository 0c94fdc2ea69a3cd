//! Builds a frame from records: the client's bytes, with the broker's fields behind each record.

use super::{CheckedBatch, Planned};
use crate::{
    storage::format::frame::{self, Batch, Draft, Frame},
    types::{Offset, RecordView, Version},
};

/// The size of the broker's fields in every record: offset and append time, each a tag and eight
/// bytes.
const OFFSET_AND_TIME_BYTES: usize = 18;
/// The size of the version in a record: a tag and eight bytes.
const VERSION_BYTES: usize = 9;
/// The largest size of a timestamp that the client left out: a tag and a varint.
const TIMESTAMP_BYTES: usize = 11;
/// The most bytes that the broker adds to a record.
pub(super) const MOST_ADDED_BYTES: usize = OFFSET_AND_TIME_BYTES + VERSION_BYTES + TIMESTAMP_BYTES;

const TIMESTAMP_TAG: u8 = 5 << 3;
const OFFSET_TAG: u8 = 12 << 3 | 1;
const VERSION_TAG: u8 = 13 << 3 | 1;
const APPEND_TIME_TAG: u8 = 14 << 3 | 1;
const ELEMENT_TAG: u8 = 15 << 3 | 2;

/// What is assigned to a run of records.
pub(super) struct Assigned<'a> {
    pub(super) base: Offset,
    pub(super) append_time_ms: i64,
    /// One version for each record; [`Version::NONE`] in topics without versions.
    pub(super) versions: &'a [Version],
    pub(super) batch: Option<Batch>,
}

/// The most bytes that the broker adds to this record.
pub(super) fn added_len(record: &RecordView<'_>) -> usize {
    let version = if record.key.is_some() {
        VERSION_BYTES
    } else {
        0
    };
    OFFSET_AND_TIME_BYTES
        + version
        + if record.timestamp_ms.is_some() {
            0
        } else {
            TIMESTAMP_BYTES
        }
}

/// The most bytes that the frame of a run may have.
pub(super) fn most_len(run: &[Planned]) -> u64 {
    let bytes: u64 = run.iter().map(|record| u64::from(record.encoded.len)).sum();
    let added = frame::HEADER_BYTES + run.len() * (6 + MOST_ADDED_BYTES);
    bytes + added as u64
}

/// Builds the frame of a run of records.
pub(super) fn build(batch: &CheckedBatch, run: &[Planned], assigned: &Assigned<'_>) -> Frame {
    let Assigned {
        base,
        append_time_ms,
        ..
    } = *assigned;
    let bytes: usize = run.iter().map(|record| record.encoded.len as usize).sum();
    let mut draft = Draft::with_capacity(bytes + run.len() * (6 + MOST_ADDED_BYTES));
    let mut timestamp = Short::new();
    timestamp.put(&[TIMESTAMP_TAG]);
    timestamp.put_varint(append_time_ms.cast_unsigned());
    let mut latest_timestamp_ms = i64::MIN;
    let mut offset = base;
    for (record, version) in run.iter().zip(assigned.versions) {
        let mut added = Short::new();
        if record.timestamp_ms.is_none() {
            added.put(timestamp.bytes());
        }
        added.put_fixed(OFFSET_TAG, offset.0);
        if *version != Version::NONE {
            added.put_fixed(VERSION_TAG, version.0);
        }
        added.put_fixed(APPEND_TIME_TAG, append_time_ms.cast_unsigned());
        let mut head = Short::new();
        head.put(&[ELEMENT_TAG]);
        head.put_varint(u64::from(record.encoded.len) + added.bytes().len() as u64);
        draft.put(head.bytes());
        draft.put(record.encoded.in_bytes(&batch.records));
        draft.put(added.bytes());
        latest_timestamp_ms =
            latest_timestamp_ms.max(record.timestamp_ms.unwrap_or(append_time_ms));
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
        batch: assigned.batch,
        span: count,
        tombstones_since_ms: None,
    };
    draft.seal(header)
}

/// A few bytes, put together where they cost nothing, to be copied at once.
struct Short {
    bytes: [u8; MOST_ADDED_BYTES],
    len: usize,
}

impl Short {
    fn new() -> Self {
        Self {
            bytes: [0; MOST_ADDED_BYTES],
            len: 0,
        }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    /// A tag, and eight bytes behind it.
    fn put_fixed(&mut self, tag: u8, value: u64) {
        let mut field = [tag; 9];
        field[1..].copy_from_slice(&value.to_le_bytes());
        self.put(&field);
    }

    fn put_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.put(&[value.to_le_bytes()[0] | 0x80]);
            value >>= 7;
        }
        self.put(&[value.to_le_bytes()[0]]);
    }
}
