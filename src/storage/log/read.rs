//! Reading a log by offset.
//!
//! Sealed segments are found in the view, without a lock. What lies behind them is located under
//! the log's lock; reading and checking the bytes needs no lock.

use std::{io, num::NonZeroU32, sync::Arc};

use arc_swap::Guard;

use super::{
    Active, Hidden, Log, LogLock, OpenSegments,
    segment::Segment,
    view::{Sealed, View},
    walk::{Source, Walk},
};
use crate::{
    storage::{
        fault::{self, Meaning},
        files::{Action, FileError},
        format::{frame::Frame, segment_file::HEADER_BYTES},
    },
    types::Offset,
};

/// Where a reader is in a log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor {
    /// The offset to read next.
    pub(crate) next: Offset,
    /// The position to continue at, if the last read was from a file.
    hint: Option<Hint>,
}

/// A position in a segment where a frame or block begins, at or before the next offset to read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hint {
    /// The segment's name.
    pub(super) base: Offset,
    pub(super) revision: u32,
    pub(super) position: NonZeroU32,
    /// The frames before it were in blocks, so the file does not have their bytes as they are.
    pub(super) is_compressed: bool,
}

/// Why an offset cannot be read.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// The record has been trimmed.
    BelowStart,
    /// The records from `from` up to `to` are damaged or missing.
    Damaged {
        from: Offset,
        to: Offset,
        cause: String,
    },
    /// The storage cannot be read at the moment; nothing says that it is damaged.
    Unavailable(FileError),
}

/// When a read has enough: it takes at least one frame, and stops when it reaches one of these
/// bounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Enough {
    pub(crate) bytes: usize,
    pub(crate) records: u64,
}

/// Reads a log.
pub(crate) struct LogReader<'a> {
    pub(crate) log: &'a LogLock,
    pub(crate) segments: &'a OpenSegments,
    /// Whether it can wait, and leaves the disk to others. See [`Walk::patient`].
    pub(crate) is_patient: bool,
}

/// Where an offset is.
pub(super) enum Place {
    End,
    Tail(Vec<Frame>),
    Growing(Growing),
    /// In a sealed segment of the view.
    Sealed(Sealed),
}

/// A growing segment, up to its current end.
pub(super) struct Growing {
    pub(super) segment: Arc<Segment>,
    pub(super) end: Offset,
    pub(super) bytes: u64,
    /// Where to start searching.
    pub(super) position: u64,
}

/// The segment that frames are collected from.
struct From<'a> {
    segment: &'a Segment,
    end: Offset,
    /// Where to start searching.
    position: u64,
}

/// What has been read so far.
#[derive(Default)]
struct Taken {
    bytes: usize,
    records: u64,
}

impl Taken {
    /// Counts a frame, whose records from an offset on are wanted.
    fn add(&mut self, frame: &Frame, from: Offset) {
        let header = frame.header();
        let wanted = header.end().0.saturating_sub(from.0);
        self.bytes += frame.bytes().len();
        self.records += wanted.min(u64::from(header.count));
    }

    fn is(&self, enough: Enough) -> bool {
        self.bytes >= enough.bytes || self.records >= enough.records
    }
}

impl Enough {
    /// A bound of about this many bytes.
    pub(crate) fn of_bytes(bytes: usize) -> Self {
        let records = u64::MAX;
        Self { bytes, records }
    }
}

impl Cursor {
    pub(crate) fn new(next: Offset) -> Self {
        Self { next, hint: None }
    }

    /// The cursor's position in a file, if the last read was from one.
    pub(super) fn in_file(&self) -> Option<Hint> {
        self.hint
    }
}

