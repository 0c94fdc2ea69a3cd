//! Segments opened for reading, and how many are kept open.
//!
//! A segment's name comes to stand for another file when it is written anew. What was opened before
//! must not be used for who comes after, because it may have what has been erased. So whatever
//! opens a file, outside the lock, keeps it only if no name has changed meanwhile.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    Identity, index_path,
    kept::{KeptFrame, KeptFrames},
    segment_path,
};
use crate::{
    env::{Env, File, Open},
    storage::{
        fault::{self, Meaning},
        files::{FileError, read_file, remove_file},
        format::{
            identity,
            segment_file::{INDEX_ROW_BYTES, IndexRow},
        },
        read_only::ReadOnly,
    },
    types::Offset,
};

/// The segments that are open: sealed ones as maps, where they can be, with their index, active
/// ones as files. The
/// least recently used are closed when there are too many: the kernel allows 65,530 maps by
/// default, and often 1,024 files.
pub(crate) struct OpenSegments {
    pub(super) env: Env,
    most: usize,
    /// Most of them that are open as files.
    most_files: usize,
    /// What new segments say of the data directory that they belong to.
    pub(super) directory: Option<identity::Identity>,
    open: Mutex<Open_>,
    /// Held by who writes a sealed segment anew, and by who writes an index for one: the index of
    /// an old file must not be left beside a new one.
    writing: Mutex<()>,
}

#[derive(Default)]
struct Open_ {
    segments: HashMap<PathBuf, (u64, OpenSegment)>,
    frames: KeptFrames,
    uses: u64,
    changes: Changes,
}

/// How often a name has come to stand for another file, or for none.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub(super) struct Changes(u64);

/// The replacement of a sealed segment's file under way. When it is dropped, the old file is not
/// used any more.
pub(super) struct Replacing<'a> {
    segments: &'a OpenSegments,
    dir: &'a Path,
    base: Offset,
    _alone: MutexGuard<'a, ()>,
}

/// A segment opened for reading.
#[derive(Clone)]
pub(super) enum OpenSegment {
    Sealed(Arc<SealedSegment>),
    Active(Arc<dyn File>),
}

/// A sealed segment's file and its index.
pub(super) struct SealedSegment {
    pub(super) content: ReadOnly,
    /// Rows in order; the last stands for the segment's end. None if there is no sound index.
    pub(super) rows: Option<Vec<IndexRow>>,
    /// When it was opened.
    changes: Changes,
}

impl OpenSegments {
    /// Keeps at most `most` segments open.
    pub(crate) fn new(env: Env, most: usize) -> Self {
        Self {
            env,
            most: most.max(1),
            most_files: most.max(1),
            directory: None,
            open: Mutex::default(),
            writing: Mutex::default(),
        }
    }

    /// Keeps at most `most_files` of them open as files. A map needs no descriptor; a file does,
    /// and there are often few.
    pub(crate) fn with_files(mut self, most_files: usize) -> Self {
        self.most_files = most_files.max(1);
        self
    }

    /// Has new segments say that they belong to this data directory.
    pub(crate) fn of_directory(mut self, directory: identity::Identity) -> Self {
        self.directory = Some(directory);
        self
    }

    /// The bytes and the index of a sealed segment.
    pub(super) fn sealed(&self, dir: &Path, base: Offset) -> io::Result<Arc<SealedSegment>> {
        let path = segment_path(dir, base);
        loop {
            let (found, changes) = self.look_up(&path);
            if let Some(OpenSegment::Sealed(segment)) = found {
                return Ok(segment);
            }
            let let_go = || self.let_go();
            let content = self.trying_again(|| ReadOnly::open(&*self.env.files, &path, let_go))?;
            let rows = self.trying_again(|| load_rows(&self.env, dir, base, content.len()))?;
            let segment = Arc::new(SealedSegment {
                content,
                rows,
                changes,
            });
            if self.keep(&path, OpenSegment::Sealed(segment.clone()), changes) {
                return Ok(segment);
            }
        }
    }

