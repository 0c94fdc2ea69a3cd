//! Checkpoints, and the removal of files that are not needed any more.
//!
//! The order of steps makes every crash harmless. First deleted topics are renamed. Then topics'
//! files, frames and segments become durable. Then the checkpoint is written. Only then are journal
//! files released, and the files of deleted topics and trimmed segments removed.
//!
//! Trimmed segments of a partition that has too much on the disk are removed earlier: the state of
//! the partition is added to the last checkpoint, which covers no more entries for that, so frames
//! that are in memory stay there.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{
    Broker, Error, Shared,
    deletion::{remove_deleted, rename_topic},
    groups::Watch,
    keys::{Freeze, Upkeep},
    lock,
    partitions::Partitions,
    state::{DeletedTopic, PartitionRef},
    write_out::{MOST_HELD, Waits, WriteOut},
};
use crate::{
    catalog::{
        self,
        groups::{self, Place},
    },
    env::Env,
    storage::{
        checkpoint,
        fault::Meaning,
        files::{Action, FileError, ensure_dir, replace_file},
        format::{
            checkpoint::{self as stored, Checkpoint},
            delta::{ChangedTopic, Delta},
            topic_file::TopicFile,
        },
        log::{remove_gone, remove_trimmed},
    },
    types::TopicId,
};

/// An idle broker writes a checkpoint this long after the last one, if something was appended
/// since, or if something waits for a checkpoint: files to remove, or sealed segments that it must
/// know. So the last write to the journal does not remain the only copy, and nothing waits for the
/// next append.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(10);

/// How often housekeeping checks what nothing notifies it of: free space on the disk, the machine's
/// clock, the age of segments.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How many times new records are moved to segments before appends are stopped at a journal entry.
/// Each round leaves only what was appended during it, so the last move, for which appends wait, is
/// small.
const ROUNDS_BEFORE_AN_ENTRY: usize = 2;

/// When the first round is due.
pub(super) fn first_round(env: &Env) -> Duration {
    env.clock.elapsed().saturating_add(LOOK_EVERY)
}

/// What housekeeping remembers between two rounds.
pub(super) struct Housekeeper {
    /// Writes checkpoints.
    checkpoints: checkpoint::Writer,
    /// The last checkpoint, without producers and groups.
    last: Checkpoint,
    /// Moves frames into segments.
    segments: WriteOut,
    /// Deleted topics whose directories are renamed and must still be removed.
    renamed: Vec<DeletedTopic>,
    /// Partitions with segments that may be removed once the checkpoint that is being written is
    /// durable.
    leaving: Vec<PartitionRef>,
    /// Partitions with segments to remove that somebody was still reading.
    in_use: Vec<PartitionRef>,
    /// When the age of segments was last checked.
    looked_at: Duration,
    /// The last entry that the checkpoint on disk covers.
    checkpointed: u64,
    checkpointed_at: Duration,
    /// Since when a checkpoint that is due is put off.
    put_off: Option<Duration>,
    /// Which stalled partitions of groups were logged.
    pub(super) group_watch: Watch,
}

impl Housekeeper {
    pub(super) fn new(checkpoints: checkpoint::Writer, segments: WriteOut) -> Self {
        Self {
            checkpoints,
            last: Checkpoint::default(),
            segments,
            renamed: Vec::new(),
            leaving: Vec::new(),
            in_use: Vec::new(),
            looked_at: Duration::ZERO,
            checkpointed: 0,
            checkpointed_at: Duration::ZERO,
            put_off: None,
            group_watch: Watch::default(),
        }
    }

    /// Adds topics whose removal began before the last start.
    pub(super) fn note_removed(&mut self, topics: Vec<TopicId>) {
        self.renamed
            .extend(topics.into_iter().map(DeletedTopic::found));
    }

    pub(super) fn round(
        &mut self,
        shared: &Shared,
        checkpoint_wanted: bool,
    ) -> Result<(), FileError> {
        let now = shared.env.clock.elapsed();
        let urgent = self.is_checkpoint_urgent(shared);
        let due = self.is_checkpoint_due(shared, now);
        shared.count_remembered();
        shared.producer_memory.say_forgotten(now);
        if now.saturating_sub(self.looked_at) >= LOOK_EVERY {
            self.looked_at = now;
            self.seal_due(&shared.partitions, shared.clock.now_ms())?;
            self.in_use = shared.partitions.with_gone_segments();
        }
        self.remove_in_use(&shared.partitions)?;
        self.remove_early(shared)?;
        self.keep_retention(shared)?;
        let due = due || shared.journal_wants_checkpoint();
        let is_time = match self.segments.waits(now) {
            Waits::No => due,
            Waits::Yes => due && self.has_put_off(now),
            Waits::TooLong => true,
        };
        if checkpoint_wanted || urgent || is_time {
            self.checkpoint(shared, Freeze::Due)?;
        } else if shared.memory.is_pressed() || shared.health.is_short_of_room() {
            // Memory counts for more than what it takes on the disk.
            self.write_within_limits(&shared.partitions)?;
        }
        shared.committer.ring.ensure_two()?;
        shared.committer.ring.prepare_next()?;
        shared.free_if_short();
        shared.health.keep_reserve()?;
        shared.health.look_for_room()
    }

