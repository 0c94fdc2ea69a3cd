//! The three doors to the world: files, time and chance.
//!
//! Every layer above reaches the operating system's files through [`FileSystem`], the time through
//! [`Clock`] and random numbers through [`Random`], and through nothing else (`clippy.toml` bans
//! the side doors). That is what lets the whole broker run on a disk that loses power at a chosen
//! instruction.
//!
//! Reading order: this page, the contract; `disk.rs`, the real one; `sim/mod.rs`, the simulated
//! one. Both pass the same suite, `tests/conformance.rs`.
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
mod errno;
#[cfg(feature = "cli")]
mod heap;
#[cfg(feature = "cli")]
mod machine;
mod mmap;
mod ordered;
mod process;
mod side_by_side;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod sim;
mod socket;
mod system;
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
pub(crate) use errno::{has_no_locks, has_no_maps, is_out_of_resources, is_unreadable};
#[cfg(feature = "cli")]
pub(crate) use heap::{set_up_heap, trim_heap};
#[cfg(feature = "cli")]
pub(crate) use machine::{memory_bytes, read_all};
pub(crate) use ordered::{Ordered, OrderedGuard, OrderedMutex, OrderedRwLock, rank};
pub(crate) use process::Process;
#[cfg(feature = "cli")]
pub(crate) use process::{cpu_time_of, cpu_time_of_threads};
#[cfg(feature = "cli")]
pub(crate) use system::{ask_to_stop, wait_until_unread};

/// The world as the broker sees it.
#[derive(Clone)]
pub(crate) struct Env {
    /// Where files are.
    pub(crate) files: Arc<dyn FileSystem>,
    /// What time it is.
    pub(crate) clock: Arc<dyn Clock>,
    /// Where random numbers come from.
    pub(crate) random: Arc<dyn Random>,
}

impl Env {
    /// The real world.
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

/// A place for files. Paths are absolute or relative to the process's directory; names are UTF-8.
pub(crate) trait FileSystem: Send + Sync + 'static {
    /// Opens a file. `NotFound` without one, `AlreadyExists` for [`Open::Create`] with one.
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>>;

    /// Maps a whole file for reading. The file must not be written to or made shorter as long as
    /// the bytes live, which the simulated disk asserts; removing it is fine. An empty file gives
    /// no bytes.
    fn map(&self, path: &Path) -> io::Result<Bytes>;

    /// Creates a directory; its parent must exist. `AlreadyExists` if the name is taken.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// What a directory holds, sorted by name. Names that are not UTF-8 are left out: none of ours
    /// is.
    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>>;

    /// Whether there is a file or directory of this name.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Gives a file another name in the same file system, replacing a file of that name atomically.
    /// A directory can be moved to a name that is free; `CrossesDevices` where the file system
    /// cannot do it although both names are in it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file's name. Open handles and maps go on working.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Syncs each of these, as a call for each would: what came of them, in their order. They
    /// become durable in any order, and each is tried whatever comes of the others. Far faster than
    /// one behind the other where the disk can do several at a time.
    fn sync_all(&self, these: &[ToSync<'_>]) -> Vec<io::Result<()>>;

    /// Takes the exclusive lock on a file, which is created if need be, without waiting:
    /// `WouldBlock` if another process or handle has it or shares it. Dropping the guard releases
    /// it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn LockGuard>>;

    /// As [`lock`](Self::lock) of what is there, and nothing is created or written: a file or a
    /// directory. A lock that is shared keeps only exclusive ones out.
    fn lock_there(&self, path: &Path, lock: Lock) -> io::Result<Box<dyn LockGuard>>;

    /// Why a sync makes nothing durable in the file system that holds `path`, if that is known.
    fn volatile(&self, path: &Path) -> io::Result<Option<&'static str>>;

    /// How many bytes can still be written to the file system that holds `path`; none if that does
    /// not say.
    fn available_bytes(&self, path: &Path) -> io::Result<Option<u64>>;

    /// Listens on a Unix socket of this name, to which only the user of this process can connect.
    /// A socket that is there already is replaced: the caller knows that nobody listens on it.
    /// `Unsupported` where there are no sockets, `AlreadyExists` if the name is that of something
    /// else, `InvalidFilename` if it is too long for a socket's address.
    fn listen(&self, path: &Path) -> io::Result<UnixListener> {
        let _ = path;
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// What a call of [`FileSystem::sync_all`] syncs.
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

    /// Makes the file this long: cuts it, or extends it with zeros that need not have room on disk.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Makes the file at least this long with room on disk for all of it, the new part zeros;
    /// `StorageFull` if there is not enough, and then it is as long as before. What is reserved is
    /// not yet written: the first write to it costs more to sync than writing again does.
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// Makes what was written, and the length, durable.
    fn sync_data(&self) -> io::Result<()>;

    /// Says that what was written from `position` on is synced soon, so that the disk can begin.
    /// Nothing is durable by that, and nothing is known of errors.
    fn begin_writing(&self, position: u64) {
        let _ = position;
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
}

/// A start of a machine.
pub(crate) type BootId = [u8; 16];

/// What time it is.
pub(crate) trait Clock: Send + Sync + 'static {
    /// Wall-clock time in milliseconds since 1970-01-01T00:00:00Z. May jump in either direction.
    fn now_ms(&self) -> i64;

    /// Time since some fixed moment; never goes back.
    fn elapsed(&self) -> Duration;

    /// Time since the machine was started, or since another fixed moment where [`Clock::boot`]
    /// knows none; never goes back, and goes on while the machine is suspended.
    fn since_boot(&self) -> Duration;

    /// Which start of the machine this is; none if it does not say.
    fn boot(&self) -> Option<BootId>;

    /// How long it takes until this moment of [`Clock::elapsed`]; none if nobody knows, because
    /// time passes only when somebody moves the clock.
    fn time_until(&self, moment: Duration) -> Option<Duration> {
        Some(moment.saturating_sub(self.elapsed()))
    }

    /// Wakes an alarm, as long as there is one, each time that somebody has moved the clock.
    fn wake_when_moved(&self, alarm: &Arc<Alarm>) {
        let _ = alarm;
    }
}

/// Where random numbers come from.
pub(crate) trait Random: Send + Sync + 'static {
    /// 64 random bits.
    fn next_u64(&self) -> u64;
}
