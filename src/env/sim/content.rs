//! The bytes of a file, in shared pages: a copy costs one pointer for each page, so thousands of
//! disks can be kept.

use std::{ops::Range, sync::Arc};

/// What a disk writes whole or not at all.
pub(super) const SECTOR: u64 = 512;

/// The unit in which disk space is counted.
pub(super) const PAGE: u64 = 4096;

type Page = [u8; PAGE as usize];

/// The bytes of a file. Pages that were never written are holes and read as zeros.
///
/// Invariant: what lies in a page beyond `len` is zero.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    pages: Vec<Option<Arc<Page>>>,
    len: u64,
}

impl Content {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Reads; what lies beyond the end reads as zeros.
    pub(super) fn read(&self, into: &mut [u8], position: u64) {
        for (page, within, part) in pieces(position, into.len()) {
            match self.pages.get(page).and_then(Option::as_ref) {
                Some(bytes) => into[part].copy_from_slice(&bytes[within]),
                None => into[part].fill(0),
            }
        }
    }

    /// All bytes of the file.
    pub(super) fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len as usize];
        self.read(&mut bytes, 0);
        bytes
    }

    /// The sectors that contain this range of bytes.
    pub(super) fn sectors(&self, range: Range<u64>) -> Arc<[u8]> {
        let start = range.start / SECTOR * SECTOR;
        let end = range.end.next_multiple_of(SECTOR);
        let mut bytes = vec![0; (end - start) as usize];
        self.read(&mut bytes, start);
        bytes.into()
    }

    /// Writes, making the file longer as needed.
    pub(super) fn write(&mut self, bytes: &[u8], position: u64) {
        if !bytes.is_empty() {
            self.put(bytes, position);
            self.len = self.len.max(position + bytes.len() as u64);
        }
    }

    /// Writes without changing the length, which the caller must set before anybody reads.
    pub(super) fn put(&mut self, bytes: &[u8], position: u64) {
        let last = (position + bytes.len() as u64).div_ceil(PAGE) as usize;
        if self.pages.len() < last {
            self.pages.resize(last, None);
        }
        for (page, within, part) in pieces(position, bytes.len()) {
            let page = self.pages[page].get_or_insert_with(|| Arc::new([0; PAGE as usize]));
            Arc::make_mut(page)[within].copy_from_slice(&bytes[part]);
        }
    }

    /// Makes the file this long; what is cut off is gone, what is added reads as zeros.
    pub(super) fn set_len(&mut self, len: u64) {
        self.len = len;
        self.pages.truncate(len.div_ceil(PAGE) as usize);
        let end = (len % PAGE) as usize;
        if end != 0
            && let Some(Some(page)) = self.pages.get_mut((len / PAGE) as usize)
            && page[end..].iter().any(|&byte| byte != 0)
        {
            Arc::make_mut(page)[end..].fill(0);
        }
    }

    /// How many pages in this range have never been written.
    pub(super) fn holes(&self, pages: Range<u64>) -> u64 {
        pages
            .filter(|&page| self.pages.get(page as usize).is_none_or(Option::is_none))
            .count() as u64
    }

    /// How many pages from this one on have been written.
    pub(super) fn written_from(&self, page: u64) -> u64 {
        self.pages.iter().skip(page as usize).flatten().count() as u64
    }
}

/// Cuts `len` bytes at `position` at page borders: the page's number, the range in it, and the
/// range in the bytes.
fn pieces(position: u64, len: usize) -> impl Iterator<Item = (usize, Range<usize>, Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let at = position + done as u64;
        let within = (at % PAGE) as usize;
        let count = (PAGE as usize - within).min(len - done);
        let piece = (
            (at / PAGE) as usize,
            within..within + count,
            done..done + count,
        );
        done += count;
        Some(piece)
    })
}
