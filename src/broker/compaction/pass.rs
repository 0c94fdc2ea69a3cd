//! One pass over a partition, in steps.
//!
//! First it takes note of the newest version of each key, from where the partition is clean up to
//! the end of its sealed segments, or up to where its memory is used up. Then it goes through the
//! segments from the oldest on, and writes those anew of which something goes. So what a tombstone
//! stands for is gone before the tombstone is, and a crash at any moment leaves each segment as it
//! was or as it is to be; what is done again then is less than before.
//!
//! What is known of keys whose last records go is made durable before. At last small segments are
//! merged, and rows of the key index are dropped whose records went.

use std::{collections::BTreeSet, ops::Range, sync::Arc, time::Duration};

use super::{
    decide::lags_ms,
    filter::{Filter, Rules, Seen, is_tombstone},
    hindered::{Hindered, check_room, unless_damaged},
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

/// How much is read in one step; a segment is written anew in one. Tests have small segments, and
/// many steps all the same.
const STEP_BYTES: u64 = if cfg!(test) { 32 << 10 } else { 32 << 20 };

/// How much is read at once.
const READ_BYTES: usize = if cfg!(test) { 32 << 10 } else { 1 << 20 };

/// Of the memory for key indexes, this part is for the keys of a pass.
const SHARE_OF_KEY_MEMORY: usize = 4;

/// A pass over a partition.
pub(super) struct Pass {
    pub(super) partition: PartitionRef,
    settings: TopicSettings,
    /// As it was when it began. What trims of entities had taken then goes.
    pub(super) hidden: Hidden,
    /// Whether records go that newer ones of their keys have replaced. If not, only what was
    /// trimmed goes, which is in these segments, known by their first offsets.
    only: Option<BTreeSet<Offset>>,
    now_ms: i64,
    /// Which question it answers.
    pub(super) asked: u64,
    /// Whether it is not slowed down.
    pub(super) is_hurried: bool,
    /// What is before this is clean.
    clean_to: Offset,
    /// It goes up to here at most.
    pub(super) limit: Offset,
    keys: KeyMap,
    stage: Stage,
    /// Not all keys, or not all tombstones, had room in memory.
    is_unfinished: bool,
    is_behind_damage: bool,
    /// The segments that stay as they are because they are damaged.
    pub(super) left: Vec<Range<Offset>>,
    oldest_tombstone_ms: Option<i64>,
    /// Records that went.
    removed: u64,
    /// Bytes that were read.
    bytes: u64,
    not_before: Duration,
}

enum Stage {
    /// Noting keys.
    Scan(Cursor),
    /// Writing segments anew, from this offset on; what is known of keys is of records before `to`.
    /// Segments of which something was trimmed also behind that.
    Filter { next: Offset, to: Offset },
    /// Merging segments, from this offset on, up to there.
    Merge { next: Offset, to: Offset },
    /// Dropping rows of the key index, from this offset on, of records that went.
    Index { next: Offset, to: Offset },
}

/// What a step has come to.
pub(super) enum Step {
    /// So many bytes were read, and there is more to do.
    More(u64),
    /// The pass is complete.
    Done(Outcome),
}

/// What a pass has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) clean_to: Offset,
    pub(super) keep: u64,
    pub(super) oldest_tombstone_ms: Option<i64>,
    pub(super) is_unfinished: bool,
    pub(super) is_behind_damage: bool,
    /// What was trimmed stays somewhere, because it is damaged there.
    pub(super) leaves_trimmed: bool,
    /// Whether records went that newer ones of their keys have replaced.
    pub(super) is_of_all: bool,
    pub(super) removed: u64,
    pub(super) bytes: u64,
}

