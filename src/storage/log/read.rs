//! Reading a log by offset.
//!
//! Under the log's lock only the place is looked up; bytes are fetched and checked without it.

use std::{io, num::NonZeroU32, sync::Arc};

use super::{
    Active, Identity, Log, LogLock, OpenSegments, Sealed,
    segment::SealedSegment,
    segment_path,
    walk::{Source, Walk},
};
use crate::{
    env::OrderedGuard,
    storage::{
        fault::{self, Meaning},
        files::{Action, FileError},
        format::{frame::Frame, segment_file::IndexRow},
    },
    types::Offset,
};

/// Where a reader is in a log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor {
    /// The offset to read next.
    pub(crate) next: Offset,
    /// A segment and a position in it where a frame begins that is not behind that offset, if the
    /// reader came from there.
    hint: Option<(Offset, NonZeroU32)>,
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

/// Reads a log.
pub(crate) struct LogReader<'a> {
    pub(crate) log: &'a LogLock,
    pub(crate) segments: &'a OpenSegments,
}

/// Where an offset is.
pub(super) enum Place {
    End,
    Tail(Vec<Frame>),
    Active(Segment, Vec<IndexRow>),
    Sealed(Segment),
}

/// The part of the log that a segment file holds.
pub(super) struct Segment {
    pub(super) base: Offset,
    pub(super) end: Offset,
    pub(super) bytes: u64,
}

impl Segment {
    pub(super) fn of(sealed: &Sealed) -> Self {
        Self {
            base: sealed.base,
            end: sealed.end,
            bytes: sealed.bytes,
        }
    }
}

impl Cursor {
    pub(crate) fn new(next: Offset) -> Self {
        Self { next, hint: None }
    }

    /// The segment and the position in it where the cursor is, if it came there from a file.
    pub(super) fn in_file(&self) -> Option<(Offset, u32)> {
        self.hint
            .map(|(segment, position)| (segment, position.get()))
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
        if cursor.next < lock(self.log).start {
            return Err(ReadError::BelowStart);
        }
        let next = cursor.next;
        self.read_trimmed(cursor, max_bytes)
            .map_err(|error| match error {
                // Trimmed meanwhile.
                _ if next < lock(self.log).start => ReadError::BelowStart,
                error => error,
            })
    }

    /// Whether what comes from an offset on, at most up to this offset, is in memory, and no more
    /// than so many bytes.
    pub(crate) fn has_in_memory(&self, from: Offset, to: Offset, bytes: usize) -> bool {
        lock(self.log).has_in_tail(from, to, bytes)
    }

    /// As [`read`](Self::read), also what has been trimmed and not removed yet: for who keeps the
    /// books of the log.
    pub(crate) fn read_trimmed(
        &self,
        cursor: &mut Cursor,
        max_bytes: usize,
    ) -> Result<Vec<Frame>, ReadError> {
        let place = lock(self.log).locate(cursor.next, max_bytes)?;
        let frames = match place {
            Place::End => Vec::new(),
            Place::Tail(frames) => {
                cursor.hint = None;
                frames
            }
            Place::Active(segment, rows) => {
                match self.read_active(cursor, &segment, &rows, max_bytes) {
                    // Sealed meanwhile: it may have been written anew.
                    Err(ReadError::Damaged { .. }) if !lock(self.log).is_active(segment.base) => {
                        return self.read_trimmed(cursor, max_bytes);
                    }
                    read => read?,
                }
            }
            Place::Sealed(segment) => self.read_sealed(cursor, &segment, max_bytes)?,
        };
        if let Some(last) = frames.last() {
            cursor.next = last.header().end();
        }
        Ok(frames)
    }

    fn read_active(
        &self,
        cursor: &mut Cursor,
        segment: &Segment,
        rows: &[IndexRow],
        max_bytes: usize,
    ) -> Result<Vec<Frame>, ReadError> {
        let (identity, dir) = self.identity();
        let file = self
            .segments
            .active(&dir, segment.base)
            .map_err(|error| self.unreadable(cursor.next, segment, error))?;
        self.collect(cursor, segment, rows, max_bytes, |position| {
            Walk::new(
                Source::File(file.clone()),
                segment.bytes,
                identity,
                segment.base,
                position,
            )
        })
    }

    fn read_sealed(
        &self,
        cursor: &mut Cursor,
        segment: &Segment,
        max_bytes: usize,
    ) -> Result<Vec<Frame>, ReadError> {
        let open = self
            .open_sealed(segment)
            .map_err(|error| self.unreadable(cursor.next, segment, error))?;
        let rows = open.rows.as_deref().unwrap_or_default();
        self.collect(cursor, segment, rows, max_bytes, |position| {
            self.walk_sealed(&open, segment.base, position)
        })
    }

