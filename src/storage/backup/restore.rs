//! Makes a data directory out of a backup.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{
    Error, Found, INCOMING, MARK,
    before::{entries_of, exists},
    find, read_through,
    receive::{ensure_parents, find_marked, open_to_read},
    refuse_special,
    target::Target,
};
use crate::{
    catalog::KnownErasure,
    env::{DirEntry, File, FileSystem, Lock, LockGuard, Open, ToSync},
    storage::{
        checkpoint,
        files::{Action, FileError, ensure_dir, read_file, replace_file},
        format::{
            RunningCrc32,
            backup_mark::{BackupMark, MarkedFile},
            checkpoint::Checkpoint,
            crc32,
        },
    },
    types::Offset,
};

/// The name of the checkpoint, which has the catalog.
pub(super) const CHECKPOINT: &str = "checkpoint";

/// Files are synced together: this many of them, or this many bytes.
const SYNCED_TOGETHER: usize = 256;
const SYNCED_BYTES: u64 = 64 << 20;

/// Tells a restore to stop. One that has begun to give its directory the name goes on to its end.
#[derive(Debug, Default)]
pub(crate) struct Halt(AtomicBool);

impl Halt {
    pub(crate) fn tell(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Fails if the restore is to stop, which has made what is in the directory `left`.
    pub(super) fn check(&self, left: Option<&Path>) -> Result<(), Error> {
        match self.0.load(Ordering::Acquire) {
            true => Err(Error::Stopped {
                left: left.map(Path::to_owned),
            }),
            false => Ok(()),
        }
    }
}

/// What was restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Restored {
    /// The number of the last journal entry in it.
    pub(crate) commit: u64,
    /// When the backup was taken, by the broker's clock.
    pub(crate) taken_ms: i64,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// How many entities were erased that the backup had.
    pub(crate) erased: u64,
}

/// Copies the backup in `from` to a new data directory `to`, and checks every byte. Until
/// everything is durable, no broker uses it (see [`Target`]); what an earlier attempt has left is
/// removed.
///
/// If a later backup of the same data directory is given, what was erased until then is erased in
/// the copy, too: readers do not see it, and a broker removes its bytes.
pub(crate) fn restore(
    files: &dyn FileSystem,
    from: &Path,
    to: &Path,
    erasures_of: Option<&Path>,
    halt: &Halt,
) -> Result<Restored, Error> {
    refuse_other(files, from)?;
    let _held = hold(files, from)?;
    let found = find_whole(files, from)?;
    let erasures = match erasures_of {
        Some(other) => erasures(files, other, &found.mark)?,
        None => Vec::new(),
    };
    let mut restored = Restored {
        commit: found.mark.commit,
        taken_ms: found.mark.taken_ms,
        files: 0,
        bytes: 0,
        erased: 0,
    };
    let mut sources = Vec::with_capacity(found.mark.files.len());
    // What the new directory's journal will keep begins anew with its first backup.
    let of_directory = found
        .mark
        .files
        .iter()
        .filter(|file| entries_of(&file.path).is_none());
    for file in of_directory {
        sources.push(Source {
            path: found.place(files, from, file)?,
            may_be_longer: false,
            file: file.clone(),
        });
    }
    make(files, to, sources, &mut restored, halt, |dir| {
        erase(files, dir, erasures)
    })?;
    Ok(restored)
}

/// A file to copy.
pub(super) struct Source {
    pub(super) path: PathBuf,
    /// Whether it may have grown since.
    pub(super) may_be_longer: bool,
    pub(super) file: MarkedFile,
}

