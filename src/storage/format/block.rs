//! Compressed blocks: consecutive frames of a sealed segment, compressed together.
//!
//! A frame is as small as one append, and small pieces compress badly, so several frames share a
//! block. A block begins like a frame (`frame.rs`): code that steps from frame to frame by their
//! lengths steps over a block too, and finds the next one behind damage in the same way.
//! Decompressing a block gives the original frames, byte for byte.
//!
//! ```text
//!  0  u32  length            of the whole block, header included
//!  4  u32  checksum          over everything behind it
//!  8  u64  topic
//! 16  u32  partition
//! 20  u32  count             records in all frames
//! 24  u64  base offset       of the first of them
//! 32  i64  append time       the latest of the frames, milliseconds since 1970
//! 40  i64  latest timestamp  of all records
//! 48  u32  length of the frames before they were compressed
//! 52  u32  codec             1: LZ4, 2: Zstandard
//! 56  u32  frames            in the block
//! 60  8 bytes of 0
//! 68  u32  flags             2: it is a block
//! 72  u32  span              how many offsets the frames cover, without a gap
//! 76       the frames, one behind the other, compressed
//! ```
//!
//! An older version that does not know blocks would take this flag for damage. So that it never
//! opens one, the data directory's own file says that the directory may have blocks
//! (`identity.rs`).

use bytes::Bytes;

use super::{
    crc32,
    fields::Fields,
    frame::{Frame, HEADER_BYTES, Header, MAX_FRAME_BYTES, Place},
};
use crate::{
    codec::{Codec, Encoder, Method},
    types::Offset,
};

/// Frames are gathered in one block up to this size; a larger frame is a block of its own. A larger
/// bound makes point reads slower, because a point read decompresses a whole block: 64 KiB take
/// about 40 us. A smaller bound compresses worse: 19 % instead of 17.5 % for records of 200 bytes.
pub(crate) const BLOCK_BYTES: usize = 64 << 10;

/// The flag of a block, which no frame has.
const COMPRESSED: u32 = 2;

/// Compression must save an eighth at least. Frames that save less are stored as they are, which
/// costs nothing to read.
const WORTH: usize = 8;

/// A block that was decompressed.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    place: Place,
    /// The frames, one behind the other.
    frames: Bytes,
}

/// What a segment consists of: a frame, or a block of several.
pub(crate) struct Unit {
    /// The header for the index: a frame's own, or for a block that of all its frames together.
    pub(crate) header: Header,
    pub(crate) bytes: Bytes,
    /// The size of the frames before compression, in bytes.
    pub(crate) unpacked: usize,
}

/// Gathers frames into blocks.
pub(crate) struct BlockWriter {
    encoder: Encoder,
    /// The frames of the next block.
    frames: Vec<Frame>,
    bytes: usize,
}

/// Whether a header belongs to a block.
pub(crate) fn is_block(header: &[u8]) -> bool {
    header.get(68..72) == Some(&COMPRESSED.to_le_bytes())
}

/// Where the block at the front of `bytes` lies and how many records it has, without checking it;
/// `None` if it is not a block.
pub(crate) fn peek(bytes: &[u8]) -> Option<(Place, u32)> {
    let place = Place::peek(bytes).filter(|_| is_block(bytes))?;
    let records = Fields(bytes.get(20..24)?).u32()?;
    Some((place, records))
}

/// The size of a block's frames before compression, without checking the block.
pub(crate) fn unpacked_len(header: &[u8]) -> Option<usize> {
    let mut fields = Fields(header.get(48..52)?);
    usize::try_from(fields.u32()?).ok()
}

impl Block {
    /// Decompresses the block at the front of `bytes`; `None` if there is none, or it is damaged.
    pub(crate) fn open(bytes: &Bytes) -> Option<Self> {
        let place = Place::peek(bytes)?;
        let whole = bytes.get(..place.length)?;
        let (header, compressed) = whole.split_at(HEADER_BYTES);
        let stored = Fields(&header[4..]).u32()?;
        if !is_block(header) || crc32(&[&whole[8..]]) != stored {
            return None;
        }
        let codec = Codec::of_number(Fields(&header[52..]).u32()?)?;
        let len = unpacked_len(header)?;
        if !(HEADER_BYTES..=MAX_FRAME_BYTES).contains(&len) {
            return None;
        }
        let block = Self {
            place,
            frames: codec.decompress(compressed, len)?.into(),
        };
        let frames = Fields(&header[56..]).u32()?;
        block.is_whole(frames).then_some(block)
    }

    /// Whether the block has this many frames, all of its partition, and they cover its offsets
    /// without a gap.
    fn is_whole(&self, frames: u32) -> bool {
        let (mut at, mut next, mut found) = (0, self.place.base, 0);
        while at < self.frames.len() {
            match Place::peek(&self.frames[at..]) {
                Some(place) if self.has(&place) && place.base == next => {
                    (at, next, found) = (at + place.length, place.end, found + 1);
                }
                _ => return false,
            }
        }
        at == self.frames.len() && next == self.place.end && found == frames
    }