    /// Collects frames, beginning where the index says. An index is never trusted over the log:
    /// what seems damaged from there is looked at from the segment's beginning.
    fn collect(
        &self,
        cursor: &mut Cursor,
        segment: &Segment,
        rows: &[IndexRow],
        max_bytes: usize,
        walk_from: impl Fn(u64) -> Walk,
    ) -> Result<Vec<Frame>, ReadError> {
        let position = cursor.position(segment.base, rows);
        match self.collect_from(cursor, segment, walk_from(position), max_bytes) {
            Err(ReadError::Damaged { .. }) if position > 0 => {
                self.collect_from(cursor, segment, walk_from(0), max_bytes)
            }
            collected => collected,
        }
    }

    /// Collects the frames that the cursor wants; a hole or damage before the first of them is an
    /// error, behind it an end.
    fn collect_from(
        &self,
        cursor: &mut Cursor,
        segment: &Segment,
        mut walk: Walk,
        max_bytes: usize,
    ) -> Result<Vec<Frame>, ReadError> {
        let (mut frames, mut bytes) = (Vec::new(), 0);
        let mut next = cursor.next;
        while (frames.is_empty() || bytes < max_bytes) && !walk.at_end() {
            match take_frame(&mut walk, next) {
                Ok(Some(frame)) if frame.header().base <= next => {
                    next = frame.header().end();
                    bytes += frame.bytes().len();
                    frames.push(frame);
                }
                Ok(Some(frame)) if frames.is_empty() => match closest_frame(&mut walk, next, frame)
                {
                    Ok(frame) if frame.header().base <= next => {
                        next = frame.header().end();
                        bytes += frame.bytes().len();
                        frames.push(frame);
                    }
                    Ok(frame) => return Err(damaged(next, frame.header().base, "wrong checksum")),
                    Err(error) => return Err(self.unreadable(next, segment, error)),
                },
                Ok(_) => break,
                Err(error) if frames.is_empty() => {
                    return Err(self.unreadable(next, segment, error));
                }
                Err(_) => break,
            }
        }
        if frames.is_empty() {
            return Err(damaged(
                next,
                segment.end,
                "wrong checksum or missing bytes",
            ));
        }
        let position = u32::try_from(walk.position()).ok();
        cursor.hint = position
            .and_then(NonZeroU32::new)
            .map(|position| (segment.base, position));
        Ok(frames)
    }

    pub(super) fn walk_sealed(&self, open: &SealedSegment, base: Offset, position: u64) -> Walk {
        let (identity, _) = self.identity();
        Walk::new(
            Source::of(&open.content),
            open.content.len(),
            identity,
            base,
            position,
        )
    }

    /// Opens a sealed segment, building its index if it has none.
    pub(super) fn open_sealed(&self, segment: &Segment) -> io::Result<Arc<SealedSegment>> {
        let (_, dir) = self.identity();
        loop {
            let open = self.segments.sealed(&dir, segment.base)?;
            if open.rows.is_some() {
                return Ok(open);
            }
            let rows = self.build_rows(&open, segment.base)?;
            if let Some(open) = self.segments.give_rows(&dir, segment.base, &open, rows) {
                tracing::info!(directory = %dir.display(), base = segment.base.0, "the index of a segment was rebuilt");
                return Ok(open);
            }
        }
    }

    pub(super) fn build_rows(
        &self,
        open: &SealedSegment,
        base: Offset,
    ) -> io::Result<Vec<IndexRow>> {
        let mut active = Active::new(base, 0);
        let mut walk = self.walk_sealed(open, base, 0);
        while !walk.at_end() {
            match walk.frame()? {
                Some(frame) => {
                    active.bytes = walk.position();
                    active.note(frame.header(), frame.bytes().len());
                    walk.skip(frame.bytes().len());
                }
                None => walk.resync()?,
            }
        }
        active.bytes = open.content.len();
        let mut rows = active.rows.clone();
        rows.push(active.row(active.end));
        Ok(rows)
    }

    pub(super) fn identity(&self) -> (Identity, Arc<std::path::Path>) {
        let log = lock(self.log);
        (log.identity, log.dir())
    }

