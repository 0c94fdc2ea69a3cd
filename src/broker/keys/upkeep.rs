//! Freezes tables, writes and merges tables of records, and fills gaps from the log, of one
//! partition; `round.rs` does this for all.
//!
//! A table in memory is frozen before a checkpoint and written out after it: its records are in
//! segments then, and no start goes back before them. One thread at a time changes a partition's
//! files: the one that holds its upkeep lock.

use std::{
    ops::Range,
    sync::{Arc, atomic::Ordering},
};

use super::{KeyIndex, holes::MOST_HOLES};
use crate::{
    broker::{
        Error, lock,
        partitions::Partitions,
        state::{PartitionRef, Topic},
    },
    catalog::Token,
    storage::{
        fault::Meaning,
        files::FileError,
        format::{frame::Frame, sorted_table::Row},
        keys::{
            Files, Hole,
            hash::{KeyHash, KeyHasher},
            merge, set,
            sorted_table::{Content, Kind, SortedTable},
            table::Table,
        },
        log::{Cursor, Identity, ReadError},
    },
    types::{Keys, Offset, RecordView, Records, Version, limits},
};

/// Most rows of a table that is built from the log: they are in memory while they are sorted.
const GAP_ROWS: usize = 4 << 20;

/// How far a table in memory may be behind the log before it is written out, in journal files: so
/// much is read again after a crash. Tables of few hot keys are small for what they cover; if they
/// were written out for each journal file, writing and merging them would cost a fifth of an
/// append.
const LAG_JOURNAL_FILES: u64 = 4;

/// Most tables in memory that are written out when the broker closes. Each takes two syncs, one
/// after the other. The rest is read from the log when it is first needed, as after a crash.
const MOST_AT_CLOSE: usize = 64;

/// Which tables to freeze.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::broker) enum Freeze {
    /// Tables that are large, or would take a start long to rebuild.
    Due,
    /// Also the [`MOST_AT_CLOSE`] tables that are furthest behind the log, because the broker is
    /// being closed and the next start should read less.
    ForClose,
}

/// Rows that were read from the log.
struct ReadRows {
    rows: Vec<Row>,
    /// The offset up to which these are all rows.
    reached: Offset,
    /// Set if what follows cannot be read.
    hole: Option<Hole>,
}

/// When a table is due to be frozen.
struct Due {
    /// From this size in memory on.
    bytes: usize,
    /// If it is this far behind the log, in bytes.
    lag: u64,
    /// If a table with rows is this far behind the log, in bytes.
    lag_of_rows: u64,
}

impl Partitions {
    /// Freezes tables for the checkpoint that is about to be written.
    pub(in crate::broker) fn freeze_tables(&self, which: Freeze, journal_file_bytes: u64) {
        let due = Due {
            bytes: self.large_table_bytes(),
            lag: LAG_JOURNAL_FILES * journal_file_bytes,
            lag_of_rows: match which {
                Freeze::Due => u64::MAX,
                Freeze::ForClose => self.lag_for_close(),
            },
        };
        for topic in self.all_topics() {
            if topic.settings().keys == Keys::Plain {
                continue;
            }
            for partition in topic.partitions.iter() {
                let next = &mut *lock(&partition.next);
                if next.keys.is_due(next.offset, &due) {
                    next.keys.freeze(next.offset);
                    next.keys.count_memory(&self.key_memory);
                }
            }
        }
    }

    /// How far behind the log a table must be to be written out when the broker closes.
    fn lag_for_close(&self) -> u64 {
        let mut lags: Vec<u64> = Vec::new();
        for topic in self.all_topics() {
            let tables = topic
                .partitions
                .iter()
                .map(|partition| lock(&partition.next));
            lags.extend(
                tables
                    .filter(|next| next.keys.table.len_rows() > 0)
                    .map(|next| next.keys.lag),
            );
        }
        lags.sort_unstable_by(|one, other| other.cmp(one));
        // If many tables have the same lag, none of them is taken rather than too many.
        lags.get(MOST_AT_CLOSE).map_or(0, |lag| lag + 1)
    }

    /// The size from which a table is written out. When memory runs short, it is at most half of
    /// the average size, so the tables below it use less than half of the memory.
    fn large_table_bytes(&self) -> usize {
        let most = self.key_memory.bound();
        if !self.key_memory.is_pressed() {
            return most / 16;
        }
        let tables: usize = self
            .all_topics()
            .iter()
            .map(|topic| topic.partitions.len())
            .sum();
        (most / 1024).min(self.key_memory.used() / (2 * tables.max(1)))
    }

