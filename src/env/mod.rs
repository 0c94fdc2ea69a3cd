//! The three doors to the outside world: files, time and randomness.
//!
//! Every layer above uses the operating system's files only through [`FileSystem`], the time only
//! through [`Clock`] and random numbers only through [`Random`] (`clippy.toml` bans other ways).
//! That is why the whole broker can run on a simulated disk that loses power at a chosen operation.
//!
//! Reading order: this page, the contract; `disk.rs`, the real disk; `sim/mod.rs`, the simulated
//! one. Both pass the same test suite, `tests/conformance.rs`.
//!
//! # What we ask of a disk
//!
//! - A write is durable when a later [`File::sync_data`] on any handle of that file has returned.
//!   Before that, any subset of its 512-byte sectors may survive a power cut, in any order.
//! - A file's new length is durable with its data: after `sync_data`, reads return what was
//!   written.
//! - A created, renamed or removed name is durable when a later [`FileSystem::sync_dir`] on its
//!   directory has returned, and not before, whatever happens to the file's content. Renaming over
//!   a file replaces it atomically; a rename from one directory to another is durable when both are
//!   synced.
//! - After a failed sync nothing is known about the data it covered; callers never try again (D8 of
//!   the design).
//! - What is written is what is read, unless the disk is damaged, which callers detect by
//!   checksums.

use std::{fmt, io, os::unix::net::UnixListener, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;

mod alarm;
mod aligned;
mod descriptors;
mod disk;
#[cfg_attr(
    not(feature = "cli"),
    allow(dead_code, reason = "the command line makes the one that there is")
)]
mod ephemeral;
mod errno;
#[cfg(feature = "cli")]
mod heap;
#[cfg(feature = "cli")]
mod machine;
mod mmap;
mod ordered;
mod process;
mod side_by_side;
pub(crate) mod sim;
mod socket;
mod system;
mod tally;
#[cfg(test)]
mod tests;
#[cfg(target_os = "linux")]
mod volatile;

pub(crate) use alarm::Alarm;
pub(crate) use aligned::AlignedBuffer;
pub(crate) use descriptors::SpareDescriptor;
#[cfg(feature = "cli")]
pub(crate) use descriptors::raise_open_files_limit;
#[cfg(feature = "cli")]
pub(crate) use disk::drop_from_cache;
pub(crate) use ephemeral::Ephemeral;
pub(crate) use errno::{has_no_locks, has_no_maps, is_out_of_resources, is_unreadable};
#[cfg(feature = "cli")]
pub(crate) use heap::{set_up_heap, trim_heap};
#[cfg(feature = "cli")]
pub(crate) use machine::{memory_bytes, read_all};
pub(crate) use mmap::{PIECE_BYTES, read_in};
pub(crate) use ordered::{Ordered, OrderedGuard, OrderedMutex, OrderedRwLock, rank};
pub(crate) use process::Process;
#[cfg(feature = "cli")]
pub(crate) use process::{Parent, Thread, cpu_time_of, threads_of};
#[cfg(feature = "cli")]
pub(crate) use system::{ask_to_stop, wait_until_unread};
pub(crate) use tally::Tally;

/// Everything outside that the broker uses.
#[derive(Clone)]
pub(crate) struct Env {
    /// The file system.
    pub(crate) files: Arc<dyn FileSystem>,
    /// The clock.
    pub(crate) clock: Arc<dyn Clock>,
    /// The source of random numbers.
    pub(crate) random: Arc<dyn Random>,
}

impl Env {
    /// The real file system, clock and random numbers.
    pub(crate) fn system() -> Self {
        Self {
            files: Arc::new(disk::Disk),
            clock: Arc::new(system::SystemClock::new()),
            random: Arc::new(system::SystemRandom),
        }
    }
}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Env")
    }
}

/// Addresses and lengths of direct reads and writes are multiples of this: the page size, which
/// every disk accepts.
pub(crate) const DIRECT_ALIGNMENT: usize = 4096;

/// How to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Open {
    /// An existing file, to read only.
    Read,
    /// An existing file, to read and write.
    Write,
    /// A new file, to read and write; `AlreadyExists` if there is one.
    Create,
    /// An existing file, to read and write past the operating system's cache where the file system
    /// can: offsets, lengths and addresses must then be multiples of [`DIRECT_ALIGNMENT`].
    Direct,
}

