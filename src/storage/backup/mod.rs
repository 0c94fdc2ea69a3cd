//! Backups: a data directory as it was at one journal entry, in another place.
//!
//! A broker makes an [`Image`] of its directory, whose files stay while they are sent; the client
//! writes them with a [`Receiver`]. A backup is a data directory as a clean stop leaves it, without
//! a journal, and a mark that says that it is complete:
//!
//! ```text
//! backup                 the mark: every file with its length and checksum
//! incoming/              the next backup while it is being written, at the same paths
//! incoming/PATH.part     a file that was received in part
//! incoming/backup        its mark, written last: the new backup is complete
//! kept/                  journal entries between the backup before and this one, if there are any
//! before/                then the mark of the backup before, and its files that this one has not
//! ```
//!
//! A new backup in a directory that has one reuses files that are the same. The earlier backup is
//! unchanged until the new one and its mark are durable. Then the new files are moved to their
//! places. A crash meanwhile leaves both marks: the next backup there completes the move, a restore
//! reads each file where it is, and a broker refuses such a directory.
//!
//! A backup has files and directories alone. A symbolic link could lead a backup to write, or a
//! restore to read, anywhere else, and a pipe is never read to its end: where there is one, at any
//! depth, nothing is done.
//!
//! Files are the same if their path, their length and the checksum of both of their ends are. That
//! is enough, because segments and tables are never changed. If two directories come from one
//! backup, by restores, new frames differ in times and checksums, also at a file's end.

mod before;
mod image;
mod range;
mod receive;
mod restore;
mod target;
mod until;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

pub(crate) use image::{Image, Parts as ImageParts};
pub(crate) use range::{NoRange, Range, Taken, taken};
pub(crate) use receive::{Receiver, Summary};
pub(crate) use restore::{Halt, Restored, restore};
pub(crate) use until::{Kept, Until, restore_until};

use self::receive::is_proper;
use super::{
    files::{Action, FileError, read_file},
    format::{RunningCrc32, backup_mark::BackupMark},
};
use crate::env::{File, FileSystem, Open};

/// The file name of a complete backup's mark.
pub(crate) const MARK: &str = "backup";

/// The directory of a new backup until it is complete.
pub(crate) const INCOMING: &str = "incoming";

/// The directory with what the backup before has and this one has not.
pub(crate) const BEFORE: &str = "before";

/// How many bytes at each end of a file are compared.
const END_BYTES: u64 = 64 << 10;

/// How many bytes of a file are read at once.
const READ_BYTES: u64 = 1 << 20;

/// Why a backup cannot be taken or used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(
        "directory {} holds files and no backup; choose an empty one, or that of a backup",
        path.display()
    )]
    Foreign { path: PathBuf },
    #[error(
        "directory {} is in use by another backup, or by a broker; wait until that is done, or stop it",
        path.display()
    )]
    InUse { path: PathBuf },
    #[error(
        "directory {} is missing, or has no whole backup: it lacks the mark {MARK:?} of a complete one; take it again",
        path.display()
    )]
    NoMark { path: PathBuf },
    #[error("{} is damaged: the backup cannot be relied on; take another one", path.display())]
    Damaged { path: PathBuf },
    #[error(
        "directory {} has the backup of data directory {had:016x}, and this broker's is {has:016x}; choose another one",
        path.display()
    )]
    OtherDirectory { path: PathBuf, had: u64, has: u64 },
    #[error(
        "{} is {what}: a backup has files and directories alone, and nothing else is opened or \
         followed; remove it, or choose another directory",
        path.display()
    )]
    Special { path: PathBuf, what: &'static str },
    #[error(
        "directory {} has the backup of commit {commit} and no journal entries before it, so it can be restored \
         as of that alone: a broker keeps them from one backup to the next where backup.journal is as large as \
         what is appended meanwhile, and nothing is erased",
        path.display()
    )]
    NoRange { path: PathBuf, commit: u64 },
    #[error("there is no such moment in directory {}, which {range}", path.display())]
    OutOfRange { path: PathBuf, range: Range },
    #[error("the kept journal entries cannot be applied: {0}")]
    NotApplied(String),
    #[error("{} is not a directory; give the directory", path.display())]
    NotDirectory { path: PathBuf },
    #[error(
        "directory {} has the backup of commit {had}, which is earlier than that of commit {has} which is \
         restored, and knows nothing of what was erased since; give a later one",
        path.display()
    )]
    Earlier { path: PathBuf, had: u64, has: u64 },
    #[error("directory {} is there and not empty; choose a new one", path.display())]
    Occupied { path: PathBuf },
    #[error(
        "directory {} has what a restore that was cut off has left; remove all that is in it, and restore again",
        path.display()
    )]
    CutOff { path: PathBuf },
    #[error("the restore was stopped before its end: {}", left_of(left.as_deref()))]
    Stopped { left: Option<PathBuf> },
    #[error("directory {} is missing, in which the new one is to be; create it, or choose another", path.display())]
    NoParent { path: PathBuf },
    #[error("the broker has sent what does not fit: {0}")]
    Unfit(String),
    #[error(transparent)]
    File(#[from] FileError),
}

