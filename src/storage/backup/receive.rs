//! Writes a backup to a directory, as it is received.

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    BEFORE, Error, Found, Had, INCOMING, MARK, NoRange, Range, before, checksum_of, ends_checksum,
    find, range, read_through, refuse_special,
};
use crate::{
    env::{File, FileSystem, LockGuard, Open, ToSync},
    storage::{
        files::{Action, FileError, ensure_dir, read_file, remove_file, remove_tree, replace_file},
        format::{
            RunningCrc32,
            backup_mark::{BackupMark, MarkedFile},
        },
        journal::KEPT,
    },
};

/// The suffix of a file that was received in part.
const PART: &str = ".part";

/// Files are synced together: this many of them, or this many bytes.
const SYNCED_TOGETHER: usize = 256;
const SYNCED_BYTES: u64 = 64 << 20;

/// After this many bytes the disk is told to begin to write.
const STEP_BYTES: u64 = 8 << 20;

/// Names at the top of a backup that no file of the data directory has.
const OWN_NAMES: [&str; 4] = [MARK, INCOMING, BEFORE, "lock"];

/// The directories at the top of a backup.
const TOP_DIRS: [&str; 3] = ["journal", "topics", KEPT];

/// Receives a backup into a directory. If it is dropped before [`finish`](Self::finish), the
/// earlier backup in the directory is unchanged, and the next attempt continues with the files
/// received so far.
pub(crate) struct Receiver {
    files: Arc<dyn FileSystem>,
    root: PathBuf,
    _lock: Box<dyn LockGuard>,
    /// The id of the data directory that the earlier backup is of.
    directory: Option<u64>,
    /// Journal entries before this one are not needed any more.
    entries_behind: u64,
    /// The files that are in the directory already.
    known: BTreeMap<String, Known>,
    /// The files of the new backup, so far.
    marked: Vec<MarkedFile>,
    receiving: Option<Receiving>,
    /// Files that were received completely and are not synced yet.
    unsynced: Vec<Unsynced>,
    unsynced_bytes: u64,
    summary: Summary,
}

/// What was received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    /// The number of the last journal entry in the backup.
    pub(crate) commit: u64,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// How many bytes were transferred.
    pub(crate) received: u64,
    /// The commits that the backup can be restored until, or why it is its own alone.
    pub(crate) range: Option<Result<Range, NoRange>>,
}

/// A file that is in the directory already.
#[derive(Clone, Copy)]
struct Known {
    len: u64,
    checksum: u32,
    /// Whether it is from an unfinished attempt, and not from the earlier backup.
    is_incoming: bool,
}

/// The file that is being received.
struct Receiving {
    path: String,
    file: Arc<dyn File>,
    part: PathBuf,
    len: u64,
    has: u64,
    checksum: RunningCrc32,
    /// The disk was told to write up to this position.
    begun: u64,
}

struct Unsynced {
    file: Arc<dyn File>,
    part: PathBuf,
    path: PathBuf,
}

impl Receiver {
    /// Opens the directory at `root` for a new backup, beside the one that it may have. Creates it
    /// if it is missing.
    pub(crate) fn open(files: Arc<dyn FileSystem>, root: &Path) -> Result<Self, Error> {
        let lock = prepare(&*files, root)?;
        let found = match find(&*files, root)? {
            Some(Found {
                is_settled: false,
                mark,
            }) => {
                settle(&*files, root, &mark)?;
                Some(mark)
            }
            found => found.map(|found| found.mark),
        };
        let before = root.join(BEFORE);
        let earlier = before::mark_in(&*files, &before)?;
        if earlier.is_none() && before::exists(&*files, &before)? {
            return Err(Error::Foreign { path: before });
        }
        let mut receiver = Self {
            files,
            root: root.to_owned(),
            _lock: lock,
            directory: found.as_ref().map(|mark| mark.directory),
            entries_behind: earlier.or(found.clone()).map_or(0, |mark| mark.commit),
            known: BTreeMap::new(),
            marked: Vec::new(),
            receiving: None,
            unsynced: Vec::new(),
            unsynced_bytes: 0,
            summary: Summary::default(),
        };
        for file in found.into_iter().flat_map(|mark| mark.files) {
            let known = Known {
                len: file.len,
                checksum: file.checksum,
                is_incoming: false,
            };
            receiver.known.insert(file.path, known);
        }
        let incoming = root.join(INCOMING);
        ensure_dir(&*receiver.files, &incoming)?;
        receiver.look_at_incoming(&incoming, "")?;
        Ok(receiver)
    }

