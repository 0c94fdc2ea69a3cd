//! The directory that a restore makes.
//!
//! Until all of it is durable, it is built in a directory with another name. If the target is
//! missing, that is beside it, and is renamed. An empty directory that is there may be a mount
//! point, where nothing can be renamed to: then it is in the target, and what it has is moved up. A
//! broker refuses the target as long as it is there.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};

use super::{
    Error,
    before::exists,
    receive::{sync_dir, sync_tree},
    refuse_special,
};
use crate::{
    env::{DirEntry, FileSystem, Open},
    storage::files::{Action, FileError, ensure_dir, remove_file, remove_tree},
};

/// The suffix of a directory that is being restored.
const UNFINISHED: &str = ".restoring";

/// The directory in a target that is there, until what is in it was moved up.
pub(super) const INSIDE: &str = ".restore";

/// A file in that directory which shows that a restore has created it.
const BEGUN: &str = ".restoring";

/// A directory that is being made.
pub(super) struct Target {
    to: PathBuf,
    building: PathBuf,
    is_inside: bool,
}

impl Target {
    /// Refuses a target that cannot be made, and creates the directory to build it in. What an
    /// earlier attempt has left there is removed.
    pub(super) fn open(files: &dyn FileSystem, to: &Path) -> Result<Self, Error> {
        // Without a slash at its end.
        let to: PathBuf = to.components().collect();
        let is_inside = match files.exists(&to) {
            Err(error) if error.kind() == ErrorKind::NotADirectory => {
                return Err(Error::NotDirectory {
                    path: parent_of(&to).to_owned(),
                });
            }
            found => found.map_err(FileError::when(Action::LookFor, &to))?,
        };
        let building = match is_inside {
            true => {
                refuse_used(files, &to)?;
                to.join(INSIDE)
            }
            false => {
                let parent = parent_of(&to);
                if !exists(files, parent)? {
                    return Err(Error::NoParent {
                        path: parent.to_owned(),
                    });
                }
                // A link that leads nowhere.
                refuse_link(files, &to)?;
                beside(&to)
            }
        };
        begin(files, &building)?;
        if is_inside {
            sync_dir(files, &to)?;
        }
        Ok(Self {
            to,
            building,
            is_inside,
        })
    }

    /// Where to build.
    pub(super) fn dir(&self) -> &Path {
        &self.building
    }

    /// Gives what was built its place.
    pub(super) fn finish(&self, files: &dyn FileSystem) -> Result<(), FileError> {
        let (to, building) = (&self.to, &self.building);
        sync_tree(files, building)?;
        if self.is_inside {
            return self.move_up(files);
        }
        files
            .rename(building, to)
            .map_err(FileError::when(Action::Rename, to))?;
        sync_dir(files, parent_of(to))?;
        remove_file(files, &to.join(BEGUN))?;
        sync_dir(files, to)
    }

    fn move_up(&self, files: &dyn FileSystem) -> Result<(), FileError> {
        let (to, building) = (&self.to, &self.building);
        let entries = files.read_dir(building);
        for entry in entries.map_err(FileError::when(Action::List, building))? {
            if entry.name == BEGUN {
                continue;
            }
            let place = to.join(&entry.name);
            files
                .rename(&building.join(&entry.name), &place)
                .map_err(FileError::when(Action::Rename, &place))?;
        }
        // The new places are synced before the old ones, and both before a broker may use them.
        sync_dir(files, to)?;
        sync_dir(files, building)?;
        remove_tree(files, building)?;
        sync_dir(files, to)
    }
}

/// Refuses a target that has something in it, unless it is what a restore has begun.
fn refuse_used(files: &dyn FileSystem, to: &Path) -> Result<(), Error> {
    let entries = list(files, to)?;
    let is_begun = |entry: &DirEntry| entry.name == INSIDE;
    let path = || to.to_owned();
    match entries.iter().any(is_begun) {
        _ if entries.iter().all(|one| is_begun(one) || is_own(one)) => Ok(()),
        true => Err(Error::CutOff { path: path() }),
        false => Err(Error::Occupied { path: path() }),
    }
}

/// The file system's own directory is in each that is the top of one.
fn is_own(entry: &DirEntry) -> bool {
    entry.is_dir && entry.name == "lost+found"
}

fn list(files: &dyn FileSystem, dir: &Path) -> Result<Vec<DirEntry>, Error> {
    match files.read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotADirectory => Err(Error::NotDirectory {
            path: dir.to_owned(),
        }),
        listed => Ok(listed.map_err(FileError::when(Action::List, dir))?),
    }
}

/// Creates the directory to build in. What an earlier attempt has left there is removed, but not
/// what somebody else has put there.
fn begin(files: &dyn FileSystem, building: &Path) -> Result<(), Error> {
    refuse_link(files, building)?;
    let begun = building.join(BEGUN);
    if !exists(files, &begun)? {
        if exists(files, building)? && !list(files, building)?.is_empty() {
            return Err(Error::Occupied {
                path: building.to_owned(),
            });
        }
        ensure_dir(files, building)?;
        let made = files.open(&begun, Open::Create);
        made.map_err(FileError::when(Action::Create, &begun))?;
    } else {
        refuse_special(files, building)?;
        for entry in list(files, building)? {
            let path = building.join(&entry.name);
            match entry.is_dir {
                true => remove_tree(files, &path)?,
                false if entry.name == BEGUN => {}
                false => remove_file(files, &path)?,
            }
        }
    }
    Ok(sync_dir(files, building)?)
}

/// Refuses a directory that is elsewhere: what is in it would be removed there.
fn refuse_link(files: &dyn FileSystem, path: &Path) -> Result<(), Error> {
    let entries = list(files, parent_of(path))?;
    let name = path.file_name().and_then(|name| name.to_str());
    let entry = entries.into_iter().find(|entry| Some(&*entry.name) == name);
    match entry.and_then(|entry| entry.special) {
        Some(what) => Err(Error::Special {
            path: path.to_owned(),
            what,
        }),
        None => Ok(()),
    }
}

fn beside(to: &Path) -> PathBuf {
    let mut name = to.as_os_str().to_owned();
    name.push(UNFINISHED);
    name.into()
}

fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