fn left_of(left: Option<&Path>) -> String {
    match left {
        Some(left) => format!(
            "what it has made is in {}, which the same command removes when it begins anew",
            left.display()
        ),
        None => "it has made nothing".to_owned(),
    }
}

/// A file that the receiver has, as it is told to the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Had {
    /// The path, relative to the backup's directory.
    pub(crate) path: String,
    pub(crate) len: u64,
    /// The checksum of its two ends.
    pub(crate) ends: u32,
}

/// The two ends of a file: the position and the length of each.
fn ends_of(len: u64) -> [(u64, u64); 2] {
    let bytes = len.min(END_BYTES);
    [(0, bytes), (len - bytes, bytes)]
}

/// A complete backup: its mark, and whether its files are still to be moved to their places.
struct Found {
    mark: BackupMark,
    is_settled: bool,
}

/// Finds the complete backup in a directory; `None` if there is none.
fn find(files: &dyn FileSystem, root: &Path) -> Result<Option<Found>, Error> {
    for (path, is_settled) in [
        (root.join(INCOMING).join(MARK), false),
        (root.join(MARK), true),
    ] {
        let Some(bytes) = read_file(files, &path)? else {
            continue;
        };
        let mark = BackupMark::decode(&bytes);
        return match mark.filter(are_proper) {
            Some(mark) => Ok(Some(Found { mark, is_settled })),
            None => Err(Error::Damaged { path }),
        };
    }
    Ok(None)
}

fn are_proper(mark: &BackupMark) -> bool {
    mark.files.iter().all(|file| is_proper(&file.path))
}

/// Refuses a directory in which something is neither a file nor a directory, at any depth. One
/// that is not there is for others to report.
pub(crate) fn refuse_special(files: &dyn FileSystem, dir: &Path) -> Result<(), Error> {
    let entries = match files.read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        listed => listed.map_err(FileError::when(Action::List, dir))?,
    };
    for entry in entries {
        let path = dir.join(&entry.name);
        if let Some(what) = entry.special {
            return Err(Error::Special { path, what });
        }
        // The file system's own, which only the administrator of the machine may list.
        if entry.is_dir && entry.name != "lost+found" {
            refuse_special(files, &path)?;
        }
    }
    Ok(())
}

/// Whether a directory has a complete backup whose files are still to be moved to their places.
pub(crate) fn is_unsettled(files: &dyn FileSystem, root: &Path) -> Result<bool, FileError> {
    let path = root.join(INCOMING).join(MARK);
    files
        .exists(&path)
        .map_err(FileError::when(Action::LookFor, &path))
}

/// Whether a restore into a directory that was there has not come to its end.
pub(crate) fn is_being_restored(files: &dyn FileSystem, root: &Path) -> Result<bool, FileError> {
    before::exists(files, &root.join(target::INSIDE))
}

/// Calls `each` with the first `len` bytes of a file, piece by piece.
fn read_through(
    file: &Arc<dyn File>,
    path: &Path,
    len: u64,
    mut each: impl FnMut(&[u8]) -> Result<(), FileError>,
) -> Result<(), FileError> {
    let mut at = 0;
    while at < len {
        let bytes = file
            .read_vec_at(at, (len - at).min(READ_BYTES) as usize)
            .map_err(FileError::when(Action::Read, path))?;
        each(&bytes)?;
        at += bytes.len() as u64;
    }
    Ok(())
}

/// The checksum of the first `len` bytes of a file.
fn checksum_of(file: &Arc<dyn File>, path: &Path, len: u64) -> Result<u32, FileError> {
    let mut checksum = RunningCrc32::default();
    read_through(file, path, len, |bytes| {
        checksum.update(bytes);
        Ok(())
    })?;
    Ok(checksum.value())
}

/// The checksum of both ends of the first `len` bytes of a file; none if it is shorter, or not
/// there.
fn ends_checksum(files: &dyn FileSystem, path: &Path, len: u64) -> Result<Option<u32>, FileError> {
    let file = match files.open(path, Open::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(FileError::when(Action::Open, path))?,
    };
    let found = file.len().map_err(FileError::when(Action::Read, path))?;
    if found < len {
        return Ok(None);
    }
    let mut checksum = RunningCrc32::default();
    for (at, bytes) in ends_of(len) {
        let bytes = file.read_vec_at(at, bytes as usize);
        checksum.update(&bytes.map_err(FileError::when(Action::Read, path))?);
    }
    Ok(Some(checksum.value()))
}
