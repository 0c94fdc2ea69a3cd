//! The real disk: the operating system's files, and the only place that touches them.
//!
//! Nothing here is cached, and nothing is retried except calls that a signal interrupted. Errors
//! are returned as the operating system gave them; callers add the file and the purpose.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this is the door that the bans lead to"
)]

use std::{
    fs::{self, DirBuilder, OpenOptions, TryLockError},
    io::{self, IoSlice},
    os::unix::{
        fs::{DirBuilderExt, FileExt, FileTypeExt, OpenOptionsExt},
        net::UnixListener,
    },
    path::{Path, PathBuf},
    sync::{Arc, Once, OnceLock},
};

use bytes::Bytes;
use rustix::{
    buffer::spare_capacity,
    fs::{FallocateFlags, OFlags},
    io::Errno,
};

#[cfg(target_os = "linux")]
use super::volatile;
use super::{
    AlignedBuffer, DirEntry, File, FileSystem, Lock, LockGuard, Open, ToSync, mmap, side_by_side,
    socket,
};

/// Only their owner may read files and look into directories: records and hashes of tokens are in
/// them.
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

/// How many slices one gathered write may have (`IOV_MAX` of Linux and the BSDs).
const SLICES_PER_WRITE: usize = 1024;

/// How many bytes are written at once where space can only be reserved by writing zeros.
const ZEROS_PER_WRITE: usize = 256 * 1024;

/// The operating system's file system.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Disk;

impl FileSystem for Disk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let file = match how {
            Open::Read => open_to_read(path)?,
            Open::Write => {
                refuse_special(path)?;
                OpenOptions::new().read(true).write(true).open(path)?
            }
            Open::Create => OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .mode(FILE_MODE)
                .open(path)?,
            Open::Direct => {
                refuse_special(path)?;
                return Ok(Arc::new(open_direct(path)?));
            }
        };
        Ok(Arc::new(DiskFile::buffered(file)))
    }

    fn map(&self, path: &Path) -> io::Result<Bytes> {
        mmap::map_whole(&open_to_read(path)?)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().mode(DIRECTORY_MODE).create(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let kind = entry.file_type()?;
            // A directory may have been moved to another disk, with a symbolic link in its place.
            let is_dir = kind.is_dir() || kind.is_symlink() && entry.path().is_dir();
            entries.push(DirEntry {
                name,
                is_dir,
                special: special(kind),
            });
        }
        entries.sort_unstable();
        Ok(entries)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        fs::exists(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        with_flags(OFlags::DIRECTORY)
            .read(true)
            .open(path)?
            .sync_all()
    }

    fn sync_all(&self, these: &[ToSync<'_>]) -> Vec<io::Result<()>> {
        side_by_side::sync_each(these, |one| one.sync_in(self))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn LockGuard>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE)
            .open(path)?;
        lock_file(file, Lock::Exclusive)
    }

    fn lock_there(&self, path: &Path, lock: Lock) -> io::Result<Box<dyn LockGuard>> {
        refuse_special(path)?;
        lock_file(fs::File::open(path)?, lock)
    }

    #[cfg(target_os = "linux")]
    fn volatile(&self, path: &Path) -> io::Result<Option<&'static str>> {
        volatile::of(path)
    }

    #[cfg(not(target_os = "linux"))]
    fn volatile(&self, _: &Path) -> io::Result<Option<&'static str>> {
        Ok(None)
    }

    fn available_bytes(&self, path: &Path) -> io::Result<Option<u64>> {
        Ok(available(&rustix::fs::statvfs(path)?))
    }

    fn listen(&self, path: &Path) -> io::Result<UnixListener> {
        socket::listen(path)
    }
}

/// The free space according to a file system. One without any blocks does not count its space:
/// ramfs, and many in user space.
pub(super) fn available(status: &rustix::fs::StatVfs) -> Option<u64> {
    (status.f_blocks > 0).then(|| status.f_bavail.saturating_mul(status.f_frsize))
}

/// Opens a file for reading. Refuses a directory, as opening for writing does.
fn open_to_read(path: &Path) -> io::Result<fs::File> {
    if refuse_special(path)?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    fs::File::open(path)
}

/// Refuses what is neither a file nor a directory, before it is opened: opening a pipe waits for
/// its writer, and opening a device may do anything. Symbolic links are followed.
fn refuse_special(path: &Path) -> io::Result<fs::FileType> {
    let kind = fs::metadata(path)?.file_type();
    match special(kind) {
        Some(what) => Err(io::Error::new(
            io::ErrorKind::NotSeekable,
            format!("it is {what}, not a file"),
        )),
        None => Ok(kind),
    }
}