/// Makes the directory `to` of these files. `complete` changes what is there before it gets its
/// name, and says how many entities it has erased.
pub(super) fn make(
    files: &dyn FileSystem,
    to: &Path,
    sources: Vec<Source>,
    restored: &mut Restored,
    halt: &Halt,
    complete: impl FnOnce(&Path) -> Result<u64, Error>,
) -> Result<(), Error> {
    halt.check(None)?;
    let building = Target::open(files, to)?;
    let dir = building.dir();
    let mut copying = Copying {
        files,
        unsynced: Vec::new(),
        unsynced_bytes: 0,
    };
    for source in sources {
        halt.check(Some(dir))?;
        let file = &source.file;
        let target = dir.join(&file.path);
        ensure_parents(files, dir, &target)?;
        if copying.copy(&source, &target)? != Some(file.checksum) {
            return Err(Error::Damaged { path: source.path });
        }
        restored.files += 1;
        restored.bytes += file.len;
    }
    copying.sync()?;
    for name in ["journal", "topics"] {
        ensure_dir(files, &dir.join(name))?;
    }
    halt.check(Some(dir))?;
    restored.erased = complete(dir)?;
    halt.check(Some(dir))?;
    Ok(building.finish(files)?)
}

/// Refuses what is no backup at its first sight, before anything in it is opened, and one with
/// something special in it.
pub(super) fn refuse_other(files: &dyn FileSystem, root: &Path) -> Result<(), Error> {
    let path = || root.to_owned();
    let entries = match files.read_dir(root) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(Error::NoMark { path: path() });
        }
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            return Err(Error::NotDirectory { path: path() });
        }
        listed => listed.map_err(FileError::when(Action::List, root))?,
    };
    let may_be_mark =
        |entry: &DirEntry| entry.name == INCOMING || (entry.name == MARK && !entry.is_dir);
    match entries.iter().any(may_be_mark) {
        true => refuse_special(files, root),
        false => Err(Error::NoMark { path: path() }),
    }
}

/// Keeps others from writing to the backup meanwhile, if the file system has locks.
pub(super) fn hold(
    files: &dyn FileSystem,
    root: &Path,
) -> Result<Option<Box<dyn LockGuard>>, Error> {
    match files.lock_there(&root.join("lock"), Lock::Shared) {
        Ok(held) => Ok(Some(held)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Err(Error::InUse {
            path: root.to_owned(),
        }),
        // A lock file cannot be created on a read-only medium.
        Err(_) => Ok(None),
    }
}

pub(super) fn find_whole(files: &dyn FileSystem, root: &Path) -> Result<Found, Error> {
    let found = find(files, root)?;
    found.ok_or_else(|| Error::NoMark {
        path: root.to_owned(),
    })
}

impl Found {
    /// The path of one of the backup's files.
    pub(super) fn place(
        &self,
        files: &dyn FileSystem,
        root: &Path,
        file: &MarkedFile,
    ) -> Result<PathBuf, FileError> {
        if !self.is_settled {
            let moved = root.join(INCOMING).join(&file.path);
            if exists(files, &moved)? {
                return Ok(moved);
            }
        }
        Ok(root.join(&file.path))
    }
}

/// The erasures in a backup, which must be of the same data directory as that with this mark, and
/// not an earlier one.
pub(super) fn erasures(
    files: &dyn FileSystem,
    root: &Path,
    of: &BackupMark,
) -> Result<Vec<KnownErasure>, Error> {
    refuse_other(files, root)?;
    let found = find_whole(files, root)?;
    if found.mark.directory != of.directory {
        return Err(Error::OtherDirectory {
            path: root.to_owned(),
            had: found.mark.directory,
            has: of.directory,
        });
    }
    // One with a lower commit may be later where the broker was restored in between.
    if found.mark.commit < of.commit && found.mark.taken_ms <= of.taken_ms {
        return Err(Error::Earlier {
            path: root.to_owned(),
            had: found.mark.commit,
            has: of.commit,
        });
    }
    let marked = find_marked(&found.mark, CHECKPOINT);
    let path = match marked {
        Some(file) => found.place(files, root, file)?,
        None => root.join(CHECKPOINT),
    };
    Ok(checkpoint_at(files, path, marked)?.erasures)
}

/// The checkpoint at this path, which must be as a backup's mark says.
pub(super) fn checkpoint_at(
    files: &dyn FileSystem,
    path: PathBuf,
    marked: Option<&MarkedFile>,
) -> Result<Checkpoint, Error> {
    let bytes = read_file(files, &path)?.unwrap_or_default();
    let is_whole = marked.is_some_and(|file| file.checksum == crc32(&[&bytes]));
    match Checkpoint::decode(&bytes).filter(|_| is_whole) {
        Some(checkpoint) => Ok(checkpoint),
        None => Err(Error::Damaged { path }),
    }
}

/// Adds erasures to the checkpoint of a restored directory that it does not have, or not as
/// complete. A broker then removes the bytes. Returns how many there are.
fn erase(files: &dyn FileSystem, dir: &Path, erasures: Vec<KnownErasure>) -> Result<u64, Error> {
    let path = dir.join(CHECKPOINT);
    let bytes = read_file(files, &path)?.unwrap_or_default();
    let Some(mut checkpoint) = Checkpoint::decode(&bytes) else {
        return Err(Error::Damaged { path });
    };
    let mut count = 0;
    for known in erasures {
        let is_known = |there: &KnownErasure| there.erasure.id == known.erasure.id;
        if checkpoint.erasures.iter().any(is_known) {
            continue;
        }
        let Some(end) = end_of(&checkpoint, &known) else {
            continue;
        };
        let mut erasure = known.erasure;
        // Records behind the end of the backup are not those that were erased.
        erasure.end = erasure.end.min(end);
        // Completed erasures come last in a checkpoint.
        checkpoint.erasures.insert(
            0,
            KnownErasure {
                topic: known.topic,
                complete: false,
                erasure,
            },
        );
        count += 1;
    }
    if count > 0 {
        let bytes = checkpoint.encode();
        for copy in checkpoint::copies(&path) {
            replace_file(files, &copy, &bytes)?;
        }
    }
    Ok(count)
}

/// The end of the partition that an erasure is in; `None` if the backup does not have the
/// partition.
fn end_of(checkpoint: &Checkpoint, known: &KnownErasure) -> Option<Offset> {
    let mut topics = checkpoint.topics.iter();
    let topic = topics.find(|topic| topic.id == known.topic)?;
    let number = usize::try_from(known.erasure.partition.0).ok()?;
    Some(topic.partitions.get(number)?.end)
}

/// Copies files, and makes them durable many at a time.
struct Copying<'a> {
    files: &'a dyn FileSystem,
    unsynced: Vec<(PathBuf, Arc<dyn File>)>,
    unsynced_bytes: u64,
}