    /// Writes a partition's frozen table out, if the last checkpoint covers it.
    pub(in crate::broker) fn write_frozen(
        &self,
        partition: &PartitionRef,
    ) -> Result<(), FileError> {
        let _upkeep = lock(&partition.partition().upkeep);
        let (frozen, to) = {
            let next = lock(&partition.partition().next);
            (next.keys.frozen.clone(), next.keys.table.from())
        };
        let Some(frozen) = frozen else { return Ok(()) };
        if to.0 > partition.partition().checkpointed.load(Ordering::Acquire) {
            return Ok(());
        }
        let counts = (frozen.len_rows(), frozen.len_keys());
        let run = self.write_run(partition, frozen.from()..to, counts, frozen.rows())?;
        let (path, bytes, keys) = (run.path().display(), run.bytes(), frozen.len_keys());
        tracing::debug!(%path, bytes, keys, "a key table was written");
        self.change_files(partition, |keys, files| {
            keys.frozen = None;
            files.runs.push(Arc::new(run));
        });
        Ok(())
    }

    pub(super) fn merge_runs(&self, partition: &PartitionRef, few: bool) -> Result<(), FileError> {
        let _upkeep = lock(&partition.partition().upkeep);
        loop {
            let files = partition.partition().index();
            let Some(range) = files.plan_merge(few) else {
                return Ok(());
            };
            let inputs = &files.runs[range.clone()];
            let (keep_from, dir) = {
                let log = lock(&partition.partition().log);
                (log.first_kept(), log.dir())
            };
            let is_kept = |offset: Offset| offset >= keep_from;
            match merge::merge(&*self.env.files, &dir, inputs, None, is_kept) {
                Ok(merged) => {
                    let merged = Arc::new(merged);
                    self.change_files(partition, |_, files| {
                        files.runs.splice(range.clone(), [merged.clone()]);
                    });
                    let freeing = self.segments.freeing();
                    set::remove_merged(&*self.env.files, &dir, inputs, &merged, freeing)?;
                }
                Err(merge::Error::File(error)) => return Err(error),
                Err(merge::Error::Damaged(damaged)) => {
                    tracing::warn!(%damaged, "a part of a key index is damaged and is rebuilt");
                    let run = inputs
                        .iter()
                        .find(|run| *run.path() == damaged.path)
                        .expect("one of those merged");
                    self.leave_gap(partition, run);
                }
            }
        }
    }

    /// Gives up a damaged table of records: its rows are rebuilt from the log.
    pub(super) fn make_gap(&self, partition: &PartitionRef, run: &Arc<SortedTable>) {
        let _upkeep = lock(&partition.partition().upkeep);
        self.leave_gap(partition, run);
    }

    /// As [`make_gap`](Self::make_gap), if the upkeep lock is held already.
    pub(super) fn leave_gap(&self, partition: &PartitionRef, run: &Arc<SortedTable>) {
        self.change_files(partition, |_, files| {
            let before = files.runs.len();
            files.runs.retain(|other| !Arc::ptr_eq(other, run));
            if files.runs.len() < before {
                files.gaps.push(run.from()..run.to());
                files.gaps.sort_by_key(|gap| gap.start);
            }
        });
    }

    /// Completes a partition's files from the log.
    pub(super) fn fill_gaps(&self, partition: &PartitionRef) -> Result<(), Error> {
        let filled = self.fill_gaps_quietly(partition);
        filled.map_err(|error| {
            if partition.is_deleted() {
                Error::UnknownTopic {
                    topic: partition.topic.name.to_string(),
                }
            } else {
                self.explain_file(&error)
            }
        })
    }

    /// The error to report if a file of an index cannot be read or written.
    pub(super) fn explain_file(&self, error: &FileError) -> Error {
        match error.meaning() {
            _ if error.is_disk_full() => Error::DiskFull(self.health.note_full()),
            Meaning::Passing | Meaning::Damage => self.health.unavailable(error),
            Meaning::Fatal => {
                self.health.fail(error.to_string());
                Error::ShuttingDown
            }
        }
    }