/// The name of what is neither a file nor a directory itself.
fn special(kind: fs::FileType) -> Option<&'static str> {
    if kind.is_file() || kind.is_dir() {
        None
    } else if kind.is_symlink() {
        Some("a symbolic link")
    } else if kind.is_fifo() {
        Some("a named pipe (FIFO)")
    } else if kind.is_socket() {
        Some("a socket")
    } else {
        Some("a device")
    }
}

#[cfg(target_os = "linux")]
fn open_direct(path: &Path) -> io::Result<DiskFile> {
    match with_flags(OFlags::DIRECT).read(true).write(true).open(path) {
        // The error of a file system without direct I/O.
        Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
            SAID.call_once(|| {
                tracing::info!(
                    path = %path.display(),
                    "the file system has no direct I/O; files are written through the cache"
                );
            });
            open_buffered(path)
        }
        opened => Ok(DiskFile::direct(opened?, path, write_all)),
    }
}

#[cfg(not(target_os = "linux"))]
fn open_direct(path: &Path) -> io::Result<DiskFile> {
    open_buffered(path)
}

fn open_buffered(path: &Path) -> io::Result<DiskFile> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    Ok(DiskFile::buffered(file))
}

/// Makes the operating system drop a file from its cache, unless a process has mapped the file: the
/// next read comes from the disk.
#[cfg(all(feature = "cli", target_os = "linux"))]
pub(crate) fn drop_from_cache(path: &Path) -> io::Result<()> {
    let file = open_to_read(path)?;
    // Only bytes that are on the disk can be dropped.
    file.sync_all()?;
    Ok(rustix::fs::fadvise(
        &file,
        0,
        None,
        rustix::fs::Advice::DontNeed,
    )?)
}