    /// Whether a checkpoint must not be put off: it frees memory or room.
    fn is_checkpoint_urgent(&self, shared: &Shared) -> bool {
        let owner = &shared.partitions;
        let makes_room = || shared.health.is_short_of_room() && self.has_what_to_remove(owner);
        owner.key_memory.is_pressed() || makes_room()
    }

    /// Notes that a checkpoint is put off, because it would write out all that is in memory.
    /// Returns whether one has been put off for so long already that it must be written.
    fn has_put_off(&mut self, now: Duration) -> bool {
        let since = *self.put_off.get_or_insert(now);
        now.saturating_sub(since) >= MOST_HELD
    }

    /// Whether a checkpoint is due without being asked for.
    fn is_checkpoint_due(&self, shared: &Shared, now: Duration) -> bool {
        let owner = &shared.partitions;
        if shared.clock.is_stored_time_old() {
            return true;
        }
        let is_time = now.saturating_sub(self.checkpointed_at) >= CHECKPOINT_EVERY;
        let is_behind = || shared.committer.applied() > self.checkpointed;
        is_time && (is_behind() || self.has_what_to_remove(owner) || owner.has_unknown_segments())
    }

    /// When the next round is due: at the next check, or earlier if an idle broker must write a
    /// checkpoint.
    pub(super) fn next_round(&self, shared: &Shared) -> Duration {
        let now = shared.env.clock.elapsed();
        let look = now.saturating_add(LOOK_EVERY);
        let checkpoint = self.checkpointed_at.saturating_add(CHECKPOINT_EVERY);
        let applied = shared.committer.applied();
        // A checkpoint that is overdue was tried in this round already.
        if applied > self.checkpointed && checkpoint > now {
            look.min(checkpoint)
        } else {
            look
        }
    }

    /// Moves frames of all dirty partitions to segments. If there are many segments, syncs them as
    /// well, so that a checkpoint has few left to sync: no memory is freed while it does.
    pub(super) fn write_out(&mut self, owner: &Partitions) -> Result<(), FileError> {
        self.segments.write_some_out(owner)
    }

    /// As [`write_out`](Self::write_out), as far as the partitions' limits allow.
    pub(super) fn write_within_limits(&mut self, owner: &Partitions) -> Result<(), FileError> {
        self.segments.write_within_limits(owner)
    }

    /// Whether a partition must keep frames in memory until trimmed segments are removed.
    pub(super) fn holds(&self, place: Place) -> bool {
        self.segments.is_held(place)
    }

    /// Notes whether a partition must keep frames in memory until trimmed segments are removed.
    pub(super) fn look_at_held(&mut self, owner: &Partitions, partition: &PartitionRef) {
        self.segments.look_at_held(owner, partition);
    }

    /// Whether a checkpoint that the journal wants is to begin now.
    pub(super) fn wants_checkpoint(&self, shared: &Shared) -> bool {
        let now = shared.env.clock.elapsed();
        shared.journal_wants_checkpoint() && self.segments.waits(now) != Waits::Yes
    }

    /// Removes trimmed segments of partitions that have too much on the disk.
    fn remove_early(&mut self, shared: &Shared) -> Result<(), FileError> {
        let owner = &shared.partitions;
        let mut these = Vec::new();
        for (topic, partition) in owner.retention.take_to_remove() {
            let found = owner.find_partition(topic, partition);
            these.extend(found.filter(|at| !at.is_deleted()));
        }
        if these.is_empty() {
            return Ok(());
        }
        match self.store_trimmed(shared, &these) {
            Ok(true) => {}
            Ok(false) => return self.checkpoint(shared, Freeze::Due),
            // A checkpoint may take the reserve for it.
            Err(error) if error.is_disk_full() => return self.checkpoint(shared, Freeze::Due),
            Err(error) => return Err(error),
        }
        for at in these {
            if !remove_trimmed(&at.partition().log, &owner.segments)? {
                self.in_use.push(at.clone());
            }
            let place = (at.topic.id, at.partition().id);
            self.leaving
                .retain(|other| (other.topic.id, other.partition().id) != place);
            self.segments.wait_anew(place);
            owner.retention.look_now(place);
        }
        Ok(())
    }

