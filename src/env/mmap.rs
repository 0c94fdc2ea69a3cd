//! Whole files mapped for reading.
//!
//! A store through a map of a file on a full disk, and a load past the end of a file that has
//! shrunk, kill the process. So a map is never writable, and [`super::FileSystem::map`] asks its
//! callers to neither write to a mapped file nor make it shorter; they keep to it by mapping sealed
//! files only.

#![expect(
    clippy::disallowed_types,
    reason = "this is the door that the bans lead to"
)]

use std::{fs::File, io};

use bytes::Bytes;
use memmap2::MmapOptions;

/// Maps a file from its beginning to its present end.
///
/// The kernel gets no advice on how it will be read: the same map serves readers that go through it
/// from end to end and lookups here and there, and its default (read around a miss) does well for
/// both.
pub(super) fn map_whole(file: &File) -> io::Result<Bytes> {
    if file.metadata()?.len() == 0 {
        return Ok(Bytes::new());
    }
    // SAFETY: the bytes must not change while they are borrowed. Nobody in this process writes to a
    // mapped file or makes it shorter (the contract of `FileSystem::map`), and the lock on the data
    // directory keeps other brokers out. Another program that changes the file can be seen only as
    // changed bytes, which every reader checks by checksum and decodes without trusting them.
    #[expect(unsafe_code, reason = "the safety comment says what makes it sound")]
    let map = unsafe { MmapOptions::new().map(file)? };
    Ok(Bytes::from_owner(map))
}
