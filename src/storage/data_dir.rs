//! The data directory: which one it is, and who may use it.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use super::{
    backup,
    files::{
        Action, FileError, ensure_dir, read_file, remove_file, remove_tree, replace_file,
        sync_parent,
    },
    format::{VERSION, VERSION_WITH_BLOCKS, identity::Identity},
    journal,
    ownership::{self, Found},
};
use crate::{
    env::{self, Env, FileSystem, Lock, LockGuard},
    types::TopicId,
};

/// A locked data directory. The file `lock` and the directory itself are both locked, because
/// somebody may remove the file by mistake while the content stays.
pub(crate) struct DataDir {
    root: PathBuf,
    identity: Identity,
    /// Whether the directory's file is known to say that its segments may have blocks.
    has_blocks: Mutex<bool>,
    locks: Mutex<Vec<Box<dyn LockGuard>>>,
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(
        "data directory {} is in use by another broker, or being inspected; stop it or choose another directory",
        path.display()
    )]
    InUse { path: PathBuf },
    #[error(
        "data directory {} cannot be written to ({source}); give this user the right to write it, or choose \
         another directory",
        path.display()
    )]
    NotWritable { path: PathBuf, source: io::Error },
    #[error(
        "data directory {} is on a file system that knows no locks ({source}), and two brokers could write to it at \
         once; choose a directory on another file system, or mount this one with locks",
        path.display()
    )]
    NoLocks { path: PathBuf, source: io::Error },
    #[error(
        "directory {} holds files but is not a taffrail data directory; choose an empty one, or the right one",
        path.display()
    )]
    Foreign { path: PathBuf },
    #[error(
        "data directory {} has format version {version} and this broker reads {VERSION} and {VERSION_WITH_BLOCKS}; use \
         the broker that wrote it, or another directory",
        path.display()
    )]
    OtherVersion { path: PathBuf, version: u32 },
    #[error(
        "data directory {} has files of two data directories: {} is of the one with the id {one_id:016x}, {} of the \
         one with the id {other_id:016x}; put together what belongs together",
        path.display(),
        one.display(),
        other.display()
    )]
    MixedUp {
        path: PathBuf,
        one: PathBuf,
        one_id: u64,
        other: PathBuf,
        other_id: u64,
    },
    #[error(
        "directory {} has a backup whose last step was cut off; `taffrail restore` makes a data directory of it, and \
         another `taffrail backup` brings it to its end",
        path.display()
    )]
    UnsettledBackup { path: PathBuf },
    #[error(
        "directory {} has what a restore that was cut off has left; remove all that is in it, and restore again",
        path.display()
    )]
    UnfinishedRestore { path: PathBuf },
    #[error(transparent)]
    File(#[from] FileError),
}

impl DataDir {
    /// Locks a directory for this broker. Creates the directory and its content as needed.
    pub(crate) fn open(env: &Env, root: &Path) -> Result<Self, Error> {
        let files = &*env.files;
        create_with_parents(env, root)?;
        if backup::is_unsettled(files, root)? {
            return Err(Error::UnsettledBackup {
                path: root.to_owned(),
            });
        }
        if backup::is_being_restored(files, root)? {
            return Err(Error::UnfinishedRestore {
                path: root.to_owned(),
            });
        }
        ownership::find(env, root)?;
        let mut locks = lock_dir(env, root, Lock::Exclusive)?;
        let lock = files
            .lock(&root.join("lock"))
            .map_err(|source| match source.kind() {
                io::ErrorKind::WouldBlock => Error::InUse {
                    path: root.to_owned(),
                },
                _ if env::has_no_locks(&source) => Error::NoLocks {
                    path: root.to_owned(),
                    source,
                },
                _ => Error::NotWritable {
                    path: root.to_owned(),
                    source,
                },
            })?;
        locks.push(lock);
        become_no_backup(files, root)?;
        let dir = Self {
            root: root.to_owned(),
            identity: identify(env, root)?,
            has_blocks: Mutex::new(false),
            locks: Mutex::new(locks),
        };
        for inner in [dir.journal(), dir.topics()] {
            ensure_dir(files, &inner).map_err(|error| not_writable(root, error))?;
        }
        sync_parent(files, &dir.journal())?;
        Ok(dir)
    }

