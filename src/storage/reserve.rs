//! The reserve file: room on the disk that nobody else can take.
//!
//! Free room can be taken by any process. When others have filled the disk to its last byte, a trim
//! or a deletion frees nothing: files are removed behind a checkpoint, and a checkpoint must be
//! written. The room of this file is given up then, and taken again when there is enough.
//!
//! The file has no content. Nothing about it is synced: one that a power cut takes is made again.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::files::{Action, FileError, remove_file};
use crate::env::{Env, File, FileSystem, Open};

/// The reserve file of a data directory.
pub(crate) struct Reserve {
    files: Arc<dyn FileSystem>,
    path: PathBuf,
    /// Its length; 0 for none.
    bytes: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// How many bytes the file has.
    held: u64,
    /// Whether all of the file is known to have room: a copy of it may have holes.
    is_made: bool,
}

impl Reserve {
    /// The file of the data directory `root`. If it does not exist, it is not made yet.
    pub(crate) fn new(env: &Env, root: &Path, bytes: u64) -> Self {
        let (files, path) = (Arc::clone(&env.files), root.join("reserve"));
        let mut state = State::default();
        if bytes > 0 {
            let file = files.open(&path, Open::Read);
            state.held = file.and_then(|file| file.len()).unwrap_or(0);
        }
        Self {
            files,
            path,
            bytes,
            state: Mutex::new(state),
        }
    }

    /// How many bytes the file holds now.
    pub(crate) fn held(&self) -> u64 {
        self.lock().held
    }

    /// Whether it is there, or none is wanted.
    pub(crate) fn is_made(&self) -> bool {
        self.bytes == 0 || self.lock().is_made
    }

    /// Makes the file, unless it is there. If it cannot be made, there is none.
    pub(crate) fn make(&self) -> Result<(), FileError> {
        let mut state = self.lock();
        if self.bytes == 0 || state.is_made {
            return Ok(());
        }
        match self.allocate() {
            Ok(()) => {
                *state = State {
                    held: self.bytes,
                    is_made: true,
                };
                Ok(())
            }
            Err(error) => {
                self.remove(&mut state);
                Err(error)
            }
        }
    }

    /// Removes the file; returns whether it held anything.
    pub(crate) fn give_up(&self) -> bool {
        let mut state = self.lock();
        let held = state.held;
        self.remove(&mut state);
        held > 0
    }

    fn allocate(&self) -> Result<(), FileError> {
        let file = self.open()?;
        let len = file
            .len()
            .map_err(FileError::when(Action::Read, &self.path))?;
        if len > self.bytes {
            file.set_len(self.bytes)
                .map_err(FileError::when(Action::Cut, &self.path))?;
        }
        file.allocate(self.bytes)
            .map_err(FileError::when(Action::Reserve, &self.path))
    }

    fn open(&self) -> Result<Arc<dyn File>, FileError> {
        match self.files.open(&self.path, Open::Write) {
            Err(error) if error.kind() == ErrorKind::NotFound => self
                .files
                .open(&self.path, Open::Create)
                .map_err(FileError::when(Action::Create, &self.path)),
            opened => opened.map_err(FileError::when(Action::Open, &self.path)),
        }
    }

    fn remove(&self, state: &mut State) {
        *state = State::default();
        if let Err(error) = remove_file(&*self.files, &self.path) {
            tracing::warn!(%error, "the room of the reserve file cannot be given up");
        }
    }

    /// No code panics while it holds this lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
