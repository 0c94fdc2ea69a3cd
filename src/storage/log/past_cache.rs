//! Large writes to growing segments, past the operating system's cache.
//!
//! Through the cache, each byte costs the kernel a page that it must find, fill, write back and
//! drop again, and who syncs waits until all of that is done. So the whole blocks of a large batch
//! of frames are written with direct I/O. Direct I/O needs aligned memory: the frames are copied
//! once, into a buffer that stays in the processor's cache.
//!
//! What is before the first block boundary of a batch and behind the last one goes through the
//! cache, a block at most in each case. So a segment always ends where its last frame ends, and
//! nothing must be read or remembered to go on. A direct write begins at a block boundary at or
//! behind the end of the file, so it never has a block that was written before.

use std::{
    io,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{
    env::{AlignedBuffer, DIRECT_ALIGNMENT, File, FileSystem, Open},
    storage::files::{Action, FileError},
};

/// A batch with fewer bytes in whole blocks goes through the cache: it is one copy, and the kernel
/// writes it together with others. Smaller in tests, whose batches are small.
const DIRECT_FROM: u64 = if cfg!(test) { 4 << 10 } else { 256 << 10 };

/// How many bytes one direct write has at most. Measured near the disk's limit, 1 MiB reaches 80 %
/// of the throughput of 8 MiB.
const WRITE_BYTES: usize = if cfg!(test) { 8 << 10 } else { 2 << 20 };

const BLOCK_BYTES: u64 = DIRECT_ALIGNMENT as u64;

/// Writes batches of frames, large ones past the cache.
#[derive(Default)]
pub(super) struct PastCache {
    /// Made when it is first needed.
    buffer: Mutex<Option<AlignedBuffer>>,
    /// Whether the file system has refused direct I/O.
    is_refused: AtomicBool,
}

impl PastCache {
    /// Writes the slices to the end of a file, one behind the other. Returns how many bytes of them
    /// went through the cache.
    pub(super) fn append(
        &self,
        files: &dyn FileSystem,
        path: &Path,
        file: &dyn File,
        slices: &[&[u8]],
        position: u64,
    ) -> Result<u64, FileError> {
        let bytes: usize = slices.iter().map(|slice| slice.len()).sum();
        let first = position.next_multiple_of(BLOCK_BYTES);
        let last = (position + bytes as u64) / BLOCK_BYTES * BLOCK_BYTES;
        let writing = |error| FileError::when(Action::Write, path)(error);
        let Some(direct) = self.open(files, path, last.saturating_sub(first)) else {
            file.write_all_at(slices, position).map_err(writing)?;
            return Ok(bytes as u64);
        };
        let mut rest = Rest { slices, taken: 0 };
        let before = rest.take(first - position);
        if !before.is_empty() {
            file.write_all_at(&before, position).map_err(writing)?;
        }
        self.write_blocks(&*direct, &mut rest, first, last)
            .map_err(writing)?;
        let behind = rest.take(position + bytes as u64 - last);
        if !behind.is_empty() {
            file.write_all_at(&behind, last).map_err(writing)?;
        }
        if !direct.is_direct() {
            self.is_refused.store(true, Ordering::Relaxed);
            return Ok(bytes as u64);
        }
        Ok(bytes as u64 - (last - first))
    }

    /// Opens a file to write so many bytes past the cache; `None` if they should go through it.
    fn open(&self, files: &dyn FileSystem, path: &Path, bytes: u64) -> Option<Arc<dyn File>> {
        if bytes < DIRECT_FROM || self.is_refused.load(Ordering::Relaxed) {
            return None;
        }
        // If it cannot be opened once more, for want of descriptors for example, the handle that is
        // open will do.
        let direct = files.open(path, Open::Direct).ok()?;
        if !direct.is_direct() {
            self.is_refused.store(true, Ordering::Relaxed);
            return None;
        }
        Some(direct)
    }

    /// Writes the next bytes to these whole blocks of a file.
    fn write_blocks(
        &self,
        direct: &dyn File,
        rest: &mut Rest<'_>,
        first: u64,
        last: u64,
    ) -> io::Result<()> {
        let mut buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        let buffer = buffer.get_or_insert_with(|| AlignedBuffer::with_capacity(WRITE_BYTES));
        let mut at = first;
        while at < last {
            let now = (last - at).min(WRITE_BYTES as u64);
            buffer.clear();
            for slice in rest.take(now) {
                buffer.extend(slice);
            }
            direct.write_all_at(&[buffer.as_slice()], at)?;
            at += now;
        }
        Ok(())
    }
}

/// What is left of some slices.
struct Rest<'a> {
    slices: &'a [&'a [u8]],
    /// How many bytes of the first slice are taken.
    taken: usize,
}

impl<'a> Rest<'a> {
    /// Takes the next bytes, of which there are enough.
    fn take(&mut self, bytes: u64) -> Vec<&'a [u8]> {
        let mut bytes = usize::try_from(bytes).expect("slices fit memory");
        let mut taken = Vec::new();
        while bytes > 0 {
            let (first, behind) = self
                .slices
                .split_first()
                .expect("the caller takes no more than there is");
            let now = bytes.min(first.len() - self.taken);
            taken.push(&first[self.taken..self.taken + now]);
            bytes -= now;
            self.taken += now;
            if self.taken == first.len() {
                (self.slices, self.taken) = (behind, 0);
            }
        }
        taken
    }
}
