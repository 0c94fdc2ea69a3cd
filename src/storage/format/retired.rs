//! Retired files: how earlier versions kept what they knew of removed records, one file for each
//! partition. They are only read, to be turned into sorted tables (`sorted_table.rs`).
//!
//! ```text
//! page 0: the header, then zeros
//!  0  8 bytes "TFRLRETD"
//!  8  u32  version
//! 12  u32  checksum of the 64 bytes behind it
//! 16  u64  topic
//! 24  u32  partition
//! 28  u32  0
//! 32  u64  number of the file, which no other of the partition has
//! 40  u64  facts
//! 48  u64  blocks of the filter
//! 56  u64  blocks of facts
//! 64  u64  position of the fence, a multiple of 4,096
//! 72  u64  fingerprint of the hasher
//!
//! pages (page.rs) of the filter over the hashes (filter.rs), then blocks of facts, then zeros up to the fence, then
//! pages of the fence
//!
//! block:
//!  0  u32  bytes of facts
//!  4  u32  checksum of the file's salt, the block's position, and all but this of the block
//!  8  facts, by hash, then version
//!
//! fact:
//!  0  u64  hash of the subject
//!  8  u64  version
//! 16  u8   kind, then
//!          0  an entity: u32 bytes of the key, the key
//!          1  an erased entity: 32 bytes, the token
//!          2  a batch: u64 producer, u32 epoch, u64 base offset, u32 count, i64 append time, milliseconds since 1970
//!          3  of a record that could not be read: nothing
//!
//! fence: for each block, 170 in a page
//!  0  u64  hash of its first fact
//!  8  u64  version of its first fact
//! 16  u64  position
//! ```

use bytes::Bytes;

use super::{
    VERSION, crc32,
    fields::Fields,
    filter,
    page::{CONTENT_BYTES, PAGE_BYTES, Page},
    sorted_table::KeyHash,
};
use crate::types::{Offset, PartitionId, ProducerId, TopicId, Version};

/// The size of a block's head, in front of its facts.
pub(crate) const BLOCK_HEAD_BYTES: usize = 8;

/// How many rows of the fence fit in a page.
pub(crate) const FENCE_PER_PAGE: u64 = (CONTENT_BYTES / FENCE_ROW_BYTES) as u64;

const FENCE_ROW_BYTES: usize = 24;
const MAGIC: [u8; 8] = *b"TFRLRETD";
const HEADER_BYTES: usize = 80;
const MOST_FILTER_BLOCKS: u64 = 1 << 40;
/// No file has as many blocks. Numbers below this can be added and multiplied without overflow.
const MOST_BLOCKS: u64 = 1 << 48;

const ENTITY: u8 = 0;
const ERASED: u8 = 1;
const BATCH: u8 = 2;
const UNREADABLE: u8 = 3;

/// A fact that is kept although the records that it is about are gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Retired {
    pub(crate) hash: KeyHash,
    pub(crate) version: Version,
    pub(crate) identity: Identity,
}

/// What a fact is about, and what its version means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    /// The version of the last removed record of this entity.
    Entity { key: Bytes },
    /// As [`Identity::Entity`], for an entity whose key was erased; the token is compared in place
    /// of the key.
    Erased { token: [u8; 32] },
    /// What the producer was told of its batch with sequence `version - 1`.
    Batch {
        producer: ProducerId,
        epoch: u32,
        base: Offset,
        count: u32,
        append_time_ms: i64,
    },
    /// The version of the last removed record with this hash, as the key index had it. The record
    /// itself could not be read.
    Unreadable,
}

impl Retired {
    /// Reads a fact from the front of `bytes`; `None` if no whole one is there.
    pub(crate) fn take(bytes: &mut Bytes) -> Option<Self> {
        let mut fields = Fields(bytes);
        let (hash, version) = (KeyHash(fields.u64()?), Version(fields.u64()?));
        let identity = match fields.array()? {
            [ENTITY] => {
                let len = usize::try_from(fields.u32()?).ok()?;
                Identity::Entity {
                    key: bytes.slice_ref(fields.bytes(len)?),
                }
            }
            [ERASED] => Identity::Erased {
                token: fields.array()?,
            },
            [BATCH] => Identity::Batch {
                producer: ProducerId(fields.u64()?),
                epoch: fields.u32()?,
                base: Offset(fields.u64()?),
                count: fields.u32()?,
                append_time_ms: fields.i64()?,
            },
            [UNREADABLE] => Identity::Unreadable,
            _ => return None,
        };
        *bytes = bytes.slice_ref(fields.0);
        Some(Self {
            hash,
            version,
            identity,
        })
    }
}

