//! How a broker is.

use std::{path::PathBuf, time::Duration};

use super::{
    Client, Error,
    status::{self, AtStake},
};
use crate::proto;

/// How a broker is, as it says itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BrokerStatus {
    /// Its version.
    pub version: String,
    /// Where its data is, on its machine.
    pub data_dir: PathBuf,
    /// Why its storage has failed; none: it serves.
    pub failure: Option<String>,
    /// For how long it has been open.
    pub uptime: Duration,
    /// Topics.
    pub topics: u64,
    /// Partitions of all topics.
    pub partitions: u64,
    /// Producers that it knows.
    pub producers: u64,
    /// Connections on its port.
    pub connections: Level,
    /// Connections on the administrators' socket.
    pub administrators: Level,
    /// Calls that are not answered to their end.
    pub calls: Level,
    /// The parts of its memory.
    pub memory: Vec<MemoryPart>,
    /// Memory that the process takes in all, in bytes, if its system says so.
    pub resident_bytes: Option<u64>,
    /// Files and sockets that are open, if its system says so.
    pub open_files: Option<u64>,
    /// How many of these there may be.
    pub open_files_limit: Option<u64>,
    /// Parts of files and of memory that are mapped, if its system says so.
    pub maps: Option<u64>,
    /// What is free on its disk, in bytes, if that says so.
    pub disk_free_bytes: Option<u64>,
    /// What is kept free there, in bytes.
    pub disk_reserve_bytes: u64,
    /// Appends are refused for want of room.
    pub disk_is_full: bool,
    /// How many bytes must be freed until appends are taken again, if they are not, and its disk
    /// says what is free.
    pub disk_missing_bytes: Option<u64>,
    /// Journal files with entries that no checkpoint covers.
    pub journal_files: u32,
    /// How many of these there can be.
    pub journal_files_limit: u32,
    /// Partitions that cannot be compacted at the moment;
    /// [`Topics::describe`](super::Topics::describe) says why.
    pub hindered_compactions: u64,
}

/// How many there are of something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Level {
    /// Now.
    pub now: u64,
    /// The most at a time since the start.
    pub most: u64,
    /// How many there may be, where a number says so.
    pub limit: Option<u64>,
}

/// A part of a broker's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryPart {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub purpose: String,
    /// What is used, in bytes.
    pub used_bytes: u64,
    /// The most that was used at a time since the start, in bytes.
    pub most_bytes: u64,
    /// What may be used, in bytes.
    pub bound_bytes: u64,
}

impl Client {
    /// Asks how the broker is.
    ///
    /// # Errors
    ///
    /// That the broker is not available.
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
            disk_reserve_bytes: status.disk_reserve_bytes,
            disk_is_full: status.disk_is_full,
            disk_missing_bytes: status.disk_missing_bytes,
            journal_files: status.journal_files,
            journal_files_limit: status.journal_files_limit,
            hindered_compactions: status.hindered_compactions,
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
