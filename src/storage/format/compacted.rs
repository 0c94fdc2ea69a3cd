//! How far a partition has been compacted.
//!
//! ```text
//!  0  8 bytes "TFRLCMPT"
//!  8  u32  version
//! 12  u32  checksum of what follows
//! 16  u64  topic
//! 24  u32  partition
//! 28  u32  0
//! 32  u64  clean up to: before this offset no key has more records than are kept
//! 40  u64  how many records of a key are kept there
//! 48  i64  when compaction came to its end last, milliseconds since 1970
//! 56  i64  when the oldest tombstone that is there was first compacted; 2^63 - 1: there is none
//! ```
//!
//! The file is derived: if it is missing, the partition is compacted from its start again.

use super::{VERSION, crc32, fields::Fields};
use crate::types::{Offset, PartitionId, TopicId};

/// The size of the file.
pub(crate) const BYTES: usize = 64;

const MAGIC: [u8; 8] = *b"TFRLCMPT";

/// How far a partition has been compacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Compacted {
    pub(crate) topic: TopicId,
    pub(crate) partition: PartitionId,
    pub(crate) clean_to: Offset,
    pub(crate) keep: u64,
    pub(crate) last_ms: i64,
    pub(crate) oldest_tombstone_ms: Option<i64>,
}

impl Compacted {
    pub(crate) fn encode(&self) -> [u8; BYTES] {
        let mut out = [0; BYTES];
        out[0..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[16..24].copy_from_slice(&self.topic.0.to_le_bytes());
        out[24..28].copy_from_slice(&self.partition.0.to_le_bytes());
        out[32..40].copy_from_slice(&self.clean_to.0.to_le_bytes());
        out[40..48].copy_from_slice(&self.keep.to_le_bytes());
        out[48..56].copy_from_slice(&self.last_ms.to_le_bytes());
        let oldest = self.oldest_tombstone_ms.unwrap_or(i64::MAX);
        out[56..64].copy_from_slice(&oldest.to_le_bytes());
        let checksum = crc32(&[&out[16..]]);
        out[12..16].copy_from_slice(&checksum.to_le_bytes());
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..BYTES)?;
        let mut fields = Fields(bytes);
        let magic: [u8; 8] = fields.array()?;
        if magic != MAGIC || fields.u32()? != VERSION || fields.u32()? != crc32(&[&bytes[16..]]) {
            return None;
        }
        let (topic, partition) = (TopicId(fields.u64()?), PartitionId(fields.u32()?));
        let _reserved = fields.u32()?;
        Some(Self {
            topic,
            partition,
            clean_to: Offset(fields.u64()?),
            keep: fields.u64()?,
            last_ms: fields.i64()?,
            oldest_tombstone_ms: Some(fields.i64()?).filter(|oldest| *oldest != i64::MAX),
        })
    }
}
