//! Looks up the versions of keys.

use std::{
    collections::HashMap,
    ops::Range,
    sync::{Arc, atomic::Ordering},
};

use super::KeyIndex;
use crate::{
    broker::{
        Error,
        partitions::Partitions,
        state::{Next, PartitionRef},
    },
    catalog::Token,
    env::OrderedGuard,
    storage::{
        format::sorted_table::Row,
        keys::{
            Damaged, Files, Hole, Unread,
            hash::KeyHash,
            sorted_table::{Group, Name, SortedTable},
            table::EntryId,
        },
        log::{LogReader, ReadError, View},
    },
    types::{Offset, RecordView, Version},
};

/// A key whose version an append needs.
#[derive(Clone, Copy)]
pub(in crate::broker) struct Wanted<'a> {
    /// The index of its partition among the append's.
    pub(in crate::broker) at: usize,
    pub(in crate::broker) hash: KeyHash,
    pub(in crate::broker) key: &'a [u8],
}

/// Versions that were read from files, by the index of the wanted key. They are valid as long as
/// the files are the same, because anything newer is in a table first.
#[derive(Default)]
pub(in crate::broker) struct Looked {
    found: HashMap<usize, (Arc<Files>, Version)>,
}

/// Why files cannot tell a version.
pub(super) enum Unknown {
    /// A table of records is damaged; it can be rebuilt.
    Run(Arc<SortedTable>, Damaged),
    /// A table of last versions is damaged; it cannot be rebuilt.
    LastVersions(Damaged),
    /// A record that must be compared cannot be read.
    Record(ReadError),
    /// Records that may be the key's could not be read when the index was built.
    Hole(Hole),
    /// A record behind the view's segments is gone; a newer view tells what became of it.
    Moved,
}

/// The latest row of a key in files, and where it was found.
pub(super) struct Latest<'f> {
    pub(super) found: Option<Found>,
    /// The index of the table, and the rows of the hash there.
    pub(super) group: Option<(usize, Group<'f>)>,
}

impl Unknown {
    /// A table of records cannot be read.
    pub(super) fn run(run: &Arc<SortedTable>, unread: Unread) -> Self {
        match unread {
            Unread::Damaged(damaged) => Self::Run(run.clone(), damaged),
            Unread::Unavailable(error) => Self::Record(ReadError::Unavailable(error)),
        }
    }

    /// A table of last versions cannot be read.
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
    /// The offset of its record; `None` if the record is gone.
    pub(super) offset: Option<Offset>,
}

impl Looked {
    /// The table entries of all wanted keys, in order, added where missing; or the indexes of keys
    /// for which files must be read.
    pub(in crate::broker) fn entries(
        &self,
        partitions: &[PartitionRef],
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
            let at = wanted[of_one[0]].at;
            let files = partitions[at].partition().index();
            unknown.extend(self.add_entries(wanted, of_one, &mut next[at].keys, &files));
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

    /// The version of a wanted key, without adding an entry; `None` if files must be read for it.
    pub(in crate::broker) fn version(
        &self,
        place: usize,
        Wanted { hash, key, .. }: Wanted<'_>,
        keys: &KeyIndex,
        files: &Arc<Files>,
    ) -> Option<Version> {
        let looked = self.found.get(&place);
        let looked = looked.filter(|(looked_in, _)| Arc::ptr_eq(looked_in, files));
        let known = keys
            .known(hash, key)
            .or(looked.map(|(_, version)| *version));
        known.or_else(|| {
            let mut maybe = [false];
            files.may_know_each(&[hash], &mut maybe);
            (!maybe[0]).then_some(Version::NONE)
        })
    }

    /// Adds entries for keys without one; returns the indexes of keys for which files must be read.
    fn add_entries(
        &self,
        wanted: &[Wanted<'_>],
        places: &[usize],
        keys: &mut KeyIndex,
        files: &Arc<Files>,
    ) -> Vec<usize> {
        let hashes: Vec<KeyHash> = places.iter().map(|place| wanted[*place].hash).collect();
        let mut maybe = vec![false; hashes.len()];
        files.may_know_each(&hashes, &mut maybe);
        let mut unknown = Vec::new();
        for (place, maybe) in places.iter().zip(maybe) {
            let Wanted { hash, key, .. } = wanted[*place];
            // The same key may have come earlier in this append.
            if keys.table.find(hash, key).is_some() {
                continue;
            }
            let looked = self
                .found
                .get(place)
                .filter(|(looked_in, _)| Arc::ptr_eq(looked_in, files));
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

    /// Reads files for the keys with these indexes.
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
    /// The latest row of a key in a partition's files, and these files. Reads records, and repairs
    /// the files if necessary.
    pub(super) fn latest_in_files(
        &self,
        partition: &PartitionRef,
        hash: KeyHash,
        key: &[u8],
    ) -> Result<(Arc<Files>, Option<Found>), Error> {
        loop {
            let view = Arc::clone(&partition.partition().log.view());
            if !self.are_whole(&view) {
                self.fill_gaps(partition)?;
                continue;
            }
            match self
                .reader(partition)
                .latest(&view, hash, key, Offset(u64::MAX))
            {
                Ok(latest) => return Ok((Arc::clone(view.index()), latest.found)),
                Err(unknown) => self.repair(partition, unknown)?,
            }
        }
    }

    /// Repairs what kept files from telling a version, or returns why that is impossible.
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
            Unknown::Moved => Ok(()),
        }
    }

    /// The error to report if a record cannot be read.
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

    /// The first version of an entity that is not trimmed, as far as that is known without reading
    /// its records. Ignores damage.
    pub(in crate::broker) fn start_of_entity(
        &self,
        partition: &PartitionRef,
        hash: KeyHash,
        key: &[u8],
    ) -> Result<Version, Error> {
        // In this order: once a trim is not hidden any more, the files have it.
        let waiting = {
            let view = partition.partition().log.view();
            view.hidden().trimmed().start_of(hash, key)
        };
        let files = partition.partition().index();
        let gone = match Unread::unless_damaged(files.last_version(hash, key)) {
            Ok(found) => found.flatten().map(|found| found.version),
            Err(error) => return Err(self.health.unavailable(&error)),
        };
        let behind = gone.unwrap_or(Version::NONE).next();
        Ok(behind.max(waiting.unwrap_or_default()))
    }

    pub(in crate::broker) fn reader<'a>(&'a self, partition: &'a PartitionRef) -> LogReader<'a> {
        LogReader {
            log: &partition.partition().log,
            segments: &self.segments,
            is_patient: false,
        }
    }

    /// A reader for work that nobody waits for.
    pub(in crate::broker) fn patient_reader<'a>(
        &'a self,
        partition: &'a PartitionRef,
    ) -> LogReader<'a> {
        LogReader {
            is_patient: true,
            ..self.reader(partition)
        }
    }
}

