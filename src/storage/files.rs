//! Small things done to files so that a crash in between does no harm.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::env::{FileSystem, Open};

/// An I/O error with what was being done to which file.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}", path.display())]
pub(crate) struct FileError {
    pub(crate) action: &'static str,
    pub(crate) path: PathBuf,
    pub(crate) source: io::Error,
}

impl FileError {
    /// For `map_err`.
    pub(crate) fn when(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self {
            action,
            path: path.to_owned(),
            source,
        }
    }

    /// Whether the disk has no room: nothing is broken, and it may pass.
    pub(crate) fn is_disk_full(&self) -> bool {
        matches!(
            self.source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        ) && self.action != SYNC
    }
}

/// What [`FileError::action`] says of a failed sync, which is never taken for a passing lack of
/// room.
pub(crate) const SYNC: &str = "sync";

/// Reads a whole file; none if there is none.
pub(crate) fn read_file(files: &dyn FileSystem, path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    let file = match files.open(path, Open::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(FileError::when("open", path)(error)),
    };
    let len = file.len().map_err(FileError::when("read", path))?;
    let mut bytes = vec![0; usize::try_from(len).expect("files that are read whole fit memory")];
    file.read_exact_at(&mut bytes, 0)
        .map_err(FileError::when("read", path))?;
    Ok(Some(bytes))
}

/// Gives a file a new content: after a crash it has the old one or the new one, and after this
/// returns the new one.
pub(crate) fn replace_file(
    files: &dyn FileSystem,
    path: &Path,
    content: &[u8],
) -> Result<(), FileError> {
    let new = path.with_extension("new");
    remove_file(files, &new)?;
    let file = files
        .open(&new, Open::Create)
        .map_err(FileError::when("create", &new))?;
    file.write_all_at(&[content], 0)
        .map_err(FileError::when("write", &new))?;
    file.sync_data().map_err(FileError::when(SYNC, &new))?;
    files
        .rename(&new, path)
        .map_err(FileError::when("rename to", path))?;
    sync_parent(files, path)
}

/// Makes the name of `path` durable.
pub(crate) fn sync_parent(files: &dyn FileSystem, path: &Path) -> Result<(), FileError> {
    let parent = path
        .parent()
        .expect("every path of ours is below the data directory");
    files
        .sync_dir(parent)
        .map_err(FileError::when(SYNC, parent))
}

/// Creates a directory if there is none; returns whether it did. The name is not durable yet.
pub(crate) fn ensure_dir(files: &dyn FileSystem, path: &Path) -> Result<bool, FileError> {
    match files.create_dir(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(FileError::when("create", path)(error)),
    }
}

/// Removes a file if there is one.
pub(crate) fn remove_file(files: &dyn FileSystem, path: &Path) -> Result<(), FileError> {
    match files.remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(FileError::when("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Removes a directory with all that is in it, if there is one.
pub(crate) fn remove_tree(files: &dyn FileSystem, path: &Path) -> Result<(), FileError> {
    if !files
        .exists(path)
        .map_err(FileError::when("look for", path))?
    {
        return Ok(());
    }
    for entry in files
        .read_dir(path)
        .map_err(FileError::when("list", path))?
    {
        let inner = path.join(&entry.name);
        if entry.is_dir {
            remove_tree(files, &inner)?;
        } else {
            remove_file(files, &inner)?;
        }
    }
    files
        .remove_dir(path)
        .map_err(FileError::when("remove", path))
}
