//! Scrubbing: sealed segments are read in the background and all their checksums verified, so that
//! damage is found while another copy may still exist, and not by a reader who needs the records.
//!
//! A round goes through all partitions, one at a time and in steps, no faster than the setting
//! `scrub.rate` and slower while appends need the disk. A round begins a day after the one before
//! began, or when that ends if it takes longer. A start begins with a random partition, so that all
//! partitions get their turn even if the broker is often restarted. Damage is reported in the
//! partition's description and in the log; nothing is changed, and reads report damage as before.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Mutex,
    time::Duration,
};

use super::{Broker, Error, Shared, compaction::pause, lock, state::PartitionRef};
use crate::{
    catalog::groups::Place,
    storage::log::{Cursor, ReadError},
    types::{Offset, limits},
};

/// A round begins this long after the one before began.
const ROUND: Duration = Duration::from_secs(86_400);

/// How many bytes are read in one step.
const STEP_BYTES: usize = 1 << 20;

/// Most partitions without anything to read that are skipped in one step.
const MOST_PASSED: usize = 256;

/// After this time a segment is tried again that could not be opened or read.
const TRY_AGAIN: Duration = Duration::from_secs(10);

/// Damage that was found: the offsets that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DamagedRange {
    pub(crate) from: Offset,
    pub(crate) to: Offset,
}

/// What is known of a partition since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scrubbed {
    /// All sealed segments before this offset were verified, some perhaps in an earlier round.
    pub(crate) to: Offset,
    /// When all sealed segments had last been verified; `None` if never yet.
    pub(crate) complete_ms: Option<i64>,
    /// The first [`limits::MAX_DAMAGED_RANGES`] damaged ranges, in order.
    pub(crate) damaged: Vec<DamagedRange>,
}

/// The progress of scrubbing.
pub(super) struct Scrubs {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    round: Option<Round>,
    /// When the next round begins, or the current one continues; `None` for at once.
    not_before: Option<Duration>,
    scrubbed: BTreeMap<Place, Scrubbed>,
    has_begun: bool,
}

/// The current round.
struct Round {
    began: Duration,
    /// The partitions that are left, the current one first.
    places: VecDeque<Place>,
    /// The position in the current partition; `None` before its first read.
    cursor: Option<Cursor>,
    bytes: u64,
    damaged: u64,
}

/// The result of a step.
enum Stepped {
    /// This many bytes were read.
    Read(u64),
    /// Nothing was left to read in the partition.
    Passed,
    /// It cannot be read at the moment.
    Unavailable(Error),
}

impl Scrubs {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::default(),
        }
    }

    /// What is known of a partition.
    pub(super) fn get(&self, place: Place) -> Scrubbed {
        let state = lock(&self.state);
        state.scrubbed.get(&place).cloned().unwrap_or_default()
    }

    /// How many damaged ranges each partition has, for partitions that have any.
    pub(super) fn damage(&self) -> BTreeMap<Place, usize> {
        let state = lock(&self.state);
        let mut damage = BTreeMap::new();
        for (place, scrubbed) in &state.scrubbed {
            if !scrubbed.damaged.is_empty() {
                damage.insert(*place, scrubbed.damaged.len());
            }
        }
        damage
    }

    /// When the next step is due.
    fn next(&self) -> Duration {
        lock(&self.state).not_before.unwrap_or_default()
    }
}

impl Scrubbed {
    /// Notes that the offsets from `from` to `to` were read, and any damage there.
    fn note(&mut self, from: Offset, to: Offset, damaged: Option<DamagedRange>) {
        self.to = self.to.max(to);
        self.damaged
            .retain(|range| range.from < from || range.from >= to);
        if let Some(range) = damaged {
            let at = self
                .damaged
                .partition_point(|other| other.from < range.from);
            self.damaged.insert(at, range);
            self.damaged.truncate(limits::MAX_DAMAGED_RANGES);
        }
    }
}

impl Shared {
    /// When scrubbing continues; `None` if it is turned off.
    pub(super) fn next_scrub(&self) -> Option<Duration> {
        (self.options.scrub_rate > 0).then(|| self.maintenance.scrubs.next())
    }
}

