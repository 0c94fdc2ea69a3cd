//! Segments opened for reading, and how many are kept open.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;

use super::{index_path, segment_path};
use crate::{
    env::{Env, File, Open},
    storage::{
        files::{read_file, remove_file},
        format::segment_file::{INDEX_ROW_BYTES, IndexRow},
    },
    types::Offset,
};

/// The segments that are open: sealed ones as maps with their index, active ones as files. The least recently used are
/// closed when there are too many: the kernel allows 65,530 maps by default, and often 1,024 files.
pub(crate) struct OpenSegments {
    pub(super) env: Env,
    most: usize,
    open: Mutex<Open_>,
}

#[derive(Default)]
struct Open_ {
    segments: HashMap<PathBuf, (u64, OpenSegment)>,
    uses: u64,
}

/// A segment opened for reading.
#[derive(Clone)]
pub(super) enum OpenSegment {
    Sealed(Arc<SealedSegment>),
    Active(Arc<dyn File>),
}

/// The bytes of a sealed segment and its index.
pub(super) struct SealedSegment {
    pub(super) bytes: Bytes,
    /// Rows in order; the last stands for the segment's end. None if there is no sound index.
    pub(super) rows: Option<Vec<IndexRow>>,
}

impl OpenSegments {
    /// Keeps at most `most` segments open.
    pub(crate) fn new(env: Env, most: usize) -> Self {
        Self { env, most: most.max(1), open: Mutex::default() }
    }

    /// The bytes and the index of a sealed segment.
    pub(super) fn sealed(&self, dir: &Path, base: Offset) -> io::Result<Arc<SealedSegment>> {
        let path = segment_path(dir, base);
        if let Some(OpenSegment::Sealed(segment)) = self.look_up(&path) {
            return Ok(segment);
        }
        let bytes = self.env.files.map(&path)?;
        let rows = load_rows(&self.env, dir, base, bytes.len() as u64);
        let segment = Arc::new(SealedSegment { bytes, rows });
        self.keep(path, OpenSegment::Sealed(segment.clone()));
        Ok(segment)
    }

    /// The file of the active segment.
    pub(super) fn active(&self, dir: &Path, base: Offset) -> io::Result<Arc<dyn File>> {
        let path = segment_path(dir, base);
        if let Some(OpenSegment::Active(file)) = self.look_up(&path) {
            return Ok(file);
        }
        let file = self.env.files.open(&path, Open::Write)?;
        self.keep(path, OpenSegment::Active(file.clone()));
        Ok(file)
    }

    /// Gives the rows of a segment that had no sound index; they are written for the next time if the disk takes them.
    pub(super) fn give_rows(&self, dir: &Path, base: Offset, segment: &SealedSegment, rows: Vec<IndexRow>) {
        store_rows(&self.env, dir, base, &rows, 0);
        let segment = SealedSegment { bytes: segment.bytes.clone(), rows: Some(rows) };
        self.keep(segment_path(dir, base), OpenSegment::Sealed(Arc::new(segment)));
    }

    /// Closes a segment: it has been sealed, or removed.
    pub(super) fn forget(&self, dir: &Path, base: Offset) {
        self.lock().segments.remove(&segment_path(dir, base));
    }

    /// Closes every segment below a directory.
    pub(crate) fn forget_below(&self, dir: &Path) {
        self.lock().segments.retain(|path, _| !path.starts_with(dir));
    }

    fn look_up(&self, path: &Path) -> Option<OpenSegment> {
        let mut open = self.lock();
        open.uses += 1;
        let now = open.uses;
        let (used, segment) = open.segments.get_mut(path)?;
        *used = now;
        Some(segment.clone())
    }

    fn keep(&self, path: PathBuf, segment: OpenSegment) {
        let mut open = self.lock();
        open.uses += 1;
        let now = open.uses;
        open.segments.insert(path, (now, segment));
        if open.segments.len() > self.most {
            // Finding the oldest looks at all; an opened file costs far more than that.
            let oldest = open.segments.iter().min_by_key(|(_, (used, _))| *used).map(|(path, _)| path.clone());
            oldest.and_then(|path| open.segments.remove(&path));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Open_> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The rows of an index file as far as they are sound: in order, and within the segment.
pub(in crate::storage) fn load_rows_prefix(env: &Env, dir: &Path, base: Offset, segment_bytes: u64) -> Vec<IndexRow> {
    let bytes = match read_file(&*env.files, &index_path(dir, base)) {
        Ok(bytes) => bytes.unwrap_or_default(),
        Err(error) => {
            tracing::warn!(%error, "an index cannot be read and is rebuilt");
            return Vec::new();
        }
    };
    let mut rows: Vec<IndexRow> = Vec::new();
    for row in bytes.chunks_exact(INDEX_ROW_BYTES).map_while(IndexRow::decode) {
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
    rows
}

/// The rows of a sealed segment's index; none unless they reach the segment's end.
fn load_rows(env: &Env, dir: &Path, base: Offset, segment_bytes: u64) -> Option<Vec<IndexRow>> {
    let rows = load_rows_prefix(env, dir, base, segment_bytes);
    rows.last().is_some_and(|last| u64::from(last.position) == segment_bytes).then_some(rows)
}

/// Writes index rows from row number `from` on. An index is derived: that it cannot be written is only worth a warning.
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
