//! Compaction: only the last records of each key stay.
//!
//! A partition of a topic with `cleanup.policy=compact` is checked from time to time (`decide.rs`).
//! If a pass is due, it is done in many steps (`pass.rs`), on the thread that also maintains key
//! indexes and removes erased bytes. Nobody waits for it. It pauses between two steps, longer while
//! appends need the disk, and not at all while it is behind (`pause`); erasures go before the next
//! step. What it knows of keys is in bounded memory (`key_map.rs`). If that is too little for all
//! keys, the pass ends early, and the next one continues from there.
//!
//! Segments that have become small are merged (`merge.rs`). Removed records leave a frame that
//! covers their offsets, so that readers can tell them from lost ones; offsets and versions never
//! change. A file of its own says up to where a partition is clean (`progress.rs`); without it the
//! partition is compacted from its start again. The first pass after a restart begins at the start
//! as well where segments are damaged, and so finds the damage again.
//!
//! Only sealed segments are written anew, and only if the last checkpoint knows them as sealed: a
//! crash cuts an active segment back to where the checkpoint says it ended. The housekeeper is
//! locked while files of a partition are replaced, so compaction never works on a partition at the
//! same time as trims and retention.
//!
//! Records without a key, which a topic may have from an earlier policy, belong to no entity, and
//! stay.
//!
//! Records that trims of entities have taken are removed in the same way (`trims.rs`), in topics of
//! any policy. If the topic is not compacted, the pass ignores keys and only reads the segments
//! that have such records.

mod decide;
mod filter;
mod hindered;
mod key_map;
mod merge;
mod pass;
mod progress;
#[cfg(test)]
mod tests;
mod trims;

use std::{sync::Arc, time::Duration};

pub(super) use progress::{Compactions, Problem};

pub(super) use hindered::{Cause, Hindered, Postponed, check_room, unless_damaged};

use self::{
    decide::{Decision, Facts, decide, lags_ms},
    pass::{Outcome, Pass, Step, Task},
    progress::{Progress, Stored},
};
use super::{Broker, Error, Shared, keys::Freeze, lock, state::PartitionRef};
use crate::{
    catalog::groups::Place,
    storage::{
        files::FileError,
        log::{Cursor, ReadError},
    },
    types::{Offset, TopicSettings},
};

/// After this time a partition is tried again that could not be compacted.
const TRY_AGAIN_MS: i64 = 30_000;

/// How often partitions are checked for something to compact.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How many bytes are read in a second while compaction is not behind.
pub(super) const BYTES_PER_SECOND: u64 = 64 << 20;

/// The shortest pause between steps while appends need the memory or the disk.
const CROWDED: Duration = Duration::from_millis(100);

/// How fast a partition may be read repeatedly for tombstones alone, in bytes a second.
const TOMBSTONE_BYTES_PER_SECOND: u64 = 8 << 20;

/// How far a partition is compacted, for its description.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Compaction {
    /// Before this offset no key has more records than are to be kept.
    pub(crate) clean_to: Offset,
    /// When compaction last completed.
    pub(crate) last_ms: Option<i64>,
    /// Why the last attempt did not complete, or left something.
    pub(crate) problem: Option<Problem>,
}

impl Broker {
    /// Starts to compact all partitions of a topic, including their active segments. The returned
    /// future resolves when all are compacted, or one could not be; the partition's description
    /// then says why. In a topic that is not compacted, only records that trims of entities have
    /// taken are removed.
    pub(crate) fn compact_topic(
        &self,
        name: &str,
    ) -> Result<impl Future<Output = Result<(), Error>> + use<>, Error> {
        let shared = &self.shared;
        let topic = shared.partitions.topics().find(name)?;
        let has_trims = !shared.waiting_key_trims(topic.id).is_empty();
        if !topic.settings().is_compacted() && !has_trims {
            return Err(Error::NotCompacted {
                topic: topic.name.to_string(),
            });
        }
        shared.health.check_running()?;
        let compactions = Arc::clone(&shared.maintenance.compactions);
        let mut answers = compactions.answers();
        let mut asked = Vec::new();
        for partition in topic.partitions.iter() {
            let place = (topic.id, partition.id);
            asked.push((place, compactions.ask(place)));
        }
        shared.maintenance.indexing.notify();
        let health = Arc::clone(&shared.health);
        Ok(async move {
            loop {
                answers.borrow_and_update();
                topic.unless_deleted(Ok(()))?;
                asked.retain(|(place, asked)| compactions.is_waited_for(*place, *asked));
                if asked.is_empty() {
                    return Ok(());
                }
                tokio::select! {
                    _ = answers.changed() => {}
                    _ = health.failed() => return Err(Error::ShuttingDown),
                }
            }
        })
    }

