//! The last versions of a partition's records that are gone.
//!
//! Before segments are removed, the last versions of their entities are written to a table with the
//! next number. The checkpoint that allows the removal says up to which number tables must exist.
//! Tables with adjacent numbers are merged into one that covers all their numbers. So a missing
//! table is noticed, and a crash at any moment leaves all numbers covered.
//!
//! A look-up goes from the newest table to the oldest, asks their filters first, and takes the
//! highest version. If it comes to lost numbers before it finds the entity, the entity's version is
//! not known.

use std::{collections::BTreeSet, ops::Range, path::Path, sync::Arc};

use super::{
    Damaged, Unread,
    earlier::Earlier,
    hash::KeyHash,
    merge::{self, Size, Tiers},
    sorted_table::{LastVersion, Name, SortedTable},
};
use crate::types::Version;

/// The last versions of a partition's records that are gone.
#[derive(Clone, Default)]
pub(crate) struct LastVersions {
    /// In the order of their numbers.
    pub(super) tables: Vec<Arc<SortedTable>>,
    /// In the order of their numbers.
    pub(super) lost: Vec<Lost>,
    /// Files of earlier versions. Tables must be made of them before anything is looked up.
    pub(super) earlier: Vec<Arc<Earlier>>,
    /// The first numbers of damaged tables, which are not merged.
    damaged: BTreeSet<u64>,
}

/// Numbers whose tables cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) numbers: Range<u64>,
    pub(crate) damaged: Damaged,
}

/// What a table has of a hash.
#[derive(Default)]
struct InTable {
    /// The version of the entity.
    of_entity: Option<Version>,
    /// The highest version without a name.
    of_hash: Option<Version>,
}

impl InTable {
    /// Adds what an older table has. A version without a name stands for the entity only as long as
    /// no newer table has the entity itself.
    fn add_older(&mut self, older: Self) {
        if self.of_entity.is_none() {
            self.of_hash = self.of_hash.max(older.of_hash);
        }
        self.of_entity = self.of_entity.max(older.of_entity);
    }
}

fn find_in(
    table: &SortedTable,
    hash: KeyHash,
    is_its_name: impl Fn(&Name) -> bool,
) -> Result<InTable, Unread> {
    let mut found = InTable::default();
    if !table.may_have(hash)? {
        return Ok(found);
    }
    let group = table.group(hash)?;
    for at in (0..group.len()).rev() {
        let row = group.row(at)?;
        let last = Unread::unless_damaged(table.last_version(&row));
        match last.map_err(Unread::Unavailable)? {
            Some(last) if is_its_name(&last.name) => {
                found.of_entity = Some(row.version);
                break;
            }
            Some(last) if last.name != Name::Unreadable => {}
            // The key of this row is lost, so the entity continues behind its version. If another
            // key has the hash by chance, versions are skipped, but none is given out twice. An
            // older table may have a higher version of the entity itself.
            _ => found.of_hash = found.of_hash.max(Some(row.version)),
        }
    }
    Ok(found)
}

impl LastVersions {
    /// The highest number; 0 if no record is gone.
    pub(crate) fn through(&self) -> u64 {
        let ends = [
            self.tables.last().map(|table| table.numbers().end),
            self.lost.last().map(|lost| lost.numbers.end),
            self.earlier.last().map(|earlier| earlier.numbers().end),
        ];
        let end = ends.into_iter().flatten().max();
        end.map_or(0, |end| end - 1)
    }

    /// How many tables there are.
    pub(crate) fn len(&self) -> usize {
        self.tables.len()
    }

    /// The numbers that are lost.
    pub(crate) fn lost(&self) -> &[Lost] {
        &self.lost
    }

    /// The next file of an earlier version to make a table of.
    pub(crate) fn next_earlier(&self) -> Option<&Arc<Earlier>> {
        self.earlier.first()
    }

    /// Whether every number is covered by a table that can be read now.
    pub(crate) fn is_whole(&self) -> bool {
        self.lost.is_empty() && self.earlier.is_empty()
    }

    /// Whether all tables are mapped: their filters are then mostly in memory, and may be asked
    /// under a lock.
    pub(crate) fn is_mapped(&self) -> bool {
        self.tables.iter().all(|table| table.is_mapped())
    }

    /// Whether a table may have rows of a hash.
    pub(crate) fn may_have(&self, hash: KeyHash) -> bool {
        let may_have = |table: &Arc<SortedTable>| table.may_have(hash).unwrap_or(true);
        !self.is_whole() || self.tables.iter().any(may_have)
    }

    /// The tables that may have rows of one of these hashes.
    pub(crate) fn with_any(&self, hashes: &[KeyHash]) -> Vec<Arc<SortedTable>> {
        let has_any = |table: &&Arc<SortedTable>| {
            let mut hashes = hashes.iter();
            hashes.any(|hash| table.may_have(*hash).unwrap_or(true))
        };
        self.tables.iter().filter(has_any).cloned().collect()
    }

