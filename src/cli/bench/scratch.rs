//! A directory for the files of a measurement, removed with all that is in it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    cli::Failure,
    env::{Env, FileSystem},
    storage::files::remove_tree,
};

pub(super) struct Scratch {
    files: Arc<dyn FileSystem>,
    path: PathBuf,
}

impl Scratch {
    /// Creates a directory of a name that nobody has.
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
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = remove_tree(&*self.files, &self.path) {
            tracing::warn!("{error}; remove {} yourself", self.path.display());
        }
    }
}
