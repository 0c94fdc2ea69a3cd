//! The journal's files and entries.
//!
//! A journal file is a header block of 4,096 bytes, which has the header twice, at 0 and at 2,048,
//! and then entries. The entries of one write lie one behind the other. A write starts at a
//! multiple of 4,096 and is padded with zeros to the next, so a block with an acknowledged byte is
//! not written again.
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
//! A new file that has not been used yet has number 0. So a blank file has lost its content, unless
//! an erasure has overwritten it.
//!
//! The salt is drawn at random each time a file is used, so no entry of an earlier use is taken for
//! one of this use. An item that is a frame uses the frame's own checksum, so records are summed
//! once. The frame's header has a checksum of its own: if the records are damaged, the header still
//! says which records are lost, and moves the end of the partition past them.

use bytes::Bytes;

use super::{VERSION, crc32, fields::Fields, frame, frame::Frame};
use crate::catalog::Change;

/// Writes start at multiples of this size.
pub(crate) const BLOCK_BYTES: u64 = 4096;

const FILE_MAGIC: [u8; 8] = *b"TFRLJRNL";
const ENTRY_MAGIC: u32 = u32::from_le_bytes(*b"TJE1");
const ENTRY_HEADER_BYTES: usize = 48;
const TABLE_ROW_BYTES: usize = 16;
/// How many bytes an entry has in front of its frame, if that is all it has.
pub(super) const LEAD_BYTES: usize = ENTRY_HEADER_BYTES + TABLE_ROW_BYTES;

const KIND_FRAME: u32 = 1;
const KIND_CHANGE: u32 = 2;

/// Where the second copy of the header is in a file's first block: in another sector. A disk with
/// larger sectors may lose both copies at once; that is why `ring.rs` stores the same in another
/// file.
const HEADER_COPY_AT: usize = 2048;

/// The first block of a journal file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileHeader {
    pub(crate) number: u64,
    pub(crate) salt: u64,
}

impl FileHeader {
    /// The header of a file that is ready to be used for the first time.
    pub(crate) const NEVER_USED: Self = Self { number: 0, salt: 0 };

    /// The header block, without the zeros at its end.
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

    /// Reads a header; `None` if the block was never written, or both copies are damaged.
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

/// What ties an entry to its place in the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// The salt of the file.
    pub(crate) salt: u64,
    /// One more than the entry before.
    pub(crate) sequence: u64,
    /// Entries up to this one had been synced when this one was written.
    pub(crate) durable: u64,
    /// The checksum of the entry before.
    pub(crate) previous: u32,
}

/// An entry ready to be written: `head`, then the items' slices.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub(crate) head: Vec<u8>,
    pub(crate) bodies: Vec<Bytes>,
    pub(crate) checksum: u32,
}

/// The size of an entry with these items, in bytes.
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
        match item {
            Item::Frame(frame) => {
                table.extend_from_slice(&row_of(frame));
                bodies.push(frame.bytes().clone());
            }
            Item::Change(change) => {
                let body = Bytes::from(change.encode());
                table.extend_from_slice(&row(KIND_CHANGE, &body, crc32(&[&body]), 0));
                bodies.push(body);
            }
        }
    }
    let bytes = bodies.iter().map(Bytes::len).sum();
    let (head, checksum) = encode_head(link, &table, bytes);
    Encoded {
        head,
        bodies,
        checksum,
    }
}

/// The size of an entry that can be written from the memory of its only frame, with the zeros
/// behind it: whole blocks. `None` for any other entry.
pub(crate) fn len_in_place(items: &[Item]) -> Option<u64> {
    match items {
        [Item::Frame(frame)] if frame.has_entry() => {
            let len = (LEAD_BYTES + frame.bytes().len()) as u64;
            Some(len.next_multiple_of(BLOCK_BYTES))
        }
        _ => None,
    }
}

