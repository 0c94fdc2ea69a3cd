//! An erased entity: how its records are recognized when its key is gone.
//!
//! ```text
//! erasure                            token, in every erased record (`Record.erased`)
//!  0  u64  id                         0  u64  hash of the key, as the topic's key index has it
//!  8  u32  partition                  8  u64  salt, drawn at random for each erasure
//! 12  32 bytes token                 16  16 bytes: the first of SHA-256(salt, key)
//! 44  u64  end: behind the last record that was erased
//! 52  u64  through: the version of that record; 2^64 - 1 if nobody can tell
//! 60  i64  requested, milliseconds since 1970
//! ```
//!
//! Whoever has a key can tell by the token whether it is the erased one. The broker needs this,
//! because a new record of the key continues the entity's versions.

use bytes::BytesMut;
use sha2::{Digest, Sha256};

use super::{
    fields::Fields,
    frame::{Frame, HEADER_BYTES},
};
use crate::{
    catalog::{Erasure, Token},
    types::{Offset, PartitionId, RecordView, Records, Version},
};

/// The size of an encoded erasure.
pub(super) const ERASURE_BYTES: usize = 68;

impl Token {
    /// The token of a key with this hash.
    pub(crate) fn new(hash: u64, salt: u64, key: &[u8]) -> Self {
        let mut token = [0; Self::BYTES];
        token[..8].copy_from_slice(&hash.to_le_bytes());
        token[8..16].copy_from_slice(&salt.to_le_bytes());
        token[16..].copy_from_slice(&digest(&salt.to_le_bytes(), key));
        Self(token)
    }

    /// The token that stands for a key in trims of its entity. A key always gets the same token,
    /// because its salt is the seed of the topic's hashes; so trims of one entity are recognized as
    /// such.
    pub(crate) fn of_trimmed(hash: u64, seed: u64, key: &[u8]) -> Self {
        Self::new(hash, seed, key)
    }

    /// Reads the token of an erased record.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The hash of the key.
    pub(crate) fn hash(&self) -> u64 {
        u64::from_le_bytes(*self.0.first_chunk().expect("a token begins with the hash"))
    }

    /// Whether the token stands for this key.
    pub(crate) fn is_of(&self, key: &[u8]) -> bool {
        digest(&self.0[8..16], key) == self.0[16..]
    }
}

fn digest(salt: &[u8], key: &[u8]) -> [u8; 16] {
    let digest = Sha256::new()
        .chain_update(salt)
        .chain_update(key)
        .finalize();
    *digest.first_chunk().expect("SHA-256 has 32 bytes")
}

/// SHA-256 of a key. A reader who knows the key recognizes by it that this key was erased.
pub(crate) fn key_sha256(key: &[u8]) -> [u8; 32] {
    Sha256::digest(key).into()
}

impl Erasure {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.id.to_le_bytes());
        out.extend_from_slice(&self.partition.0.to_le_bytes());
        out.extend_from_slice(&self.token.0);
        for field in [self.end.0, self.through.0] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        out.extend_from_slice(&self.requested_ms.to_le_bytes());
    }

    pub(super) fn take(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Self {
            id: fields.u64()?,
            partition: PartitionId(fields.u32()?),
            token: Token(fields.array()?),
            end: Offset(fields.u64()?),
            through: Version(fields.u64()?),
            requested_ms: fields.i64()?,
        })
    }
}

/// An erased record: only type, times, offset, version and the token remain.
fn erased_record(record: &RecordView<'_>, token: &Token) -> Vec<u8> {
    let mut out = Vec::with_capacity(record.event_type.len() + 80);
    if !record.event_type.is_empty() {
        put_field(&mut out, 3, record.event_type.as_bytes());
    }
    if let Some(timestamp_ms) = record.timestamp_ms {
        out.push(5 << 3);
        put_varint(&mut out, timestamp_ms.cast_unsigned());
    }
    let fixed = [
        (12, record.offset),
        (13, record.version),
        (14, record.append_time_ms.map(i64::cast_unsigned)),
    ];
    for (field, value) in fixed {
        if let Some(value) = value {
            out.push(field << 3 | 1);
            out.extend_from_slice(&value.to_le_bytes());
        }
    }
    put_field(&mut out, 15, &token.0);
    out
}

/// An erased record with its tag and length, as it stands in a run of records.
pub(crate) fn erased_element(record: &RecordView<'_>, token: &Token) -> Vec<u8> {
    let record = erased_record(record, token);
    let mut out = Vec::with_capacity(record.len() + 6);
    put_field(&mut out, 15, &record);
    out
}

/// What an edit leaves of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// The record stays as it is.
    All,
    /// The record is erased, and the token stands for its key.
    Erased(Token),
    /// The record is removed.
    Nothing,
}

/// A frame with what `left` leaves of each record; `None` if every record stays. The new frame
/// covers the same offsets.
pub(crate) fn edit(frame: &Frame, left: impl Fn(&RecordView<'_>) -> Left) -> Option<Frame> {
    let records = frame.records();
    let (mut out, mut copied) = (BytesMut::zeroed(HEADER_BYTES), 0);
    let mut changed = false;
    let mut header = *frame.header();
    for (element, encoded) in Records::new(&records).map_while(Result::ok) {
        let Ok(record) = RecordView::parse(encoded) else {
            continue;
        };
        let left = left(&record);
        if left == Left::All {
            continue;
        }
        out.extend_from_slice(&records[copied..element.start]);
        match left {
            Left::Erased(token) => out.extend_from_slice(&erased_element(&record, &token)),
            Left::All | Left::Nothing => {
                header.count -= 1;
                // The batch is not whole any more.
                header.batch = None;
            }
        }
        copied = element.end;
        changed = true;
    }
    out.extend_from_slice(&records[copied..]);
    changed.then(|| Frame::seal(header, out))
}

fn put_field(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
