//! Rounds of upkeep, and when they do not write because the disk is full.
//!
//! What is written in the background frees no space, so after a write that has found none it waits
//! until there may be some, in all partitions: else a disk on which files cannot be made, though it
//! has free bytes, would have the same tried and logged without an end. What frees space goes on.
//! A request that needs a part of an index has it built at once, or is told that the disk is full.

use std::{
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use crate::{
    broker::{
        lock,
        partitions::Partitions,
        state::{PartitionRef, Topic},
    },
    env::Tally,
    storage::{fault::Meaning, files::FileError, keys::merge},
    types::Keys,
};

/// After this time it is tried again to write tables, if nobody has freed space before.
const WRITE_AGAIN: Duration = Duration::from_secs(10);

/// After this time it is tried again to write what must be kept of trimmed records, which frees
/// space.
const RETIRE_AGAIN: Duration = Duration::from_secs(1);

/// Whether upkeep writes what must wait on a full disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::broker) enum Upkeep {
    /// Not so soon after a write has found no room.
    InBackground,
    /// It tries all, because somebody waits for it.
    Wanted,
}

/// What upkeep remembers between two rounds.
#[derive(Default)]
pub(in crate::broker) struct Rounds {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Set after a table has found no room.
    full: Option<Full>,
    /// Nothing is kept of trimmed records before this time.
    retire_from: Duration,
    /// Partitions with parts of indexes that were built from the log.
    built: Tally,
}

/// How the disk was when a table has found no room.
#[derive(Clone, Copy)]
struct Full {
    /// No other table is written before this time,
    until: Duration,
    /// unless so many bytes are free; `None` if the file system did not say how many were.
    enough: Option<u64>,
}

impl Partitions {
    /// Writes, merges and retires what is due in all partitions. A full disk, or a file that cannot
    /// be read, delays only one of these: the others go on, because retiring frees space.
    pub(in crate::broker) fn keep_indexes(&self, upkeep: Upkeep) -> Result<(), FileError> {
        let mut put_off = Ok(());
        let few = self.len_key_files() > merge::MOST_TABLES;
        let is_wanted = upkeep == Upkeep::Wanted;
        let mut writes = is_wanted || !self.waits_for_room();
        let retires = is_wanted || !self.waits_to_retire();
        for topic in self.all_topics() {
            let is_plain = topic.settings().keys == Keys::Plain;
            for at in 0..topic.partitions.len() {
                if topic.deleted.load(Ordering::Acquire) {
                    break;
                }
                let topic = Arc::clone(&topic);
                let partition = PartitionRef { topic, at };
                if retires || is_plain {
                    let retired = self.retire_in_reserve(&partition);
                    note(&partition, retired, &mut put_off)?;
                }
                if writes && !is_plain {
                    let kept = self.keep_index(&partition, few);
                    writes = !kept.as_ref().is_err_and(FileError::is_disk_full);
                    if !writes {
                        self.wait_for_room();
                    }
                    note(&partition, kept, &mut put_off)?;
                }
            }
        }
        self.say_built();
        put_off
    }

    fn len_key_files(&self) -> usize {
        let of_topic = |topic: &Topic| -> usize {
            let of_partitions = topic.partitions.iter().map(|partition| {
                let files = partition.index();
                files.runs.len() + files.last_versions.len()
            });
            of_partitions.sum()
        };
        self.all_topics().iter().map(|topic| of_topic(topic)).sum()
    }

    fn keep_index(&self, partition: &PartitionRef, few: bool) -> Result<(), FileError> {
        self.write_frozen(partition)?;
        self.merge_runs(partition, few)?;
        self.fill_gaps_quietly(partition)?;
        self.merge_last_versions(partition, few)
    }

    /// Keeps what must be kept of trimmed records, in the room of the reserve file if there is no
    /// other.
    fn retire_in_reserve(&self, partition: &PartitionRef) -> Result<(), FileError> {
        let retired = self.retire_trimmed(partition);
        if !retired.as_ref().is_err_and(FileError::is_disk_full) {
            return retired;
        }
        if self.health.give_up_reserve() {
            return self.retire_trimmed(partition);
        }
        let now = self.env.clock.elapsed();
        lock(&self.rounds.state).retire_from = now.saturating_add(RETIRE_AGAIN);
        retired
    }

    fn waits_to_retire(&self) -> bool {
        self.env.clock.elapsed() < lock(&self.rounds.state).retire_from
    }

    /// Notes that a table has found no room.
    fn wait_for_room(&self) {
        let shortage = self.health.shortage_now();
        let full = Full {
            until: self.env.clock.elapsed().saturating_add(WRITE_AGAIN),
            enough: (shortage.free).map(|free| free.saturating_add(shortage.needed)),
        };
        lock(&self.rounds.state).full = Some(full);
    }

    /// Whether a table has found no room, and there may be none yet.
    fn waits_for_room(&self) -> bool {
        let full = lock(&self.rounds.state).full;
        let Some(full) = full else { return false };
        let free = self.health.free_bytes().ok().flatten();
        let has_room = full
            .enough
            .zip(free)
            .is_some_and(|(enough, free)| free >= enough);
        if self.env.clock.elapsed() < full.until && !has_room {
            return true;
        }
        lock(&self.rounds.state).full = None;
        false
    }

    /// Counts a partition of which parts of the index were built from the log.
    pub(super) fn note_built(&self) {
        lock(&self.rounds.state).built.add(1);
    }

    /// Logs in how many partitions that was done.
    fn say_built(&self) {
        let now = self.env.clock.elapsed();
        let built = lock(&self.rounds.state).built.take_due(now);
        if let Some(partitions) = built {
            tracing::info!(
                partitions,
                "parts of the key indexes were built from the log"
            );
        }
    }
}

/// Notes how the upkeep of a partition went. Only an error that is final ends the round.
fn note(
    partition: &PartitionRef,
    kept: Result<(), FileError>,
    put_off: &mut Result<(), FileError>,
) -> Result<(), FileError> {
    match kept {
        // Its files are being removed.
        Err(_) if partition.is_deleted() => {}
        Err(error) if error.meaning() != Meaning::Fatal => *put_off = Err(error),
        kept => kept?,
    }
    Ok(())
}