    /// Unlocks the directory for another broker. Nothing may be written to it after this.
    pub(crate) fn release(&self) {
        self.locks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// The directory.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The directory's identity.
    pub(crate) fn identity(&self) -> Identity {
        self.identity
    }

    /// Makes the directory say that its segments may have compressed blocks, which no earlier
    /// version can read. This cannot be undone, and is durable when this returns.
    pub(crate) fn allow_blocks(&self, env: &Env) -> Result<(), FileError> {
        let mut has_blocks = self
            .has_blocks
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !*has_blocks {
            let content = self.identity.encode_with_blocks();
            let path = ownership::path(&self.root);
            if read_file(&*env.files, &path)?.as_ref() != Some(&content) {
                replace_file(&*env.files, &path, &content)?;
            }
            *has_blocks = true;
        }
        Ok(())
    }

    /// Makes sure that a file belongs to this directory, if it names one.
    pub(crate) fn check_same(&self, file: &Path, named: Option<Identity>) -> Result<(), Error> {
        ownership::check_same(&self.root, self.identity, file, named)
    }

    /// Where the checkpoint is.
    pub(crate) fn checkpoint(&self) -> PathBuf {
        self.root.join("checkpoint")
    }

    /// Where the journal's files are.
    pub(crate) fn journal(&self) -> PathBuf {
        self.root.join("journal")
    }

    /// Where recovery saves the bytes that it cuts off.
    pub(crate) fn aside(&self) -> PathBuf {
        self.root.join("aside")
    }

    /// Where the topics are.
    pub(crate) fn topics(&self) -> PathBuf {
        self.root.join("topics")
    }

    /// Where one topic is.
    pub(crate) fn topic(&self, id: TopicId) -> PathBuf {
        self.topics().join(id.to_string())
    }

    /// The name of a topic's directory from its deletion until it is removed. If the directory
    /// cannot be renamed, a file with this name marks it as deleted.
    pub(crate) fn deleted_topic(&self, id: TopicId) -> PathBuf {
        self.topics().join(format!("{id}.deleted"))
    }
}

/// Keeps brokers from using a data directory as long as this lives, for a caller who only reads.
/// Nothing is written.
pub(crate) struct Quiet {
    _locks: Vec<Box<dyn LockGuard>>,
}

impl Quiet {
    /// Makes sure that no broker uses the directory, and that none starts to.
    pub(crate) fn hold(env: &Env, root: &Path) -> Result<Self, Error> {
        let mut locks = lock_dir(env, root, Lock::Shared)?;
        // An older broker may lock this file only.
        let file = lock_if_possible(env, root, &root.join("lock"), Lock::Shared)?;
        locks.extend(file);
        Ok(Self { _locks: locks })
    }
}

/// A directory that a broker uses is no backup any more: nobody is to rely on its mark.
fn become_no_backup(files: &dyn FileSystem, root: &Path) -> Result<(), FileError> {
    let mark = root.join(backup::MARK);
    let is_backup = files
        .exists(&mark)
        .map_err(FileError::when(Action::LookFor, &mark))?;
    if is_backup {
        tracing::info!(path = %root.display(), "the directory was a backup, and is a data directory from now on");
        // What it keeps for restores is of the backup's own past, and does not go on here.
        for name in [backup::BEFORE, journal::KEPT] {
            let dir = root.join(name);
            let is_there = files
                .exists(&dir)
                .map_err(FileError::when(Action::LookFor, &dir))?;
            if is_there {
                remove_tree(files, &dir)?;
            }
        }
        sync_parent(files, &mark)?;
        remove_file(files, &mark)?;
        sync_parent(files, &mark)?;
    }
    Ok(())
}

/// Locks the directory itself, if its file system can.
fn lock_dir(env: &Env, root: &Path, lock: Lock) -> Result<Vec<Box<dyn LockGuard>>, Error> {
    let locked = lock_if_possible(env, root, root, lock)?;
    Ok(locked.into_iter().collect())
}

/// Locks a file or directory. Fails only if somebody else has locked it: some file systems lock
/// files only, or nothing that is open for reading only.
fn lock_if_possible(
    env: &Env,
    root: &Path,
    path: &Path,
    lock: Lock,
) -> Result<Option<Box<dyn LockGuard>>, Error> {
    match env.files.lock_there(path, lock) {
        Ok(guard) => Ok(Some(guard)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(Error::InUse {
            path: root.to_owned(),
        }),
        Err(error) => {
            tracing::debug!(path = %path.display(), %error, "cannot be locked");
            Ok(None)
        }
    }
}

/// The id of a topic by the name of its directory, see [`DataDir::topic`].
pub(crate) fn parse_topic(name: &str) -> Option<TopicId> {
    (name.len() == 16)
        .then(|| u64::from_str_radix(name, 16).ok())
        .flatten()
        .map(TopicId)
}

/// Finds out which directory this is; it must be locked. Writes the file that says so if it is
/// missing.
fn identify(env: &Env, root: &Path) -> Result<Identity, Error> {
    let file = ownership::path(root);
    let lost = match ownership::find(env, root)? {
        Found::Told { identity, .. } => return Ok(identity),
        Found::Lost { named, has_blocks } => Some((named, has_blocks)),
        Found::New => None,
    };
    let has_blocks = matches!(lost, Some((_, true)));
    let lost = lost.map(|(named, _)| named);
    let new = || Identity {
        // 0 stands for no directory.
        id: env.random.next_u64().max(1),
    };
    let path = file.display();
    let identity = match lost {
        None => new(),
        Some(None) => {
            tracing::warn!(
                "{path} is lost or damaged; it is made anew, with a new id, as no other file names one"
            );
            new()
        }
        Some(Some((identity, witness))) => {
            let (id, witness) = (identity.id, witness.display());
            tracing::warn!(
                "{path} is lost or damaged; it is made anew, with the id {id:016x} that {witness} names"
            );
            identity
        }
    };
    let content = match has_blocks {
        true => identity.encode_with_blocks(),
        false => identity.encode(),
    };
    replace_file(&*env.files, &file, &content).map_err(|error| not_writable(root, error))?;
    Ok(identity)
}

fn create_with_parents(env: &Env, root: &Path) -> Result<(), Error> {
    if root.as_os_str().is_empty()
        || env
            .files
            .exists(root)
            .map_err(FileError::when(Action::LookFor, root))?
    {
        return Ok(());
    }
    if let Some(parent) = root.parent() {
        create_with_parents(env, parent)?;
    }
    ensure_dir(&*env.files, root).map_err(|error| not_writable(root, error))?;
    match root.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => {
            env.files
                .sync_dir(parent)
                .map_err(FileError::when(Action::Sync, parent))?;
        }
        _ => {}
    }
    Ok(())
}

fn not_writable(root: &Path, error: FileError) -> Error {
    match error.source.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Error::NotWritable {
            path: root.to_owned(),
            source: error.source,
        },
        _ => Error::File(error),
    }
}
