//! Entries that stay when their journal files are used again, so that a restore can end between two
//! backups.
//!
//! ```text
//! kept/FIRST-LAST.entries    a journal file's header, then these entries, one behind the other
//! kept/FIRST-LAST.begun      one without entries: they are kept from FIRST on
//! ```
//!
//! A file is written before the checkpoint that releases the journal file with its entries, and
//! gets its name when it is synced, so a crash makes no gap. The names say what there is: files
//! follow each other without a gap, and the first of all has no entries, but says where it began.
//! Behind the last entry of a backup there is one without entries as well: a backup's client that
//! has none of the others needs it alone, for its next backup to go on from.
//! Nothing relies on any of this. If a file cannot be written, or an entry is missing, all of them
//! are removed, and the next backup begins anew. So it does behind an erasure, as soon as that is
//! applied: its entity must be in no file.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;

use crate::{
    env::{Env, File, FileSystem, Open},
    storage::{
        files::{Action, FileError, STEP_BYTES, ensure_dir, remove_file, remove_tree, sync_parent},
        format::entry::{self, BLOCK_BYTES, Decoded, FileHeader},
    },
};

/// The directory with the kept entries.
pub(crate) const KEPT: &str = "kept";

const SUFFIX: &str = ".entries";
const BEGUN: &str = ".begun";

/// The name of a file that is being written.
const UNFINISHED: &str = "next.new";

/// How much of a file is read at once, unless an entry is longer.
const WINDOW_BYTES: u64 = 1 << 20;

/// The entries behind the journal.
pub(crate) struct Kept {
    env: Env,
    dir: PathBuf,
    /// The most bytes that are kept; 0 for none.
    most: u64,
    state: Mutex<State>,
    /// Whether what is kept must be removed: it may have something that is erased.
    is_closed: AtomicBool,
    /// The first entry behind which all are kept, and the size of all.
    reach: Mutex<Option<(u64, u64)>>,
}

#[derive(Default)]
struct State {
    /// Oldest first, without a gap; empty if nothing is kept.
    files: VecDeque<KeptFile>,
    /// The checksum of the last entry, if it is known.
    previous: Option<u32>,
    /// A file ends with this entry.
    cut: Option<u64>,
}

/// A file with kept entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeptFile {
    pub(crate) path: PathBuf,
    pub(crate) first: u64,
    /// One less than `first` if there are none.
    pub(crate) last: u64,
    pub(crate) bytes: u64,
}

impl Kept {
    /// Finds what is kept below the data directory `root`. Removes it if it has a gap, or if
    /// nothing is to be kept.
    pub(crate) fn open(env: &Env, root: &Path, most: u64) -> Self {
        let kept = Self {
            env: env.clone(),
            dir: root.join(KEPT),
            most,
            state: Mutex::default(),
            is_closed: AtomicBool::new(false),
            reach: Mutex::default(),
        };
        if let Err(error) = kept.find() {
            tracing::warn!(%error, "kept journal entries cannot be read, and are not used");
        }
        kept
    }

    fn find(&self) -> Result<(), FileError> {
        let files = &*self.env.files;
        let is_there = files
            .exists(&self.dir)
            .map_err(FileError::when(Action::LookFor, &self.dir))?;
        if !is_there {
            return Ok(());
        }
        let mut found = Vec::new();
        let entries = files.read_dir(&self.dir);
        for entry in entries.map_err(FileError::when(Action::List, &self.dir))? {
            let path = self.dir.join(&entry.name);
            let Some((first, last)) = parse(&entry.name) else {
                remove_file(files, &path)?;
                continue;
            };
            let file = files
                .open(&path, Open::Read)
                .map_err(FileError::when(Action::Open, &path))?;
            let bytes = file.len().map_err(FileError::when(Action::Read, &path))?;
            found.push(KeptFile {
                path,
                first,
                last,
                bytes,
            });
        }
        found.sort_by_key(|file| (file.first, file.last));
        let has_gap = found
            .windows(2)
            .any(|files| files[1].first != files[0].last + 1);
        match self.most == 0 || has_gap {
            true => self.forget()?,
            false => {
                let mut state = self.lock();
                state.files = found.into();
                self.note_reach(&state);
            }
        }
        Ok(())
    }