/// A file system. Paths are absolute or relative to the process's working directory; names are
/// UTF-8.
pub(crate) trait FileSystem: Send + Sync + 'static {
    /// Opens a file. `NotFound` without one, `AlreadyExists` for [`Open::Create`] with one,
    /// `NotSeekable` for pipes, sockets and devices, which are not opened.
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>>;

    /// Maps a whole file for reading. The file must not be written to or made shorter as long as
    /// the bytes live, which the simulated disk asserts; removing it is fine. An empty file gives
    /// no bytes.
    fn map(&self, path: &Path) -> io::Result<Bytes>;

    /// Creates a directory; its parent must exist. `AlreadyExists` if the name is taken.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// The entries of a directory, sorted by name. Names that are not UTF-8 are left out, because
    /// none of ours is one.
    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>>;

    /// Whether there is a file or directory of this name.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Renames a file within a file system, and atomically replaces a file with the new name. A
    /// directory can be moved to a free name; `CrossesDevices` if the file system cannot do that
    /// although both names are in it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file's name. Open handles and maps keep working.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Syncs each of these, as one call for each would; returns the results in order. They become
    /// durable in any order, and each is tried even if others fail. Much faster than one after the
    /// other if the disk can do several at a time.
    fn sync_all(&self, these: &[ToSync<'_>]) -> Vec<io::Result<()>>;

    /// Takes the exclusive lock on a file, without waiting; creates the file if necessary.
    /// `WouldBlock` if another process or handle holds or shares it. Dropping the guard releases
    /// it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn LockGuard>>;

    /// As [`lock`](Self::lock) for an existing file or directory; nothing is created or written. A
    /// shared lock only keeps exclusive ones out.
    fn lock_there(&self, path: &Path, lock: Lock) -> io::Result<Box<dyn LockGuard>>;

    /// Why syncs do not make anything durable in the file system of `path`, if that is known.
    fn volatile(&self, path: &Path) -> io::Result<Option<&'static str>>;

    /// How many bytes can still be written to the file system of `path`; `None` if it does not
    /// tell.
    fn available_bytes(&self, path: &Path) -> io::Result<Option<u64>>;

    /// Listens on a Unix socket with this name, to which only the user of this process can connect.
    /// Replaces an existing socket: the caller knows that nobody listens on it. `Unsupported` if
    /// there are no sockets, `AlreadyExists` if the name belongs to something else,
    /// `InvalidFilename` if it is too long for a socket's address.
    fn listen(&self, path: &Path) -> io::Result<UnixListener> {
        let _ = path;
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// What [`FileSystem::sync_all`] syncs.
#[derive(Clone, Copy)]
pub(crate) enum ToSync<'a> {
    /// As [`File::sync_data`].
    File(&'a dyn File),
    /// As [`FileSystem::sync_dir`].
    Dir(&'a Path),
}

impl ToSync<'_> {
    fn sync_in(&self, files: &dyn FileSystem) -> io::Result<()> {
        match self {
            Self::File(file) => file.sync_data(),
            Self::Dir(path) => files.sync_dir(path),
        }
    }
}

/// An open file. All calls are positioned; handles share nothing but the file.
pub(crate) trait File: Send + Sync + 'static {
    /// Reads exactly `into.len()` bytes at `position`; `UnexpectedEof` if the file ends before.
    fn read_exact_at(&self, into: &mut [u8], position: u64) -> io::Result<()>;

    /// The `len` bytes at `position`; `UnexpectedEof` if the file ends before. For large reads: the
    /// real disk does not clear the memory first.
    fn read_vec_at(&self, position: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.read_exact_at(&mut bytes, position)?;
        Ok(bytes)
    }

    /// Writes all of the slices one behind the other at `position`, extending the file as needed.
    /// After an error any part may have been written.
    fn write_all_at(&self, slices: &[&[u8]], position: u64) -> io::Result<()>;

    /// The file's length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Sets the file's length: cuts it, or extends it with zeros for which no space is reserved.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Makes the file at least this long, with disk space reserved for all of it; the new part is
    /// zeros. `StorageFull` if there is not enough space, and then the length is as before.
    /// Reserved space is not written yet: syncing the first write to it costs more than syncing a
    /// write that overwrites.
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// Makes what was written, and the length, durable.
    fn sync_data(&self) -> io::Result<()>;

    /// Announces that what was written from `position` on will be synced soon, so that the disk can
    /// start. This makes nothing durable and reports no errors.
    fn begin_writing(&self, position: u64) {
        let _ = position;
    }

    /// Whether it was opened as [`Open::Direct`], and the file system has not refused that so far.
    fn is_direct(&self) -> bool {
        false
    }
}

/// How a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lock {
    /// By one holder.
    Exclusive,
    /// By as many as want to share it.
    Shared,
}

/// Holds a file lock until it is dropped.
pub(crate) trait LockGuard: Send + Sync {}

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DirEntry {
    /// The name, without the directory's path.
    pub(crate) name: String,
    /// Whether it is a directory.
    pub(crate) is_dir: bool,
    /// What it is if it is neither a file nor a directory itself; a symbolic link to a directory is
    /// both.
    pub(crate) special: Option<&'static str>,
}

/// The id of one start of a machine.
pub(crate) type BootId = [u8; 16];

/// A source of time.
pub(crate) trait Clock: Send + Sync + 'static {
    /// Wall-clock time in milliseconds since 1970-01-01T00:00:00Z. May jump in either direction.
    fn now_ms(&self) -> i64;

    /// Time since some fixed moment; never goes back.
    fn elapsed(&self) -> Duration;

    /// Time since the machine was started, or since another fixed moment if [`Clock::boot`] is
    /// `None`. Never goes back, and includes time in which the machine was suspended.
    fn since_boot(&self) -> Duration;

    /// Which start of the machine this is; `None` if that is not known.
    fn boot(&self) -> Option<BootId>;

    /// How long it takes until this moment of [`Clock::elapsed`]; `None` if that is not known,
    /// because time passes only when a test moves the clock.
    fn time_until(&self, moment: Duration) -> Option<Duration> {
        Some(moment.saturating_sub(self.elapsed()))
    }

    /// Wakes an alarm, as long as it exists, whenever a test moves the clock.
    fn wake_when_moved(&self, alarm: &Arc<Alarm>) {
        let _ = alarm;
    }
}

/// A source of random numbers.
pub(crate) trait Random: Send + Sync + 'static {
    /// 64 random bits.
    fn next_u64(&self) -> u64;
}
