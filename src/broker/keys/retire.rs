//! Keeps what must outlive removed records: the last version of every entity.
//!
//! A trimmed segment is removed in four steps: the last versions of its entities are written to a
//! table with the next number; appends look there; a checkpoint names the number; the segment is
//! removed. After a crash between two steps, the first one is repeated.
//!
//! Existing tables are not written again for this. They are merged later, a few of about the same
//! size at a time, so that a look-up has few to ask.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    ops::Range,
    sync::Arc,
};

use bytes::Bytes;

use super::upkeep::{for_each_erased, for_each_key, report_forgotten};
use crate::{
    broker::{lock, partitions::Partitions, state::PartitionRef},
    catalog::Token,
    storage::{
        files::{FileError, ensure_dir},
        format::{frame::Frame, sorted_table::Row},
        keys::{
            Unread,
            hash::KeyHash,
            merge, set,
            sorted_table::{Content, Kind, LastVersion, Name, SortedTable},
        },
        log::{Cursor, ReadError},
    },
    types::{Keys, Offset, Version, limits},
};

/// Most last versions that are gathered in memory before they are written, and most bytes of their
/// keys.
const MOST_GATHERED: usize = 1 << 20;
const MOST_KEY_BYTES: usize = 64 << 20;

/// Roughly what a table of few last versions takes on the disk.
const TABLE_BYTES: u64 = 20 << 10;

/// Last versions that are being gathered: the highest version of each entity.
#[derive(Default)]
struct Gathered {
    entities: BTreeMap<(KeyHash, Bytes), Version>,
    erased: BTreeMap<[u8; 32], Version>,
    /// The highest version of each hash among records that cannot be read.
    unreadable: BTreeMap<KeyHash, Version>,
    key_bytes: usize,
}

impl Partitions {
    /// Writes the last versions of a partition's trimmed segments, so that the next checkpoint may
    /// remove these.
    pub(super) fn retire_trimmed(&self, partition: &PartitionRef) -> Result<(), FileError> {
        let _upkeep = lock(&partition.partition().upkeep);
        let (trimmed, bytes) = {
            let log = lock(&partition.partition().log);
            (log.trimmed(), log.trimmed_bytes())
        };
        let Some(trimmed) = trimmed else {
            return Ok(());
        };
        if partition.topic.settings().keys == Keys::Plain {
            lock(&partition.partition().log).retire(trimmed.end, 0);
            self.health.make_room_soon();
            self.retention.note_retired(partition);
            return Ok(());
        }
        // On a full disk many small ones would take the room that a large one needs to go. They go
        // when there is room.
        if bytes < TABLE_BYTES && self.health.is_short_of_room() {
            return Ok(());
        }
        let reader = self.reader(partition);
        let mut cursor = Cursor::new(trimmed.start);
        while cursor.next < trimmed.end {
            let mut gathered = Gathered::default();
            while cursor.next < trimmed.end && !gathered.is_full() {
                match reader.read_trimmed(&mut cursor, limits::MAX_RESPONSE_BYTES) {
                    Ok(frames) if frames.is_empty() => cursor = Cursor::new(trimmed.end),
                    Ok(frames) => frames
                        .iter()
                        .for_each(|frame| self.gather(partition, frame, &mut gathered)),
                    // The damage was reported to readers; the segment is removed with the rest.
                    Err(ReadError::Damaged { to, .. }) => {
                        let to = to.max(cursor.next.plus(1)).min(trimmed.end);
                        self.gather_unreadable(partition, cursor.next..to, &mut gathered)?;
                        cursor = Cursor::new(to);
                    }
                    Err(ReadError::BelowStart) => cursor = Cursor::new(trimmed.end),
                    Err(ReadError::Unavailable(error)) => return Err(error),
                }
            }
            self.write_last_versions(partition, &gathered.last_versions())?;
            if cursor.next < trimmed.end {
                self.merge_held_last_versions(partition, false)?;
            }
        }
        let through = partition.partition().index().last_versions.through();
        lock(&partition.partition().log).retire(trimmed.end, through);
        self.health.make_room_soon();
        self.retention.note_retired(partition);
        Ok(())
    }

