//! A file of pages, each of which is checked before it is used.

use std::{
    io,
    ops::Deref,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;

use crate::storage::{
    fault::{self, Meaning},
    files::{Action, FileError},
    format::page::{self, PAGE_BYTES, Page},
    read_only::{Maps, ReadOnly},
};

/// A part of a file is damaged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} is damaged at byte {position}", path.display())]
pub(crate) struct Damaged {
    pub(crate) path: PathBuf,
    pub(crate) position: u64,
}

/// Why a whole file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unusable {
    /// It cannot be read, or is not there.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is not one of ours, of another version, or its header is damaged.
    #[error("{} has no sound header", path.display())]
    Header { path: PathBuf },
    /// It belongs to another partition, or is another file of this one.
    #[error("{} holds what belongs under another name", path.display())]
    Misplaced { path: PathBuf },
    /// It was written with another hasher.
    #[error("{} has hashes of another kind", path.display())]
    Hasher { path: PathBuf },
    /// It is shorter or longer than its header says.
    #[error("{} has {found} bytes, and should have {expected}", path.display())]
    Length {
        path: PathBuf,
        found: u64,
        expected: u64,
    },
}

/// Why a part of a file could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unread {
    /// It is damaged.
    #[error(transparent)]
    Damaged(#[from] Damaged),
    /// It cannot be read at the moment.
    #[error(transparent)]
    Unavailable(FileError),
}

impl Unread {
    /// What was read; `None` if it is damaged.
    pub(crate) fn unless_damaged<T>(read: Result<T, Self>) -> Result<Option<T>, FileError> {
        match read {
            Ok(read) => Ok(Some(read)),
            Err(Self::Damaged(_)) => Ok(None),
            Err(Self::Unavailable(error)) => Err(error),
        }
    }
}

/// A file of pages.
pub(super) struct Paged {
    path: PathBuf,
    content: ReadOnly,
    maps: Maps,
    salt: u32,
    /// A bit for each page below `kept`: whether the page was checked.
    checked: Box<[AtomicU64]>,
}

/// A page of a file.
#[derive(Clone)]
pub(super) enum PageRef<'a> {
    Mapped(&'a Page),
    /// A page that was read from a file.
    Read(Bytes),
}

impl Deref for PageRef<'_> {
    type Target = Page;

    #[inline]
    fn deref(&self) -> &Page {
        match self {
            Self::Mapped(page) => page,
            Self::Read(bytes) => bytes.first_chunk().expect("it has a page's bytes"),
        }
    }
}

impl Paged {
    /// If the file is mapped, the pages below `kept` are checked only when they are first used;
    /// look-ups use these again and again.
    pub(super) fn new(path: PathBuf, content: ReadOnly, salt: u32, kept: u64) -> Self {
        let maps = Maps::default();
        let content = maps.count(content);
        let kept = match &content {
            ReadOnly::Mapped(bytes) => kept.min(bytes.len() as u64 / PAGE_BYTES as u64),
            ReadOnly::Positioned(..) => 0,
        };
        let checked = (0..kept.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Self {
            path,
            content,
            maps,
            salt,
            checked,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Closes the file. Returns whether nobody has bytes of its map.
    pub(super) fn close(&mut self) -> bool {
        self.content = ReadOnly::nothing();
        !self.maps.has_any()
    }

    pub(super) fn salt(&self) -> u32 {
        self.salt
    }

    /// Whether reading a page mostly costs no more than an access to memory.
    pub(super) fn is_mapped(&self) -> bool {
        matches!(self.content, ReadOnly::Mapped(_))
    }

    /// `wanted` bytes from `position` on, or fewer at the end of the file.
    pub(super) fn read(&self, position: u64, wanted: u64) -> Result<Bytes, Unread> {
        let read = self.content.read(position, wanted);
        read.map_err(|error| self.unread(error, position))
    }

    /// A page, checked now.
    pub(super) fn page(&self, number: u64) -> Result<PageRef<'_>, Unread> {
        let page = self.unchecked(number)?;
        if page::is_sound(&page, self.salt, number) {
            Ok(page)
        } else {
            Err(self.damaged_page(number).into())
        }
    }

    /// A page below `kept`, which is checked only once.
    #[inline]
    pub(super) fn kept_page(&self, number: u64) -> Result<PageRef<'_>, Unread> {
        let word = usize::try_from(number / 64)
            .ok()
            .and_then(|word| self.checked.get(word));
        let Some(word) = word else {
            return self.page(number);
        };
        let bit = 1 << (number % 64);
        // Relaxed is enough: the bit guards no other memory, as the file's bytes do not change.
        if word.load(Ordering::Relaxed) & bit == 0 {
            self.page(number)?;
            word.fetch_or(bit, Ordering::Relaxed);
        }
        self.unchecked(number)
    }

    pub(super) fn damaged_at(&self, position: u64) -> Damaged {
        Damaged {
            path: self.path.clone(),
            position,
        }
    }

    fn damaged_page(&self, number: u64) -> Damaged {
        self.damaged_at(number.saturating_mul(PAGE_BYTES as u64))
    }

    fn unread(&self, error: io::Error, position: u64) -> Unread {
        match fault::of_reading(&error) {
            Meaning::Damage => self.damaged_at(position).into(),
            Meaning::Passing | Meaning::Fatal => {
                Unread::Unavailable(FileError::when(Action::Read, &self.path)(error))
            }
        }
    }

    #[inline]
    fn unchecked(&self, number: u64) -> Result<PageRef<'_>, Unread> {
        let position = number.saturating_mul(PAGE_BYTES as u64);
        if let ReadOnly::Mapped(bytes) = &self.content {
            let page = usize::try_from(position)
                .ok()
                .and_then(|at| bytes.get(at..)?.first_chunk());
            return page
                .map(PageRef::Mapped)
                .ok_or_else(|| self.damaged_page(number).into());
        }
        let bytes = self.read(position, PAGE_BYTES as u64)?;
        if bytes.len() == PAGE_BYTES {
            Ok(PageRef::Read(bytes))
        } else {
            Err(self.damaged_page(number).into())
        }
    }
}