    /// Lists the files that an unfinished attempt has left; each of them was synced.
    fn look_at_incoming(&mut self, dir: &Path, above: &str) -> Result<(), FileError> {
        let entries = self.files.read_dir(dir);
        for entry in entries.map_err(FileError::when(Action::List, dir))? {
            let path = dir.join(&entry.name);
            let name = format!("{above}{}", entry.name);
            if entry.is_dir {
                self.look_at_incoming(&path, &format!("{name}/"))?;
            } else if name.ends_with(PART) || name.ends_with(".new") {
                remove_file(&*self.files, &path)?;
            } else {
                let (file, len) = open_to_read(&*self.files, &path)?;
                let known = Known {
                    len,
                    checksum: checksum_of(&file, &path, len)?,
                    is_incoming: true,
                };
                self.known.insert(name, known);
            }
        }
        Ok(())
    }

    /// The files that are there already, to be told to the broker.
    pub(crate) fn had(&self) -> Result<Vec<Had>, FileError> {
        let mut had = Vec::with_capacity(self.known.len());
        for (path, known) in &self.known {
            if before::entries_of(path).is_some_and(|(_, last)| last < self.entries_behind) {
                continue;
            }
            let place = self.place(path, *known);
            if let Some(ends) = ends_checksum(&*self.files, &place, known.len)? {
                had.push(Had {
                    path: path.clone(),
                    len: known.len,
                    ends,
                });
            }
        }
        Ok(had)
    }

    fn place(&self, path: &str, known: Known) -> PathBuf {
        match known.is_incoming {
            true => self.root.join(INCOMING).join(path),
            false => self.root.join(path),
        }
    }

    /// Notes the id of the data directory that the backup is of.
    pub(crate) fn begin(&mut self, directory: u64) -> Result<(), Error> {
        match self.directory {
            Some(had) if had != directory => Err(Error::OtherDirectory {
                path: self.root.clone(),
                had,
                has: directory,
            }),
            _ => Ok(()),
        }
    }

    /// Begins the next file, in the order of the paths. Its bytes before `position` are there
    /// already.
    pub(crate) fn begin_file(&mut self, path: &str, len: u64, position: u64) -> Result<(), Error> {
        if let Some(unfinished) = &self.receiving {
            return Err(unfit(&unfinished.path, "it is not complete"));
        }
        let is_behind = self.marked.last().is_none_or(|last| *last.path < *path);
        if !is_proper(path) || !is_behind || position > len {
            return Err(unfit(path, "no file of a backup is like this"));
        }
        let known = self.known.get(path).copied();
        if position == len
            && let Some(known) = known.filter(|known| known.len == len)
        {
            self.mark(path, len, known.checksum);
            return Ok(());
        }
        let known = known.filter(|known| known.len == position);
        if position > 0 && known.is_none() {
            return Err(unfit(path, "it goes on behind what is not there"));
        }
        self.create(path, len, known.filter(|_| position > 0))?;
        self.end_if_whole()
    }

    /// Creates the file, with the beginning that is there already.
    fn create(&mut self, path: &str, len: u64, beginning: Option<Known>) -> Result<(), Error> {
        let files = &*self.files;
        let target = self.root.join(INCOMING).join(path);
        ensure_parents(files, &self.root.join(INCOMING), &target)?;
        let mut part = target.into_os_string();
        part.push(PART);
        let part = PathBuf::from(part);
        let file = files
            .open(&part, Open::Create)
            .map_err(FileError::when(Action::Create, &part))?;
        let mut receiving = Receiving {
            path: path.to_owned(),
            file,
            part,
            len,
            has: 0,
            checksum: RunningCrc32::default(),
            begun: 0,
        };
        if let Some(known) = beginning {
            let place = self.place(path, known);
            let (before, _) = open_to_read(files, &place)?;
            read_through(&before, &place, known.len, |bytes| receiving.write(bytes))?;
            if receiving.checksum.value() != known.checksum {
                return Err(Error::Damaged { path: place });
            }
        }
        self.receiving = Some(receiving);
        Ok(())
    }

    /// Writes the next bytes of the file, after checking their checksum.
    pub(crate) fn take(&mut self, bytes: &[u8], checksum: u32) -> Result<(), Error> {
        let Some(receiving) = &mut self.receiving else {
            return Err(Error::Unfit("bytes of no file".to_owned()));
        };
        let mut own = RunningCrc32::default();
        own.update(bytes);
        if own.value() != checksum || receiving.has + bytes.len() as u64 > receiving.len {
            return Err(unfit(
                &receiving.path,
                "its bytes are not those that were read",
            ));
        }
        receiving.write(bytes)?;
        self.summary.received += bytes.len() as u64;
        self.end_if_whole()
    }

