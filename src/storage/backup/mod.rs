//! Backups: a data directory as it was at one journal entry, in another place.
//!
//! A broker makes an [`Image`] of its directory, whose files stay while it is sent. Who takes the
//! backup writes them with a [`Receiver`]. What a backup consists of is a data directory that was
//! left by a clean stop, without a journal, and beside it the mark that all of it is there:
//!
//! ```text
//! backup                 the mark: every file with its length and checksum
//! incoming/              the next backup while it is being written, at the same paths
//! incoming/PATH.part     a file of which not all has come
//! incoming/backup        its mark: from here on it is whole
//! ```
//!
//! A new backup in a directory that has one takes from it what is the same. Until all of the new
//! one is durable, and its mark is, nothing of the one before is changed. Then its files are moved
//! to their places. A crash meanwhile leaves both marks: whoever finds them goes on moving, and a
//! broker refuses such a directory.
//!
//! Which files are the same is told by path, length and the checksum of both ends. A segment or a
//! table is never changed, and where a directory has gone two ways since, such as after a restore,
//! frames with their times and checksums are others up to the end.

mod image;
mod receive;
mod restore;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

pub(crate) use image::{Image, Parts as ImageParts};
pub(crate) use receive::{Receiver, Summary};
pub(crate) use restore::restore;

use super::{
    files::{Action, FileError, read_file},
    format::{RunningCrc32, backup_mark::BackupMark},
};
use crate::env::{File, FileSystem, Open};

/// The mark of a whole backup, from its top.
pub(crate) const MARK: &str = "backup";

/// Where the next backup is while it is written.
pub(crate) const INCOMING: &str = "incoming";

/// How much of each end of a file is compared.
const END_BYTES: u64 = 64 << 10;

/// How much of a file is read at once.
const READ_BYTES: u64 = 1 << 20;

/// Why a backup cannot be taken, or used.
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
        "directory {} has no whole backup: it lacks the mark {MARK:?} of one that has come to its end; take it again",
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
    #[error("directory {} is there and not empty; choose a new one", path.display())]
    Occupied { path: PathBuf },
    #[error("the broker has sent what does not fit: {0}")]
    Unfit(String),
    #[error(transparent)]
    File(#[from] FileError),
}

/// A file that a backup has, as the broker is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Had {
    /// From the top of the directory.
    pub(crate) path: String,
    pub(crate) len: u64,
    /// Of both of its ends.
    pub(crate) ends: u32,
}

/// The places of a file's two ends: from where, and how many bytes.
fn ends_of(len: u64) -> [(u64, u64); 2] {
    let bytes = len.min(END_BYTES);
    [(0, bytes), (len - bytes, bytes)]
}

/// Where a backup's files are: its mark, and whether they have to be moved yet.
struct Found {
    mark: BackupMark,
    is_settled: bool,
}

/// Finds the whole backup in a directory; none without one.
fn find(files: &dyn FileSystem, root: &Path) -> Result<Option<Found>, Error> {
    for (path, is_settled) in [
        (root.join(INCOMING).join(MARK), false),
        (root.join(MARK), true),
    ] {
        let Some(bytes) = read_file(files, &path)? else {
            continue;
        };
        let Some(mark) = BackupMark::decode(&bytes) else {
            return Err(Error::Damaged { path });
        };
        return Ok(Some(Found { mark, is_settled }));
    }
    Ok(None)
}

/// Whether a directory has a backup that has not been moved to its place.
pub(crate) fn is_unsettled(files: &dyn FileSystem, root: &Path) -> Result<bool, FileError> {
    let path = root.join(INCOMING).join(MARK);
    files
        .exists(&path)
        .map_err(FileError::when(Action::LookFor, &path))
}

/// Goes through the first `len` bytes of a file.
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
