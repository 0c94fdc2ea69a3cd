//! Moves frames from the tails of partitions to their segments, and makes these durable.
//!
//! A round moves what was there when it began; what is appended meanwhile is for the next one. So
//! the length of a round is bounded however fast clients append, and a checkpoint, which needs such
//! a round, cannot run after them until the journal is full.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::Ordering,
    time::Duration,
};

use super::{
    lock,
    memory::Memory,
    partitions::Partitions,
    state::{Partition, PartitionRef},
};
use crate::{
    catalog::groups::Place,
    storage::{
        files::{Action, FileError, ensure_dir},
        log::{LogLock, Writer, sync_together},
    },
    types::{Offset, TopicId},
};

/// Most segments that are synced at a time. The disk starts to write all of them before the first
/// is synced, so that few commits of the file system are enough.
const SYNCED_TOGETHER: usize = 512;

/// A write of a segment that is worth noting as progress, in bytes.
const LARGE_WRITE: usize = 1 << 20;

/// Most unsynced segments that are left to a checkpoint.
const MOST_UNSYNCED: usize = 1_024;

/// The longest that frames wait in memory for the removal of segments.
pub(super) const MOST_HELD: Duration = Duration::from_secs(1);

/// What is known of segments that were written to.
pub(super) struct WriteOut {
    /// Notified of a round's progress.
    memory: Memory,
    /// How many segments are synced at a time. Their files are open meanwhile.
    together: usize,
    /// Partitions whose active segments are not durable up to their end.
    unsynced: Vec<PartitionRef>,
    /// Topics whose directories exist.
    made: BTreeSet<TopicId>,
    /// Topics with new directories of partitions, whose names are not durable.
    new_in: BTreeSet<TopicId>,
    /// Partitions that would have more on the disk than their limits allow if all their frames were
    /// moved to segments now, each with the time since when that is so.
    held: BTreeMap<Place, Duration>,
}

/// A round: what is to be moved, in bytes.
struct Round {
    memory: Memory,
    /// The partitions' tails, newest first.
    tails: Vec<Tail>,
    /// Whether no more is moved than the partitions' limits allow.
    within_limits: bool,
    moved: usize,
    all: usize,
}

/// What a partition had in memory when the round began.
struct Tail {
    of: PartitionRef,
    end: Offset,
}

impl WriteOut {
    /// With at most this many open files.
    pub(super) fn new(memory: Memory, open_files: usize) -> Self {
        Self {
            memory,
            together: (open_files / 2).clamp(1, SYNCED_TOGETHER),
            unsynced: Vec::new(),
            made: BTreeSet::new(),
            new_in: BTreeSet::new(),
            held: BTreeMap::new(),
        }
    }

    /// Moves the frames that dirty partitions have now. If there are many segments, syncs them as
    /// well, so that a checkpoint has few left to sync: no memory is freed while it does.
    pub(super) fn write_some_out(&mut self, owner: &Partitions) -> Result<(), FileError> {
        self.write_out(owner, MOST_UNSYNCED, false)
    }

    /// As [`write_some_out`](Self::write_some_out), but a partition whose segments have as much as
    /// `retention.bytes` allows keeps its frames in memory until trimmed segments are removed.
    pub(super) fn write_within_limits(&mut self, owner: &Partitions) -> Result<(), FileError> {
        self.write_out(owner, MOST_UNSYNCED, true)
    }

    /// Moves the frames that dirty partitions have now, and syncs all segments, for a checkpoint.
    pub(super) fn write_all_out(&mut self, owner: &Partitions) -> Result<(), FileError> {
        self.write_out(owner, self.together, false)?;
        self.held.clear();
        self.sync_segments(owner)?;
        self.sync_topics(owner)
    }

