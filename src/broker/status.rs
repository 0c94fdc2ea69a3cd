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
    /// Partitions that cannot be compacted at the moment.
    pub(crate) hindered_compactions: usize,
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
        }
    }
}