    /// Takes a step of compaction, if one is due.
    pub(super) fn compact(&self) -> Result<(), FileError> {
        let stepped = self.step_compaction();
        let shared = &self.shared;
        let now = shared.env.clock.elapsed();
        shared.maintenance.compactions.say_postponed(now);
        stepped
    }

    fn step_compaction(&self) -> Result<(), FileError> {
        let shared = &self.shared;
        let compactions = &shared.maintenance.compactions;
        if shared.maintenance.indexing.is_closed() || shared.health.has_failed() {
            return Ok(());
        }
        let under_way = lock(&compactions.pass).take();
        let pass = match under_way {
            Some(pass) if pass.is_current() => Some(pass),
            _ => self.next_pass()?,
        };
        let Some(mut pass) = pass else {
            return Ok(());
        };
        if pass.goes_on_at() > shared.env.clock.elapsed() {
            *lock(&compactions.pass) = Some(pass);
            return Ok(());
        }
        let began = shared.env.clock.elapsed();
        match pass.step(shared) {
            Ok(Step::More(bytes)) => {
                let now = shared.env.clock.elapsed();
                let took = now.saturating_sub(began);
                let rate = (!pass.is_hurried).then_some(BYTES_PER_SECOND);
                let pause = pause(bytes, took, rate, shared.memory.is_pressed());
                pass.wait_until(now.saturating_add(pause));
                *lock(&compactions.pass) = Some(pass);
                Ok(())
            }
            Ok(Step::Done(outcome)) => {
                let done = shared.end_trims(&pass).and_then(|leaves_trimmed| {
                    let outcome = Outcome {
                        leaves_trimmed,
                        ..outcome
                    };
                    shared.finish(&pass.partition, &outcome, pass.asked)
                });
                compactions.look_at(Some(began));
                done.or_else(|error| shared.hinder(&pass.partition, error.into()))
            }
            Err(hindered) => shared.hinder(&pass.partition, hindered),
        }
    }

    /// Begins the next pass that is due.
    fn next_pass(&self) -> Result<Option<Pass>, FileError> {
        let shared = &self.shared;
        let compactions = &shared.maintenance.compactions;
        let now = shared.env.clock.elapsed();
        if !compactions.is_time_to_look(now) {
            return Ok(None);
        }
        let places = shared.compacted_partitions();
        if places.is_empty() {
            compactions.look_at(None);
            return Ok(None);
        }
        let mut next_ms: Option<i64> = None;
        for partition in places {
            let place = place_of(&partition);
            match self.begin(&partition) {
                Ok(Begun::Pass(pass)) => {
                    compactions.set_last(place);
                    return Ok(Some(*pass));
                }
                Ok(Begun::Wait(at_ms)) => next_ms = next_ms.into_iter().chain(at_ms).min(),
                Err(hindered) => shared.hinder(&partition, hindered)?,
            }
        }
        let look_at = now.saturating_add(LOOK_EVERY);
        let next = next_ms.map(|at_ms| shared.elapsed_at(at_ms));
        compactions.look_at(Some(next.unwrap_or(look_at).min(look_at)));
        Ok(None)
    }