impl LogReader<'_> {
    /// The latest row of a key in the files of a view, with an offset below `limit`.
    pub(super) fn latest<'f>(
        &self,
        view: &'f View,
        hash: KeyHash,
        key: &[u8],
        limit: Offset,
    ) -> Result<Latest<'f>, Unknown> {
        let files = &**view.index();
        // Everything at or above this offset was searched.
        let mut looked = limit;
        let no_hole = |offsets: Range<Offset>| match files.hole_in(offsets) {
            Some(hole) => Err(Unknown::Hole(hole.clone())),
            None => Ok(()),
        };
        for (nth, run) in files.runs.iter().enumerate().rev() {
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
            // A few rows of other keys with the same hash may lie between.
            let mut latest: Option<Found> = None;
            for at in (0..group.len()).rev() {
                let row = group.row(at).map_err(damaged)?;
                if latest.is_some_and(|latest| latest.version >= row.version) {
                    break;
                }
                if row.offset() < limit && is_of(self, view, key, &row)? {
                    latest = Some(Found {
                        version: row.version,
                        offset: Some(row.offset()),
                    });
                }
            }
            if let Some(latest) = latest {
                let gone = Unread::unless_damaged(files.last_version(hash, key));
                let gone =
                    gone.map_err(|error| Unknown::last_versions(Unread::Unavailable(error)))?;
                return Ok(Latest {
                    found: Some(latest.or_gone(gone.flatten())),
                    group: Some((nth, group)),
                });
            }
        }
        no_hole(Offset::ZERO..looked)?;
        let last = files.last_version(hash, key);
        Ok(Latest {
            found: last.map_err(Unknown::last_versions)?,
            group: None,
        })
    }
}

impl Found {
    /// The later of this and the last version that is gone. Records of lower versions may be left
    /// of an entity whose later ones are gone: what an erasure has left of it, or what is trimmed
    /// and waits to be removed.
    fn or_gone(self, gone: Option<Self>) -> Self {
        match gone {
            Some(gone) if gone.version > self.version => gone,
            _ => self,
        }
    }
}

impl Files {
    /// The last version of a key whose records are gone.
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

/// Whether a row belongs to a key, according to the record in the log. If the record is gone, it
/// does not.
fn is_of(reader: &LogReader<'_>, view: &View, key: &[u8], row: &Row) -> Result<bool, Unknown> {
    let offset = row.offset();
    let is_it = |record: &RecordView<'_>| {
        let is_of_row = record.offset == Some(offset.0) && record.version == Some(row.version.0);
        is_of_row && is_of_key(record, key)
    };
    // If key, offset and version match, checking the frame's checksum would not add anything.
    if reader.glance(view, offset, is_it) == Some(true) {
        return Ok(true);
    }
    match reader.record_in(view, offset).map_err(Unknown::Record)? {
        Some(record) => Ok(is_of_key(&record.view(), key)),
        None if view.reaches(offset) => Ok(false),
        None => Err(Unknown::Moved),
    }
}

/// Whether a record belongs to the entity with this key, erased or not.
pub(in crate::broker) fn is_of_key(record: &RecordView<'_>, key: &[u8]) -> bool {
    match record.erased {
        Some(token) => Token::decode(token).is_some_and(|token| token.is_of(key)),
        None => record.key == Some(key),
    }
}
