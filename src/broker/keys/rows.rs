//! Where the records of a key are, in the order of versions.

use std::sync::Arc;

use super::{
    Files,
    holes::InTables,
    look_up::{Found, Unknown},
};
use crate::{
    broker::{Error, lock, partitions::Partitions, state::PartitionRef},
    storage::{
        format::sorted_table::Row,
        keys::{
            hash::KeyHash,
            table::{EntryId, Table},
        },
    },
    types::{Offset, Version},
};

/// Which rows are wanted.
#[derive(Clone, Copy)]
pub(in crate::broker) struct Rows<'a> {
    pub(in crate::broker) hash: KeyHash,
    /// None for all that have the hash.
    pub(in crate::broker) key: Option<&'a [u8]>,
    /// The version to begin at.
    pub(in crate::broker) from: Version,
    /// Down from there instead of up.
    pub(in crate::broker) backward: bool,
    /// About how many.
    pub(in crate::broker) most: usize,
    /// Records from this offset on are not to be seen.
    pub(in crate::broker) limit: Offset,
}

/// What the tables know, as they were at one moment.
struct Known {
    /// Of the table itself, which goes on changing.
    newest: Vec<(Version, Offset)>,
    frozen: Option<Arc<Table>>,
    files: Arc<Files>,
    /// Which of the key's versions these tables have.
    in_tables: Option<InTables>,
}

impl Partitions {
    /// Versions and the offsets of their records, in the order asked for. Some may be of other
    /// keys with the same hash, and some of records that are gone: the log says.
    pub(in crate::broker) fn rows_of(
        &self,
        partition: &PartitionRef,
        wanted: &Rows<'_>,
    ) -> Result<Vec<(Version, Offset)>, Error> {
        loop {
            let known = self.known(partition, wanted)?;
            let frozen = known
                .frozen
                .as_deref()
                .map(|table| wanted.in_table(table))
                .unwrap_or_default();
            let files = match wanted.in_files(&known.files) {
                Ok(rows) => rows,
                Err(unknown) => {
                    self.repair(partition, unknown)?;
                    continue;
                }
            };
            let mut rows = Vec::new();
            let parts = [files, frozen, known.newest];
            let mut add = |part: Vec<(Version, Offset)>| {
                if rows.len() < wanted.most {
                    rows.extend(part);
                }
            };
            if wanted.backward {
                parts.into_iter().rev().for_each(&mut add);
            } else {
                parts.into_iter().for_each(&mut add);
            }
            if !known.files.holes.is_empty() {
                let retired = self.last_gone_version(partition, wanted.hash, Version(u64::MAX));
                if let Some(hole) = wanted.missed(&rows, &known.files, known.in_tables, retired) {
                    return Err(self.explain_hole(partition, &hole));
                }
            }
            return Ok(rows);
        }
    }

    /// The latest row of a key with an offset below the limit.
    pub(in crate::broker) fn latest_below(
        &self,
        partition: &PartitionRef,
        hash: KeyHash,
        key: &[u8],
        limit: Offset,
    ) -> Result<(Version, Option<Offset>), Error> {
        let newest = Rows {
            hash,
            key: Some(key),
            from: Version(u64::MAX),
            backward: true,
            most: 1,
            limit,
        };
        loop {
            let known = self.known(partition, &newest)?;
            let frozen = || {
                known
                    .frozen
                    .as_deref()
                    .and_then(|table| newest.in_table(table).first().copied())
            };
            if let Some((version, offset)) = known.newest.first().copied().or_else(frozen) {
                return Ok((version, Some(offset)));
            }
            match known
                .files
                .latest(&self.reader(partition), hash, key, limit)
            {
                Ok(Some(Found {
                    version,
                    offset: Some(offset),
                })) => return Ok((version, Some(offset))),
                // The record may have been removed meanwhile; what was kept of it is then in other
                // files.
                Ok(_) if !self.are_current(partition, &known.files) => {}
                Ok(Some(Found {
                    version,
                    offset: None,
                })) => return Ok((version, None)),
                Ok(None) => return Ok((Version::NONE, None)),
                Err(unknown) => self.repair(partition, unknown)?,
            }
        }
    }

    /// Calls for every row of a hash with an offset below a limit: those of one key in order,
    /// those of others with the same hash among them. Begins again if what it looks into is damaged
    /// and has to be made anew. Fails at the end if there may be rows behind the last, in damaged
    /// records.
    pub(in crate::broker) fn for_each_row(
        &self,
        partition: &PartitionRef,
        hash: KeyHash,
        limit: Offset,
        mut each: impl FnMut(Version, Offset),
    ) -> Result<(), Error> {
        let all = Rows {
            hash,
            key: None,
            from: Version(1),
            backward: false,
            most: usize::MAX,
            limit,
        };
        let mut behind = Offset::ZERO;
        let mut each = |version, offset: Offset| {
            behind = behind.max(offset.plus(1));
            each(version, offset);
        };
        loop {
            let known = self.known(partition, &all)?;
            match known.files.for_each_row(hash, limit, &mut each) {
                Ok(()) => {
                    let frozen = known
                        .frozen
                        .as_deref()
                        .map(|table| all.in_table(table))
                        .unwrap_or_default();
                    frozen
                        .iter()
                        .chain(&known.newest)
                        .for_each(|(version, offset)| each(*version, *offset));
                    return match known.files.hole_in(behind..limit) {
                        Some(hole) => Err(self.explain_hole(partition, hole)),
                        None => Ok(()),
                    };
                }
                Err(unknown) => self.repair(partition, unknown)?,
            }
        }
    }

