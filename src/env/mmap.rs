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

use std::{fs::File, io, ops::Range};

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

/// How much of a map is read from the disk at once by those who can wait.
pub(crate) const PIECE_BYTES: usize = 256 << 10;

/// Brings a range of a map into memory, if it is not there, one piece after the other.
///
/// Left to itself, the kernel reads far ahead of whoever goes through a map: as far as the device
/// says, which may be megabytes. Whatever is written meanwhile, each append for example, waits
/// behind all of that.
#[cfg(target_os = "linux")]
pub(crate) fn read_in(map: &[u8], range: Range<usize>) {
    let page = rustix::param::page_size();
    let Some(bytes) = map.get(range) else {
        return;
    };
    for piece in bytes.chunks(PIECE_BYTES) {
        let before = piece.as_ptr().addr() % page;
        let from = piece.as_ptr().wrapping_sub(before).cast_mut().cast();
        // SAFETY: this advice changes no memory and no map, whatever the address is.
        #[expect(unsafe_code, reason = "the safety comment says what makes it sound")]
        let begun = unsafe {
            rustix::mm::madvise(from, before + piece.len(), rustix::mm::Advice::WillNeed)
        };
        // Without advice, the kernel reads the bytes as it does for everybody.
        begun.ok();
        // Whoever looks at the last byte waits for it.
        std::hint::black_box(piece.last().copied());
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn read_in(_: &[u8], _: Range<usize>) {}
