//! Writing a sorted table, front to back in several places at once: rows come sorted by hash, and
//! the filter, the fence and the names grow with the hash as well. So memory does not grow with the
//! table.

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

/// What a table is to hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Content {
    pub(crate) kind: Kind,
    pub(crate) identity: Identity,
    /// Of the hasher that made the hashes.
    pub(crate) fingerprint: u64,
    /// The first offset that the table covers; of last versions, the first number.
    pub(crate) from: u64,
    /// The one behind the last.
    pub(crate) to: u64,
    /// About how many rows there will be, or more. The file is laid out for them. There are never
    /// more last versions than that.
    pub(crate) expected_rows: u64,
    /// As `expected_rows`, of different hashes.
    pub(crate) expected_hashes: u64,
}

/// A table that is being written. Dropped before [`TableWriter::finish`], nothing is left of it.
pub(crate) struct TableWriter<'a> {
    files: &'a dyn FileSystem,
    out: NewFile<'a>,
    /// Rows, hashes and bytes of names are those so far.
    header: Header,
    filter: PageStream,
    fence: PageStream,
    rows: PageStream,
    in_page: usize,
    names: PageStream,
    /// The name that is being added.
    name: Vec<u8>,
    /// The next number of the fence.
    next_fence: u64,
    last: Option<Row>,
}

impl<'a> TableWriter<'a> {
    /// Begins a table in `dir`.
    ///
    /// # Panics
    ///
    /// If it is to cover nothing.
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

    /// Adds a last version, which must not come before the one added last by hash and version.
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

    /// Adds a page that cannot be read, in the place of last versions of a damaged table which are
    /// lost: of hashes from that of the row before on, and up to `to`. What comes next must not lie
    /// before that. `known` gives the pages of the damaged table's filter, which is as large as
    /// this one's and knows which hashes there were; none of one that is damaged itself.
    pub(super) fn push_lost(
        &mut self,
        to: KeyHash,
        known: impl Fn(u64) -> Result<Option<Page>, FileError>,
    ) -> Result<(), FileError> {
        let from = self.last.map_or(KeyHash(0), |last| last.hash);
        // A page is full but for the last: the one before ends with its last row again and again.
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

    /// Writes the rest and gives the table its name; when this returns, it is durable.
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

    /// Takes over what is known of the hashes from one to another.
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

    /// Lets the fence point to the page of rows that is being filled for all hashes above the last
    /// page's up to this one.
    ///
    /// # Panics
    ///
    /// If names begin in that page: there are more rows than were expected.
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

    /// Ends the last page of names. Without any, the file ends with its rows.
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
