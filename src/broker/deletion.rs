//! What becomes of a deleted topic's files: first a name that says that it is deleted, and once a
//! checkpoint does not know the topic any more, nothing.

use std::{io::ErrorKind, path::Path};

use super::partitions::Partitions;
use crate::{
    env::{FileSystem, Open},
    storage::files::{Action, FileError, remove_file, remove_tree, sync_parent},
    types::TopicId,
};

/// Renames a topic's directory if it has one under its own name. Where that cannot be, as in the
/// lower layer of an overlay file system, a file of the new name says that the topic is deleted.
///
/// If there is something of the new name, that says it already: the directory was renamed before,
/// and this is another, which a start made of what is in the journal.
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

/// Creates the file that says that a topic is deleted.
fn mark_deleted(files: &dyn FileSystem, mark: &Path) -> Result<(), FileError> {
    match files.open(mark, Open::Create) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(FileError::when(Action::Create, mark)(error))
        }
        _ => Ok(()),
    }
}

/// Removes the files of a deleted topic, and then what says that it is deleted.
pub(super) fn remove_deleted(owner: &Partitions, id: TopicId) -> Result<(), FileError> {
    let files = &*owner.env.files;
    let (own, deleted) = (owner.dir.topic(id), owner.dir.deleted_topic(id));
    let is_gone = owner.topics().find_by_id(id).is_none();
    let own_is_there = files
        .exists(&own)
        .map_err(FileError::when(Action::LookFor, &own))?;
    if is_gone && own_is_there {
        remove_tree(files, &own)?;
        // Nothing of the topic may come back without what says that it is deleted.
        sync_parent(files, &own)?;
    }
    match files.read_dir(&deleted) {
        Err(error) if error.kind() == ErrorKind::NotADirectory => remove_file(files, &deleted),
        _ => remove_tree(files, &deleted),
    }
}
