//! The entries of one write until they are handed to the disk, all at once.
//!
//! Small entries are copied into a buffer, large ones stay where they are. A disk takes about as
//! long for a small entry between two large ones as for a large one, and appends wait for it, so
//! all of them are one call.

use std::ops::Range;

use bytes::Bytes;

use super::{CHUNK_BYTES, Current};
use crate::{
    env::AlignedBuffer,
    storage::files::{Action, FileError},
};

/// What is to be written next.
pub(super) struct Gathered {
    buffer: AlignedBuffer,
    /// Whole blocks, in order.
    pieces: Vec<Piece>,
    /// Where the bytes of the buffer begin that are no piece yet.
    open: usize,
}

enum Piece {
    /// A part of the buffer.
    Copied(Range<usize>),
    InPlace(Bytes),
}

impl Gathered {
    pub(super) fn new() -> Self {
        Self {
            buffer: AlignedBuffer::with_capacity(CHUNK_BYTES),
            pieces: Vec::new(),
            open: 0,
        }
    }

    /// Adds bytes. Once the buffer is full, writes everything that is gathered.
    pub(super) fn put(&mut self, current: &mut Current, mut bytes: &[u8]) -> Result<(), FileError> {
        while bytes.len() > self.buffer.room() {
            let (now, later) = bytes.split_at(self.buffer.room());
            self.buffer.extend(now);
            self.write(current)?;
            bytes = later;
        }
        self.buffer.extend(bytes);
        Ok(())
    }

    /// Adds whole blocks, which begin at a block, without copying them.
    pub(super) fn put_in_place(&mut self, blocks: Bytes) {
        self.finish_block();
        self.pieces.push(Piece::InPlace(blocks));
    }

    /// Writes everything, with zeros up to the end of a block.
    pub(super) fn write(&mut self, current: &mut Current) -> Result<(), FileError> {
        self.finish_block();
        if self.pieces.is_empty() {
            return Ok(());
        }
        let copied = self.buffer.as_slice();
        let mut slices = Vec::with_capacity(self.pieces.len());
        let mut bytes = 0;
        for piece in &self.pieces {
            let slice = match piece {
                Piece::Copied(range) => &copied[range.clone()],
                Piece::InPlace(blocks) => &blocks[..],
            };
            bytes += slice.len() as u64;
            slices.push(slice);
        }
        let Current { file, position } = current;
        file.handle
            .write_all_at(&slices, *position)
            .map_err(FileError::when(Action::Write, &file.path))?;
        *position += bytes;
        self.pieces.clear();
        self.buffer.clear();
        self.open = 0;
        Ok(())
    }

    /// Ends the piece that is being copied.
    fn finish_block(&mut self) {
        if self.buffer.len() > self.open {
            self.buffer.pad();
            let end = self.buffer.len();
            self.pieces.push(Piece::Copied(self.open..end));
            self.open = end;
        }
    }
}
