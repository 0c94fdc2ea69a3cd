//! Opening a data directory: loads the checkpoint, then replays the journal behind it, with the
//! code that applies live commits.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use super::{
    Broker, Options, Shared, Shortage, health::reserve_file, keys::Freeze, lock, state::Logs,
};
use crate::{
    budget::Name,
    catalog::{Catalog, Snapshot, Topic},
    env::Env,
    storage::{
        checkpoint::{self, Found},
        data_dir::{self, DataDir},
        fault::Meaning,
        files::{Action, FileError, read_file},
        format::{
            checkpoint::Checkpoint,
            entry::{DamagedItem, Item},
            frame::Frame,
            topic_file::TopicFile,
        },
        journal::{self, Covered, FirstOffsets, Lost, Replay},
    },
    types::{Offset, PartitionId, TopicId},
};

/// Why a broker cannot start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] data_dir::Error),
    /// The journal may have lost acknowledged entries.
    #[error(transparent)]
    Journal(#[from] journal::OpenError),
    /// The disk has no space for the files of a new data directory.
    #[error(
        "the disk has no room for a new data directory: {shortage}; free some space, or lower disk.reserve_bytes and \
         journal.file_bytes ({file_bytes}): {source}"
    )]
    NoRoom {
        shortage: Shortage,
        file_bytes: u64,
        source: FileError,
    },
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The operating system cannot start a thread.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}

/// How the logs of topics are opened.
enum Mode {
    /// The journal is whole behind the checkpoint, or from its beginning: logs are cut back to
    /// there.
    Cut,
    /// Something is lost: logs are opened with whatever sound frames the segments have.
    Scan { journaled: FirstOffsets },
}

impl Mode {
    /// The mode for this journal, with or without a checkpoint before it.
    fn of(replay: &Replay, has_checkpoint: bool) -> Result<Self, OpenError> {
        // A whole journal needs no checkpoint. Segments that no checkpoint covers are written
        // again, because a sync of them may have failed unnoticed.
        if replay.is_complete() || (has_checkpoint && !replay.is_damaged()) {
            return Ok(Self::Cut);
        }
        let journaled = replay.first_offsets()?;
        Ok(Self::Scan { journaled })
    }

    /// Logs what a start without the lost checkpoint has forgotten.
    fn warn_of_lost_checkpoint(&self) {
        if matches!(self, Self::Scan { .. }) {
            tracing::warn!(
                "the checkpoint is lost: all segments are looked through instead. What it said of producers and groups \
                 is forgotten, but for what the journal still says: producers that go on are refused until they are \
                 opened again, and what they send again then may be stored twice"
            );
        }
    }
}

/// How much of the journal a start has applied.
#[derive(Clone, Copy, Debug, Default)]
struct Replayed {
    entries: u64,
    bytes: u64,
}

impl OpenError {
    fn is_disk_full(&self) -> bool {
        match self {
            Self::DataDir(data_dir::Error::File(source))
            | Self::Journal(journal::OpenError::File(source))
            | Self::File(source) => source.is_disk_full(),
            _ => false,
        }
    }

    /// Adds the free and the needed space to an error of a full disk.
    fn with_shortage(self, env: &Env, options: &Options) -> Self {
        if !self.is_disk_full() {
            return self;
        }
        let source = match self {
            Self::DataDir(data_dir::Error::File(source))
            | Self::Journal(journal::OpenError::File(source))
            | Self::File(source) => source,
            other => return other,
        };
        let (reserve, file_bytes) = (options.disk_reserve_bytes, options.journal_file_bytes);
        let free = env.files.available_bytes(&options.data_dir).ok().flatten();
        Self::NoRoom {
            shortage: Shortage {
                free,
                held: 0,
                needed: reserve.max(file_bytes),
                reserve,
            },
            file_bytes,
            source,
        }
    }
}

impl Broker {
    /// Opens a data directory without starting threads: the caller takes their steps.
    pub(crate) fn open_stepped(env: Env, options: Options) -> Result<Self, OpenError> {
        let mut opened = Self::recover(env.clone(), options.clone());
        if let Err(error) = &opened
            && error.is_disk_full()
            && reserve_file(&env, &options).give_up()
        {
            tracing::info!("the start has found no room: that of the reserve file is given up");
            opened = Self::recover(env.clone(), options.clone());
        }
        opened.map_err(|error| error.with_shortage(&env, &options))
    }

