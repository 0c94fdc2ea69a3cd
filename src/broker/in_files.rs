//! Where the records of a response lie in files, so that a part of them can be read again alone.

use std::ops::Range;

use bytes::Bytes;

use super::{partitions::Partitions, state::PartitionRef};
use crate::{
    storage::log::{FilePart, Hidden},
    types::Offset,
};

/// A response with more slices than this is read again as a whole.
const MOST_PARTS: usize = 256;

/// A response with fewer bytes than this is read again as a whole, which costs little.
const LEAST_BYTES: usize = 64 << 10;

/// Where the slices of a response lie, in order; empty if that is not known for all of them.
#[derive(Default)]
pub(super) struct InFiles {
    parts: Vec<FilePart>,
    is_incomplete: bool,
    /// What was hidden when they were read.
    hidden: Hidden,
}

impl InFiles {
    /// Notes what is hidden while the next slices are read.
    pub(super) fn read_with(&mut self, hidden: &Hidden) {
        if self.parts.is_empty() {
            self.hidden = hidden.clone();
        } else if !self.hidden.is_same(hidden) {
            self.push(None);
        }
    }

    /// Adds where the next slice lies.
    pub(super) fn push(&mut self, part: Option<FilePart>) {
        match part {
            Some(part) if !self.is_incomplete && self.parts.len() < MOST_PARTS => {
                self.parts.push(part);
            }
            _ => {
                self.is_incomplete = true;
                self.parts = Vec::new();
            }
        }
    }

    /// The form that is kept with a response.
    pub(super) fn complete(mut self) -> Self {
        if self.parts.iter().map(FilePart::len).sum::<usize>() < LEAST_BYTES {
            self.push(None);
        }
        self.parts.shrink_to_fit();
        self
    }

    /// Its memory, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.parts.capacity() * size_of::<FilePart>()
    }

    /// Reads a part of the records that begin at this offset, from where they were first read.
    /// `None` if their place is not known, or they were erased, trimmed, deleted or written anew
    /// since.
    pub(super) fn read(
        &self,
        owner: &Partitions,
        at: &PartitionRef,
        first: Offset,
        range: Range<usize>,
    ) -> Option<Vec<Bytes>> {
        let parts = self.parts_of(range)?;
        let view = at.partition().log.view();
        if view.start() > first || !view.hidden().is_same(&self.hidden) {
            return None;
        }
        let reader = owner.reader(at);
        let mut slices = Vec::with_capacity(parts.len());
        for part in &parts {
            // If the file is damaged, reading everything again reports that.
            slices.push(reader.read_part(&view, part).ok()??);
        }
        (!at.is_deleted()).then_some(slices)
    }

    fn parts_of(&self, range: Range<usize>) -> Option<Vec<FilePart>> {
        let mut found = Vec::new();
        let mut at = 0;
        for part in &self.parts {
            let (start, end) = (range.start.max(at), range.end.min(at + part.len()));
            if start < end {
                found.push(part.slice(start - at..end - at)?);
            }
            at += part.len();
        }
        (at >= range.end).then_some(found)
    }
}
