//! Why a pass, or anything else that writes segments anew, cannot continue.

use std::time::Duration;

use crate::{
    broker::health::Health,
    env::Tally,
    storage::{fault::Meaning, files::FileError},
};

/// Why a pass cannot continue.
pub(in crate::broker) enum Hindered {
    /// The pass is tried again later.
    Problem(String),
    /// As [`Problem`](Self::Problem); the cause is that the disk has no room for what is to be
    /// written.
    NoRoom(String),
    DiskFull,
    File(FileError),
}

/// Why a partition is tried again later.
pub(in crate::broker) struct Cause {
    pub(in crate::broker) text: String,
    pub(in crate::broker) is_disk_full: bool,
}

impl Hindered {
    /// Why it is tried again later, or the error if it is not.
    pub(in crate::broker) fn cause(self, health: &Health) -> Result<Cause, FileError> {
        let (text, is_disk_full) = match self {
            Self::File(error) => return Err(error),
            Self::Problem(text) => (text, false),
            Self::NoRoom(text) => (text, true),
            Self::DiskFull => (format!("the disk is full: {}", health.shortage_now()), true),
        };
        Ok(Cause { text, is_disk_full })
    }
}

/// Partitions that are tried again later because the disk is full, to be logged as one.
#[derive(Default)]
pub(in crate::broker) struct Postponed {
    tally: Tally,
    last_cause: String,
}

impl Postponed {
    pub(in crate::broker) fn add(&mut self, cause: String) {
        self.tally.add(1);
        self.last_cause = cause;
    }

    /// How many there were since they were logged, and the last one's cause, if that is to be
    /// logged now.
    pub(in crate::broker) fn take_due(&mut self, now: Duration) -> Option<(u64, String)> {
        let partitions = self.tally.take_due(now)?;
        Some((partitions, std::mem::take(&mut self.last_cause)))
    }
}

impl From<FileError> for Hindered {
    fn from(error: FileError) -> Self {
        match error.meaning() {
            Meaning::Fatal => Self::File(error),
            _ if error.is_disk_full() => Self::DiskFull,
            Meaning::Passing | Meaning::Damage => Self::Problem(error.to_string()),
        }
    }
}

/// Makes sure that the disk has space for another segment beyond what must stay free.
pub(in crate::broker) fn check_room(health: &Health, bytes: u64) -> Result<(), Hindered> {
    match health.shortage_beside(bytes)? {
        None => Ok(()),
        Some(shortage) => Err(Hindered::NoRoom(format!(
            "the disk has no room to write a segment of {bytes} bytes anew: {shortage}"
        ))),
    }
}

/// Makes sure that the disk has space for what compaction keeps of a segment: `kept` tells how many
/// bytes that is, if there is no space for all that the segment has now.
pub(in crate::broker) fn check_room_to_compact(
    health: &Health,
    bytes: u64,
    kept: impl FnOnce() -> Result<u64, FileError>,
) -> Result<(), Hindered> {
    if health.shortage_beside(bytes)?.is_none() {
        return Ok(());
    }
    let kept = kept()?;
    match health.shortage_beside_less(kept)? {
        None => Ok(()),
        Some(shortage) => Err(Hindered::NoRoom(format!(
            "the disk has no room for the {kept} bytes that stay of a segment: {shortage}"
        ))),
    }
}

/// The result; `None` if what had to be read is damaged.
pub(in crate::broker) fn unless_damaged<T>(
    done: Result<T, FileError>,
) -> Result<Option<T>, Hindered> {
    match done {
        Err(error) if error.meaning() == Meaning::Damage => Ok(None),
        done => Ok(Some(done?)),
    }
}
