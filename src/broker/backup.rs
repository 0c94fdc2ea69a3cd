//! Backups: the whole data directory as it is at one journal entry, copied while the broker goes
//! on.
//!
//! First a checkpoint is written, and the frames that came meanwhile are moved to segments, so that
//! little is left to move. Then the journal is held for a moment: the rest is moved, and the
//! catalog and the views of all partitions are taken. While the backup lasts, no file of these
//! views changes or is removed, and the space of replaced files is not given back. So there is one
//! backup at a time, it ends when the disk is short of space, and its client must not stall.

use std::{
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::{Notify, futures::Notified};

use super::{
    Broker, Error, Kind, Shared, commit::Commit, health::Health, housekeeping::Housekeeper,
    keys::Freeze, lock,
};
use crate::{
    storage::{
        backup::{Image, ImageParts},
        files::FileError,
        format::{
            checkpoint::{Checkpoint, JournalFiles, Topic},
            entry::Item,
        },
        journal::KeptFile,
    },
    types::{AppendsFrom, limits},
};

/// The backup under way, if there is one.
#[derive(Default)]
pub(super) struct Backups {
    under_way: Mutex<Weak<Pinned>>,
    ended: Arc<Notify>,
}

/// Held by the backup under way: while it exists, no other can begin, and the files of deleted
/// topics stay.
struct Pinned {
    ended: Arc<Notify>,
}

impl Drop for Pinned {
    fn drop(&mut self) {
        self.ended.notify_waiters();
    }
}

/// The data directory at one journal entry. Its files stay until this is dropped.
pub(crate) struct Backup {
    image: Image,
    health: Arc<Health>,
    _pinned: Arc<Pinned>,
}

/// Why a backup cannot begin, or ended before it was complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BackupRefused {
    #[error(
        "another backup is being taken, and there is one at a time: try again when it is done; one whose client takes \
         nothing is ended after {} s",
        limits::BACKUP_STALLED_MS / 1_000
    )]
    UnderWay,
    #[error(
        "the backup was ended because its client took nothing for {} s: take it again, and it goes on from there",
        limits::BACKUP_STALLED_MS / 1_000
    )]
    Ended,
}

impl BackupRefused {
    /// What the caller should do.
    pub(super) fn kind(self) -> Kind {
        match self {
            Self::UnderWay => Kind::ResourceExhausted,
            Self::Ended => Kind::Unavailable,
        }
    }

    /// The reason in `google.rpc.ErrorInfo`.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::UnderWay => "BACKUP_UNDER_WAY",
            Self::Ended => "BACKUP_ENDED",
        }
    }
}

impl Backups {
    /// Whether a backup is under way, so that the files of deleted topics must stay.
    pub(super) fn is_any_under_way(&self) -> bool {
        lock(&self.under_way).strong_count() > 0
    }

    fn begin(&self) -> Result<Arc<Pinned>, Error> {
        let mut under_way = lock(&self.under_way);
        if under_way.strong_count() > 0 {
            return Err(BackupRefused::UnderWay.into());
        }
        let pinned = Arc::new(Pinned {
            ended: Arc::clone(&self.ended),
        });
        *under_way = Arc::downgrade(&pinned);
        Ok(pinned)
    }
}

impl Broker {
    /// Begins a backup of all that is durable now. Writes a checkpoint on this thread.
    pub(crate) fn begin_backup(&self) -> Result<Backup, Error> {
        let shared = &self.shared;
        shared.health.check_room()?;
        let pinned = shared.maintenance.backups.begin()?;
        let mut housekeeper = lock(&shared.maintenance.housekeeper);
        shared.kept.forget_if_closed();
        let parts = housekeeper.at_one_entry(shared, |shared, entry| {
            // Now, so that no erasure comes in between.
            let is_kept = shared.kept.begin_behind(entry);
            (shared.image_parts(entry), is_kept)
        });
        let parts = parts.and_then(|(mut parts, is_kept)| {
            if is_kept {
                parts.kept = shared.keep_until(&mut housekeeper, parts.checkpoint.applied)?;
            }
            Ok(parts)
        });
        drop(housekeeper);
        let dir = &shared.dir;
        let image = parts
            .and_then(|parts| Image::new(&shared.env.files, dir.root(), dir.identity(), parts));
        let image = image.map_err(|error| shared.failed_to_begin(error))?;
        Ok(Backup {
            image,
            health: Arc::clone(&shared.health),
            _pinned: pinned,
        })
    }
}

impl Broker {
    /// Resolves when no backup is under way any more.
    pub(crate) fn backup_ended(&self) -> Notified<'_> {
        self.shared.maintenance.backups.ended.notified()
    }

    /// The age of the latest backup that was sent completely; without one, the time since the
    /// start.
    pub(crate) fn backup_age(&self) -> Duration {
        let taken = Duration::from_millis(self.shared.counts.backup.begun_ms.get());
        let since = taken.max(self.opened_at);
        self.shared.env.clock.elapsed().saturating_sub(since)
    }
}