    /// The file of the active segment.
    pub(super) fn active(&self, dir: &Path, base: Offset) -> io::Result<Arc<dyn File>> {
        let path = segment_path(dir, base);
        loop {
            let (found, changes) = self.look_up(&path);
            if let Some(OpenSegment::Active(file)) = found {
                return Ok(file);
            }
            let file = self.trying_again(|| self.env.files.open(&path, Open::Write))?;
            if self.keep(&path, OpenSegment::Active(file.clone()), changes) {
                return Ok(file);
            }
        }
    }

    /// Keeps the file of a segment that has just been created, and is written to next. Its name was
    /// forgotten before, and nobody knows of it yet.
    pub(super) fn keep_created(&self, path: &Path, file: Arc<dyn File>) {
        let changes = self.changes();
        self.keep(path, OpenSegment::Active(file), changes);
    }

    /// Gives the rows of a segment that had no sound index; they are written for the next time if
    /// the disk takes them. None if the segment may not be the one that was opened any more: then
    /// it is to be opened again.
    pub(super) fn give_rows(
        &self,
        dir: &Path,
        base: Offset,
        segment: &SealedSegment,
        rows: Vec<IndexRow>,
    ) -> Option<Arc<SealedSegment>> {
        let _alone = self.writing();
        if self.changes() != segment.changes {
            return None;
        }
        store_rows(&self.env, dir, base, &rows, 0);
        let changes = segment.changes;
        let segment = Arc::new(SealedSegment {
            content: segment.content.clone(),
            rows: Some(rows),
            changes,
        });
        self.keep(
            &segment_path(dir, base),
            OpenSegment::Sealed(segment.clone()),
            changes,
        )
        .then_some(segment)
    }

    /// Reads something. If that fails for a reason that passes, such as a lack of file descriptors
    /// or maps, it lets go of all that is open and tries once more.
    fn trying_again<T>(&self, read: impl Fn() -> io::Result<T>) -> io::Result<T> {
        match read() {
            Err(error) if fault::of_reading(&error) == Meaning::Passing => {
                self.let_go();
                read()
            }
            read => read,
        }
    }

    /// Closes every segment that nobody uses; they are opened again when they are needed.
    pub(crate) fn let_go(&self) {
        let open = std::mem::take(&mut self.lock().segments);
        // Closing files takes longer than a lock should be held.
        drop(open);
    }

    /// To be held while a sealed segment's file and index are replaced.
    pub(super) fn replacing<'a>(&'a self, dir: &'a Path, base: Offset) -> Replacing<'a> {
        Replacing {
            segments: self,
            dir,
            base,
            _alone: self.writing(),
        }
    }

    /// Closes a segment: it has been sealed, replaced or removed.
    pub(super) fn forget(&self, dir: &Path, base: Offset) {
        let mut open = self.lock();
        open.changes.0 += 1;
        open.segments.remove(&segment_path(dir, base));
        open.frames.forget(|of| of == dir);
    }

    /// Closes every segment below a directory.
    pub(crate) fn forget_below(&self, dir: &Path) {
        let mut open = self.lock();
        open.changes.0 += 1;
        open.segments.retain(|path, _| !path.starts_with(dir));
        open.frames.forget(|of| of.starts_with(dir));
    }

    /// What is kept to be handed to [`keep_frame`](Self::keep_frame), before a frame is looked for.
    pub(super) fn changes(&self) -> Changes {
        self.lock().changes
    }

    /// The frame with this offset, if it is one that is kept.
    pub(super) fn kept_frame(&self, identity: Identity, offset: Offset) -> Option<Arc<KeptFrame>> {
        self.lock().frames.find(identity, offset)
    }

    /// Keeps a frame for the next look-up, if it is as it was found.
    pub(super) fn keep_frame(&self, dir: &Arc<Path>, frame: &Arc<KeptFrame>, changes: Changes) {
        let mut open = self.lock();
        if open.changes == changes {
            open.frames.keep(dir, frame);
        }
    }

    /// What is open under a name; or none, as of so many changes.
    fn look_up(&self, path: &Path) -> (Option<OpenSegment>, Changes) {
        let mut open = self.lock();
        open.uses += 1;
        let (now, changes) = (open.uses, open.changes);
        let found = open.segments.get_mut(path).map(|(used, segment)| {
            *used = now;
            segment.clone()
        });
        (found, changes)
    }

