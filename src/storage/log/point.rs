//! Reading the frame of a single offset.
//!
//! A sequential read checks every frame that it passes. A look-up of one record cannot afford that:
//! it starts at the index row before the offset, steps over up to 8 KiB of frames by their lengths,
//! and checks only the frame that it came for. If that fails, a careful read through the segment
//! finds out why. Large frames are kept in memory for the next look-ups (`kept.rs`).

use std::{io, ops::Range, sync::Arc};

use bytes::Bytes;

use super::{
    Cursor, Identity, LogReader, ReadError, View,
    index::SPARSE_BYTES,
    kept::{KeptFrame, Written},
    read::{Enough, Growing, Place},
    segment::Segment,
};
use crate::{
    env::File,
    storage::{
        format::{
            block::{self, Block},
            frame::{self, Frame},
        },
        keys::hash::KeyHasher,
        read_only::ReadOnly,
    },
    types::{Offset, RecordView, Records},
};

/// How much is read of a segment that is not mapped, beyond the distance of two index rows: room
/// for a small frame.
const BESIDE_BYTES: u64 = 4 << 10;

/// Enough for one frame.
const ONE: Enough = Enough {
    bytes: 1,
    records: 1,
};

/// A frame and one of its records.
pub(crate) struct FoundRecord {
    pub(super) frame: Bytes,
    /// The range of the record's element in the frame, from the tag on.
    element: Range<usize>,
    /// Where the record's own encoding begins in the frame.
    encoded_at: usize,
}

impl FoundRecord {
    /// A record on its own: tag, length and record.
    pub(crate) fn from_element(element: Vec<u8>) -> Self {
        let encoded = Records::new(&element)
            .next()
            .and_then(Result::ok)
            .map_or(0, |(_, encoded)| encoded.len());
        Self {
            element: 0..element.len(),
            encoded_at: element.len() - encoded,
            frame: element.into(),
        }
    }

    /// The record at this range of a frame's records.
    pub(super) fn in_frame(frame: &Frame, element: Range<usize>) -> Self {
        let bytes = frame.bytes();
        let mut records = Records::new(&bytes[element.clone()]);
        let encoded = records
            .next()
            .and_then(Result::ok)
            .map_or(0, |(_, encoded)| encoded.len());
        Self {
            frame: bytes.clone(),
            encoded_at: element.end - encoded,
            element,
        }
    }

    /// This record without its frame, unless the frame is little more than the record. Otherwise a
    /// few bytes would keep a frame of up to 16 MiB in memory.
    pub(crate) fn by_itself(self) -> Self {
        if self.element.len() > self.frame.len() / 2 {
            return self;
        }
        Self {
            frame: Bytes::copy_from_slice(&self.frame[self.element.clone()]),
            encoded_at: self.encoded_at - self.element.start,
            element: 0..self.element.len(),
        }
    }

    /// The record as it stands in a run of records: tag, length, record.
    pub(crate) fn element(&self) -> Bytes {
        self.frame.slice(self.element.clone())
    }

    /// The record's encoding.
    pub(crate) fn encoded(&self) -> Bytes {
        self.frame.slice(self.encoded_at..self.element.end)
    }

    /// The record, parsed.
    pub(crate) fn view(&self) -> RecordView<'_> {
        RecordView::parse(&self.frame[self.encoded_at..self.element.end])
            .expect("the frame's checksum was right, and the broker wrote it")
    }
}

/// A frame in which a record is to be found.
enum FoundFrame {
    Small(Frame),
    Large(Arc<KeptFrame>),
}

/// The result of the quick way to a frame.
enum Seek {
    Found(FoundFrame),
    /// No sound frame with the offset was found on the quick way.
    NotFound,
}

