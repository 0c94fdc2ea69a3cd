//! Builds a frame from records: the client's bytes, with the broker's fields behind each record.

use bytes::{BufMut, BytesMut};

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
    let out = draft.records();
    let mut latest_timestamp_ms = i64::MIN;
    let mut offset = base;
    for (record, version) in run.iter().zip(assigned.versions) {
        let timestamp = record
            .timestamp_ms
            .map_or_else(|| timestamp_len(append_time_ms), |_| 0);
        let version_bytes = if *version == Version::NONE {
            0
        } else {
            VERSION_BYTES
        };
        out.put_u8(ELEMENT_TAG);
        put_varint(
            out,
            (record.encoded.len as usize + OFFSET_AND_TIME_BYTES + version_bytes + timestamp)
                as u64,
        );
        out.put_slice(record.encoded.in_bytes(&batch.records));
        if record.timestamp_ms.is_none() {
            out.put_u8(TIMESTAMP_TAG);
            put_varint(out, append_time_ms.cast_unsigned());
        }
        out.put_u8(OFFSET_TAG);
        out.put_u64_le(offset.0);
        if *version != Version::NONE {
            out.put_u8(VERSION_TAG);
            out.put_u64_le(version.0);
        }
        out.put_u8(APPEND_TIME_TAG);
        out.put_i64_le(append_time_ms);
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
