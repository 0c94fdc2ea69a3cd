//! CRC-32, the one checksum of all formats.

/// CRC-32 (IEEE) over several slices, one behind the other.
pub(crate) fn crc32(slices: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for slice in slices {
        hasher.update(slice);
    }
    hasher.finalize()
}
