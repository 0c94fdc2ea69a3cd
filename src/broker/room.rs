//! Room on the disk: how much is to be left there, and what there is too little of.

use std::{fmt, io::ErrorKind, sync::Arc};

use super::{Broker, Error, Shared, lock, state::Topic};
use crate::storage::{
    fault::Meaning,
    files::{Action, FileError},
};

/// Too little room on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shortage {
    /// How many bytes are free, if the file system says so.
    pub(crate) free: Option<u64>,
    /// How many must be, for appends to be taken.
    pub(crate) needed: u64,
    /// How many the setting `disk.reserve_bytes` keeps free.
    pub(crate) reserve: u64,
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.free {
            Some(free) => write!(f, "{free} bytes are free")?,
            None => f.write_str("it does not say how many bytes are free")?,
        }
        let Self {
            needed, reserve, ..
        } = self;
        write!(f, ", {needed} are needed (disk.reserve_bytes is {reserve})")
    }
}

impl Broker {
    /// Makes the journal's first files before there are clients. An empty directory must have room
    /// for one; any other serves what it has.
    pub(super) fn make_journal(&self, is_new: bool) -> Result<(), FileError> {
        let shared = &self.shared;
        match shared.ring.ensure_two() {
            Err(error) if error.is_disk_full() && !(is_new && shared.ring.is_empty()) => {
                shared.settle(Err(error));
                Ok(())
            }
            made => made,
        }
    }
}

impl Shared {
    /// Refuses what would take more room on a full disk.
    pub(super) fn check_room(&self) -> Result<(), Error> {
        self.check_running()?;
        match *lock(&self.shortage) {
            Some(shortage) => Err(Error::DiskFull(shortage)),
            None => Ok(()),
        }
    }

    /// Refuses what cannot be done once storage has failed.
    pub(super) fn check_running(&self) -> Result<(), Error> {
        if self.has_failed() {
            return Err(Error::ShuttingDown);
        }
        Ok(())
    }

    /// Refuses appends while the disk has less room than is to be left on it.
    pub(super) fn look_for_room(&self) -> Result<(), FileError> {
        let free = self.free_bytes()?;
        let reserve = self.options.disk_reserve_bytes;
        let is_short = free.is_some_and(|free| free < reserve);
        self.set_shortage(is_short.then_some(Shortage {
            free,
            needed: reserve,
            reserve,
        }));
        Ok(())
    }

    /// Whether appends are refused because the disk has too little room.
    pub(super) fn is_short_of_room(&self) -> bool {
        lock(&self.shortage).is_some()
    }

    /// Where there is too little room, has that made which something that was just deleted or
    /// trimmed takes: by a checkpoint, for which housekeeping would wait otherwise.
    pub(super) fn make_room_soon(&self) {
        if self.is_short_of_room() {
            self.housekeeping.ring();
        }
    }

    /// Whether there are deleted topics, or trimmed segments of which everything is kept that is
    /// to be kept: the next checkpoint lets them be removed.
    pub(super) fn has_what_to_remove(&self) -> bool {
        let has_retired = |topic: &Arc<Topic>| {
            let mut partitions = topic.partitions.iter();
            partitions.any(|partition| lock(&partition.log).has_retired())
        };
        let any_deleted = !self.topics().deleted.is_empty();
        any_deleted || self.all_topics().iter().any(has_retired)
    }

    /// How much room there is, if the file system says so. Only that the directory is gone is an
    /// error: not to know is no reason not to start, and whoever writes finds out.
    pub(super) fn free_bytes(&self) -> Result<Option<u64>, FileError> {
        let root = &self.options.data_dir;
        let is_gone = |kind| matches!(kind, ErrorKind::NotFound | ErrorKind::NotADirectory);
        match self.env.files.available_bytes(root) {
            Err(error) if !is_gone(error.kind()) => {
                tracing::debug!(%error, "the file system does not say how much room it has");
                Ok(None)
            }
            asked => asked.map_err(FileError::when(Action::LookForRoom, root)),
        }
    }

    /// What there is to know when something has found no room.
    pub(super) fn shortage_now(&self) -> Shortage {
        let reserve = self.options.disk_reserve_bytes;
        Shortage {
            free: self.free_bytes().ok().flatten(),
            needed: reserve.max(self.options.journal_file_bytes),
            reserve,
        }
    }

    /// Refuses appends because something has found no room.
    pub(super) fn note_full(&self) -> Shortage {
        let shortage = self.shortage_now();
        self.set_shortage(Some(shortage));
        shortage
    }

    fn set_shortage(&self, shortage: Option<Shortage>) {
        let before = std::mem::replace(&mut *lock(&self.shortage), shortage);
        match (before, shortage) {
            (None, Some(shortage)) => {
                tracing::warn!(
                    "the disk is full: {shortage}; appends and new topics are refused until there is room, all else \
                     is served"
                );
            }
            (Some(_), None) => {
                tracing::info!("there is room on the disk: appends are taken again");
            }
            _ => {}
        }
    }

    /// What a round's error means: what passes is tried again in the next one, anything else is
    /// final.
    pub(super) fn settle(&self, round: Result<(), FileError>) {
        match round {
            Ok(()) => {}
            Err(error) if error.is_disk_full() => {
                self.note_full();
            }
            Err(error) if error.meaning() == Meaning::Passing => drop(self.unavailable(&error)),
            Err(error) => self.fail(error.to_string()),
        }
    }

    /// As [`settle`](Self::settle), of work that only reads what is there and writes what is
    /// derived: of that nothing but a failed write or sync is final.
    pub(super) fn settle_derived(&self, work: Result<(), FileError>) {
        match work {
            Err(error) if error.meaning() == Meaning::Damage => drop(self.unavailable(&error)),
            work => self.settle(work),
        }
    }
}
