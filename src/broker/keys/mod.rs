//! The key index of a partition in use, in topics with versions. Its newest part is under the lock
//! of appends, its files are in the log's view.
//!
//! ```text
//!   files: tables of records, with gaps where one is   | frozen table    | table
//!   missing, and last versions of removed records      | being written   | grows with every append
//! ```
//!
//! Appends look keys up in the table, then in the frozen table, then ask the filters of the files.
//! Mostly that gives the version without reading a file. Otherwise the locks are released and the
//! files are read; what was found is valid as long as the files are the same (`look_up.rs`). Reads
//! of an entity take offsets from all parts in the order of versions (`rows.rs`). Parts of the log
//! that could not be read stay unknown (`holes.rs`). `upkeep.rs` freezes tables, writes and merges
//! tables of records (`runs` in the code), and fills gaps from the log, `round.rs` does so in all
//! partitions, and less while the disk is full; `gone.rs` drops rows of
//! records that compaction has removed; `retire.rs` keeps what must outlive removed records;
//! `edited.rs` removes erased keys from there.
//!
//! Invariants:
//! - Files, frozen table and table cover adjacent offsets. They change only under the lock of
//!   appends, and files only by the holder of the partition's upkeep lock. A view that is taken
//!   under the lock has all files at one moment, with the segments that they belong to.
//! - A table has everything that has an offset, durable or not. A reader goes no further than the
//!   high watermark.
//! - A table of records is written when its offsets are in segments and a checkpoint says so.

mod edited;
mod gone;
mod holes;
mod look_up;
mod memory;
mod retire;
mod round;
mod rows;
mod upkeep;

use std::sync::Arc;

pub(in crate::broker) use look_up::{Looked, Wanted, is_of_key};
pub(in crate::broker) use memory::{KeyMemory, Room};
pub(in crate::broker) use round::{Rounds, Upkeep};
pub(in crate::broker) use rows::{Begun, Rows};
pub(in crate::broker) use upkeep::Freeze;

use crate::{
    env::FileSystem,
    storage::{
        files::FileError,
        keys::{
            Files,
            hash::{KeyHash, KeyHasher},
            set,
            table::Table,
        },
        log::Log,
    },
    types::{Offset, Version},
};

/// The key index of a partition, as far as appends change it.
pub(in crate::broker) struct KeyIndex {
    pub(in crate::broker) table: Table,
    frozen: Option<Arc<Table>>,
    /// The memory that was counted for the tables.
    counted: usize,
    /// Bytes of the log since the table was begun, which a start may have to read again.
    pub(in crate::broker) lag: u64,
}

impl KeyIndex {
    /// The index of a partition whose next record gets the offset `from`.
    pub(in crate::broker) fn new(from: Offset) -> Self {
        Self {
            table: Table::new(from),
            frozen: None,
            counted: 0,
            lag: 0,
        }
    }

    /// A key's version, if the tables know it.
    fn known(&self, hash: KeyHash, key: &[u8]) -> Option<Version> {
        let tables = [Some(&self.table), self.frozen.as_deref()];
        tables
            .into_iter()
            .flatten()
            .find_map(|table| table.find(hash, key).map(|entry| table.version(entry)))
    }

    /// Notes, before anything is appended, that records up to this offset are lost, which may
    /// belong to any key. The table's content must then be looked for in the log again, like all
    /// rows that files lack.
    pub(in crate::broker) fn lose(&mut self, to: Offset, log: &mut Log) {
        let from = self.table.from();
        if from >= to {
            return;
        }
        self.table = Table::new(to);
        self.lag = 0;
        log.change_index(|files| files.gaps.push(from..to));
    }

    /// The partition has no records, and its next one gets this offset.
    pub(in crate::broker) fn start_at(&mut self, offset: Offset) {
        self.table = Table::new(offset);
    }

    /// Counts the tables' memory as it is now.
    pub(in crate::broker) fn count_memory(&mut self, memory: &KeyMemory) {
        let now = self.table.bytes() + self.frozen.as_ref().map_or(0, |frozen| frozen.bytes());
        memory.change(self.counted, now);
        self.counted = now;
    }
}

impl Files {
    /// Opens the index files of a log, and removes those that may not be used any more.
    pub(in crate::broker) fn open(
        files: &dyn FileSystem,
        log: &Log,
        hasher: &KeyHasher,
    ) -> Result<Self, FileError> {
        let dir = log.dir();
        let owner = set::Owner {
            files,
            dir: &dir,
            identity: log.identity(),
            fingerprint: hasher.fingerprint(),
        };
        let found = set::list(owner, log.first_kept()..log.end(), log.retired_file())?;
        set::remove(files, &dir, &found.stale)?;
        Ok(Self {
            runs: found.runs,
            gaps: found.gaps,
            holes: Vec::new(),
            last_versions: found.last_versions,
        })
    }

    /// Sets those of `maybe` to true whose hashes the files may have: all of them, if files are
    /// missing or damaged.
    fn may_know_each(&self, hashes: &[KeyHash], maybe: &mut [bool]) {
        // Locks are held, so files that are not mapped are asked later.
        let in_memory =
            self.runs.iter().all(|run| run.is_mapped()) && self.last_versions.is_mapped();
        let is_whole =
            self.gaps.is_empty() && self.holes.is_empty() && self.last_versions.is_whole();
        if !in_memory || !is_whole {
            maybe.fill(true);
            return;
        }
        let mut found = vec![false; hashes.len()];
        for run in &self.runs {
            if run.may_have_each(hashes, &mut found).is_err() {
                maybe.fill(true);
                return;
            }
            maybe
                .iter_mut()
                .zip(&found)
                .for_each(|(maybe, found)| *maybe |= *found);
        }
        for (hash, maybe) in hashes.iter().zip(maybe) {
            *maybe |= self.last_versions.may_have(*hash);
        }
    }
}
