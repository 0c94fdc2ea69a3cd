//! The journal's files and entries.
//!
//! A journal file is a header block of 4,096 bytes, which holds the header twice, at 0 and at
//! 2,048, and then entries. Entries of one write lie one behind the other; a write starts at a
//! multiple of 4,096 and is filled up with zeros to the next, so a block that holds an acknowledged
//! byte is never written again.
//!
//! ```text
//! file header                              entry
//!  0  8 bytes "TFRLJRNL"                    0  u32  magic "TJE1"
//!  8  u32  version                          4  u32  checksum of the rest of header and table
//! 12  u32  checksum of the rest             8  u64  salt of the file
//! 16  u64  file number                     16  u64  sequence: one more than the entry before
//! 24  u64  salt                            24  u64  durable: entries up to this one were synced before
//!                                          32  u32  previous: checksum of the entry before
//!                                          36  u32  length of the whole entry
//!                                          40  u32  items
//!                                          44  u32  0
//!                                          48  table: per item u32 kind (1 frame, 2 change), u32 length, u32 checksum,
//!                                              u32 checksum of a frame's header (0 for a change)
//!                                              then the items' bytes
//! ```
//!
//! A file that is ready to be used for the first time has the number 0: so one that is blank has lost
//! its content. Only what an erasure has overwritten is blank otherwise.
//!
//! The salt is drawn at random each time a file is used, so no entry of an earlier use is ever
//! taken for one of this. The checksum of a frame is the frame's own: records are summed once. A
//! frame's header is summed on its own as well: when the records are damaged, it says which they
//! were, and what it says moves the end of a partition.

use bytes::Bytes;

use super::{VERSION, crc32, fields::Fields, frame, frame::Frame};
use crate::catalog::Change;

/// Entries written at once start at multiples of this.
pub(crate) const BLOCK_BYTES: u64 = 4096;

const FILE_MAGIC: [u8; 8] = *b"TFRLJRNL";
const ENTRY_MAGIC: u32 = u32::from_le_bytes(*b"TJE1");
const ENTRY_HEADER_BYTES: usize = 48;
const TABLE_ROW_BYTES: usize = 16;
const KIND_FRAME: u32 = 1;
const KIND_CHANGE: u32 = 2;

/// Where in a file's first block the second copy of its header is: in another sector. Disks with
/// larger sectors lose both at once; `ring.rs` says the same in another file.
const HEADER_COPY_AT: usize = 2048;

/// The first block of a journal file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileHeader {
    pub(crate) number: u64,
    pub(crate) salt: u64,
}

impl FileHeader {
    /// Of a file that is ready to be used for the first time.
    pub(crate) const NEVER_USED: Self = Self { number: 0, salt: 0 };

    /// The block, as far as it is not zeros.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut rest = Vec::with_capacity(16);
        rest.extend_from_slice(&self.number.to_le_bytes());
        rest.extend_from_slice(&self.salt.to_le_bytes());
        let version = VERSION.to_le_bytes();
        let checksum = crc32(&[&version, &rest]).to_le_bytes();
        let header = [&FILE_MAGIC[..], &version, &checksum, &rest].concat();
        let mut block = header.clone();
        block.resize(HEADER_COPY_AT, 0);
        block.extend_from_slice(&header);
        block
    }

    /// None if the block was never written, or both copies are damaged.
    pub(crate) fn decode(block: &[u8]) -> Option<Self> {
        Self::decode_copy(block).or_else(|| Self::decode_copy(block.get(HEADER_COPY_AT..)?))
    }

    fn decode_copy(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        let magic: [u8; 8] = fields.array()?;
        let version: [u8; 4] = fields.array()?;
        let checksum = fields.u32()?;
        let rest = fields.clone().bytes(16)?;
        let sound = magic == FILE_MAGIC
            && version == VERSION.to_le_bytes()
            && crc32(&[&version, rest]) == checksum;
        sound.then_some(Self {
            number: fields.u64()?,
            salt: fields.u64()?,
        })
    }
}

/// One thing that an entry carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Frame(Frame),
    Change(Change),
}

/// What chains an entry to its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// Of the file.
    pub(crate) salt: u64,
    /// One more than the entry before.
    pub(crate) sequence: u64,
    /// Entries up to this one were synced before this one was written.
    pub(crate) durable: u64,
    /// The checksum of the entry before.
    pub(crate) previous: u32,
}

/// An entry ready to be written: the slices, one behind the other.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub(crate) head: Vec<u8>,
    pub(crate) bodies: Vec<Bytes>,
    pub(crate) checksum: u32,
}

/// How many bytes an entry of these items takes.
pub(crate) fn encoded_len(items: &[Item]) -> usize {
    let bodies: usize = items
        .iter()
        .map(|item| match item {
            Item::Frame(frame) => frame.bytes().len(),
            Item::Change(change) => change.encode().len(),
        })
        .sum();
    ENTRY_HEADER_BYTES + items.len() * TABLE_ROW_BYTES + bodies
}

