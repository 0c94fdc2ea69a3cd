//! Why a pass, or anything else that writes segments anew, cannot continue.

use crate::{
    broker::health::Health,
    storage::{fault::Meaning, files::FileError},
};

/// Why a pass cannot continue.
pub(in crate::broker) enum Hindered {
    /// The pass is tried again later.
    Problem(String),
    DiskFull,
    File(FileError),
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
        Some(shortage) => Err(Hindered::Problem(format!(
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
        Some(shortage) => Err(Hindered::Problem(format!(
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
