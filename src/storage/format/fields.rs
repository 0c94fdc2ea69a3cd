//! Little-endian fields: read from the front of a slice, or appended to a buffer.

/// Reads fields from the front of a slice; `None` if the slice is too short.
#[derive(Clone, Debug)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, behind) = self.0.split_first_chunk()?;
        self.0 = behind;
        Some(*bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    pub(super) fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (bytes, behind) = self.0.split_at_checked(len)?;
        self.0 = behind;
        Some(bytes)
    }

    /// A string: its length in bytes as 32 bits, then UTF-8.
    pub(super) fn string(&mut self) -> Option<&'a str> {
        let len = usize::try_from(self.u32()?).ok()?;
        std::str::from_utf8(self.bytes(len)?).ok()
    }

    /// A count, as 32 bits, of items of at least `size` bytes each that follow; `None` if the rest
    /// of the slice could not hold them.
    pub(super) fn count(&mut self, size: usize) -> Option<usize> {
        let count = usize::try_from(self.u32()?).ok()?;
        (count.checked_mul(size)? <= self.0.len()).then_some(count)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Appends a string in the form that [`Fields::string`] reads.
pub(super) fn put_string(out: &mut Vec<u8>, text: &str) {
    put_count(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

/// Appends a count as 32 bits.
pub(super) fn put_count(out: &mut Vec<u8>, count: usize) {
    let count =
        u32::try_from(count).expect("everything that is counted on disk is bounded far below 2^32");
    out.extend_from_slice(&count.to_le_bytes());
}
