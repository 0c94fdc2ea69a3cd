//! Keeping what must outlive records that are removed: the last version of every entity.
//!
//! A trimmed segment is removed in four steps: what its records say is written to a file of retired
//! facts; appends look there; a checkpoint names the file; the segment goes. A crash between any
//! two of them repeats the first.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    ops::Range,
    sync::Arc,
};

use bytes::Bytes;

use super::{
    Files,
    upkeep::{for_each_erased, for_each_key, report_forgotten},
};
use crate::{
    broker::{lock, partitions::Partitions, state::PartitionRef},
    catalog::Token,
    storage::{
        fault::Meaning,
        files::{FileError, ensure_dir},
        format::{frame::Frame, key_run::Row},
        keys::{
            Unread, Unusable,
            hash::{KeyHash, KeyHasher},
            merge,
            retired::{self, Content, Identity, Retired, RetiredFile},
            set,
        },
        log::{self, Cursor, Log, ReadError},
    },
    types::{Keys, Offset, Version, limits},
};

/// Most facts that are gathered before they are written, and most bytes that their keys have: they
/// are in memory until then.
const MOST_FACTS: usize = 1 << 20;
const MOST_KEY_BYTES: usize = 64 << 20;

/// Facts that are being gathered: of an entity only the highest version counts.
#[derive(Default)]
struct Gathered {
    entities: BTreeMap<(KeyHash, Bytes), Version>,
    erased: BTreeMap<[u8; 32], Version>,
    /// Of records that cannot be read.
    unreadable: BTreeMap<KeyHash, Version>,
    key_bytes: usize,
}

impl Partitions {
    /// Writes what the trimmed segments of a partition say, and lets the next checkpoint remove
    /// them.
    pub(super) fn retire_trimmed(&self, partition: &PartitionRef) -> Result<(), FileError> {
        let _upkeep = lock(&partition.partition().upkeep);
        let trimmed = lock(&partition.partition().log).trimmed();
        let Some(trimmed) = trimmed else {
            return Ok(());
        };
        if partition.topic.settings().keys == Keys::Plain {
            lock(&partition.partition().log).retire(trimmed.end, 0);
            self.health.make_room_soon();
            self.retention.note_retired(partition);
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
                    // What is damaged was reported to its readers, and is removed with the rest.
                    Err(ReadError::Damaged { to, .. }) => {
                        let to = to.max(cursor.next.plus(1)).min(trimmed.end);
                        self.gather_unreadable(partition, cursor.next..to, &mut gathered)?;
                        cursor = Cursor::new(to);
                    }
                    Err(ReadError::BelowStart) => cursor = Cursor::new(trimmed.end),
                    Err(ReadError::Unavailable(error)) => return Err(error),
                }
            }
            let facts = gathered.facts();
            // Earlier versions kept what producers were told of their batches, too.
            let of_entity =
                |fact: Retired| (!matches!(fact.identity, Identity::Batch { .. })).then_some(fact);
            if !facts.is_empty() && !self.write_retired(partition, facts, of_entity)? {
                return Ok(());
            }
        }
        let number = lock(&partition.partition().next).keys.retired_number();
        let mut log = lock(&partition.partition().log);
        // A file that cannot be opened has no number here. The checkpoint goes on naming it: what
        // it knew is lost, and not unknown.
        let number = number.max(log.retired_file());
        log.retire(trimmed.end, number);
        drop(log);
        self.health.make_room_soon();
        self.retention.note_retired(partition);
        Ok(())
    }

    fn gather(&self, partition: &PartitionRef, frame: &Frame, gathered: &mut Gathered) {
        let hasher = &partition.topic.hasher;
        for_each_key(&partition.topic, frame, |key, _, version| {
            let of_key = (hasher.key(key), Bytes::copy_from_slice(key));
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

    /// Of records that cannot be read, the index knows hash and version.
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
            (keys.frozen.clone(), keys.files.clone())
        };
        if let Some(hole) = files.hole_in(offsets.clone()) {
            report_forgotten(partition, &hole.offsets);
        }
        rows.extend(frozen.iter().flat_map(|table| table.rows()));
        let is_here = |row: &Row| offsets.contains(&row.offset);
        let runs = files
            .runs
            .iter()
            .filter(|run| run.from() < offsets.end && offsets.start < run.to());
        for row in runs.flat_map(|run| run.scan()) {
            match Unread::unless_damaged(row)? {
                Some(row) => rows.extend(Some(row).filter(is_here)),
                // A scan ends at damage.
                None => report_forgotten(partition, &offsets),
            }
        }
        for Row { hash, version, .. } in rows.into_iter().filter(is_here) {
            let latest = gathered.unreadable.entry(hash).or_insert(version);
            *latest = version.max(*latest);
        }
        Ok(())
    }

    /// Puts a file with these facts, and those there are, in the place of the partition's file of
    /// retired facts; false if that one is damaged. The caller holds the upkeep.
    pub(in crate::broker) fn write_retired(
        &self,
        partition: &PartitionRef,
        facts: Vec<Retired>,
        edit: impl FnMut(Retired) -> Option<Retired>,
    ) -> Result<bool, FileError> {
        let now = lock(&partition.partition().next).keys.files.clone();
        if now.lost.is_some() {
            return Ok(false);
        }
        let old = now.retired.clone();
        let dir = lock(&partition.partition().log).dir();
        let files = &*self.env.files;
        ensure_dir(files, &self.dir.topic(partition.topic.id))?;
        ensure_dir(files, &dir)?;
        // What a crash left behind is written over: no checkpoint names it.
        let number = old.as_ref().map_or(0, |file| file.number()) + 1;
        let content = |number, expected_facts| Content {
            identity: log::Identity {
                topic: partition.topic.id,
                partition: partition.partition().id,
            },
            fingerprint: partition.topic.hasher.fingerprint(),
            number,
            expected_facts,
        };
        let mut inputs: Vec<Arc<RetiredFile>> = old.into_iter().collect();
        if !facts.is_empty() {
            let count = facts.len() as u64;
            inputs.push(Arc::new(RetiredFile::write(
                files,
                &dir,
                &content(number, count),
                &facts,
            )?));
        }
        let number = number + 1;
        let expected = inputs.iter().map(|file| file.len()).sum();
        let merged = retired::merge(files, &dir, &content(number, expected), &inputs, edit);
        let merged = match merged {
            Ok(merged) => merged,
            Err(merge::Error::File(error)) => return Err(error),
            Err(merge::Error::Damaged(damaged)) => {
                // It stays as it is, damage and all: what it knew must not be taken for never
                // known.
                tracing::error!(%damaged, "what is known of trimmed records is damaged; trimmed segments are kept");
                return Ok(false);
            }
        };
        let (path, bytes) = (merged.path().display(), merged.bytes());
        tracing::debug!(%path, bytes, facts = merged.len(), "retired facts were written");
        self.change_retired(partition, merged);
        Ok(true)
    }

    /// Puts this file in the place of the one that appends look into. The caller holds the upkeep.
    pub(super) fn change_retired(&self, partition: &PartitionRef, retired: RetiredFile) {
        let mut next = lock(&partition.partition().next);
        let mut files = Files::clone(&next.keys.files);
        (files.retired, files.lost) = (Some(Arc::new(retired)), None);
        next.keys.files = Arc::new(files);
    }
}

