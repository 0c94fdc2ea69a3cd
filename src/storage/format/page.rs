//! Pages: behind its header, a file of a key index consists of pages, each with its own checksum.
//!
//! ```text
//!     0  4,092 bytes of content, zeros where there is none
//! 4,092  u32  checksum of the file's salt, the page's number in the file and the content
//! ```
//!
//! The salt identifies the file, so that a page of another file is noticed.

use super::crc32;

/// The size of a page: the smallest unit that a disk reads.
pub(crate) const PAGE_BYTES: usize = 4096;

/// How much of a page is content.
pub(crate) const CONTENT_BYTES: usize = PAGE_BYTES - size_of::<u32>();

/// A page as it lies in a file.
pub(crate) type Page = [u8; PAGE_BYTES];

/// Puts the checksum at the end of a page.
pub(crate) fn seal(page: &mut Page, salt: u32, number: u64) {
    let checksum = checksum(page, salt, number);
    page[CONTENT_BYTES..].copy_from_slice(&checksum.to_le_bytes());
}

/// Whether a page is as [`seal`] left it.
pub(crate) fn is_sound(page: &Page, salt: u32, number: u64) -> bool {
    page[CONTENT_BYTES..] == checksum(page, salt, number).to_le_bytes()
}

fn checksum(page: &Page, salt: u32, number: u64) -> u32 {
    let mut place = [0; 12];
    place[..4].copy_from_slice(&salt.to_le_bytes());
    place[4..].copy_from_slice(&number.to_le_bytes());
    crc32(&[&place, &page[..CONTENT_BYTES]])
}
