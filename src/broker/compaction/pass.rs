//! A pass over a partition, in steps.
//!
//! First it notes the newest version of each key, from where the partition is clean up to the end
//! of its sealed segments, or until its memory is full. Then it goes through the segments, oldest
//! first, and writes those anew that have records to remove. So the records before a tombstone are
//! removed before the tombstone itself. A crash at any moment leaves each segment either as it was
//! or as it should be, and then less remains to be done again.
//!
//! Before the last record of a key is removed, the key's version is made durable. In the end small
//! segments are merged, and rows of the key index are dropped whose records are gone.

use std::{collections::BTreeSet, ops::Range, sync::Arc, time::Duration};

use super::{
    decide::lags_ms,
    filter::{Filter, Rules, Seen, is_tombstone},
    hindered::{Hindered, check_room_to_compact, unless_damaged},
    key_map::{Key, KeyMap},
    merge,
};
use crate::{
    broker::{Shared, keys::Freeze, lock, state::PartitionRef},
    budget,
    codec::Method,
    storage::{
        files::{Action, FileError},
        format::frame::Frame,
        keys::sorted_table::LastVersion,
        log::{Cursor, Hidden, Part, ReadError, Rewrite},
    },
    types::{Offset, RecordView, Records, TopicSettings, Version},
};

/// How many bytes are read in one step; a segment is always written anew in one step. Tests have
/// small segments, and need many steps nevertheless.
const STEP_BYTES: u64 = if cfg!(test) { 32 << 10 } else { 32 << 20 };

/// How many bytes are read at once.
const READ_BYTES: usize = if cfg!(test) { 32 << 10 } else { 1 << 20 };

/// The keys of a pass may use the memory for key indexes divided by this.
const SHARE_OF_KEY_MEMORY: usize = 4;

/// A pass over a partition.
pub(super) struct Pass {
    pub(super) partition: PartitionRef,
    settings: TopicSettings,
    /// What was hidden when the pass began. Records that trims of entities had taken then are
    /// removed.
    pub(super) hidden: Hidden,
    /// `None` if all records are removed that compaction must remove. Otherwise only trimmed ones
    /// are, in the segments with these first offsets.
    only: Option<BTreeSet<Offset>>,
    now_ms: i64,
    /// The number of the last request that it answers.
    pub(super) asked: u64,
    /// Whether it makes no pauses.
    pub(super) is_hurried: bool,
    /// The partition is clean before this offset.
    clean_to: Offset,
    /// It goes up to this offset at most.
    pub(super) limit: Offset,
    keys: KeyMap,
    stage: Stage,
    /// Whether memory was too small for all keys, or all tombstones.
    is_unfinished: bool,
    /// The offsets of the damaged segments so far, from the first to the last of them.
    damage: Option<Range<Offset>>,
    /// Damaged segments, which stay as they are.
    pub(super) left: Vec<Range<Offset>>,
    oldest_tombstone_ms: Option<i64>,
    /// How many records were removed.
    removed: u64,
    /// How many bytes were read.
    bytes: u64,
    not_before: Duration,
}

enum Stage {
    /// Noting keys.
    Scan(Cursor),
    /// Writing segments anew, from `next` on. Keys are known from records before `to`; segments
    /// behind that are written anew only if they have trimmed records.
    Filter { next: Offset, to: Offset },
    /// Merging segments, from `next` up to `to`.
    Merge { next: Offset, to: Offset },
    /// Dropping rows of removed records from the key index, from `next` up to `to`.
    Index { next: Offset, to: Offset },
}

/// The result of a step.
pub(super) enum Step {
    /// This many bytes were read, and there is more to do.
    More(u64),
    /// The pass is complete.
    Done(Outcome),
}

/// The result of a pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) clean_to: Offset,
    pub(super) keep: u64,
    pub(super) oldest_tombstone_ms: Option<i64>,
    pub(super) is_unfinished: bool,
    /// The offsets of the damaged segments, from the first to the last of them.
    pub(super) damage: Option<Range<Offset>>,
    /// Whether trimmed records may be left in a damaged segment.
    pub(super) leaves_trimmed: bool,
    /// Whether all records were removed that compaction must remove, not only trimmed ones.
    pub(super) is_of_all: bool,
    pub(super) removed: u64,
    pub(super) bytes: u64,
}

