//! The files of a partition's key index at one moment: a part of its log's view.

use std::{ops::Range, path::Path, sync::Arc, time::Duration};

use super::{last_versions::LastVersions, sorted_table::SortedTable};
use crate::types::Offset;

/// The files of a partition's key index at one moment.
#[derive(Clone, Default)]
pub(crate) struct Files {
    /// Tables of stored records, in the order of their offsets.
    pub(crate) runs: Vec<Arc<SortedTable>>,
    /// Offsets that no table covers; their rows can be rebuilt from the log.
    pub(crate) gaps: Vec<Range<Offset>>,
    /// Offsets that no table covers because the log could not be read there.
    pub(crate) holes: Vec<Hole>,
    /// The last versions of records that are gone.
    pub(crate) last_versions: LastVersions,
}

impl Files {
    /// All tables, which can be read as long as this has them, whatever becomes of their names.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &Arc<SortedTable>> {
        self.runs.iter().chain(&self.last_versions.tables)
    }

    /// Where what earlier versions have kept of trimmed records is.
    pub(crate) fn earlier_paths(&self) -> impl Iterator<Item = &Path> {
        let earlier = self.last_versions.earlier.iter();
        earlier.map(|earlier| earlier.path())
    }

    /// Whether there is nothing at all, as in most partitions.
    pub(crate) fn is_nothing(&self) -> bool {
        let is_known = self.runs.is_empty() && self.gaps.is_empty() && self.holes.is_empty();
        is_known && self.last_versions.through() == 0
    }
}

/// Offsets that the index knows nothing of, because their records are damaged.
#[derive(Clone, Debug)]
pub(crate) struct Hole {
    pub(crate) offsets: Range<Offset>,
    pub(crate) cause: String,
    /// When the log was last read there, and how long to wait before it is read again.
    pub(crate) looked: Duration,
    pub(crate) wait: Duration,
}