    fn end_if_whole(&mut self) -> Result<(), Error> {
        let Some(whole) = self.receiving.take_if(|file| file.has == file.len) else {
            return Ok(());
        };
        self.mark(&whole.path, whole.len, whole.checksum.value());
        self.unsynced_bytes += whole.len;
        self.unsynced.push(Unsynced {
            file: whole.file,
            path: self.root.join(INCOMING).join(&whole.path),
            part: whole.part,
        });
        if self.unsynced.len() >= SYNCED_TOGETHER || self.unsynced_bytes >= SYNCED_BYTES {
            self.sync()?;
        }
        Ok(())
    }

    fn mark(&mut self, path: &str, len: u64, checksum: u32) {
        self.summary.files += 1;
        self.summary.bytes += len;
        self.marked.push(MarkedFile {
            path: path.to_owned(),
            len,
            checksum,
        });
    }

    /// Syncs the files that were received completely, and then gives them their names.
    fn sync(&mut self) -> Result<(), FileError> {
        let unsynced = std::mem::take(&mut self.unsynced);
        self.unsynced_bytes = 0;
        let mut to_sync = Vec::with_capacity(unsynced.len());
        for one in &unsynced {
            to_sync.push(ToSync::File(&*one.file));
        }
        for (one, synced) in unsynced.iter().zip(self.files.sync_all(&to_sync)) {
            synced.map_err(FileError::when(Action::Sync, &one.part))?;
        }
        for one in &unsynced {
            self.files
                .rename(&one.part, &one.path)
                .map_err(FileError::when(Action::Rename, &one.path))?;
        }
        Ok(())
    }

    /// Completes the backup when all files were received: it replaces the earlier one.
    pub(crate) fn finish(
        mut self,
        commit: u64,
        taken_ms: i64,
        directory: u64,
    ) -> Result<Summary, Error> {
        if let Some(unfinished) = &self.receiving {
            return Err(unfit(&unfinished.path, "it is not complete"));
        }
        self.sync()?;
        let incoming = self.root.join(INCOMING);
        let mark = BackupMark {
            commit,
            directory,
            taken_ms,
            files: std::mem::take(&mut self.marked),
        };
        self.leave_out_others(&mark)?;
        sync_tree(&*self.files, &incoming)?;
        sync_dir(&*self.files, &self.root)?;
        replace_file(&*self.files, &incoming.join(MARK), &mark.encode())?;
        let old = before::mark_in(&*self.files, &self.root)?;
        settle(&*self.files, &self.root, &mark)?;
        let found = Found {
            mark,
            is_settled: true,
        };
        let range = range::range(&*self.files, &self.root, &found)?;
        let range = range.ok_or_else(|| NoRange::find(old.as_ref(), &found.mark));
        Ok(Summary {
            commit,
            range: Some(range),
            ..self.summary
        })
    }

    /// Removes files of unfinished attempts that are not in this backup.
    fn leave_out_others(&self, mark: &BackupMark) -> Result<(), FileError> {
        for (path, known) in &self.known {
            if known.is_incoming && find_marked(mark, path).is_none() {
                remove_file(&*self.files, &self.place(path, *known))?;
            }
        }
        Ok(())
    }
}

impl Receiving {
    fn write(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.file
            .write_all_at(&[bytes], self.has)
            .map_err(FileError::when(Action::Write, &self.part))?;
        self.has += bytes.len() as u64;
        self.checksum.update(bytes);
        if self.has - self.begun >= STEP_BYTES {
            self.file.begin_writing(self.begun);
            self.begun = self.has;
        }
        Ok(())
    }
}

/// Checks that a directory is empty or has backups, and locks it.
fn prepare(files: &dyn FileSystem, root: &Path) -> Result<Box<dyn LockGuard>, Error> {
    let is_there = files
        .exists(root)
        .map_err(FileError::when(Action::LookFor, root))?;
    if !is_there {
        ensure_dir(files, root)?;
        if let Some(parent) = root
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
        {
            sync_dir(files, parent)?;
        }
    }
    let entries = files
        .read_dir(root)
        .map_err(FileError::when(Action::List, root))?;
    let has = |name: &str| entries.iter().any(|entry| entry.name == name);
    let is_free = |name: &str| OWN_NAMES.contains(&name) || name == "lost+found";
    let is_empty = entries.iter().all(|entry| is_free(&entry.name));
    let is_unsettled = super::is_unsettled(files, root)?;
    if !is_empty && !has(MARK) && !is_unsettled {
        return Err(Error::Foreign {
            path: root.to_owned(),
        });
    }
    refuse_special(files, root)?;
    let lock = root.join("lock");
    files.lock(&lock).map_err(|error| match error.kind() {
        ErrorKind::WouldBlock => Error::InUse {
            path: root.to_owned(),
        },
        _ => FileError::when(Action::Open, &lock)(error).into(),
    })
}

