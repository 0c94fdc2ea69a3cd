//! What version a key is at.

use std::{
    collections::HashMap,
    ops::Range,
    sync::{Arc, atomic::Ordering},
};

use super::{Files, Hole, KeyIndex};
use crate::{
    broker::{
        Error, lock,
        partitions::Partitions,
        state::{Next, PartitionRef},
    },
    catalog::Token,
    env::OrderedGuard,
    storage::{
        format::sorted_table::Row,
        keys::{
            Damaged, Unread,
            hash::KeyHash,
            sorted_table::{Name, SortedTable},
            table::EntryId,
        },
        log::{LogReader, ReadError},
    },
    types::{Offset, RecordView, Version},
};

/// A key whose version an append needs, in one of its partitions.
#[derive(Clone, Copy)]
pub(in crate::broker) struct Wanted<'a> {
    /// Which of the append's partitions.
    pub(in crate::broker) at: usize,
    pub(in crate::broker) hash: KeyHash,
    pub(in crate::broker) key: &'a [u8],
}

/// What was read from files, by the place of the key among those wanted. It is true as long as the
/// files are the same: what they say of a key is overtaken by a table first.
#[derive(Default)]
pub(in crate::broker) struct Looked {
    found: HashMap<usize, (Arc<Files>, Version)>,
}

/// Why files do not tell a version.
pub(super) enum Unknown {
    /// A part of the index is damaged: it can be written again.
    Run(Arc<SortedTable>, Damaged),
    /// What is known of records that are gone is damaged, and cannot be had from anywhere else.
    LastVersions(Damaged),
    /// A record that has to be compared cannot be read.
    Record(ReadError),
    /// Records that could be the key's could not be read when the index was made.
    Hole(Hole),
}

impl Unknown {
    /// A run cannot be read.
    pub(super) fn run(run: &Arc<SortedTable>, unread: Unread) -> Self {
        match unread {
            Unread::Damaged(damaged) => Self::Run(run.clone(), damaged),
            Unread::Unavailable(error) => Self::Record(ReadError::Unavailable(error)),
        }
    }

    /// What is known of records that are gone cannot be read.
    fn last_versions(unread: Unread) -> Self {
        match unread {
            Unread::Damaged(damaged) => Self::LastVersions(damaged),
            Unread::Unavailable(error) => Self::Record(ReadError::Unavailable(error)),
        }
    }
}

/// The latest row of a key in files.
#[derive(Clone, Copy)]
pub(super) struct Found {
    pub(super) version: Version,
    /// Where its record is; none if it is gone.
    pub(super) offset: Option<Offset>,
}

