//! Which journal file is used for what: in use, released, or not made yet.

use std::{
    collections::{BTreeSet, VecDeque},
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{
    Error, OpenError, Options,
    found::{self, Covered, Found, Look, State as FileState},
    new_file::{Fill, create, put_zeros, sync},
    slots::{self, Slots},
};
use crate::{
    env::{AlignedBuffer, Env, File, Open},
    storage::{
        fault::Meaning,
        files::{Action, FileError},
        format::{
            checkpoint::JournalFiles,
            entry::{BLOCK_BYTES, FileHeader},
            ring::Use,
        },
    },
};

/// The files of a journal, shared by the thread that writes entries and the one that releases
/// files.
pub(crate) struct Ring {
    env: Env,
    dir: PathBuf,
    options: Options,
    /// The notes about what the files are used for, stored apart from them.
    notes: Slots,
    /// Held while a file is added. The state is not: the journal's thread looks at that with each
    /// write.
    adding: Mutex<()>,
    state: Mutex<State>,
}

/// A file ready to take entries.
#[derive(Clone)]
pub(crate) struct RingFile {
    pub(crate) path: PathBuf,
    pub(crate) handle: Arc<dyn File>,
    pub(crate) header: FileHeader,
}

/// A file that is open but not in use yet.
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
    /// Files whose entries are not needed any more. The oldest is used first, so the entries that
    /// remain on disk never have a gap: otherwise a start without a checkpoint might find that a
    /// topic was created, but not that it was deleted.
    free: VecDeque<PathBuf>,
    /// Files whose entries are not needed, and must be overwritten before the file is used again.
    not_overwritten: VecDeque<PathBuf>,
    /// Whether only blank files may be taken into use.
    is_overwriting: bool,
    /// Whether the last try to open the next file failed, though nothing is wrong with the file.
    is_hindered: bool,
    /// Unused files that have been filled with zeros and not written since.
    blank: BTreeSet<PathBuf>,
    /// The next file, prepared ahead. Its header is written when it is taken into use.
    next: Option<PathBuf>,
    next_number: u64,
    /// Where the entries of the newest file end.
    end: u64,
    created: u32,
    /// How many more files may be made until the disk is looked at again.
    may_make: u32,
    /// Set if the file in use takes no more entries: from this sequence on they go to the next
    /// file.
    given_up: Option<u64>,
}

impl Ring {
    /// Opens the files of a journal. Fails if a file may have entries that are needed but cannot be
    /// relied on.
    pub(super) fn open(
        env: &Env,
        dir: &Path,
        options: Options,
        covered: Option<Covered>,
    ) -> Result<Self, OpenError> {
        // After a crash of the process alone, the names of some files may not be durable yet.
        env.files
            .sync_dir(dir)
            .map_err(FileError::when(Action::Sync, dir))?;
        let found = found::look(env, dir, Some(options.file_bytes), covered)?;
        // Before anything is written, so that the next start finds what this one did.
        let found = refuse(found, dir)?;
        let notes = Slots::open(env, dir, options.files, &found.notes, &found.files)?;
        // New entries must go to a file that the checkpoint does not cover, or the next start would
        // skip them.
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
            may_make: u32::MAX,
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
            adding: Mutex::new(()),
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

    /// The files before this number, oldest first.
    pub(crate) fn used_before(&self, number: u64) -> Vec<(FileHeader, PathBuf)> {
        let mut used = self.used();
        used.retain(|(header, _)| header.number < number);
        used
    }

    /// The time of the environment's clock.
    pub(super) fn now(&self) -> Duration {
        self.env.clock.elapsed()
    }

    /// How many files have entries that no checkpoint covers, and how many files there can be.
    pub(crate) fn fill(&self) -> (usize, usize) {
        (self.lock().used.len(), self.options.files as usize)
    }

    /// How many bytes of the files cannot take entries until a checkpoint releases them.
    pub(crate) fn used_bytes(&self) -> u64 {
        let state = self.lock();
        let files = state.used.len() as u64 * self.options.file_bytes;
        match state.given_up {
            None => files.saturating_sub(self.options.file_bytes - state.end),
            Some(_) => files,
        }
    }

    /// How many files the journal may still make beyond those it has, and how large each is.
    pub(crate) fn not_made(&self) -> (u32, u64) {
        let not_made = self.options.files.saturating_sub(self.lock().created);
        (not_made, self.options.file_bytes)
    }

    /// Lets the journal make at most this many more files: the disk has room for them.
    pub(crate) fn may_make(&self, files: u32) {
        self.lock().may_make = files;
    }

    /// Records where the entries of the file in use end.
    pub(super) fn note_end(&self, position: u64) {
        self.lock().end = position;
    }

    /// The files there are, for the checkpoint: a later start knows by it which ones are gone.
    pub(crate) fn files(&self) -> JournalFiles {
        let state = self.lock();
        JournalFiles {
            newest: state.next_number - 1,
            made: state.created,
            noted: self.notes.count(),
        }
    }

    /// The number of the file that has, or will have, this entry.
    pub(crate) fn file_of(&self, sequence: u64) -> u64 {
        let state = self.lock();
        let holder = state.used.iter().rev().find(|file| file.first <= sequence);
        let holder = holder.filter(|_| state.given_up.is_none_or(|given_up| sequence < given_up));
        holder.map_or(state.next_number, |file| file.header.number)
    }

    /// Releases the files before this number, whose entries a durable checkpoint covers.
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

    /// Stops using the files in use: entries from this sequence on go to the next file. A
    /// checkpoint then covers everything in the old ones, and a start behind it has nothing to
    /// replay.
    pub(crate) fn give_up(&self, sequence: u64) {
        self.lock().given_up = Some(sequence);
    }

    /// Whether no file was ever made.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().created == 0
    }