impl Gathered {
    fn is_full(&self) -> bool {
        let facts = [
            self.entities.len(),
            self.erased.len(),
            self.unreadable.len(),
        ];
        facts.iter().sum::<usize>() >= MOST_FACTS || self.key_bytes >= MOST_KEY_BYTES
    }

    fn facts(self) -> Vec<Retired> {
        let entities = self.entities.into_iter();
        let entities =
            entities.map(|((hash, key), version)| (hash, version, Identity::Entity { key }));
        let erased = self.erased.into_iter().map(|(token, version)| {
            let hash = KeyHash(Token(token).hash());
            (hash, version, Identity::Erased { token })
        });
        let mut facts: Vec<Retired> = entities
            .chain(erased)
            .map(|(hash, version, identity)| Retired {
                hash,
                version,
                identity,
            })
            .collect();
        let unreadable = self.unreadable.into_iter();
        facts.extend(unreadable.map(|(hash, version)| Retired {
            hash,
            version,
            identity: Identity::Unreadable,
        }));
        facts.sort_by_key(Retired::order);
        facts
    }
}

impl Partitions {
    /// Without a checkpoint that names one: makes one file of all there are of a log; its number,
    /// or 0.
    pub(in crate::broker) fn whole_retired(
        &self,
        log: &Log,
        hasher: &KeyHasher,
    ) -> Result<u64, FileError> {
        let (dir, identity, fingerprint) = (log.dir(), log.identity(), hasher.fingerprint());
        let found = retired::list(&*self.env.files, &dir)?.files;
        let Some((last, _)) = found.last().filter(|_| found.len() > 1) else {
            return Ok(found.first().map_or(0, |(number, _)| *number));
        };
        // What a crash has left behind says nothing that is not true.
        let mut inputs = Vec::new();
        for (number, path) in &found {
            match RetiredFile::open(&*self.env.files, path, identity, fingerprint) {
                Ok(file) => inputs.push(Arc::new(file)),
                Err(Unusable::File(error)) if error.meaning() != Meaning::Damage => {
                    return Err(error);
                }
                Err(error) => {
                    // It stays in use, so that what it knew is not taken for never known.
                    tracing::error!(%error, "what is known of trimmed records cannot be read");
                    return Ok(*number);
                }
            }
        }
        let number = last + 1;
        let expected_facts = inputs.iter().map(|file| file.len()).sum();
        let content = Content {
            identity,
            fingerprint,
            number,
            expected_facts,
        };
        match retired::merge(&*self.env.files, &dir, &content, &inputs, Some) {
            Ok(_) => Ok(number),
            Err(merge::Error::File(error)) => Err(error),
            Err(merge::Error::Damaged(damaged)) => {
                tracing::error!(%damaged, "what is known of trimmed records is damaged");
                Ok(*last)
            }
        }
    }

    /// Removes the files of retired facts of a partition that are not the one with this number: a
    /// checkpoint names that.
    pub(in crate::broker) fn remove_old_retired(
        &self,
        partition: &PartitionRef,
        number: u64,
    ) -> Result<(), FileError> {
        let _upkeep = lock(&partition.partition().upkeep);
        let dir = lock(&partition.partition().log).dir();
        let found = retired::list(&*self.env.files, &dir)?;
        let now = lock(&partition.partition().next).keys.retired_number();
        let old = found
            .files
            .iter()
            .filter(|(other, _)| *other != number && *other != now)
            .map(|(_, path)| path.clone());
        let old: Vec<_> = old.chain(found.unfinished).collect();
        set::remove(&*self.env.files, &dir, &old)
    }
}
