//! Faults on request: which operation fails, where, when and how.

use std::{
    io,
    path::{Path, PathBuf},
};

use rustix::io::Errno;

use super::random::Dice;

/// Error numbers of the operating system without portable names in `std`: EIO for a disk that
/// cannot read or write, the others for resources that have run out, or operations that are
/// forbidden or impossible.
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
    /// Asking whether a name exists, how long a file is, or how much space is free.
    Ask,
    /// Creating a file.
    Create,
    /// Writing to a file.
    Write,
    /// Setting a file's length.
    SetLen,
    /// Reserving space for a file.
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
    /// Whether operations of this kind change the disk: only these are numbered, and a crash can
    /// happen at any of them.
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
    /// How many matching operations succeed first.
    skip: u64,
    /// How many matching operations then fail.
    times: u64,
    error: Error,
    short: bool,
    /// If set, one of this many matching operations fails, chosen at random.
    chance: Option<(u64, Dice)>,
}

/// The error of a failing operation.
#[derive(Clone, Copy, Debug)]
enum Error {
    Kind(io::ErrorKind),
    Number(i32),
}

impl Fault {
    /// Makes the next operation of this kind fail. A sync that fails has stored a part of its data,
    /// and no later sync will store the rest.
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

    /// Only on paths that contain this text. An open file keeps the path by which it was opened,
    /// even after a rename.
    pub(crate) fn in_path(mut self, text: &str) -> Self {
        self.path = Some(text.to_owned());
        self
    }

    /// Only on exactly this path.
    pub(crate) fn at(mut self, path: &Path) -> Self {
        self.exactly = Some(path.to_owned());
        self
    }

    /// Not the next matching operation but the `n`-th one; 1 is the next.
    pub(crate) fn nth(mut self, n: u64) -> Self {
        self.skip = n.saturating_sub(1);
        self
    }

    /// All later matching operations fail too.
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

    /// This many matching operations fail in a row.
    pub(crate) fn times(mut self, times: u64) -> Self {
        self.times = times;
        self
    }

    /// Only about one in `operations` matching operations fails.
    pub(crate) fn one_in(mut self, operations: u64, seed: u64) -> Self {
        self.chance = Some((operations, Dice::new(seed)));
        self
    }

    /// A failing write first writes a random part of its bytes, from the front.
    pub(crate) fn short(mut self) -> Self {
        self.short = true;
        self
    }

    /// The failure of an operation, if this fault applies to it.
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
    /// Which part of a failing write is done nevertheless.
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
