//! The position of a read in a partition, and the limit up to which it may read. `Log.Read` and
//! members of groups read partitions through these.

use std::ops::Range;

use bytes::Bytes;

use super::{
    Error,
    fetched::{Chosen, Fetched, Filter, Held, Most, Wanted},
    in_files::InFiles,
    partitions::Partitions,
    state::PartitionRef,
};
use crate::{
    storage::log::{Cursor, Enough},
    types::{Offset, limits},
};

/// A read's position in a partition. A read may have 10,000 of these.
#[derive(Clone, Copy)]
pub(super) struct PartitionCursor {
    /// Where the next response begins.
    pub(super) cursor: Cursor,
    /// The read may go up to this high watermark.
    pub(super) limit: Offset,
}

/// The records that were returned last.
pub(super) struct Returned {
    /// They begin here and end at this cursor's limit.
    pub(super) read: PartitionCursor,
    in_files: InFiles,
}

impl Returned {
    pub(super) fn new(began: Cursor, end: Offset, in_files: InFiles) -> Self {
        Self {
            read: PartitionCursor {
                cursor: began,
                limit: end,
            },
            in_files: in_files.complete(),
        }
    }

    /// Reads them again. They differ if records were erased or trimmed since.
    pub(super) fn again(
        &mut self,
        owner: &Partitions,
        at: &PartitionRef,
        filter: &Filter,
    ) -> Result<Vec<Bytes>, Error> {
        let chosen = self.read.read_again(owner, at, filter)?;
        self.in_files = chosen.in_files.complete();
        Ok(chosen.slices)
    }

    /// Reads a range of their bytes again, from where they lie in files; `None` if that is not
    /// known, or they may not be shown any more.
    pub(super) fn part_again(
        &self,
        owner: &Partitions,
        at: &PartitionRef,
        bytes: Range<usize>,
    ) -> Option<Vec<Bytes>> {
        let first = self.read.cursor.next;
        self.in_files.read(owner, at, first, bytes)
    }

    /// Its memory, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.in_files.memory()
    }
}

impl PartitionCursor {
    pub(super) fn new(offset: Offset, limit: Offset) -> Self {
        Self {
            cursor: Cursor::new(offset),
            limit,
        }
    }

    pub(super) fn is_at_limit(&self) -> bool {
        self.cursor.next >= self.limit
    }

    /// The next matching records, up to one response; `None` at the limit. `fetched` has what was
    /// read ahead in this partition.
    pub(super) fn read(
        &mut self,
        owner: &Partitions,
        at: &PartitionRef,
        fetched: &mut Option<Fetched>,
        filter: &Filter,
        most: Most,
    ) -> Result<Option<Chosen>, Error> {
        if self.is_stale(at, fetched) {
            *fetched = None;
        }
        if fetched.is_none() {
            if self.is_at_limit() {
                return Ok(None);
            }
            // Nobody knows how many records a filter must look at.
            let records = match filter.is_empty() {
                true => most.records,
                false => u64::MAX,
            };
            let bytes = most.bytes;
            *fetched = Some(self.fetch(owner, at, Enough { bytes, records })?);
        }
        Ok(Some(self.choose(fetched, filter, most)))
    }

    /// Whether fetched frames must be fetched again: something was erased, or removed after an
    /// erasure, or the records to return next were trimmed.
    pub(super) fn is_stale(&self, at: &PartitionRef, ahead: &Option<Fetched>) -> bool {
        let Some(fetched) = ahead else { return false };
        let view = at.partition().log.view();
        !view.hidden().is_same(&fetched.hidden) || self.cursor.next < view.start()
    }

    /// The records from here to the limit, which fitted in one response when they were first read.
    fn read_again(
        mut self,
        owner: &Partitions,
        at: &PartitionRef,
        filter: &Filter,
    ) -> Result<Chosen, Error> {
        let wanted = Wanted {
            filter,
            most: Most::RESPONSE,
            end: self.limit,
        };
        let mut chosen = Chosen::default();
        let mut next = self.cursor.next;
        while next < self.limit {
            let enough = Enough::of_bytes(limits::MAX_RESPONSE_BYTES);
            let mut fetched = self.fetch(owner, at, enough)?;
            fetched.choose(&mut next, &wanted, &mut chosen);
            if !fetched.frames.is_empty() {
                break;
            }
            self.cursor = fetched.behind;
        }
        Ok(chosen)
    }

    /// Fetches frames of a partition that is behind its limit: enough, and at least one.
    fn fetch(
        &self,
        owner: &Partitions,
        at: &PartitionRef,
        enough: Enough,
    ) -> Result<Fetched, Error> {
        let mut behind = self.cursor;
        let read = owner.reader(at).read_with_hidden(&mut behind, enough);
        let (frames, hidden) =
            read.map_err(|error| owner.explain_at(at, self.cursor.next, error))?;
        let parts = behind.parts(&frames);
        if behind.next > self.limit {
            // Frames behind the limit are fetched again when the next limit is taken.
            behind = self.cursor;
            behind.next = self.limit;
        }
        let hasher = &at.topic.hasher;
        let wanted = frames
            .into_iter()
            .zip(parts)
            .filter(|(frame, _)| frame.header().base < self.limit);
        let frames = wanted.map(|(frame, part)| match hidden.edit(hasher, &frame) {
            Some(frame) => Held::new(frame, None),
            None => Held::new(frame, part),
        });
        Ok(Fetched {
            frames: frames.collect(),
            hidden,
            behind,
        })
    }

    /// Chooses records from the fetched frames, up to one response.
    fn choose(&mut self, ahead: &mut Option<Fetched>, filter: &Filter, most: Most) -> Chosen {
        let mut chosen = Chosen::default();
        let Some(fetched) = ahead else {
            return chosen;
        };
        let wanted = Wanted {
            filter,
            most,
            end: self.limit,
        };
        fetched.choose(&mut self.cursor.next, &wanted, &mut chosen);
        let is_empty = fetched.frames.is_empty();
        if is_empty && fetched.behind.next == self.cursor.next {
            self.cursor = fetched.behind;
        }
        // A frame that compaction has packed may reach beyond the limit.
        if is_empty || self.is_at_limit() {
            *ahead = None;
        }
        chosen
    }
}
