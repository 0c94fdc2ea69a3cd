//! Runs: files of a key index, each with the rows of a range of offsets, sorted by hash.
//!
//! ```text
//! page 0: the header, then zeros
//!  0  8 bytes "TFRLKEYS"
//!  8  u32  version
//! 12  u32  checksum of the 64 bytes behind it
//! 16  u64  topic
//! 24  u32  partition
//! 28  u32  fence bits
//! 32  u64  from: the first offset that the run covers
//! 40  u64  to: the offset behind the last
//! 48  u64  rows
//! 56  u64  different hashes among them
//! 64  u64  blocks of the filter
//! 72  u64  fingerprint of the hasher
//!
//! pages (page.rs) of the filter over the hashes (filter.rs), then of the fence, then of rows
//!
//! fence: 2^bits + 1 numbers, 1,023 in a page, for every value b of a hash's high bits and the one behind the last:
//!  0  u32  the first page of rows, counted from 0, whose last hash is at least b · 2^(64 - bits)
//!
//! rows, 170 in a page, by hash, then version, then offset:
//!  0  u64  hash of the subject
//!  8  u64  version
//! 16  u64  offset
//! ```
//!
//! The filter and the fence are as large as the rows that were expected need; fewer make them
//! finer.

use super::{
    VERSION, crc32,
    fields::Fields,
    filter,
    page::{CONTENT_BYTES, PAGE_BYTES, Page},
};
use crate::types::{Offset, PartitionId, TopicId, Version};

/// The size of a row.
pub(crate) const ROW_BYTES: usize = 24;

/// How many rows are in a page.
pub(crate) const ROWS_PER_PAGE: u64 = (CONTENT_BYTES / ROW_BYTES) as u64;

/// How many numbers of the fence are in a page.
pub(crate) const FENCE_PER_PAGE: u64 = (CONTENT_BYTES / size_of::<u32>()) as u64;

/// Rows of more pages than the fence can number are refused, and by far more than a disk holds.
const MOST_ROWS: u64 = u32::MAX as u64 * ROWS_PER_PAGE;
const MOST_FENCE_BITS: u32 = 32;
const MOST_FILTER_BLOCKS: u64 = 1 << 40;

const MAGIC: [u8; 8] = *b"TFRLKEYS";
const HEADER_BYTES: usize = 80;

/// The hash of a subject; runs are sorted by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KeyHash(pub(crate) u64);

/// Record (or frame) number `version` of a subject with this hash is at this offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Row {
    pub(crate) hash: KeyHash,
    pub(crate) version: Version,
    pub(crate) offset: Offset,
}

impl Row {
    /// Puts the row in a page as its `nth`.
    pub(crate) fn put(&self, page: &mut Page, nth: usize) {
        let out = &mut page[nth * ROW_BYTES..][..ROW_BYTES];
        out[0..8].copy_from_slice(&self.hash.0.to_le_bytes());
        out[8..16].copy_from_slice(&self.version.0.to_le_bytes());
        out[16..24].copy_from_slice(&self.offset.0.to_le_bytes());
    }

    /// The `nth` row of a page; zeros behind the last one that was put there.
    ///
    /// # Panics
    ///
    /// If a page has no such row.
    pub(crate) fn at(page: &Page, nth: usize) -> Self {
        let row = &page[nth * ROW_BYTES..][..ROW_BYTES];
        let field =
            |at: usize| u64::from_le_bytes(row[at..at + 8].try_into().expect("eight bytes"));
        Self {
            hash: KeyHash(field(0)),
            version: Version(field(8)),
            offset: Offset(field(16)),
        }
    }
}

/// What a run holds, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) topic: TopicId,
    pub(crate) partition: PartitionId,
    pub(crate) from: Offset,
    pub(crate) to: Offset,
    pub(crate) rows: u64,
    /// How many different hashes the rows have.
    pub(crate) hashes: u64,
    pub(crate) fence_bits: u32,
    pub(crate) filter_blocks: u64,
    /// What the hasher was that made the hashes.
    pub(crate) fingerprint: u64,
}