/// The task of a pass.
pub(super) struct Task {
    pub(super) clean_to: Offset,
    pub(super) limit: Offset,
    /// Whether there may be tombstones whose time is over.
    pub(super) drops_tombstones: bool,
    /// See [`Pass`].
    pub(super) only: Option<BTreeSet<Offset>>,
    pub(super) asked: u64,
    pub(super) is_hurried: bool,
}

impl Pass {
    pub(super) fn new(shared: &Shared, partition: PartitionRef, task: Task) -> Self {
        let start = partition.range().0;
        let clean_to = task.clean_to.max(start);
        let from = if task.only.is_some() {
            task.limit
        } else if task.drops_tombstones {
            start
        } else {
            clean_to
        };
        let memory = shared.budget.part(budget::Name::KeyIndex);
        let memory = memory.within(memory.bound() / SHARE_OF_KEY_MEMORY);
        Self {
            settings: partition.topic.settings(),
            hidden: partition.partition().log.view().hidden().clone(),
            partition,
            only: task.only,
            now_ms: shared.clock.now_ms(),
            asked: task.asked,
            is_hurried: task.is_hurried,
            clean_to,
            limit: task.limit,
            keys: KeyMap::new(Arc::new(memory)),
            stage: Stage::Scan(Cursor::new(from)),
            is_unfinished: false,
            damage: None,
            left: Vec::new(),
            oldest_tombstone_ms: None,
            removed: 0,
            bytes: 0,
            not_before: Duration::ZERO,
        }
    }

    /// Whether the pass may continue: an erasure changes what is known of keys, and changed
    /// settings may keep other records.
    pub(super) fn is_current(&self) -> bool {
        !self.partition.is_deleted()
            && self
                .partition
                .partition()
                .log
                .view()
                .hidden()
                .has_same_erasures(&self.hidden)
            && self.partition.topic.settings() == self.settings
    }

    pub(super) fn goes_on_at(&self) -> Duration {
        self.not_before
    }

    pub(super) fn wait_until(&mut self, at: Duration) {
        self.not_before = at;
    }

    /// Takes a step.
    pub(super) fn step(&mut self, shared: &Shared) -> Result<Step, Hindered> {
        let before = self.bytes;
        let is_done = match &self.stage {
            Stage::Scan(cursor) => self.scan(shared, *cursor)?,
            Stage::Filter { next, to } => self.filter_next(shared, *next, *to)?,
            Stage::Merge { next, to } => self.merge_next(shared, *next, *to)?,
            Stage::Index { next, to } => self.drop_rows(shared, *next, *to)?,
        };
        Ok(match is_done {
            Some(clean_to) => Step::Done(self.outcome(clean_to)),
            None => Step::More(self.bytes - before),
        })
    }

    fn outcome(&self, clean_to: Offset) -> Outcome {
        Outcome {
            clean_to,
            keep: self.settings.compaction_keep,
            oldest_tombstone_ms: self.oldest_tombstone_ms,
            leaves_trimmed: false,
            is_of_all: self.only.is_none(),
            is_unfinished: self.is_unfinished,
            damage: self.damage.clone(),
            removed: self.removed,
            bytes: self.bytes,
        }
    }

    /// Notes keys from the cursor on.
    fn scan(&mut self, shared: &Shared, mut cursor: Cursor) -> Result<Option<Offset>, Hindered> {
        let partition = self.partition.clone();
        let reader = shared.partitions.patient_reader(&partition);
        let mut left = STEP_BYTES;
        while cursor.next < self.limit && left > 0 {
            let from = cursor.next;
            match reader.read(&mut cursor, READ_BYTES) {
                Ok(frames) => {
                    for frame in &frames {
                        let bytes = frame.bytes().len() as u64;
                        (left, self.bytes) = (left.saturating_sub(bytes), self.bytes + bytes);
                        if let Some(to) = self.note_keys(&partition, frame, from) {
                            return self.end_scan(shared, to);
                        }
                    }
                }
                // The segment is left as it is, and reads report the damage.
                Err(ReadError::Damaged { to, .. }) => {
                    cursor = Cursor::new(to.max(from.plus(1)));
                }
                // The segment was trimmed meanwhile.
                Err(ReadError::BelowStart) => cursor = Cursor::new(partition.range().0),
                Err(ReadError::Unavailable(error)) => return Err(error.into()),
            }
        }
        if cursor.next < self.limit {
            self.stage = Stage::Scan(cursor);
            return Ok(None);
        }
        self.end_scan(shared, self.limit)
    }

