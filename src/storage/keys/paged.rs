//! A mapped file of pages, each checked before it is believed.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;

use crate::storage::{
    files::FileError,
    format::page::{self, PAGE_BYTES, Page},
};

/// A part of a file is not what was written there.
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
    /// It is of another partition, or another file of this one.
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

/// A mapped file.
pub(super) struct Paged {
    path: PathBuf,
    bytes: Bytes,
    salt: u32,
    /// A bit for each of the pages that stay checked.
    checked: Box<[AtomicU64]>,
}

impl Paged {
    /// The pages below `kept` are checked at their first use only; they are the ones that look-ups
    /// come back to.
    pub(super) fn new(path: PathBuf, bytes: Bytes, salt: u32, kept: u64) -> Self {
        let kept = kept.min(bytes.len() as u64 / PAGE_BYTES as u64);
        let checked = (0..kept.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Self {
            path,
            bytes,
            salt,
            checked,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub(super) fn salt(&self) -> u32 {
        self.salt
    }

    /// A page, checked now.
    pub(super) fn page(&self, number: u64) -> Result<&Page, Damaged> {
        self.unchecked(number)
            .filter(|page| page::is_sound(page, self.salt, number))
            .ok_or_else(|| self.damaged_at(number.saturating_mul(PAGE_BYTES as u64)))
    }

    /// A page that stays checked.
    #[inline]
    pub(super) fn kept_page(&self, number: u64) -> Result<&Page, Damaged> {
        let word = usize::try_from(number / 64)
            .ok()
            .and_then(|word| self.checked.get(word));
        let Some(word) = word else {
            return self.page(number);
        };
        let bit = 1 << (number % 64);
        // Relaxed: the bit says nothing of other memory, for the file's bytes do not change.
        if word.load(Ordering::Relaxed) & bit == 0 {
            self.page(number)?;
            word.fetch_or(bit, Ordering::Relaxed);
        }
        self.unchecked(number)
            .ok_or_else(|| self.damaged_at(number.saturating_mul(PAGE_BYTES as u64)))
    }

    pub(super) fn damaged_at(&self, position: u64) -> Damaged {
        Damaged {
            path: self.path.clone(),
            position,
        }
    }

    #[inline]
    fn unchecked(&self, number: u64) -> Option<&Page> {
        let at = usize::try_from(number.checked_mul(PAGE_BYTES as u64)?).ok()?;
        self.bytes.get(at..)?.first_chunk()
    }
}