impl Copying<'_> {
    /// Copies a file and returns its checksum; `None` if it is missing or has another length.
    fn copy(&mut self, source: &Source, to: &Path) -> Result<Option<u32>, FileError> {
        let (from, len) = (&*source.path, source.file.len);
        let (open, found) = match open_to_read(self.files, from) {
            Err(error) if error.source.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        if found < len || (found > len && !source.may_be_longer) {
            return Ok(None);
        }
        let target = self
            .files
            .open(to, Open::Create)
            .map_err(FileError::when(Action::Create, to))?;
        let (mut checksum, mut at) = (RunningCrc32::default(), 0);
        read_through(&open, from, len, |bytes| {
            checksum.update(bytes);
            target
                .write_all_at(&[bytes], at)
                .map_err(FileError::when(Action::Write, to))?;
            at += bytes.len() as u64;
            Ok(())
        })?;
        self.unsynced.push((to.to_owned(), target));
        self.unsynced_bytes += len;
        if self.unsynced.len() >= SYNCED_TOGETHER || self.unsynced_bytes >= SYNCED_BYTES {
            self.sync()?;
        }
        Ok(Some(checksum.value()))
    }

    fn sync(&mut self) -> Result<(), FileError> {
        let unsynced = std::mem::take(&mut self.unsynced);
        self.unsynced_bytes = 0;
        let mut to_sync = Vec::with_capacity(unsynced.len());
        for (_, file) in &unsynced {
            to_sync.push(ToSync::File(&**file));
        }
        for ((path, _), synced) in unsynced.iter().zip(self.files.sync_all(&to_sync)) {
            synced.map_err(FileError::when(Action::Sync, path))?;
        }
        Ok(())
    }
}
