//! The file of a segment that is written anew, from front to back; its frames may be compressed.

use std::{num::NonZeroU32, path::Path};

use super::Active;
use crate::{
    codec::Method,
    env::File,
    storage::{
        files::{Action, FileError, STEP_BYTES},
        format::{
            block::{BlockWriter, Unit},
            frame::Frame,
            segment_file::{Compressed, Header},
        },
    },
};

/// How many bytes are gathered for one write.
pub(super) const WRITE_BYTES: usize = 1 << 20;

/// A file that is written from its beginning.
pub(super) struct Output<'a> {
    file: &'a dyn File,
    path: &'a Path,
    buffer: Vec<u8>,
    /// The position in the file at which the buffer will be written.
    position: u64,
    unsynced: u64,
    /// Set if frames are to be compressed.
    blocks: Option<BlockWriter>,
    /// Frames and blocks that are ready to be written.
    units: Vec<Unit>,
    /// The size of the file without compression, so far.
    unpacked: u64,
}

impl<'a> Output<'a> {
    pub(super) fn new(file: &'a dyn File, path: &'a Path, method: Option<Method>) -> Self {
        Self {
            file,
            path,
            buffer: Vec::new(),
            position: 0,
            unsynced: 0,
            blocks: method.map(BlockWriter::new),
            units: Vec::new(),
            unpacked: 0,
        }
    }
}

impl Output<'_> {
    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.unpacked += bytes.len() as u64;
        self.put_packed(bytes)
    }

    fn put_packed(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= WRITE_BYTES {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Writes these frames and records where they are. The last of them may be written later, when
    /// their block is complete.
    pub(super) fn put_frames(
        &mut self,
        frames: &mut Vec<Frame>,
        active: &mut Active,
    ) -> Result<(), FileError> {
        for frame in frames.drain(..) {
            match &mut self.blocks {
                Some(blocks) => blocks.take(frame, &mut self.units),
                None => self.units.push(Unit::of(frame)),
            }
        }
        self.put_units(active)
    }

    /// Writes the frames that wait for their block to fill.
    pub(super) fn finish_block(&mut self, active: &mut Active) -> Result<(), FileError> {
        if let Some(blocks) = &mut self.blocks {
            blocks.finish(&mut self.units);
        }
        self.put_units(active)
    }

    fn put_units(&mut self, active: &mut Active) -> Result<(), FileError> {
        for unit in std::mem::take(&mut self.units) {
            active.bytes = self.len();
            active.note(&unit.header, unit.bytes.len());
            self.unpacked += unit.unpacked as u64;
            self.put_packed(&unit.bytes)?;
        }
        Ok(())
    }

    /// Writes the header again with what is known only at the end. A damaged header stays as it is.
    pub(super) fn put_header(&mut self, header: &[u8]) -> Result<Option<Compressed>, FileError> {
        let Some(decoded) = Header::decode(header) else {
            return Ok(None);
        };
        let codec = self.blocks.as_ref().map(|blocks| blocks.codec().number());
        let compressed = codec.and_then(NonZeroU32::new).map(|codec| Compressed {
            codec,
            unpacked: self.unpacked,
        });
        let new = Header {
            compressed,
            ..decoded
        };
        if new != decoded {
            self.file
                .write_all_at(&[&new.encode()], 0)
                .map_err(FileError::when(Action::Write, self.path))?;
        }
        Ok(compressed)
    }

    pub(super) fn put_zeros(&mut self, mut len: u64) -> Result<(), FileError> {
        while len > 0 {
            let now = len.min(WRITE_BYTES as u64);
            self.unpacked += now;
            self.buffer.resize(self.buffer.len() + now as usize, 0);
            self.flush()?;
            len -= now;
        }
        Ok(())
    }

    pub(super) fn flush(&mut self) -> Result<(), FileError> {
        self.file
            .write_all_at(&[&self.buffer], self.position)
            .map_err(FileError::when(Action::Write, self.path))?;
        self.position += self.buffer.len() as u64;
        self.unsynced += self.buffer.len() as u64;
        self.buffer.clear();
        if self.unsynced >= STEP_BYTES {
            self.sync()
        } else {
            Ok(())
        }
    }

    pub(super) fn sync(&mut self) -> Result<(), FileError> {
        self.unsynced = 0;
        self.file
            .sync_data()
            .map_err(FileError::when(Action::Sync, self.path))
    }

    pub(super) fn len(&self) -> u64 {
        self.position + self.buffer.len() as u64
    }
}
