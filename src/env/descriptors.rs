//! File descriptors: how many this process may have, and a spare one.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use rustix::io::Errno;
#[cfg(feature = "cli")]
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit of open files to the hard limit, and returns it. The soft limit is often 1,024,
/// less than the segments and connections that a broker has open.
#[cfg(feature = "cli")]
pub(crate) fn raise_open_files_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    let now = if setrlimit(Resource::Nofile, raised).is_ok() {
        limit.maximum
    } else {
        limit.current
    };
    now.unwrap_or(u64::MAX)
}

/// A spare descriptor, to be closed when the process has run out of them. It is a copy of standard
/// error, which is always open.
#[derive(Debug)]
pub(crate) struct SpareDescriptor {
    _held: OwnedFd,
}

impl SpareDescriptor {
    pub(crate) fn take() -> io::Result<Self> {
        let held = io::stderr().as_fd().try_clone_to_owned()?;
        Ok(Self { _held: held })
    }

    /// Whether something has failed for lack of a descriptor.
    pub(crate) fn is_needed_after(error: &io::Error) -> bool {
        matches!(
            Errno::from_io_error(error),
            Some(Errno::MFILE | Errno::NFILE)
        )
    }
}