    /// Adds to the last checkpoint where these partitions start, and which of their segments there
    /// are, so that trimmed segments can be removed. It covers no more entries for that, so nothing
    /// needs to be written out. Returns whether that was possible.
    fn store_trimmed(
        &mut self,
        shared: &Shared,
        these: &[PartitionRef],
    ) -> Result<bool, FileError> {
        if !self.checkpoints.can_add() || these.iter().any(|at| self.last_of(at).is_none()) {
            return Ok(false);
        }
        store_topics(shared)?;
        self.segments.sync(&shared.partitions, these)?;
        let mut topics: BTreeMap<TopicId, ChangedTopic> = BTreeMap::new();
        for at in these {
            // They leave behind the next checkpoint, if this fails.
            self.leaving.push(at.clone());
            let mut log = lock(&at.partition().log);
            log.begin_leaving();
            let id = at.topic.id;
            let topic = topics.entry(id).or_insert_with(|| ChangedTopic::of(id));
            topic.partitions.push((at.partition().id, log.checkpoint()));
        }
        let last = &self.last;
        let delta = Delta {
            applied: last.applied,
            journal_file: last.journal_file,
            clock: last.clock.unwrap_or_default(),
            journal: last.journal,
            topics: topics.into_values().collect(),
            ..Delta::default()
        };
        self.checkpoints.add(&*shared.env.files, &delta)?;
        for at in these {
            let mut changed = delta.topics.iter().filter(|topic| topic.id == at.topic.id);
            let changed = changed.find_map(|topic| topic.state_of(at.partition().id));
            if let (Some(state), Some(known)) = (changed, self.last_of(at)) {
                *known = state;
                at.partition().note_checkpoint(&state);
            }
        }
        Ok(true)
    }

    /// What the last checkpoint says of a partition; `None` if it does not know it.
    fn last_of(&mut self, at: &PartitionRef) -> Option<&mut stored::Partition> {
        let mut topics = self.last.topics.iter_mut();
        let topic = topics.find(|topic| topic.id == at.topic.id)?;
        topic.partitions.get_mut(at.at)
    }

    /// Seals segments that are as old as their topics' settings allow, or trimmed.
    fn seal_due(&mut self, owner: &Partitions, now_ms: i64) -> Result<(), FileError> {
        for topic in owner.all_topics() {
            let settings = topic.settings();
            for partition in topic.partitions.iter() {
                let is_trimmed = lock(&partition.writer).seal_if_due(
                    &partition.log,
                    &owner.segments,
                    &settings,
                    now_ms,
                )?;
                if is_trimmed {
                    owner.health.make_room_soon();
                }
            }
        }
        Ok(())
    }

    /// Brings everything that is applied to segments, and writes a checkpoint that says so.
    pub(super) fn checkpoint(&mut self, shared: &Shared, freeze: Freeze) -> Result<(), FileError> {
        shared.memory.begin_checkpoint();
        self.put_off = None;
        let began = shared.env.clock.elapsed();
        let mut written = self.write_checkpoint(shared, freeze);
        if is_full(&written) && shared.health.give_up_reserve() {
            written = self.write_checkpoint(shared, freeze);
        }
        match &written {
            Ok(()) => {
                let took = self.checkpointed_at.saturating_sub(began);
                let counts = &shared.counts.checkpoint;
                counts.note(took, self.checkpointed_at, self.checkpointed);
            }
            Err(_) => shared.memory.fail_checkpoint(),
        }
        written
    }

    /// Looks at the data directory as it is at one journal entry, when no frame is in memory alone.
    pub(super) fn at_one_entry<T>(
        &mut self,
        shared: &Shared,
        look: impl FnOnce(&Shared, u64) -> T,
    ) -> Result<T, FileError> {
        self.checkpoint(shared, Freeze::Due)?;
        // So that little is left for the moment in which nothing can be appended.
        for _ in 0..ROUNDS_BEFORE_AN_ENTRY {
            self.write_out(&shared.partitions)?;
        }
        shared.committer.between_entries(|entry| {
            self.write_out(&shared.partitions)?;
            Ok(look(shared, entry))
        })?
    }

