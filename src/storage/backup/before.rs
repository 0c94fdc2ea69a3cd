//! The backup before, as far as it is kept beside the present one.
//!
//! With the journal entries between the two, the earlier one can be brought to any commit in
//! between. Most of its files are files of the new one as well, or their beginning; the others are
//! moved here instead of being removed.

use std::path::{Path, PathBuf};

use super::{
    BEFORE, Error, Found, INCOMING, MARK, are_proper, checksum_of,
    receive::{ensure_parents, find_marked, open_to_read, sync_dir, sync_places, sync_tree},
};
use crate::{
    env::FileSystem,
    storage::{
        files::{Action, FileError, ensure_dir, read_file, remove_file, remove_tree, replace_file},
        format::backup_mark::{BackupMark, MarkedFile},
        journal::{KEPT, parse_kept},
    },
};

/// Keeps the files of the backup before that the new one, with this mark, has not. What is done
/// already, before a crash, is not done again.
pub(super) fn keep(files: &dyn FileSystem, root: &Path, new: &BackupMark) -> Result<(), FileError> {
    let dir = root.join(BEFORE);
    let (old, before) = (mark_in(files, root)?, mark_in(files, &dir)?);
    if old.as_ref() == Some(new) {
        // All is in its place.
        return Ok(());
    }
    let Some(base) = base_of(old.as_ref(), before.as_ref(), new) else {
        return remove(files, &dir);
    };
    if before.as_ref() != Some(base) {
        remove(files, &dir)?;
        ensure_dir(files, &dir)?;
        replace_file(files, &dir.join(MARK), &base.encode())?;
    }
    let mut moves = Vec::new();
    for file in base
        .files
        .iter()
        .filter(|file| entries_of(&file.path).is_none())
    {
        let (here, there) = (root.join(&file.path), dir.join(&file.path));
        let is_there = exists(files, &there)?;
        if !is_there && !stays(files, root, file, new)? && exists(files, &here)? {
            ensure_parents(files, &dir, &there)?;
            moves.push((here, there));
        }
    }
    // A directory is durable before a file is moved to it, and the new place of a file before the
    // old one is used again.
    sync_tree(files, &dir)?;
    sync_dir(files, root)?;
    for (here, there) in &moves {
        files
            .rename(here, there)
            .map_err(FileError::when(Action::Rename, there))?;
    }
    sync_tree(files, &dir)?;
    sync_places(files, root)
}

/// The backup that can be brought to the commits up to the new one: the one that it replaces, or,
/// if nothing was committed since, the one before that.
fn base_of<'a>(
    old: Option<&'a BackupMark>,
    before: Option<&'a BackupMark>,
    new: &BackupMark,
) -> Option<&'a BackupMark> {
    let old = old?;
    if old.commit == new.commit
        && let Some(before) = before
        && entries_between(before, new).is_some()
    {
        return Some(before);
    }
    entries_between(old, new).map(|_| old)
}

fn remove(files: &dyn FileSystem, dir: &Path) -> Result<(), FileError> {
    if exists(files, dir)? {
        // The mark goes first: it says that the rest is there.
        remove_file(files, &dir.join(MARK))?;
        sync_dir(files, dir)?;
        remove_tree(files, dir)?;
    }
    Ok(())
}

/// Whether a file is, or will be, in the new backup from its beginning on.
fn stays(
    files: &dyn FileSystem,
    root: &Path,
    file: &MarkedFile,
    new: &BackupMark,
) -> Result<bool, FileError> {
    let Some(marked) = find_marked(new, &file.path) else {
        return Ok(false);
    };
    if marked.len == file.len && marked.checksum == file.checksum {
        return Ok(true);
    }
    let arriving = root.join(INCOMING).join(&file.path);
    if !exists(files, &arriving)? {
        // It was moved to its place before a crash, and this was asked then.
        return Ok(true);
    }
    if marked.len < file.len {
        return Ok(false);
    }
    let (open, _) = open_to_read(files, &arriving)?;
    Ok(checksum_of(&open, &arriving, file.len)? == file.checksum)
}

/// The files with the journal entries behind one backup up to a later one; `None` if there are not
/// all, or if they do not go on from the earlier one.
pub(super) fn entries_between<'a>(
    earlier: &BackupMark,
    later: &'a BackupMark,
) -> Option<Vec<&'a MarkedFile>> {
    if earlier.directory != later.directory || earlier.commit > later.commit {
        return None;
    }
    let mut found = Vec::new();
    for file in &later.files {
        if let Some((first, last)) = entries_of(&file.path) {
            found.push((first, last, file));
        }
    }
    found.sort_by_key(|(first, last, _)| (*first, *last));
    // The entries up to the earlier backup end a file. It is the same in both of them, or else the
    // directory was restored in between, and its commits are others.
    let is_end = |(_, last, file): &(u64, u64, &MarkedFile)| {
        *last == earlier.commit && find_marked(earlier, &file.path) == Some(*file)
    };
    let end = found.iter().rposition(is_end)?;
    let mut next = earlier.commit + 1;
    let mut between = Vec::new();
    for (first, last, file) in found.drain(end + 1..) {
        if first != next {
            return None;
        }
        next = last + 1;
        between.push(file);
    }
    (next == later.commit + 1).then_some(between)
}

/// The first and the last journal entry in a backup's file with this path, if there are entries in
/// it.
pub(super) fn entries_of(path: &str) -> Option<(u64, u64)> {
    let name = path.strip_prefix(KEPT)?.strip_prefix('/')?;
    parse_kept(name)
}

/// The mark in a directory, if it is there and whole.
pub(super) fn mark_in(files: &dyn FileSystem, dir: &Path) -> Result<Option<BackupMark>, FileError> {
    let bytes = read_file(files, &dir.join(MARK))?;
    let mark = bytes.and_then(|bytes| BackupMark::decode(&bytes));
    Ok(mark.filter(are_proper))
}

/// The backup before the one that was found in a directory.
pub(super) struct Before {
    pub(super) mark: BackupMark,
    /// Whether files of it may have been moved. If not, those that were are of an earlier one.
    has_moved: bool,
}

impl Before {
    /// Finds it, also where the files of the new backup are still to be moved to their places.
    pub(super) fn find(
        files: &dyn FileSystem,
        root: &Path,
        found: &Found,
    ) -> Result<Option<Self>, Error> {
        let dir = root.join(BEFORE);
        let (old, before) = (mark_in(files, root)?, mark_in(files, &dir)?);
        let base = if old.as_ref() != Some(&found.mark) {
            base_of(old.as_ref(), before.as_ref(), &found.mark)
        } else if before.is_none() && exists(files, &dir)? {
            let path = dir.join(MARK);
            return Err(Error::Damaged { path });
        } else {
            before.as_ref()
        };
        Ok(base.map(|base| Self {
            mark: base.clone(),
            has_moved: before.as_ref() == Some(base),
        }))
    }

    /// The path of a file of it.
    pub(super) fn place(
        &self,
        files: &dyn FileSystem,
        root: &Path,
        file: &MarkedFile,
    ) -> Result<PathBuf, FileError> {
        let moved = root.join(BEFORE).join(&file.path);
        match self.has_moved && exists(files, &moved)? {
            true => Ok(moved),
            false => Ok(root.join(&file.path)),
        }
    }
}

pub(super) fn exists(files: &dyn FileSystem, path: &Path) -> Result<bool, FileError> {
    files
        .exists(path)
        .map_err(FileError::when(Action::LookFor, path))
}
