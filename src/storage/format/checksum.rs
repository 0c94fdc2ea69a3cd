//! CRC-32, the one checksum of all formats.

/// CRC-32 (IEEE) over several slices, one behind the other.
pub(crate) fn crc32(slices: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for slice in slices {
        hasher.update(slice);
    }
    hasher.finalize()
}

/// CRC-32 of bytes that come piece by piece.
#[derive(Clone, Debug, Default)]
pub(crate) struct RunningCrc32(crc32fast::Hasher);

impl RunningCrc32 {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Adds bytes that were summed by themselves.
    pub(crate) fn update_summed(&mut self, behind: &Self) {
        self.0.combine(&behind.0);
    }

    /// The checksum of all bytes so far.
    pub(crate) fn value(&self) -> u32 {
        self.0.clone().finalize()
    }
}
