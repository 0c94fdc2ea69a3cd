//! A file that does not change any more, which can be read anywhere: through a map, or by position
//! if it cannot be mapped.
//!
//! Some file systems have no shared maps, for example FUSE with direct I/O, and the number of maps
//! and the address space of a process are limited. Files can be read in these cases too.

use std::{io, path::Path, sync::Arc};

use bytes::Bytes;

use super::fault::{self, Meaning};
use crate::env::{self, File, FileSystem, Open};

/// An immutable file, open for reading.
#[derive(Clone)]
pub(crate) enum ReadOnly {
    /// A map of the whole file.
    Mapped(Bytes),
    /// The file, read by position, and its length.
    Positioned(Arc<dyn File>, u64),
}

/// Counts the users of the maps of a file: as long as there are any, the file must not become
/// shorter.
#[derive(Default)]
pub(crate) struct Maps(Arc<()>);

/// Bytes of a map.
struct Mapped {
    bytes: Bytes,
    _map: Arc<()>,
}

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Maps {
    /// Counts an opened file as in use, if it is mapped, until its bytes are dropped.
    pub(crate) fn count(&self, opened: ReadOnly) -> ReadOnly {
        match opened {
            ReadOnly::Mapped(bytes) => ReadOnly::Mapped(Bytes::from_owner(Mapped {
                bytes,
                _map: Arc::clone(&self.0),
            })),
            ReadOnly::Positioned(..) => opened,
        }
    }

    /// Whether anybody has bytes of a map.
    pub(crate) fn has_any(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

impl ReadOnly {
    /// A file without bytes.
    pub(crate) fn nothing() -> Self {
        Self::Mapped(Bytes::new())
    }

    /// Opens a file. If mapping fails for a reason that may pass, calls `let_go`, which should drop
    /// other maps, and tries once more; if that fails too, the file is read by position.
    pub(crate) fn open(
        files: &dyn FileSystem,
        path: &Path,
        let_go: impl FnOnce(),
    ) -> io::Result<Self> {
        let error = match files.map(path) {
            Ok(bytes) => return Ok(Self::Mapped(bytes)),
            Err(error) if fault::of_reading(&error) == Meaning::Passing => error,
            Err(error) => return Err(error),
        };
        // If the file system has no maps, dropping others would not help.
        if !env::has_no_maps(&error) {
            let_go();
            if let Ok(bytes) = files.map(path) {
                return Ok(Self::Mapped(bytes));
            }
        }
        let file = files.open(path, Open::Read)?;
        let len = file.len()?;
        Ok(Self::Positioned(file, len))
    }

    /// The length of the file in bytes.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Mapped(bytes) => bytes.len() as u64,
            Self::Positioned(_, len) => *len,
        }
    }

    /// The bytes from `position` on: `wanted` of them, or fewer at the end of the file.
    pub(crate) fn read(&self, position: u64, wanted: u64) -> io::Result<Bytes> {
        let from = position.min(self.len());
        let to = position.saturating_add(wanted).min(self.len());
        match self {
            Self::Mapped(bytes) => {
                let within = |at: u64| usize::try_from(at).expect("a map fits the address space");
                Ok(bytes.slice(within(from)..within(to)))
            }
            Self::Positioned(file, _) => {
                let len = usize::try_from(to - from).expect("it is to fit memory");
                Ok(file.read_vec_at(from, len)?.into())
            }
        }
    }
}
