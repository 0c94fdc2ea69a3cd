//! Which journal file is what: in use, released, or not there yet.

use std::{
    collections::{BTreeSet, VecDeque},
    io::ErrorKind,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::{
    Error, OpenError, Options,
    found::{self, Covered, Found, Look, State as FileState},
    slots::{self, Slots},
};
use crate::{
    env::{AlignedBuffer, Env, File, Open},
    storage::{
        fault::Meaning,
        files::{Action, FileError, remove_file, sync_parent},
        format::{
            checkpoint::JournalFiles,
            entry::{BLOCK_BYTES, FileHeader},
            ring::Use,
        },
    },
};

/// The files of a journal. Shared by the writer of entries and by the one who releases files.
pub(crate) struct Ring {
    env: Env,
    dir: PathBuf,
    options: Options,
    /// What the files are used for, apart from the files.
    notes: Slots,
    state: Mutex<State>,
}

/// A file ready to take entries.
#[derive(Clone)]
pub(crate) struct RingFile {
    pub(crate) path: PathBuf,
    pub(crate) handle: Arc<dyn File>,
    pub(crate) header: FileHeader,
}

/// A file that is open, and not in use yet.
struct Opened {
    path: PathBuf,
    handle: Arc<dyn File>,
}

/// A file with entries that no checkpoint covers.
struct UsedFile {
    header: FileHeader,
    /// The sequence of its first entry.
    first: u64,
    path: PathBuf,
}

struct State {
    /// The files with entries that no checkpoint covers, oldest first.
    used: Vec<UsedFile>,
    /// Files whose entries are not needed any more. The oldest is used first: what is left of the
    /// journal then never has a gap, and a start without a checkpoint does not see a topic created
    /// and not deleted.
    free: VecDeque<PathBuf>,
    /// Files whose entries are not needed, and must be gone before the file is used.
    not_overwritten: VecDeque<PathBuf>,
    /// Only blank files may be taken into use.
    is_overwriting: bool,
    /// The next file could not be opened when it was last tried, and nothing is wrong with it.
    is_hindered: bool,
    /// Files not in use that have been written with zeros, and with nothing since.
    blank: BTreeSet<PathBuf>,
    /// Room for the next file, found ahead. Its header is written when it is taken into use.
    next: Option<PathBuf>,
    next_number: u64,
    /// Where the entries of the newest file end.
    end: u64,
    created: u32,
    /// The file in use takes no more entries: from this sequence on they go to the upcoming file.
    given_up: Option<u64>,
}

impl Ring {
    /// Finds the files of a journal. Refuses one with a file that may hold entries, and cannot be
    /// relied on.
    pub(super) fn open(
        env: &Env,
        dir: &Path,
        options: Options,
        covered: Option<Covered>,
    ) -> Result<Self, OpenError> {
        // After a mere crash of the process, files may be there whose names a power cut would take.
        env.files
            .sync_dir(dir)
            .map_err(FileError::when(Action::Sync, dir))?;
        let found = found::look(env, dir, Some(options.file_bytes), covered)?;
        // Before anything is written: the next start must find what this one did.
        let found = refuse(found, dir)?;
        let notes = Slots::open(env, dir, options.files, &found.notes, &found.files)?;
        // Entries that a later start must read go to a file that the checkpoint does not cover.
        let behind_checkpoint = covered.map_or(1, |covered| covered.journal_file);
        let mut state = State {
            used: Vec::new(),
            free: VecDeque::new(),
            not_overwritten: VecDeque::new(),
            is_overwriting: false,
            is_hindered: false,
            blank: BTreeSet::new(),
            next: None,
            next_number: behind_checkpoint.max(found.newest + 1),
            end: 0,
            created: 0,
            given_up: None,
        };
        for file in found.files {
            state.created = state.created.max(file.slot);
            let path = file.path;
            if let FileState::UsedByNote(_) = file.state {
                tracing::warn!(path = %path.display(), "a journal file's first block is damaged; its copy is used");
            }
            match file.state {
                FileState::Used(header) | FileState::UsedByNote(header) => {
                    state.used.push(UsedFile {
                        header,
                        first: 0,
                        path,
                    });
                }
                FileState::Free => state.free.push_back(path),
                FileState::Unusable { .. } | FileState::Unreadable(_) => {
                    unreachable!("the start was refused")
                }
            }
        }
        state.used.sort_by_key(|file| file.header.number);
        Ok(Self {
            env: env.clone(),
            dir: dir.to_owned(),
            options,
            notes,
            state: Mutex::new(state),
        })
    }

    /// The files with entries, oldest first.
    pub(super) fn used(&self) -> Vec<(FileHeader, PathBuf)> {
        self.lock()
            .used
            .iter()
            .map(|file| (file.header, file.path.clone()))
            .collect()
    }

    /// What the clock of the environment says.
    pub(super) fn now(&self) -> Duration {
        self.env.clock.elapsed()
    }

    /// How many files hold entries that no checkpoint covers, and how many there can be.
    pub(crate) fn fill(&self) -> (usize, usize) {
        (self.lock().used.len(), self.options.files as usize)
    }

    /// How many bytes of the files cannot take entries before a checkpoint releases them.
    pub(crate) fn used_bytes(&self) -> u64 {
        let state = self.lock();
        let files = state.used.len() as u64 * self.options.file_bytes;
        match state.given_up {
            None => files.saturating_sub(self.options.file_bytes - state.end),
            Some(_) => files,
        }
    }

    /// Takes note of where the entries of the file in use end.
    pub(super) fn note_end(&self, position: u64) {
        self.lock().end = position;
    }

    /// What there is of files, for a start to know which of them are gone.
    pub(crate) fn files(&self) -> JournalFiles {
        let state = self.lock();
        JournalFiles {
            newest: state.next_number - 1,
            made: state.created,
            noted: self.notes.count(),
        }
    }

    /// The number of the file that holds this entry, or will.
    pub(crate) fn file_of(&self, sequence: u64) -> u64 {
        let state = self.lock();
        let holder = state.used.iter().rev().find(|file| file.first <= sequence);
        let holder = holder.filter(|_| state.given_up.is_none_or(|given_up| sequence < given_up));
        holder.map_or(state.next_number, |file| file.header.number)
    }

    /// Releases the files before this number: a durable checkpoint covers their entries.
    pub(crate) fn release_before(&self, number: u64) {
        let mut state = self.lock();
        let keep = state
            .used
            .partition_point(|file| file.header.number < number);
        let released: Vec<_> = state.used.drain(..keep).map(|file| file.path).collect();
        if state.is_overwriting {
            state.not_overwritten.extend(released);
        } else {
            state.free.extend(released);
        }
    }

    /// Gives up the files in use: entries from this sequence on go to the upcoming one. A
    /// checkpoint then covers the whole of what was in use, and a start behind it has nothing to
    /// read.
    pub(crate) fn give_up(&self, sequence: u64) {
        self.lock().given_up = Some(sequence);
    }

    /// Whether there is no file at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().created == 0
    }

    /// Makes sure that there is a second file, so that a full disk never keeps the journal from
    /// going on behind a checkpoint.
    pub(crate) fn ensure_two(&self) -> Result<(), FileError> {
        let mut state = self.lock();
        while state.created < 2 {
            let path = self.dir.join(format!("{}.journal", state.created + 1));
            self.create(&path, Fill::Reserved)?;
            state.created += 1;
            state.free.push_back(path);
        }
        Ok(())
    }

    /// Begins to remove what released files still have: everything of which a checkpoint says that
    /// it is in segments. From here to the end of [`overwrite`](Self::overwrite), only files that
    /// hold nothing are taken into use.
    ///
    /// Zeros over the files not in use come first, one file at a time, so that there is one to go
    /// on in as long as there are others.
    pub(crate) fn begin_overwriting(&self) -> Result<(), FileError> {
        // While one is written, a round of housekeeping may release others; not for ever, as every
        // one is then blank.
        for _ in 0..=2 * self.options.files {
            let Some(path) = self.take_unused() else {
                break;
            };
            let written = self.write_zeros(&path);
            let state = &mut *self.lock();
            match written {
                Ok(()) => {
                    state.blank.insert(path.clone());
                    state.free.push_back(path);
                }
                Err(error) => {
                    state.free.push_front(path);
                    return Err(error);
                }
            }
        }
        let state = &mut *self.lock();
        state.is_overwriting = true;
        let unused = state.next.take().into_iter().chain(state.free.drain(..));
        let (blank, written) = unused.partition::<Vec<_>, _>(|path| state.blank.contains(path));
        state.free.extend(blank);
        state.not_overwritten.extend(written);
        Ok(())
    }

    /// Writes zeros over everything in files that have been released, and lets them be used again.
    /// Also after an error since [`begin_overwriting`](Self::begin_overwriting): the journal is
    /// short of the files until then.
    pub(crate) fn overwrite(&self) -> Result<(), FileError> {
        loop {
            let path = {
                let mut state = self.lock();
                let Some(path) = state.not_overwritten.front().cloned() else {
                    state.is_overwriting = false;
                    return Ok(());
                };
                path
            };
            self.write_zeros(&path)?;
            let state = &mut *self.lock();
            state.not_overwritten.pop_front();
            state.blank.insert(path.clone());
            state.free.push_back(path);
        }
    }

    /// Takes the oldest file that is not in use and not blank, so that nobody else does.
    fn take_unused(&self) -> Option<PathBuf> {
        let state = &mut *self.lock();
        if let Some(next) = state.next.take() {
            if !state.blank.contains(&next) {
                return Some(next);
            }
            state.next = Some(next);
        }
        let oldest = state
            .free
            .iter()
            .position(|path| !state.blank.contains(path))?;
        state.free.remove(oldest)
    }

    /// Makes a file blank. What says that it is in use goes first: of a file that was written over
    /// in part, a start must not see the rest.
    fn write_zeros(&self, path: &Path) -> Result<(), FileError> {
        self.notes.put(slot_of(path), Use::FREE)?;
        let file = match self.env.files.open(path, Open::Write) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return self.make_again(path, Fill::Written);
            }
            opened => opened.map_err(FileError::when(Action::Open, path))?,
        };
        let len = file.len().map_err(FileError::when(Action::Read, path))?;
        for zeros in [0..len.min(BLOCK_BYTES), len.min(BLOCK_BYTES)..len] {
            put_zeros(&*file, zeros).map_err(FileError::when(Action::Write, path))?;
            file.sync_data()
                .map_err(FileError::when(Action::Sync, path))?;
        }
        Ok(())
    }

    /// Finds room for the next file, so that no append waits for that.
    pub(crate) fn prepare_next(&self) -> Result<(), FileError> {
        let mut state = self.lock();
        if state.next.is_none() {
            state.next = self.find_room(&mut state, Fill::Written)?;
        }
        Ok(())
    }

    /// Takes the next file into use, for entries from this sequence on. If there is none to be had,
    /// nothing was written, and the file in use is given up: nothing more may be written to it, and
    /// a checkpoint can release it.
    pub(super) fn take_next(&self, first_sequence: u64) -> Result<RingFile, Error> {
        let mut state = self.lock();
        let Opened { path, handle } = match self.open_next(&mut state) {
            Ok(next) => {
                state.is_hindered = false;
                state.given_up = next.is_none().then_some(first_sequence);
                next.ok_or(Error::Full)?
            }
            Err(error) if error.meaning() == Meaning::Passing => {
                if !std::mem::replace(&mut state.is_hindered, true) {
                    tracing::warn!(%error, "the journal's next file cannot be opened; appends wait");
                }
                state.given_up = Some(first_sequence);
                return Err(Error::Hindered(error));
            }
            Err(error) => return Err(error.into()),
        };
        state.blank.remove(&path);
        let header = FileHeader {
            number: state.next_number,
            salt: self.env.random.next_u64(),
        };
        let mut block = AlignedBuffer::with_capacity(BLOCK_BYTES as usize);
        block.extend(&header.encode());
        block.pad();
        handle
            .write_all_at(&[block.as_slice()], 0)
            .map_err(FileError::when(Action::Write, &path))?;
        handle
            .sync_data()
            .map_err(FileError::when(Action::Sync, &path))?;
        // Only now: the note must not be ahead of the file.
        let bytes = self.options.file_bytes;
        self.notes.put(slot_of(&path), Use { header, bytes })?;
        state.next_number += 1;
        state.end = BLOCK_BYTES;
        state.used.push(UsedFile {
            header,
            first: first_sequence,
            path: path.clone(),
        });
        Ok(RingFile {
            path,
            handle,
            header,
        })
    }

    /// The next file, open, which no call that fails takes out of the ring; none if there is none.
    fn open_next(&self, state: &mut State) -> Result<Option<Opened>, FileError> {
        if state.next.is_none() {
            state.next = self.find_room(state, Fill::Reserved)?;
        }
        let Some(path) = &state.next else {
            return Ok(None);
        };
        let handle = match self.env.files.open(path, Open::Direct) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.make_again(path, Fill::Reserved)?;
                self.env.files.open(path, Open::Direct)
            }
            opened => opened,
        };
        let handle = handle.map_err(FileError::when(Action::Open, path))?;
        Ok(state.next.take().map(|path| Opened { path, handle }))
    }

    fn find_room(&self, state: &mut State, fill: Fill) -> Result<Option<PathBuf>, FileError> {
        if state.free.is_empty() && state.created < self.options.files {
            let path = self.dir.join(format!("{}.journal", state.created + 1));
            match self.create(&path, fill) {
                // Another file will be released, or there will be room again.
                Err(error) if error.is_disk_full() => return Ok(None),
                created => created?,
            }
            state.created += 1;
            state.free.push_back(path);
        }
        if let Some(path) = state.free.front() {
            self.ensure_room(path, fill)?;
        }
        Ok(state.free.pop_front())
    }

    /// A start that was cut off, or other options, may have left a released file too short.
    fn ensure_room(&self, path: &Path, fill: Fill) -> Result<(), FileError> {
        let file = match self.env.files.open(path, Open::Write) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return self.make_again(path, fill);
            }
            opened => opened.map_err(FileError::when(Action::Open, path))?,
        };
        if file.len().map_err(FileError::when(Action::Read, path))? < self.options.file_bytes {
            file.allocate(self.options.file_bytes)
                .map_err(FileError::when(Action::Reserve, path))?;
            file.sync_data()
                .map_err(FileError::when(Action::Sync, path))?;
        }
        Ok(())
    }

    /// Makes a file that is not in use and that somebody has removed. Its note goes first: of a new
    /// file, a start must not expect what the old one held.
    fn make_again(&self, path: &Path, fill: Fill) -> Result<(), FileError> {
        tracing::warn!(path = %path.display(), "a journal file that held nothing needed is gone; another is made");
        self.notes.put(slot_of(path), Use::FREE)?;
        self.create(path, fill)
    }

    /// Creates a file with room on disk for all of it, and makes its name durable.
    fn create(&self, path: &Path, fill: Fill) -> Result<(), FileError> {
        let files = &*self.env.files;
        let file = match files.open(path, Open::Create) {
            Ok(file) => file,
            // A start that was cut off left it.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => files
                .open(path, Open::Write)
                .map_err(FileError::when(Action::Open, path))?,
            Err(error) => return Err(FileError::when(Action::Create, path)(error)),
        };
        let reserved = file
            .allocate(self.options.file_bytes)
            .map_err(FileError::when(Action::Reserve, path));
        if let Err(error) = reserved {
            drop(file);
            remove_file(files, path)?;
            return Err(error);
        }
        if fill == Fill::Written {
            put_zeros(&*file, 0..self.options.file_bytes)
                .map_err(FileError::when(Action::Write, path))?;
        }
        // So that one that has lost its content is not taken for this one.
        file.write_all_at(&[&FileHeader::NEVER_USED.encode()], 0)
            .map_err(FileError::when(Action::Write, path))?;
        file.sync_data()
            .map_err(FileError::when(Action::Sync, path))?;
        sync_parent(files, path)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stops a start at which a file may hold entries, and cannot be relied on.
fn refuse(mut found: Look, dir: &Path) -> Result<Look, OpenError> {
    let ring = slots::path(dir);
    let is_bad = |file: &Found| {
        matches!(
            file.state,
            FileState::Unusable { .. } | FileState::Unreadable(_)
        )
    };
    if let Some(at) = found.files.iter().position(is_bad) {
        let Found { path, state, .. } = found.files.swap_remove(at);
        return Err(match state {
            FileState::Unreadable(error) => error.into(),
            FileState::Unusable { fault, .. } => OpenError::Unusable { path, fault, ring },
            _ => unreachable!("it is one of these"),
        });
    }
    match found.missing {
        Some(number) => {
            let dir = dir.to_owned();
            Err(OpenError::Missing { number, dir, ring })
        }
        None => Ok(found),
    }
}

/// Writes zeros over a range of a file.
fn put_zeros(file: &dyn File, range: Range<u64>) -> std::io::Result<()> {
    let zeros = vec![0; 1 << 20];
    let mut position = range.start;
    while position < range.end {
        let now = (range.end - position).min(zeros.len() as u64);
        file.write_all_at(
            &[&zeros[..usize::try_from(now).expect("at most a MiB")]],
            position,
        )?;
        position += now;
    }
    Ok(())
}

/// How a new file gets its room.
///
/// A sync into a file that was only reserved also records which parts are written now: measured,
/// 140 us instead of 95. So a file that is prepared ahead is written with zeros; one that an append
/// waits for is not.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fill {
    Reserved,
    Written,
}

/// The number in the name of a journal file.
fn slot_of(path: &Path) -> u32 {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    stem.and_then(|stem| stem.parse().ok())
        .expect("journal files are named after numbers")
}
