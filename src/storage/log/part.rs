//! Reading parts of frames again, without the rest of them.
//!
//! Nothing is checked here: the caller has checked the frame before.

use std::{io, ops::Range};

use bytes::Bytes;

use super::{
    View,
    read::{Cursor, LogReader},
};
use crate::{storage::format::frame::Frame, types::Offset};

/// Where bytes lie in the file of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FilePart {
    /// The segment's name.
    base: Offset,
    revision: u32,
    position: u32,
    len: u32,
}

impl FilePart {
    pub(crate) fn len(&self) -> usize {
        self.len as usize
    }

    /// A part of this part; `None` if the range does not fit.
    pub(crate) fn slice(&self, range: Range<usize>) -> Option<Self> {
        let (start, end) = (
            u32::try_from(range.start).ok()?,
            u32::try_from(range.end).ok()?,
        );
        (start <= end && end <= self.len).then(|| Self {
            position: self.position + start,
            len: end - start,
            ..*self
        })
    }
}

impl Cursor {
    /// Where these frames lie in a file, if the last of them ends at the cursor; `None` for a frame
    /// that was not read from a file, or was compressed there. If there is damage between the
    /// frames, the positions of the first ones are wrong.
    pub(crate) fn parts(&self, frames: &[Frame]) -> Vec<Option<FilePart>> {
        let mut parts = vec![None; frames.len()];
        let Some(hint) = self.in_file().filter(|hint| !hint.is_compressed) else {
            return parts;
        };
        let mut end = hint.position.get();
        for (part, frame) in parts.iter_mut().zip(frames).rev() {
            let len = u32::try_from(frame.bytes().len()).ok();
            let begins = len.and_then(|len| Some((end.checked_sub(len)?, len)));
            let Some((position, len)) = begins else {
                break;
            };
            *part = Some(FilePart {
                base: hint.base,
                revision: hint.revision,
                position,
                len,
            });
            end = position;
        }
        parts
    }
}

impl LogReader<'_> {
    /// Reads a part; `None` if its segment is not in this view of the log any more.
    pub(crate) fn read_part(&self, view: &View, part: &FilePart) -> io::Result<Option<Bytes>> {
        let Some(segment) = view.named(part.base, part.revision) else {
            return Ok(None);
        };
        let (position, len) = (u64::from(part.position), part.len());
        let is_growing = |growing| std::sync::Arc::ptr_eq(growing, segment);
        if view.growing.as_ref().is_some_and(is_growing) {
            let file = self.segments.growing(segment)?;
            return Ok(Some(file.read_vec_at(position, len)?.into()));
        }
        let sealed = self.segments.sealed(segment)?;
        sealed.bytes.read(position, len as u64).map(Some)
    }
}
