//! Reading the frame of one offset.
//!
//! A read in order checks every frame that it passes. A look-up of one record cannot afford that:
//! from the index row before it, up to 64 KiB of frames, it goes by the frames' lengths and checks
//! only the frame that it came for. If that is not found so, the careful way through the segment
//! says what is the matter. A frame that is large is kept for the look-ups that follow (`kept.rs`).

use std::{io, sync::Arc};

use bytes::Bytes;

use super::{
    Cursor, Identity, LogReader, ReadError,
    kept::KeptFrame,
    read::{Place, Segment, lock},
};
use crate::{
    env::File,
    storage::{
        format::{
            frame::{self, Frame, Header},
            segment_file::{HEADER_BYTES, INDEX_INTERVAL_BYTES, IndexRow},
        },
        read_only::ReadOnly,
    },
    types::{Offset, RecordView, Records},
};

/// How much is read at once of a segment that is not mapped: what lies between two index rows, and a small
/// frame.
const WINDOW_BYTES: u64 = INDEX_INTERVAL_BYTES + (4 << 10);

/// A frame and one of its records.
pub(crate) struct FoundRecord {
    frame: Bytes,
    /// From the record's tag on.
    element: std::ops::Range<usize>,
    /// Where in the element the record's own encoding begins.
    encoded_at: usize,
}

impl FoundRecord {
    /// A record that lies by itself: tag, length, record.
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

    /// The record of a frame that has this element.
    pub(super) fn in_frame(frame: &Frame, element: std::ops::Range<usize>) -> Self {
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

    /// The same, without its frame, unless that is little more than the record: a slice of a frame
    /// keeps all of it, 16 MiB for some bytes.
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

    /// The record as one of a run: tag, length, record.
    pub(crate) fn element(&self) -> Bytes {
        self.frame.slice(self.element.clone())
    }

    /// The record's encoding.
    pub(crate) fn encoded(&self) -> Bytes {
        self.frame.slice(self.encoded_at..self.element.end)
    }

    /// The record.
    pub(crate) fn view(&self) -> RecordView<'_> {
        RecordView::parse(&self.frame[self.encoded_at..self.element.end])
            .expect("the frame's checksum was right, and the broker wrote it")
    }
}