    fn write_checkpoint(&mut self, shared: &Shared, freeze: Freeze) -> Result<(), FileError> {
        let applied = shared.committer.applied();
        shared
            .partitions
            .freeze_tables(freeze, shared.options.journal_file_bytes);
        self.rename_deleted(&shared.partitions)?;
        store_topics(shared)?;
        self.segments.write_all_out(&shared.partitions)?;
        self.collect_trimmed(&shared.partitions);
        let snapshot = shared.sequencer.applied().snapshot_of_topics();
        let content = Checkpoint {
            applied,
            journal_file: shared.committer.ring.file_of(applied + 1),
            topics: shared.partitions.describe_topics(snapshot.topics),
            producers: Vec::new(),
            erasures: snapshot.erasures,
            clock: Some(shared.clock.to_store()),
            journal: shared.committer.ring.files(),
            directory: Some(shared.dir.identity()),
            delta_files: 0,
            groups: groups::Snapshot::default(),
            key_trims: snapshot.key_trims,
            access_tokens: snapshot.access_tokens,
        };
        // Before the checkpoint, so that a crash leaves no entry that is in neither.
        shared.keep_entries_before(content.journal_file);
        // Before anything else can fail, because the next delta must be relative to what is stored.
        self.last = self.store(shared, content)?;
        self.checkpointed = applied;
        self.checkpointed_at = shared.env.clock.elapsed();
        shared.committer.ring.release_before(self.last.journal_file);
        shared
            .memory
            .end_checkpoint(shared.committer.ring.used_bytes());
        shared.partitions.note_checkpoint(&self.last);
        self.remove_leftovers(shared)
    }

    /// Completes a checkpoint with producers and groups and makes it durable, as a delta or as a
    /// whole. Returns it without producers and groups.
    fn store(&mut self, shared: &Shared, mut content: Checkpoint) -> Result<Checkpoint, FileError> {
        let files = &*shared.env.files;
        if self.checkpoints.takes_deltas() {
            let (producers, topics_gone) = shared.sequencer.changed_producers();
            let groups = shared.sequencer.changed_groups();
            let delta = Delta::between(&self.last, &content, producers, groups, topics_gone);
            self.checkpoints.add(files, &delta)?;
        } else {
            content.producers = shared.sequencer.known_producers();
            content.groups = shared.sequencer.known_groups();
            self.checkpoints.store(files, &mut content)?;
            content.producers = Vec::new();
            content.groups = groups::Snapshot::default();
        }
        Ok(content)
    }

    /// Marks the directories of deleted topics by another name. They are removed after the
    /// checkpoint.
    fn rename_deleted(&mut self, owner: &Partitions) -> Result<(), FileError> {
        let mut deleted = std::mem::take(&mut owner.topics_mut().deleted).into_iter();
        let any = deleted.len() > 0;
        while let Some(topic) = deleted.next() {
            if let Err(error) = rename_topic(owner, topic.id) {
                let undone = std::iter::once(topic).chain(deleted);
                owner.topics_mut().deleted.extend(undone);
                return Err(error);
            }
            self.segments.forget(topic.id);
            self.renamed.push(topic);
        }
        if any {
            let topics = owner.dir.topics();
            owner
                .env
                .files
                .sync_dir(&topics)
                .map_err(FileError::when(Action::Sync, &topics))?;
        }
        Ok(())
    }

    /// Collects the segments that are trimmed now; those trimmed later wait for the next
    /// checkpoint.
    fn collect_trimmed(&mut self, owner: &Partitions) {
        for topic in owner.all_topics() {
            for at in 0..topic.partitions.len() {
                if lock(&topic.partitions[at].log).begin_leaving() {
                    self.leaving.push(PartitionRef {
                        topic: Arc::clone(&topic),
                        at,
                    });
                }
            }
        }
    }

    /// Whether a checkpoint would allow files to be removed.
    fn has_what_to_remove(&self, owner: &Partitions) -> bool {
        let is_left = !self.leaving.is_empty() || !self.renamed.is_empty();
        is_left || owner.has_what_to_remove()
    }

    /// Tries again to remove segments that somebody was reading.
    fn remove_in_use(&mut self, owner: &Partitions) -> Result<(), FileError> {
        for at in std::mem::take(&mut self.in_use) {
            if !at.is_deleted() && !remove_gone(&at.partition().log, &owner.segments)? {
                self.in_use.push(at);
            }
        }
        Ok(())
    }