    /// Makes the segments of these partitions durable up to their end. The partitions are sorted by
    /// topic and number.
    pub(super) fn sync(
        &mut self,
        owner: &Partitions,
        these: &[PartitionRef],
    ) -> Result<(), FileError> {
        for some in these.chunks(self.together) {
            self.sync_together(owner, some)?;
        }
        self.sync_topics(owner)
    }

    /// Moves the frames that dirty partitions have now. Syncs whenever `most` segments are not
    /// durable up to their end.
    fn write_out(
        &mut self,
        owner: &Partitions,
        most: usize,
        within_limits: bool,
    ) -> Result<(), FileError> {
        let mut round = Round::of(owner.take_dirty(), self.memory.clone(), within_limits);
        // Oldest first: a request's memory is freed when all its frames are in segments.
        while let Some(tail) = round.tails.pop() {
            let mut written = self.write_out_partition(owner, &tail, &mut round);
            if written.is_ok() && self.unsynced.len() >= most {
                written = self.sync_segments(owner);
                round.note_progress();
            }
            if let Err(error) = written {
                let partition = tail.of.partition();
                partition.is_dirty.store(true, Ordering::Release);
                round.tails.push(tail);
                let left = round.tails.into_iter().map(|tail| tail.of);
                owner.put_back_dirty(left);
                return Err(error);
            }
        }
        Ok(())
    }

    fn write_out_partition(
        &mut self,
        owner: &Partitions,
        tail: &Tail,
        round: &mut Round,
    ) -> Result<(), FileError> {
        let (at, partition) = (&tail.of, tail.of.partition());
        partition.is_dirty.store(false, Ordering::Release);
        if at.topic.deleted.load(Ordering::Acquire) {
            return Ok(());
        }
        if !self.made.contains(&at.topic.id) {
            ensure_dir(&*owner.env.files, &owner.dir.topic(at.topic.id))?;
            self.made.insert(at.topic.id);
        }
        let mut writer = lock(&partition.writer);
        let was_synced = !writer.is_unsynced();
        let written = round.move_frames(owner, tail, &mut writer);
        if was_synced && writer.is_unsynced() {
            self.unsynced.push(at.clone());
        }
        drop(writer);
        written?;
        owner.retention.look_at_written(at);
        if round.within_limits {
            self.look_at_held(owner, at);
        }
        // Frames that came since the round began have not marked it dirty again.
        if lock(&partition.log).has_tail() {
            owner.mark_dirty(at);
        }
        Ok(())
    }

    /// Makes segments durable, many at a time.
    fn sync_segments(&mut self, owner: &Partitions) -> Result<(), FileError> {
        // Sorted, because a writer must not be locked twice.
        self.unsynced
            .sort_unstable_by_key(|at| (at.topic.id, at.at));
        self.unsynced.dedup_by_key(|at| (at.topic.id, at.at));
        let unsynced = std::mem::take(&mut self.unsynced);
        for (nth, some) in unsynced.chunks(self.together).enumerate() {
            if let Err(error) = self.sync_together(owner, some) {
                self.unsynced = unsynced[nth * self.together..].to_vec();
                return Err(error);
            }
        }
        Ok(())
    }

    /// Makes the segments of a few sorted partitions durable.
    fn sync_together(
        &mut self,
        owner: &Partitions,
        some: &[PartitionRef],
    ) -> Result<(), FileError> {
        let there: Vec<_> = some.iter().filter(|at| !at.is_deleted()).collect();
        let mut writers: Vec<_> = there
            .iter()
            .map(|at| lock(&at.partition().writer))
            .collect();
        let logs = there.iter().map(|at| &at.partition().log);
        let mut logs: Vec<(&mut Writer, &LogLock)> = writers
            .iter_mut()
            .map(|writer| &mut **writer)
            .zip(logs)
            .collect();
        sync_together(&mut logs, &owner.segments)?;
        for (at, (writer, _)) in there.iter().zip(&mut logs) {
            if !writer.take_dir_is_durable() {
                self.new_in.insert(at.topic.id);
            }
        }
        Ok(())
    }

