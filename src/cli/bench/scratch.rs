//! A directory for the files of a measurement, which is removed with everything in it.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{
    cli::Failure,
    env::{Env, FileSystem},
    storage::files::{FileError, remove_tree},
};

pub(super) struct Scratch {
    files: Arc<dyn FileSystem>,
    path: PathBuf,
    is_given_up: AtomicBool,
}

impl Scratch {
    /// Creates a directory under a name that is not in use.
    pub(super) fn create(env: &Env, parent: &Path) -> Result<Self, Failure> {
        let path = parent.join(format!("taffrail-bench-{:016x}", env.random.next_u64()));
        env.files.create_dir(&path).map_err(|error| {
            Failure::General(format!(
                "cannot create {}: {error}; choose a place with --dir",
                path.display()
            ))
        })?;
        Ok(Self {
            files: Arc::clone(&env.files),
            path,
            is_given_up: AtomicBool::new(false),
        })
    }

    /// Tells the writer in the directory to stop at its next step.
    pub(super) fn give_up(&self) {
        self.is_given_up.store(true, Ordering::Relaxed);
    }

    /// Fails if the writer is to stop. Long writes call it between steps.
    pub(super) fn check_wanted(&self) -> io::Result<()> {
        match self.is_given_up.load(Ordering::Relaxed) {
            true => Err(io::Error::other("the measurement was given up")),
            false => Ok(()),
        }
    }

    /// Removes the directory with everything in it. Nobody may write there any more.
    pub(super) fn remove(&self) -> Result<(), FileError> {
        remove_tree(&*self.files, &self.path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Normally it was removed already and errors were reported; after a panic it was not.
        let _ = self.remove();
    }
}
