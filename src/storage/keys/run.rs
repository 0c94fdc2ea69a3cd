//! A run: an immutable file with the rows of a range of offsets.
//!
//! A look-up asks the filter first, which is one access to memory; then the fence names the page or
//! two that have the hash's rows, or, of a subject with very many, the pages to search. Pages of
//! the filter and of the fence are checked when they are first used, pages of rows at each use.

use std::{
    cell::RefCell,
    ops::Range,
    path::{Path, PathBuf},
};

pub(crate) use super::run_writer::{Content, RunWriter};
use super::{
    Damaged, Unread, Unusable,
    hash::KeyHash,
    merge::Size,
    paged::{PageRef, Paged},
};
pub(crate) use crate::storage::format::key_run::Row;
use crate::{
    env::FileSystem,
    storage::{
        files::{Action, FileError},
        format::{
            filter::{self, BLOCK_BYTES},
            key_run::{Header, ROWS_PER_PAGE},
            page::PAGE_BYTES,
        },
        log::Identity,
        read_only::ReadOnly,
    },
    types::{Offset, Version},
};

/// The extension of a run's name.
const EXTENSION: &str = "keys";

/// A run, open for reading.
pub(crate) struct Run {
    header: Header,
    file: Paged,
}

impl Run {
    /// Writes a run of these rows, which come in order; when this returns, it is durable.
    pub(crate) fn write(
        files: &dyn FileSystem,
        dir: &Path,
        content: &Content,
        rows: impl IntoIterator<Item = Row>,
    ) -> Result<Self, FileError> {
        let mut writer = RunWriter::create(files, dir, content)?;
        rows.into_iter().try_for_each(|row| writer.push(row))?;
        writer.finish()
    }

    /// Opens the run at `path` of this partition, written with the hasher of this fingerprint.
    /// Looks at its header only.
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
        let is_named = range_of(&path) == Some(header.from..header.to);
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
        }
    }

    /// The first offset that the run covers.
    pub(crate) fn from(&self) -> Offset {
        self.header.from
    }

    /// The offset behind the last that the run covers.
    pub(crate) fn to(&self) -> Offset {
        self.header.to
    }

    /// Where the file is.
    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Whether its filter is in memory, mostly: it may be asked while a lock is held.
    pub(crate) fn is_mapped(&self) -> bool {
        self.file.is_mapped()
    }

    /// How many rows it has.
    pub(crate) fn rows(&self) -> u64 {
        self.header.rows
    }

    /// How large it is, for who merges.
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

    /// Whether there may be rows of a hash. Of a hundred that are not there, fewer than one may be.
    #[inline]
    pub(crate) fn may_have(&self, hash: KeyHash) -> Result<bool, Unread> {
        let (number, at) = self.header.filter_place(hash);
        let page = self.file.kept_page(number)?;
        let block = page[at..]
            .first_chunk::<BLOCK_BYTES>()
            .expect("blocks lie within a page");
        Ok(filter::may_have(block, hash.0))
    }

    /// As [`Run::may_have`] of each hash, answered in `found`. The questions do not wait for each
    /// other's memory.
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
            run: self,
            rows: self.near(hash)?,
            checked: RefCell::new(None),
        };
        group.rows.start = group.first_not(|row| row.hash < hash)?;
        // Most groups end in the page they begin in; the next is then not looked at.
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

    /// All rows in order. Ends at damage.
    pub(crate) fn scan(&self) -> Scan<'_> {
        Scan {
            run: self,
            next: 0,
            page: None,
        }
    }

    /// The rows of the pages that may have rows of a hash.
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

    /// The page of rows of this number, checked.
    fn row_page(&self, number: u64) -> Result<PageRef<'_>, Unread> {
        self.file.page(self.header.first_row_page() + number)
    }
}

/// Rows of a run that lie one behind the other: those of one hash, by version. Different subjects
/// of that hash are mixed.
pub(crate) struct Group<'a> {
    run: &'a Run,
    rows: Range<u64>,
    /// The page that was checked last, with its number: most rows are looked at next to each other.
    checked: RefCell<Option<(u64, PageRef<'a>)>>,
}

impl Group<'_> {
    /// How many rows there are.
    pub(crate) fn len(&self) -> usize {
        usize::try_from(self.rows.end - self.rows.start)
            .expect("a mapped file's rows can be counted")
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

    /// The place of the first row that has this version or a later one; the end if there is none.
    pub(crate) fn lower_bound(&self, version: Version) -> Result<usize, Unread> {
        let first = self.first_not(|row| row.version < version)?;
        Ok(usize::try_from(first - self.rows.start).expect("it is among the group's rows"))
    }

    /// The first of the rows of which `before` is not true, if it is true of a first part of them.
    /// Looks at the first rows of pages to find the page, then only into that one.
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

    /// Row number `number` of the run.
    fn row_at(&self, number: u64) -> Result<Row, Unread> {
        let wanted = number / ROWS_PER_PAGE;
        let mut checked = self.checked.borrow_mut();
        let page = match checked.take() {
            Some((number, page)) if number == wanted => page,
            _ => self.run.row_page(wanted)?,
        };
        let row = Row::at(&page, (number % ROWS_PER_PAGE) as usize);
        *checked = Some((wanted, page));
        Ok(row)
    }
}

/// The rows of a run in order.
pub(crate) struct Scan<'a> {
    run: &'a Run,
    next: u64,
    page: Option<PageRef<'a>>,
}

impl Iterator for Scan<'_> {
    type Item = Result<Row, Unread>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.run.header.rows {
            return None;
        }
        let nth = self.next % ROWS_PER_PAGE;
        let page = match self.page.take().filter(|_| nth > 0) {
            Some(page) => page,
            None => match self.run.row_page(self.next / ROWS_PER_PAGE) {
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
    /// What to report of rows that are not in order, which only a damaged run has.
    pub(super) fn damaged(&self) -> Damaged {
        let page = self.run.header.first_row_page() + self.next.saturating_sub(1) / ROWS_PER_PAGE;
        self.run.file.damaged_at(page * PAGE_BYTES as u64)
    }
}

/// The file of the run that covers these offsets.
pub(super) fn run_path(dir: &Path, from: Offset, to: Offset) -> PathBuf {
    dir.join(format!("{:020}-{:020}.{EXTENSION}", from.0, to.0))
}

/// The offsets that a run of this name covers; none if that is not a run's name.
pub(in crate::storage) fn range_of(path: &Path) -> Option<Range<Offset>> {
    (path.extension()? == EXTENSION).then(|| range_of_stem(path))?
}

/// As [`range_of`], whatever the extension.
pub(super) fn range_of_stem(path: &Path) -> Option<Range<Offset>> {
    let (from, to) = path.file_stem()?.to_str()?.split_once('-')?;
    let parse = |digits: &str| {
        let is_number = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| digits.parse().ok()).flatten().map(Offset)
    };
    Some(parse(from)?..parse(to)?)
}
