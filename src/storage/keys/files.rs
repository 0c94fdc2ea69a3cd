//! The files of a partition's key index, as they are at one moment: a part of its log's view.

use std::{ops::Range, sync::Arc, time::Duration};

use super::{last_versions::LastVersions, sorted_table::SortedTable};
use crate::types::Offset;

/// The files of a partition's key index, as they are at one moment.
#[derive(Clone, Default)]
pub(crate) struct Files {
    /// Tables of stored records, in the order of their offsets.
    pub(crate) runs: Vec<Arc<SortedTable>>,
    /// Offsets that no run covers, and that must be looked for in the log.
    pub(crate) gaps: Vec<Range<Offset>>,
    /// Offsets that no run covers because the log could not be read there.
    pub(crate) holes: Vec<Hole>,
    /// What is known of records that are gone.
    pub(crate) last_versions: LastVersions,
}

impl Files {
    /// Whether there is nothing: most partitions have none.
    pub(crate) fn is_nothing(&self) -> bool {
        let is_known = self.runs.is_empty() && self.gaps.is_empty() && self.holes.is_empty();
        is_known && self.last_versions.through() == 0
    }
}

/// Offsets of which the index knows nothing because their records are damaged.
#[derive(Clone, Debug)]
pub(crate) struct Hole {
    pub(crate) offsets: Range<Offset>,
    pub(crate) cause: String,
    /// When the log was looked at last, and how long it is not looked at again.
    pub(crate) looked: Duration,
    pub(crate) wait: Duration,
}