impl Header {
    pub(crate) fn encode(&self) -> Page {
        let mut out = [0; PAGE_BYTES];
        out[0..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[16..24].copy_from_slice(&self.topic.0.to_le_bytes());
        out[24..28].copy_from_slice(&self.partition.0.to_le_bytes());
        out[28..32].copy_from_slice(&self.fence_bits.to_le_bytes());
        let fields = [
            self.from.0,
            self.to.0,
            self.rows,
            self.hashes,
            self.filter_blocks,
            self.fingerprint,
        ]
        .into_iter();
        for (at, field) in (32..HEADER_BYTES).step_by(8).zip(fields) {
            out[at..at + 8].copy_from_slice(&field.to_le_bytes());
        }
        let checksum = crc32(&[&out[16..HEADER_BYTES]]);
        out[12..16].copy_from_slice(&checksum.to_le_bytes());
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..HEADER_BYTES)?;
        let mut fields = Fields(bytes);
        let magic: [u8; 8] = fields.array()?;
        if magic != MAGIC || fields.u32()? != VERSION || fields.u32()? != crc32(&[&bytes[16..]]) {
            return None;
        }
        let (topic, partition, fence_bits) = (
            TopicId(fields.u64()?),
            PartitionId(fields.u32()?),
            fields.u32()?,
        );
        let (from, to) = (Offset(fields.u64()?), Offset(fields.u64()?));
        let (rows, hashes, filter_blocks) = (fields.u64()?, fields.u64()?, fields.u64()?);
        let fingerprint = fields.u64()?;
        let possible = from < to
            && rows <= MOST_ROWS
            && hashes <= rows
            && fence_bits <= MOST_FENCE_BITS
            && (1..=MOST_FILTER_BLOCKS).contains(&filter_blocks);
        possible.then_some(Self {
            topic,
            partition,
            from,
            to,
            rows,
            hashes,
            fence_bits,
            filter_blocks,
            fingerprint,
        })
    }

    /// What tells the pages of this run from all others', known before its rows are.
    pub(crate) fn salt(&self) -> u32 {
        let [topic, from, to, fingerprint] =
            [self.topic.0, self.from.0, self.to.0, self.fingerprint].map(u64::to_le_bytes);
        crc32(&[
            &topic,
            &self.partition.0.to_le_bytes(),
            &from,
            &to,
            &fingerprint,
        ])
    }

    /// The page and the place in it of a hash's block of the filter.
    pub(crate) fn filter_place(&self, hash: KeyHash) -> (u64, usize) {
        let (page, at) = filter::place_of(hash.0, self.filter_blocks);
        (1 + page, at)
    }

    /// Which number of the fence belongs to a hash.
    pub(crate) fn fence_of(&self, hash: KeyHash) -> u64 {
        hash.0.checked_shr(64 - self.fence_bits).unwrap_or(0)
    }

    /// How many numbers the fence has.
    pub(crate) fn fence_len(&self) -> u64 {
        (1 << self.fence_bits) + 1
    }

    /// The page and the place in it of a number of the fence.
    pub(crate) fn fence_place(&self, nth: u64) -> (u64, usize) {
        (
            self.first_fence_page() + nth / FENCE_PER_PAGE,
            (nth % FENCE_PER_PAGE) as usize * size_of::<u32>(),
        )
    }

    pub(crate) fn first_fence_page(&self) -> u64 {
        1 + filter::pages_of(self.filter_blocks)
    }

    pub(crate) fn first_row_page(&self) -> u64 {
        self.first_fence_page() + self.fence_len().div_ceil(FENCE_PER_PAGE)
    }

    /// How many pages the rows take.
    pub(crate) fn row_pages(&self) -> u64 {
        self.rows.div_ceil(ROWS_PER_PAGE)
    }

    /// The size of the whole file.
    pub(crate) fn file_bytes(&self) -> u64 {
        (self.first_row_page() + self.row_pages()) * PAGE_BYTES as u64
    }
}

/// The fence bits for so many rows: about one number for each page of rows.
pub(crate) fn fence_bits_for(rows: u64) -> u32 {
    rows.min(MOST_ROWS)
        .div_ceil(ROWS_PER_PAGE)
        .next_power_of_two()
        .trailing_zeros()
}