impl Shared {
    /// The content of the data directory at this journal entry. The caller holds the journal, so
    /// nothing is applied meanwhile, and has moved all frames to segments.
    fn image_parts(&self, entry: u64) -> ImageParts {
        let now_ms = self.clock.now_ms();
        let snapshot = self.sequencer.applied().snapshot_of_topics();
        let mut described = Vec::with_capacity(snapshot.topics.len());
        let mut topic_files = Vec::with_capacity(snapshot.topics.len());
        let mut partitions = Vec::new();
        for topic in snapshot.topics {
            let Some(open) = self.partitions.topics().find_by_id(topic.id).cloned() else {
                continue;
            };
            let mut reach = Vec::with_capacity(open.partitions.len());
            for partition in open.partitions.iter() {
                // An append holds this from when it has its time until it is queued.
                drop(lock(&partition.next));
                let (view, at) = lock(&partition.log).image();
                reach.push(at);
                if !view.is_nothing() {
                    partitions.push((view, at));
                }
            }
            topic_files.push(self.topic_file(&topic));
            described.push(Topic {
                id: topic.id,
                seed: topic.seed,
                name: topic.name,
                settings: topic.settings,
                partitions: reach,
            });
        }
        let checkpoint = Checkpoint {
            applied: entry,
            // The copy has no journal: its first file will be this one.
            journal_file: 1,
            topics: described,
            producers: self.sequencer.all_producers(),
            erasures: snapshot.erasures,
            clock: Some(self.clock.to_store()),
            journal: JournalFiles::default(),
            directory: Some(self.dir.identity()),
            delta_files: 0,
            groups: self.sequencer.all_groups(),
            key_trims: snapshot.key_trims,
            access_tokens: snapshot.access_tokens,
        };
        ImageParts {
            checkpoint,
            partitions,
            topic_files,
            kept: Vec::new(),
            taken_ms: self.before_all_queued(now_ms),
        }
    }

    /// A time at or before `now_ms` that no queued record has, and none that is queued later: all
    /// that are as old are committed. Whatever was given a time before `now_ms` must be queued.
    fn before_all_queued(&self, now_ms: i64) -> i64 {
        let mut earliest_ms = now_ms;
        for append_ms in self.committer.queue.of_queued(append_times) {
            earliest_ms = earliest_ms.min(append_ms);
        }
        earliest_ms.saturating_sub(1)
    }

    /// The kept files with the entries up to this one.
    fn keep_until(
        &self,
        housekeeper: &mut Housekeeper,
        entry: u64,
    ) -> Result<Vec<KeptFile>, FileError> {
        // A checkpoint behind the journal's files up to now brings their entries to kept files.
        self.committer.leave_journal_file()?;
        housekeeper.checkpoint(self, Freeze::Due)?;
        self.kept.end_at(entry);
        Ok(self.kept.until(entry))
    }

    fn failed_to_begin(&self, error: FileError) -> Error {
        let failed = unavailable(&error);
        self.health.settle_derived(Err(error));
        match self.health.has_failed() {
            true => Error::ShuttingDown,
            false => failed,
        }
    }
}

impl Backup {
    /// The files of the backup.
    pub(crate) fn image(&self) -> &Image {
        &self.image
    }

    /// Leaves out journal entries that a client with these files does not need.
    pub(crate) fn leave_out_kept(&mut self, has: impl Fn(&str) -> bool) {
        self.image.leave_out_kept(has);
    }

    /// Reads bytes of a file.
    pub(crate) fn read(&mut self, at: usize, position: u64, len: u64) -> Result<Bytes, Error> {
        self.check()?;
        self.image
            .read(at, position, len)
            .map_err(|error| unavailable(&error))
    }

    /// The position from which a client lacks the file, if it has one of this length and with this
    /// checksum of its two ends; 0 if it has none, or a different one.
    pub(crate) fn missing_from(
        &mut self,
        at: usize,
        had: Option<(u64, u32)>,
    ) -> Result<u64, Error> {
        self.check()?;
        self.image
            .missing_from(at, had)
            .map_err(|error| unavailable(&error))
    }

    /// Fails if the disk is short of space, which the backup's files take.
    fn check(&self) -> Result<(), Error> {
        self.health.check_room()
    }
}

/// The append times of a commit's records, apart from those that are imported.
fn append_times(commit: &Commit) -> Vec<i64> {
    let mut times = Vec::new();
    let mut partitions = commit.partitions.iter();
    for item in &commit.items {
        let Item::Frame(frame) = item else { continue };
        let partition = partitions.next();
        let partition = partition.expect("every frame was queued with its partition");
        if partition.topic.settings().appends == AppendsFrom::Clients {
            times.push(frame.header().append_time_ms);
        }
    }
    times
}

fn unavailable(error: &FileError) -> Error {
    Error::StorageUnavailable {
        cause: error.to_string(),
    }
}
