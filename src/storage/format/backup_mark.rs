//! The file `backup` at the top of a backup: that all of it is there, and what belongs to it.
//!
//! ```text
//!  0  8 bytes "TFRLBKUP"
//!  8  u32  version
//! 12  u32  checksum of the rest
//! 16  u64  the last journal entry that is in it
//! 24  u64  id of the data directory that it is of
//! 32  i64  when it was taken, by the broker's clock, milliseconds since 1970
//! 40  u32  files, then of each: string path from the top of the directory, u64 length, u32 checksum of all its bytes
//! ```
//!
//! Files are in the order of their paths.

use super::{
    VERSION, crc32,
    fields::{Fields, put_count, put_string},
};

const MAGIC: [u8; 8] = *b"TFRLBKUP";

/// The least that a file takes.
const MIN_FILE_BYTES: usize = 16;

/// What a whole backup consists of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BackupMark {
    /// The last journal entry that is in it.
    pub(crate) commit: u64,
    /// The id of the data directory that it is of.
    pub(crate) directory: u64,
    pub(crate) taken_ms: i64,
    /// In the order of their paths.
    pub(crate) files: Vec<MarkedFile>,
}

/// A file of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MarkedFile {
    /// From the top of the directory.
    pub(crate) path: String,
    pub(crate) len: u64,
    /// The checksum of all its bytes.
    pub(crate) checksum: u32,
}

impl BackupMark {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut rest = Vec::new();
        for field in [self.commit, self.directory] {
            rest.extend_from_slice(&field.to_le_bytes());
        }
        rest.extend_from_slice(&self.taken_ms.to_le_bytes());
        put_count(&mut rest, self.files.len());
        for file in &self.files {
            put_string(&mut rest, &file.path);
            rest.extend_from_slice(&file.len.to_le_bytes());
            rest.extend_from_slice(&file.checksum.to_le_bytes());
        }
        let version = VERSION.to_le_bytes();
        let checksum = crc32(&[&version, &rest]).to_le_bytes();
        [&MAGIC[..], &version, &checksum, &rest].concat()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        let magic: [u8; 8] = fields.array()?;
        let version: [u8; 4] = fields.array()?;
        let checksum = fields.u32()?;
        if magic != MAGIC
            || version != VERSION.to_le_bytes()
            || crc32(&[&version, fields.0]) != checksum
        {
            return None;
        }
        let (commit, directory, taken_ms) = (fields.u64()?, fields.u64()?, fields.i64()?);
        let count = fields.count(MIN_FILE_BYTES)?;
        let mut files = Vec::with_capacity(count);
        for _ in 0..count {
            files.push(MarkedFile {
                path: fields.string()?.to_owned(),
                len: fields.u64()?,
                checksum: fields.u32()?,
            });
        }
        fields.is_empty().then_some(Self {
            commit,
            directory,
            taken_ms,
            files,
        })
    }
}
