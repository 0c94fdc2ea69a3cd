//! Packs what compaction keeps of many frames into fewer frames.
//!
//! A frame covers all of its offsets, even those whose records are gone, and so does a frame that
//! is made of several. Readers therefore go from frame to frame without a gap, and a gap always
//! means damage. Where nothing is kept, a single header is left of any number of frames.

use std::ops::Range;

use bytes::BytesMut;

use super::frame::{Frame, HEADER_BYTES, Header};

/// Records of several frames are packed into one up to this size. A point read checks and walks
/// through one frame: a larger bound would make it slow, and a smaller one would leave more bytes
/// to headers.
pub(crate) const PACKED_BYTES: usize = 16 << 10;

/// The state of a frame's tombstones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tombstones {
    /// The frame has no tombstones.
    None,
    /// The tombstones have not been compacted yet.
    New,
    /// The tombstones were first compacted at this time, in milliseconds since 1970.
    Since(i64),
}

/// What is kept of a frame.
#[derive(Debug)]
pub(crate) struct Kept {
    /// The byte ranges of its records that stay.
    pub(crate) parts: Vec<Range<usize>>,
    /// How many records stay.
    pub(crate) count: u32,
    /// The latest timestamp of the records that stay.
    pub(crate) latest_timestamp_ms: i64,
    pub(crate) tombstones: Tombstones,
}

/// Packs frames, which must come in the order of their offsets.
#[derive(Default)]
pub(crate) struct Packer {
    open: Option<Open>,
}

/// A frame that more may be added to.
struct Open {
    header: Header,
    tombstones: Tombstones,
    bytes: BytesMut,
}

impl Kept {
    /// Whether the whole frame is kept.
    pub(crate) fn is_all_of(&self, frame: &Frame) -> bool {
        self.count == frame.header().count
            && self.tombstones.since_ms() == frame.header().tombstones_since_ms
    }

    fn bytes(&self) -> usize {
        self.parts.iter().map(Range::len).sum()
    }
}

impl Tombstones {
    fn since_ms(self) -> Option<i64> {
        match self {
            Self::None | Self::New => None,
            Self::Since(since_ms) => Some(since_ms),
        }
    }

    /// The state of one frame with the tombstones of two; `None` if one frame cannot express both.
    fn with(self, other: Self) -> Option<Self> {
        match (self, other) {
            (Self::None, other) | (other, Self::None) => Some(other),
            (one, other) => (one == other).then_some(one),
        }
    }
}

impl Packer {
    /// Takes what is kept of the next frame, and adds completed frames to `out`.
    pub(crate) fn take(&mut self, frame: &Frame, kept: &Kept, out: &mut Vec<Frame>) {
        if kept.is_all_of(frame) && kept.bytes() >= PACKED_BYTES {
            self.finish(out);
            out.push(frame.clone());
            return;
        }
        let takes = self
            .open
            .as_mut()
            .is_some_and(|open| open.take(frame, kept));
        if !takes {
            self.finish(out);
            self.open = Some(Open::new(frame, kept));
        }
    }

    /// Adds the last frame to `out`.
    pub(crate) fn finish(&mut self, out: &mut Vec<Frame>) {
        if let Some(open) = self.open.take() {
            let header = Header {
                tombstones_since_ms: open.tombstones.since_ms(),
                ..open.header
            };
            out.push(Frame::seal(header, open.bytes));
        }
    }
}

impl Open {
    fn new(frame: &Frame, kept: &Kept) -> Self {
        let mut open = Self {
            header: Header {
                count: kept.count,
                latest_timestamp_ms: kept.latest_timestamp_ms,
                // The frame may now have records of several batches, or only a part of one.
                batch: None,
                ..*frame.header()
            },
            tombstones: kept.tombstones,
            bytes: BytesMut::zeroed(HEADER_BYTES),
        };
        open.add(frame, kept);
        open
    }

    /// Adds what is kept of the next frame, if it fits; returns whether it did.
    fn take(&mut self, frame: &Frame, kept: &Kept) -> bool {
        let (own, other) = (&self.header, frame.header());
        let is_behind = own.end() == other.base;
        let fits = self.bytes.len() + kept.bytes() <= HEADER_BYTES + PACKED_BYTES;
        let span = own.span.checked_add(other.span);
        let tombstones = self.tombstones.with(kept.tombstones);
        let (Some(span), Some(tombstones), true, true) = (span, tombstones, is_behind, fits) else {
            return false;
        };
        self.header = Header {
            count: own.count + kept.count,
            append_time_ms: own.append_time_ms.max(other.append_time_ms),
            latest_timestamp_ms: own.latest_timestamp_ms.max(kept.latest_timestamp_ms),
            span,
            ..*own
        };
        self.tombstones = tombstones;
        self.add(frame, kept);
        true
    }

    fn add(&mut self, frame: &Frame, kept: &Kept) {
        let records = frame.records();
        for part in &kept.parts {
            self.bytes.extend_from_slice(&records[part.clone()]);
        }
    }
}