    /// Keeps the last versions of entities of which compaction leaves no record, before the records
    /// are removed. A checkpoint must name the table before that.
    pub(in crate::broker) fn keep_versions(
        &self,
        partition: &PartitionRef,
        lasts: &[LastVersion],
    ) -> Result<(), FileError> {
        let _upkeep = lock(&partition.partition().upkeep);
        self.write_last_versions(partition, lasts)?;
        let through = partition.partition().index().last_versions.through();
        lock(&partition.partition().log).set_retired_file(through);
        Ok(())
    }

    fn gather(&self, partition: &PartitionRef, frame: &Frame, gathered: &mut Gathered) {
        let hasher = &partition.topic.hasher;
        let view = partition.partition().log.view();
        let trimmed = view.hidden().trimmed();
        for_each_key(&partition.topic, frame, |key, _, version| {
            let hash = hasher.key(key);
            // The entity may be trimmed beyond this version already.
            let gone = trimmed.start_of(hash, key).unwrap_or_default();
            let version = version.max(Version(gone.0.saturating_sub(1)));
            let of_key = (hash, Bytes::copy_from_slice(key));
            match gathered.entities.entry(of_key) {
                Entry::Vacant(vacant) => {
                    vacant.insert(version);
                    gathered.key_bytes += key.len();
                }
                Entry::Occupied(mut latest) => {
                    *latest.get_mut() = version.max(*latest.get());
                }
            }
        });
        for_each_erased(frame, |token, _, version| {
            let latest = gathered.erased.entry(token.0).or_insert(version);
            *latest = version.max(*latest);
        });
    }

    /// Gathers hash and version of records that cannot be read, from the index.
    fn gather_unreadable(
        &self,
        partition: &PartitionRef,
        offsets: Range<Offset>,
        gathered: &mut Gathered,
    ) -> Result<(), FileError> {
        let mut rows = Vec::new();
        let (frozen, files) = {
            let keys = &lock(&partition.partition().next).keys;
            rows.extend(keys.table.rows());
            (keys.frozen.clone(), partition.partition().index())
        };
        if let Some(hole) = files.hole_in(offsets.clone()) {
            report_forgotten(partition, &hole.offsets);
        }
        rows.extend(frozen.iter().flat_map(|table| table.rows()));
        let is_here = |row: &Row| offsets.contains(&row.offset());
        let runs = files
            .runs
            .iter()
            .filter(|run| run.from() < offsets.end && offsets.start < run.to());
        for row in runs.flat_map(|run| run.scan()) {
            match Unread::unless_damaged(row)? {
                Some(row) => rows.extend(Some(row).filter(is_here)),
                // A scan stops at damage.
                None => report_forgotten(partition, &offsets),
            }
        }
        for Row { hash, version, .. } in rows.into_iter().filter(is_here) {
            let latest = gathered.unreadable.entry(hash).or_insert(version);
            *latest = version.max(*latest);
        }
        Ok(())
    }

    /// Adds a table with these to a partition's last versions. The caller holds the upkeep lock.
    fn write_last_versions(
        &self,
        partition: &PartitionRef,
        lasts: &[LastVersion],
    ) -> Result<(), FileError> {
        let files = partition.partition().index();
        let is_new = |last: &&LastVersion| !files.last_versions.has_token_or_later(last);
        let lasts: Vec<LastVersion> = lasts.iter().filter(is_new).cloned().collect();
        if lasts.is_empty() {
            return Ok(());
        }
        let (dir, identity) = {
            let log = lock(&partition.partition().log);
            (log.dir(), log.identity())
        };
        let files = &*self.env.files;
        ensure_dir(files, &self.dir.topic(partition.topic.id))?;
        ensure_dir(files, &dir)?;
        let through = partition.partition().index().last_versions.through();
        let content = Content {
            kind: Kind::LastVersions,
            identity,
            fingerprint: partition.topic.hasher.fingerprint(),
            from: through + 1,
            to: through + 2,
            expected_rows: lasts.len() as u64,
            expected_hashes: lasts.len() as u64,
        };
        let table = SortedTable::write_last_versions(files, &dir, &content, &lasts)?;
        let (path, bytes) = (table.path().display(), table.bytes());
        tracing::debug!(%path, bytes, count = lasts.len(), "last versions were written");
        self.change_files(partition, |_, files| {
            files.last_versions.push(Arc::new(table));
        });
        Ok(())
    }