impl LogReader<'_> {
    /// Reads frames from the cursor on: about `max_bytes`, and at least one, unless the cursor is
    /// at the high watermark. The first frame may begin before the cursor. Moves the cursor behind
    /// the last one.
    pub(crate) fn read(
        &self,
        cursor: &mut Cursor,
        max_bytes: usize,
    ) -> Result<Vec<Frame>, ReadError> {
        self.read_with_hidden(cursor, Enough::of_bytes(max_bytes))
            .map(|(frames, _)| frames)
    }

    /// As [`read`](Self::read), until there is `enough`. Also returns what must be hidden from
    /// readers in these frames.
    pub(crate) fn read_with_hidden(
        &self,
        cursor: &mut Cursor,
        enough: Enough,
    ) -> Result<(Vec<Frame>, Hidden), ReadError> {
        let (view, place) = self.log.locate(cursor.next, enough);
        if cursor.next < view.start {
            return Err(ReadError::BelowStart);
        }
        let frames = self.read_place(&place?, cursor, enough)?;
        Ok((frames, view.hidden.clone()))
    }

    /// Whether all frames from `from` up to `to` are in memory, and take no more than `bytes`.
    pub(crate) fn has_in_memory(&self, from: Offset, to: Offset, bytes: usize) -> bool {
        self.log.view().find(from).is_none() && self.log.lock().has_in_tail(from, to, bytes)
    }

    /// As [`read`](Self::read), but reads trimmed records too if they are not removed yet: for the
    /// broker's own bookkeeping.
    pub(crate) fn read_trimmed(
        &self,
        cursor: &mut Cursor,
        max_bytes: usize,
    ) -> Result<Vec<Frame>, ReadError> {
        let enough = Enough::of_bytes(max_bytes);
        let (_, place) = self.log.locate(cursor.next, enough);
        self.read_place(&place?, cursor, enough)
    }

    /// Reads frames from the cursor on, given where it is.
    pub(super) fn read_place(
        &self,
        place: &Place,
        cursor: &mut Cursor,
        enough: Enough,
    ) -> Result<Vec<Frame>, ReadError> {
        let frames = match place {
            Place::End => Vec::new(),
            Place::Tail(frames) => {
                cursor.hint = None;
                frames.clone()
            }
            Place::Growing(growing) => self.read_growing(cursor, growing, enough)?,
            Place::Sealed(sealed) => self.read_sealed(cursor, sealed, enough)?,
        };
        if let Some(last) = frames.last() {
            cursor.next = last.header().end();
        }
        Ok(frames)
    }

    fn read_growing(
        &self,
        cursor: &mut Cursor,
        growing: &Growing,
        enough: Enough,
    ) -> Result<Vec<Frame>, ReadError> {
        let segment = &growing.segment;
        let file = self
            .segments
            .growing(segment)
            .map_err(|error| unreadable(segment, cursor.next..growing.end, error))?;
        let from = From {
            segment,
            end: growing.end,
            position: cursor.position_in(segment).unwrap_or(growing.position),
        };
        from.collect(cursor, enough, |position| {
            segment.walk(Source::File(file.clone()), growing.bytes, position)
        })
    }

    fn read_sealed(
        &self,
        cursor: &mut Cursor,
        sealed: &Sealed,
        enough: Enough,
    ) -> Result<Vec<Frame>, ReadError> {
        let segment = &sealed.segment;
        let content = self
            .segments
            .sealed(segment)
            .map_err(|error| unreadable(segment, cursor.next..sealed.end, error))?;
        let from = From {
            segment,
            end: sealed.end,
            position: cursor
                .position_in(segment)
                .unwrap_or_else(|| content.stretch_of(segment, cursor.next).start),
        };
        from.collect(cursor, enough, |position| {
            let walk = content.walk(segment, position);
            if self.is_patient {
                walk.patient()
            } else {
                walk
            }
        })
    }
}