    /// Makes sure that there are two files, so that even on a full disk the journal can switch to
    /// the other one behind a checkpoint.
    pub(crate) fn ensure_two(&self) -> Result<(), FileError> {
        let _alone = lock(&self.adding);
        while self.lock().created < 2 {
            self.add(Fill::Reserved)?;
        }
        Ok(())
    }

    /// First step of overwriting the entries in released files, which a checkpoint covers. From now
    /// to the end of [`overwrite`](Self::overwrite), only blank files are taken into use.
    ///
    /// This step fills the unused files with zeros, one at a time, so that the journal has a file
    /// to continue in.
    pub(crate) fn begin_overwriting(&self) -> Result<(), FileError> {
        // Housekeeping may release further files meanwhile. The loop ends, because each round
        // leaves one more file blank.
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

    /// Second step: fills the files that were released since with zeros, and lets them be used
    /// again. It must also be called after an error in between, because the journal cannot use
    /// these files until then.
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

    /// Takes the oldest unused file that is not blank out of the ring, so that nobody else uses it.
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

    /// Makes a file blank. First the note and the header go, which say that the file is in use, so
    /// that a start never reads a file that is overwritten in part.
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
            put_zeros(&*file, path, zeros)?;
            sync(&*file, path)?;
        }
        Ok(())
    }

    /// Prepares the next file, so that no append waits for it.
    pub(crate) fn prepare_next(&self) -> Result<(), FileError> {
        self.add_if_none(Fill::Written)?;
        let mut state = self.lock();
        if state.next.is_none() {
            state.next = self.take_free(&mut state, Fill::Written)?;
        }
        Ok(())
    }

    /// Takes the next file into use, for entries from this sequence on. If there is none, nothing
    /// is written and the current file takes no more entries either, so that a checkpoint can
    /// release it.
    pub(super) fn take_next(&self, first_sequence: u64) -> Result<RingFile, Error> {
        let added = self.add_if_none(Fill::Reserved);
        let mut state = self.lock();
        let next = added.and_then(|()| self.open_next(&mut state));
        let Opened { path, handle } = match next {
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
        sync(&*handle, &path)?;
        // Only now: the note must never be ahead of the file.
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

    /// Opens the next file; `None` if there is none. If opening fails, the file stays in the ring.
    fn open_next(&self, state: &mut State) -> Result<Option<Opened>, FileError> {
        if state.next.is_none() {
            state.next = self.take_free(state, Fill::Reserved)?;
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

    /// Adds a file if all that there are have entries, and there may be more.
    fn add_if_none(&self, fill: Fill) -> Result<(), FileError> {
        let most = self.options.files;
        if !self.lock().needs_another(most) {
            return Ok(());
        }
        let _alone = lock(&self.adding);
        if !self.lock().needs_another(most) {
            return Ok(());
        }
        match self.add(fill) {
            // Not an error: another file will be released, or the disk will have room again.
            Err(error) if error.is_disk_full() => Ok(()),
            added => added,
        }
    }

    /// Adds a file. Only for the holder of `adding`.
    fn add(&self, fill: Fill) -> Result<(), FileError> {
        let number = self.lock().created + 1;
        let path = self.dir.join(format!("{number}.journal"));
        create(&*self.env.files, &path, self.options.file_bytes, fill)?;
        let mut state = self.lock();
        state.created = number;
        state.may_make = state.may_make.saturating_sub(1);
        state.free.push_back(path);
        Ok(())
    }

    /// Takes the oldest unused file, with room for entries.
    fn take_free(&self, state: &mut State, fill: Fill) -> Result<Option<PathBuf>, FileError> {
        if let Some(path) = state.free.front() {
            self.ensure_room(path, fill)?;
        }
        Ok(state.free.pop_front())
    }

    /// Enlarges a released file that is too short: a start was cut off, or the options have
    /// changed.
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
            sync(&*file, path)?;
        }
        Ok(())
    }

    /// Makes a file again that is not in use and that somebody has removed. First its note is
    /// cleared, or a start would expect the old entries in the new file.
    fn make_again(&self, path: &Path, fill: Fill) -> Result<(), FileError> {
        tracing::warn!(path = %path.display(), "a journal file that held nothing needed is gone; another is made");
        self.notes.put(slot_of(path), Use::FREE)?;
        create(&*self.env.files, path, self.options.file_bytes, fill)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    /// Whether there is no unused file, though there may be more than the ring has.
    fn needs_another(&self, most: u32) -> bool {
        let may_grow = self.created < most && self.may_make > 0;
        self.next.is_none() && self.free.is_empty() && may_grow
    }
}

/// Fails the start if a file may have entries that are needed but cannot be relied on.
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The number in the name of a journal file.
fn slot_of(path: &Path) -> u32 {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    stem.and_then(|stem| stem.parse().ok())
        .expect("journal files are named after numbers")
}