    /// Begins a pass over a partition if one is due.
    fn begin(&self, partition: &PartitionRef) -> Result<Begun, Hindered> {
        let shared = &self.shared;
        let compactions = &shared.maintenance.compactions;
        let (place, now_ms) = (place_of(partition), shared.clock.now_ms());
        let settings = partition.topic.settings();
        let stored = shared.stored(partition)?;
        compactions.forget_damage_before(place, partition.range().0);
        let progress = compactions.get(place);
        if let Some(again_ms) = progress.waits_until(now_ms) {
            return Ok(Begun::Wait(Some(again_ms)));
        }
        let mut facts = shared.facts(partition, &settings, &stored, &progress)?;
        let mut decision = decide(&settings, &facts, now_ms);
        if decision == Decision::Seal {
            self.seal(partition, facts.end)?;
            let sealed = shared.facts(partition, &settings, &stored, &progress)?;
            facts = sealed;
            decision = Decision::Pass;
        }
        match decision {
            Decision::Wait(at_ms) => {
                if progress.is_asked() {
                    compactions.answer(place, progress.asked);
                }
                return Ok(Begun::Wait(at_ms));
            }
            Decision::Seal | Decision::Pass => {}
        }
        self.cover(partition, facts.sealed_end)?;
        let (_, max_ms) = lags_ms(&settings);
        let is_behind = facts.dirty_bytes / 3 >= facts.sealed_bytes / 4
            || (facts.dirty_since_ms).is_some_and(|since| since.saturating_add(max_ms) < now_ms);
        let task = Task {
            clean_to: facts.clean_to,
            limit: facts.sealed_end,
            only: match settings.is_compacted() {
                true => None,
                false => Some(shared.segments_with_trimmed(partition)?),
            },
            drops_tombstones: settings.delete_retention_ms.is_some()
                && facts.oldest_tombstone_ms.is_some()
                && now_ms >= facts.tombstones_from_ms,
            asked: progress.asked,
            is_hurried: progress.is_asked() || is_behind,
        };
        Ok(Begun::Pass(Box::new(Pass::new(
            shared,
            partition.clone(),
            task,
        ))))
    }

    /// Seals the active segment of a partition, with all its records in memory up to `end`.
    fn seal(&self, partition: &PartitionRef, end: Offset) -> Result<(), FileError> {
        let shared = &self.shared;
        let mut housekeeper = lock(&shared.maintenance.housekeeper);
        housekeeper.write_out(&shared.partitions)?;
        if partition.is_deleted() {
            return Ok(());
        }
        let (log, segments) = (&partition.partition().log, &shared.partitions.segments);
        lock(&partition.partition().writer).seal_before(log, segments, end)
    }

    /// Writes a checkpoint, unless the last one already knows the segments up to `end` as sealed.
    fn cover(&self, partition: &PartitionRef, end: Offset) -> Result<(), FileError> {
        let checkpointed = &partition.partition().checkpointed;
        if checkpointed.load(std::sync::atomic::Ordering::Acquire) > end.0 {
            return Ok(());
        }
        let mut housekeeper = lock(&self.shared.maintenance.housekeeper);
        housekeeper.checkpoint(&self.shared, Freeze::Due)
    }
}

/// Whether a pass over a partition has begun.
enum Begun {
    Pass(Box<Pass>),
    /// Nothing before this time; `None` if time alone changes nothing.
    Wait(Option<i64>),
}

impl Shared {
    /// When compaction continues.
    pub(super) fn next_compaction(&self) -> Option<Duration> {
        self.maintenance.compactions.next()
    }

    /// How far a partition is compacted. Reads a small file if nobody has since the start.
    pub(super) fn describe_compaction(&self, partition: &PartitionRef) -> Compaction {
        let (stored, unread) = match self.stored(partition) {
            Ok(stored) => (Some(stored), None),
            Err(error) => (None, Some(self.unread(&error))),
        };
        let progress = self.maintenance.compactions.get(place_of(partition));
        Compaction {
            clean_to: stored
                .as_ref()
                .map_or(Offset::ZERO, |stored| stored.clean_to),
            last_ms: stored.and_then(|stored| stored.last_ms),
            problem: unread.or(progress.problem),
        }
    }

    /// The problem if the file that says up to where a partition is clean cannot be read. It is
    /// read again at the next check.
    fn unread(&self, error: &FileError) -> Problem {
        let look_ms = i64::try_from(LOOK_EVERY.as_millis()).unwrap_or(i64::MAX);
        Problem {
            cause: format!("how far it is clean is not known: {error}"),
            again_ms: Some(self.clock.now_ms().saturating_add(look_ms)),
        }
    }

    /// The partitions of all compacted topics, and those with trims of entities, beginning behind
    /// the one that was checked last.
    fn compacted_partitions(&self) -> Vec<PartitionRef> {
        let compactions = &self.maintenance.compactions;
        let mut found = Vec::new();
        for topic in self.partitions.all_topics() {
            let is_compacted = topic.settings().is_compacted();
            for at in 0..topic.partitions.len() {
                let topic = Arc::clone(&topic);
                let partition = PartitionRef { topic, at };
                if is_compacted || partition.has_trimmed_entities() {
                    found.push(partition);
                }
            }
        }
        found.sort_by_key(place_of);
        compactions.retain(|place| found.binary_search_by_key(&place, place_of).is_ok());
        if let Some(last) = compactions.last() {
            let behind = found.partition_point(|partition| place_of(partition) <= last);
            found.rotate_left(behind);
        }
        found
    }