    /// Notes the keys of a frame. Returns where to stop, if the scan ends here.
    fn note_keys(
        &mut self,
        partition: &PartitionRef,
        frame: &Frame,
        from: Offset,
    ) -> Option<Offset> {
        let header = frame.header();
        let (min_ms, _) = lags_ms(&self.settings);
        let is_young = header.append_time_ms.saturating_add(min_ms) > self.now_ms;
        if header.base >= self.limit || (is_young && header.end() > self.clean_to) {
            return Some(header.base.max(self.clean_to).min(self.limit));
        }
        let is_over = |since_ms: i64| {
            let life_ms = self.settings.delete_retention_ms.map(i64::try_from);
            let life_ms = life_ms.map(|life_ms| life_ms.unwrap_or(i64::MAX));
            life_ms.is_some_and(|life_ms| since_ms.saturating_add(life_ms) <= self.now_ms)
        };
        let are_gone = header.tombstones_since_ms.is_some_and(is_over);
        let records = frame.records();
        for element in Records::new(&records).map_while(Result::ok) {
            let Ok(record) = RecordView::parse(element.1) else {
                continue;
            };
            let Some(offset) = record.offset.map(Offset).filter(|offset| *offset >= from) else {
                continue;
            };
            if offset >= self.limit {
                return Some(self.limit);
            }
            let is_noted = self.note_key(partition, &record, offset, are_gone);
            if !is_noted {
                self.is_unfinished = true;
                return Some(offset);
            }
        }
        None
    }

    /// Notes a record's key; returns false if there is no memory for it.
    fn note_key(
        &mut self,
        partition: &PartitionRef,
        record: &RecordView<'_>,
        offset: Offset,
        are_gone: bool,
    ) -> bool {
        let key = Key::of(record, &partition.topic.hasher);
        let (Some(key), Some(version)) = (key, record.version.map(Version)) else {
            return true;
        };
        let is_gone = are_gone && is_tombstone(record);
        let newest = if offset >= self.clean_to {
            match self.keys.find_or_add(&key) {
                Some(newest) => newest,
                None => return false,
            }
        } else if is_gone && !self.keys.is_half_full() {
            match self.keys.find_or_add(&key) {
                Some(newest) => newest,
                None => return true,
            }
        } else {
            // In the clean part, a key matters only if some record of it is to be removed.
            self.is_unfinished |= is_gone;
            match self.keys.find_mut(&key) {
                Some(newest) => newest,
                None => return true,
            }
        };
        newest.version = newest.version.max(version);
        if is_gone {
            newest.gone = newest.gone.max(version);
        }
        true
    }

    /// Ends the scan: keys are known from records before `to`. The segments come next.
    fn end_scan(&mut self, shared: &Shared, to: Offset) -> Result<Option<Offset>, Hindered> {
        let to = to.max(self.clean_to);
        self.keep_versions(shared)?;
        shared.keep_trimmed_versions(&self.partition, self.hidden.trimmed())?;
        let next = self.partition.range().0;
        self.stage = Stage::Filter { next, to };
        Ok(None)
    }

    /// Makes the versions of keys durable of which no record stays, so that they continue there.
    fn keep_versions(&self, shared: &Shared) -> Result<(), Hindered> {
        let mut lasts = Vec::new();
        for (key, newest) in self.keys.iter() {
            if newest.is_gone() {
                lasts.push(key.last_version(newest.version));
            }
        }
        if lasts.is_empty() {
            return Ok(());
        }
        lasts.sort_by_key(LastVersion::order);
        shared.partitions.keep_versions(&self.partition, &lasts)?;
        // The checkpoint names the table.
        let mut housekeeper = lock(&shared.maintenance.housekeeper);
        housekeeper.checkpoint(shared, Freeze::Due)?;
        Ok(())
    }