#[cfg(all(feature = "cli", not(target_os = "linux")))]
pub(crate) fn drop_from_cache(_: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

fn lock_file(file: fs::File, lock: Lock) -> io::Result<Box<dyn LockGuard>> {
    let locked = match lock {
        Lock::Exclusive => file.try_lock(),
        Lock::Shared => file.try_lock_shared(),
    };
    match locked {
        Ok(()) => Ok(Box::new(DiskLock(file))),
        Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn with_flags(flags: OFlags) -> OpenOptions {
    let mut options = OpenOptions::new();
    options.custom_flags(flags.bits().cast_signed());
    options
}

/// The file holds the lock. So does every copy of it in a process that this one is just starting:
/// if it were only closed, the lock would stay until that copy is closed too.
struct DiskLock(fs::File);

impl LockGuard for DiskLock {}

impl Drop for DiskLock {
    fn drop(&mut self) {
        // If this fails, closing the file must do.
        self.0.unlock().ok();
    }
}

/// An open file of the operating system.
pub(super) struct DiskFile {
    file: fs::File,
    direct: Option<Direct>,
}

/// What a file opened for direct I/O needs in order to continue through the cache.
///
/// A file system may let a file be opened like this and still not support it: one in user space may
/// accept one block and refuse two, and there is no way to ask beforehand. So the first write that
/// is refused is repeated through the cache, and all later ones go through it too.
struct Direct {
    path: PathBuf,
    buffered: OnceLock<fs::File>,
    write: Write,
}

/// Writes to a file at a position.
pub(super) type Write = fn(&fs::File, &[&[u8]], u64) -> io::Result<()>;

/// What a file system without direct I/O means is logged once, because all files of the directory
/// are alike.
static SAID: Once = Once::new();

impl File for DiskFile {
    fn read_exact_at(&self, into: &mut [u8], position: u64) -> io::Result<()> {
        self.past_or_through_cache(|file| file.read_exact_at(into, position))
    }

    fn read_vec_at(&self, position: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(len);
        self.past_or_through_cache(|file| read_to_len(file, &mut bytes, position, len))?;
        Ok(bytes)
    }

    fn write_all_at(&self, slices: &[&[u8]], position: u64) -> io::Result<()> {
        let write = self
            .direct
            .as_ref()
            .map_or(write_all as Write, |direct| direct.write);
        self.past_or_through_cache(|file| write(file, slices, position))
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let before = self.len()?;
        let result = match reserve(&self.file, len) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.write_zeros(before, len),
            result => result.map_err(Into::into),
        };
        if result.is_err() && self.len()? > before {
            // The part that fitted is given back, because a full disk needs it.
            self.set_len(before)?;
        }
        result
    }

    fn sync_data(&self) -> io::Result<()> {
        self.current().sync_data()
    }

    /// Told that pages are not needed, Linux starts to write them, and drops only those that are
    /// written already.
    #[cfg(target_os = "linux")]
    fn begin_writing(&self, position: u64) {
        let advice = rustix::fs::Advice::DontNeed;
        rustix::fs::fadvise(self.current(), position, None, advice).ok();
    }

    fn is_direct(&self) -> bool {
        let direct = self.direct.as_ref();
        direct.is_some_and(|direct| direct.buffered.get().is_none())
    }
}

impl DiskFile {
    /// A file that is read and written through the cache.
    pub(super) fn buffered(file: fs::File) -> Self {
        Self { file, direct: None }
    }

    /// A file that was opened for direct I/O at this path. `write` writes to it.
    pub(super) fn direct(file: fs::File, path: &Path, write: Write) -> Self {
        let direct = Direct {
            path: path.to_owned(),
            buffered: OnceLock::new(),
            write,
        };
        Self {
            file,
            direct: Some(direct),
        }
    }

    /// The handle that is read from and written to.
    fn current(&self) -> &fs::File {
        let buffered = self
            .direct
            .as_ref()
            .and_then(|direct| direct.buffered.get());
        buffered.unwrap_or(&self.file)
    }

    /// Reads or writes; through the cache if the file system refuses direct I/O.
    fn past_or_through_cache(
        &self,
        mut act: impl FnMut(&fs::File) -> io::Result<()>,
    ) -> io::Result<()> {
        let file = self.current();
        let done = act(file);
        let (Err(error), Some(direct)) = (&done, &self.direct) else {
            return done;
        };
        let is_refused = error.raw_os_error() == Some(Errno::INVAL.raw_os_error());
        if !is_refused || !std::ptr::eq(file, &raw const self.file) {
            return done;
        }
        act(direct.reopen()?)
    }

    /// Reserves space by writing zeros, for file systems that cannot reserve it otherwise.
    pub(super) fn write_zeros(&self, from: u64, to: u64) -> io::Result<()> {
        // Aligned, because the handle may be a direct one.
        let mut zeros = AlignedBuffer::with_capacity(ZEROS_PER_WRITE);
        zeros.extend(&vec![0; ZEROS_PER_WRITE]);
        for position in (from..to).step_by(ZEROS_PER_WRITE) {
            let len = (to - position).min(ZEROS_PER_WRITE as u64) as usize;
            self.write_all_at(&[&zeros.as_slice()[..len]], position)?;
        }
        Ok(())
    }
}

impl Direct {
    fn reopen(&self) -> io::Result<&fs::File> {
        let file = OpenOptions::new().read(true).write(true).open(&self.path)?;
        SAID.call_once(|| {
            tracing::warn!(
                path = %self.path.display(),
                "the file system opens files for direct I/O and then refuses it; they are written through the cache"
            );
        });
        Ok(self.buffered.get_or_init(|| file))
    }
}

/// Reads the rest of `len` bytes at `position` into memory that was not cleared. Clearing a large
/// buffer costs as much as reading it, or more if the allocator leaves it to the kernel, page by
/// page.
fn read_to_len(file: &fs::File, bytes: &mut Vec<u8>, position: u64, len: usize) -> io::Result<()> {
    while bytes.len() < len {
        let at = position + bytes.len() as u64;
        match rustix::io::pread(file, spare_capacity(bytes), at) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // The vector may have had more capacity than was asked for.
    bytes.truncate(len);
    Ok(())
}

/// Writes all of the slices, one behind the other.
pub(super) fn write_all(file: &fs::File, slices: &[&[u8]], position: u64) -> io::Result<()> {
    match slices {
        [] => Ok(()),
        [one] => file.write_all_at(one, position),
        many => write_gathered(file, many, position),
    }
}

fn write_gathered(file: &fs::File, slices: &[&[u8]], mut position: u64) -> io::Result<()> {
    let mut slices: Vec<_> = slices
        .iter()
        .filter(|slice| !slice.is_empty())
        .map(|&s| IoSlice::new(s))
        .collect();
    let mut rest = slices.as_mut_slice();
    while !rest.is_empty() {
        match rustix::io::pwritev(file, &rest[..rest.len().min(SLICES_PER_WRITE)], position) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                position += written as u64;
                IoSlice::advance_slices(&mut rest, written);
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn reserve(file: &fs::File, len: u64) -> Result<(), Errno> {
    if len == 0 {
        return Ok(()); // Which `fallocate` takes for a mistake.
    }
    rustix::io::retry_on_intr(|| rustix::fs::fallocate(file, FallocateFlags::empty(), 0, len))
}