impl Broker {
    /// Takes a step of scrubbing, if one is due.
    pub(super) fn scrub(&self) {
        let shared = &self.shared;
        let began = shared.env.clock.elapsed();
        let is_due = shared.next_scrub().is_some_and(|next| next <= began);
        if !is_due || shared.maintenance.indexing.is_closed() || shared.health.has_failed() {
            return;
        }
        let scrubs = &shared.maintenance.scrubs;
        let under_way = lock(&scrubs.state).round.take();
        let mut round = under_way.unwrap_or_else(|| self.begin_round(began));
        let stepped = self.step_round(&mut round);
        let now = shared.env.clock.elapsed();
        let mut state = lock(&scrubs.state);
        if round.places.is_empty() {
            shared.counts.scrub.rounds.add(1);
            if round.bytes > 0 {
                let Round { bytes, damaged, .. } = round;
                tracing::info!(bytes, damaged, "sealed segments were scrubbed");
            }
            state.not_before = Some(round.began.saturating_add(ROUND).max(now));
            return;
        }
        let pause = match stepped {
            Stepped::Read(bytes) => {
                shared.counts.scrub.bytes.add(bytes);
                let is_pressed = shared.memory.is_pressed();
                let took = now.saturating_sub(began);
                pause(bytes, took, Some(shared.options.scrub_rate), is_pressed)
            }
            Stepped::Passed => Duration::ZERO,
            Stepped::Unavailable(error) => {
                tracing::warn!(%error, "scrubbing is tried again");
                TRY_AGAIN
            }
        };
        state.not_before = Some(now.saturating_add(pause));
        state.round = Some(round);
    }

    fn begin_round(&self, now: Duration) -> Round {
        let shared = &self.shared;
        let mut places = VecDeque::new();
        for topic in shared.partitions.all_topics() {
            for partition in topic.partitions.iter() {
                places.push_back((topic.id, partition.id));
            }
        }
        let mut state = lock(&shared.maintenance.scrubs.state);
        if !state.has_begun && !places.is_empty() {
            let first = shared.env.random.next_u64() % places.len() as u64;
            places.rotate_left(usize::try_from(first).unwrap_or(0));
        }
        state.has_begun = true;
        let is_there = |place: &Place| {
            let (topic, partition) = *place;
            shared.partitions.find_partition(topic, partition).is_some()
        };
        state.scrubbed.retain(|place, _| is_there(place));
        Round {
            began: now,
            places,
            cursor: None,
            bytes: 0,
            damaged: 0,
        }
    }

    /// Continues a round until something was read.
    fn step_round(&self, round: &mut Round) -> Stepped {
        for _ in 0..MOST_PASSED {
            let Some(place) = round.places.front().copied() else {
                break;
            };
            let found = self.shared.partitions.find_partition(place.0, place.1);
            let stepped = match found {
                Some(partition) if !partition.is_deleted() => {
                    self.scrub_partition(&partition, place, round)
                }
                _ => Stepped::Passed,
            };
            match stepped {
                Stepped::Passed => {
                    round.places.pop_front();
                    round.cursor = None;
                }
                stepped => return stepped,
            }
        }
        Stepped::Passed
    }

    /// Continues reading in a partition.
    fn scrub_partition(
        &self,
        partition: &PartitionRef,
        place: Place,
        round: &mut Round,
    ) -> Stepped {
        let shared = &self.shared;
        let (start, end) = {
            let view = partition.partition().log.view();
            (view.start(), view.sealed_end())
        };
        let mut cursor = round.cursor.take().unwrap_or_else(|| Cursor::new(start));
        if cursor.next < start {
            cursor = Cursor::new(start);
        }
        if end.is_none_or(|end| cursor.next >= end) {
            let complete_ms = Some(shared.clock.now_ms());
            self.change_scrubbed(place, |scrubbed| scrubbed.complete_ms = complete_ms);
            return Stepped::Passed;
        }
        let from = cursor.next;
        let read = shared.partitions.patient_reader(partition);
        let (bytes, damaged) = match read.read(&mut cursor, STEP_BYTES) {
            Ok(frames) => {
                let bytes = frames.iter().map(|frame| frame.bytes().len() as u64);
                (bytes.sum(), None)
            }
            Err(ReadError::Damaged { from, to, cause }) => {
                let to = to.max(from.plus(1));
                cursor = Cursor::new(to);
                self.say_damaged(partition, from, to, &cause);
                (STEP_BYTES as u64, Some(DamagedRange { from, to }))
            }
            // The segment was trimmed meanwhile.
            Err(ReadError::BelowStart) => (0, None),
            Err(ReadError::Unavailable(error)) => {
                round.cursor = Some(cursor);
                return Stepped::Unavailable(shared.health.unavailable(&error));
            }
        };
        round.bytes += bytes;
        round.damaged += u64::from(damaged.is_some());
        let to = cursor.next;
        self.change_scrubbed(place, |scrubbed| scrubbed.note(from, to, damaged));
        round.cursor = Some(cursor);
        Stepped::Read(bytes)
    }

    fn say_damaged(&self, partition: &PartitionRef, from: Offset, to: Offset, cause: &str) {
        let topic = &partition.topic.name;
        let (partition, from, to) = (partition.partition().id.0, from.0, to.0);
        tracing::error!(%topic, partition, from, to, cause, "scrubbing has found damaged records");
    }

    fn change_scrubbed(&self, place: Place, change: impl FnOnce(&mut Scrubbed)) {
        let mut state = lock(&self.shared.maintenance.scrubs.state);
        change(state.scrubbed.entry(place).or_default());
    }
}
