//! Compression of segments, in the background: once, after they are sealed.
//!
//! The thread that also compacts looks for uncompressed sealed segments in topics with
//! `compression`, and writes them anew, one at a time (`storage/log/rewrite.rs`). It pauses between
//! two of them, as compaction does, and erasures go first. Segments that compaction, merging and
//! erasures write anew are compressed by these.
//!
//! A segment is compressed once: if the topic gets another codec, or none, the segment stays as it
//! is until it is written anew for another reason. A segment with damage is left alone, so that
//! everything stays readable that was.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use super::{
    Broker, Error, Shared,
    compaction::{
        BYTES_PER_SECOND, Cause, Hindered, Postponed, Problem, check_room, pause, unless_damaged,
    },
    lock,
    state::PartitionRef,
};
use crate::{
    catalog::groups::Place,
    codec::Method,
    storage::{
        fault::Meaning,
        files::{Action, FileError},
        log::{Rewrite, Same, Uncompressed},
    },
    types::{Compression, Offset, TopicSettings},
};

/// How often partitions are searched for newly sealed segments.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// After this time a partition is tried again whose segment could not be compressed.
const TRY_AGAIN: Duration = Duration::from_secs(30);

/// In a partition with more bytes to compress than this, there are no pauses.
const HURRY_BYTES: u64 = 1 << 30;

/// What compression remembers between two segments.
#[derive(Default)]
pub(super) struct Compressor {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// When it continues; `None` if there is nothing to compress.
    next: Option<Duration>,
    /// The partition that was last worked on.
    last: Option<Place>,
    /// Partitions whose last compression failed.
    hindered: BTreeMap<Place, PutOff>,
    /// Those that wait for room on the disk, and are not logged yet.
    postponed: Postponed,
}

/// Why a partition was put off.
struct PutOff {
    problem: Problem,
    /// The partition is not tried again before this time.
    until: Duration,
}

impl Compressor {
    /// Why a partition could not be compressed when it was last tried.
    pub(super) fn problem(&self, partition: &PartitionRef) -> Option<Problem> {
        let state = lock(&self.state);
        let put_off = state.hindered.get(&place_of(partition))?;
        Some(put_off.problem.clone())
    }

    /// When compression continues.
    pub(super) fn next(&self) -> Option<Duration> {
        lock(&self.state).next
    }

    fn set_next(&self, next: Option<Duration>) {
        lock(&self.state).next = next;
    }

    /// Logs how many partitions wait for room on the disk.
    fn say_postponed(&self, now: Duration) {
        let postponed = lock(&self.state).postponed.take_due(now);
        if let Some((partitions, cause)) = postponed {
            tracing::warn!(partitions, %cause, "compression is tried again later");
        }
    }
}

impl Broker {
    /// Compresses the next segment, if it is time to.
    pub(super) fn compress(&self) -> Result<(), FileError> {
        let shared = &self.shared;
        let compressor = &shared.maintenance.compressor;
        let now = shared.env.clock.elapsed();
        let is_early = compressor.next().is_some_and(|next| next > now);
        if is_early || shared.maintenance.indexing.is_closed() || shared.health.has_failed() {
            return Ok(());
        }
        let partitions = shared.partitions_to_compress(now);
        compressor.set_next((!partitions.is_empty()).then(|| now.saturating_add(LOOK_EVERY)));
        for partition in partitions {
            let done = match shared.compress_one(&partition) {
                Err(hindered) => shared.put_off_compression(&partition, hindered)?,
                Ok(done) => {
                    lock(&compressor.state)
                        .hindered
                        .remove(&place_of(&partition));
                    done
                }
            };
            if let Some(done) = done {
                lock(&compressor.state).last = Some(place_of(&partition));
                shared.counts.compressed.add(done.bytes);
                let end = shared.env.clock.elapsed();
                let is_hurried = done.left > HURRY_BYTES;
                let is_crowded = shared.memory.is_pressed();
                let rate = (!is_hurried).then_some(BYTES_PER_SECOND);
                let pause = pause(done.bytes, end.saturating_sub(now), rate, is_crowded);
                compressor.set_next(Some(end.saturating_add(pause)));
                break;
            }
        }
        compressor.say_postponed(now);
        Ok(())
    }
}

/// A segment was compressed.
struct Done {
    /// How many bytes were read.
    bytes: u64,
    /// How many bytes of the partition are left.
    left: u64,
}

impl Shared {
    /// Marks the data directory as one that may have compressed segments, if these settings need
    /// it; it must be marked before they take effect.
    pub(super) fn allow_compression(&self, settings: &TopicSettings) -> Result<(), Error> {
        if settings.compression == Compression::None {
            return Ok(());
        }
        match self.dir.allow_blocks(&self.env) {
            Ok(()) => Ok(()),
            Err(error) if error.is_disk_full() => Err(Error::DiskFull(self.health.note_full())),
            Err(error) if error.meaning() == Meaning::Fatal => {
                self.health.fail(error.to_string());
                Err(Error::ShuttingDown)
            }
            Err(error) => Err(self.health.unavailable(&error)),
        }
    }