impl From<'_> {
    /// Collects frames, starting where the index says. If that seems damaged, it starts again at
    /// the segment's beginning, because an index is never trusted over the log.
    fn collect(
        &self,
        cursor: &mut Cursor,
        enough: Enough,
        walk_from: impl Fn(u64) -> Walk,
    ) -> Result<Vec<Frame>, ReadError> {
        match self.collect_from(cursor, walk_from(self.position), enough) {
            Err(ReadError::Damaged { .. }) if self.position > HEADER_BYTES => {
                self.collect_from(cursor, walk_from(0), enough)
            }
            collected => collected,
        }
    }

    /// Collects the frames from the cursor on. A gap or damage before the first of them is an
    /// error; behind the first, the read ends there.
    fn collect_from(
        &self,
        cursor: &mut Cursor,
        mut walk: Walk,
        enough: Enough,
    ) -> Result<Vec<Frame>, ReadError> {
        let unreadable = |next, error| unreadable(self.segment, next..self.end, error);
        let (mut frames, mut taken) = (Vec::new(), Taken::default());
        let mut next = cursor.next;
        // A block is read to its end, because the next read would have to decompress it again.
        while (frames.is_empty() || !taken.is(enough) || walk.is_in_block()) && !walk.at_end() {
            match take_frame(&mut walk, next) {
                Ok(Some(frame)) if frame.header().base <= next => {
                    taken.add(&frame, next);
                    next = frame.header().end();
                    frames.push(frame);
                }
                Ok(Some(frame)) if frames.is_empty() => match closest_frame(&mut walk, next, frame)
                {
                    Ok(frame) if frame.header().base <= next => {
                        taken.add(&frame, next);
                        next = frame.header().end();
                        frames.push(frame);
                    }
                    Ok(frame) => return Err(damaged(next, frame.header().base, "wrong checksum")),
                    Err(error) => return Err(unreadable(next, error)),
                },
                Ok(_) => break,
                Err(error) if frames.is_empty() => return Err(unreadable(next, error)),
                Err(_) => break,
            }
        }
        if frames.is_empty() {
            return Err(damaged(next, self.end, "wrong checksum or missing bytes"));
        }
        let position = u32::try_from(walk.position()).ok();
        let name = self.segment.name();
        cursor.hint = position.and_then(NonZeroU32::new).map(|position| Hint {
            base: name.base(),
            revision: name.revision(),
            position,
            is_compressed: walk.has_opened_blocks(),
        });
        Ok(frames)
    }
}

/// The error for offsets that could not be read: they are lost, or cannot be read at the moment,
/// depending on the I/O error.
pub(super) fn unreadable(
    segment: &Segment,
    offsets: std::ops::Range<Offset>,
    error: io::Error,
) -> ReadError {
    match fault::of_reading(&error) {
        Meaning::Damage => damaged(offsets.start, offsets.end, &error.to_string()),
        Meaning::Passing | Meaning::Fatal => {
            ReadError::Unavailable(FileError::when(Action::Read, &segment.path())(error))
        }
    }
}

impl Cursor {
    /// The cursor's position in this segment, if the last read was from there.
    fn position_in(&self, segment: &Segment) -> Option<u64> {
        let name = segment.name();
        let hint = self
            .hint
            .filter(|hint| hint.base == name.base() && hint.revision == name.revision())?;
        Some(u64::from(hint.position.get()))
    }
}

impl LogLock {
    /// Where an offset is, and the view in which it is there.
    pub(super) fn locate(
        &self,
        next: Offset,
        enough: Enough,
    ) -> (Guard<Arc<View>>, Result<Place, ReadError>) {
        let view = self.view();
        if let Some(sealed) = view.find(next) {
            let place = Place::Sealed(sealed.clone());
            return (view, Ok(place));
        }
        let log = self.lock();
        // The view is taken again, because frames behind the sealed segments may have been sealed
        // meanwhile.
        let view = self.view();
        let place = log.locate(&view, next, enough);
        (view, place)
    }
}

impl Log {
    fn locate(&self, view: &View, next: Offset, enough: Enough) -> Result<Place, ReadError> {
        if next >= self.end {
            return Ok(Place::End);
        }
        if let Some(sealed) = view.find(next) {
            return Ok(Place::Sealed(sealed.clone()));
        }
        if self
            .tail
            .front()
            .is_some_and(|first| first.frame.header().base <= next)
        {
            return self.locate_in_tail(view, next, enough);
        }
        if let (Some(active), Some(segment)) = (&self.active, &view.growing)
            && active.base <= next
        {
            if next < active.end {
                return Ok(Place::Growing(Growing {
                    segment: Arc::clone(segment),
                    end: active.end,
                    bytes: active.bytes,
                    position: active.position_before(next),
                }));
            }
            return Err(self.hole(view, next));
        }
        if next < view.start {
            return Err(ReadError::BelowStart);
        }
        Err(self.hole(view, next))
    }

