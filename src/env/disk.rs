//! The real disk: the operating system's files, and the only place that touches them.
//!
//! Nothing here retries anything but a call that a signal interrupted, nothing is cached, and
//! errors come back as the operating system gave them; callers know which file and purpose to name.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this is the door that the bans lead to"
)]

use std::{
    fs::{self, OpenOptions, TryLockError},
    io::{self, IoSlice},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    sync::Arc,
};

use bytes::Bytes;
use rustix::{
    fs::{FallocateFlags, OFlags},
    io::Errno,
};

use super::{AlignedBuffer, DirEntry, File, FileSystem, LockGuard, Open, mmap};

/// How many slices one gathered write may have (`IOV_MAX` of Linux and the BSDs).
const SLICES_PER_WRITE: usize = 1024;

/// How much is written at once where room can be had only by writing zeros.
const ZEROS_PER_WRITE: usize = 256 * 1024;

/// The operating system's file system.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Disk;

impl FileSystem for Disk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let file = match how {
            Open::Read => open_to_read(path)?,
            Open::Write => OpenOptions::new().read(true).write(true).open(path)?,
            Open::Create => OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .open(path)?,
            Open::Direct => open_direct(path)?,
        };
        Ok(Arc::new(DiskFile(file)))
    }

    fn map(&self, path: &Path) -> io::Result<Bytes> {
        mmap::map_whole(&open_to_read(path)?)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let kind = entry.file_type()?;
            // A directory may have been moved to another disk, with a link left in its place.
            let is_dir = kind.is_dir() || kind.is_symlink() && entry.path().is_dir();
            entries.push(DirEntry { name, is_dir });
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

    fn lock(&self, path: &Path) -> io::Result<Box<dyn LockGuard>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(DiskLock(file))),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn available_bytes(&self, path: &Path) -> io::Result<u64> {
        let status = rustix::fs::statvfs(path)?;
        Ok(status.f_bavail.saturating_mul(status.f_frsize))
    }
}

/// Opens a file to read, refusing a directory as the other ways to open do.
fn open_to_read(path: &Path) -> io::Result<fs::File> {
    let file = fs::File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Ok(file)
}

#[cfg(target_os = "linux")]
fn open_direct(path: &Path) -> io::Result<fs::File> {
    match with_flags(OFlags::DIRECT).read(true).write(true).open(path) {
        // How a file system says that it knows no direct I/O.
        Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
            OpenOptions::new().read(true).write(true).open(path)
        }
        result => result,
    }
}

#[cfg(not(target_os = "linux"))]
fn open_direct(path: &Path) -> io::Result<fs::File> {
    OpenOptions::new().read(true).write(true).open(path)
}

/// Lets the operating system forget what it keeps of a file in memory, as far as no process has it
/// mapped: the next read comes from the disk.
#[cfg(all(feature = "cli", target_os = "linux"))]
pub(crate) fn drop_from_cache(path: &Path) -> io::Result<()> {
    let file = open_to_read(path)?;
    // Only what is on the disk already can be dropped.
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

fn with_flags(flags: OFlags) -> OpenOptions {
    let mut options = OpenOptions::new();
    options.custom_flags(flags.bits().cast_signed());
    options
}

/// The file holds the lock, and so does every copy of it that a process has while it is being
/// started by this one: closing it would give the lock back only when that has let go of it too.
struct DiskLock(fs::File);

impl LockGuard for DiskLock {}

impl Drop for DiskLock {
    fn drop(&mut self) {
        // If this fails, closing the file is what is left.
        self.0.unlock().ok();
    }
}

/// An open file of the operating system.
pub(super) struct DiskFile(pub(super) fs::File);

impl File for DiskFile {
    fn read_exact_at(&self, into: &mut [u8], position: u64) -> io::Result<()> {
        self.0.read_exact_at(into, position)
    }

    fn write_all_at(&self, slices: &[&[u8]], position: u64) -> io::Result<()> {
        match slices {
            [] => Ok(()),
            [one] => self.0.write_all_at(one, position),
            many => self.write_gathered(many, position),
        }
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let before = self.len()?;
        let result = match self.reserve(len) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.write_zeros(before, len),
            result => result.map_err(Into::into),
        };
        if result.is_err() && self.len()? > before {
            // The part that there was room for is given back: a full disk needs it.
            self.set_len(before)?;
        }
        result
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

impl DiskFile {
    fn write_gathered(&self, slices: &[&[u8]], mut position: u64) -> io::Result<()> {
        let mut slices: Vec<_> = slices
            .iter()
            .filter(|slice| !slice.is_empty())
            .map(|&s| IoSlice::new(s))
            .collect();
        let mut rest = slices.as_mut_slice();
        while !rest.is_empty() {
            match rustix::io::pwritev(&self.0, &rest[..rest.len().min(SLICES_PER_WRITE)], position)
            {
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

    fn reserve(&self, len: u64) -> Result<(), Errno> {
        if len == 0 {
            return Ok(()); // Which `fallocate` takes for a mistake.
        }
        rustix::io::retry_on_intr(|| {
            rustix::fs::fallocate(&self.0, FallocateFlags::empty(), 0, len)
        })
    }

    /// Takes room where the file system cannot reserve it: by using it.
    pub(super) fn write_zeros(&self, from: u64, to: u64) -> io::Result<()> {
        // Aligned, because the handle may be a direct one.
        let mut zeros = AlignedBuffer::with_capacity(ZEROS_PER_WRITE);
        zeros.extend(&vec![0; ZEROS_PER_WRITE]);
        for position in (from..to).step_by(ZEROS_PER_WRITE) {
            let len = (to - position).min(ZEROS_PER_WRITE as u64) as usize;
            self.0.write_all_at(&zeros.as_slice()[..len], position)?;
        }
        Ok(())
    }
}
