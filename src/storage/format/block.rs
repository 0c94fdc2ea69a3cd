//! Compressed blocks: frames of a sealed segment that lie one behind the other, compressed as one.
//!
//! Frames are as small as what was appended at a time, and small pieces compress badly, so several
//! of them share a block. A block begins as a frame does (`frame.rs`): whoever steps from frame to
//! frame by their lengths steps over it, and finds the next one behind damage in the same way. What
//! comes out of it are the frames, byte for byte.
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
//! A version that knows no blocks takes this flag for damage. So that none comes to see one, a
//! directory says in its own file that it may have blocks (`identity.rs`).

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

/// Frames are put into one block up to so many bytes. With more of them a point read takes longer:
/// it takes apart a whole block, 64 KiB in about 40 us. With less, records of 200 bytes compress to
/// 19 % instead of 17.5 %. A larger frame is a block of its own.
pub(crate) const BLOCK_BYTES: usize = 64 << 10;

/// It is a block, and no frame.
const COMPRESSED: u32 = 2;

/// What is worth compressing becomes smaller by an eighth at least. What does not is stored as it
/// is: it costs nothing to read then.
const WORTH: usize = 8;

/// A block that was taken apart.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    place: Place,
    /// The frames, one behind the other.
    frames: Bytes,
}

/// What a segment consists of: a frame, or a block of several.
pub(crate) struct Unit {
    /// What an index has to know of it: of a block, what its frames say together.
    pub(crate) header: Header,
    pub(crate) bytes: Bytes,
    /// How many bytes the frames have.
    pub(crate) unpacked: usize,
}

/// Puts frames into blocks.
pub(crate) struct BlockWriter {
    encoder: Encoder,
    /// What the next block will have.
    frames: Vec<Frame>,
    bytes: usize,
}

/// Whether a header is that of a block.
pub(crate) fn is_block(header: &[u8]) -> bool {
    header.get(68..72) == Some(&COMPRESSED.to_le_bytes())
}

/// Where a block lies and how many records it has, which nobody has checked; none of what is no
/// block.
pub(crate) fn peek(bytes: &[u8]) -> Option<(Place, u32)> {
    let place = Place::peek(bytes).filter(|_| is_block(bytes))?;
    let records = Fields(bytes.get(20..24)?).u32()?;
    Some((place, records))
}

/// How many bytes the frames of a block have, which nobody has checked.
pub(crate) fn unpacked_len(header: &[u8]) -> Option<usize> {
    let mut fields = Fields(header.get(48..52)?);
    usize::try_from(fields.u32()?).ok()
}

impl Block {
    /// Takes the block at the front of `bytes` apart; none if there is none, or it is damaged.
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

    /// Whether there are so many frames of the partition that cover its offsets.
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

    /// How many bytes its frames have.
    pub(crate) fn unpacked(&self) -> usize {
        self.frames.len()
    }

    /// The frame at this place among the frames, checked.
    pub(crate) fn frame(&self, at: usize) -> Option<Frame> {
        Frame::decode(&self.frames.slice(at.min(self.frames.len())..))
    }

    /// The frame with an offset, without the others.
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

    /// Takes the next frame; adds what is complete.
    pub(crate) fn take(&mut self, frame: Frame, out: &mut Vec<Unit>) {
        let length = frame.bytes().len();
        let fits = self.bytes + length <= BLOCK_BYTES && self.goes_on_with(&frame);
        if !fits {
            self.finish(out);
        }
        self.bytes += length;
        self.frames.push(frame);
    }

    /// Whether the frame goes on where the last one ends.
    fn goes_on_with(&self, frame: &Frame) -> bool {
        let (Some(first), Some(last)) = (self.frames.first(), self.frames.last()) else {
            return true;
        };
        let base = first.header().base;
        last.header().end() == frame.header().base && span(base, frame.header()).is_some()
    }

    /// Adds the block that is not complete yet.
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

/// What frames that follow each other say together; there is one at least.
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

/// How many offsets there are from `base` to where a frame ends.
fn span(base: Offset, frame: &Header) -> Option<u32> {
    u32::try_from(frame.end().0 - base.0).ok()
}

/// A block, complete.
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
    /// A frame as it is.
    pub(crate) fn of(frame: Frame) -> Self {
        Self {
            header: *frame.header(),
            unpacked: frame.bytes().len(),
            bytes: frame.bytes().clone(),
        }
    }
}
