//! Parts of frames, read again without the rest of them.
//!
//! Nothing here is checked: whoever reads a part again knows what it was.

use std::{io, ops::Range};

use bytes::Bytes;

use super::read::{Cursor, LogReader, lock};
use crate::{storage::format::frame::Frame, types::Offset};

/// Where bytes lie in the file of a segment, or lay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FilePart {
    segment: Offset,
    position: u32,
    len: u32,
}

impl FilePart {
    pub(crate) fn len(&self) -> usize {
        self.len as usize
    }

    /// A part of it; none if it does not reach so far.
    pub(crate) fn slice(&self, range: Range<usize>) -> Option<Self> {
        let (start, end) = (
            u32::try_from(range.start).ok()?,
            u32::try_from(range.end).ok()?,
        );
        (start <= end && end <= self.len).then(|| Self {
            segment: self.segment,
            position: self.position + start,
            len: end - start,
        })
    }
}

impl Cursor {
    /// Where these frames lie, the last of which ends where the cursor is; none for those that did
    /// not come from a file. If there is damage between them, the first are not where this says.
    pub(crate) fn parts(&self, frames: &[Frame]) -> Vec<Option<FilePart>> {
        let mut end = self.in_file();
        let mut parts = vec![None; frames.len()];
        for (part, frame) in parts.iter_mut().zip(frames).rev() {
            *part = end.and_then(|(segment, end)| {
                let len = u32::try_from(frame.bytes().len()).ok()?;
                let position = end.checked_sub(len)?;
                Some(FilePart {
                    segment,
                    position,
                    len,
                })
            });
            end = part.map(|part| (part.segment, part.position));
        }
        parts
    }
}

impl LogReader<'_> {
    /// What lies there now.
    pub(crate) fn read_part(&self, part: &FilePart) -> io::Result<Bytes> {
        let (dir, is_active) = {
            let log = lock(self.log);
            (log.dir(), log.is_active(part.segment))
        };
        if is_active {
            let file = self.segments.active(&dir, part.segment)?;
            return Ok(file
                .read_vec_at(u64::from(part.position), part.len())?
                .into());
        }
        let sealed = self.segments.sealed(&dir, part.segment)?;
        sealed
            .content
            .read(u64::from(part.position), u64::from(part.len))
    }
}
