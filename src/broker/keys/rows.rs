//! Finds the records of a key, in the order of versions.

use std::sync::Arc;

use super::{
    holes::InTables,
    look_up::{Latest, Unknown},
};
use crate::{
    broker::{Error, lock, partitions::Partitions, state::PartitionRef},
    storage::{
        format::sorted_table::Row,
        keys::{
            Files, Hole,
            hash::KeyHash,
            sorted_table::Group,
            table::{EntryId, Table},
        },
        log::View,
    },
    types::{Offset, Version},
};

/// Which rows are wanted.
#[derive(Clone, Copy)]
pub(in crate::broker) struct Rows<'a> {
    pub(in crate::broker) hash: KeyHash,
    /// `None` for all keys with the hash.
    pub(in crate::broker) key: Option<&'a [u8]>,
    /// The version to begin at.
    pub(in crate::broker) from: Version,
    /// Downwards from there instead of upwards.
    pub(in crate::broker) backward: bool,
    /// Roughly how many rows.
    pub(in crate::broker) most: usize,
    /// Records from this offset on are not visible.
    pub(in crate::broker) limit: Offset,
}

/// What is known of a key at one moment.
struct Known {
    /// Rows from the table, which keeps changing.
    newest: Vec<(Version, Offset)>,
    /// The key's latest visible row among these.
    latest: Option<(Version, Offset)>,
    frozen: Option<Arc<Table>>,
    /// Which versions of the key these tables have; only looked up if there are holes.
    in_tables: Option<InTables>,
    /// The log's view, with index files that cover everything the tables do not.
    view: Arc<View>,
}

/// What a read of an entity begins with.
pub(in crate::broker) struct Begun {
    /// The latest version.
    pub(in crate::broker) latest: Version,
    /// The wanted rows; `None` if another look-up is needed to tell why there are none.
    pub(in crate::broker) rows: Option<Vec<(Version, Offset)>>,
}

impl Partitions {
    /// Versions and the offsets of their records, in the order asked for. Some may belong to other
    /// keys with the same hash, and some records may be gone; the log tells.
    pub(in crate::broker) fn rows_of(
        &self,
        partition: &PartitionRef,
        wanted: &Rows<'_>,
    ) -> Result<Vec<(Version, Offset)>, Error> {
        loop {
            let known = self.known(partition, wanted)?;
            match wanted.in_all(&known, None) {
                Ok(rows) => match self.missed(partition, wanted, &known, &rows) {
                    Some(hole) => return Err(self.explain_hole(partition, &hole)),
                    None => return Ok(rows),
                },
                Err(unknown) => self.repair(partition, unknown)?,
            }
        }
    }

    /// The latest version of a key below the limit, and the wanted rows.
    pub(in crate::broker) fn begin_reading(
        &self,
        partition: &PartitionRef,
        key: &[u8],
        wanted: &Rows<'_>,
    ) -> Result<Begun, Error> {
        loop {
            let known = self.known(partition, wanted)?;
            let (latest, group) = match wanted.latest_in_tables(&known) {
                Some((version, _)) => (version, None),
                None => {
                    let reader = self.reader(partition);
                    match reader.latest(&known.view, wanted.hash, key, wanted.limit) {
                        Ok(Latest { found, group }) => {
                            (found.map_or(Version::NONE, |found| found.version), group)
                        }
                        Err(unknown) => {
                            self.repair(partition, unknown)?;
                            continue;
                        }
                    }
                }
            };
            let rows = wanted.in_all(&known, group).ok();
            let is_missed = |rows: &Vec<_>| self.missed(partition, wanted, &known, rows).is_some();
            let rows = rows.filter(|rows| !is_missed(rows));
            return Ok(Begun { latest, rows });
        }
    }

    /// A hole that may have wanted rows that were not found.
    fn missed(
        &self,
        partition: &PartitionRef,
        wanted: &Rows<'_>,
        known: &Known,
        found: &[(Version, Offset)],
    ) -> Option<Hole> {
        let files = known.view.index();
        if files.holes.is_empty() {
            return None;
        }
        let retired = self.last_gone_version(partition, wanted.hash, Version(u64::MAX));
        wanted.missed(found, files, known.in_tables, retired)
    }

