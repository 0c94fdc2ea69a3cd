//! A sorted table: an immutable file with the rows of a range of offsets, or with last versions of
//! records that are gone.
//!
//! A look-up asks the filter first, which costs one access to memory. Then the fence says which
//! pages may have the hash's rows: one or two, or more for a key with very many rows. Pages of the
//! filter and the fence are checked when they are first used, pages of rows and of names at each
//! use.

use std::{
    cell::RefCell,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use bytes::Bytes;

pub(crate) use super::table_writer::{Content, TableWriter};
use super::{
    Damaged, Unread, Unusable,
    hash::KeyHash,
    merge::Size,
    paged::{PageRef, Paged},
};
pub(crate) use crate::storage::format::sorted_table::{Kind, LastVersion, Name, Row};
use crate::{
    env::FileSystem,
    storage::{
        files::{Action, FileError},
        format::{
            filter::{self, BLOCK_BYTES},
            page::{CONTENT_BYTES, PAGE_BYTES},
            sorted_table::{Header, NAME_HEAD_BYTES, Names, ROWS_PER_PAGE},
        },
        freeing::{Freeing, Leaving},
        log::Identity,
        read_only::ReadOnly,
    },
    types::{Offset, Version},
};

/// A sorted table, open for reading.
pub(crate) struct SortedTable {
    header: Header,
    file: Paged,
    /// Set once the file has lost its name: its space is freed when the table is dropped.
    leaving: OnceLock<(Leaving, Arc<Freeing>)>,
}

impl SortedTable {
    /// Writes a table of records from these rows, which must be in order; it is durable when this
    /// returns.
    pub(crate) fn write(
        files: &dyn FileSystem,
        dir: &Path,
        content: &Content,
        rows: impl IntoIterator<Item = Row>,
    ) -> Result<Self, FileError> {
        let mut writer = TableWriter::create(files, dir, content)?;
        rows.into_iter().try_for_each(|row| writer.push(row))?;
        writer.finish()
    }

    /// As [`write`](Self::write), for a table of last versions.
    pub(crate) fn write_last_versions<'l>(
        files: &dyn FileSystem,
        dir: &Path,
        content: &Content,
        lasts: impl IntoIterator<Item = &'l LastVersion>,
    ) -> Result<Self, FileError> {
        let mut writer = TableWriter::create(files, dir, content)?;
        lasts
            .into_iter()
            .try_for_each(|last| writer.push_last_version(last))?;
        writer.finish()
    }

    /// Opens the table at `path`, which must be of this partition and written with the hasher of
    /// this fingerprint. Reads the header only.
    pub(crate) fn open(
        files: &dyn FileSystem,
        path: &Path,
        identity: Identity,
        fingerprint: u64,
    ) -> Result<Self, Unusable> {
        let content =
            ReadOnly::open(files, path, || {}).map_err(FileError::when(Action::Map, path))?;
        let head = content
            .read(0, PAGE_BYTES as u64)
            .map_err(FileError::when(Action::Read, path))?;
        let path = path.to_owned();
        let Some(header) = Header::decode(&head) else {
            return Err(Unusable::Header { path });
        };
        let is_named = named(&path) == Some((header.kind(), header.from..header.to));
        if (header.topic, header.partition) != (identity.topic, identity.partition) || !is_named {
            return Err(Unusable::Misplaced { path });
        }
        if header.fingerprint != fingerprint {
            return Err(Unusable::Hasher { path });
        }
        let (found, expected) = (content.len(), header.file_bytes());
        if found != expected {
            return Err(Unusable::Length {
                path,
                found,
                expected,
            });
        }
        Ok(Self::new(path, content, header))
    }

    pub(super) fn new(path: PathBuf, content: ReadOnly, header: Header) -> Self {
        Self {
            header,
            file: Paged::new(path, content, header.salt(), header.first_row_page()),
            leaving: OnceLock::new(),
        }
    }

    /// The first offset that a table of records covers.
    pub(crate) fn from(&self) -> Offset {
        Offset(self.header.from)
    }

    /// The offset behind the last that a table of records covers.
    pub(crate) fn to(&self) -> Offset {
        Offset(self.header.to)
    }

    /// The numbers that a table of last versions covers.
    pub(crate) fn numbers(&self) -> Range<u64> {
        self.header.from..self.header.to
    }

    /// Where the file is.
    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    /// The bytes of its file from `position` on, as many as wanted, unchecked.
    pub(crate) fn read(&self, position: u64, wanted: u64) -> Result<Bytes, Unread> {
        self.file.read(position, wanted)
    }

    /// Keeps the file open, which is about to lose its name.
    pub(crate) fn leave(&self, leaving: Option<Leaving>, freeing: &Arc<Freeing>) {
        if let Some(leaving) = leaving {
            self.leaving.set((leaving, Arc::clone(freeing))).ok();
        }
    }

    /// Whether the table is mapped: its filter is then mostly in memory, and may be asked under a
    /// lock.
    pub(crate) fn is_mapped(&self) -> bool {
        self.file.is_mapped()
    }

    /// How many rows it has.
    pub(crate) fn rows(&self) -> u64 {
        self.header.rows
    }

    /// Its size, by which merges are planned.
    pub(crate) fn size(&self) -> Size {
        Size {
            rows: self.header.rows,
            hashes: self.header.hashes,
        }
    }

    /// How many bytes the file has.
    pub(crate) fn bytes(&self) -> u64 {
        self.header.file_bytes()
    }

    pub(super) fn header(&self) -> &Header {
        &self.header
    }

    /// The last version that a row stands for.
    pub(crate) fn last_version(&self, row: &Row) -> Result<LastVersion, Unread> {
        self.names().last_version(row)
    }

    /// A reader of its names. Reading them in their order costs least.
    pub(super) fn names(&self) -> NameReader<'_> {
        NameReader {
            table: self,
            page: None,
        }
    }

    /// A page of the filter.
    pub(super) fn filter_page(&self, number: u64) -> Result<PageRef<'_>, Unread> {
        self.file.kept_page(number)
    }

    /// The rows of page `number` of rows, counted from 0.
    pub(super) fn rows_in_page(&self, number: u64) -> Result<Vec<Row>, Unread> {
        let page = self.row_page(number)?;
        let rows = self.header.rows - number * ROWS_PER_PAGE;
        let rows = rows.min(ROWS_PER_PAGE) as usize;
        Ok((0..rows).map(|nth| Row::at(&page, nth)).collect())
    }

    /// Whether there may be rows of a hash. For a hash without rows, this is wrongly true in less
    /// than one of a hundred cases.
    #[inline]
    pub(crate) fn may_have(&self, hash: KeyHash) -> Result<bool, Unread> {
        let (number, at) = self.header.filter_place(hash);
        let page = self.file.kept_page(number)?;
        let block = page[at..]
            .first_chunk::<BLOCK_BYTES>()
            .expect("blocks lie within a page");
        Ok(filter::may_have(block, hash.0))
    }

    /// As [`SortedTable::may_have`] for each hash, answered in `found`. Asking together lets the
    /// accesses to memory overlap.
    pub(crate) fn may_have_each(
        &self,
        hashes: &[KeyHash],
        found: &mut [bool],
    ) -> Result<(), Unread> {
        for (hash, found) in hashes.iter().zip(found) {
            *found = self.may_have(*hash)?;
        }
        Ok(())
    }

    /// All rows of a hash.
    pub(crate) fn group(&self, hash: KeyHash) -> Result<Group<'_>, Unread> {
        let mut group = Group {
            table: self,
            rows: self.near(hash)?,
            checked: RefCell::new(None),
        };
        group.rows.start = group.first_not(|row| row.hash < hash)?;
        // Most groups end in the page in which they begin; then the next page is not read.
        let page_end = (group.rows.start / ROWS_PER_PAGE + 1) * ROWS_PER_PAGE;
        let all = group.rows.end;
        if page_end < all {
            let last_of_page = group.row_at(page_end - 1)?;
            group.rows.end = if last_of_page.hash > hash {
                page_end
            } else {
                all
            };
        }
        group.rows.end = group.first_not(|row| row.hash <= hash)?;
        Ok(group)
    }

    /// All rows in order. Stops at damage.
    pub(crate) fn scan(&self) -> Scan<'_> {
        Scan {
            table: self,
            next: 0,
            page: None,
        }
    }

    /// The rows of all pages that may have rows of a hash.
    fn near(&self, hash: KeyHash) -> Result<Range<u64>, Unread> {
        let nth = self.header.fence_of(hash);
        let first = self
            .fence(nth)?
            .saturating_mul(ROWS_PER_PAGE)
            .min(self.header.rows);
        let last = self
            .fence(nth + 1)?
            .saturating_add(1)
            .saturating_mul(ROWS_PER_PAGE)
            .min(self.header.rows);
        Ok(first..last.max(first))
    }

    fn fence(&self, nth: u64) -> Result<u64, Unread> {
        let (number, at) = self.header.fence_place(nth);
        let page = self.file.kept_page(number)?;
        let number = page[at..]
            .first_chunk()
            .expect("the numbers of the fence lie within a page");
        Ok(u64::from(u32::from_le_bytes(*number)))
    }

    fn damaged_name(&self, names: &Names, at: u64) -> Damaged {
        let page = names.place(at).0.min(self.header.pages());
        self.file.damaged_at(page * PAGE_BYTES as u64)
    }

    /// Page `number` of rows, checked.
    fn row_page(&self, number: u64) -> Result<PageRef<'_>, Unread> {
        self.file.page(self.header.first_row_page() + number)
    }
}