    /// The content of a partition's file.
    fn stored(&self, partition: &PartitionRef) -> Result<Arc<Stored>, FileError> {
        let place = place_of(partition);
        if let Some(stored) = self.maintenance.compactions.get(place).stored {
            return Ok(stored);
        }
        let (dir, identity) = {
            let log = lock(&partition.partition().log);
            (log.dir(), log.identity())
        };
        let stored = Arc::new(Stored::load(&*self.env.files, &dir, identity)?);
        let loaded = Arc::clone(&stored);
        self.maintenance
            .compactions
            .change(place, |progress| progress.stored = Some(loaded));
        Ok(stored)
    }

    /// Facts about a partition.
    fn facts(
        &self,
        partition: &PartitionRef,
        settings: &TopicSettings,
        stored: &Stored,
        progress: &Progress,
    ) -> Result<Facts, Hindered> {
        let start = partition.range().0;
        // A partition that was cleaned to keep more records of each key than now is not clean.
        let is_clean = stored.keep <= settings.compaction_keep;
        let clean_to = if is_clean { stored.clean_to } else { start };
        let (trims_due_ms, trims_end) = self.trims_due(partition, settings, progress);
        let reader = self.partitions.reader(partition);
        let mut facts = reader.with_parts(|parts, _| {
            let mut facts = Facts {
                end: start,
                sealed_end: start,
                sealed_bytes: 0,
                dirty_bytes: 0,
                clean_to,
                dirty_since_ms: None,
                oldest_tombstone_ms: stored.oldest_tombstone_ms,
                tombstones_from_ms: progress.tombstones_from_ms,
                is_asked: progress.is_asked(),
                is_unfinished: progress.is_unfinished,
                trims_due_ms,
                trims_end,
            };
            for part in parts {
                facts.end = part.end;
                if part.is_sealed {
                    facts.sealed_end = part.end;
                    facts.sealed_bytes += part.bytes;
                    if part.end > clean_to {
                        facts.dirty_bytes += part.bytes;
                    }
                }
            }
            facts
        });
        // The log may have lost its end since.
        facts.clean_to = facts.clean_to.clamp(start, facts.sealed_end);
        if !settings.is_compacted() {
            // Only trimmed records are removed.
            return Ok(Facts {
                clean_to: facts.end,
                dirty_bytes: 0,
                oldest_tombstone_ms: None,
                is_unfinished: false,
                ..facts
            });
        }
        facts.dirty_since_ms = self.dirty_since(partition, &facts, progress)?;
        Ok(facts)
    }

    /// When the first record was appended that is not compacted.
    fn dirty_since(
        &self,
        partition: &PartitionRef,
        facts: &Facts,
        progress: &Progress,
    ) -> Result<Option<i64>, Hindered> {
        if facts.clean_to >= facts.end {
            return Ok(None);
        }
        if let Some((of, since_ms)) = progress.dirty_since
            && of == facts.clean_to
        {
            return Ok(Some(since_ms));
        }
        let read = self
            .partitions
            .reader(partition)
            .read(&mut Cursor::new(facts.clean_to), 1);
        let since_ms = match read {
            Ok(frames) => frames.first().map(|frame| frame.header().append_time_ms),
            Err(ReadError::Unavailable(error)) => return Err(error.into()),
            // The record's time is lost with it. It counts as appended now, so that records behind
            // it do not wait for it.
            Err(ReadError::Damaged { .. }) => Some(self.clock.now_ms()),
            Err(ReadError::BelowStart) => return Ok(None),
        };
        if let Some(since_ms) = since_ms {
            let since = (facts.clean_to, since_ms);
            self.maintenance
                .compactions
                .change(place_of(partition), |progress| {
                    progress.dirty_since = Some(since);
                });
        }
        Ok(since_ms)
    }