    /// Begins to keep entries behind this one, which is the last one that is applied, unless some
    /// are kept already; in any case a file will end with it. Returns false if nothing is kept.
    pub(crate) fn begin_behind(&self, entry: u64) -> bool {
        if self.most == 0 {
            return false;
        }
        let mut state = self.lock();
        if (state.files.is_empty() || self.is_closed())
            && let Err(error) = self.begin(&mut state, entry)
        {
            tracing::warn!(%error, "journal entries cannot be kept");
            return false;
        }
        state.cut = Some(entry);
        true
    }

    fn begin(&self, state: &mut State, entry: u64) -> Result<(), FileError> {
        // What could not be removed earlier must not be found later.
        self.remove_all(state)?;
        ensure_dir(&*self.env.files, &self.dir)?;
        sync_parent(&*self.env.files, &self.dir)?;
        // By its salt it is told from where another directory, with other entries, began.
        let salt = self.env.random.next_u64();
        let begun = Writing::begin(&self.env, &self.dir, entry + 1, salt)?;
        state.files.push_back(begun.finish(entry, BEGUN)?);
        self.note_reach(state);
        Ok(())
    }

    /// Puts a file without entries behind this one, which a file ends with.
    pub(crate) fn end_at(&self, entry: u64) {
        let mut state = self.lock();
        let Some(at) = state.files.iter().rposition(|file| file.last == entry) else {
            return;
        };
        if state.files[at].first > entry {
            return;
        }
        let salt = self.env.random.next_u64();
        let end = Writing::begin(&self.env, &self.dir, entry + 1, salt)
            .and_then(|end| end.finish(entry, SUFFIX));
        match end {
            Ok(end) => state.files.insert(at + 1, end),
            Err(error) => tracing::warn!(%error, "the end of kept journal entries is not marked"),
        }
        self.note_reach(&state);
    }

    /// The first entry behind which all are kept, and the size of all; `None` if none are. Of a
    /// backup as of an earlier one no file has the end.
    pub(crate) fn reach(&self) -> Option<(u64, u64)> {
        let reach = self.reach.lock().unwrap_or_else(PoisonError::into_inner);
        reach.filter(|_| !self.is_closed())
    }

    /// Notes what is kept, so that nobody who asks for it waits for files.
    fn note_reach(&self, state: &State) {
        let oldest = state.files.front();
        let reach = oldest.map(|oldest| (oldest.last, state.bytes()));
        *self.reach.lock().unwrap_or_else(PoisonError::into_inner) = reach;
    }

    /// The most bytes that are kept; 0 for none.
    pub(crate) fn most(&self) -> u64 {
        self.most
    }

    /// The files whose entries are all at or before this one.
    pub(crate) fn until(&self, entry: u64) -> Vec<KeptFile> {
        let state = self.lock();
        let files = state.files.iter().filter(|file| file.last <= entry);
        files.cloned().collect()
    }

    /// Keeps the entries of journal files that are about to be released, oldest first, and removes
    /// the oldest ones if there are too many and `may_remove`.
    pub(crate) fn keep(&self, released: &[(FileHeader, PathBuf)], may_remove: bool) {
        if self.is_closed() {
            if may_remove {
                self.forget_if_closed();
            }
            return;
        }
        let mut state = self.lock();
        if state.files.is_empty() {
            return;
        }
        for (header, path) in released {
            let problem = match self.copy(&mut state, header.salt, path) {
                Ok(true) => continue,
                Ok(false) => "an entry is missing or damaged".to_owned(),
                Err(error) => error.to_string(),
            };
            tracing::warn!(
                problem,
                "journal entries are not kept any more: no commit before the next backup can be restored"
            );
            self.forget_or_warn(&mut state);
            return;
        }
        while may_remove && state.bytes() > self.most && state.files.len() > 1 {
            let Some(oldest) = state.files.pop_front() else {
                break;
            };
            let is_end = state
                .files
                .front()
                .is_none_or(|next| next.last != oldest.last);
            if is_end && state.cut == Some(oldest.last) {
                tracing::warn!(
                    "more was appended since the last backup than backup.journal holds: no commit \
                     between it and the next one can be restored"
                );
            }
            if let Err(error) = remove_file(&*self.env.files, &oldest.path) {
                tracing::warn!(%error, "kept journal entries cannot be removed");
            }
        }
        self.note_reach(&state);
    }