    /// Writes the next segment anew, if it has records to remove.
    fn filter_next(
        &mut self,
        shared: &Shared,
        next: Offset,
        to: Offset,
    ) -> Result<Option<Offset>, Hindered> {
        let Some(segment) = self.segment_from(next, to) else {
            let next = self.partition.range().0;
            self.stage = Stage::Merge { next, to };
            return Ok(None);
        };
        self.stage = Stage::Filter {
            next: segment.end,
            to,
        };
        let seen = self.filter(shared, &segment, to)?;
        match seen {
            Some(seen) => {
                self.removed += seen.removed;
                let oldest = [self.oldest_tombstone_ms, seen.oldest_tombstone_ms];
                self.oldest_tombstone_ms = oldest.into_iter().flatten().min();
                if seen.has_hole || seen.end < segment.end {
                    self.note_damage(&segment);
                }
            }
            None if self.damage.is_some() => {
                self.note_damage(&segment);
                self.left.push(segment);
            }
            None => {
                self.note_damage(&segment);
                // Once more, keeping its tombstones: records before them may be in its damaged
                // part.
                self.stage = Stage::Filter {
                    next: segment.start,
                    to,
                };
            }
        }
        Ok(None)
    }

    fn note_damage(&mut self, segment: &Range<Offset>) {
        let first = self
            .damage
            .as_ref()
            .map_or(segment.start, |damage| damage.start);
        self.damage = Some(first..segment.end);
    }

    /// The next sealed segment that ends behind `next`, begins before `to`, and is one of those
    /// that the pass is for.
    fn segment_from(&self, next: Offset, to: Offset) -> Option<Range<Offset>> {
        let log = lock(&self.partition.partition().log);
        let next = next.max(log.start());
        // Trimmed records are also removed behind `to`.
        let to = match self.hidden.trimmed().is_empty() {
            true => to,
            false => self.limit,
        };
        let is_wanted = |range: &Range<Offset>| match &self.only {
            Some(only) => only.contains(&range.start),
            None => true,
        };
        let ranges = log.sealed_ranges();
        let mut there = ranges.into_iter().filter(|range| range.end > next);
        there.find(is_wanted).filter(|range| range.start < to)
    }

    /// Writes a segment anew, if it has records to remove. Returns what was seen in it; `None` if
    /// it is damaged or incomplete.
    fn filter(
        &mut self,
        shared: &Shared,
        segment: &Range<Offset>,
        to: Offset,
    ) -> Result<Option<Seen>, Hindered> {
        let partition = self.partition.clone();
        let (log, segments) = (&partition.partition().log, &shared.partitions.segments);
        let rewrite = unless_damaged(Rewrite::of(log, segments, segment.start))?.flatten();
        let Some(rewrite) = rewrite else {
            let is_trimmed = partition.range().0 >= segment.end;
            return Ok(is_trimmed.then(|| Seen::from(segment.end)));
        };
        let bytes = rewrite.room()?;
        self.bytes += bytes;
        let rules = self.rules(&partition, to);
        let mut seen = Seen::from(segment.start);
        let found = rewrite.find_frame(|frame| {
            let kept = rules.keep_of(frame);
            seen.note(frame, &kept);
            !kept.is_all_of(frame)
        });
        match unless_damaged(found)?.flatten() {
            None => return Ok(None),
            Some(false) => return Ok(Some(seen)),
            Some(true) => {}
        }
        check_room_to_compact(&shared.health, bytes, || rules.kept_bytes(&rewrite))?;
        let mut filter = Filter::new(rules, segment.start);
        let rewrite = rewrite.compressed(Method::of(&self.settings));
        let rewritten = unless_damaged(rewrite.write_edited(&mut filter))?.flatten();
        let Some(rewritten) = rewritten else {
            return Ok(None);
        };
        let seen = filter.seen;
        if seen.has_hole && self.damage.is_none() {
            return Ok(None);
        }
        // With this lock, nobody removes segments or renames the directories of deleted topics
        // meanwhile.
        let _housekeeper = lock(&shared.maintenance.housekeeper);
        if !partition.is_deleted() {
            rewritten.install(log)?;
        }
        Ok(Some(seen))
    }
}

