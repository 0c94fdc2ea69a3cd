//! The index of a segment: the positions of frames, one for about every 8 KiB.
//!
//! The index of a sealed segment is mapped, like the segment, and takes no memory of its own. A
//! growing segment keeps a row in memory for about every 64 KiB, because there may be very many
//! such segments; its other rows stay in memory only until they are stored.
//!
//! An index is derived. It is rebuilt from the frames if it is missing or damaged, and whoever uses
//! a row checks that a frame is there.

use std::{io, path::Path};

use bytes::Bytes;

use super::{
    name::Name,
    segment::{OpenSegments, Segment},
};
use crate::{
    env::{Env, Open},
    storage::{
        fault::Meaning,
        files::{FileError, read_file, remove_file},
        format::segment_file::{INDEX_ROW_BYTES, IndexRow},
        read_only::ReadOnly,
    },
};

/// How far apart the rows are that stay in memory while a segment grows.
pub(super) const SPARSE_BYTES: u64 = 64 << 10;

/// An index smaller than this is read into memory rather than mapped, because the number of maps is
/// limited (`segment.rs`).
const SMALL_BYTES: u64 = 16 << 10;

/// How far around its estimated place a row is searched first.
const NEAR_ROWS: usize = 4;

/// The rows of a sealed segment, in order; the last one stands for the segment's end. They were
/// checked when the index was opened.
pub(super) struct Rows(Bytes);

/// The rows of a growing segment.
#[derive(Clone, Debug, Default)]
pub(super) struct GrowingRows {
    /// One row for about every 64 KiB, for look-ups.
    sparse: Vec<IndexRow>,
    /// The rows that the index file does not have yet, in order.
    unstored: Vec<IndexRow>,
    last: Option<IndexRow>,
}

impl Rows {
    /// These rows, which must be in order.
    pub(super) fn of(rows: &[IndexRow]) -> Self {
        Self(encode(rows).into())
    }

