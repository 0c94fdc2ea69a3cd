//! Where a read is in a partition, and up to which limit it goes there. Every read that goes
//! through a partition does so with one of these: `Log.Read` and the members of groups.

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

/// A read's place in a partition. There may be 10,000 of them in a read.
#[derive(Clone, Copy)]
pub(super) struct PartitionCursor {
    /// Where the next response begins.
    pub(super) cursor: Cursor,
    /// A high watermark: the read goes up to it.
    pub(super) limit: Offset,
}

/// The records that were returned last.
pub(super) struct Returned {
    /// They are those from here up to its limit.
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

    /// Reads them again; others if any have been erased or trimmed since.
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

    /// Reads a part of them again, these bytes of all, as they lie in files now; none where that
    /// cannot be told, or is not allowed any more.
    pub(super) fn part_again(
        &self,
        owner: &Partitions,
        at: &PartitionRef,
        bytes: Range<usize>,
    ) -> Option<Vec<Bytes>> {
        let first = self.read.cursor.next;
        self.in_files.read(owner, at, first, bytes)
    }

    /// The bytes of memory that it holds on to.
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

    /// The next records that match, up to one response. `fetched` is what was read ahead of this
    /// partition. None at the limit.
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
            // Of what a filter looks through, nobody knows how much is needed.
            let records = match filter.is_empty() {
                true => most.records,
                false => u64::MAX,
            };
            let bytes = most.bytes;
            *fetched = Some(self.fetch(owner, at, Enough { bytes, records })?);
        }
        Ok(Some(self.choose(fetched, filter, most)))
    }

    /// Whether frames were fetched before something was erased, or its bytes were gone, or before
    /// records were trimmed that are to be returned next: they are fetched again.
    pub(super) fn is_stale(&self, at: &PartitionRef, ahead: &Option<Fetched>) -> bool {
        let Some(fetched) = ahead else { return false };
        let view = at.partition().log.view();
        !view.hidden().is_same(&fetched.hidden) || self.cursor.next < view.start()
    }

    /// The records from here up to the limit, which fit in one response when they were read first.
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
            // What has come since the limit was taken is fetched again when the next one is.
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

    /// Takes records out of the frames that were fetched, up to one response.
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
        // What compaction has left of many frames may reach across the limit.
        if is_empty || self.is_at_limit() {
            *ahead = None;
        }
        chosen
    }
}