impl LogReader<'_> {
    /// The record at an offset, trimmed or not; none if its segment has been removed, or it is not
    /// in its frame.
    pub(crate) fn record_at(&self, offset: Offset) -> Result<Option<FoundRecord>, ReadError> {
        let (identity, dir) = self.identity();
        if let Some(kept) = self.segments.kept_frame(identity, offset) {
            return Ok(kept.record(offset));
        }
        let changes = self.segments.changes();
        let Some(frame) = self.find_frame(offset)? else {
            return Ok(None);
        };
        let Some(large) = KeptFrame::of_large(&frame) else {
            return Ok(find_record(&frame, offset));
        };
        self.segments.keep_frame(&dir, &large, changes);
        Ok(large.record(offset))
    }

    /// The frame that holds an offset, trimmed or not; none if its segment has been removed.
    pub(crate) fn frame_at(&self, offset: Offset) -> Result<Option<Frame>, ReadError> {
        let (identity, _) = self.identity();
        match self.segments.kept_frame(identity, offset) {
            Some(kept) => Ok(Some(kept.frame().clone())),
            None => self.find_frame(offset),
        }
    }

    fn find_frame(&self, offset: Offset) -> Result<Option<Frame>, ReadError> {
        let place = lock(self.log).locate(offset, 1);
        let quick = match place {
            Ok(Place::Tail(frames)) => return Ok(frames.into_iter().next()),
            Ok(Place::Active(segment, rows)) => self.hop_active(&segment, &rows, offset),
            Ok(Place::Sealed(segment)) => self.hop_sealed(&segment, offset),
            Ok(Place::End) | Err(ReadError::BelowStart) => return Ok(None),
            Err(error) => return Err(error),
        };
        if let Ok(Some(frame)) = quick {
            return Ok(Some(frame));
        }
        match self.read_trimmed(&mut Cursor::new(offset), 1) {
            Ok(frames) => Ok(frames.into_iter().next()),
            Err(ReadError::BelowStart) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn hop_sealed(&self, segment: &Segment, offset: Offset) -> io::Result<Option<Frame>> {
        let open = self.open_sealed(segment)?;
        let position = row_before(
            open.rows.as_deref().unwrap_or_default(),
            segment.base,
            offset,
        );
        let (identity, _) = self.identity();
        match &open.content {
            ReadOnly::Mapped(bytes) => {
                let from = usize::try_from(position)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                Ok(hop(&bytes.slice(from..), identity, offset)
                    .and_then(|(frame, _)| Frame::decode(&frame)))
            }
            ReadOnly::Positioned(file, len) => hop_file(file, position, *len, identity, offset),
        }
    }

    fn hop_active(
        &self,
        segment: &Segment,
        rows: &[IndexRow],
        offset: Offset,
    ) -> io::Result<Option<Frame>> {
        let (identity, dir) = self.identity();
        let file = self.segments.active(&dir, segment.base)?;
        let position = row_before(rows, segment.base, offset);
        hop_file(&file, position, segment.bytes, identity, offset)
    }
}

/// Goes from frame to frame of a file that ends at `end`, as [`hop`] does.
fn hop_file(
    file: &Arc<dyn File>,
    position: u64,
    end: u64,
    identity: Identity,
    offset: Offset,
) -> io::Result<Option<Frame>> {
    let window = read_up_to(file, position, WINDOW_BYTES, end)?;
    let Some((frame, length)) = hop(&window, identity, offset) else {
        return Ok(None);
    };
    if frame.len() == length {
        return Ok(Frame::decode(&frame));
    }
    // The frame goes on behind the window.
    let at = position + (window.len() - frame.len()) as u64;
    let frame = read_up_to(file, at, length as u64, end)?;
    Ok(Frame::decode(&frame))
}

/// Where the frames begin that the last index row before an offset speaks of.
fn row_before(rows: &[IndexRow], base: Offset, offset: Offset) -> u64 {
    let relative = offset.0.saturating_sub(base.0);
    let behind = rows.partition_point(|row| u64::from(row.relative) <= relative);
    behind
        .checked_sub(1)
        .map_or(HEADER_BYTES, |at| u64::from(rows[at].position))
}

/// Goes from frame to frame by their lengths, up to the one with this offset: as much of it as is
/// there, and its length.
fn hop(bytes: &Bytes, identity: Identity, offset: Offset) -> Option<(Bytes, usize)> {
    let mut at = 0;
    loop {
        let (length, header) = Header::peek(bytes.get(at..)?)?;
        if header.topic != identity.topic
            || header.partition != identity.partition
            || header.base > offset
        {
            return None;
        }
        if offset < header.end() {
            return Some((bytes.slice(at..bytes.len().min(at + length)), length));
        }
        at += length;
    }
}

/// The record at an offset within a frame.
pub(crate) fn find_record(frame: &Frame, offset: Offset) -> Option<FoundRecord> {
    let header = frame.header();
    let records = frame.records();
    let found = |(element, _): (std::ops::Range<usize>, &[u8])| {
        FoundRecord::in_frame(
            frame,
            frame::HEADER_BYTES + element.start..frame::HEADER_BYTES + element.end,
        )
    };
    let mut elements = Records::new(&records).map_while(Result::ok);
    if header.count == header.span {
        let nth = usize::try_from(offset.0.checked_sub(header.base.0)?).ok()?;
        return elements.nth(nth).map(found);
    }
    let is_it = |(_, encoded): &(_, &[u8])| {
        RecordView::parse(encoded).is_ok_and(|record| record.offset == Some(offset.0))
    };
    elements.find(is_it).map(found)
}

fn read_up_to(file: &Arc<dyn File>, position: u64, wanted: u64, end: u64) -> io::Result<Bytes> {
    let len = wanted.min(end.saturating_sub(position));
    let len = usize::try_from(len).expect("a window or a frame");
    Ok(file.read_vec_at(position, len)?.into())
}