impl LogReader<'_> {
    /// The record at an offset, trimmed or not; `None` if its segment was removed, or its frame
    /// does not have it.
    pub(crate) fn record_at(&self, offset: Offset) -> Result<Option<FoundRecord>, ReadError> {
        let (_, place) = self.log.locate(offset, ONE);
        let found = self.frame_in(place, offset)?;
        Ok(found.and_then(|frame| frame.record(offset)))
    }

    /// The record at an offset, as [`record_at`](Self::record_at) finds it, in `view` if its
    /// segments reach that far, else in the log as it is now.
    pub(crate) fn record_in(
        &self,
        view: &View,
        offset: Offset,
    ) -> Result<Option<FoundRecord>, ReadError> {
        let Some(sealed) = view.find(offset) else {
            return self.record_at(offset);
        };
        let found = self.frame_in(Ok(Place::Sealed(sealed.clone())), offset)?;
        Ok(found.and_then(|frame| frame.record(offset)))
    }

    /// Calls a function on the record at an offset without checking its frame. `None` if the record
    /// cannot be reached that quickly.
    pub(crate) fn glance<T>(
        &self,
        view: &View,
        offset: Offset,
        look: impl FnOnce(&RecordView<'_>) -> T,
    ) -> Option<T> {
        let segment = &view.find(offset)?.segment;
        let content = self.segments.sealed(segment).ok()?;
        let ReadOnly::Mapped(bytes) = &content.bytes else {
            return None;
        };
        let from = usize::try_from(content.stretch_of(segment, offset).start).ok()?;
        let frame = bytes.get(seek(bytes, from, segment.identity(), offset)?)?;
        if block::is_block(frame) || KeptFrame::is_large(frame.len()) {
            return None;
        }
        let (_, header) = frame::Header::peek(frame)?;
        let (_, encoded) = find_in(&frame[frame::HEADER_BYTES..], &header, offset)?;
        Some(look(&RecordView::parse(encoded).ok()?))
    }

    /// The record at an offset as readers may see it; `None` if it was trimmed, or its frame does
    /// not have it.
    pub(crate) fn shown_record_at(
        &self,
        offset: Offset,
        hasher: &KeyHasher,
    ) -> Result<Option<FoundRecord>, ReadError> {
        let (view, place) = self.log.locate(offset, ONE);
        if offset < view.start {
            return Ok(None);
        }
        let found = self.frame_in(place, offset)?;
        let record = found.and_then(|frame| frame.record(offset));
        Ok(record.and_then(|record| view.hidden.hide(hasher, record)))
    }

    /// The frame that covers an offset, trimmed or not; `None` if its segment was removed.
    pub(crate) fn frame_at(&self, offset: Offset) -> Result<Option<Frame>, ReadError> {
        let (_, place) = self.log.locate(offset, ONE);
        let found = self.frame_in(place, offset)?;
        Ok(found.map(|frame| frame.frame().clone()))
    }

    /// The frame that covers an offset, given where the offset is.
    fn frame_in(
        &self,
        place: Result<Place, ReadError>,
        offset: Offset,
    ) -> Result<Option<FoundFrame>, ReadError> {
        let place = match place {
            Ok(Place::End) | Err(ReadError::BelowStart) => return Ok(None),
            place => place?,
        };
        let seek = match &place {
            Place::Growing(growing) => self.seek_growing(growing, offset),
            Place::Sealed(sealed) => self.seek_sealed(&sealed.segment, offset),
            Place::End | Place::Tail(_) => Ok(Seek::NotFound),
        };
        if let Ok(Seek::Found(found)) = seek {
            return Ok(Some(found));
        }
        let frames = self.read_place(&place, &mut Cursor::new(offset), ONE)?;
        let written = match &place {
            Place::Sealed(sealed) => sealed.segment.written(),
            Place::End | Place::Tail(_) | Place::Growing(_) => Written::First,
        };
        // Frames behind it may be in the same buffer.
        let together = frames.iter().map(|frame| frame.bytes().len()).sum();
        let frame = frames.into_iter().next();
        let frame = frame.map(|frame| frame.without_others(together));
        Ok(frame.map(|frame| self.look_into(written, frame)))
    }

    /// Keeps the frame, with the positions of its records, if it is large.
    fn look_into(&self, written: Written, frame: Frame) -> FoundFrame {
        let header = frame.header();
        let identity = Identity {
            topic: header.topic,
            partition: header.partition,
        };
        if !KeptFrame::is_large(frame.bytes().len()) {
            return FoundFrame::Small(frame);
        }
        if let Some(kept) = self.segments.kept_frame(identity, written, header.base) {
            return FoundFrame::Large(kept);
        }
        let kept = KeptFrame::new(frame);
        self.segments.keep_frame(written, &kept);
        FoundFrame::Large(kept)
    }

    fn seek_sealed(&self, segment: &Arc<Segment>, offset: Offset) -> io::Result<Seek> {
        let content = self.segments.sealed(segment)?;
        let stretch = content.stretch_of(segment, offset);
        match &content.bytes {
            ReadOnly::Mapped(bytes) => {
                let from = usize::try_from(stretch.start).unwrap_or(usize::MAX);
                Ok(self.seek_mapped(segment, bytes, from, offset))
            }
            ReadOnly::Positioned(file, len) => {
                let first = stretch.end - stretch.start;
                self.hop_file(segment, file, stretch.start..*len, first, offset)
            }
        }
    }

    fn seek_mapped(&self, segment: &Segment, bytes: &Bytes, from: usize, offset: Offset) -> Seek {
        let Some(frame) = seek(bytes, from, segment.identity(), offset) else {
            return Seek::NotFound;
        };
        if is_large(bytes.get(frame.start..))
            && let Some(kept) = self.kept_frame(segment, offset)
        {
            return Seek::Found(FoundFrame::Large(kept));
        }
        if frame.end > bytes.len() {
            return Seek::NotFound;
        }
        self.decode(segment, &bytes.slice(frame), offset)
    }

    fn seek_growing(&self, growing: &Growing, offset: Offset) -> io::Result<Seek> {
        let segment = &growing.segment;
        let file = self.segments.growing(segment)?;
        let part = growing.position..growing.bytes;
        self.hop_file(segment, &file, part, SPARSE_BYTES, offset)
    }

    /// Seeks in a part of a file, as [`seek`] does in memory. The frame should begin within its
    /// first `first` bytes.
    fn hop_file(
        &self,
        segment: &Segment,
        file: &Arc<dyn File>,
        part: Range<u64>,
        first: u64,
        offset: Offset,
    ) -> io::Result<Seek> {
        if let Some(kept) = self.kept_frame(segment, offset) {
            return Ok(Seek::Found(FoundFrame::Large(kept)));
        }
        let window = read_up_to(file, part.start, first + BESIDE_BYTES, part.end)?;
        let Some(frame) = seek(&window, 0, segment.identity(), offset) else {
            return Ok(Seek::NotFound);
        };
        if frame.end <= window.len() {
            return Ok(self.decode(segment, &window.slice(frame), offset));
        }
        // The frame is longer than the bytes that were read.
        let at = part.start + frame.start as u64;
        let bytes = read_up_to(file, at, frame.len() as u64, part.end)?;
        Ok(self.decode(segment, &bytes, offset))
    }

    fn kept_frame(&self, segment: &Segment, offset: Offset) -> Option<Arc<KeptFrame>> {
        self.segments
            .kept_frame(segment.identity(), segment.written(), offset)
    }

    fn decode(&self, segment: &Segment, bytes: &Bytes, offset: Offset) -> Seek {
        let frame = match block::is_block(bytes) {
            true => Block::open(bytes).and_then(|block| block.frame_with(offset)),
            false => Frame::decode(bytes),
        };
        match frame {
            Some(frame) => Seek::Found(self.look_into(segment.written(), frame)),
            None => Seek::NotFound,
        }
    }
}

