//! The file `journal/ring`: how each journal file is in use, stored apart from the journal files.
//!
//! It has a block of 4,096 bytes for each journal file, beginning with `1.journal`. The block is
//! written when the journal file is taken into use, before any entry is. So a journal file whose
//! own first block is damaged is not taken for a free one, and a file that has lost its content or
//! is gone is noticed. A block has the same bytes twice, at 0 and at 2,048:
//!
//! ```text
//!  0  8 bytes "TFRLRING"
//!  8  u32  version
//! 12  u32  checksum of the rest
//! 16  u64  number of the journal file, as in its header; 0: nothing that it holds is needed
//! 24  u64  salt, as in its header
//! 32  u64  length of the journal file in bytes
//! ```
//!
//! A file that was never used has a block with number 0 too. A block of zeros says nothing, because
//! a damaged block may read as zeros.

use super::{VERSION, crc32, entry::FileHeader, fields::Fields};

const MAGIC: [u8; 8] = *b"TFRLRING";
const REST_BYTES: usize = 24;

/// Where the second copy is in a block: in another sector.
const COPY_AT: usize = 2048;

/// What a block says about its journal file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Use {
    pub(crate) header: FileHeader,
    /// The size of the journal file. Entries end there or before.
    pub(crate) bytes: u64,
}

impl Use {
    /// The block of a file with nothing that is needed: it was never used, or is being overwritten.
    pub(crate) const FREE: Self = Self {
        header: FileHeader { number: 0, salt: 0 },
        bytes: 0,
    };

    /// The block, without the zeros at its end.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut rest = Vec::with_capacity(REST_BYTES);
        for field in [self.header.number, self.header.salt, self.bytes] {
            rest.extend_from_slice(&field.to_le_bytes());
        }
        let version = VERSION.to_le_bytes();
        let checksum = crc32(&[&version, &rest]).to_le_bytes();
        let copy = [&MAGIC[..], &version, &checksum, &rest].concat();
        let mut block = copy.clone();
        block.resize(COPY_AT, 0);
        block.extend_from_slice(&copy);
        block
    }

    /// Reads a block; `None` if both copies are damaged, or the block is zeros.
    pub(crate) fn decode(block: &[u8]) -> Option<Self> {
        Self::decode_copy(block).or_else(|| Self::decode_copy(block.get(COPY_AT..)?))
    }

    fn decode_copy(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        let magic: [u8; 8] = fields.array()?;
        let version: [u8; 4] = fields.array()?;
        let checksum = fields.u32()?;
        let rest = fields.clone().bytes(REST_BYTES)?;
        let sound = magic == MAGIC
            && version == VERSION.to_le_bytes()
            && crc32(&[&version, rest]) == checksum;
        let header = FileHeader {
            number: fields.u64()?,
            salt: fields.u64()?,
        };
        let bytes = fields.u64()?;
        sound.then_some(Self { header, bytes })
    }
}