    fn recover(env: Env, options: Options) -> Result<Self, OpenError> {
        let began = env.clock.elapsed();
        let dir = DataDir::open(&env, &options.data_dir)?;
        warn_if_volatile(&env, &options);
        let is_ours =
            |file: &Path, named| -> Result<(), OpenError> { Ok(dir.check_same(file, named)?) };
        let (found, deltas) = checkpoint::load(&*env.files, &dir.checkpoint(), is_ours)?;
        let never_written = matches!(found, Found::None);
        let (checkpoint, known) = match found {
            Found::Whole(checkpoint) => (checkpoint, true),
            Found::None | Found::Damaged => (Checkpoint::default(), false),
        };
        let covered = known.then(|| Covered::by(&checkpoint));
        let ring = journal::open(&env, &dir.journal(), options.journal(), covered)?;
        let replay = Replay::survey(
            &env,
            &ring,
            checkpoint.journal_file,
            known.then_some(checkpoint.applied),
        )?;
        let mode = Mode::of(&replay, known)?;
        let tip = replay.tip();
        let shared = Arc::new(Shared::new(
            env,
            options,
            dir,
            ring,
            checkpoint.clock,
            tip,
            deltas,
        ));
        let dirs = TopicDirs::list(&shared)?;
        let snapshot = match known {
            true => checkpoint.snapshot(|topic| !dirs.removed.contains(&topic)),
            false => {
                let is_new = never_written && dirs.present.is_empty() && replay.is_empty();
                if !is_new {
                    mode.warn_of_lost_checkpoint();
                }
                shared.snapshot_of_files(&dirs)?
            }
        };
        shared.restore(snapshot);
        shared.open_topics(&checkpoint, &mode)?;
        shared.hide_all();
        shared.hide_all_trimmed();
        lock(&shared.maintenance.housekeeper).note_removed(dirs.removed);
        let replayed = shared.replay(&replay, &mode)?;
        shared.partitions.open_to_appends();
        if checkpoint.clock.is_none() {
            let newest = || shared.newest_append_ms();
            shared.clock.go_on_from_newest(newest);
        }
        shared.sequencer.plan_anew();
        shared.note_access_tokens();
        shared.sessions.note_topics();
        shared.allow_compression_of_topics()?;

        let broker = Self {
            opened_at: shared.env.clock.elapsed(),
            shared,
            threads: Mutex::default(),
        };
        // After a clean stop nothing is left to settle. A new directory gets its first checkpoint
        // before its first entry: from then on, a missing checkpoint is known to be lost, and so is
        // a missing journal file that no checkpoint covers.
        let is_new = never_written && broker.shared.partitions.topics().by_name.is_empty();
        if !replay.is_empty() || !known || matches!(mode, Mode::Scan { .. }) {
            broker.settle_recovery(is_new)?;
        }
        broker.make_journal(is_new)?;
        // Now that all of it is in segments; unless a write has just found no room, whatever the
        // file system says.
        if !broker.shared.health.is_short_of_room() {
            broker.shared.health.look_for_room()?;
        }
        broker.tell_recovery(replayed, began);
        Ok(broker)
    }

    /// Says what was found, for the log.
    fn tell_recovery(&self, replayed: Replayed, began: Duration) {
        let topics = self.shared.partitions.all_topics();
        let partitions: usize = topics.iter().map(|topic| topic.partitions.len()).sum();
        let took = self.shared.env.clock.elapsed().saturating_sub(began);
        if topics.is_empty() && replayed.entries == 0 {
            tracing::info!("the data directory has no topics yet");
            return;
        }
        tracing::info!(
            topics = topics.len(),
            partitions,
            journal_entries = replayed.entries,
            journal_bytes = replayed.bytes,
            ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            "the data directory is recovered: what the journal had behind the last checkpoint was \
             applied"
        );
    }

    /// Makes the journal's first files before there are clients. A new directory must have space
    /// for one; any other serves what it has.
    fn make_journal(&self, is_new: bool) -> Result<(), FileError> {
        let shared = &self.shared;
        match shared.committer.ring.ensure_two() {
            Err(error) if error.is_disk_full() && !(is_new && shared.committer.ring.is_empty()) => {
                shared.health.settle(Err(error));
                Ok(())
            }
            made => made,
        }
    }

    /// Writes a checkpoint of what was recovered, so that nothing is replayed twice and the journal
    /// continues in a new file. If the disk is full, this is put off, unless it is the very first
    /// checkpoint.
    fn settle_recovery(&self, is_new: bool) -> Result<(), OpenError> {
        let mut housekeeper = lock(&self.shared.maintenance.housekeeper);
        match housekeeper.checkpoint(&self.shared, Freeze::Due) {
            Err(error) if error.meaning() == Meaning::Passing && !is_new => {
                self.shared.health.settle(Err(error));
            }
            settled => settled?,
        }
        Ok(())
    }
}

