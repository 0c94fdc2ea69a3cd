//! Moves frames from the tails of partitions to their segments, and makes these durable.
//!
//! A round moves what was there when it began; what is appended meanwhile is for the next one. So
//! the length of a round is bounded however fast clients append, and a checkpoint, which needs such
//! a round, cannot run after them until the journal is full.

use std::{collections::BTreeSet, sync::atomic::Ordering};

use super::{
    lock,
    memory::Memory,
    partitions::Partitions,
    state::{Partition, PartitionRef},
};
use crate::{
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
}

/// A round: what is to be moved, in bytes.
struct Round {
    memory: Memory,
    /// The partitions' tails, newest first.
    tails: Vec<Tail>,
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
        }
    }

    /// Moves the frames that dirty partitions have now. If there are many segments, syncs them as
    /// well, so that a checkpoint has few left to sync: no memory is freed while it does.
    pub(super) fn write_some_out(&mut self, owner: &Partitions) -> Result<(), FileError> {
        self.write_out(owner, MOST_UNSYNCED)
    }

    /// Moves the frames that dirty partitions have now, and syncs all segments, for a checkpoint.
    pub(super) fn write_all_out(&mut self, owner: &Partitions) -> Result<(), FileError> {
        self.write_out(owner, self.together)?;
        self.sync_segments(owner)?;
        self.sync_topics(owner)
    }

    /// Moves the frames that dirty partitions have now. Syncs whenever `most` segments are not
    /// durable up to their end.
    fn write_out(&mut self, owner: &Partitions, most: usize) -> Result<(), FileError> {
        let mut round = Round::of(owner.take_dirty(), self.memory.clone());
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
        for some in self.unsynced.chunks(self.together) {
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
        }
        self.unsynced.clear();
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

    /// Forgets a topic, whose directory has another name now.
    pub(super) fn forget(&mut self, topic: TopicId) {
        self.made.remove(&topic);
    }
}

impl Round {
    /// A round over these partitions, which are in the order in which they became dirty.
    fn of(dirty: Vec<PartitionRef>, memory: Memory) -> Self {
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
        loop {
            let moved = writer.write_some(log, &owner.segments, &settings, tail.end)?;
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
