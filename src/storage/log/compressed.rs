//! How sealed segments are compressed, and which are not yet.
//!
//! A segment's header says it. It is read once, because it does not change.

use std::io;

use super::{LogReader, Part, view::Sealed};
use crate::{
    storage::{fault, fault::Meaning},
    types::Offset,
};

/// The uncompressed segments of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Uncompressed {
    /// Where the first of them begins.
    pub(crate) base: Offset,
    /// The size of all of them.
    pub(crate) bytes: u64,
}

impl LogReader<'_> {
    /// The uncompressed sealed segments that end at `before` or earlier, without those that are
    /// left alone; `None` if there are none.
    pub(crate) fn uncompressed(&self, before: Offset) -> io::Result<Option<Uncompressed>> {
        let view = self.log.view();
        let mut found: Option<Uncompressed> = None;
        for sealed in view.live() {
            if sealed.end > before {
                break;
            }
            if sealed.segment.is_left_alone() || self.is_compressed(sealed)? {
                continue;
            }
            let found = found.get_or_insert(Uncompressed {
                base: sealed.base(),
                bytes: 0,
            });
            found.bytes += sealed.bytes;
        }
        Ok(found)
    }

    /// A segment that cannot be read counts as compressed.
    fn is_compressed(&self, sealed: &Sealed) -> io::Result<bool> {
        match self.segments.compressed(&sealed.segment) {
            Err(error) if fault::of_reading(&error) == Meaning::Damage => Ok(true),
            compressed => Ok(compressed?.is_some()),
        }
    }

    /// Leaves the sealed segment that begins at `base` uncompressed until the next start.
    pub(crate) fn leave_alone(&self, base: Offset) {
        let view = self.log.view();
        if let Some(sealed) = view.find(base).filter(|sealed| sealed.base() == base) {
            sealed.segment.leave_alone();
        }
    }

    /// How many bytes on disk compression saves. A segment that cannot be read counts as
    /// uncompressed.
    pub(crate) fn saved_bytes(&self) -> u64 {
        let view = self.log.view();
        let mut saved = 0;
        for sealed in view.live() {
            let unpacked = self.segments.unpacked_bytes(sealed).unwrap_or(sealed.bytes);
            saved += unpacked.saturating_sub(sealed.bytes);
        }
        saved
    }

    /// The size of a part before compression, in bytes.
    pub(crate) fn unpacked_bytes(&self, part: &Part) -> io::Result<u64> {
        if !part.is_sealed {
            return Ok(part.bytes);
        }
        let view = self.log.view();
        let sealed = view.find(part.base).filter(|sealed| sealed.end == part.end);
        match sealed.map(|sealed| self.segments.unpacked_bytes(sealed)) {
            Some(Err(error)) if fault::of_reading(&error) == Meaning::Damage => Ok(part.bytes),
            unpacked => unpacked.unwrap_or(Ok(part.bytes)),
        }
    }
}
