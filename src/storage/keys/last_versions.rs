//! The last versions of a partition's records that are gone.
//!
//! Each time that segments are about to be removed, what they say is written to a table with the
//! next number, and the checkpoint that lets them go says up to which number there must be tables.
//! Tables whose numbers lie one behind the other are merged into one that covers them all. So what
//! is missing is known, and a crash at any moment leaves all numbers covered.
//!
//! A look-up goes from the newest table to the oldest, and asks their filters. If it comes to
//! numbers that are lost before it comes to the entity, its version is not known.

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
    /// Files of earlier versions, of which tables are to be made before anybody looks.
    pub(super) earlier: Vec<Arc<Earlier>>,
    /// The first numbers of tables that are not merged because they are damaged.
    damaged: BTreeSet<u64>,
}

/// Numbers of which nothing can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) numbers: Range<u64>,
    pub(crate) damaged: Damaged,
}

impl LastVersions {
    /// The highest number that there is; 0 if nothing is gone.
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

    /// What cannot be read.
    pub(crate) fn lost(&self) -> &[Lost] {
        &self.lost
    }

    /// The next file of an earlier version of which a table is to be made.
    pub(crate) fn next_earlier(&self) -> Option<&Arc<Earlier>> {
        self.earlier.first()
    }

    /// Whether everything is known that was ever kept, and can be asked for now.
    pub(crate) fn is_whole(&self) -> bool {
        self.lost.is_empty() && self.earlier.is_empty()
    }

    /// Whether all filters are in memory, mostly: they may be asked while a lock is held.
    pub(crate) fn is_mapped(&self) -> bool {
        self.tables.iter().all(|table| table.is_mapped())
    }

    /// Whether there may be something of a hash.
    pub(crate) fn may_have(&self, hash: KeyHash) -> bool {
        let may_have = |table: &Arc<SortedTable>| table.may_have(hash).unwrap_or(true);
        !self.is_whole() || self.tables.iter().any(may_have)
    }

    /// The tables that may have something of one of these hashes.
    pub(crate) fn with_any(&self, hashes: &[KeyHash]) -> Vec<Arc<SortedTable>> {
        let has_any = |table: &&Arc<SortedTable>| {
            let mut hashes = hashes.iter();
            hashes.any(|hash| table.may_have(*hash).unwrap_or(true))
        };
        self.tables.iter().filter(has_any).cloned().collect()
    }

    /// The last version of an entity, by its hash, and by what says whether a name is its own.
    pub(crate) fn find(
        &self,
        hash: KeyHash,
        is_its_name: impl Fn(&Name) -> bool,
    ) -> Result<Option<Version>, Unread> {
        let mut of_hash = None;
        // All numbers from this one on have been looked at.
        let mut looked = u64::MAX;
        for table in self.tables.iter().rev() {
            self.none_lost(table.numbers().end..looked)?;
            looked = table.numbers().start;
            if !table.may_have(hash)? {
                continue;
            }
            let group = table.group(hash)?;
            for at in (0..group.len()).rev() {
                let row = group.row(at)?;
                let last = Unread::unless_damaged(table.last_version(&row));
                match last.map_err(Unread::Unavailable)? {
                    // Its key is lost. Versions go on behind it: one too many is left out where by
                    // chance another key has the hash, and none is given out twice. That other may
                    // have a higher one in an older table.
                    None => of_hash = of_hash.max(Some(row.version)),
                    Some(last) if last.name == Name::Unreadable => {
                        of_hash = of_hash.max(Some(row.version));
                    }
                    Some(last) if is_its_name(&last.name) => {
                        return Ok(of_hash.max(Some(row.version)));
                    }
                    Some(_) => {}
                }
            }
        }
        self.none_lost(0..looked)?;
        Ok(of_hash)
    }

    /// The highest version of a hash up to this one, as far as it is known.
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

    /// Whether a table says as much already as this row would, which names no key. A later table is
    /// asked first, so such a row must not hide a higher version that an earlier one has of the
    /// key.
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

    /// Puts a table in the place of those with the numbers that it covers: it was made from them.
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

    /// Takes note that this table is damaged, and is not merged.
    pub(crate) fn leave_unmerged(&mut self, path: &Path) {
        let table = self.tables.iter().find(|table| table.path() == path);
        self.damaged
            .extend(table.map(|table| table.numbers().start));
    }

    /// Tables to be merged into one. Where there are to be `few`, small ones are merged early.
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

    /// Whether a file is one of these.
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
