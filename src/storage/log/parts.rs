//! A log as retention sees it: the parts that go as a whole, and how old each is.

use std::io;

use super::{
    Log, LogReader, Sealed,
    read::{Segment, lock},
};
use crate::{
    storage::{fault, fault::Meaning},
    types::Offset,
};

/// A part of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) base: Offset,
    /// Behind its last record.
    pub(crate) end: Offset,
    pub(crate) bytes: u64,
    /// When its last record was appended; none if that is not known before it is read.
    pub(crate) last_append_ms: Option<i64>,
    /// Whether it is a sealed segment, which can go.
    pub(crate) is_sealed: bool,
}

impl Log {
    /// What there is, the oldest first: sealed segments, the active one, the tail.
    pub(crate) fn parts_by_age(&self) -> impl Iterator<Item = Part> {
        let sealed = self.sealed.iter().map(|segment| Part {
            base: segment.base,
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
        let active = active.filter(|active| active.base < active.end && active.end > self.start);
        let tail = self.tail.front().map(|first| Part {
            base: first.frame.header().base,
            end: self.end,
            bytes: self.tail_bytes as u64,
            last_append_ms: Some(self.last_append_time_ms),
            is_sealed: false,
        });
        let tail = tail.filter(|tail| tail.end > self.start);
        sealed.chain(active).chain(tail)
    }

    /// Bytes of all frames that were added since it was opened.
    pub(crate) fn appended_bytes(&self) -> u64 {
        self.appended_bytes
    }

    /// The part that has the first record from this offset on.
    pub(crate) fn part_from(&self, offset: Offset) -> Option<Part> {
        self.parts_by_age().find(|part| part.end > offset)
    }

    /// Takes note of when the last record of a sealed segment was appended.
    pub(crate) fn note_last_append(&mut self, base: Offset, last_append_ms: i64) {
        let found = self.sealed.iter_mut().find(|segment| segment.base == base);
        if let Some(segment) = found {
            segment.last_append_ms = Some(last_append_ms);
        }
    }

    /// Bytes of all segments that have files, also of those that are trimmed and not removed yet.
    pub(crate) fn bytes_on_disk(&self) -> u64 {
        let removed_soon = self.trimmed.iter().chain(&self.retired);
        let removed_soon: u64 = removed_soon.map(|segment| segment.bytes).sum();
        let active = self.active.as_ref().map_or(0, |active| active.bytes);
        self.sealed_bytes + removed_soon + active
    }

    pub(super) fn add_sealed(&mut self, segment: Sealed) {
        self.sealed_bytes += segment.bytes;
        self.sealed.push(segment);
    }
}

impl LogReader<'_> {
    /// When the last record of a sealed segment was appended; none if it cannot be read any more.
    pub(crate) fn last_append_ms(&self, part: &Part) -> io::Result<Option<i64>> {
        let read = self.read_last_append_ms(&Segment {
            base: part.base,
            end: part.end,
            bytes: part.bytes,
        });
        match read {
            Err(error) if fault::of_reading(&error) == Meaning::Damage => Ok(None),
            read => read,
        }
    }

    fn read_last_append_ms(&self, segment: &Segment) -> io::Result<Option<i64>> {
        let open = self.open_sealed(segment)?;
        let rows = open.rows.as_deref().unwrap_or_default();
        // The last row stands for the segment's end.
        let before_end = rows.len().checked_sub(2).map(|at| rows[at]);
        let from = before_end.map_or(0, |row| u64::from(row.position));
        let mut walk = self.walk_sealed(&open, segment.base, from);
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

    /// Runs a closure over the parts of the log, under its lock, with the bytes of all of them.
    pub(crate) fn with_parts<T>(
        &self,
        look: impl FnOnce(&mut dyn Iterator<Item = Part>, u64) -> T,
    ) -> T {
        let log = lock(self.log);
        let (_, bytes) = log.size();
        look(&mut log.parts_by_age(), bytes)
    }
}
