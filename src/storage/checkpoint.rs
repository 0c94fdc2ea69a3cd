//! The checkpoint file, kept twice.
//!
//! Both copies are replaced one after the other, so one of them is whole at any time; the one that
//! covers more counts. With both lost, the topics are found in their directories and the logs are
//! scanned.

use std::path::{Path, PathBuf};

use super::{
    files::{FileError, read_file, replace_file},
    format::{checkpoint::Checkpoint, identity::Identity},
};
use crate::env::FileSystem;

/// What was found of a checkpoint.
#[derive(Debug)]
pub(crate) enum Found {
    /// There is none: nothing was ever stored.
    None,
    /// The latest one.
    Whole(Checkpoint),
    /// There was one, and it cannot be read.
    Damaged,
}

/// Replaces the checkpoint at `path`.
pub(crate) fn store(
    files: &dyn FileSystem,
    path: &Path,
    checkpoint: &Checkpoint,
) -> Result<(), FileError> {
    let bytes = checkpoint.encode();
    copies(path)
        .iter()
        .try_for_each(|path| replace_file(files, path, &bytes))
}

/// Reads the checkpoint at `path`. `is_ours` says whether a copy belongs to the data directory that
/// it is named to.
pub(crate) fn load<E: From<FileError>>(
    files: &dyn FileSystem,
    path: &Path,
    is_ours: impl Fn(&Path, Option<Identity>) -> Result<(), E>,
) -> Result<Found, E> {
    let mut found = Found::None;
    for path in copies(path) {
        let Some(bytes) = read_file(files, &path)? else {
            continue;
        };
        let checkpoint = Checkpoint::decode(&bytes);
        if let Some(checkpoint) = &checkpoint {
            is_ours(&path, checkpoint.directory)?;
        }
        match (checkpoint, &found) {
            (Some(new), Found::Whole(old)) if new.applied <= old.applied => {}
            (Some(new), _) => found = Found::Whole(new),
            (None, Found::None) => {
                tracing::warn!(path = %path.display(), "a copy of the checkpoint is damaged");
                found = Found::Damaged;
            }
            (None, _) => {
                tracing::warn!(path = %path.display(), "a copy of the checkpoint is damaged");
            }
        }
    }
    Ok(found)
}

/// The two files of the checkpoint at `path`.
pub(super) fn copies(path: &Path) -> [PathBuf; 2] {
    [path.to_owned(), path.with_extension("copy")]
}