    /// Removes the files that the checkpoint on disk does not need.
    fn remove_leftovers(&mut self, shared: &Shared) -> Result<(), FileError> {
        let owner = &shared.partitions;
        while let Some(at) = self.leaving.last() {
            if !at.is_deleted() && !remove_trimmed(&at.partition().log, &owner.segments)? {
                self.in_use.push(at.clone());
            }
            self.leaving.pop();
        }
        if shared.maintenance.backups.is_any_under_way() {
            // It may have the files of deleted topics.
            return Ok(());
        }
        while let Some(topic) = self.renamed.last() {
            remove_deleted(owner, topic.id)?;
            self.renamed.pop();
        }
        Ok(())
    }
}

fn is_full(written: &Result<(), FileError>) -> bool {
    written.as_ref().is_err_and(FileError::is_disk_full)
}

/// Writes the topic files that have changed.
fn store_topics(shared: &Shared) -> Result<(), FileError> {
    let files = &*shared.env.files;
    let mut created = false;
    for topic in shared.partitions.all_topics() {
        if !topic.file_is_stale.swap(false, Ordering::AcqRel) {
            continue;
        }
        let known = shared.sequencer.applied().topics().get(topic.id).cloned();
        let Some(known) = known else { continue };
        let (path, content) = shared.topic_file(&known);
        // The name of an existing directory may not be durable either.
        created = true;
        let stored = ensure_dir(files, &shared.dir.topic(topic.id))
            .and_then(|_| replace_file(files, &path, &content));
        stored.inspect_err(|_| topic.file_is_stale.store(true, Ordering::Release))?;
    }
    if created {
        let topics = shared.dir.topics();
        files
            .sync_dir(&topics)
            .map_err(FileError::when(Action::Sync, &topics))?;
    }
    Ok(())
}

impl Shared {
    /// The file that describes a topic, with its content.
    pub(super) fn topic_file(&self, known: &catalog::Topic) -> (PathBuf, Vec<u8>) {
        let content = TopicFile {
            id: known.id,
            seed: known.seed,
            name: known.name.clone(),
            settings: known.settings.clone(),
            starts: known.starts.clone(),
            erasures: self.waiting_erasures(known.id),
            key_trims: self.waiting_key_trims(known.id),
        };
        (self.dir.topic(known.id).join("topic"), content.encode())
    }

    /// Keeps the entries of journal files before this number, which a checkpoint is about to
    /// release.
    fn keep_entries_before(&self, number: u64) {
        let released = self.committer.ring.used_before(number);
        // A backup under way sends the kept files.
        let may_remove = !self.maintenance.backups.is_any_under_way();
        self.kept.keep(&released, may_remove);
    }

    /// Frees the space of removed files at once, if it is needed.
    fn free_if_short(&self) {
        // A backup under way sends what is kept, and ends itself where there is no room.
        if self.health.is_short_of_room() && !self.maintenance.backups.is_any_under_way() {
            self.kept.give_up();
        }
        let freeing = self.partitions.segments.freeing();
        while self.health.is_short_of_room() && freeing.step() {}
    }

    /// Whether a checkpoint should begin because of the journal: a quarter of its files have
    /// entries that no checkpoint covers and another is in use, so appends have most of the journal
    /// while the checkpoint is written; or an append waits for one.
    pub(super) fn journal_wants_checkpoint(&self) -> bool {
        let (used, most) = self.committer.ring.fill();
        used > (most / 4).max(1) || self.memory.waits_for_checkpoint()
    }
}

impl Broker {
    /// Writes a checkpoint on this thread.
    pub(crate) fn checkpoint_now(&self) -> Result<(), Error> {
        if self.shared.health.has_failed() {
            return Err(Error::OutcomeUnknown);
        }
        let done =
            lock(&self.shared.maintenance.housekeeper).checkpoint(&self.shared, Freeze::ForClose);
        let keep_indexes = || self.shared.partitions.keep_indexes(Upkeep::Wanted);
        let done = done.and_then(|()| match keep_indexes() {
            // Indexes are derived: what cannot be read for them now is read after the next start.
            Err(error) if error.meaning() != Meaning::Fatal && !error.is_disk_full() => {
                self.shared.health.settle_derived(Err(error));
                Ok(())
            }
            kept => kept,
        });
        let passing = match &done {
            Err(error) if error.is_disk_full() => {
                return Err(Error::DiskFull(self.shared.health.note_full()));
            }
            Err(error) if error.meaning() == Meaning::Passing => Some(Error::StorageUnavailable {
                cause: error.to_string(),
            }),
            _ => None,
        };
        self.shared.health.settle(done);
        match passing {
            Some(error) => Err(error),
            None if self.shared.health.has_failed() => Err(Error::OutcomeUnknown),
            None => Ok(()),
        }
    }
}