    /// Whether nothing is kept.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().files.is_empty()
    }

    /// Ends what is kept, because something in it is erased: no backup that begins from now on has
    /// it, and it is soon removed.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
    }

    /// Whether what is kept is still to be removed.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    /// Removes what is kept if it was ended.
    pub(crate) fn forget_if_closed(&self) {
        if !self.is_closed() {
            return;
        }
        let mut state = self.lock();
        if !state.files.is_empty() {
            tracing::info!(
                "something was erased, so the journal entries that are kept for restores are \
                 removed; no commit before the next backup can be restored"
            );
        }
        self.forget_or_warn(&mut state);
    }

    /// Removes all that is kept.
    pub(crate) fn forget(&self) -> Result<(), FileError> {
        let mut state = self.lock();
        self.remove_all(&mut state)
    }

    /// Removes all that is kept because the disk is short of room.
    pub(crate) fn give_up(&self) {
        let mut state = self.lock();
        if !state.files.is_empty() {
            tracing::warn!(
                "the disk is short of room: the journal entries that are kept for restores are \
                 removed; no commit before the next backup can be restored"
            );
            self.forget_or_warn(&mut state);
        }
    }

    fn forget_or_warn(&self, state: &mut State) {
        if let Err(error) = self.remove_all(state) {
            tracing::warn!(%error, "kept journal entries cannot be removed");
        }
    }

    fn remove_all(&self, state: &mut State) -> Result<(), FileError> {
        *state = State::default();
        self.note_reach(state);
        // What cannot be removed is not used either.
        self.close();
        let files = &*self.env.files;
        let is_there = files
            .exists(&self.dir)
            .map_err(FileError::when(Action::LookFor, &self.dir))?;
        if is_there {
            remove_tree(files, &self.dir)?;
            sync_parent(files, &self.dir)?;
        }
        self.is_closed.store(false, Ordering::Release);
        Ok(())
    }

    /// Copies the entries of a journal file that are not kept yet; returns false if one is missing.
    fn copy(&self, state: &mut State, salt: u64, path: &Path) -> Result<bool, FileError> {
        let mut reading = Entries::open(&*self.env.files, path, salt)?;
        let mut next = state.files.back().map_or(1, |file| file.last + 1);
        let mut writing: Option<Writing> = None;
        while let Some((bytes, decoded)) = reading.next()? {
            let link = decoded.link;
            if !decoded.is_whole() {
                break;
            }
            if link.sequence < next {
                continue;
            }
            // Behind a clean start the first entry does not know the one before.
            let follows = |previous| link.previous == 0 || link.previous == previous;
            if link.sequence > next || !state.previous.is_none_or(follows) {
                return Ok(false);
            }
            if state.cut == Some(link.sequence - 1)
                && let Some(whole) = writing.take()
            {
                state
                    .files
                    .push_back(whole.finish(link.sequence - 1, SUFFIX)?);
            }
            let out = match &mut writing {
                Some(out) => out,
                none => none.insert(Writing::begin(&self.env, &self.dir, next, salt)?),
            };
            out.add(&bytes)?;
            state.previous = Some(decoded.checksum);
            next = link.sequence + 1;
        }
        if let Some(out) = writing {
            state.files.push_back(out.finish(next - 1, SUFFIX)?);
        }
        Ok(true)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

/// The first and the last entry of the file with this name.
pub(crate) fn parse(name: &str) -> Option<(u64, u64)> {
    let name = name.strip_suffix(SUFFIX).or(name.strip_suffix(BEGUN))?;
    let (first, last) = name.split_once('-')?;
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first >= 1 && last >= first - 1).then_some((first, last))
}

/// Whether the file with this path says where the entries began to be kept.
pub(crate) fn is_beginning(path: &str) -> bool {
    path.ends_with(BEGUN)
}

/// A file that is being written.
struct Writing {
    files: Arc<dyn FileSystem>,
    file: Arc<dyn File>,
    dir: PathBuf,
    first: u64,
    gathered: Vec<u8>,
    written: u64,
}

impl Writing {
    fn begin(env: &Env, dir: &Path, first: u64, salt: u64) -> Result<Self, FileError> {
        let path = dir.join(UNFINISHED);
        remove_file(&*env.files, &path)?;
        let file = env.files.open(&path, Open::Create);
        let number = first;
        let mut gathered = FileHeader { number, salt }.encode();
        gathered.resize(BLOCK_BYTES as usize, 0);
        Ok(Self {
            files: Arc::clone(&env.files),
            file: file.map_err(FileError::when(Action::Create, &path))?,
            dir: dir.to_owned(),
            first,
            gathered,
            written: 0,
        })
    }