/// The topics that have directories.
struct TopicDirs {
    present: Vec<TopicId>,
    /// Topics that an earlier start began to remove.
    removed: Vec<TopicId>,
}

impl TopicDirs {
    fn list(shared: &Shared) -> Result<Self, FileError> {
        let files = &*shared.env.files;
        let path = shared.dir.topics();
        // After a crash of the process alone, the names in the directory may not be durable yet.
        files
            .sync_dir(&path)
            .map_err(FileError::when(Action::Sync, &path))?;
        let (mut present, mut removed) = (Vec::new(), Vec::new());
        let found = files.read_dir(&path);
        for entry in found.map_err(FileError::when(Action::List, &path))? {
            let (stem, list) = match entry.name.strip_suffix(".deleted") {
                Some(stem) => (stem, &mut removed),
                None => (&entry.name[..], &mut present),
            };
            // A topic may be marked as deleted by a file.
            let counts = entry.is_dir || stem.len() < entry.name.len();
            if let Some(id) = data_dir::parse_topic(stem).filter(|_| counts) {
                list.push(id);
            }
        }
        present.retain(|id| !removed.contains(id));
        Ok(Self { present, removed })
    }
}

/// Warns if the file system does not survive a power cut or restart.
fn warn_if_volatile(env: &Env, options: &Options) {
    let dir = &options.data_dir;
    // If this is not known, the start goes on nevertheless.
    if let Ok(Some(why)) = env.files.volatile(dir) {
        tracing::warn!(
            "data directory {} is on {why}: acknowledged means synced does not hold there, and a power cut takes what \
             was acknowledged",
            dir.display()
        );
    }
}

impl Shared {
    /// Restores the catalog from a snapshot.
    fn restore(&self, snapshot: Snapshot) {
        let mut restored = Catalog::restore(
            snapshot,
            self.options.producer_room,
            self.env.clock.elapsed(),
        );
        let most = self.options.remembered_batches;
        restored.producers.remember_at_most(most);
        let (now, idle) = (self.env.clock.elapsed(), self.options.producer_idle);
        restored.producers.begin(now, idle);
        *self.sequencer.applied() = restored;
    }

    /// The topics that have directories, according to their own files. What the lost checkpoint had
    /// of producers is lost.
    fn snapshot_of_files(&self, dirs: &TopicDirs) -> Result<Snapshot, FileError> {
        let mut snapshot = Snapshot::default();
        for &id in &dirs.present {
            let path = self.dir.topic(id).join("topic");
            let bytes = read_file(&*self.env.files, &path)?;
            let file = bytes.and_then(|bytes| TopicFile::decode(&bytes));
            let Some(file) = file.filter(|file| file.id == id) else {
                // If the topic was created behind the last checkpoint, the journal has it.
                tracing::warn!(path = %path.display(), "a topic's file is missing or damaged");
                continue;
            };
            file.add_to(&mut snapshot);
        }
        Ok(snapshot)
    }

    /// Opens the catalog's topics. Their logs end where the checkpoint says, or where their files
    /// end.
    fn open_topics(&self, checkpoint: &Checkpoint, mode: &Mode) -> Result<(), FileError> {
        let topics: Vec<Topic> = self.sequencer.applied().topics().iter().cloned().collect();
        let mut known = HashMap::with_capacity(checkpoint.topics.len());
        for topic in &checkpoint.topics {
            known.insert(topic.id, &topic.partitions[..]);
        }
        for topic in &topics {
            let partitions = known.get(&topic.id).copied().unwrap_or_default();
            let synced: Vec<Offset> = partitions.iter().map(|partition| partition.end).collect();
            let logs = match mode {
                Mode::Cut => Logs::Cut(partitions),
                Mode::Scan { journaled } => Logs::Scan {
                    starts: &topic.starts,
                    synced: &synced,
                    journaled,
                },
            };
            self.partitions.open_topic(topic, logs, None)?;
            if matches!(mode, Mode::Cut) {
                continue;
            }
            for (number, end) in (0..).zip(synced) {
                if let Some(found) = self
                    .partitions
                    .find_partition(topic.id, PartitionId(number))
                {
                    found.partition().pass_over_lost(end);
                }
            }
        }
        Ok(())
    }

