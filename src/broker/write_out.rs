//! Moving frames from the tails of partitions into their segments, and making these durable.
//!
//! A round moves what was there when it began: what is appended meanwhile is for the next one. So
//! its length is bounded however fast clients append, and a checkpoint, which needs such a round,
//! does not run after them until the journal is full.

use std::{collections::BTreeSet, sync::atomic::Ordering};

use super::{
    Shared, lock,
    state::{Partition, PartitionRef},
};
use crate::{
    storage::{
        files::{Action, FileError, ensure_dir},
        log::{LogLock, Writer, sync_together},
    },
    types::{Offset, TopicId},
};

/// Most segments that are left to a checkpoint to be synced.
pub(super) const MOST_UNSYNCED: usize = 1_024;

/// What is known of segments that have been written to.
#[derive(Default)]
pub(super) struct WriteOut {
    /// Partitions whose active segments are not durable to their end.
    unsynced: Vec<PartitionRef>,
    /// Topics that have directories.
    made: BTreeSet<TopicId>,
    /// Topics with directories of partitions whose names are not durable.
    new_in: BTreeSet<TopicId>,
}

/// A round: what there is to move, in bytes.
struct Round {
    /// The newest first.
    tails: Vec<Tail>,
    moved: usize,
    all: usize,
}

/// What a partition has in memory when a round begins.
struct Tail {
    of: PartitionRef,
    end: Offset,
}

impl WriteOut {
    /// Moves the frames that dirty partitions have now. Whenever so many segments are not durable
    /// to their end, they are synced.
    pub(super) fn write_out(&mut self, shared: &Shared, most: usize) -> Result<(), FileError> {
        let mut round = Round::of(std::mem::take(&mut *lock(&shared.dirty)));
        // The oldest first: memory is freed when all of a request is in segments.
        while let Some(tail) = round.tails.pop() {
            let mut written = self.write_out_partition(shared, &tail, &mut round);
            if written.is_ok() && self.unsynced.len() >= most {
                written = self.sync_segments(shared);
                round.note_progress(shared);
            }
            if let Err(error) = written {
                let partition = tail.of.partition();
                partition.is_dirty.store(true, Ordering::Release);
                round.tails.push(tail);
                let left = round.tails.into_iter().map(|tail| tail.of);
                lock(&shared.dirty).extend(left);
                return Err(error);
            }
        }
        Ok(())
    }

    fn write_out_partition(
        &mut self,
        shared: &Shared,
        tail: &Tail,
        round: &mut Round,
    ) -> Result<(), FileError> {
        let (at, partition) = (&tail.of, tail.of.partition());
        partition.is_dirty.store(false, Ordering::Release);
        if at.topic.deleted.load(Ordering::Acquire) {
            return Ok(());
        }
        if !self.made.contains(&at.topic.id) {
            ensure_dir(&*shared.env.files, &shared.dir.topic(at.topic.id))?;
            self.made.insert(at.topic.id);
        }
        let mut writer = lock(&partition.writer);
        let was_synced = !writer.is_unsynced();
        let written = round.move_frames(shared, tail, &mut writer);
        if was_synced && writer.is_unsynced() {
            self.unsynced.push(at.clone());
        }
        written?;
        // What came between the beginning of the round and here has not made it dirty again.
        if lock(&partition.log).has_tail() {
            shared.mark_dirty(at);
        }
        Ok(())
    }

    /// Makes segments durable, many at a time.
    pub(super) fn sync_segments(&mut self, shared: &Shared) -> Result<(), FileError> {
        // A writer must not be locked twice.
        self.unsynced
            .sort_unstable_by_key(|at| (at.topic.id, at.at));
        self.unsynced.dedup_by_key(|at| (at.topic.id, at.at));
        for some in self.unsynced.chunks(shared.synced_together()) {
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
            sync_together(&mut logs, &shared.segments)?;
            for (at, (writer, _)) in there.iter().zip(&mut logs) {
                if !writer.take_dir_is_durable() {
                    self.new_in.insert(at.topic.id);
                }
            }
        }
        self.unsynced.clear();
        Ok(())
    }

    /// Makes the names of partitions durable: those of a topic at once, however many there are.
    pub(super) fn sync_topics(&mut self, shared: &Shared) -> Result<(), FileError> {
        let is_there = |id: &TopicId| shared.topics().find_by_id(*id).is_some();
        self.new_in.retain(is_there);
        while let Some(id) = self.new_in.first().copied() {
            let dir = shared.dir.topic(id);
            shared
                .env
                .files
                .sync_dir(&dir)
                .map_err(FileError::when(Action::Sync, &dir))?;
            self.new_in.remove(&id);
        }
        Ok(())
    }

    /// Takes note that a topic's directory has another name.
    pub(super) fn forget(&mut self, topic: TopicId) {
        self.made.remove(&topic);
    }
}

impl Round {
    /// What these partitions have now; they come in the order in which they became dirty.
    fn of(dirty: Vec<PartitionRef>) -> Self {
        let mut tails = Vec::with_capacity(dirty.len());
        let mut all = 0;
        for of in dirty.into_iter().rev() {
            let (end, bytes) = tail_of(of.partition());
            tails.push(Tail { of, end });
            all += bytes;
        }
        Self {
            tails,
            moved: 0,
            all,
        }
    }

    /// Moves what a partition had when the round began.
    fn move_frames(
        &mut self,
        shared: &Shared,
        tail: &Tail,
        writer: &mut Writer,
    ) -> Result<(), FileError> {
        let (log, settings) = (&tail.of.partition().log, tail.of.topic.settings());
        loop {
            let moved = writer.write_some(log, &shared.segments, &settings, tail.end)?;
            if moved == 0 {
                return Ok(());
            }
            self.moved += moved;
            // To sync may take longer than to write.
            if writer.has_synced_bytes() {
                self.note_progress(shared);
            }
        }
    }

    fn note_progress(&self, shared: &Shared) {
        shared.memory.note_checkpoint_progress(self.moved, self.all);
    }
}

fn tail_of(partition: &Partition) -> (Offset, usize) {
    let log = lock(&partition.log);
    (log.end(), log.tail_bytes())
}
