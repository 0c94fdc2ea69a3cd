//! The trim of an entity: its records below a version are gone.
//!
//! ```text
//!  0  u32  partition
//!  4  32 bytes token (`erasure.rs`), whose salt is the seed of the topic
//! 36  u64  before: records of lower versions are gone
//! 44  u64  end: no such record is there, or behind it
//! 52  i64  requested, milliseconds since 1970
//! ```
//!
//! A completed trim is stored as its token and `before` only.

use super::fields::{Fields, put_count};
use crate::{
    catalog::{KeyTrim, KnownKeyTrim, Token},
    types::{Offset, PartitionId, TopicId, Version},
};

/// How many bytes an encoded trim takes.
pub(super) const KEY_TRIM_BYTES: usize = 60;

/// The size of an encoded trim that is complete.
pub(super) const COMPLETE_BYTES: usize = Token::BYTES + 8;

impl KeyTrim {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.partition.0.to_le_bytes());
        out.extend_from_slice(&self.token.0);
        out.extend_from_slice(&self.before.0.to_le_bytes());
        out.extend_from_slice(&self.end.0.to_le_bytes());
        out.extend_from_slice(&self.requested_ms.to_le_bytes());
    }

    pub(super) fn take(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Self {
            partition: PartitionId(fields.u32()?),
            token: Token(fields.array()?),
            before: Version(fields.u64()?),
            end: Offset(fields.u64()?),
            requested_ms: fields.i64()?,
        })
    }
}

/// Writes trims of several topics: a count, then of each: u64 topic, a trim.
pub(super) fn put_key_trims(out: &mut Vec<u8>, trims: &[KnownKeyTrim]) {
    put_count(out, trims.len());
    for known in trims {
        out.extend_from_slice(&known.topic.0.to_le_bytes());
        known.trim.put(out);
    }
}

pub(super) fn take_key_trims(fields: &mut Fields<'_>) -> Option<Vec<KnownKeyTrim>> {
    let mut trims = Vec::new();
    for _ in 0..fields.count(8 + KEY_TRIM_BYTES)? {
        trims.push(KnownKeyTrim {
            topic: TopicId(fields.u64()?),
            trim: KeyTrim::take(fields)?,
        });
    }
    Some(trims)
}