/// What a pass is to do.
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
            is_behind_damage: false,
            left: Vec::new(),
            oldest_tombstone_ms: None,
            removed: 0,
            bytes: 0,
            not_before: Duration::ZERO,
        }
    }

    /// Whether what it began with still holds: an erasure changes what may be known of keys, and
    /// other settings what is to stay.
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
            is_behind_damage: self.is_behind_damage,
            removed: self.removed,
            bytes: self.bytes,
        }
    }

    /// Takes note of keys from here on.
    fn scan(&mut self, shared: &Shared, mut cursor: Cursor) -> Result<Option<Offset>, Hindered> {
        let partition = self.partition.clone();
        let reader = shared.partitions.reader(&partition);
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
                // The segment is left as it is, and readers are told.
                Err(ReadError::Damaged { to, .. }) => {
                    cursor = Cursor::new(to.max(from.plus(1)));
                }
                // Trimmed meanwhile.
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

    /// Takes note of the keys of a frame; where to stop, if the pass goes no further.
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

    /// Takes note of a record's key; false if there is no memory for it.
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
            // What is clean is of interest only where something of its key goes.
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

    /// Keys are known of what is before `to`: segments come next, if anything can go.
    fn end_scan(&mut self, shared: &Shared, to: Offset) -> Result<Option<Offset>, Hindered> {
        let to = to.max(self.clean_to);
        self.keep_versions(shared)?;
        shared.keep_trimmed_versions(&self.partition, self.hidden.trimmed())?;
        let next = self.partition.range().0;
        self.stage = Stage::Filter { next, to };
        Ok(None)
    }

    /// Makes the versions of keys durable of which nothing stays: they go on there.
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
        // Names the table.
        let mut housekeeper = lock(&shared.maintenance.housekeeper);
        housekeeper.checkpoint(shared, Freeze::Due)?;
        Ok(())
    }

    /// Writes the next segment anew, if something of it goes.
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
                self.is_behind_damage |= seen.has_hole || seen.end < segment.end;
            }
            None if self.is_behind_damage => self.left.push(segment),
            None => {
                self.is_behind_damage = true;
                // Its tombstones stay: they may be behind what is damaged of it.
                self.stage = Stage::Filter {
                    next: segment.start,
                    to,
                };
            }
        }
        Ok(None)
    }

    /// The next sealed segment that has records from here on, and before `to`, and that is one of
    /// those of the pass.
    fn segment_from(&self, next: Offset, to: Offset) -> Option<Range<Offset>> {
        let log = lock(&self.partition.partition().log);
        let next = next.max(log.start());
        // What was trimmed goes also where nothing else does.
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

    /// Writes a segment anew, if something of it goes; what was seen in it, and none if it is
    /// damaged, or not all of it is there.
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
        check_room(&shared.health, bytes)?;
        let mut filter = Filter::new(rules, segment.start);
        let rewrite = rewrite.compressed(Method::of(&self.settings));
        let rewritten = unless_damaged(rewrite.write_edited(&mut filter))?.flatten();
        let Some(rewritten) = rewritten else {
            return Ok(None);
        };
        let seen = filter.seen;
        if seen.has_hole && !self.is_behind_damage {
            return Ok(None);
        }
        // Whoever holds this removes segments, and renames the directories of deleted topics.
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
            now_ms: (self.only.is_none() && !self.is_behind_damage).then_some(self.now_ms),
            trimmed: self.hidden.trimmed(),
        }
    }

    /// Merges the next segments that are small.
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
        // Those that cannot be merged, because of damage, are passed over.
        let next = match self.merge(shared, &offsets, to)? {
            true => next,
            false => offsets.end,
        };
        self.stage = Stage::Merge { next, to };
        Ok(None)
    }

    /// Drops rows of records that went from the next part of the key index.
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

    /// The offsets of adjacent segments to be merged, from `next` on. Where records expire, none
    /// are: a segment goes as a whole, when its last record is old enough. What counts is how large
    /// they are where they are not compressed.
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

    /// Writes the segments of these offsets as one; false if that cannot be.
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
        check_room(&shared.health, bytes)?;
        let mut filter = Filter::new(self.rules(&partition, to), offsets.start);
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
