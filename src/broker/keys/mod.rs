//! The key index of a partition in use, of a topic that counts versions: its newest part under the
//! lock of appends, its files shared by who looks up.
//!
//! ```text
//!   files: runs, with gaps where one is missing        | frozen table    | table
//!   and last versions of records that are gone         | being written   | grows with every append
//! ```
//!
//! Appends look keys up in the table, then in the frozen one, then ask the filters of the files.
//! Nearly always that tells the version without reading a file. Where it does not, the locks are
//! released, the files are read, and what was found is true as long as the files are the same
//! (`look_up.rs`). Who looks for records takes offsets from all parts in the order of versions
//! (`rows.rs`). What could not be read of the log stays unknown (`holes.rs`). `upkeep.rs` freezes
//! tables, writes and merges runs, and fills gaps from the log; `gone.rs` drops rows of records that
//! compaction has removed; `retire.rs` keeps what must outlive records that are removed; `edited.rs`
//! lets erased keys go from there.
//!
//! Invariants:
//! - Files, frozen table and table cover adjacent offsets. They change places under the lock of
//!   appends only, and files only by the holder of the partition's upkeep.
//! - A table's facts are true of everything that has been given a place, durable or not. A reader
//!   looks no further than the high watermark.
//! - A run is written when what it covers is in segments and a checkpoint says so.

mod edited;
mod gone;
mod holes;
mod look_up;
mod memory;
mod retire;
mod rows;
mod upkeep;

use std::{
    ops::Range,
    sync::{Arc, LazyLock},
};

use holes::Hole;
pub(in crate::broker) use look_up::{Looked, Wanted, is_of_key};
pub(in crate::broker) use memory::{KeyMemory, Turn};
pub(in crate::broker) use rows::Rows;
pub(in crate::broker) use upkeep::Freeze;

use crate::{
    env::FileSystem,
    storage::{
        files::FileError,
        keys::{
            hash::{KeyHash, KeyHasher},
            last_versions::LastVersions,
            set,
            sorted_table::SortedTable,
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
    files: Arc<Files>,
    /// The memory that is counted for the tables.
    counted: usize,
    /// Bytes of the log since the table was begun: what a start may have to read again.
    pub(in crate::broker) lag: u64,
}

/// The files of a partition's key index, as they are at one moment.
#[derive(Clone)]
pub(in crate::broker) struct Files {
    /// In the order of their offsets.
    runs: Vec<Arc<SortedTable>>,
    /// Offsets that no run covers, and that must be looked for in the log.
    gaps: Vec<Range<Offset>>,
    /// Offsets that no run covers because the log could not be read there.
    holes: Vec<Hole>,
    /// What is known of records that are gone.
    last_versions: LastVersions,
}

impl KeyIndex {
    /// The index of a partition with these files, whose next record gets the offset `from`.
    pub(in crate::broker) fn new(from: Offset, files: Arc<Files>) -> Self {
        Self {
            table: Table::new(from),
            frozen: None,
            files,
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

    /// Takes note, before anything is appended, that records up to this offset are lost which may
    /// be of anybody. What the table knows is then to be looked for in the log again, like what
    /// files have no rows of.
    pub(in crate::broker) fn lose(&mut self, to: Offset) {
        let from = self.table.from();
        if from >= to {
            return;
        }
        self.table = Table::new(to);
        self.lag = 0;
        let mut files = Files::clone(&self.files);
        files.gaps.push(from..to);
        self.files = Arc::new(files);
    }

    /// The highest number of the last versions of records that are gone; 0 if there are none.
    pub(in crate::broker) fn last_versions_through(&self) -> u64 {
        self.files.last_versions.through()
    }

    /// Counts the tables' memory as it is now.
    pub(in crate::broker) fn count_memory(&mut self, memory: &KeyMemory) {
        let now = self.table.bytes() + self.frozen.as_ref().map_or(0, |frozen| frozen.bytes());
        memory.change(self.counted, now);
        self.counted = now;
    }
}

/// Of a partition without any: all share these, as there are many.
static NO_FILES: LazyLock<Arc<Files>> = LazyLock::new(|| {
    Arc::new(Files {
        runs: Vec::new(),
        gaps: Vec::new(),
        holes: Vec::new(),
        last_versions: LastVersions::default(),
    })
});

impl Files {
    /// Of a partition without any.
    pub(in crate::broker) fn none() -> Arc<Self> {
        Arc::clone(&NO_FILES)
    }

    /// The files that a log has beside it. Those that may not be used any more are removed.
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

    /// Sets those of `maybe` that belong to hashes the files may know: all, where files are missing
    /// or damaged.
    fn may_know_each(&self, hashes: &[KeyHash], maybe: &mut [bool]) {
        // Locks are held: what is not in memory is asked later.
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
