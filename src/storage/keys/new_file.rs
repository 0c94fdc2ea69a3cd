//! Writing an immutable file under a temporary name until it is complete.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    env::{File, FileSystem, Open},
    storage::{
        files::{Action, FileError, STEP_BYTES, remove_file, sync_parent},
        format::page::{self, PAGE_BYTES, Page},
    },
};

/// The extension of an incomplete file.
pub(super) const NEW: &str = "new";

/// How many bytes are gathered for one write.
const WRITE_BYTES: usize = 64 * PAGE_BYTES;

/// A file under its temporary name. It is removed if it is dropped before it is finished.
pub(super) struct NewFile<'a> {
    files: &'a dyn FileSystem,
    file: Arc<dyn File>,
    new: PathBuf,
    path: PathBuf,
    unsynced: u64,
    finished: bool,
}

impl<'a> NewFile<'a> {
    /// Begins the file that will be at `path`. Removes the remains of an earlier attempt.
    pub(super) fn create(files: &'a dyn FileSystem, path: PathBuf) -> Result<Self, FileError> {
        let new = path.with_extension(NEW);
        remove_file(files, &new)?;
        let file = files
            .open(&new, Open::Create)
            .map_err(FileError::when(Action::Create, &new))?;
        Ok(Self {
            files,
            file,
            new,
            path,
            unsynced: 0,
            finished: false,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn write(&mut self, bytes: &[u8], position: u64) -> Result<(), FileError> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.file
            .write_all_at(&[bytes], position)
            .map_err(FileError::when(Action::Write, &self.new))?;
        self.unsynced += bytes.len() as u64;
        if self.unsynced >= STEP_BYTES {
            self.sync()?;
        }
        Ok(())
    }

    /// Makes the content durable, then gives the file its name.
    pub(super) fn finish(mut self) -> Result<(), FileError> {
        self.sync()?;
        self.files
            .rename(&self.new, &self.path)
            .map_err(FileError::when(Action::Rename, &self.path))?;
        self.finished = true;
        sync_parent(self.files, &self.path)
    }

    fn sync(&mut self) -> Result<(), FileError> {
        self.file
            .sync_data()
            .map_err(FileError::when(Action::Sync, &self.new))?;
        self.unsynced = 0;
        Ok(())
    }
}

impl Drop for NewFile<'_> {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        // The caller reports the error that came first. The file only takes space until the next
        // start.
        if let Err(error) = remove_file(self.files, &self.new) {
            tracing::warn!(%error, "what was written of an index stays");
        }
    }
}

/// Consecutive pages of one part of a file.
pub(super) struct PageStream {
    salt: u32,
    /// The number of the page that is being filled.
    number: u64,
    page: Box<Page>,
    /// Sealed pages before it that are not written yet.
    sealed: Vec<u8>,
}

impl PageStream {
    /// Begins at the page with this number.
    pub(super) fn new(salt: u32, number: u64) -> Self {
        Self {
            salt,
            number,
            page: Box::new([0; PAGE_BYTES]),
            sealed: Vec::new(),
        }
    }

    /// The number of the page that is being filled.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The page that is being filled, zeros at first.
    pub(super) fn page(&mut self) -> &mut Page {
        &mut self.page
    }

    /// Seals the page and begins the next.
    pub(super) fn turn(&mut self, out: &mut NewFile<'_>) -> Result<(), FileError> {
        page::seal(&mut self.page, self.salt, self.number);
        self.leave(out)
    }

    /// Makes the page unreadable on purpose and begins the next.
    pub(super) fn turn_unsound(&mut self, out: &mut NewFile<'_>) -> Result<(), FileError> {
        page::seal(&mut self.page, self.salt, self.number);
        self.page[PAGE_BYTES - 1] ^= 0xff;
        self.leave(out)
    }

    fn leave(&mut self, out: &mut NewFile<'_>) -> Result<(), FileError> {
        self.sealed.extend_from_slice(&self.page[..]);
        self.page.fill(0);
        self.number += 1;
        if self.sealed.len() >= WRITE_BYTES {
            self.flush(out)
        } else {
            Ok(())
        }
    }

    /// Continues to the page with this number, unless it has been reached.
    pub(super) fn turn_to(&mut self, number: u64, out: &mut NewFile<'_>) -> Result<(), FileError> {
        while self.number < number {
            self.turn(out)?;
        }
        Ok(())
    }

    /// Writes out the pages before the one that is being filled.
    pub(super) fn flush(&mut self, out: &mut NewFile<'_>) -> Result<(), FileError> {
        let position = self.number * PAGE_BYTES as u64 - self.sealed.len() as u64;
        out.write(&self.sealed, position)?;
        self.sealed.clear();
        Ok(())
    }
}
