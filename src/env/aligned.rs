//! A buffer whose content starts at an address that direct I/O accepts.

use super::DIRECT_ALIGNMENT;

/// A growing buffer of bytes, its first byte at a multiple of [`DIRECT_ALIGNMENT`].
#[derive(Debug)]
pub(crate) struct AlignedBuffer {
    memory: Vec<u8>,
    start: usize,
}

impl AlignedBuffer {
    /// An empty buffer with room for `capacity` bytes, which it never exceeds.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        let memory: Vec<u8> = Vec::with_capacity(capacity + DIRECT_ALIGNMENT);
        let start = memory.as_ptr().align_offset(DIRECT_ALIGNMENT);
        let mut buffer = Self { memory, start };
        buffer.clear();
        buffer
    }

    /// Empties it; the room stays.
    pub(crate) fn clear(&mut self) {
        self.memory.clear();
        self.memory.resize(self.start, 0);
    }

    /// How many bytes it holds.
    pub(crate) fn len(&self) -> usize {
        self.memory.len() - self.start
    }

    /// How many more bytes it has room for.
    pub(crate) fn room(&self) -> usize {
        // `with_capacity` may have got more memory than it asked for. The bytes for the alignment
        // are not counted as room.
        self.memory.capacity() - DIRECT_ALIGNMENT - self.len()
    }

    /// Adds bytes.
    ///
    /// # Panics
    ///
    /// If they do not fit: growing would move the content to another address.
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        assert!(
            bytes.len() <= self.room(),
            "an aligned buffer does not grow"
        );
        self.memory.extend_from_slice(bytes);
    }

    /// Adds zeros up to the next multiple of [`DIRECT_ALIGNMENT`].
    ///
    /// # Panics
    ///
    /// If they do not fit.
    pub(crate) fn pad(&mut self) {
        let len = self.len().next_multiple_of(DIRECT_ALIGNMENT);
        assert!(
            len - self.len() <= self.room(),
            "an aligned buffer does not grow"
        );
        self.memory.resize(self.start + len, 0);
    }

    /// The content.
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.memory[self.start..]
    }
}