impl Drop for SortedTable {
    fn drop(&mut self) {
        if let Some((leaving, freeing)) = self.leaving.take()
            && self.file.close()
        {
            freeing.add(vec![leaving]);
        }
    }
}

/// Consecutive rows of a table: all rows of one hash, by version. If several keys have the hash,
/// their rows are mixed.
pub(crate) struct Group<'a> {
    table: &'a SortedTable,
    rows: Range<u64>,
    /// The page that was checked last, with its number: the next row is mostly in the same page.
    checked: RefCell<Option<(u64, PageRef<'a>)>>,
}

impl Group<'_> {
    /// How many rows there are.
    pub(crate) fn len(&self) -> usize {
        usize::try_from(self.rows.end - self.rows.start)
            .expect("a file's rows that are looked at can be counted")
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The row at this place.
    ///
    /// # Panics
    ///
    /// Past the end.
    pub(crate) fn row(&self, at: usize) -> Result<Row, Unread> {
        assert!(
            at < self.len(),
            "a group of {} rows has none at {at}",
            self.len()
        );
        self.row_at(self.rows.start + at as u64)
    }

    /// The index of the first row with this version or a later one; the end if there is none.
    pub(crate) fn lower_bound(&self, version: Version) -> Result<usize, Unread> {
        let first = self.first_not(|row| row.version < version)?;
        Ok(usize::try_from(first - self.rows.start).expect("it is among the group's rows"))
    }

    /// The first row for which `before` is false; `before` must be true for a first part of the
    /// rows and false for the rest. Finds the page by the first rows of pages, then searches that
    /// page only.
    fn first_not(&self, before: impl Fn(&Row) -> bool) -> Result<u64, Unread> {
        if self.rows.is_empty() {
            return Ok(self.rows.start);
        }
        let (mut page, mut last_page) = (
            self.rows.start / ROWS_PER_PAGE,
            (self.rows.end - 1) / ROWS_PER_PAGE,
        );
        while page < last_page {
            let middle = last_page - (last_page - page) / 2;
            if before(&self.row_at(middle * ROWS_PER_PAGE)?) {
                page = middle;
            } else {
                last_page = middle - 1;
            }
        }
        let mut low = self.rows.start.max(page * ROWS_PER_PAGE);
        let mut high = self.rows.end.min((page + 1) * ROWS_PER_PAGE);
        while low < high {
            let middle = low + (high - low) / 2;
            if before(&self.row_at(middle)?) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// Row `number` of the table.
    fn row_at(&self, number: u64) -> Result<Row, Unread> {
        let wanted = number / ROWS_PER_PAGE;
        let mut checked = self.checked.borrow_mut();
        let page = match checked.take() {
            Some((number, page)) if number == wanted => page,
            _ => self.table.row_page(wanted)?,
        };
        let row = Row::at(&page, (number % ROWS_PER_PAGE) as usize);
        *checked = Some((wanted, page));
        Ok(row)
    }
}

/// The rows of a table in order.
pub(crate) struct Scan<'a> {
    table: &'a SortedTable,
    next: u64,
    page: Option<PageRef<'a>>,
}

impl Iterator for Scan<'_> {
    type Item = Result<Row, Unread>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.table.header.rows {
            return None;
        }
        let nth = self.next % ROWS_PER_PAGE;
        let page = match self.page.take().filter(|_| nth > 0) {
            Some(page) => page,
            None => match self.table.row_page(self.next / ROWS_PER_PAGE) {
                Ok(page) => page,
                Err(damaged) => {
                    self.next = u64::MAX;
                    return Some(Err(damaged));
                }
            },
        };
        let row = Row::at(&page, nth as usize);
        self.page = Some(page);
        self.next += 1;
        Some(Ok(row))
    }
}