    /// Marks the data directory as one that may have compressed segments, if the settings of any
    /// topic need it: the mark may have been lost.
    pub(super) fn allow_compression_of_topics(&self) -> Result<(), FileError> {
        let topics = self.partitions.all_topics();
        let mut settings = topics.iter().map(|topic| topic.settings());
        match settings.any(|settings| settings.compression != Compression::None) {
            true => self.dir.allow_blocks(&self.env),
            false => Ok(()),
        }
    }

    /// The partitions of topics with compression, without those that are tried again later,
    /// beginning with the one whose turn is next.
    fn partitions_to_compress(&self, now: Duration) -> Vec<PartitionRef> {
        let mut state = lock(&self.maintenance.compressor.state);
        let (mut found, mut put_off) = (Vec::new(), BTreeMap::new());
        for topic in self.partitions.all_topics() {
            if topic.settings().compression == Compression::None {
                continue;
            }
            for at in 0..topic.partitions.len() {
                let topic = Arc::clone(&topic);
                let partition = PartitionRef { topic, at };
                let place = place_of(&partition);
                let hindered = state.hindered.remove(&place);
                if hindered
                    .as_ref()
                    .is_none_or(|hindered| hindered.until <= now)
                {
                    found.push(partition);
                }
                put_off.extend(hindered.map(|hindered| (place, hindered)));
            }
        }
        // Forgets partitions that need not be compressed any more.
        state.hindered = put_off;
        found.sort_by_key(place_of);
        if let Some(last) = state.last {
            let behind = found.partition_point(|partition| place_of(partition) <= last);
            found.rotate_left(behind);
        }
        found
    }

    /// Compresses the first uncompressed segment of a partition, if there is one.
    fn compress_one(&self, partition: &PartitionRef) -> Result<Option<Done>, Hindered> {
        let (log, segments) = (&partition.partition().log, &self.partitions.segments);
        let reader = self.partitions.reader(partition);
        let known = Offset(partition.partition().known_sealed.load(Ordering::Acquire));
        let dir = || lock(log).dir();
        let found = reader.uncompressed(known);
        let found = found.map_err(|error| FileError::when(Action::Read, &dir())(error))?;
        let Some(Uncompressed { base, bytes: left }) = found else {
            return Ok(None);
        };
        let Some(method) = Method::of(&partition.topic.settings()) else {
            return Ok(None);
        };
        let rewrite = unless_damaged(Rewrite::of(log, segments, base))?.flatten();
        let Some(rewrite) = rewrite.filter(Rewrite::has_header) else {
            reader.leave_alone(base);
            return Ok(Some(Done { bytes: 0, left }));
        };
        let bytes = rewrite.bytes();
        check_room(&self.health, bytes)?;
        let written = rewrite.compressed(Some(method)).write_edited(&mut Same);
        match unless_damaged(written)?.flatten() {
            Some(rewritten) => {
                // With this lock, nobody removes segments or renames the directories of deleted
                // topics meanwhile.
                let _housekeeper = lock(&self.maintenance.housekeeper);
                if !partition.is_deleted() {
                    rewritten.install(log)?;
                }
            }
            None => reader.leave_alone(base),
        }
        Ok(Some(Done {
            bytes,
            left: left.saturating_sub(bytes),
        }))
    }

    /// Notes why a partition cannot be compressed at the moment. Other partitions go on.
    fn put_off_compression(
        &self,
        partition: &PartitionRef,
        hindered: Hindered,
    ) -> Result<Option<Done>, FileError> {
        if partition.is_deleted() {
            // Its files are being removed.
            return Ok(None);
        }
        let Cause { text, is_disk_full } = hindered.cause(&self.health)?;
        let (place, cause) = (place_of(partition), text);
        let mut state = lock(&self.maintenance.compressor.state);
        if is_disk_full {
            state.postponed.add(cause.clone());
        } else {
            let topic = &partition.topic.name;
            tracing::warn!(%topic, partition = place.1.0, %cause, "compression is tried again later");
        }
        let again_ms = i64::try_from(TRY_AGAIN.as_millis()).unwrap_or(i64::MAX);
        let put_off = PutOff {
            problem: Problem {
                cause,
                again_ms: Some(self.clock.now_ms().saturating_add(again_ms)),
            },
            until: self.env.clock.elapsed().saturating_add(TRY_AGAIN),
        };
        state.hindered.insert(place, put_off);
        Ok(None)
    }
}

fn place_of(partition: &PartitionRef) -> Place {
    (partition.topic.id, partition.partition().id)
}