    /// What an I/O error means: the segment was trimmed meanwhile, or what it holds from `next` on
    /// is lost, or cannot be read at the moment.
    pub(super) fn unreadable(
        &self,
        next: Offset,
        segment: &Segment,
        error: io::Error,
    ) -> ReadError {
        let dir = {
            let log = lock(self.log);
            if log.first_kept() > next {
                return ReadError::BelowStart;
            }
            log.dir()
        };
        match fault::of_reading(&error) {
            Meaning::Damage => damaged(next, segment.end, &error.to_string()),
            Meaning::Passing | Meaning::Fatal => {
                let path = segment_path(&dir, segment.base);
                ReadError::Unavailable(FileError::when(Action::Read, &path)(error))
            }
        }
    }
}

impl Cursor {
    /// Where to begin looking in a segment.
    fn position(&self, base: Offset, rows: &[IndexRow]) -> u64 {
        if let Some((_, position)) = self.hint.filter(|(hinted, _)| *hinted == base) {
            return u64::from(position.get());
        }
        let relative = self.next.0.saturating_sub(base.0);
        let behind = rows.partition_point(|row| u64::from(row.relative) <= relative);
        behind
            .checked_sub(1)
            .map_or(0, |at| u64::from(rows[at].position))
    }
}

impl Log {
    pub(super) fn locate(&self, next: Offset, max_bytes: usize) -> Result<Place, ReadError> {
        if next >= self.end {
            return Ok(Place::End);
        }
        if self
            .tail
            .front()
            .is_some_and(|first| first.frame.header().base <= next)
        {
            return self.locate_in_tail(next, max_bytes);
        }
        if let Some(active) = self.active.as_ref().filter(|active| active.base <= next) {
            if next < active.end {
                let segment = Segment {
                    base: active.base,
                    end: active.end,
                    bytes: active.bytes,
                };
                return Ok(Place::Active(segment, active.rows_around(next)));
            }
            return Err(self.hole(next));
        }
        let sealed = if next < self.start {
            self.trimmed_at(next)
        } else {
            None
        }
        .or_else(|| self.sealed_at(next));
        match sealed {
            Some(sealed) => Ok(Place::Sealed(Segment::of(&sealed))),
            None if next < self.start => Err(ReadError::BelowStart),
            None => Err(self.hole(next)),
        }
    }

    pub(super) fn is_active(&self, base: Offset) -> bool {
        self.active
            .as_ref()
            .is_some_and(|active| active.base == base)
    }

    fn sealed_at(&self, offset: Offset) -> Option<Sealed> {
        let at = self.sealed.partition_point(|segment| segment.end <= offset);
        self.sealed
            .get(at)
            .copied()
            .filter(|sealed| sealed.base <= offset)
    }

    fn trimmed_at(&self, offset: Offset) -> Option<Sealed> {
        self.retired
            .iter()
            .chain(&self.trimmed)
            .copied()
            .find(|segment| segment.base <= offset && offset < segment.end)
    }

    fn locate_in_tail(&self, next: Offset, max_bytes: usize) -> Result<Place, ReadError> {
        let at = self
            .tail
            .partition_point(|tailed| tailed.frame.header().end() <= next);
        let mut frames = Vec::new();
        let (mut bytes, mut expected) = (0, next);
        for tailed in self.tail.range(at..) {
            let header = tailed.frame.header();
            if (!frames.is_empty() && bytes >= max_bytes) || header.base > expected {
                break;
            }
            expected = header.end();
            bytes += tailed.frame.bytes().len();
            frames.push(tailed.frame.clone());
        }
        if frames.is_empty() {
            Err(self.hole(next))
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
    fn hole(&self, next: Offset) -> ReadError {
        let sealed = self.sealed.iter().map(|segment| segment.base);
        let active = self.active.iter().map(|active| active.base);
        let tail = self.tail.iter().map(|tailed| tailed.frame.header().base);
        let to = sealed
            .chain(active)
            .chain(tail)
            .find(|base| *base > next)
            .unwrap_or(self.end);
        damaged(next, to, "missing")
    }

    /// What a search by time looks through, in order.
    pub(super) fn parts(&self) -> (Offset, Offset, Vec<Sealed>, Option<Active>, Vec<Frame>) {
        let tail = self
            .tail
            .iter()
            .map(|tailed| tailed.frame.clone())
            .collect();
        (
            self.start,
            self.end,
            self.sealed.clone(),
            self.active.clone(),
            tail,
        )
    }
}

impl Active {
    /// The index row to begin looking for an offset from.
    fn rows_around(&self, offset: Offset) -> Vec<IndexRow> {
        let relative = offset.0 - self.base.0;
        let behind = self
            .rows
            .partition_point(|row| u64::from(row.relative) <= relative);
        behind
            .checked_sub(1)
            .map_or_else(Vec::new, |at| vec![self.rows[at]])
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

pub(super) fn lock(log: &LogLock) -> OrderedGuard<'_, Log> {
    log.lock()
}
