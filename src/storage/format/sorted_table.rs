//! Sorted tables: the files of a key index. A table of *records* says where the records of a range
//! of offsets are; it can be rebuilt from the log. A table of *last versions* keeps what must
//! outlive removed records, and cannot be rebuilt.
//!
//! ```text
//! page 0: the header, then zeros
//!  0  8 bytes "TFRLKEYS" for records, "TFRLLAST" for last versions
//!  8  u32  version
//! 12  u32  checksum of the bytes of the header behind it
//! 16  u64  topic
//! 24  u32  partition
//! 28  u32  fence bits
//! 32  u64  from: the first offset that the table covers; of last versions, the first number
//! 40  u64  to: the offset, or number, behind the last
//! 48  u64  rows
//! 56  u64  different hashes among them
//! 64  u64  blocks of the filter
//! 72  u64  fingerprint of the hasher
//!    of last versions only:
//! 80  u64  the first page of names
//! 88  u64  bytes of names
//!
//! pages (page.rs) of the filter over the hashes (filter.rs), then of the fence, then of rows, then
//! of names
//!
//! fence: 2^bits + 1 numbers, 1,023 in a page, for every value b of a hash's high bits and the one behind the last:
//!  0  u32  the first page of rows, counted from 0, whose last hash is at least b · 2^(64 - bits)
//!
//! rows, 170 in a page, by hash, then version, then place:
//!  0  u64  hash of the key
//!  8  u64  version
//! 16  u64  place: the record's offset; of last versions, where its name begins among the bytes of
//!          names
//!
//! names, one behind the other in the order of the rows, over as many pages as they take:
//!  0  u8   kind, then
//!          0  an entity: u32 bytes of the key, the key
//!          1  an erased entity: 32 bytes, the token
//!          2  one whose key is not known: nothing
//! ```
//!
//! Each change to what is known of removed records gets the next number, from 1 on. A table of last
//! versions covers the numbers of all changes that it was merged from, so a missing table is
//! noticed.
//!
//! The filter and the fence are made for the expected number of rows; with fewer rows they are only
//! more precise. If fewer rows come than were expected, there may be pages between rows and names
//! that were never written.

use bytes::Bytes;

use super::{
    VERSION, crc32,
    fields::{Fields, put_count},
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

/// The head of a name, this many bytes, says how long the name is. The last name of a table may be
/// shorter than that.
pub(crate) const NAME_HEAD_BYTES: u64 = 5;

/// More rows than this are refused: the fence could not number their pages. No disk holds as many.
const MOST_ROWS: u64 = u32::MAX as u64 * ROWS_PER_PAGE;
const MOST_FENCE_BITS: u32 = 32;
const MOST_FILTER_BLOCKS: u64 = 1 << 40;
/// No file has as many pages. Numbers below this can be added and multiplied without overflow.
const MOST_PAGES: u64 = 1 << 48;

const RECORDS_MAGIC: [u8; 8] = *b"TFRLKEYS";
const LAST_VERSIONS_MAGIC: [u8; 8] = *b"TFRLLAST";
const RECORDS_HEADER_BYTES: usize = 80;
const LAST_VERSIONS_HEADER_BYTES: usize = 96;

const ENTITY: u8 = 0;
const ERASED: u8 = 1;
const UNREADABLE: u8 = 2;

/// The hash of a key; tables are sorted by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KeyHash(pub(crate) u64);

/// The record with this version, of a key with this hash, is at this place, or was when the row was
/// written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Row {
    pub(crate) hash: KeyHash,
    pub(crate) version: Version,
    /// The record's offset; in a table of last versions, where its name begins.
    pub(crate) place: u64,
}

impl Row {
    /// The row of a record.
    pub(crate) fn of_record(hash: KeyHash, version: Version, offset: Offset) -> Self {
        Self {
            hash,
            version,
            place: offset.0,
        }
    }

    /// Where the record is.
    pub(crate) fn offset(&self) -> Offset {
        Offset(self.place)
    }

    /// Writes the row to a page as its `nth`.
    pub(crate) fn put(&self, page: &mut Page, nth: usize) {
        let out = &mut page[nth * ROW_BYTES..][..ROW_BYTES];
        out[0..8].copy_from_slice(&self.hash.0.to_le_bytes());
        out[8..16].copy_from_slice(&self.version.0.to_le_bytes());
        out[16..24].copy_from_slice(&self.place.to_le_bytes());
    }