impl Looked {
    /// The table entries of all keys, in order, made where there are none; or the places of those
    /// that files must be read for.
    pub(in crate::broker) fn entries(
        &self,
        wanted: &[Wanted<'_>],
        next: &mut [OrderedGuard<'_, Next>],
    ) -> Result<Vec<EntryId>, Vec<usize>> {
        let find = |wanted: &Wanted<'_>, next: &[OrderedGuard<'_, Next>]| {
            next[wanted.at].keys.table.find(wanted.hash, wanted.key)
        };
        let found: Vec<Option<EntryId>> = wanted.iter().map(|wanted| find(wanted, next)).collect();
        let missing: Vec<usize> = (0..wanted.len())
            .filter(|place| found[*place].is_none())
            .collect();
        let mut unknown = Vec::new();
        for of_one in missing.chunk_by(|one, other| wanted[*one].at == wanted[*other].at) {
            let keys = &mut next[wanted[of_one[0]].at].keys;
            unknown.extend(self.add_entries(wanted, of_one, keys));
        }
        if !unknown.is_empty() {
            return Err(unknown);
        }
        let entry = |(place, found): (usize, Option<EntryId>)| {
            found.unwrap_or_else(|| {
                find(&wanted[place], next).expect("entries for all that were missing were made")
            })
        };
        Ok(found.into_iter().enumerate().map(entry).collect())
    }

    /// Makes entries for keys that have none; returns the places of those that files must be read
    /// for.
    fn add_entries(
        &self,
        wanted: &[Wanted<'_>],
        places: &[usize],
        keys: &mut KeyIndex,
    ) -> Vec<usize> {
        let hashes: Vec<KeyHash> = places.iter().map(|place| wanted[*place].hash).collect();
        let mut maybe = vec![false; hashes.len()];
        keys.files.may_know_each(&hashes, &mut maybe);
        let mut unknown = Vec::new();
        for (place, maybe) in places.iter().zip(maybe) {
            let Wanted { hash, key, .. } = wanted[*place];
            // The same key may have come before in this append.
            if keys.table.find(hash, key).is_some() {
                continue;
            }
            let looked = self
                .found
                .get(place)
                .filter(|(files, _)| Arc::ptr_eq(files, &keys.files));
            match keys
                .known(hash, key)
                .or(looked.map(|(_, version)| *version))
            {
                Some(version) => drop(keys.table.insert(hash, key, version)),
                None if maybe => unknown.push(*place),
                None => drop(keys.table.insert(hash, key, Version::NONE)),
            }
        }
        unknown
    }

    /// Reads files for the keys at these places.
    pub(in crate::broker) fn look_up(
        &mut self,
        owner: &Partitions,
        partitions: &[PartitionRef],
        wanted: &[Wanted<'_>],
        places: &[usize],
    ) -> Result<(), Error> {
        for place in places {
            let Wanted { at, hash, key } = wanted[*place];
            let (files, found) = owner.latest_in_files(&partitions[at], hash, key)?;
            self.found.insert(
                *place,
                (files, found.map_or(Version::NONE, |found| found.version)),
            );
        }
        Ok(())
    }
}

impl Partitions {
    /// The latest row of a key in a partition's files, with the files that say so. Reads
    /// records, and repairs the files if need be.
    pub(super) fn latest_in_files(
        &self,
        partition: &PartitionRef,
        hash: KeyHash,
        key: &[u8],
    ) -> Result<(Arc<Files>, Option<Found>), Error> {
        loop {
            let files = self.whole_files(partition)?;
            match files.latest(&self.reader(partition), hash, key, Offset(u64::MAX)) {
                Ok(found) => return Ok((files, found)),
                Err(unknown) => self.repair(partition, unknown)?,
            }
        }
    }

    /// A partition's files, without gaps but for what cannot be read.
    pub(super) fn whole_files(&self, partition: &PartitionRef) -> Result<Arc<Files>, Error> {
        loop {
            let files = lock(&partition.partition().next).keys.files.clone();
            if self.are_whole(partition, &files) {
                return Ok(files);
            }
            self.fill_gaps(partition)?;
        }
    }

    /// Makes good what kept files from telling a version, or says why that cannot be.
    pub(super) fn repair(&self, partition: &PartitionRef, unknown: Unknown) -> Result<(), Error> {
        let (topic, id) = (partition.topic.name.to_string(), partition.partition().id);
        match unknown {
            Unknown::Run(run, damaged) => {
                tracing::warn!(topic, partition = id.0, %damaged, "a part of a key index is damaged and is rebuilt");
                self.make_gap(partition, &run);
                Ok(())
            }
            Unknown::LastVersions(damaged) => {
                let to = partition.range().0;
                if let Some(count) = self.said_damage.happened((partition.topic.id, id, to)) {
                    let partition = id.0;
                    tracing::error!(topic, partition, count, %damaged, "what is known of trimmed records is damaged");
                }
                let cause = damaged.to_string();
                Err(Error::DamagedRecords {
                    topic,
                    partition: id,
                    from: Offset::ZERO,
                    to,
                    cause,
                })
            }
            Unknown::Record(error) => Err(self.explain(partition, error)),
            Unknown::Hole(hole) => Err(self.explain_hole(partition, &hole)),
        }
    }

    /// What it means that a record cannot be read.
    pub(in crate::broker) fn explain(&self, partition: &PartitionRef, error: ReadError) -> Error {
        self.explain_at(partition, partition.range().0, error)
    }

    /// As [`explain`](Self::explain), for a read by offset.
    pub(in crate::broker) fn explain_at(
        &self,
        partition: &PartitionRef,
        offset: Offset,
        error: ReadError,
    ) -> Error {
        let (topic, id) = (partition.topic.name.to_string(), partition.partition().id);
        if partition.topic.deleted.load(Ordering::Acquire) {
            return Error::UnknownTopic { topic };
        }
        match error {
            ReadError::Damaged { from, to, cause } => {
                if let Some(count) = self.said_damage.happened((partition.topic.id, id, from)) {
                    let (from, to) = (from.0, to.0);
                    let partition = id.0;
                    tracing::error!(
                        topic,
                        partition,
                        from,
                        to,
                        count,
                        cause,
                        "records are damaged"
                    );
                }
                Error::DamagedRecords {
                    topic,
                    partition: id,
                    from,
                    to,
                    cause,
                }
            }
            ReadError::Unavailable(error) => self.health.unavailable(&error),
            ReadError::BelowStart => {
                let (earliest, high_watermark) = partition.range();
                Error::OffsetOutOfRange {
                    topic,
                    partition: id,
                    offset,
                    earliest,
                    high_watermark,
                }
            }
        }
    }

    pub(in crate::broker) fn reader<'a>(&'a self, partition: &'a PartitionRef) -> LogReader<'a> {
        LogReader {
            log: &partition.partition().log,
            segments: &self.segments,
        }
    }
}

impl Files {
    /// The latest row of a key with an offset below `limit`.
    pub(super) fn latest(
        &self,
        reader: &LogReader<'_>,
        hash: KeyHash,
        key: &[u8],
        limit: Offset,
    ) -> Result<Option<Found>, Unknown> {
        // All that lies at or above this offset has been looked at.
        let mut looked = limit;
        let no_hole = |offsets: Range<Offset>| match self.hole_in(offsets) {
            Some(hole) => Err(Unknown::Hole(hole.clone())),
            None => Ok(()),
        };
        for run in self.runs.iter().rev() {
            no_hole(run.to()..looked)?;
            looked = looked.min(run.from());
            let damaged = |unread| Unknown::run(run, unread);
            if !run.may_have(hash).map_err(damaged)? {
                continue;
            }
            let group = run.group(hash).map_err(damaged)?;
            if group.is_empty() {
                continue;
            }
            // Rows of other keys with the same hash may lie between; they are few.
            let mut latest: Option<Found> = None;
            for at in (0..group.len()).rev() {
                let row = group.row(at).map_err(damaged)?;
                if latest.is_some_and(|latest| latest.version >= row.version) {
                    break;
                }
                if row.offset() < limit && is_of(reader, key, &row).map_err(Unknown::Record)? {
                    latest = Some(Found {
                        version: row.version,
                        offset: Some(row.offset()),
                    });
                }
            }
            if latest.is_some() {
                return Ok(latest);
            }
        }
        no_hole(Offset::ZERO..looked)?;
        self.last_version(hash, key).map_err(Unknown::last_versions)
    }

    /// What is known of a key whose records are gone.
    fn last_version(&self, hash: KeyHash, key: &[u8]) -> Result<Option<Found>, Unread> {
        let is_its_name = |name: &Name| match name {
            Name::Entity { key: of } => of == key,
            Name::Erased { token } => Token(*token).is_of(key),
            Name::Unreadable => true,
        };
        let version = self.last_versions.find(hash, is_its_name)?;
        Ok(version.map(|version| Found {
            version,
            offset: None,
        }))
    }
}

/// Whether a row is of a key, which the log says. A record that is gone is nobody's.
pub(super) fn is_of(reader: &LogReader<'_>, key: &[u8], row: &Row) -> Result<bool, ReadError> {
    let record = reader.record_at(row.offset())?;
    Ok(record.is_some_and(|record| is_of_key(&record.view(), key)))
}

/// Whether a record is of the entity with this key, erased or not.
pub(in crate::broker) fn is_of_key(record: &RecordView<'_>, key: &[u8]) -> bool {
    match record.erased {
        Some(token) => Token::decode(token).is_some_and(|token| token.is_of(key)),
        None => record.key == Some(key),
    }
}