    pub(super) fn fill_gaps_quietly(&self, partition: &PartitionRef) -> Result<(), FileError> {
        let _upkeep = lock(&partition.partition().upkeep);
        self.convert_earlier(partition)?;
        let mut has_built = false;
        loop {
            let (first_kept, start) = {
                let log = lock(&partition.partition().log);
                (log.first_kept(), log.start())
            };
            let files = partition.partition().index();
            let Some(unread) = files.unread(start, self.env.clock.elapsed()) else {
                if has_built {
                    self.note_built();
                }
                return Ok(());
            };
            has_built |= !files.gaps.is_empty();
            let from = unread.start.max(first_kept).min(unread.end);
            let mut read = self.rows_in_log(partition, from..unread.end)?;
            if let Some(hole) = &mut read.hole {
                if files.holes.len() >= MOST_HOLES {
                    hole.offsets.end = unread.end;
                }
                self.report_hole(partition, &files, hole);
            }
            // Even without rows, because tables must cover adjacent offsets.
            let covered = unread.start..read.reached;
            let run = if covered.is_empty() {
                None
            } else {
                let hashes = read.rows.chunk_by(|one, other| one.hash == other.hash);
                let counts = (read.rows.len(), hashes.count());
                Some(Arc::new(
                    self.write_run(partition, covered, counts, read.rows)?,
                ))
            };
            self.change_files(partition, |_, files| {
                let behind = read.hole.as_ref().map(|hole| hole.offsets.end);
                files.has_read(&(unread.start..behind.unwrap_or(read.reached)));
                files.runs.extend(run);
                files.runs.sort_by_key(|run| run.from());
                if let Some(hole) = read.hole {
                    files.add_hole(hole);
                }
            });
        }
    }

    /// The rows of a part of the log, sorted. Stops at its end, at the most rows for one table, or
    /// at damage.
    fn rows_in_log(
        &self,
        partition: &PartitionRef,
        range: Range<Offset>,
    ) -> Result<ReadRows, FileError> {
        let now = self.env.clock.elapsed();
        let reader = self.reader(partition);
        let mut cursor = Cursor::new(range.start);
        let (mut rows, mut hole) = (Vec::new(), None);
        while cursor.next < range.end && rows.len() < GAP_ROWS {
            match reader.read_trimmed(&mut cursor, limits::MAX_RESPONSE_BYTES) {
                Ok(frames) if frames.is_empty() => {
                    let missing = cursor.next..range.end;
                    hole = Some(Hole::new(missing, "missing".to_owned(), now));
                    break;
                }
                Ok(frames) => frames
                    .iter()
                    .for_each(|frame| add_rows(&partition.topic, frame, &mut rows)),
                Err(ReadError::Damaged { to, cause, .. }) => {
                    let to = to.max(cursor.next.plus(1)).min(range.end);
                    let start = lock(&partition.partition().log).start();
                    if cursor.next < start {
                        let trimmed = cursor.next..to.min(start);
                        cursor = Cursor::new(trimmed.end);
                        report_forgotten(partition, &trimmed);
                        continue;
                    }
                    hole = Some(Hole::new(cursor.next..to, cause, now));
                    break;
                }
                Err(ReadError::Unavailable(error)) => return Err(error),
                // The segment was removed meanwhile.
                Err(ReadError::BelowStart) => {
                    cursor = Cursor::new(
                        cursor
                            .next
                            .plus(1)
                            .max(lock(&partition.partition().log).first_kept()),
                    );
                }
            }
        }
        let reached = cursor.next.min(range.end);
        rows.retain(|row| range.contains(&row.offset()) && row.offset() < reached);
        rows.sort_unstable();
        Ok(ReadRows {
            rows,
            reached,
            hole,
        })
    }

    fn write_run(
        &self,
        partition: &PartitionRef,
        range: Range<Offset>,
        (expected_rows, expected_hashes): (usize, usize),
        rows: impl IntoIterator<Item = Row>,
    ) -> Result<SortedTable, FileError> {
        let content = Content {
            kind: Kind::Records,
            identity: Identity {
                topic: partition.topic.id,
                partition: partition.partition().id,
            },
            fingerprint: partition.topic.hasher.fingerprint(),
            from: range.start.0,
            to: range.end.0,
            expected_rows: expected_rows as u64,
            expected_hashes: expected_hashes as u64,
        };
        let dir = lock(&partition.partition().log).dir();
        crate::storage::files::ensure_dir(&*self.env.files, &self.dir.topic(partition.topic.id))?;
        crate::storage::files::ensure_dir(&*self.env.files, &dir)?;
        SortedTable::write(&*self.env.files, &dir, &content, rows)
    }