    fn has(&self, frame: &Place) -> bool {
        frame.topic == self.place.topic && frame.partition == self.place.partition
    }

    /// The length of the block in its file.
    pub(crate) fn length(&self) -> usize {
        self.place.length
    }

    /// The size of its frames in bytes.
    pub(crate) fn unpacked(&self) -> usize {
        self.frames.len()
    }

    /// The frame that begins at this byte of the decompressed frames, with its checksum checked.
    pub(crate) fn frame(&self, at: usize) -> Option<Frame> {
        Frame::decode(&self.frames.slice(at.min(self.frames.len())..))
    }

    /// The frame that covers an offset. The other frames are not checked.
    pub(crate) fn frame_with(&self, offset: Offset) -> Option<Frame> {
        let mut at = 0;
        while let Some(place) = Place::peek(self.frames.get(at..)?) {
            if (place.base..place.end).contains(&offset) {
                return self
                    .frame(at)
                    .map(|frame| frame.without_others(self.unpacked()));
            }
            at += place.length;
        }
        None
    }
}

impl BlockWriter {
    pub(crate) fn new(method: Method) -> Self {
        Self {
            encoder: Encoder::new(method),
            frames: Vec::new(),
            bytes: 0,
        }
    }

    pub(crate) fn codec(&self) -> Codec {
        self.encoder.codec()
    }

    /// Takes the next frame, and adds completed units to `out`.
    pub(crate) fn take(&mut self, frame: Frame, out: &mut Vec<Unit>) {
        let length = frame.bytes().len();
        let fits = self.bytes + length <= BLOCK_BYTES && self.goes_on_with(&frame);
        if !fits {
            self.finish(out);
        }
        self.bytes += length;
        self.frames.push(frame);
    }

    /// Whether the frame continues where the last one ends.
    fn goes_on_with(&self, frame: &Frame) -> bool {
        let (Some(first), Some(last)) = (self.frames.first(), self.frames.last()) else {
            return true;
        };
        let base = first.header().base;
        last.header().end() == frame.header().base && span(base, frame.header()).is_some()
    }

    /// Adds the last block to `out`, full or not.
    pub(crate) fn finish(&mut self, out: &mut Vec<Unit>) {
        let frames = std::mem::take(&mut self.frames);
        let bytes = std::mem::take(&mut self.bytes);
        let compressed = match &frames[..] {
            [] => return,
            [one] => self.encoder.compress(one.bytes()),
            _ => {
                let slices: Vec<&[u8]> = frames.iter().map(|frame| &frame.bytes()[..]).collect();
                self.encoder.compress(&slices.concat())
            }
        };
        let most = (bytes - bytes / WORTH).saturating_sub(HEADER_BYTES);
        match compressed.filter(|compressed| compressed.len() <= most) {
            Some(compressed) => {
                let header = together(&frames);
                out.push(Unit {
                    header,
                    bytes: seal(&header, frames.len(), bytes, self.codec(), &compressed),
                    unpacked: bytes,
                });
            }
            None => out.extend(frames.into_iter().map(Unit::of)),
        }
    }
}

/// The header of several consecutive frames together; there must be at least one.
fn together(frames: &[Frame]) -> Header {
    let mut header = *frames[0].header();
    let base = header.base;
    header.count = 0;
    for frame in frames {
        let other = frame.header();
        header.count += other.count;
        header.append_time_ms = header.append_time_ms.max(other.append_time_ms);
        header.latest_timestamp_ms = header.latest_timestamp_ms.max(other.latest_timestamp_ms);
        header.span = span(base, other).expect("looked at before the frame was taken");
    }
    Header {
        batch: None,
        tombstones_since_ms: None,
        ..header
    }
}

/// How many offsets lie between `base` and the end of a frame.
fn span(base: Offset, frame: &Header) -> Option<u32> {
    u32::try_from(frame.end().0 - base.0).ok()
}

/// Builds a complete block.
fn seal(header: &Header, frames: usize, unpacked: usize, codec: Codec, compressed: &[u8]) -> Bytes {
    let short = |len| u32::try_from(len).expect("a block is no larger than the largest frame");
    let length = HEADER_BYTES + compressed.len();
    let mut head = [0; HEADER_BYTES];
    header.encode(short(length), &mut head);
    head[48..52].copy_from_slice(&short(unpacked).to_le_bytes());
    head[52..56].copy_from_slice(&codec.number().to_le_bytes());
    head[56..60].copy_from_slice(&short(frames).to_le_bytes());
    head[68..72].copy_from_slice(&COMPRESSED.to_le_bytes());
    let checksum = crc32(&[&head[8..], compressed]);
    head[4..8].copy_from_slice(&checksum.to_le_bytes());
    [&head[..], compressed].concat().into()
}

impl Unit {
    /// A frame, uncompressed.
    pub(crate) fn of(frame: Frame) -> Self {
        Self {
            header: *frame.header(),
            unpacked: frame.bytes().len(),
            bytes: frame.bytes().clone(),
        }
    }
}