impl Pass {
    fn rules<'a>(&'a self, partition: &'a PartitionRef, to: Offset) -> Rules<'a> {
        Rules {
            keys: &self.keys,
            hasher: &partition.topic.hasher,
            keep: self.settings.compaction_keep,
            to,
            now_ms: (self.only.is_none() && self.damage.is_none()).then_some(self.now_ms),
            trimmed: self.hidden.trimmed(),
        }
    }

    /// Merges the next small segments.
    fn merge_next(
        &mut self,
        shared: &Shared,
        next: Offset,
        to: Offset,
    ) -> Result<Option<Offset>, Hindered> {
        let Some(offsets) = self.to_merge(shared, next, to)? else {
            if self.removed == 0 {
                return Ok(Some(to));
            }
            self.keys.clear();
            let next = Offset::ZERO;
            self.stage = Stage::Index { next, to };
            return Ok(None);
        };
        // Segments that cannot be merged because of damage are skipped.
        let next = match self.merge(shared, &offsets, to)? {
            true => next,
            false => offsets.end,
        };
        self.stage = Stage::Merge { next, to };
        Ok(None)
    }

    /// Drops rows of removed records from the next part of the key index.
    fn drop_rows(
        &mut self,
        shared: &Shared,
        next: Offset,
        to: Offset,
    ) -> Result<Option<Offset>, Hindered> {
        let memory = self.keys.memory();
        let dropped = shared
            .partitions
            .drop_gone_rows(&self.partition, next, memory)?;
        let Some(part) = dropped else {
            return Ok(Some(to));
        };
        self.bytes += part.bytes;
        self.stage = Stage::Index { next: part.end, to };
        Ok(None)
    }

    /// The offsets of adjacent segments to merge, from `next` on. In a topic whose records expire
    /// none are merged, because a segment is removed as a whole when its last record is old enough.
    /// Sizes are those before compression.
    fn to_merge(
        &self,
        shared: &Shared,
        next: Offset,
        to: Offset,
    ) -> Result<Option<Range<Offset>>, Hindered> {
        if self.settings.has_limits() {
            return Ok(None);
        }
        let reader = shared.partitions.reader(&self.partition);
        let small: Vec<Part> = reader.with_parts(|parts, _| {
            let sealed = parts.filter(|part| part.is_sealed);
            sealed
                .filter(|part| part.base >= next && part.end <= to)
                .collect()
        });
        let mut sizes = Vec::with_capacity(small.len());
        for part in &small {
            let bytes = reader.unpacked_bytes(part);
            let dir = || lock(&self.partition.partition().log).dir();
            sizes.push(bytes.map_err(|error| FileError::when(Action::Read, &dir())(error))?);
        }
        let range = merge::plan(&sizes, self.settings.roll_bytes());
        Ok(range.map(|range| small[range.start].base..small[range.end - 1].end))
    }

    /// Writes the segments with these offsets as one; returns false if that is impossible.
    fn merge(
        &mut self,
        shared: &Shared,
        offsets: &Range<Offset>,
        to: Offset,
    ) -> Result<bool, Hindered> {
        let partition = self.partition.clone();
        let (log, segments) = (&partition.partition().log, &shared.partitions.segments);
        let rewrite = unless_damaged(Rewrite::of_several(log, segments, offsets))?.flatten();
        let Some(rewrite) = rewrite else {
            return Ok(false);
        };
        let bytes = rewrite.room()?;
        self.bytes += bytes;
        let rules = self.rules(&partition, to);
        check_room_to_compact(&shared.health, bytes, || rules.kept_bytes(&rewrite))?;
        let mut filter = Filter::new(rules, offsets.start);
        let rewrite = rewrite.compressed(Method::of(&self.settings));
        let rewritten = unless_damaged(rewrite.write_edited(&mut filter))?.flatten();
        let seen = filter.seen;
        let Some(rewritten) = rewritten.filter(|_| !seen.has_hole) else {
            return Ok(false);
        };
        let _housekeeper = lock(&shared.maintenance.housekeeper);
        if !partition.is_deleted() {
            rewritten.install(log)?;
        }
        Ok(true)
    }
}
