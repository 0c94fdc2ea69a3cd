//! Writes a sorted table from front to back in several places at once: rows come sorted by hash,
//! and filter, fence and names are in the same order. So the memory does not grow with the table.

use std::path::Path;

use super::{
    new_file::{NewFile, PageStream},
    sorted_table::{SortedTable, table_path},
};
use crate::{
    env::FileSystem,
    storage::{
        files::{Action, FileError},
        format::{
            filter::{self, BLOCK_BYTES, BLOCKS_IN_PAGE_BYTES},
            page::{CONTENT_BYTES, Page},
            sorted_table::{
                Header, KeyHash, Kind, LastVersion, Names, ROWS_PER_PAGE, Row, fence_bits_for,
                pages_for,
            },
        },
        log::Identity,
        read_only::ReadOnly,
    },
};

/// What a table will contain.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Content {
    pub(crate) kind: Kind,
    pub(crate) identity: Identity,
    /// The fingerprint of the hasher that made the hashes.
    pub(crate) fingerprint: u64,
    /// The first offset that the table covers; of last versions, the first number.
    pub(crate) from: u64,
    /// The offset, or number, behind the last that the table covers.
    pub(crate) to: u64,
    /// Roughly how many rows there will be, or more: the file is laid out for this number. A table
    /// of last versions must not get more.
    pub(crate) expected_rows: u64,
    /// As `expected_rows`, for the number of different hashes.
    pub(crate) expected_hashes: u64,
}

/// A table while it is being written. Nothing is left of it if it is dropped before
/// [`TableWriter::finish`].
pub(crate) struct TableWriter<'a> {
    files: &'a dyn FileSystem,
    out: NewFile<'a>,
    /// With the numbers of rows, hashes and bytes of names so far.
    header: Header,
    filter: PageStream,
    fence: PageStream,
    rows: PageStream,
    in_page: usize,
    names: PageStream,
    /// A buffer for the encoded name.
    name: Vec<u8>,
    /// The index of the next number of the fence.
    next_fence: u64,
    last: Option<Row>,
}

impl<'a> TableWriter<'a> {
    /// Begins a table in `dir`.
    ///
    /// # Panics
    ///
    /// If the range that it covers is empty.
    pub(crate) fn create(
        files: &'a dyn FileSystem,
        dir: &Path,
        content: &Content,
    ) -> Result<Self, FileError> {
        assert!(content.from < content.to, "a table covers something");
        let mut header = Header {
            topic: content.identity.topic,
            partition: content.identity.partition,
            from: content.from,
            to: content.to,
            rows: 0,
            hashes: 0,
            fence_bits: fence_bits_for(content.expected_rows),
            filter_blocks: filter::blocks_for(content.expected_hashes),
            fingerprint: content.fingerprint,
            names: None,
        };
        let behind_rows = header.first_row_page() + pages_for(content.expected_rows);
        if content.kind == Kind::LastVersions {
            header.names = Some(Names {
                page: behind_rows,
                bytes: 0,
            });
        }
        let stream = |page| PageStream::new(header.salt(), page);
        let path = table_path(dir, content.kind, content.from..content.to);
        Ok(Self {
            files,
            out: NewFile::create(files, path)?,
            header,
            filter: stream(1),
            fence: stream(header.first_fence_page()),
            rows: stream(header.first_row_page()),
            in_page: 0,
            names: stream(behind_rows),
            name: Vec::new(),
            next_fence: 0,
            last: None,
        })
    }

    /// Adds a row, which must not sort before the last one added.
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

    /// Adds a last version, which must not sort before the last one added.
    pub(crate) fn push_last_version(&mut self, last: &LastVersion) -> Result<(), FileError> {
        let place = self.header.names.map_or(0, |names| names.bytes);
        let mut name = std::mem::take(&mut self.name);
        name.clear();
        last.name.encode(&mut name);
        self.put_name(&name)?;
        self.name = name;
        self.push(Row {
            hash: last.hash,
            version: last.version,
            place,
        })
    }

    /// Adds an unreadable page in place of last versions that are lost from a damaged table: those
    /// with hashes from that of the last row added up to `to`. What is added next must not sort
    /// before `to`. `known` returns the pages of the damaged table's filter, which has the size of
    /// this one and knows which hashes there were; `None` for a page that is damaged itself.
    pub(super) fn push_lost(
        &mut self,
        to: KeyHash,
        known: impl Fn(u64) -> Result<Option<Page>, FileError>,
    ) -> Result<(), FileError> {
        let from = self.last.map_or(KeyHash(0), |last| last.hash);
        // All pages but the last must be full, so the last row is repeated to the end of the page.
        while let Some(last) = self.last
            && !(self.in_page == 0 || self.in_page == ROWS_PER_PAGE as usize)
        {
            self.push(last)?;
        }
        if self.in_page > 0 {
            self.end_row_page()?;
        }
        self.header.rows += ROWS_PER_PAGE;
        self.point_fence_to_row_page(to)?;
        self.rows.turn_unsound(&mut self.out)?;
        self.copy_filter(from, to, known)
    }

