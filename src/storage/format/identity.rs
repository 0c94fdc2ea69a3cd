//! The file `taffrail` at the top of a data directory: what the directory is.
//!
//! ```text
//!  0  8 bytes "TFRLDATA"
//!  8  u32  version of all formats in the directory: 2, or 3 from the moment at which its segments may have compressed
//!          blocks (`block.rs`), which an earlier version would take for damage; all else is as with 2
//! 12  u32  checksum of version and id
//! 16  u64  id of the directory; not 0
//! ```
//!
//! Checkpoints and segments have the id too, so a file from another directory is noticed.
//!
//! The magic and the version stay at their places for ever, so that every version can say what it
//! cannot read.

use super::{VERSION, VERSION_WITH_BLOCKS, crc32, fields::Fields};

const MAGIC: [u8; 8] = *b"TFRLDATA";

/// A directory of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) id: u64,
}

/// Why a directory cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// The directory is not one of ours.
    Foreign,
    /// It was written by another version, later or earlier.
    OtherVersion { version: u32 },
    /// The file is damaged.
    Damaged,
}

impl Identity {
    pub(crate) fn encode(&self) -> Vec<u8> {
        self.encode_as(VERSION)
    }

    /// The file's content for a directory whose segments may have compressed blocks.
    pub(crate) fn encode_with_blocks(&self) -> Vec<u8> {
        self.encode_as(VERSION_WITH_BLOCKS)
    }

    fn encode_as(&self, version: u32) -> Vec<u8> {
        let (version, id) = (version.to_le_bytes(), self.id.to_le_bytes());
        let checksum = crc32(&[&version, &id]).to_le_bytes();
        [&MAGIC[..], &version, &checksum, &id].concat()
    }

    /// How other files name the directory that they belong to: 0 if it is not known.
    pub(super) fn to_field(identity: Option<Self>) -> [u8; 8] {
        identity.map_or(0, |identity| identity.id).to_le_bytes()
    }

    pub(super) fn of_field(id: u64) -> Option<Self> {
        (id != 0).then_some(Self { id })
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        let mut fields = Fields(bytes);
        if fields.array() != Some(MAGIC) {
            return Err(Unreadable::Foreign);
        }
        let version = match fields.u32() {
            Some(version @ (VERSION | VERSION_WITH_BLOCKS)) => version,
            Some(version) if version > VERSION => return Err(Unreadable::OtherVersion { version }),
            Some(version) => return Err(Self::of_earlier(version, fields)),
            None => return Err(Unreadable::Damaged),
        };
        let (Some(checksum), Some(id)) = (fields.u32(), fields.u64()) else {
            return Err(Unreadable::Damaged);
        };
        if crc32(&[&version.to_le_bytes(), &id.to_le_bytes()]) != checksum {
            return Err(Unreadable::Damaged);
        }
        Ok(Self { id })
    }

    /// The version of the formats, from the bytes of a sound file.
    pub(crate) fn version(bytes: &[u8]) -> u32 {
        let version = bytes.get(MAGIC.len()..).and_then(<[u8]>::first_chunk);
        version.copied().map_or(VERSION, u32::from_le_bytes)
    }

    /// An earlier version is believed only if its checksum is right; otherwise the number itself
    /// may be damaged.
    fn of_earlier(version: u32, mut fields: Fields<'_>) -> Unreadable {
        match (fields.u32(), fields.u64()) {
            (Some(checksum), Some(id))
                if crc32(&[&version.to_le_bytes(), &id.to_le_bytes()]) == checksum =>
            {
                Unreadable::OtherVersion { version }
            }
            _ => Unreadable::Damaged,
        }
    }
}