    /// Keeps what was opened, unless a name has changed since it was looked up: it could be this
    /// one.
    fn keep(&self, path: &Path, segment: OpenSegment, changes: Changes) -> bool {
        let mut open = self.lock();
        if open.changes != changes {
            return false;
        }
        open.uses += 1;
        let now = open.uses;
        let is_file = segment.is_file();
        open.segments.insert(path.to_owned(), (now, segment));
        // Both look at all; an opened file costs far more than that.
        if is_file && open.files() > self.most_files {
            open.close_oldest(OpenSegment::is_file);
        }
        if open.segments.len() > self.most {
            open.close_oldest(|_| true);
        }
        true
    }

    fn writing(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Open_> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenSegment {
    fn is_file(&self) -> bool {
        matches!(self, Self::Active(_))
    }
}

impl Open_ {
    fn files(&self) -> usize {
        let segments = self.segments.values();
        segments.filter(|(_, segment)| segment.is_file()).count()
    }

    /// Closes the least recently used of these.
    fn close_oldest(&mut self, of: fn(&OpenSegment) -> bool) {
        let these = self.segments.iter().filter(|(_, (_, segment))| of(segment));
        let oldest = these.min_by_key(|(_, (used, _))| *used);
        if let Some(path) = oldest.map(|(path, _)| path.clone()) {
            self.segments.remove(&path);
        }
    }
}

impl Drop for Replacing<'_> {
    /// Also after an error: the file may have its new name although nobody could make sure of it.
    fn drop(&mut self) {
        self.segments.forget(self.dir, self.base);
    }
}

/// The rows of an index file as far as they are sound: in order, and within the segment. An error
/// is a passing one: an index that is damaged or missing has no rows, and is built again.
pub(in crate::storage) fn load_rows_prefix(
    env: &Env,
    dir: &Path,
    base: Offset,
    segment_bytes: u64,
) -> Result<Vec<IndexRow>, FileError> {
    let bytes = match read_file(&*env.files, &index_path(dir, base)) {
        Ok(bytes) => bytes.unwrap_or_default(),
        Err(error) if error.meaning() == Meaning::Damage => {
            tracing::warn!(%error, "an index cannot be read and is rebuilt");
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    let mut rows: Vec<IndexRow> = Vec::new();
    for row in bytes
        .chunks_exact(INDEX_ROW_BYTES)
        .map_while(IndexRow::decode)
    {
        let ordered = rows.last().is_none_or(|last| {
            last.relative < row.relative
                && last.position < row.position
                && last.latest_before_ms <= row.latest_before_ms
        });
        if !ordered || u64::from(row.position) > segment_bytes {
            break;
        }
        rows.push(row);
    }
    Ok(rows)
}

/// The rows of a sealed segment's index; none unless they reach the segment's end.
fn load_rows(
    env: &Env,
    dir: &Path,
    base: Offset,
    segment_bytes: u64,
) -> io::Result<Option<Vec<IndexRow>>> {
    let rows = load_rows_prefix(env, dir, base, segment_bytes).map_err(|error| error.source)?;
    let is_whole = rows
        .last()
        .is_some_and(|last| u64::from(last.position) == segment_bytes);
    Ok(is_whole.then_some(rows))
}

/// Writes index rows from row number `from` on. An index is derived: that it cannot be written is
/// only worth a warning.
pub(super) fn store_rows(env: &Env, dir: &Path, base: Offset, rows: &[IndexRow], from: usize) {
    let path = index_path(dir, base);
    let write = || {
        if from == 0 {
            remove_file(&*env.files, &path).map_err(|error| error.source)?;
        }
        let how = if from == 0 { Open::Create } else { Open::Write };
        let file = env.files.open(&path, how)?;
        let bytes: Vec<u8> = rows[from..].iter().flat_map(IndexRow::encode).collect();
        file.write_all_at(&[&bytes], (from * INDEX_ROW_BYTES) as u64)
    };
    if let Err(error) = write() {
        tracing::warn!(path = %path.display(), %error, "an index cannot be written; it is rebuilt when it is needed");
    }
}