    /// Completes the table and gives it its name; it is durable when this returns.
    pub(crate) fn finish(mut self) -> Result<SortedTable, FileError> {
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
        self.end_names()?;
        for stream in [
            &mut self.filter,
            &mut self.fence,
            &mut self.rows,
            &mut self.names,
        ] {
            stream.flush(&mut self.out)?;
        }
        self.out.write(&self.header.encode(), 0)?;
        let path = self.out.path().to_owned();
        self.out.finish()?;
        let content = ReadOnly::open(self.files, &path, || {})
            .map_err(FileError::when(Action::Map, &path))?;
        Ok(SortedTable::new(path, content, self.header))
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

    /// Copies the filter's blocks for the hashes `from` to `to`.
    fn copy_filter(
        &mut self,
        from: KeyHash,
        to: KeyHash,
        known: impl Fn(u64) -> Result<Option<Page>, FileError>,
    ) -> Result<(), FileError> {
        let (first, begin) = self.header.filter_place(from);
        let (last, end) = self.header.filter_place(to);
        for number in first..=last {
            self.filter.turn_to(number, &mut self.out)?;
            let begin = if number == first { begin } else { 0 };
            let end = if number == last {
                end + BLOCK_BYTES
            } else {
                BLOCKS_IN_PAGE_BYTES
            };
            let blocks = &mut self.filter.page()[begin..end];
            match known(number)? {
                Some(known) => blocks
                    .iter_mut()
                    .zip(&known[begin..end])
                    .for_each(|(byte, known)| *byte |= known),
                None => blocks.fill(0xff),
            }
        }
        Ok(())
    }

    /// Ends a page of rows.
    fn end_row_page(&mut self) -> Result<(), FileError> {
        let last = self.last.expect("a page that ends has a row").hash;
        self.point_fence_to_row_page(last)?;
        self.rows.turn(&mut self.out)?;
        self.in_page = 0;
        Ok(())
    }

    /// Points the fence to the page of rows that is being filled, for all hashes above the last
    /// page's, up to `last`.
    ///
    /// # Panics
    ///
    /// If that page is where the names begin: there are more rows than were expected.
    fn point_fence_to_row_page(&mut self, last: KeyHash) -> Result<(), FileError> {
        let number = self.rows.number();
        assert!(
            self.header.names.is_none_or(|names| number < names.page),
            "there are no more last versions than were expected"
        );
        let page = number - self.header.first_row_page();
        while self.next_fence <= self.header.fence_of(last) {
            self.put_fence(page)?;
        }
        Ok(())
    }

    fn put_fence(&mut self, row_page: u64) -> Result<(), FileError> {
        let (page, at) = self.header.fence_place(self.next_fence);
        self.fence.turn_to(page, &mut self.out)?;
        let row_page = u32::try_from(row_page).expect("no disk holds a table of more pages");
        self.fence.page()[at..][..size_of::<u32>()].copy_from_slice(&row_page.to_le_bytes());
        self.next_fence += 1;
        Ok(())
    }

    fn put_name(&mut self, mut rest: &[u8]) -> Result<(), FileError> {
        let names = self.header.names.as_mut();
        let names = names.expect("only tables of last versions have names");
        while !rest.is_empty() {
            let (page, at) = names.place(names.bytes);
            self.names.turn_to(page, &mut self.out)?;
            let (now, behind) = rest.split_at(rest.len().min(CONTENT_BYTES - at));
            self.names.page()[at..at + now.len()].copy_from_slice(now);
            names.bytes += now.len() as u64;
            rest = behind;
        }
        Ok(())
    }

    /// Completes the last page of names. A table without names ends with its rows.
    fn end_names(&mut self) -> Result<(), FileError> {
        let behind_rows = self.header.behind_rows();
        if let Some(names) = &mut self.header.names
            && names.bytes == 0
        {
            names.page = behind_rows;
            return Ok(());
        }
        if self.header.names.is_some() {
            self.names.turn_to(self.header.pages(), &mut self.out)?;
        }
        Ok(())
    }
}