impl Scan<'_> {
    /// The error for rows that are not in order, which only a damaged table has.
    pub(super) fn damaged(&self) -> Damaged {
        let page = self.table.header.first_row_page() + self.next.saturating_sub(1) / ROWS_PER_PAGE;
        self.table.file.damaged_at(page * PAGE_BYTES as u64)
    }
}

/// Reads the names of a table of last versions.
pub(super) struct NameReader<'a> {
    table: &'a SortedTable,
    /// The page that was checked last, with its number: the next name is mostly in the same page.
    page: Option<(u64, PageRef<'a>)>,
}

impl NameReader<'_> {
    /// The last version that a row stands for.
    pub(super) fn last_version(&mut self, row: &Row) -> Result<LastVersion, Unread> {
        Ok(LastVersion {
            hash: row.hash,
            version: row.version,
            name: self.name(row.place)?,
        })
    }

    fn name(&mut self, at: u64) -> Result<Name, Unread> {
        let table = self.table;
        let names = table.header.names.unwrap_or(Names { page: 0, bytes: 0 });
        let damaged = || Unread::from(table.damaged_name(&names, at));
        let behind = names.bytes.checked_sub(at).ok_or_else(damaged)?;
        let head = self.bytes(&names, at, NAME_HEAD_BYTES.min(behind))?;
        let len = Name::encoded_len(&head).filter(|len| *len <= behind);
        let name = self.bytes(&names, at, len.ok_or_else(damaged)?)?;
        Name::decode(&name).ok_or_else(damaged)
    }

    /// `len` bytes of the names, which must be within them.
    fn bytes(&mut self, names: &Names, at: u64, len: u64) -> Result<Vec<u8>, Unread> {
        let end = at + len;
        let mut bytes = Vec::with_capacity(usize::try_from(len).expect("a file has as many"));
        let mut at = at;
        while at < end {
            let (number, within) = names.place(at);
            let page = match self.page.take() {
                Some((checked, page)) if checked == number => page,
                _ => self.table.file.page(number)?,
            };
            let part = (CONTENT_BYTES - within).min((end - at) as usize);
            bytes.extend_from_slice(&page[within..within + part]);
            self.page = Some((number, page));
            at += part as u64;
        }
        Ok(bytes)
    }
}