/// Moves the files of a complete backup to their places, and removes files of the earlier backup
/// that it does not have. Files that were moved already are skipped.
fn settle(files: &dyn FileSystem, root: &Path, mark: &BackupMark) -> Result<(), FileError> {
    let incoming = root.join(INCOMING);
    // A directory is made durable before a file is moved to it. Otherwise a power cut could lose
    // the directory, and the file would be in neither place.
    for name in TOP_DIRS {
        ensure_dir(files, &root.join(name))?;
    }
    for file in &mark.files {
        ensure_parents(files, root, &root.join(&file.path))?;
    }
    sync_places(files, root)?;
    before::keep(files, root, mark)?;
    for file in &mark.files {
        let from = incoming.join(&file.path);
        let is_there = files
            .exists(&from)
            .map_err(FileError::when(Action::LookFor, &from))?;
        if is_there {
            let to = root.join(&file.path);
            files
                .rename(&from, &to)
                .map_err(FileError::when(Action::Rename, &to))?;
        }
    }
    remove_old(files, root, mark)?;
    // The new places are synced before the old ones, so that a moved file is always in one of them.
    sync_places(files, root)?;
    sync_tree(files, &incoming)?;
    replace_file(files, &root.join(MARK), &mark.encode())?;
    remove_file(files, &incoming.join(MARK))?;
    sync_dir(files, &incoming)?;
    remove_tree(files, &incoming)
}

/// Syncs the names of the backup's files, except those below `incoming`.
pub(super) fn sync_places(files: &dyn FileSystem, root: &Path) -> Result<(), FileError> {
    for name in TOP_DIRS {
        sync_tree(files, &root.join(name))?;
    }
    sync_dir(files, root)
}

/// Removes files of the earlier backup that the new one does not have. All other files belong to
/// somebody else, and stay.
fn remove_old(files: &dyn FileSystem, root: &Path, mark: &BackupMark) -> Result<(), FileError> {
    let old = read_file(files, &root.join(MARK))?;
    let Some(old) = old.and_then(|bytes| BackupMark::decode(&bytes)) else {
        return Ok(());
    };
    for file in &old.files {
        if is_proper(&file.path) && find_marked(mark, &file.path).is_none() {
            remove_file(files, &root.join(&file.path))?;
        }
    }
    Ok(())
}

pub(super) fn find_marked<'a>(mark: &'a BackupMark, path: &str) -> Option<&'a MarkedFile> {
    let at = mark.files.binary_search_by(|file| (*file.path).cmp(path));
    at.ok().map(|at| &mark.files[at])
}

/// Whether a path is one of a data directory: relative, without `..`, and none of the backup's own
/// names.
pub(super) fn is_proper(path: &str) -> bool {
    let mut is_first = true;
    for name in path.split('/') {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
        let is_name = !name.is_empty() && !name.starts_with('.') && name.chars().all(is_plain);
        if !is_name || name.ends_with(PART) || (is_first && OWN_NAMES.contains(&name)) {
            return false;
        }
        is_first = false;
    }
    true
}

fn unfit(path: &str, why: &str) -> Error {
    Error::Unfit(format!("file {path:?}: {why}"))
}

pub(super) fn open_to_read(
    files: &dyn FileSystem,
    path: &Path,
) -> Result<(Arc<dyn File>, u64), FileError> {
    let file = files
        .open(path, Open::Read)
        .map_err(FileError::when(Action::Open, path))?;
    let len = file.len().map_err(FileError::when(Action::Read, path))?;
    Ok((file, len))
}

/// Creates the parent directories of a file below `root`.
pub(super) fn ensure_parents(
    files: &dyn FileSystem,
    root: &Path,
    path: &Path,
) -> Result<(), FileError> {
    let Some(parent) = path.parent().filter(|parent| *parent != root) else {
        return Ok(());
    };
    let is_there = files
        .exists(parent)
        .map_err(FileError::when(Action::LookFor, parent))?;
    if !is_there {
        ensure_parents(files, root, parent)?;
        ensure_dir(files, parent)?;
    }
    Ok(())
}

pub(super) fn sync_dir(files: &dyn FileSystem, dir: &Path) -> Result<(), FileError> {
    files
        .sync_dir(dir)
        .map_err(FileError::when(Action::Sync, dir))
}

/// Syncs a directory, and all directories in it.
pub(super) fn sync_tree(files: &dyn FileSystem, dir: &Path) -> Result<(), FileError> {
    let entries = files
        .read_dir(dir)
        .map_err(FileError::when(Action::List, dir))?;
    for entry in entries.iter().filter(|entry| entry.is_dir) {
        sync_tree(files, &dir.join(&entry.name))?;
    }
    sync_dir(files, dir)
}
