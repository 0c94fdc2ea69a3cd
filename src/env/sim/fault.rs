//! Faults on request: which operation fails, where, when and how.

use std::{
    io,
    path::{Path, PathBuf},
};

use rustix::io::Errno;

use super::random::Dice;

/// What the operating system answers, of which `std` has no portable names: EIO of a disk that
/// cannot read or write, the others of what has run out, is forbidden or is not there.
pub(crate) const EIO: i32 = Errno::IO.raw_os_error();
pub(crate) const EMFILE: i32 = Errno::MFILE.raw_os_error();
pub(crate) const ENFILE: i32 = Errno::NFILE.raw_os_error();
pub(crate) const ENOMEM: i32 = Errno::NOMEM.raw_os_error();
pub(crate) const ENODEV: i32 = Errno::NODEV.raw_os_error();
pub(crate) const EACCES: i32 = Errno::ACCESS.raw_os_error();
pub(crate) const EAGAIN: i32 = Errno::AGAIN.raw_os_error();
pub(crate) const ETIMEDOUT: i32 = Errno::TIMEDOUT.raw_os_error();
pub(crate) const ENOLCK: i32 = Errno::NOLCK.raw_os_error();
pub(crate) const ENOSYS: i32 = Errno::NOSYS.raw_os_error();
pub(crate) const EOPNOTSUPP: i32 = Errno::OPNOTSUPP.raw_os_error();

/// A kind of operation on the simulated disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum OpKind {
    /// Opening an existing file.
    Open,
    /// Reading from a file.
    Read,
    /// Mapping a file.
    Map,
    /// Listing a directory.
    ReadDir,
    /// Taking a lock on an existing file or directory.
    Lock,
    /// Asking whether a name exists, how long a file is, how much room there is.
    Ask,
    /// Creating a file.
    Create,
    /// Writing to a file.
    Write,
    /// Setting a file's length.
    SetLen,
    /// Reserving room for a file.
    Allocate,
    /// Syncing a file.
    SyncData,
    /// Renaming.
    Rename,
    /// Removing a file.
    RemoveFile,
    /// Creating a directory.
    CreateDir,
    /// Removing a directory.
    RemoveDir,
    /// Syncing a directory.
    SyncDir,
}

impl OpKind {
    /// Whether operations of this kind change what is on disk: only they have numbers and are
    /// points to crash at.
    pub(crate) fn is_mutating(self) -> bool {
        self >= Self::Create
    }

    pub(super) fn is_sync(self) -> bool {
        matches!(self, Self::SyncData | Self::SyncDir)
    }
}

/// A fault to inject: by default the next operation of the kind fails with EIO and does nothing.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    kind: OpKind,
    path: Option<String>,
    exactly: Option<PathBuf>,
    /// How many matching operations still go through first.
    skip: u64,
    /// How many matching operations fail then.
    times: u64,
    error: Error,
    short: bool,
    /// Of how many matching operations one fails, and what decides which.
    chance: Option<(u64, Dice)>,
}

/// What a failing operation answers.
#[derive(Clone, Copy, Debug)]
enum Error {
    Kind(io::ErrorKind),
    Number(i32),
}

impl Fault {
    /// The next operation of this kind fails. A sync that fails has stored some of what it was to
    /// store, and the rest will not be stored by any later sync.
    pub(crate) fn on(kind: OpKind) -> Self {
        Self {
            kind,
            path: None,
            exactly: None,
            skip: 0,
            times: 1,
            error: Error::Number(EIO),
            short: false,
            chance: None,
        }
    }

    /// Only on paths that contain this text. An open file has the path it was opened by, also after
    /// a rename.
    pub(crate) fn in_path(mut self, text: &str) -> Self {
        self.path = Some(text.to_owned());
        self
    }

    /// Only on this path.
    pub(crate) fn at(mut self, path: &Path) -> Self {
        self.exactly = Some(path.to_owned());
        self
    }

    /// Not the next, but the `n`-th matching operation from now on; the next is the first.
    pub(crate) fn nth(mut self, n: u64) -> Self {
        self.skip = n.saturating_sub(1);
        self
    }

    /// Also all matching operations after the first that fails.
    pub(crate) fn for_ever(mut self) -> Self {
        self.times = u64::MAX;
        self
    }

    /// With this error in place of EIO.
    pub(crate) fn error(mut self, error: io::ErrorKind) -> Self {
        self.error = Error::Kind(error);
        self
    }

    /// With this error number in place of EIO.
    pub(crate) fn errno(mut self, number: i32) -> Self {
        self.error = Error::Number(number);
        self
    }

    /// Also the matching operations after the first that fails, so many in all.
    pub(crate) fn times(mut self, times: u64) -> Self {
        self.times = times;
        self
    }

    /// Of so many matching operations only about one.
    pub(crate) fn one_in(mut self, operations: u64, seed: u64) -> Self {
        self.chance = Some((operations, Dice::new(seed)));
        self
    }

    /// A write that fails writes a random part of its bytes first, from the front.
    pub(crate) fn short(mut self) -> Self {
        self.short = true;
        self
    }

    /// The failure of an operation that this fault hits.
    pub(super) fn hit(&mut self, kind: OpKind, path: &Path) -> Option<Failure> {
        if self.kind != kind
            || self.exactly.as_deref().is_some_and(|only| only != path)
            || self
                .path
                .as_ref()
                .is_some_and(|text| !path.to_string_lossy().contains(text))
        {
            return None;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        if let Some((operations, dice)) = &mut self.chance
            && dice.below(*operations) > 0
        {
            return None;
        }
        self.times = self.times.checked_sub(1)?;
        let error = match self.error {
            Error::Kind(kind) => kind.into(),
            Error::Number(number) => io::Error::from_raw_os_error(number),
        };
        Some(Failure {
            error,
            part: (self.short && kind == OpKind::Write).then_some(Part::Bytes),
        })
    }
}

/// How an operation fails.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: io::Error,
    /// What part of a write is done all the same.
    pub(super) part: Option<Part>,
}

/// How a write is cut short.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    /// At any byte.
    Bytes,
    /// At the border of a sector.
    Sectors,
}