/// The file of the table of this kind that covers these offsets, or numbers.
pub(in crate::storage) fn table_path(dir: &Path, kind: Kind, covers: Range<u64>) -> PathBuf {
    let extension = extension(kind);
    dir.join(format!(
        "{:020}-{:020}.{extension}",
        covers.start, covers.end
    ))
}

/// The kind of a table, and what it covers, by its name; `None` for any other name.
pub(in crate::storage) fn named(path: &Path) -> Option<(Kind, Range<u64>)> {
    let its_own = path.extension()?;
    let kind = [Kind::Records, Kind::LastVersions]
        .into_iter()
        .find(|kind| its_own == extension(*kind))?;
    Some((kind, covered_by_stem(path)?))
}

/// What a table covers, by its name without the extension.
pub(super) fn covered_by_stem(path: &Path) -> Option<Range<u64>> {
    let (from, to) = path.file_stem()?.to_str()?.split_once('-')?;
    let covers = parse_number(from)?..parse_number(to)?;
    (!covers.is_empty()).then_some(covers)
}

/// Reads a number of 20 digits.
pub(super) fn parse_number(digits: &str) -> Option<u64> {
    let is_number = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten()
}

fn extension(kind: Kind) -> &'static str {
    match kind {
        Kind::Records => "keys",
        Kind::LastVersions => "versions",
    }
}