/// Encodes an entry.
pub(crate) fn encode(link: Link, items: &[Item]) -> Encoded {
    let mut table = Vec::with_capacity(items.len() * TABLE_ROW_BYTES);
    let mut bodies = Vec::with_capacity(items.len());
    for item in items {
        let (kind, checksum, body) = match item {
            Item::Frame(frame) => (KIND_FRAME, frame.checksum(), frame.bytes().clone()),
            Item::Change(change) => {
                let body = change.encode();
                (KIND_CHANGE, crc32(&[&body]), body.into())
            }
        };
        let head = if kind == KIND_FRAME {
            crc32(&[&body[..frame::HEADER_BYTES]])
        } else {
            0
        };
        for field in [kind, length32(body.len()), checksum, head] {
            table.extend_from_slice(&field.to_le_bytes());
        }
        bodies.push(body);
    }
    let length = ENTRY_HEADER_BYTES + table.len() + bodies.iter().map(Bytes::len).sum::<usize>();

    let mut head = Vec::with_capacity(ENTRY_HEADER_BYTES + table.len());
    head.extend_from_slice(&ENTRY_MAGIC.to_le_bytes());
    head.extend_from_slice(&[0; 4]);
    for field in [link.salt, link.sequence, link.durable] {
        head.extend_from_slice(&field.to_le_bytes());
    }
    for field in [link.previous, length32(length), length32(items.len()), 0] {
        head.extend_from_slice(&field.to_le_bytes());
    }
    head.extend_from_slice(&table);
    let checksum = crc32(&[&head[8..]]);
    head[4..8].copy_from_slice(&checksum.to_le_bytes());
    Encoded {
        head,
        bodies,
        checksum,
    }
}

fn length32(len: usize) -> u32 {
    u32::try_from(len).expect("an entry fits a journal file, which is smaller than 4 GiB")
}

/// An entry whose header and table are sound.
#[derive(Clone, Debug)]
pub(crate) struct Decoded {
    pub(crate) link: Link,
    pub(crate) checksum: u32,
    pub(crate) length: usize,
    /// The items, in order; `Err` where an item's bytes are damaged.
    pub(crate) items: Vec<Result<Item, DamagedItem>>,
}

/// An item whose checksum is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DamagedItem {
    /// What the frame's header says, if the item is a frame and its header makes sense: the records
    /// that are lost.
    pub(crate) frame: Option<frame::Header>,
}

impl Decoded {
    /// Whether every item is as it was written.
    pub(crate) fn is_whole(&self) -> bool {
        self.items.iter().all(Result::is_ok)
    }
}

/// Takes the entry at the front of `bytes`; none if there is none of this salt, or its header or
/// table is damaged.
pub(crate) fn decode(bytes: &Bytes, salt: u64) -> Option<Decoded> {
    let mut fields = Fields(bytes);
    if fields.u32()? != ENTRY_MAGIC {
        return None;
    }
    let checksum = fields.u32()?;
    let link = Link {
        salt: fields.u64()?,
        sequence: fields.u64()?,
        durable: fields.u64()?,
        previous: fields.u32()?,
    };
    let length = usize::try_from(fields.u32()?).ok()?;
    let count = usize::try_from(fields.u32()?).ok()?;
    let _reserved = fields.u32()?;
    let table_end = count
        .checked_mul(TABLE_ROW_BYTES)?
        .checked_add(ENTRY_HEADER_BYTES)?;
    let summed = bytes.get(8..table_end)?;
    if link.salt != salt || length > bytes.len() || crc32(&[summed]) != checksum {
        return None;
    }

    let mut items = Vec::with_capacity(count);
    let mut at = table_end;
    for _ in 0..count {
        let (kind, len) = (fields.u32()?, usize::try_from(fields.u32()?).ok()?);
        let (checksum, head) = (fields.u32()?, fields.u32()?);
        let end = at.checked_add(len).filter(|end| *end <= length)?;
        items.push(decode_item(kind, checksum, head, bytes.slice(at..end)));
        at = end;
    }
    (at == length).then_some(Decoded {
        link,
        checksum,
        length,
        items,
    })
}

fn decode_item(kind: u32, checksum: u32, head: u32, body: Bytes) -> Result<Item, DamagedItem> {
    let item = match kind {
        KIND_FRAME => Frame::decode(&body)
            .filter(|frame| frame.checksum() == checksum && frame.bytes().len() == body.len())
            .map(Item::Frame),
        KIND_CHANGE if crc32(&[&body]) == checksum => Change::decode(&body).map(Item::Change),
        _ => None,
    };
    item.ok_or_else(|| DamagedItem {
        frame: (kind == KIND_FRAME)
            .then(|| sound_header(&body, head))
            .flatten(),
    })
}

/// The header at the front of a damaged frame, if it is not what is damaged, or only in one bit:
/// that is found by its checksum. Without it nobody would know which records are lost.
fn sound_header(frame: &[u8], checksum: u32) -> Option<frame::Header> {
    let mut header: [u8; frame::HEADER_BYTES] = *frame.first_chunk()?;
    let mut flip_if_sound = |bit: usize| {
        header[bit / 8] ^= 1 << (bit % 8);
        let sound = crc32(&[&header]) == checksum;
        if !sound {
            header[bit / 8] ^= 1 << (bit % 8);
        }
        sound
    };
    if crc32(&[&frame[..frame::HEADER_BYTES]]) != checksum {
        (0..frame::HEADER_BYTES * 8).find(|bit| flip_if_sound(*bit))?;
    }
    frame::Header::peek(&header).map(|(_, header)| header)
}

/// Whether bytes have this salt where an entry has it, sound or not.
pub(crate) fn has_salt(bytes: &[u8], salt: u64) -> bool {
    bytes.get(8..16) == Some(&salt.to_le_bytes())
}

/// The salt of what begins like an entry, sound or not.
pub(crate) fn salt(bytes: &[u8]) -> Option<u64> {
    let salt = bytes.get(8..16)?.first_chunk()?;
    Some(u64::from_le_bytes(*salt))
}

/// Whether bytes begin like an entry of any salt, sound or not.
pub(crate) fn begins(bytes: &[u8]) -> bool {
    Fields(bytes).u32() == Some(ENTRY_MAGIC)
}
