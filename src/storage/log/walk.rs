//! A walk over a segment's frames, which can step over damage.

use std::{io, sync::Arc};

use bytes::Bytes;

use super::Identity;
use crate::{
    env::{self, File},
    storage::{
        format::{
            block::{Block, is_block},
            frame::{self, Frame, MAX_FRAME_BYTES, Place},
            segment_file::HEADER_BYTES,
        },
        read_only::ReadOnly,
    },
    types::Offset,
};

/// How much of a file is read at once.
const WINDOW_BYTES: usize = 1 << 20;

/// Where a segment's bytes come from.
pub(in crate::storage) enum Source {
    /// A map of the whole file.
    Map(Bytes),
    /// The file, read by position.
    File(Arc<dyn File>),
}

impl Source {
    /// The source for a file that does not change.
    pub(in crate::storage) fn of(file: &ReadOnly) -> Self {
        match file {
            ReadOnly::Mapped(bytes) => Self::Map(bytes.clone()),
            ReadOnly::Positioned(file, _) => Self::File(Arc::clone(file)),
        }
    }
}

/// A place in a segment. All frames of a block are at the block's position.
pub(in crate::storage) struct Walk {
    source: Source,
    /// Where the segment's frames end.
    len: u64,
    identity: Identity,
    /// Where the segment starts in the partition.
    base: Offset,
    position: u64,
    /// The bytes that were read last; they begin at `window_at`.
    window: Bytes,
    window_at: u64,
    /// How far the map was read from the disk; `None` if the kernel decides on that.
    read_to: Option<u64>,
    /// The block at this place, if it was decompressed.
    block: Option<OpenBlock>,
    has_opened_blocks: bool,
}

/// A decompressed block, and how many bytes of its frames the walk has passed.
struct OpenBlock {
    block: Block,
    at: usize,
}

impl Walk {
    /// Starts at a position where a frame begins.
    pub(in crate::storage) fn new(
        source: Source,
        len: u64,
        identity: Identity,
        base: Offset,
        position: u64,
    ) -> Self {
        let window = match &source {
            Source::Map(bytes) => bytes.clone(),
            Source::File(_) => Bytes::new(),
        };
        let len = if let Source::Map(bytes) = &source {
            len.min(bytes.len() as u64)
        } else {
            len
        };
        Self {
            source,
            len,
            identity,
            base,
            position: position.max(HEADER_BYTES),
            window,
            window_at: 0,
            read_to: None,
            block: None,
            has_opened_blocks: false,
        }
    }

    /// A walk for someone who can wait: a map is read from the disk a little at a time, so
    /// that others have their turn.
    pub(in crate::storage) fn patient(mut self) -> Self {
        self.read_to = match self.source {
            Source::Map(_) => Some(self.position),
            Source::File(_) => None,
        };
        self
    }

    /// The current position.
    pub(in crate::storage) fn position(&self) -> u64 {
        self.position
    }

    /// Whether the walk is at the end of the segment.
    pub(in crate::storage) fn at_end(&self) -> bool {
        self.position >= self.len
    }

    /// The frame at this place, checked; `None` if it is damaged or of another partition.
    pub(in crate::storage) fn frame(&mut self) -> io::Result<Option<Frame>> {
        if let Some(open) = &self.block {
            return Ok(open.block.frame(open.at));
        }
        let head = self.head()?;
        let peeked = Place::peek(&head)
            .filter(|place| self.is_ours(place) && self.fits(self.position, place.length));
        let Some(place) = peeked else {
            return Ok(None);
        };
        let bytes = self.bytes(self.position, place.length)?;
        if !is_block(&head) {
            return Ok(Frame::decode(&bytes));
        }
        let Some(block) = Block::open(&bytes) else {
            return Ok(None);
        };
        let first = block.frame(0);
        self.block = Some(OpenBlock { block, at: 0 });
        self.has_opened_blocks = true;
        Ok(first)
    }

    /// Whether the block at this place has frames that the walk has not passed.
    pub(in crate::storage) fn is_in_block(&self) -> bool {
        self.block.is_some()
    }

    /// Whether any frame so far was in a block.
    pub(in crate::storage) fn has_opened_blocks(&self) -> bool {
        self.has_opened_blocks
    }