    /// Applies the journal's entries.
    fn replay(&self, replay: &Replay, mode: &Mode) -> Result<Replayed, FileError> {
        for lost in replay.lost() {
            tracing::error!(
                from = lost.sequences.start,
                to = lost.sequences.end,
                "journal entries are damaged; reading the records that were in them gives DATA_LOSS"
            );
        }
        match replay.keep_torn(&self.dir.aside()) {
            Ok(Some(path)) => {
                tracing::info!(kept = %path.display(), "cut off the end of the journal, which was never acknowledged");
            }
            Ok(None) => {}
            Err(error) if error.is_disk_full() => {
                tracing::warn!(
                    %error,
                    "cut off the end of the journal, which was never acknowledged; there is no room to keep it"
                );
            }
            Err(error) => return Err(error),
        }
        let logs = match mode {
            Mode::Cut => Logs::Cut(&[]),
            Mode::Scan { journaled } => Logs::Scan {
                starts: &[],
                synced: &[],
                journaled,
            },
        };
        let now = self.env.clock.elapsed();
        let mut housekeeper = lock(&self.maintenance.housekeeper);
        let (mut bytes, mut replayed) = (0, Replayed::default());
        let mut lost = replay.lost().iter().peekable();
        for entry in replay.entries() {
            let entry = entry?;
            while let Some(lost) = lost.next_if(|lost| lost.sequences.end <= entry.link.sequence) {
                self.replay_loss(lost);
            }
            bytes += entry.length;
            replayed.entries += 1;
            replayed.bytes += entry.length as u64;
            for item in entry.items {
                match item {
                    Ok(Item::Change(change)) => self.apply_change(&change, logs, None)?,
                    Ok(Item::Frame(frame)) => self.replay_frame(frame, now),
                    Err(damaged) => self.replay_damage(&damaged, entry.link.sequence),
                }
            }
            if bytes > self.budget.part(Name::Appends).bound() / 2 {
                housekeeper.write_out(&self.partitions)?;
                bytes = 0;
            }
        }
        Ok(replayed)
    }

    /// The newest append time of all partitions; `None` without records.
    fn newest_append_ms(&self) -> Option<i64> {
        let mut newest = None;
        for topic in self.partitions.all_topics() {
            for partition in topic.partitions.iter() {
                newest = newest.max(Some(lock(&partition.next).append_time_ms));
            }
        }
        newest.filter(|newest| *newest > i64::MIN)
    }

    fn replay_frame(&self, frame: Frame, now: Duration) {
        let header = *frame.header();
        // The topic may be deleted by a later entry.
        let Some(found) = self
            .partitions
            .find_partition(header.topic, header.partition)
        else {
            return;
        };
        let partition = found.partition();
        let mut next = lock(&partition.next);
        if header.base > next.offset {
            // The records in between are in no file.
            next.keys.lose(header.base, &mut lock(&partition.log));
        }
        if header.base >= next.offset {
            next.keys.add_again(&found.topic, &frame);
        }
        lock(&partition.log).apply(frame, None);
        {
            let log = lock(&partition.log);
            (next.offset, next.appended_bytes) = (log.end(), log.appended_bytes());
        }
        next.append_time_ms = next.append_time_ms.max(header.append_time_ms);
        drop(next);
        self.apply_batch(&header, now);
        self.partitions.mark_dirty(&found);
    }

    /// Skips the records of lost entries, as far as sound frames among their remains tell.
    fn replay_loss(&self, lost: &Lost) {
        for header in &lost.frames {
            let Some(found) = self
                .partitions
                .find_partition(header.topic, header.partition)
            else {
                continue;
            };
            let partition = found.partition();
            // Something that only looks like a frame, such as a record's value, must not move the
            // log's end.
            let behind = lock(&partition.log).end();
            if header.end().0.saturating_sub(behind.0) <= lost.bytes {
                partition.pass_over_lost(header.end());
            }
        }
    }

    fn replay_damage(&self, damaged: &DamagedItem, sequence: u64) {
        let Some(header) = damaged.frame else {
            tracing::error!(
                sequence,
                "a journal entry is damaged; what it said of a topic is lost"
            );
            return;
        };
        let (partition, from, to) = (header.partition.0, header.base.0, header.end().0);
        tracing::error!(sequence, topic = %header.topic, partition, from, to,
            "a journal entry is damaged");
        if let Some(found) = self
            .partitions
            .find_partition(header.topic, header.partition)
        {
            found.partition().pass_over_lost(header.end());
        }
    }
}
