//! The status of a broker.

use std::{path::PathBuf, time::Duration};

use super::{
    Client, Error,
    status::{self, AtStake},
};
use crate::proto;

/// The status of a broker, as it reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BrokerStatus {
    /// Its version.
    pub version: String,
    /// Its data directory, on its machine.
    pub data_dir: PathBuf,
    /// Why its storage has failed; `None` if it works.
    pub failure: Option<String>,
    /// For how long it has been open.
    pub uptime: Duration,
    /// How many topics it has.
    pub topics: u64,
    /// How many partitions all topics have.
    pub partitions: u64,
    /// How many producers it knows.
    pub producers: u64,
    /// Connections on its port.
    pub connections: Level,
    /// Connections on the administrators' socket.
    pub administrators: Level,
    /// Calls that are not completely answered.
    pub calls: Level,
    /// The parts of its memory.
    pub memory: Vec<MemoryPart>,
    /// The process's resident memory, in bytes, if the system reports it.
    pub resident_bytes: Option<u64>,
    /// Open files and sockets, if the system reports them.
    pub open_files: Option<u64>,
    /// How many of these may be open.
    pub open_files_limit: Option<u64>,
    /// Mappings of files and memory, if the system reports them.
    pub maps: Option<u64>,
    /// Free space on its disk, in bytes, if the file system reports it. What the reserve file holds
    /// is included.
    pub disk_free_bytes: Option<u64>,
    /// How much of that the reserve file holds, which no other process can take. Given up on a full
    /// disk, and then 0.
    pub disk_held_bytes: u64,
    /// Space that is kept there, in bytes.
    pub disk_reserve_bytes: u64,
    /// Whether appends are refused for lack of space.
    pub disk_is_full: bool,
    /// How many bytes must be freed until appends are accepted again; `None` if they are accepted,
    /// or the free space is not known.
    pub disk_missing_bytes: Option<u64>,
    /// Journal files with entries that no checkpoint covers.
    pub journal_files: u32,
    /// How many of these there can be.
    pub journal_files_limit: u32,
    /// Partitions that cannot be compacted, or not all of them;
    /// [`Topics::describe`](super::Topics::describe) says why.
    pub hindered_compactions: u64,
    /// The journal entries that it keeps for restores until a moment between two backups; `None` if
    /// it is not set up to keep any.
    pub backup_journal: Option<BackupJournal>,
}

/// The journal entries that a broker keeps from one backup to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackupJournal {
    /// Their size in bytes.
    pub bytes: u64,
    /// How many bytes there may be; the oldest are dropped at that.
    pub limit_bytes: u64,
    /// The first and the last commit until which a directory could be restored once it has the next
    /// backup, if that was taken now and the one before at the first commit or later; `None` while
    /// no entries are kept.
    pub commits: Option<(u64, u64)>,
}

/// A number of things, with its limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Level {
    /// Now.
    pub now: u64,
    /// The highest number since the start.
    pub most: u64,
    /// The limit, if there is a fixed one.
    pub limit: Option<u64>,
}

/// A part of a broker's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryPart {
    /// Its name.
    pub name: String,
    /// What it is used for.
    pub purpose: String,
    /// What is used, in bytes.
    pub used_bytes: u64,
    /// The most that was used at any time since the start, in bytes.
    pub most_bytes: u64,
    /// The most that may be used, in bytes.
    pub bound_bytes: u64,
}

impl Client {
    /// Asks for the broker's status.
    ///
    /// # Errors
    ///
    /// If the broker is not available.
    pub async fn status(&self) -> Result<BrokerStatus, Error> {
        let mut calls = self.broker.clone();
        let call = calls.status(proto::StatusRequest {});
        let answer = status::answer(self.request_timeout, AtStake::Nothing, call).await?;
        Ok(answer.into())
    }
}

impl From<proto::StatusResponse> for BrokerStatus {
    fn from(status: proto::StatusResponse) -> Self {
        Self {
            version: status.version,
            data_dir: status.data_dir.into(),
            failure: Some(status.failure).filter(|failure| !failure.is_empty()),
            uptime: Duration::from_millis(status.uptime_ms),
            topics: status.topics,
            partitions: status.partitions,
            producers: status.producers,
            connections: status.connections.unwrap_or_default().into(),
            administrators: status.administrators.unwrap_or_default().into(),
            calls: status.calls.unwrap_or_default().into(),
            memory: status.memory.into_iter().map(MemoryPart::from).collect(),
            resident_bytes: status.resident_bytes,
            open_files: status.open_files,
            open_files_limit: status.open_files_limit,
            maps: status.maps,
            disk_free_bytes: status.disk_free_bytes,
            disk_held_bytes: status.disk_held_bytes,
            disk_reserve_bytes: status.disk_reserve_bytes,
            disk_is_full: status.disk_is_full,
            disk_missing_bytes: status.disk_missing_bytes,
            journal_files: status.journal_files,
            journal_files_limit: status.journal_files_limit,
            hindered_compactions: status.hindered_compactions,
            backup_journal: status.backup_journal.map(BackupJournal::from),
        }
    }
}

impl From<proto::BackupJournal> for BackupJournal {
    fn from(kept: proto::BackupJournal) -> Self {
        Self {
            bytes: kept.bytes,
            limit_bytes: kept.limit_bytes,
            commits: kept.first_commit.zip(kept.last_commit),
        }
    }
}

impl From<proto::Level> for Level {
    fn from(level: proto::Level) -> Self {
        Self {
            now: level.now,
            most: level.most,
            limit: Some(level.limit).filter(|&limit| limit > 0),
        }
    }
}

impl From<proto::MemoryPart> for MemoryPart {
    fn from(part: proto::MemoryPart) -> Self {
        Self {
            name: part.name,
            purpose: part.purpose,
            used_bytes: part.used_bytes,
            most_bytes: part.most_bytes,
            bound_bytes: part.bound_bytes,
        }
    }
}