    /// The `nth` row of a page; zeros behind the last row that was written.
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
            place: field(16),
        }
    }
}

/// The version of an entity's last record among those that were removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LastVersion {
    pub(crate) hash: KeyHash,
    pub(crate) version: Version,
    pub(crate) name: Name,
}

impl LastVersion {
    /// The order of rows in a table.
    pub(crate) fn order(&self) -> (KeyHash, Version) {
        (self.hash, self.version)
    }
}

/// The entity that a last version belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Entity {
        key: Bytes,
    },
    /// The key was erased; the token is compared in its place.
    Erased {
        token: [u8; 32],
    },
    /// Only the hash of the key is known: the record could not be read when it was removed, or its
    /// name was lost.
    Unreadable,
}

impl Name {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Entity { key } => {
                out.push(ENTITY);
                put_count(out, key.len());
                out.extend_from_slice(key);
            }
            Self::Erased { token } => {
                out.push(ERASED);
                out.extend_from_slice(token);
            }
            Self::Unreadable => out.push(UNREADABLE),
        }
    }

    /// The size of a name, as its first [`NAME_HEAD_BYTES`] bytes say.
    pub(crate) fn encoded_len(head: &[u8]) -> Option<u64> {
        let mut fields = Fields(head);
        match fields.array()? {
            [ENTITY] => Some(NAME_HEAD_BYTES + u64::from(fields.u32()?)),
            [ERASED] => Some(1 + 32),
            [UNREADABLE] => Some(1),
            _ => None,
        }
    }

    /// Decodes a name, which must take all of these bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        let name = match fields.array()? {
            [ENTITY] => {
                let len = usize::try_from(fields.u32()?).ok()?;
                Self::Entity {
                    key: Bytes::copy_from_slice(fields.bytes(len)?),
                }
            }
            [ERASED] => Self::Erased {
                token: fields.array()?,
            },
            [UNREADABLE] => Self::Unreadable,
            _ => return None,
        };
        fields.0.is_empty().then_some(name)
    }
}

/// The kind of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Where records are.
    Records,
    /// The last versions of removed records.
    LastVersions,
}

/// Where a table's names are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    /// The first page of names.
    pub(crate) page: u64,
    pub(crate) bytes: u64,
}

/// What a table holds, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) topic: TopicId,
    pub(crate) partition: PartitionId,
    /// The first offset that the table covers; of last versions, the first number.
    pub(crate) from: u64,
    /// The offset, or number, behind the last that the table covers.
    pub(crate) to: u64,
    pub(crate) rows: u64,
    /// How many different hashes the rows have.
    pub(crate) hashes: u64,
    pub(crate) fence_bits: u32,
    pub(crate) filter_blocks: u64,
    /// The fingerprint of the hasher that made the hashes.
    pub(crate) fingerprint: u64,
    /// Only a table of last versions has names.
    pub(crate) names: Option<Names>,
}