    /// The latest row of a key below the limit.
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
            most: 0,
            limit,
        };
        loop {
            let known = self.known(partition, &newest)?;
            if let Some((version, offset)) = newest.latest_in_tables(&known) {
                return Ok((version, Some(offset)));
            }
            let reader = self.reader(partition);
            match reader.latest(&known.view, hash, key, limit) {
                Ok(Latest { found, .. }) => {
                    return Ok(
                        found.map_or((Version::NONE, None), |found| (found.version, found.offset))
                    );
                }
                Err(unknown) => self.repair(partition, unknown)?,
            }
        }
    }

    /// Calls `each` for every row of a hash below a limit: those of one key in order, with those of
    /// other keys with the same hash among them. Starts again if a damaged file must be rebuilt.
    /// Fails in the end if damaged records behind the last row may have more.
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
            let files = known.view.index();
            match files.for_each_row(hash, limit, &mut each) {
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
                    return match files.hole_in(behind..limit) {
                        Some(hole) => Err(self.explain_hole(partition, hole)),
                        None => Ok(()),
                    };
                }
                Err(unknown) => self.repair(partition, unknown)?,
            }
        }
    }

    /// What is known of a key, after gaps in the files were filled as far as the log can be read.
    fn known(&self, partition: &PartitionRef, wanted: &Rows<'_>) -> Result<Known, Error> {
        loop {
            {
                let keys = &lock(&partition.partition().next).keys;
                let view = Arc::clone(&partition.partition().log.view());
                if self.are_whole(&view) {
                    let in_tables = match view.index().holes.is_empty() {
                        true => None,
                        false => {
                            let tables = [keys.frozen.as_deref(), Some(&keys.table)];
                            wanted.in_tables(tables.into_iter().flatten())
                        }
                    };
                    return Ok(Known {
                        newest: wanted.in_table(&keys.table),
                        latest: wanted.latest_in(&keys.table),
                        frozen: keys.frozen.clone(),
                        in_tables,
                        view,
                    });
                }
            }
            self.fill_gaps(partition)?;
        }
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
    /// The key's latest visible row in a table, whatever else is wanted.
    fn latest_in(&self, table: &Table) -> Option<(Version, Offset)> {
        let entry = table.find(self.hash, self.key?)?;
        let newest = Rows {
            from: Version(u64::MAX),
            backward: true,
            most: 1,
            ..*self
        };
        newest.of_entry(table, entry).pop()
    }

    /// The key's latest visible row in all tables in memory.
    fn latest_in_tables(&self, known: &Known) -> Option<(Version, Offset)> {
        let frozen = || self.latest_in(known.frozen.as_deref()?);
        known.latest.or_else(frozen)
    }

    /// The rows in tables and files. `group` was looked up before.
    fn in_all<'k>(
        &self,
        known: &'k Known,
        group: Option<(usize, Group<'k>)>,
    ) -> Result<Vec<(Version, Offset)>, Unknown> {
        let in_frozen = || {
            let frozen = known.frozen.as_deref();
            frozen.map_or_else(Vec::new, |table| self.in_table(table))
        };
        let files = known.view.index();
        let mut rows;
        if self.backward {
            rows = known.newest.clone();
            if rows.len() < self.most {
                rows.extend(in_frozen());
            }
            if rows.len() < self.most {
                rows.extend(self.in_files(files, group)?);
            }
        } else {
            rows = self.in_files(files, group)?;
            if rows.len() < self.most {
                rows.extend(in_frozen());
            }
            if rows.len() < self.most {
                rows.extend_from_slice(&known.newest);
            }
        }
        Ok(rows)
    }

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

    /// Which versions of the key these tables have; the older table comes first.
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

    fn in_files<'f>(
        &self,
        files: &'f Files,
        mut known: Option<(usize, Group<'f>)>,
    ) -> Result<Vec<(Version, Offset)>, Unknown> {
        let mut rows: Vec<Row> = Vec::new();
        let count = files.runs.len();
        for nth in 0..count {
            if rows.len() >= self.most {
                break;
            }
            let nth = if self.backward { count - 1 - nth } else { nth };
            let run = &files.runs[nth];
            let damaged = |unread| Unknown::run(run, unread);
            let group = match known.take_if(|(known, _)| *known == nth) {
                Some((_, group)) => group,
                None if run.may_have(self.hash).map_err(damaged)? => {
                    run.group(self.hash).map_err(damaged)?
                }
                None => continue,
            };
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
                // Rows with the same version belong to another key. They must all be returned
                // together, or a caller that continues behind this version would miss them.
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
