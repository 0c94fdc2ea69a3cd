//! The files of a deleted topic: first they are marked as deleted by another name, and once no
//! checkpoint knows the topic any more, they are removed.

use std::{io::ErrorKind, path::Path};

use super::partitions::Partitions;
use crate::{
    env::{FileSystem, Open},
    storage::files::{Action, FileError, remove_file, remove_tree, sync_parent},
    types::TopicId,
};

/// Renames a topic's directory, if there is one with the topic's own name, to mark it as deleted.
/// If it cannot be renamed, as in the lower layer of an overlay file system, a file with the new
/// name marks the topic instead.
///
/// If the new name exists already, the topic is marked already: its directory was renamed before,
/// and the present one was made by a start that replayed the journal.
pub(super) fn rename_topic(owner: &Partitions, id: TopicId) -> Result<(), FileError> {
    let files = &*owner.env.files;
    let (from, to) = (owner.dir.topic(id), owner.dir.deleted_topic(id));
    let is_there = |path: &Path| {
        files
            .exists(path)
            .map_err(FileError::when(Action::LookFor, path))
    };
    if is_there(&from)? && !is_there(&to)? {
        match files.rename(&from, &to) {
            Err(error) if error.kind() == ErrorKind::CrossesDevices => mark_deleted(files, &to)?,
            renamed => renamed.map_err(FileError::when(Action::Rename, &to))?,
        }
    }
    owner.segments.forget_topic(id);
    Ok(())
}

/// Creates the file that marks a topic as deleted.
fn mark_deleted(files: &dyn FileSystem, mark: &Path) -> Result<(), FileError> {
    match files.open(mark, Open::Create) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(FileError::when(Action::Create, mark)(error))
        }
        _ => Ok(()),
    }
}

/// Removes the files of a deleted topic, and then the mark.
pub(super) fn remove_deleted(owner: &Partitions, id: TopicId) -> Result<(), FileError> {
    let files = &*owner.env.files;
    let (own, deleted) = (owner.dir.topic(id), owner.dir.deleted_topic(id));
    let is_gone = owner.topics().find_by_id(id).is_none();
    let own_is_there = files
        .exists(&own)
        .map_err(FileError::when(Action::LookFor, &own))?;
    if is_gone && own_is_there {
        remove_tree(files, &own)?;
        // Nothing of the topic may come back once the mark is gone.
        sync_parent(files, &own)?;
    }
    match files.read_dir(&deleted) {
        Err(error) if error.kind() == ErrorKind::NotADirectory => remove_file(files, &deleted),
        _ => remove_tree(files, &deleted),
    }
}