    fn locate_in_tail(
        &self,
        view: &View,
        next: Offset,
        enough: Enough,
    ) -> Result<Place, ReadError> {
        let at = self
            .tail
            .partition_point(|tailed| tailed.frame.header().end() <= next);
        let mut frames = Vec::new();
        let (mut taken, mut expected) = (Taken::default(), next);
        for tailed in self.tail.range(at..) {
            let header = tailed.frame.header();
            if (!frames.is_empty() && taken.is(enough)) || header.base > expected {
                break;
            }
            taken.add(&tailed.frame, expected);
            expected = header.end();
            frames.push(tailed.frame.clone());
        }
        if frames.is_empty() {
            Err(self.hole(view, next))
        } else {
            Ok(Place::Tail(frames))
        }
    }

    fn has_in_tail(&self, from: Offset, to: Offset, most: usize) -> bool {
        let first = self.tail.front().map(|first| first.frame.header().base);
        if first.is_none_or(|first| first > from) {
            return false;
        }
        let at = self
            .tail
            .partition_point(|tailed| tailed.frame.header().end() <= from);
        let mut bytes = 0;
        for tailed in self.tail.range(at..) {
            if tailed.frame.header().base >= to {
                break;
            }
            bytes += tailed.frame.bytes().len();
            if bytes > most {
                return false;
            }
        }
        true
    }

    /// The error for offsets that are in no place: the records from `next` to where the log
    /// continues are lost.
    fn hole(&self, view: &View, next: Offset) -> ReadError {
        let sealed = view.sealed.iter().map(Sealed::base);
        let active = self.active.iter().map(|active| active.base);
        let tail = self.tail.iter().map(|tailed| tailed.frame.header().base);
        let to = sealed
            .chain(active)
            .chain(tail)
            .find(|base| *base > next)
            .unwrap_or(self.end);
        damaged(next, to, "missing")
    }
}

impl Active {
    /// Where in the file to start searching for an offset.
    fn position_before(&self, offset: Offset) -> u64 {
        let row = self.rows.before(offset.0 - self.base.0);
        row.map_or(HEADER_BYTES, |row| u64::from(row.position))
    }
}

/// The next sound frame that ends behind `next`; steps over damage. `None` at the segment's end. If
/// the frame begins behind `next`, the records between are lost, and the walk stays before the
/// frame.
///
/// Frames that are only passed are checked too, because a damaged length would lead past sound
/// frames. With an index, at most 64 KiB are passed, which takes some microseconds.
fn take_frame(walk: &mut Walk, next: Offset) -> io::Result<Option<Frame>> {
    while !walk.at_end() {
        match walk.frame()? {
            Some(frame) if frame.header().base > next => return Ok(Some(frame)),
            Some(frame) => {
                walk.skip(frame.bytes().len());
                if frame.header().end() > next {
                    return Ok(Some(frame));
                }
            }
            None => walk.resync()?,
        }
    }
    Ok(None)
}

/// The sound frame with `next`, or else the next one behind it, in the rest of the segment.
/// `beyond`, the frame that was found here, may be out of place: a misdirected write can put a
/// later frame before intact ones.
fn closest_frame(walk: &mut Walk, next: Offset, beyond: Frame) -> io::Result<Frame> {
    let mut closest = beyond;
    while closest.header().base > next && !walk.at_end() {
        match walk.frame()? {
            Some(frame) => {
                walk.skip(frame.bytes().len());
                if frame.header().end() > next && frame.header().base < closest.header().base {
                    closest = frame;
                }
            }
            None => walk.resync()?,
        }
    }
    Ok(closest)
}

fn damaged(from: Offset, to: Offset, cause: &str) -> ReadError {
    ReadError::Damaged {
        from,
        to,
        cause: cause.to_owned(),
    }
}