impl Header {
    pub(crate) fn encode(&self) -> Page {
        let mut out = [0; PAGE_BYTES];
        let (magic, len) = match self.kind() {
            Kind::Records => (RECORDS_MAGIC, RECORDS_HEADER_BYTES),
            Kind::LastVersions => (LAST_VERSIONS_MAGIC, LAST_VERSIONS_HEADER_BYTES),
        };
        out[0..8].copy_from_slice(&magic);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[16..24].copy_from_slice(&self.topic.0.to_le_bytes());
        out[24..28].copy_from_slice(&self.partition.0.to_le_bytes());
        out[28..32].copy_from_slice(&self.fence_bits.to_le_bytes());
        let names = self.names.unwrap_or(Names { page: 0, bytes: 0 });
        let fields = [
            self.from,
            self.to,
            self.rows,
            self.hashes,
            self.filter_blocks,
            self.fingerprint,
            names.page,
            names.bytes,
        ];
        for (at, field) in (32..len).step_by(8).zip(fields) {
            out[at..at + 8].copy_from_slice(&field.to_le_bytes());
        }
        let checksum = crc32(&[&out[16..len]]);
        out[12..16].copy_from_slice(&checksum.to_le_bytes());
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, len) = match *bytes.first_chunk()? {
            RECORDS_MAGIC => (Kind::Records, RECORDS_HEADER_BYTES),
            LAST_VERSIONS_MAGIC => (Kind::LastVersions, LAST_VERSIONS_HEADER_BYTES),
            _ => return None,
        };
        let bytes = bytes.get(..len)?;
        let mut fields = Fields(&bytes[8..]);
        if fields.u32()? != VERSION || fields.u32()? != crc32(&[&bytes[16..]]) {
            return None;
        }
        let (topic, partition, fence_bits) = (
            TopicId(fields.u64()?),
            PartitionId(fields.u32()?),
            fields.u32()?,
        );
        let (from, to) = (fields.u64()?, fields.u64()?);
        let (rows, hashes, filter_blocks) = (fields.u64()?, fields.u64()?, fields.u64()?);
        let fingerprint = fields.u64()?;
        let names = match kind {
            Kind::Records => None,
            Kind::LastVersions => Some(Names {
                page: fields.u64()?,
                bytes: fields.u64()?,
            }),
        };
        let header = Self {
            topic,
            partition,
            from,
            to,
            rows,
            hashes,
            fence_bits,
            filter_blocks,
            fingerprint,
            names,
        };
        header.is_possible().then_some(header)
    }

    fn is_possible(&self) -> bool {
        self.from < self.to
            && self.rows <= MOST_ROWS
            && self.hashes <= self.rows
            && self.fence_bits <= MOST_FENCE_BITS
            && (1..=MOST_FILTER_BLOCKS).contains(&self.filter_blocks)
            && self.names.is_none_or(|names| {
                (self.behind_rows()..MOST_PAGES).contains(&names.page)
                    && names.bytes <= MOST_PAGES * CONTENT_BYTES as u64
            })
    }

    pub(crate) fn kind(&self) -> Kind {
        match self.names {
            None => Kind::Records,
            Some(_) => Kind::LastVersions,
        }
    }

    /// What tells this table's pages from those of all others. It does not depend on the rows.
    pub(crate) fn salt(&self) -> u32 {
        let [topic, from, to, fingerprint] =
            [self.topic.0, self.from, self.to, self.fingerprint].map(u64::to_le_bytes);
        let kind: &[u8] = match self.kind() {
            Kind::Records => &[],
            Kind::LastVersions => &LAST_VERSIONS_MAGIC,
        };
        crc32(&[
            &topic,
            &self.partition.0.to_le_bytes(),
            &from,
            &to,
            &fingerprint,
            kind,
        ])
    }

    /// Where the filter's block for a hash is: its page, and the byte in that page.
    pub(crate) fn filter_place(&self, hash: KeyHash) -> (u64, usize) {
        let (page, at) = filter::place_of(hash.0, self.filter_blocks);
        (1 + page, at)
    }

    /// The index of the fence's number for a hash.
    pub(crate) fn fence_of(&self, hash: KeyHash) -> u64 {
        hash.0.checked_shr(64 - self.fence_bits).unwrap_or(0)
    }

    /// How many numbers the fence has.
    pub(crate) fn fence_len(&self) -> u64 {
        (1 << self.fence_bits) + 1
    }

    /// Where the fence's `nth` number is: its page, and the index in that page.
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

    /// The number of the first page behind the rows.
    pub(crate) fn behind_rows(&self) -> u64 {
        self.first_row_page() + self.row_pages()
    }

    /// How many pages the file has.
    pub(crate) fn pages(&self) -> u64 {
        match self.names {
            None => self.behind_rows(),
            Some(names) => names.page + names.bytes.div_ceil(CONTENT_BYTES as u64),
        }
    }

    /// The size of the whole file.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.pages() * PAGE_BYTES as u64
    }
}

impl Names {
    /// Where byte `byte` of the names is: its page, and the byte in that page.
    pub(crate) fn place(&self, byte: u64) -> (u64, usize) {
        (
            self.page + byte / CONTENT_BYTES as u64,
            (byte % CONTENT_BYTES as u64) as usize,
        )
    }
}

/// How many pages this many rows take.
pub(crate) fn pages_for(rows: u64) -> u64 {
    rows.div_ceil(ROWS_PER_PAGE)
}

/// The fence bits for this many rows: about one number of the fence for each page of rows.
pub(crate) fn fence_bits_for(rows: u64) -> u32 {
    rows.min(MOST_ROWS)
        .div_ceil(ROWS_PER_PAGE)
        .next_power_of_two()
        .trailing_zeros()
}