    fn add(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.gathered.extend_from_slice(bytes);
        match self.gathered.len() as u64 >= STEP_BYTES {
            true => self.write(),
            false => Ok(()),
        }
    }

    /// Writes and syncs what is gathered: little at a time, because the journal's syncs wait for
    /// it.
    fn write(&mut self) -> Result<(), FileError> {
        let path = self.dir.join(UNFINISHED);
        self.file
            .write_all_at(&[&self.gathered], self.written)
            .map_err(FileError::when(Action::Write, &path))?;
        self.file
            .sync_data()
            .map_err(FileError::when(Action::Sync, &path))?;
        self.written += self.gathered.len() as u64;
        self.gathered.clear();
        Ok(())
    }

    fn finish(mut self, last: u64, suffix: &str) -> Result<KeptFile, FileError> {
        self.write()?;
        let name = format!("{}-{last}{suffix}", self.first);
        let path = self.dir.join(name);
        self.files
            .rename(&self.dir.join(UNFINISHED), &path)
            .map_err(FileError::when(Action::Rename, &path))?;
        sync_parent(&*self.files, &path)?;
        Ok(KeptFile {
            path,
            first: self.first,
            last,
            bytes: self.written,
        })
    }
}

/// The entries of one file, in order, up to the first place where none is.
pub(crate) struct Entries {
    path: PathBuf,
    file: Arc<dyn File>,
    len: u64,
    salt: u64,
    at: u64,
    /// Bytes of the file from `window_at` on.
    window: Bytes,
    window_at: u64,
}

impl Entries {
    fn open(files: &dyn FileSystem, path: &Path, salt: u64) -> Result<Self, FileError> {
        let file = files
            .open(path, Open::Read)
            .map_err(FileError::when(Action::Open, path))?;
        let len = file.len().map_err(FileError::when(Action::Read, path))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            len,
            salt,
            at: BLOCK_BYTES,
            window: Bytes::new(),
            window_at: 0,
        })
    }

    /// The entries of a kept file; `None` if it has no header.
    pub(crate) fn of_kept(files: &dyn FileSystem, path: &Path) -> Result<Option<Self>, FileError> {
        let mut entries = Self::open(files, path, 0)?;
        entries.load(0, BLOCK_BYTES)?;
        let Some(header) = FileHeader::decode(&entries.window) else {
            return Ok(None);
        };
        entries.salt = header.salt;
        Ok(Some(entries))
    }

    /// The next entry with its bytes.
    pub(crate) fn next(&mut self) -> Result<Option<(Bytes, Decoded)>, FileError> {
        // The next write begins with a block.
        for at in [self.at, self.at.next_multiple_of(BLOCK_BYTES)] {
            if let Some((bytes, decoded)) = self.decode_at(at)? {
                self.at = at + decoded.length as u64;
                return Ok(Some((bytes, decoded)));
            }
        }
        Ok(None)
    }

    fn decode_at(&mut self, at: u64) -> Result<Option<(Bytes, Decoded)>, FileError> {
        let len = match entry::length_of(&self.bytes_at(at, BLOCK_BYTES)?, self.salt) {
            Some(len) if len <= self.len - at => len,
            _ => return Ok(None),
        };
        let bytes = self.bytes_at(at, len)?;
        let decoded = entry::decode(&bytes, self.salt);
        Ok(decoded.map(|decoded| (bytes.slice(..decoded.length), decoded)))
    }

    /// At least `len` bytes from `at` on, or as many as there are.
    fn bytes_at(&mut self, at: u64, len: u64) -> Result<Bytes, FileError> {
        let len = len.min(self.len.saturating_sub(at));
        let behind = self.window_at + self.window.len() as u64;
        if at < self.window_at || at + len > behind {
            self.load(at, len.max(WINDOW_BYTES))?;
        }
        let from = usize::try_from(at - self.window_at).unwrap_or(usize::MAX);
        Ok(self.window.slice(from.min(self.window.len())..))
    }

    fn load(&mut self, at: u64, len: u64) -> Result<(), FileError> {
        let len = len.min(self.len.saturating_sub(at));
        let bytes = match len {
            0 => Vec::new(),
            _ => self
                .file
                .read_vec_at(at, usize::try_from(len).expect("an entry fits memory"))
                .map_err(FileError::when(Action::Read, &self.path))?,
        };
        (self.window, self.window_at) = (bytes.into(), at);
        Ok(())
    }
}
