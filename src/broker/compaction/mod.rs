//! Compaction: of each key the last records stay.
//!
//! A partition of a topic with `cleanup.policy=compact` is looked at when time says so
//! (`decide.rs`), and then worked on in a pass of many steps (`pass.rs`), by the thread that also
//! keeps the key indexes and removes what was erased. Nobody waits for it: between two steps it
//! pauses, longer where appends need the disk and not at all where it is behind (`pause`), and an
//! erasure comes before the next step. What is known of keys is in memory that is bounded
//! (`key_map.rs`); a pass that has no room for all of them ends where it has none, and the next one
//! goes on from there.
//!
//! Segments that have become small are merged (`merge.rs`). What goes leaves nothing behind but a
//! frame that covers its offsets, so that readers tell it from a loss: offsets and versions never
//! change. How far a partition is clean is in a file of its own (`progress.rs`); without it the
//! partition is compacted from its start again.
//!
//! Only segments are rewritten that are sealed, and that the last checkpoint knows as sealed: a
//! crash cuts an active one back to where the checkpoint says it ended. The files of a partition
//! are changed while the housekeeper is held, as trims and retention do, so these never work on a
//! partition at the same time.
//!
//! Records without a key, which a topic may have from before, are of no entity, and stay.
//!
//! What trims of entities have taken goes on the same way (`trims.rs`), in topics of any policy: in
//! one that is not compacted a pass takes no note of keys, and goes through the segments that have
//! some of it.

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

pub(super) use hindered::{Hindered, check_room, unless_damaged};

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

/// How often partitions are looked at for what is new in them.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How much is read in a second, where compaction is not behind.
pub(super) const BYTES_PER_SECOND: u64 = 64 << 20;

/// How long a step waits at least where appends need what it takes.
const CROWDED: Duration = Duration::from_millis(100);

/// How fast a partition may be read again and again for tombstones alone, in bytes a second.
const TOMBSTONE_BYTES_PER_SECOND: u64 = 8 << 20;

/// How far a partition has been compacted, as it is described.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Compaction {
    /// Before this offset no key has more records than are kept.
    pub(crate) clean_to: Offset,
    /// When compaction came to its end last.
    pub(crate) last_ms: Option<i64>,
    /// Why it did not, or not of all, when it was tried last.
    pub(crate) problem: Option<Problem>,
}

impl Broker {
    /// Has all partitions of a topic compacted, with what is in their active segments; what it
    /// returns resolves when they are, or when one could not be, which its description says. Of a
    /// topic that is not compacted, what was trimmed of entities is removed.
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

    /// Seals the active segment of a partition, with all that is in memory up to here.
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

    /// Makes sure that the last checkpoint knows the segments up to here as sealed.
    fn cover(&self, partition: &PartitionRef, end: Offset) -> Result<(), FileError> {
        let checkpointed = &partition.partition().checkpointed;
        if checkpointed.load(std::sync::atomic::Ordering::Acquire) > end.0 {
            return Ok(());
        }
        let mut housekeeper = lock(&self.shared.maintenance.housekeeper);
        housekeeper.checkpoint(&self.shared, Freeze::Due)
    }
}

/// Whether a partition is worked on.
enum Begun {
    Pass(Box<Pass>),
    /// Not before this moment, if time alone brings anything.
    Wait(Option<i64>),
}

impl Shared {
    /// When compaction goes on.
    pub(super) fn next_compaction(&self) -> Option<Duration> {
        self.maintenance.compactions.next()
    }

    /// How far a partition has been compacted. Reads a small file if nobody has since the start.
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

    /// That the file which says how far a partition is clean cannot be read. The next look at the
    /// partition tries again.
    fn unread(&self, error: &FileError) -> Problem {
        let look_ms = i64::try_from(LOOK_EVERY.as_millis()).unwrap_or(i64::MAX);
        Problem {
            cause: format!("how far it is clean is not known: {error}"),
            again_ms: Some(self.clock.now_ms().saturating_add(look_ms)),
        }
    }

    /// The partitions of all topics that are compacted, and those where entities were trimmed,
    /// beginning behind the one that was looked at last.
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

    /// What a partition's file says.
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

    /// What there is to know of a partition.
    fn facts(
        &self,
        partition: &PartitionRef,
        settings: &TopicSettings,
        stored: &Stored,
        progress: &Progress,
    ) -> Result<Facts, Hindered> {
        let start = partition.range().0;
        // What was made clean with more records of each key than are kept now is not clean.
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
            // Nothing goes but what was trimmed.
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

    /// When the first record was appended that has not been compacted.
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
            // Nobody can tell: what is behind it does not wait for it.
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

    /// Takes note of a pass that is complete.
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
            // Whoever holds this renames the directories of deleted topics.
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
            progress.problem = outcome.is_behind_damage.then(|| Problem {
                cause: "records are damaged: their segments stay as they are, and tombstones behind them are kept"
                    .to_owned(),
                again_ms: None,
            });
        });
        if !outcome.is_unfinished {
            compactions.answer(place, asked);
        }
        Ok(())
    }

    /// Takes note of what keeps a partition from being compacted: it stops nothing else.
    fn hinder(&self, partition: &PartitionRef, hindered: Hindered) -> Result<(), FileError> {
        let cause = match hindered {
            // Its files are being removed.
            _ if partition.is_deleted() => return Ok(()),
            Hindered::File(error) => return Err(error),
            Hindered::Problem(cause) => cause,
            Hindered::DiskFull => format!("the disk is full: {}", self.health.shortage_now()),
        };
        let place = place_of(partition);
        tracing::warn!(topic = %partition.topic.name, partition = place.1.0, %cause, "compaction is tried again later");
        let again_ms = self.clock.now_ms().saturating_add(TRY_AGAIN_MS);
        let compactions = &self.maintenance.compactions;
        let asked = compactions.get(place).asked;
        compactions.change(place, |progress| {
            progress.is_unfinished = true;
            progress.problem = Some(Problem {
                cause,
                again_ms: Some(again_ms),
            });
        });
        compactions.answer(place, asked);
        Ok(())
    }

    /// A moment of the broker's time on the monotonic clock.
    fn elapsed_at(&self, at_ms: i64) -> Duration {
        let wait_ms = at_ms.saturating_sub(self.clock.now_ms());
        let wait = Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0));
        self.env.clock.elapsed().saturating_add(wait)
    }
}

/// How long to wait behind a step that has read so many bytes, of which no more are to be read in a
/// second than the rate says.
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