    /// Changes the index files that appends use. The caller holds the upkeep lock.
    pub(super) fn change_files(
        &self,
        partition: &PartitionRef,
        change: impl FnOnce(&mut KeyIndex, &mut Files),
    ) {
        let mut next = lock(&partition.partition().next);
        let mut log = lock(&partition.partition().log);
        log.change_index(|files| change(&mut next.keys, files));
        next.keys.count_memory(&self.key_memory);
    }
}

impl Files {
    /// Which adjacent tables of records to merge, if any.
    fn plan_merge(&self, few: bool) -> Option<Range<usize>> {
        if !self.gaps.is_empty() {
            return None;
        }
        let mut first = 0;
        for adjacent in self.runs.chunk_by(|one, next| one.to() == next.from()) {
            let sizes: Vec<merge::Size> = adjacent.iter().map(|run| run.size()).collect();
            if let Some(planned) = merge::plan(&sizes, merge::Tiers::RECORDS, few) {
                return Some(first + planned.start..first + planned.end);
            }
            first += adjacent.len();
        }
        None
    }
}

impl KeyIndex {
    fn is_due(&self, next: Offset, due: &Due) -> bool {
        let holds = self.table.len_rows() > 0;
        // Keys that were only looked up take memory too.
        let large = self.table.bytes() >= due.bytes && self.table.len_keys() > 0;
        let behind = self.lag >= due.lag;
        let cramped = !self.table.has_room(next.plus(1 << 31));
        self.frozen.is_none()
            && (large || behind || (holds && (cramped || self.lag >= due.lag_of_rows)))
    }

    /// Freezes the table, to be written out; appends continue in an empty one, from `next` on.
    fn freeze(&mut self, next: Offset) {
        if self.lag == 0 && self.table.len_rows() == 0 {
            // It has only keys that were looked up, which the files know.
            self.table = Table::new(self.table.from());
            return;
        }
        let successor = self.table.successor(next);
        let table = std::mem::replace(&mut self.table, successor);
        self.lag = 0;
        self.frozen = Some(Arc::new(table));
    }

    /// Adds the rows of a frame that is read again after a start.
    pub(in crate::broker) fn add_again(&mut self, topic: &Topic, frame: &Frame) {
        let hasher = &topic.hasher;
        for_each_key(topic, frame, |key, offset, version| {
            let hash = hasher.key(key);
            let before = || Version(version.0 - 1);
            let entry = self
                .table
                .find(hash, key)
                .unwrap_or_else(|| self.table.insert(hash, key, before()));
            self.table.push_at(entry, offset, version);
        });
        self.lag += frame.bytes().len() as u64;
    }
}

/// Logs that the keys of trimmed records are lost.
pub(super) fn report_forgotten(partition: &PartitionRef, offsets: &Range<Offset>) {
    if partition.is_deleted() {
        // They are not damaged: their files are being removed.
        return;
    }
    tracing::error!(
        topic = %partition.topic.name,
        partition = partition.partition().id.0,
        from = offsets.start.0,
        to = offsets.end.0,
        "damaged records that the key index does not know are trimmed: entities that have no other records begin again \
            at version 1"
    );
}

/// Adds the rows of a frame's records.
fn add_rows(topic: &Topic, frame: &Frame, rows: &mut Vec<Row>) {
    let hasher: &KeyHasher = &topic.hasher;
    for_each_key(topic, frame, |key, offset, version| {
        rows.push(Row::of_record(hasher.key(key), version, offset));
    });
    for_each_erased(frame, |token, offset, version| {
        rows.push(Row::of_record(KeyHash(token.hash()), version, offset));
    });
}

/// Calls `each` for every record with a key and a version.
pub(super) fn for_each_key(
    topic: &Topic,
    frame: &Frame,
    mut each: impl FnMut(&[u8], Offset, Version),
) {
    if topic.settings().keys == Keys::Plain {
        return;
    }
    let records = frame.records();
    for record in Records::new(&records).filter_map(|record| RecordView::parse(record.ok()?.1).ok())
    {
        if let (Some(key), Some(version), Some(offset)) =
            (record.key, record.version, record.offset)
        {
            each(key, Offset(offset), Version(version));
        }
    }
}

/// Calls `each` for every erased record.
pub(super) fn for_each_erased(frame: &Frame, mut each: impl FnMut(Token, Offset, Version)) {
    let records = frame.records();
    for record in Records::new(&records).filter_map(|record| RecordView::parse(record.ok()?.1).ok())
    {
        let token = record.erased.and_then(Token::decode);
        if let (Some(token), Some(version), Some(offset)) = (token, record.version, record.offset) {
            each(token, Offset(offset), Version(version));
        }
    }
}
