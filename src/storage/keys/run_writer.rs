//! Writing a run, front to back in three places at once: rows come sorted by hash, and the filter
//! and the fence grow with the hash as well. So memory does not grow with the run.

use std::path::Path;

use super::{
    new_file::{NewFile, PageStream},
    run::{Run, run_path},
};
use crate::{
    env::FileSystem,
    storage::{
        files::{Action, FileError},
        format::{
            filter::{self, BLOCK_BYTES},
            key_run::{Header, KeyHash, ROWS_PER_PAGE, Row, fence_bits_for},
        },
        log::Identity,
        read_only::ReadOnly,
    },
    types::Offset,
};

/// What a run is to hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Content {
    pub(crate) identity: Identity,
    /// Of the hasher that made the hashes.
    pub(crate) fingerprint: u64,
    /// The first offset that the run covers.
    pub(crate) from: Offset,
    /// The offset behind the last.
    pub(crate) to: Offset,
    /// About how many rows there will be, or more. The file is laid out for them.
    pub(crate) expected_rows: u64,
    /// As `expected_rows`, of different hashes.
    pub(crate) expected_hashes: u64,
}

/// A run that is being written. Dropped before [`RunWriter::finish`], nothing is left of it.
pub(crate) struct RunWriter<'a> {
    files: &'a dyn FileSystem,
    out: NewFile<'a>,
    /// Rows and hashes are those so far.
    header: Header,
    filter: PageStream,
    fence: PageStream,
    rows: PageStream,
    in_page: usize,
    /// The next number of the fence.
    next_fence: u64,
    last: Option<Row>,
}

impl<'a> RunWriter<'a> {
    /// Begins a run in `dir`.
    ///
    /// # Panics
    ///
    /// If it is to cover no offset.
    pub(crate) fn create(
        files: &'a dyn FileSystem,
        dir: &Path,
        content: &Content,
    ) -> Result<Self, FileError> {
        assert!(
            content.from < content.to,
            "a run covers at least one offset"
        );
        let header = Header {
            topic: content.identity.topic,
            partition: content.identity.partition,
            from: content.from,
            to: content.to,
            rows: 0,
            hashes: 0,
            fence_bits: fence_bits_for(content.expected_rows),
            filter_blocks: filter::blocks_for(content.expected_hashes),
            fingerprint: content.fingerprint,
        };
        let stream = |page| PageStream::new(header.salt(), page);
        Ok(Self {
            files,
            out: NewFile::create(files, run_path(dir, content.from, content.to))?,
            header,
            filter: stream(1),
            fence: stream(header.first_fence_page()),
            rows: stream(header.first_row_page()),
            in_page: 0,
            next_fence: 0,
            last: None,
        })
    }

    /// Adds a row, which must not come before the one added last.
    pub(crate) fn push(&mut self, row: Row) -> Result<(), FileError> {
        debug_assert!(
            self.last.is_none_or(|last| last <= row),
            "rows come in order"
        );
        if self.last.is_none_or(|last| last.hash != row.hash) {
            self.add_to_filter(row.hash)?;
            self.header.hashes += 1;
        }
        if self.in_page == ROWS_PER_PAGE as usize {
            self.end_row_page()?;
        }
        row.put(self.rows.page(), self.in_page);
        self.in_page += 1;
        self.header.rows += 1;
        self.last = Some(row);
        Ok(())
    }

    /// Writes the rest and gives the run its name; when this returns, it is durable.
    pub(crate) fn finish(mut self) -> Result<Run, FileError> {
        if self.in_page > 0 {
            self.end_row_page()?;
        }
        let behind = self.header.row_pages();
        while self.next_fence < self.header.fence_len() {
            self.put_fence(behind)?;
        }
        self.fence
            .turn_to(self.header.first_row_page(), &mut self.out)?;
        self.filter
            .turn_to(self.header.first_fence_page(), &mut self.out)?;
        for stream in [&mut self.filter, &mut self.fence, &mut self.rows] {
            stream.flush(&mut self.out)?;
        }
        self.out.write(&self.header.encode(), 0)?;
        let path = self.out.path().to_owned();
        self.out.finish()?;
        let content = ReadOnly::open(self.files, &path, || {})
            .map_err(FileError::when(Action::Map, &path))?;
        Ok(Run::new(path, content, self.header))
    }

    fn add_to_filter(&mut self, hash: KeyHash) -> Result<(), FileError> {
        let (page, at) = self.header.filter_place(hash);
        self.filter.turn_to(page, &mut self.out)?;
        let block = self.filter.page()[at..]
            .first_chunk_mut::<BLOCK_BYTES>()
            .expect("blocks lie within a page");
        filter::add(block, hash.0);
        Ok(())
    }

    /// Ends a page of rows, and lets the fence point to it for all hashes above the last page's up
    /// to its last.
    fn end_row_page(&mut self) -> Result<(), FileError> {
        let last = self.last.expect("a page that ends has a row").hash;
        let page = self.rows.number() - self.header.first_row_page();
        while self.next_fence <= self.header.fence_of(last) {
            self.put_fence(page)?;
        }
        self.rows.turn(&mut self.out)?;
        self.in_page = 0;
        Ok(())
    }

    fn put_fence(&mut self, row_page: u64) -> Result<(), FileError> {
        let (page, at) = self.header.fence_place(self.next_fence);
        self.fence.turn_to(page, &mut self.out)?;
        let row_page = u32::try_from(row_page).expect("no disk holds a run of more pages");
        self.fence.page()[at..][..size_of::<u32>()].copy_from_slice(&row_page.to_le_bytes());
        self.next_fence += 1;
        Ok(())
    }
}