    /// The last version of an entity: the highest that any table has. `is_its_name` says whether a
    /// name is the entity's own.
    ///
    /// Mostly that is in the newest table with the entity. It is not where a segment was retired
    /// while a compaction that had read an older part of the log was about to say what it removes.
    /// Damage of older tables matters only until the entity is found.
    pub(crate) fn find(
        &self,
        hash: KeyHash,
        is_its_name: impl Fn(&Name) -> bool,
    ) -> Result<Option<Version>, Unread> {
        let mut found = InTable::default();
        // All numbers from this one on have been searched.
        let mut looked = u64::MAX;
        for table in self.tables.iter().rev() {
            if found.of_entity.is_none() {
                self.none_lost(table.numbers().end..looked)?;
            }
            looked = table.numbers().start;
            match find_in(table, hash, &is_its_name) {
                Ok(here) => found.add_older(here),
                Err(Unread::Damaged(_)) if found.of_entity.is_some() => {}
                Err(unread) => return Err(unread),
            }
        }
        if found.of_entity.is_none() {
            self.none_lost(0..looked)?;
        }
        Ok(found.of_entity.max(found.of_hash))
    }

    /// The highest known version of a hash that is not above `through`.
    pub(crate) fn highest_of_hash(&self, hash: KeyHash, through: Version) -> Version {
        let mut highest = Version::NONE;
        for table in &self.tables {
            let Ok(group) = table.group(hash) else {
                continue;
            };
            let rows = (0..group.len()).map_while(|at| group.row(at).ok());
            let versions = rows.map(|row| row.version);
            let up_to = versions.filter(|version| *version <= through).max();
            highest = highest.max(up_to.unwrap_or(Version::NONE));
        }
        highest
    }

    /// Whether a row with a token need not be added, because a table already has this version of
    /// the hash, or a later one. It must not be added then: the newest table is asked first, and
    /// the row would hide the higher version.
    pub(crate) fn has_token_or_later(&self, last: &LastVersion) -> bool {
        let all = Version(u64::MAX);
        matches!(last.name, Name::Erased { .. })
            && self.highest_of_hash(last.hash, all) >= last.version
    }

    /// Adds a table with the next number.
    pub(crate) fn push(&mut self, table: Arc<SortedTable>) {
        debug_assert_eq!(table.numbers().start, self.through() + 1);
        self.tables.push(table);
    }

    /// Puts a table in the place of those that it was made from, whose numbers it covers.
    pub(crate) fn replace(&mut self, table: Arc<SortedTable>) {
        let numbers = table.numbers();
        let is_in = |other: Range<u64>| numbers.start <= other.start && other.end <= numbers.end;
        self.tables.retain(|other| !is_in(other.numbers()));
        self.earlier.retain(|other| !is_in(other.numbers()));
        self.damaged.retain(|first| !numbers.contains(first));
        let at = self
            .tables
            .partition_point(|other| other.numbers().start < numbers.start);
        self.tables.insert(at, table);
    }

    /// Marks a table as damaged, so that it is not merged.
    pub(crate) fn leave_unmerged(&mut self, path: &Path) {
        let table = self.tables.iter().find(|table| table.path() == path);
        self.damaged
            .extend(table.map(|table| table.numbers().start));
    }

    /// Which tables to merge into one, if any. With `few`, small tables are merged as soon as there
    /// are two.
    pub(crate) fn plan_merge(&self, few: bool) -> Option<&[Arc<SortedTable>]> {
        let is_damaged = |table: &Arc<SortedTable>| self.damaged.contains(&table.numbers().start);
        let adjacent = self.tables.chunk_by(|one, next| {
            one.numbers().end == next.numbers().start && !is_damaged(one) && !is_damaged(next)
        });
        for tables in adjacent {
            let sizes: Vec<Size> = tables.iter().map(|table| table.size()).collect();
            if let Some(planned) = merge::plan(&sizes, Tiers::LAST_VERSIONS, few) {
                return Some(&tables[planned]);
            }
        }
        None
    }

    /// Whether the file at `path` is in use here.
    pub(crate) fn uses(&self, path: &Path) -> bool {
        self.tables.iter().any(|table| table.path() == path)
            || self.earlier.iter().any(|earlier| earlier.path() == path)
            || self.lost.iter().any(|lost| lost.damaged.path == path)
    }

    fn none_lost(&self, numbers: Range<u64>) -> Result<(), Unread> {
        let overlaps = |lost: &&Lost| {
            lost.numbers.start.max(numbers.start) < lost.numbers.end.min(numbers.end)
        };
        match self.lost.iter().find(overlaps) {
            Some(lost) => Err(lost.damaged.clone().into()),
            None => Ok(()),
        }
    }
}