    /// Makes the names of new partition directories durable, with one sync for each topic.
    fn sync_topics(&mut self, owner: &Partitions) -> Result<(), FileError> {
        let is_there = |id: &TopicId| owner.topics().find_by_id(*id).is_some();
        self.new_in.retain(is_there);
        while let Some(id) = self.new_in.first().copied() {
            let dir = owner.dir.topic(id);
            owner
                .env
                .files
                .sync_dir(&dir)
                .map_err(FileError::when(Action::Sync, &dir))?;
            self.new_in.remove(&id);
        }
        Ok(())
    }

    /// Notes whether a partition must keep frames in memory until segments are removed.
    pub(super) fn look_at_held(&mut self, owner: &Partitions, at: &PartitionRef) {
        let place = (at.topic.id, at.partition().id);
        let is_held = at.topic.settings().most_on_disk().is_some_and(|most| {
            let log = lock(&at.partition().log);
            log.tail_bytes() as u64 > log.room_within(most)
        });
        if is_held {
            let now = owner.env.clock.elapsed();
            self.held.entry(place).or_insert(now);
            owner.retention.remove_soon(at);
        } else {
            self.held.remove(&place);
        }
    }

    /// Whether a partition must keep frames in memory until segments are removed.
    pub(super) fn is_held(&self, place: Place) -> bool {
        self.held.contains_key(&place)
    }

    /// Lets a partition wait anew, because segments were removed.
    pub(super) fn wait_anew(&mut self, place: Place) {
        self.held.remove(&place);
    }

    /// Whether frames wait for the removal of segments.
    pub(super) fn waits(&self, now: Duration) -> Waits {
        match self.held.values().min() {
            None => Waits::No,
            Some(since) if now.saturating_sub(*since) < MOST_HELD => Waits::Yes,
            Some(_) => Waits::TooLong,
        }
    }

    /// Forgets a topic, whose directory has another name now.
    pub(super) fn forget(&mut self, topic: TopicId) {
        self.made.remove(&topic);
        self.held.retain(|place, _| place.0 != topic);
    }
}

/// Whether frames wait for the removal of segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waits {
    No,
    Yes,
    /// Some have waited so long that they are written out whatever the limits say.
    TooLong,
}

impl Round {
    /// A round over these partitions, which are in the order in which they became dirty.
    fn of(dirty: Vec<PartitionRef>, memory: Memory, within_limits: bool) -> Self {
        let mut tails = Vec::with_capacity(dirty.len());
        let mut all = 0;
        for of in dirty.into_iter().rev() {
            let (end, bytes) = tail_of(of.partition());
            tails.push(Tail { of, end });
            all += bytes;
        }
        Self {
            memory,
            tails,
            within_limits,
            moved: 0,
            all,
        }
    }

    /// Moves what a partition had when the round began.
    fn move_frames(
        &mut self,
        owner: &Partitions,
        tail: &Tail,
        writer: &mut Writer,
    ) -> Result<(), FileError> {
        let (log, settings) = (&tail.of.partition().log, tail.of.topic.settings());
        let most = settings.most_on_disk().filter(|_| self.within_limits);
        loop {
            let room = most.map_or(u64::MAX, |most| lock(log).room_within(most));
            let moved = writer.write_some(log, &owner.segments, &settings, tail.end, room)?;
            if moved == 0 {
                return Ok(());
            }
            self.moved += moved;
            // A large write has reached the disk. If a small one synced, that may have taken longer
            // than the write.
            if moved >= LARGE_WRITE || writer.has_synced_bytes() {
                self.note_progress();
            }
        }
    }

    fn note_progress(&self) {
        self.memory.note_checkpoint_progress(self.moved, self.all);
    }
}

fn tail_of(partition: &Partition) -> (Offset, usize) {
    let log = lock(&partition.log);
    (log.end(), log.tail_bytes())
}