    /// Opens a stored index; `None` unless it is sound and reaches the segment's end.
    pub(super) fn open(
        env: &Env,
        segment: &Segment,
        segment_bytes: u64,
        let_go: impl Fn(),
    ) -> io::Result<Option<Self>> {
        let path = segment.name().index_path(&segment.dir());
        let bytes = match ReadOnly::open(&*env.files, &path, let_go) {
            Ok(ReadOnly::Mapped(bytes)) if bytes.len() as u64 >= SMALL_BYTES => bytes,
            Ok(small) => Bytes::from(small.read(0, small.len())?.to_vec()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if crate::storage::fault::of_reading(&error) == Meaning::Damage => {
                tracing::warn!(path = %path.display(), %error, "an index cannot be read and is rebuilt");
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let (mut last, mut len) = (None, 0);
        for row in sound_rows(&bytes, segment_bytes) {
            (last, len) = (Some(row), len + 1);
        }
        let reaches_end = last.is_some_and(|last| u64::from(last.position) == segment_bytes);
        Ok(reaches_end.then(|| Self(bytes.slice(..len * INDEX_ROW_BYTES))))
    }

    /// How many rows there are.
    pub(super) fn len(&self) -> usize {
        self.0.len() / INDEX_ROW_BYTES
    }

    /// The row with this index, if there is one.
    #[inline]
    pub(super) fn get(&self, at: usize) -> Option<IndexRow> {
        let row = self.0.get(at * INDEX_ROW_BYTES..)?;
        Some(IndexRow::at(row.first_chunk()?))
    }

    /// The last row.
    pub(super) fn last(&self) -> Option<IndexRow> {
        self.get(self.len().checked_sub(1)?)
    }

    /// The index of the last row at or before an offset, which is relative to the segment's base.
    ///
    /// Frames are mostly of about the same size, so the search begins where the row would be if
    /// they all were. A plain binary search would touch pages all over the index.
    pub(super) fn before(&self, relative: u64) -> Option<usize> {
        let last = self.last()?;
        let is_before = |at: usize| {
            let row = self.get(at);
            row.is_some_and(|row| u64::from(row.relative) <= relative)
        };
        let len = self.len();
        let within = relative.min(u64::from(last.relative)) * (len as u64 - 1);
        let guess = within.checked_div(u64::from(last.relative)).unwrap_or(0);
        let guess = usize::try_from(guess).map_or(0, |guess| guess.min(len - 1));
        // The boundary is between these: the first `low` rows are at or before the offset, those
        // from `high` on are not.
        let (mut low, mut high, mut step) = (0, len, NEAR_ROWS);
        if is_before(guess) {
            low = guess + 1;
            while low + step < len && is_before(low + step) {
                (low, step) = (low + step + 1, step * 2);
            }
            high = high.min(low + step);
        } else {
            high = guess;
            while high > step && !is_before(high - step - 1) {
                (high, step) = (high - step - 1, step * 2);
            }
            low = low.max(high.saturating_sub(step + 1));
        }
        self.first_not(low..high, |row| u64::from(row.relative) <= relative)
            .checked_sub(1)
    }

    /// The index of the last row before which every record has an earlier timestamp.
    pub(super) fn before_time(&self, timestamp_ms: i64) -> Option<usize> {
        let is_before = |row: &IndexRow| row.latest_before_ms < timestamp_ms;
        self.first_not(0..self.len(), is_before).checked_sub(1)
    }

    /// The first index in `among` whose row is not so; all rows before it are.
    fn first_not(&self, among: std::ops::Range<usize>, is_so: impl Fn(&IndexRow) -> bool) -> usize {
        let (mut low, mut high) = (among.start, among.end);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.get(middle).is_some_and(|row| is_so(&row)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

impl GrowingRows {
    /// Begins with these rows, all of which are still to be written to the index file.
    pub(super) fn of(rows: Vec<IndexRow>) -> Self {
        let mut all = Self::default();
        rows.into_iter().for_each(|row| all.push(row));
        all
    }

    /// Adds the next row.
    pub(super) fn push(&mut self, row: IndexRow) {
        let behind = self.sparse.last().map(|last| row.position - last.position);
        if behind.is_none_or(|behind| u64::from(behind) >= SPARSE_BYTES) {
            self.sparse.push(row);
        }
        self.unstored.push(row);
        self.last = Some(row);
    }

    pub(super) fn last(&self) -> Option<IndexRow> {
        self.last
    }

    /// The row from which to search for an offset, which is relative to the segment's base.
    pub(super) fn before(&self, relative: u64) -> Option<IndexRow> {
        last_of(&self.sparse, |row| u64::from(row.relative) <= relative)
    }

    /// The row from which to search for a timestamp: all records before it are earlier.
    pub(super) fn before_time(&self, timestamp_ms: i64) -> Option<IndexRow> {
        last_of(&self.sparse, |row| row.latest_before_ms < timestamp_ms)
    }

    /// The rows that the index file does not have yet.
    pub(super) fn unstored(&self) -> &[IndexRow] {
        &self.unstored
    }

    /// Takes the rows that the index file does not have; the caller stores them.
    pub(super) fn take_unstored(&mut self) -> Vec<IndexRow> {
        std::mem::take(&mut self.unstored)
    }
}

/// The last row of the first part of `rows` for which `is_so` is true.
fn last_of(rows: &[IndexRow], is_so: impl Fn(&IndexRow) -> bool) -> Option<IndexRow> {
    let behind = rows.partition_point(is_so);
    behind.checked_sub(1).map(|at| rows[at])
}

fn encode(rows: &[IndexRow]) -> Vec<u8> {
    rows.iter().flat_map(IndexRow::encode).collect()
}

/// The sound rows at the front of an index: in order, and within the segment.
fn sound_rows(bytes: &[u8], segment_bytes: u64) -> impl Iterator<Item = IndexRow> {
    let rows = bytes.chunks_exact(INDEX_ROW_BYTES);
    let mut last: Option<IndexRow> = None;
    rows.map_while(move |row| {
        let row = IndexRow::decode(row)?;
        let is_ordered = last.is_none_or(|last| {
            last.relative < row.relative
                && last.position < row.position
                && last.latest_before_ms <= row.latest_before_ms
        });
        last = Some(row);
        (is_ordered && u64::from(row.position) <= segment_bytes).then_some(row)
    })
}

/// The sound rows at the front of an index file. An index that is damaged or missing has no rows
/// and is rebuilt; an error is one that may pass.
pub(in crate::storage) fn load_rows_prefix(
    env: &Env,
    dir: &Path,
    name: Name,
    segment_bytes: u64,
) -> Result<Vec<IndexRow>, FileError> {
    let bytes = match read_file(&*env.files, &name.index_path(dir)) {
        Ok(bytes) => bytes.unwrap_or_default(),
        Err(error) if error.meaning() == Meaning::Damage => {
            tracing::warn!(%error, "an index cannot be read and is rebuilt");
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    Ok(sound_rows(&bytes, segment_bytes).collect())
}

/// Writes rows to the index file behind its first `behind` rows; if that is 0, to a new file.
/// Returns whether they are written: if not, it only logs a warning, because an index can be
/// rebuilt.
pub(super) fn store_rows(
    segments: &OpenSegments,
    segment: &Segment,
    rows: &[IndexRow],
    behind: usize,
) -> bool {
    let env = &segments.env;
    let path = segment.name().index_path(&segment.dir());
    let write = || {
        if behind == 0 {
            remove_file(&*env.files, &path).map_err(|error| error.source)?;
        }
        let how = if behind == 0 {
            Open::Create
        } else {
            Open::Write
        };
        let file = env.files.open(&path, how)?;
        file.write_all_at(&[&encode(rows)], (behind * INDEX_ROW_BYTES) as u64)
    };
    let Err(error) = write() else { return true };
    if let Some(count) = segments.count_unwritten() {
        let others = count - 1;
        tracing::warn!(
            path = %path.display(),
            %error,
            others,
            "an index cannot be written; it is rebuilt when it is needed"
        );
    }
    false
}