    /// Stores the outcome of a completed pass.
    fn finish(
        &self,
        partition: &PartitionRef,
        outcome: &Outcome,
        asked: u64,
    ) -> Result<(), FileError> {
        let (place, now_ms) = (place_of(partition), self.clock.now_ms());
        let (dir, identity) = {
            let log = lock(&partition.partition().log);
            (log.dir(), log.identity())
        };
        let stored = Stored {
            clean_to: outcome.clean_to,
            keep: outcome.keep,
            last_ms: Some(now_ms),
            oldest_tombstone_ms: outcome.oldest_tombstone_ms,
        };
        if outcome.is_of_all {
            // After a restart the next pass begins at the start again, and finds the damage.
            let stored = match outcome.damage {
                Some(_) => stored.of_nothing_kept(),
                None => stored,
            };
            // With this lock, the directories of deleted topics are not renamed meanwhile.
            let _housekeeper = lock(&self.maintenance.housekeeper);
            if partition.is_deleted() {
                return Ok(());
            }
            stored.store(&*self.env.files, &dir, identity)?;
        }
        let counts = &self.counts.compaction;
        counts.passes.add(1);
        counts.bytes.add(outcome.bytes);
        counts.removed.add(outcome.removed);
        tracing::debug!(
            topic = %partition.topic.name,
            partition = place.1.0,
            clean_to = outcome.clean_to.0,
            removed = outcome.removed,
            bytes = outcome.bytes,
            "compacted"
        );
        let rest_ms = outcome.bytes.saturating_mul(1_000) / TOMBSTONE_BYTES_PER_SECOND;
        let compactions = &self.maintenance.compactions;
        compactions.change(place, |progress| {
            if outcome.is_of_all {
                progress.stored = Some(Arc::new(stored));
            }
            progress.dirty_since = None;
            progress.is_unfinished = outcome.is_unfinished;
            progress.tombstones_from_ms = match outcome.is_unfinished {
                true => i64::MIN,
                false => now_ms.saturating_add(i64::try_from(rest_ms).unwrap_or(i64::MAX)),
            };
            let (_, lag_ms) = lags_ms(&partition.topic.settings());
            progress.trims_from_ms = match outcome.leaves_trimmed {
                true => now_ms.saturating_add(lag_ms),
                false => i64::MIN,
            };
            progress.problem = outcome.damage.as_ref().map(Problem::of_damage);
            progress.damage_to = outcome.damage.as_ref().map(|damage| damage.end);
        });
        if !outcome.is_unfinished {
            compactions.answer(place, asked);
        }
        Ok(())
    }

    /// Notes why a partition cannot be compacted at the moment. Other partitions go on.
    fn hinder(&self, partition: &PartitionRef, hindered: Hindered) -> Result<(), FileError> {
        if partition.is_deleted() {
            // Its files are being removed.
            return Ok(());
        }
        let Cause { text, is_disk_full } = hindered.cause(&self.health)?;
        let (place, cause) = (place_of(partition), text);
        let compactions = &self.maintenance.compactions;
        if is_disk_full {
            compactions.postpone(cause.clone());
        } else {
            let topic = &partition.topic.name;
            tracing::warn!(%topic, partition = place.1.0, %cause, "compaction is tried again later");
        }
        let again_ms = self.clock.now_ms().saturating_add(TRY_AGAIN_MS);
        let asked = compactions.get(place).asked;
        compactions.change(place, |progress| {
            progress.is_unfinished = true;
            progress.problem = Some(Problem {
                cause,
                again_ms: Some(again_ms),
            });
            progress.damage_to = None;
        });
        compactions.answer(place, asked);
        Ok(())
    }

    /// A time of the broker as a moment of the monotonic clock.
    fn elapsed_at(&self, at_ms: i64) -> Duration {
        let wait_ms = at_ms.saturating_sub(self.clock.now_ms());
        let wait = Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0));
        self.env.clock.elapsed().saturating_add(wait)
    }
}

/// How long to pause after a step that has read this many bytes, so that no more than `rate` bytes
/// are read in a second.
pub(super) fn pause(bytes: u64, took: Duration, rate: Option<u64>, is_crowded: bool) -> Duration {
    let at_least = match is_crowded {
        true => CROWDED.max(took),
        false => Duration::ZERO,
    };
    let Some(rate) = rate else {
        return at_least;
    };
    let millis = bytes.saturating_mul(1_000) / rate.max(1);
    let at_rate = Duration::from_millis(millis).saturating_sub(took);
    at_rate.max(at_least)
}

fn place_of(partition: &PartitionRef) -> Place {
    (partition.topic.id, partition.partition().id)
}