    /// Steps over a frame of this length.
    pub(in crate::storage) fn skip(&mut self, length: usize) {
        let Some(open) = &mut self.block else {
            self.position += length as u64;
            return;
        };
        open.at += length;
        if open.at >= open.block.unpacked() {
            self.position += open.block.length() as u64;
            self.block = None;
        }
    }

    /// Steps over damage, to the next sound frame of this partition or to the end.
    pub(in crate::storage) fn resync(&mut self) -> io::Result<()> {
        let topic = self.identity.topic.0.to_le_bytes();
        let partition = self.identity.partition.0.to_le_bytes();
        let mark = [&topic[..], &partition[..]].concat();
        self.block = None;
        self.position += 1;
        while !self.at_end() {
            let window = self.bytes(self.position, WINDOW_BYTES)?;
            let candidates = window.windows(mark.len()).enumerate().skip(MARK_AT);
            for (at, _) in candidates.filter(|(_, bytes)| *bytes == mark) {
                let start = self.position + (at - MARK_AT) as u64;
                if self.frame_at(start)?.is_some() {
                    self.position = start;
                    return Ok(());
                }
            }
            // The next window begins early enough to include a mark that this window cut in two.
            let seen = window.len().saturating_sub(MARK_AT + mark.len()).max(1);
            self.position += seen as u64;
            if window.len() < WINDOW_BYTES {
                self.position = self.len;
            }
        }
        Ok(())
    }

    fn frame_at(&mut self, start: u64) -> io::Result<Option<Frame>> {
        let here = std::mem::replace(&mut self.position, start);
        let frame = self.frame();
        (self.position, self.block) = (here, None);
        frame
    }

    /// Whether a frame belongs here. It may not if a file has got the name of another segment.
    fn is_ours(&self, place: &Place) -> bool {
        place.topic == self.identity.topic
            && place.partition == self.identity.partition
            && place.base >= self.base
            && place.end.0 - self.base.0 <= u64::from(u32::MAX)
    }

    fn fits(&self, position: u64, length: usize) -> bool {
        position
            .checked_add(length as u64)
            .is_some_and(|end| end <= self.len)
    }

    /// The header of the frame at this place. It is read without the frame, because a frame may be
    /// larger than a window, which would then be read in vain.
    fn head(&mut self) -> io::Result<Bytes> {
        let at = self.position;
        let end = self.len.min(at + frame::HEADER_BYTES as u64).max(at);
        match &self.source {
            Source::File(file) if !self.has(at, end) => {
                let len = usize::try_from(end - at).expect("at most a header");
                Ok(file.read_vec_at(at, len)?.into())
            }
            _ => self.bytes(at, frame::HEADER_BYTES),
        }
    }

    /// Whether these bytes are in memory.
    fn has(&self, at: u64, end: u64) -> bool {
        at >= self.window_at && end <= self.window_at + self.window.len() as u64
    }

    /// At most `wanted` bytes from `at` on; fewer at the segment's end.
    fn bytes(&mut self, at: u64, wanted: usize) -> io::Result<Bytes> {
        let wanted = wanted.min(MAX_FRAME_BYTES);
        let end = self.len.min(at + wanted as u64).max(at);
        if !self.has(at, end) {
            self.read_window(at, end)?;
        }
        let from = usize::try_from(at - self.window_at).expect("the window holds it");
        let to = usize::try_from(end - self.window_at).expect("the window holds it");
        if let Some(read_to) = &mut self.read_to
            && *read_to < end
        {
            // Frames are read in order, so the bytes before are there already.
            let missing = from.max(usize::try_from(*read_to).unwrap_or(from));
            let more = to.max(missing + env::PIECE_BYTES).min(self.window.len());
            env::read_in(&self.window, missing..more);
            *read_to = more as u64;
        }
        Ok(self.window.slice(from.min(to)..to))
    }

    fn read_window(&mut self, at: u64, end: u64) -> io::Result<()> {
        let Source::File(file) = &self.source else {
            unreachable!("a map is one window, and reads are cut to its end");
        };
        let end = end.max(self.len.min(at + WINDOW_BYTES as u64));
        let len = usize::try_from(end - at).expect("at most a window or a frame");
        (self.window, self.window_at) = (file.read_vec_at(at, len)?.into(), at);
        Ok(())
    }
}

/// Where a frame's header has topic and partition.
const MARK_AT: usize = 8;
