//! Reading a log by offset.
//!
//! What is sealed is found in the view, and needs no lock. Of what comes behind, the place is
//! looked up under the log's lock; bytes are fetched and checked without it.

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
    /// Where to go on, if the reader came from a file.
    hint: Option<Hint>,
}

/// A position in a segment where a frame or block begins that is not behind the offset to read
/// next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hint {
    /// The segment's name.
    pub(super) base: Offset,
    pub(super) revision: u32,
    pub(super) position: NonZeroU32,
    /// Frames before it were in blocks, and lie nowhere as they are.
    pub(super) is_compressed: bool,
}

/// Why an offset cannot be read.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// It has been trimmed.
    BelowStart,
    /// The records from `from` up to `to` are damaged or missing.
    Damaged {
        from: Offset,
        to: Offset,
        cause: String,
    },
    /// It cannot be read at the moment; nothing says that it is damaged.
    Unavailable(FileError),
}

/// How much is read at once: at least a frame, and no more where it comes to one of these.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Enough {
    pub(crate) bytes: usize,
    pub(crate) records: u64,
}

/// Reads a log.
pub(crate) struct LogReader<'a> {
    pub(crate) log: &'a LogLock,
    pub(crate) segments: &'a OpenSegments,
}

/// Where an offset is.
pub(super) enum Place {
    End,
    Tail(Vec<Frame>),
    Growing(Growing),
    /// In the view.
    Sealed(Sealed),
}

/// A segment that grows, as far as it has come.
pub(super) struct Growing {
    pub(super) segment: Arc<Segment>,
    pub(super) end: Offset,
    pub(super) bytes: u64,
    /// Where to begin looking.
    pub(super) position: u64,
}

/// The segment that frames are collected from.
struct From<'a> {
    segment: &'a Segment,
    end: Offset,
    /// Where to begin looking.
    position: u64,
}

/// What has been read so far.
#[derive(Default)]
struct Taken {
    bytes: usize,
    records: u64,
}

impl Taken {
    /// Adds a frame, of which the records from an offset on are wanted.
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
    /// About so many bytes.
    pub(crate) fn of_bytes(bytes: usize) -> Self {
        let records = u64::MAX;
        Self { bytes, records }
    }
}

impl Cursor {
    pub(crate) fn new(next: Offset) -> Self {
        Self { next, hint: None }
    }

    /// Where the cursor is in a file, if it came from one.
    pub(super) fn in_file(&self) -> Option<Hint> {
        self.hint
    }
}

impl LogReader<'_> {
    /// The frames from the cursor on: at least one, unless the cursor is at the high watermark, and
    /// about `max_bytes`. The first may begin before the cursor. Moves the cursor behind the last.
    pub(crate) fn read(
        &self,
        cursor: &mut Cursor,
        max_bytes: usize,
    ) -> Result<Vec<Frame>, ReadError> {
        self.read_with_hidden(cursor, Enough::of_bytes(max_bytes))
            .map(|(frames, _)| frames)
    }

    /// The frames from the cursor on, with what is not to be shown of them: at least one, unless
    /// the cursor is at the high watermark, and until they are enough. The first may begin before
    /// the cursor. Moves the cursor behind the last.
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

    /// Whether what comes from an offset on, at most up to this offset, is in memory, and no more
    /// than so many bytes.
    pub(crate) fn has_in_memory(&self, from: Offset, to: Offset, bytes: usize) -> bool {
        self.log.view().find(from).is_none() && self.log.lock().has_in_tail(from, to, bytes)
    }

    /// The frames from the cursor on, also of what has been trimmed and not removed yet: for those
    /// who keep the books of the log.
    pub(crate) fn read_trimmed(
        &self,
        cursor: &mut Cursor,
        max_bytes: usize,
    ) -> Result<Vec<Frame>, ReadError> {
        let enough = Enough::of_bytes(max_bytes);
        let (_, place) = self.log.locate(cursor.next, enough);
        self.read_place(&place?, cursor, enough)
    }

    /// The frames from the cursor on, which is at this place.
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
        from.collect(cursor, enough, |position| content.walk(segment, position))
    }
}

impl From<'_> {
    /// Collects frames, beginning where the index says. An index is never trusted over the log:
    /// what seems damaged from there is looked at from the segment's beginning.
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

    /// Collects the frames that the cursor wants; a hole or damage before the first of them is an
    /// error, behind it an end.
    fn collect_from(
        &self,
        cursor: &mut Cursor,
        mut walk: Walk,
        enough: Enough,
    ) -> Result<Vec<Frame>, ReadError> {
        let unreadable = |next, error| unreadable(self.segment, next..self.end, error);
        let (mut frames, mut taken) = (Vec::new(), Taken::default());
        let mut next = cursor.next;
        // A block was taken apart as a whole, and would be again.
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

/// What an I/O error means: what a segment holds of these offsets is lost, or cannot be read at the
/// moment.
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
    /// Where it is in a segment, if it came from there.
    fn position_in(&self, segment: &Segment) -> Option<u64> {
        let name = segment.name();
        let hint = self
            .hint
            .filter(|hint| hint.base == name.base() && hint.revision == name.revision())?;
        Some(u64::from(hint.position.get()))
    }
}

impl LogLock {
    /// Where an offset is, with the view that says so.
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
        // What was behind the sealed segments may have been sealed meanwhile.
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

    /// The records from `next` to where the log goes on are lost.
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
    /// Where to begin looking for an offset.
    fn position_before(&self, offset: Offset) -> u64 {
        let row = self.rows.before(offset.0 - self.base.0);
        row.map_or(HEADER_BYTES, |row| u64::from(row.position))
    }
}

/// The next sound frame that reaches behind `next`, stepping over damage; none at the segment's
/// end. A frame that begins behind `next` means that those before it are lost, and is not stepped
/// over.
///
/// Frames are checked also where they are only passed: a damaged length would lead past sound ones.
/// With an index that is 64 KiB, some microseconds.
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

/// The sound frame with `next`, or the one that comes closest behind it, from here to the segment's
/// end. `beyond`, which is here and lies further on, may be out of its place: a misdirected write
/// puts it before frames that are intact.
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