impl FoundFrame {
    fn frame(&self) -> &Frame {
        match self {
            Self::Small(frame) => frame,
            Self::Large(kept) => kept.frame(),
        }
    }

    fn record(&self, offset: Offset) -> Option<FoundRecord> {
        match self {
            Self::Small(frame) => find_record(frame, offset),
            Self::Large(kept) => kept.record(offset),
        }
    }
}

/// Whether the frame or the block with this header is large enough to be kept.
fn is_large(header: Option<&[u8]>) -> bool {
    let header = header.unwrap_or_default();
    let length = match block::is_block(header) {
        true => block::unpacked_len(header),
        false => frame::Place::peek(header).map(|place| place.length),
    };
    length.is_some_and(KeptFrame::is_large)
}

/// Steps from frame to frame by their lengths, beginning at `from`, to the frame with this offset.
/// Returns the frame's range; only its header must be in `bytes`.
fn seek(bytes: &[u8], from: usize, identity: Identity, offset: Offset) -> Option<Range<usize>> {
    let mut at = from;
    loop {
        let place = frame::Place::peek(bytes.get(at..)?)?;
        if place.topic != identity.topic
            || place.partition != identity.partition
            || place.base > offset
        {
            return None;
        }
        if offset < place.end {
            return Some(at..at + place.length);
        }
        at += place.length;
    }
}

/// Finds the record at an offset in a frame.
pub(crate) fn find_record(frame: &Frame, offset: Offset) -> Option<FoundRecord> {
    let records = frame.records();
    let (element, encoded) = find_in(&records, frame.header(), offset)?;
    let element = frame::HEADER_BYTES + element.start..frame::HEADER_BYTES + element.end;
    Some(FoundRecord {
        frame: frame.bytes().clone(),
        encoded_at: element.end - encoded.len(),
        element,
    })
}

/// Finds the record at an offset among a frame's records: the range of its element, and its
/// encoding.
fn find_in<'r>(
    records: &'r [u8],
    header: &frame::Header,
    offset: Offset,
) -> Option<(Range<usize>, &'r [u8])> {
    let mut elements = Records::new(records).map_while(Result::ok);
    if header.count == header.span {
        let nth = usize::try_from(offset.0.checked_sub(header.base.0)?).ok()?;
        return elements.nth(nth);
    }
    elements.find(|(_, encoded)| {
        RecordView::parse(encoded).is_ok_and(|record| record.offset == Some(offset.0))
    })
}

fn read_up_to(file: &Arc<dyn File>, position: u64, wanted: u64, end: u64) -> io::Result<Bytes> {
    let len = wanted.min(end.saturating_sub(position));
    let len = usize::try_from(len).expect("a window or a frame");
    Ok(file.read_vec_at(position, len)?.into())
}