/// The size of a block, as its head says.
pub(crate) fn block_len(head: &Bytes) -> Option<u64> {
    let facts = Fields(head).u32()?;
    Some(BLOCK_HEAD_BYTES as u64 + u64::from(facts))
}

/// The facts of the block at the front of `bytes`; `None` if the block is damaged.
pub(crate) fn open_block(bytes: &Bytes, salt: u32, position: u64) -> Option<Bytes> {
    let mut fields = Fields(bytes);
    let (len, checksum) = (usize::try_from(fields.u32()?).ok()?, fields.u32()?);
    let facts = fields.bytes(len)?;
    let block = &bytes[..BLOCK_HEAD_BYTES + len];
    (block_checksum(block, salt, position) == checksum).then(|| bytes.slice_ref(facts))
}

pub(super) fn block_checksum(block: &[u8], salt: u32, position: u64) -> u32 {
    crc32(&[
        &salt.to_le_bytes(),
        &position.to_le_bytes(),
        &block[0..4],
        &block[BLOCK_HEAD_BYTES..],
    ])
}

/// A block's position and its first fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FenceRow {
    pub(crate) hash: KeyHash,
    pub(crate) version: Version,
    pub(crate) position: u64,
}

impl FenceRow {
    /// The `nth` row of a page; zeros behind the last row that was written.
    ///
    /// # Panics
    ///
    /// If a page has no such row.
    pub(crate) fn at(page: &Page, nth: usize) -> Self {
        let row = &page[nth * FENCE_ROW_BYTES..][..FENCE_ROW_BYTES];
        let field =
            |at: usize| u64::from_le_bytes(row[at..at + 8].try_into().expect("eight bytes"));
        Self {
            hash: KeyHash(field(0)),
            version: Version(field(8)),
            position: field(16),
        }
    }
}

/// What a retired file holds, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) topic: TopicId,
    pub(crate) partition: PartitionId,
    pub(crate) number: u64,
    pub(crate) facts: u64,
    pub(crate) filter_blocks: u64,
    pub(crate) blocks: u64,
    pub(crate) fence_at: u64,
    /// The fingerprint of the hasher that made the hashes.
    pub(crate) fingerprint: u64,
}

impl Header {
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..HEADER_BYTES)?;
        let mut fields = Fields(bytes);
        let magic: [u8; 8] = fields.array()?;
        if magic != MAGIC || fields.u32()? != VERSION || fields.u32()? != crc32(&[&bytes[16..]]) {
            return None;
        }
        let (topic, partition, _reserved) = (
            TopicId(fields.u64()?),
            PartitionId(fields.u32()?),
            fields.u32()?,
        );
        let (number, facts, filter_blocks) = (fields.u64()?, fields.u64()?, fields.u64()?);
        let (blocks, fence_at, fingerprint) = (fields.u64()?, fields.u64()?, fields.u64()?);
        let header = Self {
            topic,
            partition,
            number,
            facts,
            filter_blocks,
            blocks,
            fence_at,
            fingerprint,
        };
        let possible = (1..=MOST_FILTER_BLOCKS).contains(&filter_blocks)
            && blocks <= MOST_BLOCKS
            && fence_at.is_multiple_of(PAGE_BYTES as u64)
            && (header.first_block_at()..1 << 62).contains(&fence_at);
        possible.then_some(header)
    }

    /// What tells this file's pages and blocks from those of all others. It does not depend on the
    /// facts.
    pub(crate) fn salt(&self) -> u32 {
        let [topic, number, fingerprint] =
            [self.topic.0, self.number, self.fingerprint].map(u64::to_le_bytes);
        crc32(&[
            &topic,
            &self.partition.0.to_le_bytes(),
            &number,
            &fingerprint,
        ])
    }

    /// The number of the first page behind the filter.
    pub(crate) fn behind_filter(&self) -> u64 {
        1 + filter::pages_of(self.filter_blocks)
    }

    /// Where the first block of facts is.
    pub(crate) fn first_block_at(&self) -> u64 {
        self.behind_filter() * PAGE_BYTES as u64
    }

    /// Where the fence's row for a block is: its page, and the index in that page.
    pub(crate) fn fence_place(&self, block: u64) -> (u64, usize) {
        (
            self.fence_at / PAGE_BYTES as u64 + block / FENCE_PER_PAGE,
            (block % FENCE_PER_PAGE) as usize,
        )
    }

    /// The size of the whole file.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.fence_at + self.blocks.div_ceil(FENCE_PER_PAGE) * PAGE_BYTES as u64
    }
}