/// Encodes an entry in the memory of its only frame; returns that memory, and the entry's checksum.
/// `None` if it cannot be.
pub(crate) fn encode_in_place(link: Link, items: &mut [Item]) -> Option<(Bytes, u32)> {
    let [Item::Frame(frame)] = items else {
        return None;
    };
    let (head, checksum) = encode_head(link, &row_of(frame), frame.bytes().len());
    let entry = frame.fill_entry(head.first_chunk()?)?;
    Some((entry, checksum))
}

fn row_of(frame: &Frame) -> [u8; TABLE_ROW_BYTES] {
    let body = frame.bytes();
    let head = crc32(&[&body[..frame::HEADER_BYTES]]);
    row(KIND_FRAME, body, frame.checksum(), head)
}

fn row(kind: u32, body: &[u8], checksum: u32, head: u32) -> [u8; TABLE_ROW_BYTES] {
    let mut row = [0; TABLE_ROW_BYTES];
    let fields = [kind, length32(body.len()), checksum, head];
    for (place, field) in row.chunks_exact_mut(4).zip(fields) {
        place.copy_from_slice(&field.to_le_bytes());
    }
    row
}

/// Encodes an entry's header and table, behind which come so many bytes; returns its checksum too.
fn encode_head(link: Link, table: &[u8], bytes: usize) -> (Vec<u8>, u32) {
    let length = ENTRY_HEADER_BYTES + table.len() + bytes;
    let items = table.len() / TABLE_ROW_BYTES;
    let mut head = Vec::with_capacity(ENTRY_HEADER_BYTES + table.len());
    head.extend_from_slice(&ENTRY_MAGIC.to_le_bytes());
    head.extend_from_slice(&[0; 4]);
    for field in [link.salt, link.sequence, link.durable] {
        head.extend_from_slice(&field.to_le_bytes());
    }
    for field in [link.previous, length32(length), length32(items), 0] {
        head.extend_from_slice(&field.to_le_bytes());
    }
    head.extend_from_slice(table);
    let checksum = crc32(&[&head[8..]]);
    head[4..8].copy_from_slice(&checksum.to_le_bytes());
    (head, checksum)
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
    /// The items, in order; `Err` for an item whose bytes are damaged.
    pub(crate) items: Vec<Result<Item, DamagedItem>>,
}

/// An item whose checksum is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DamagedItem {
    /// The frame's header, if the item is a frame whose header is sound: it says which records are
    /// lost.
    pub(crate) frame: Option<frame::Header>,
}

impl Decoded {
    /// Whether every item is as it was written.
    pub(crate) fn is_whole(&self) -> bool {
        self.items.iter().all(Result::is_ok)
    }
}

/// Reads the entry at the front of `bytes`; `None` if no entry with this salt is there, or its
/// header or table is damaged.
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

/// The header of a damaged frame, if the header is sound or has one wrong bit, which its checksum
/// lets us find and mend. Without the header nobody would know which records are lost.
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

/// The length that the entry at the front of `bytes` says it has; `None` if there is none with this
/// salt.
pub(crate) fn length_of(bytes: &[u8], salt: u64) -> Option<u64> {
    let mut fields = Fields(bytes);
    let is_one = fields.u32()? == ENTRY_MAGIC && has_salt(bytes, salt);
    let length = bytes.get(36..40)?.try_into().ok()?;
    is_one.then_some(u64::from(u32::from_le_bytes(length)))
}

/// Whether the bytes have this salt at the place where an entry has it, whether the entry is sound
/// or not.
pub(crate) fn has_salt(bytes: &[u8], salt: u64) -> bool {
    bytes.get(8..16) == Some(&salt.to_le_bytes())
}

/// The salt of an entry, sound or not, at the front of `bytes`.
pub(crate) fn salt(bytes: &[u8]) -> Option<u64> {
    let salt = bytes.get(8..16)?.first_chunk()?;
    Some(u64::from_le_bytes(*salt))
}

/// Whether the bytes begin like an entry of any salt, sound or not.
pub(crate) fn begins(bytes: &[u8]) -> bool {
    Fields(bytes).u32() == Some(ENTRY_MAGIC)
}
