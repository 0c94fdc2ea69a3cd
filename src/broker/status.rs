//! The state of the broker: what it has, and how much space.

use std::{path::PathBuf, time::Duration};

use super::{Broker, Shortage};

/// The state at one moment, except that each figure is read on its own.
#[derive(Clone, Debug)]
pub(crate) struct Status {
    /// The data directory, as an absolute path.
    pub(crate) data_dir: PathBuf,
    /// Why storage has failed, if it has.
    pub(crate) failure: Option<String>,
    /// For how long it has been open.
    pub(crate) uptime: Duration,
    pub(crate) topics: usize,
    pub(crate) partitions: usize,
    pub(crate) producers: usize,
    /// The free space on the disk, if the file system can tell, with what the reserve file holds.
    pub(crate) disk_free: Option<u64>,
    /// How much of it the reserve file holds.
    pub(crate) disk_held: u64,
    /// How much of it is kept free.
    pub(crate) disk_reserve: u64,
    /// Why appends are refused, if they are.
    pub(crate) shortage: Option<Shortage>,
    /// Journal files with entries that no checkpoint covers, and how many there can be.
    pub(crate) journal_files: (usize, usize),
    /// Partitions that cannot be compacted, or not all of them.
    pub(crate) hindered_compactions: usize,
    /// The journal entries for restores until a moment between two backups.
    pub(crate) kept_journal: KeptJournal,
}

/// The journal entries that are kept from one backup to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeptJournal {
    pub(crate) bytes: u64,
    /// How many bytes there may be; 0 for none.
    pub(crate) limit: u64,
    /// Between which commits a restore can end whose backup was taken at the first of them or
    /// later, and is followed by one that is taken now; `None` while no entries are kept.
    pub(crate) commits: Option<(u64, u64)>,
}

impl Broker {
    /// The state of the broker. Asks the file system for its free space.
    pub(crate) fn status(&self) -> Status {
        let shared = &self.shared;
        let (topics, partitions, producers) = {
            let applied = shared.sequencer.applied();
            let topics = applied.topics();
            (
                topics.len(),
                topics.partitions(),
                applied.producers.used().producers,
            )
        };
        let dir = &shared.options.data_dir;
        let shortage = shared.health.shortage();
        Status {
            data_dir: std::path::absolute(dir).unwrap_or_else(|_| dir.clone()),
            failure: shared.health.failure(),
            uptime: shared.env.clock.elapsed().saturating_sub(self.opened_at),
            topics,
            partitions,
            producers,
            disk_free: shared.health.free_bytes().ok().flatten(),
            disk_held: shared.health.held_bytes(),
            disk_reserve: shared.options.disk_reserve_bytes,
            shortage,
            journal_files: shared.committer.ring.fill(),
            hindered_compactions: shared.maintenance.compactions.count_hindered(),
            kept_journal: self.kept_journal(),
        }
    }

    fn kept_journal(&self) -> KeptJournal {
        let kept = &self.shared.kept;
        let reach = kept.reach();
        KeptJournal {
            bytes: reach.map_or(0, |(_, bytes)| bytes),
            limit: kept.most(),
            commits: reach.map(|(from, _)| (from, self.shared.committer.applied())),
        }
    }
}