    /// Merges tables of last versions that are due.
    pub(super) fn merge_last_versions(
        &self,
        partition: &PartitionRef,
        few: bool,
    ) -> Result<(), FileError> {
        let _upkeep = lock(&partition.partition().upkeep);
        self.merge_held_last_versions(partition, few)
    }

    /// As [`merge_last_versions`](Self::merge_last_versions), if the upkeep lock is held already.
    fn merge_held_last_versions(
        &self,
        partition: &PartitionRef,
        few: bool,
    ) -> Result<(), FileError> {
        loop {
            let now = partition.partition().index();
            let Some(inputs) = now.last_versions.plan_merge(few) else {
                return Ok(());
            };
            let dir = lock(&partition.partition().log).dir();
            match merge::merge_last_versions(&*self.env.files, &dir, inputs, |last| last) {
                Ok(merged) => {
                    let merged = Arc::new(merged);
                    self.change_files(partition, |_, files| {
                        files.last_versions.replace(merged.clone());
                    });
                    let freeing = self.segments.freeing();
                    set::remove_merged(&*self.env.files, &dir, inputs, &merged, freeing)?;
                }
                Err(merge::Error::File(error)) => return Err(error),
                Err(merge::Error::Damaged(damaged)) => {
                    // The table stays as it is, with its damage: what it had must not count as
                    // never known.
                    tracing::error!(%damaged, "what is known of trimmed records is damaged");
                    self.change_files(partition, |_, files| {
                        files.last_versions.leave_unmerged(&damaged.path);
                    });
                }
            }
        }
    }

    /// Makes tables from files of earlier versions. The caller holds the upkeep lock.
    pub(super) fn convert_earlier(&self, partition: &PartitionRef) -> Result<(), FileError> {
        loop {
            let now = partition.partition().index();
            let Some(earlier) = now.last_versions.next_earlier() else {
                return Ok(());
            };
            let dir = lock(&partition.partition().log).dir();
            let table = earlier.convert(&*self.env.files, &dir)?;
            let (path, rows) = (earlier.path(), table.rows());
            tracing::info!(path = %path.display(), rows, "a file of an earlier version was converted");
            self.change_files(partition, |_, files| {
                files.last_versions.replace(Arc::new(table));
            });
            set::remove(&*self.env.files, &dir, &[path.to_owned()])?;
        }
    }

    /// Removes files of last versions that are not in use any more, or were never finished.
    pub(in crate::broker) fn remove_unused_last_versions(
        &self,
        partition: &PartitionRef,
    ) -> Result<(), FileError> {
        let _upkeep = lock(&partition.partition().upkeep);
        let dir = lock(&partition.partition().log).dir();
        let now = partition.partition().index();
        set::remove_unused(&*self.env.files, &dir, &now.last_versions)
    }
}

impl Gathered {
    fn is_full(&self) -> bool {
        let gathered = [
            self.entities.len(),
            self.erased.len(),
            self.unreadable.len(),
        ];
        gathered.iter().sum::<usize>() >= MOST_GATHERED || self.key_bytes >= MOST_KEY_BYTES
    }

    fn last_versions(self) -> Vec<LastVersion> {
        let mut lasts = Vec::new();
        for ((hash, key), version) in self.entities {
            let name = Name::Entity { key };
            lasts.push(LastVersion {
                hash,
                version,
                name,
            });
        }
        for (token, version) in self.erased {
            lasts.push(LastVersion {
                hash: KeyHash(Token(token).hash()),
                version,
                name: Name::Erased { token },
            });
        }
        for (hash, version) in self.unreadable {
            lasts.push(LastVersion {
                hash,
                version,
                name: Name::Unreadable,
            });
        }
        lasts.sort_by_key(LastVersion::order);
        lasts
    }
}