    /// What the tables know, with files that have no gaps but for what cannot be read.
    fn known(&self, partition: &PartitionRef, wanted: &Rows<'_>) -> Result<Known, Error> {
        loop {
            {
                let keys = &lock(&partition.partition().next).keys;
                if self.are_whole(partition, &keys.files) {
                    let newest = wanted.in_table(&keys.table);
                    let tables = [keys.frozen.as_deref(), Some(&keys.table)];
                    return Ok(Known {
                        newest,
                        frozen: keys.frozen.clone(),
                        files: keys.files.clone(),
                        in_tables: wanted.in_tables(tables.into_iter().flatten()),
                    });
                }
            }
            self.fill_gaps(partition)?;
        }
    }

    /// Whether no other files have come into the place of these.
    fn are_current(&self, partition: &PartitionRef, files: &Arc<Files>) -> bool {
        Arc::ptr_eq(&lock(&partition.partition().next).keys.files, files)
    }
}

impl Files {
    fn for_each_row(
        &self,
        hash: KeyHash,
        limit: Offset,
        mut each: impl FnMut(Version, Offset),
    ) -> Result<(), Unknown> {
        for run in &self.runs {
            let damaged = |unread| Unknown::run(run, unread);
            if !run.may_have(hash).map_err(damaged)? {
                continue;
            }
            let group = run.group(hash).map_err(damaged)?;
            for at in 0..group.len() {
                let row = group.row(at).map_err(damaged)?;
                if row.offset() < limit {
                    each(row.version, row.offset());
                }
            }
        }
        Ok(())
    }
}

impl Rows<'_> {
    fn in_table(&self, table: &Table) -> Vec<(Version, Offset)> {
        match self.key {
            Some(key) => table
                .find(self.hash, key)
                .map(|entry| self.of_entry(table, entry))
                .unwrap_or_default(),
            None => table
                .find_all(self.hash)
                .flat_map(|entry| self.of_entry(table, entry))
                .collect(),
        }
    }

    /// Which versions of the key these tables have, the older of them first.
    fn in_tables<'t>(&self, tables: impl Iterator<Item = &'t Table>) -> Option<InTables> {
        let mut known: Option<InTables> = None;
        for table in tables {
            let entry = self.key.and_then(|key| table.find(self.hash, key));
            if let Some((before, last)) = entry.map(|entry| table.versions(entry)) {
                let before = known.map_or(before, |known| known.before);
                known = Some(InTables { before, last });
            }
        }
        known
    }

    fn of_entry(&self, table: &Table, entry: EntryId) -> Vec<(Version, Offset)> {
        let (before, last) = table.versions(entry);
        let row = |version: u64| {
            table
                .offset_of(entry, Version(version))
                .map(|offset| (Version(version), offset))
        };
        let seen = |(_, offset): &(Version, Offset)| *offset < self.limit;
        if self.backward {
            let versions = (before.0 + 1..=last.0.min(self.from.0)).rev();
            versions
                .filter_map(row)
                .filter(seen)
                .take(self.most)
                .collect()
        } else {
            let versions = self.from.0.max(before.0 + 1)..=last.0;
            versions
                .filter_map(row)
                .take_while(seen)
                .take(self.most)
                .collect()
        }
    }

    fn in_files(&self, files: &Files) -> Result<Vec<(Version, Offset)>, Unknown> {
        let mut rows: Vec<Row> = Vec::new();
        let count = files.runs.len();
        for nth in 0..count {
            if rows.len() >= self.most {
                break;
            }
            let run = &files.runs[if self.backward { count - 1 - nth } else { nth }];
            let damaged = |unread| Unknown::run(run, unread);
            if !run.may_have(self.hash).map_err(damaged)? {
                continue;
            }
            let group = run.group(self.hash).map_err(damaged)?;
            let first = if self.backward {
                Version(self.from.0.saturating_add(1))
            } else {
                self.from
            };
            let bound = group.lower_bound(first).map_err(damaged)?;
            let mut at = bound;
            while (self.backward && at > 0) || (!self.backward && at < group.len()) {
                let row = group
                    .row(if self.backward { at - 1 } else { at })
                    .map_err(damaged)?;
                // What has the same version is of another key, and would be missed by a
                // caller that goes on behind it.
                if rows.len() >= self.most
                    && rows.last().is_some_and(|last| last.version != row.version)
                {
                    break;
                }
                if row.offset() < self.limit {
                    rows.push(row);
                }
                if self.backward {
                    at -= 1;
                } else {
                    at += 1;
                }
            }
        }
        Ok(rows
            .into_iter()
            .map(|row| (row.version, row.offset()))
            .collect())
    }
}
