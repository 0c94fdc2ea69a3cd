//! A log as retention sees it: the parts that can only be removed whole, and the age of each.

use std::io;

use super::{
    Log, LogReader,
    view::{Sealed, View},
};
use crate::{
    storage::{fault, fault::Meaning},
    types::Offset,
};

/// A part of a log: a segment, or the tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) base: Offset,
    /// The offset behind its last record.
    pub(crate) end: Offset,
    pub(crate) bytes: u64,
    /// When its last record was appended; `None` if its segment must be read to know.
    pub(crate) last_append_ms: Option<i64>,
    /// Whether it is a sealed segment; only these can be removed.
    pub(crate) is_sealed: bool,
}

impl Log {
    /// The parts, oldest first: sealed segments, the active one, the tail.
    fn parts_by_age<'a>(&'a self, view: &'a View) -> impl Iterator<Item = Part> + 'a {
        let start = view.start;
        let sealed = view.live().iter().map(|segment| Part {
            base: segment.base(),
            end: segment.end,
            bytes: segment.bytes,
            last_append_ms: segment.last_append_ms,
            is_sealed: true,
        });
        let active = self.active.as_ref().map(|active| Part {
            base: active.base,
            end: active.end,
            bytes: active.bytes,
            last_append_ms: Some(active.last_append_ms),
            is_sealed: false,
        });
        let active = active.filter(|active| active.base < active.end && active.end > start);
        let tail = self.tail.front().map(|first| Part {
            base: first.frame.header().base,
            end: self.end,
            bytes: self.tail_bytes as u64,
            last_append_ms: Some(self.last_append_time_ms),
            is_sealed: false,
        });
        let tail = tail.filter(|tail| tail.end > start);
        sealed.chain(active).chain(tail)
    }

    /// The size of all frames that were added since the log was opened.
    pub(crate) fn appended_bytes(&self) -> u64 {
        self.appended_bytes
    }

    /// The size of the parts that end at this offset or before.
    pub(crate) fn bytes_before(&self, offset: Offset) -> u64 {
        let view = self.view();
        let parts = self.parts_by_age(&view);
        let before = parts.take_while(|part| part.end <= offset);
        before.map(|part| part.bytes).sum()
    }

    /// The part with the first record from this offset on.
    pub(crate) fn part_from(&self, offset: Offset) -> Option<Part> {
        let view = self.view();
        let mut parts = self.parts_by_age(&view);
        parts.find(|part| part.end > offset)
    }

    /// Remembers when the last record of a sealed segment was appended.
    pub(crate) fn note_last_append(&mut self, base: Offset, last_append_ms: i64) {
        self.change_view(|view| {
            let mut segments = view.sealed.iter_mut();
            if let Some(segment) = segments.find(|segment| segment.base() == base) {
                segment.last_append_ms = Some(last_append_ms);
            }
        });
    }

    /// The size of all segment files, including trimmed ones that are not removed yet.
    pub(crate) fn bytes_on_disk(&self) -> u64 {
        let sealed: u64 = self.view().sealed.iter().map(|segment| segment.bytes).sum();
        let gone: u64 = self.gone.iter().map(|gone| gone.bytes).sum();
        let active = self.active.as_ref().map_or(0, |active| active.bytes);
        sealed + gone + active
    }

    /// How many bytes may be moved to segments until these have `most` together. At least the next
    /// frame, if there is no sealed segment, whose removal would make room. Segments that are only
    /// there for readers do not count, because they go when the readers have ended.
    pub(crate) fn room_within(&self, most: u64) -> u64 {
        let view = self.view();
        let sealed: u64 = view.sealed.iter().map(|segment| segment.bytes).sum();
        let active = self.active.as_ref().map_or(0, |active| active.bytes);
        let next = self.tail.front().filter(|_| view.sealed.is_empty());
        let next = next.map_or(0, |next| next.frame.bytes().len() as u64);
        most.saturating_sub(sealed + active).max(next)
    }
}

impl LogReader<'_> {
    /// When the last record of a sealed segment was appended; `None` if it cannot be read any more.
    pub(crate) fn last_append_ms(&self, part: &Part) -> io::Result<Option<i64>> {
        let view = self.log.view();
        let Some(sealed) = view.find(part.base) else {
            return Ok(None);
        };
        match self.read_last_append_ms(sealed) {
            Err(error) if fault::of_reading(&error) == Meaning::Damage => Ok(None),
            read => read,
        }
    }

    fn read_last_append_ms(&self, sealed: &Sealed) -> io::Result<Option<i64>> {
        let content = self.segments.sealed(&sealed.segment)?;
        let rows = &content.rows;
        // The last row stands for the segment's end, so the last frames are behind the one before.
        let before_end = rows.len().checked_sub(2).and_then(|at| rows.get(at));
        let from = before_end.map_or(0, |row| u64::from(row.position));
        let mut walk = content.walk(&sealed.segment, from);
        let mut last = None;
        while !walk.at_end() {
            let Some(frame) = walk.frame()? else {
                walk.resync()?;
                continue;
            };
            last = last.max(Some(frame.header().append_time_ms));
            walk.skip(frame.bytes().len());
        }
        Ok(last)
    }

    /// Calls `look` under the log's lock, with the parts of the log and their size together.
    pub(crate) fn with_parts<T>(
        &self,
        look: impl FnOnce(&mut dyn Iterator<Item = Part>, u64) -> T,
    ) -> T {
        let log = self.log.lock();
        let (_, bytes) = log.size();
        look(&mut log.parts_by_age(&log.view()), bytes)
    }
}
