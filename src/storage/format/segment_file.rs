//! Segment files and their indexes.
//!
//! ```text
//! segment: a header of 64 bytes, then frames
//!  0  8 bytes "TFRLSEGM"
//!  8  u32  version
//! 12  u32  checksum of the rest of the header
//! 16  u64  topic
//! 24  u32  partition
//! 28  u32  what its frames were compressed with (`block.rs`); 0: they are as they were appended
//! 32  u64  base offset: where the segment starts in the partition
//! 40  i64  append time of its first frame, milliseconds since 1970
//! 48  u64  id of the data directory (0: unknown)
//! 56  u64  if they were compressed: how many bytes header and frames had before; else 0
//!
//! index: rows of 24 bytes, one for about every 8 KiB of the segment (64 KiB in earlier ones), in order
//!  0  u32  offset, relative to the segment's base
//!  4  u32  position of the frame that starts at this offset, or of the block that has it
//!  8  i64  latest timestamp of all records before this frame, milliseconds since 1970
//! 16  u32  checksum of the above
//! 20  u32  0; in the last row of a segment that was written anew how many records that has, and one
//!          more (0: not known)
//! ```

use std::num::NonZeroU32;

use super::{VERSION, crc32, fields::Fields, identity::Identity};
use crate::types::{Offset, PartitionId, TopicId};

/// The size of a segment's header: where its first frame begins.
pub(crate) const HEADER_BYTES: u64 = 64;

/// A new row is added to the index once this many bytes lie behind the last row. A look-up steps
/// through at most this much, from frame to frame. The index then takes 0.3 % of the segment's
/// size: 32,768 rows for 256 MiB.
pub(crate) const INDEX_INTERVAL_BYTES: u64 = 8 << 10;

/// The size of an index row.
pub(crate) const INDEX_ROW_BYTES: usize = 24;

const MAGIC: [u8; 8] = *b"TFRLSEGM";

/// Which part of which partition a segment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) topic: TopicId,
    pub(crate) partition: PartitionId,
    pub(crate) base: Offset,
    pub(crate) first_append_time_ms: i64,
    /// The data directory that the segment belongs to; earlier segments do not say it.
    pub(crate) directory: Option<Identity>,
    /// How the segment was compressed, if it was written anew with a codec. It is set even if
    /// nothing became smaller.
    pub(crate) compressed: Option<Compressed>,
}

/// What a segment was compressed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Compressed {
    /// The number of the codec, perhaps one that is not built in.
    pub(crate) codec: NonZeroU32,
    /// The size of header and frames before compression, in bytes.
    pub(crate) unpacked: u64,
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES as usize] {
        let mut out = [0; HEADER_BYTES as usize];
        out[0..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[16..24].copy_from_slice(&self.topic.0.to_le_bytes());
        out[24..28].copy_from_slice(&self.partition.0.to_le_bytes());
        out[32..40].copy_from_slice(&self.base.0.to_le_bytes());
        out[40..48].copy_from_slice(&self.first_append_time_ms.to_le_bytes());
        out[48..56].copy_from_slice(&Identity::to_field(self.directory));
        if let Some(compressed) = &self.compressed {
            out[28..32].copy_from_slice(&compressed.codec.get().to_le_bytes());
            out[56..64].copy_from_slice(&compressed.unpacked.to_le_bytes());
        }
        let checksum = crc32(&[&out[16..]]);
        out[12..16].copy_from_slice(&checksum.to_le_bytes());
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..HEADER_BYTES as usize)?;
        let mut fields = Fields(bytes);
        let magic: [u8; 8] = fields.array()?;
        if magic != MAGIC || fields.u32()? != VERSION || fields.u32()? != crc32(&[&bytes[16..]]) {
            return None;
        }
        let (topic, partition) = (TopicId(fields.u64()?), PartitionId(fields.u32()?));
        let codec = NonZeroU32::new(fields.u32()?);
        let (base, first_append_time_ms) = (Offset(fields.u64()?), fields.i64()?);
        let directory = Identity::of_field(fields.u64()?);
        let unpacked = fields.u64()?;
        Some(Self {
            topic,
            partition,
            base,
            first_append_time_ms,
            directory,
            compressed: codec.map(|codec| Compressed { codec, unpacked }),
        })
    }
}

/// A row of an index: a frame's place, and what lies before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IndexRow {
    /// The frame's base offset, relative to the segment's.
    pub(crate) relative: u32,
    /// Where the frame begins in the segment's file.
    pub(crate) position: u32,
    /// The latest timestamp of all records before the frame.
    pub(crate) latest_before_ms: i64,
}

impl IndexRow {
    pub(crate) fn encode(&self) -> [u8; INDEX_ROW_BYTES] {
        let mut out = [0; INDEX_ROW_BYTES];
        out[0..4].copy_from_slice(&self.relative.to_le_bytes());
        out[4..8].copy_from_slice(&self.position.to_le_bytes());
        out[8..16].copy_from_slice(&self.latest_before_ms.to_le_bytes());
        let checksum = crc32(&[&out[..16]]);
        out[16..20].copy_from_slice(&checksum.to_le_bytes());
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes.get(..INDEX_ROW_BYTES)?);
        let row = Self {
            relative: fields.u32()?,
            position: fields.u32()?,
            latest_before_ms: fields.i64()?,
        };
        (fields.u32()? == crc32(&[&bytes[..16]])).then_some(row)
    }

    /// Reads a row that was checked before.
    #[inline]
    pub(crate) fn at(bytes: &[u8; INDEX_ROW_BYTES]) -> Self {
        let u32_at = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let time = u64::from(u32_at(8)) | u64::from(u32_at(12)) << 32;
        Self {
            relative: u32_at(0),
            position: u32_at(4),
            latest_before_ms: time.cast_signed(),
        }
    }
}

/// Where the last row of an index has the number of records.
pub(crate) const RECORDS_AT: usize = 20;

/// Encodes a number of records for that field; one that is too large is stored as unknown.
pub(crate) fn encode_records(records: u64) -> [u8; 4] {
    let field = u32::try_from(records + 1).unwrap_or(0);
    field.to_le_bytes()
}

/// The number of records in the last row of an index; `None` if it is unknown.
pub(crate) fn decode_records(row: &[u8; INDEX_ROW_BYTES]) -> Option<u64> {
    let last = IndexRow::decode(row).is_some();
    let field = Fields(&row[RECORDS_AT..]).u32()?;
    u64::from(field).checked_sub(1).filter(|_| last)
}
