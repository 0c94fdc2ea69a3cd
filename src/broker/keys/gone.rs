//! Drops rows of records that compaction has removed, from tables in which at least half of the
//! rows are such.
//!
//! So the index of a topic whose keys are written again and again stays bounded. A record that
//! cannot be read does not count as removed, so its key never falls back to an earlier version.

use std::sync::Arc;

use crate::{
    broker::{lock, partitions::Partitions, state::PartitionRef},
    budget,
    storage::{
        files::{Action, FileError},
        freeing::Leaving,
        keys::merge,
    },
    types::Offset,
};

/// A part of a key index that was examined.
pub(in crate::broker) struct LookedAt {
    /// The offset behind its last one.
    pub(in crate::broker) end: Offset,
    /// How many bytes of the index were read, if it was written anew.
    pub(in crate::broker) bytes: u64,
}

impl Partitions {
    /// Examines the first table with offsets from `next` on; `None` if there is none. If at least
    /// half of its rows are of removed records, it is written anew without them.
    pub(in crate::broker) fn drop_gone_rows(
        &self,
        partition: &PartitionRef,
        next: Offset,
        memory: &budget::Part,
    ) -> Result<Option<LookedAt>, FileError> {
        let _upkeep = lock(&partition.partition().upkeep);
        let files = partition.partition().index();
        let Some(run) = files.runs.iter().find(|run| run.to() > next) else {
            return Ok(None);
        };
        let (offsets, most) = (run.from()..run.to(), run.rows() / 2);
        let looked_at = |bytes| {
            let end = offsets.end;
            Ok(Some(LookedAt { end, bytes }))
        };
        if most == 0 || self.has_no_room(run.bytes())? {
            return looked_at(0);
        }
        let (keep_from, dir) = {
            let log = lock(&partition.partition().log);
            (log.first_kept(), log.dir())
        };
        let reader = self.reader(partition);
        let present = reader.present(&offsets, most, memory.bound());
        let Some(present) = present.map_err(FileError::when(Action::Read, &dir))? else {
            return looked_at(0);
        };
        memory.add(present.bytes());
        let is_kept = |offset: Offset| offset >= keep_from && present.may_have(offset);
        let tables = std::slice::from_ref(run);
        // The new table gets its name.
        let leaving = Leaving::open(&*self.env.files, run.path());
        let written = merge::merge(&*self.env.files, &dir, tables, Some(most), is_kept);
        memory.subtract(present.bytes());
        match written {
            Ok(written) => {
                let (path, before, rows) = (run.path().display(), run.rows(), written.rows());
                tracing::debug!(%path, before, rows, "rows of removed records were dropped");
                run.leave(leaving, self.segments.freeing());
                let written = Arc::new(written);
                self.change_files(partition, |_, files| {
                    let mut runs = files.runs.iter_mut();
                    if let Some(there) = runs.find(|other| Arc::ptr_eq(other, run)) {
                        *there = written;
                    }
                });
            }
            Err(merge::Error::File(error)) => return Err(error),
            Err(merge::Error::Damaged(damaged)) => {
                tracing::warn!(%damaged, "a part of a key index is damaged and is rebuilt");
                self.leave_gap(partition, run);
            }
        }
        looked_at(run.bytes())
    }

    /// Whether the disk has no space for this many more bytes. Then rows are dropped later.
    fn has_no_room(&self, bytes: u64) -> Result<bool, FileError> {
        Ok(self.health.shortage_beside(bytes)?.is_some())
    }
}
