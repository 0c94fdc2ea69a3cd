//! Which commits a backup can be restored until, and why there is none but its own.

use std::{fmt, path::Path};

use super::{
    Error, Found,
    before::{Before, entries_between, entries_of},
    find,
};
use crate::{
    env::FileSystem,
    storage::{format::backup_mark::BackupMark, journal::is_beginning},
};

/// The commits that a restore can end with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    /// The earlier backup's commit, and when it was taken.
    pub(crate) from: (u64, i64),
    /// The later backup's.
    pub(crate) to: (u64, i64),
}

impl Range {
    pub(super) fn between(earlier: &BackupMark, later: &BackupMark) -> Self {
        Self {
            from: (earlier.commit, earlier.taken_ms),
            to: (later.commit, later.taken_ms),
        }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = (self.from.0, self.to.0);
        write!(f, "can be restored until any commit from {from} to {to}")
    }
}

/// Why a restore cannot end before the backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoRange {
    #[error("the broker keeps no journal entries, see backup.journal")]
    NotKept,
    #[error(
        "no backup was in its directory whose broker kept its journal; the next one has a range"
    )]
    First,
    #[error(
        "the broker's kept journal entries begin behind the backup before: more was appended since than \
         backup.journal holds; raise it, or take backups more often"
    )]
    TooMany,
    #[error(
        "the broker began anew to keep its journal entries, as it does behind an erasure, a restore, or a \
         disk that was short of room; the next backup has a range"
    )]
    BegunAnew,
}

impl NoRange {
    /// Whether there would have been a range, had nothing happened since the backup before.
    pub(crate) fn is_lost(self) -> bool {
        matches!(self, Self::TooMany | Self::BegunAnew)
    }

    /// Tells why there is none, by the mark of the backup before, and the new one.
    pub(super) fn find(old: Option<&BackupMark>, new: &BackupMark) -> Self {
        if !has_entries(new) {
            return Self::NotKept;
        }
        if !old.is_some_and(has_entries) {
            return Self::First;
        }
        // Where that is not among the entries any more, others than the latest were removed.
        match new.files.iter().any(|file| is_beginning(&file.path)) {
            true => Self::BegunAnew,
            false => Self::TooMany,
        }
    }
}

/// Whether a backup's broker kept entries.
fn has_entries(mark: &BackupMark) -> bool {
    let mut files = mark.files.iter();
    files.any(|file| entries_of(&file.path).is_some())
}

/// What a directory has the backup of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) commit: u64,
    pub(crate) taken_ms: i64,
    /// The commits that it can be restored until, if not its own alone.
    pub(crate) range: Option<Range>,
}

/// Finds what backup a directory has; `None` if it has no whole one.
pub(crate) fn taken(files: &dyn FileSystem, root: &Path) -> Result<Option<Taken>, Error> {
    let Some(found) = find(files, root)? else {
        return Ok(None);
    };
    let range = range(files, root, &found)?;
    Ok(Some(Taken {
        commit: found.mark.commit,
        taken_ms: found.mark.taken_ms,
        range,
    }))
}

/// The commits that a backup can be restored until.
pub(super) fn range(
    files: &dyn FileSystem,
    root: &Path,
    found: &Found,
) -> Result<Option<Range>, Error> {
    let Some(before) = Before::find(files, root, found)? else {
        return Ok(None);
    };
    let (earlier, later) = (&before.mark, &found.mark);
    let range = Range::between(earlier, later);
    Ok(entries_between(earlier, later).map(|_| range))
}
