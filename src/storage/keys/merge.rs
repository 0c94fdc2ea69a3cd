//! When sorted tables are merged, and how.
//!
//! A table is in a *tier* by its number of rows; each tier is four times as large as the one below.
//! Adjacent tables are merged when their sum is in a higher tier than each of them. So a row is
//! written at most once per tier, and while new tables are of about the same size, each tier has
//! fewer than four. Tables with many rows per key, those of hot keys, wait for more tables before
//! they are merged.
//!
//! A trim therefore costs as much as the keys of its segments take, times the number of tiers,
//! spread over many trims. No trim writes the last versions of all keys.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, binary_heap::PeekMut},
    ops::Range,
    path::Path,
    sync::Arc,
};

use super::{
    Damaged, Unread,
    sorted_table::{Content, LastVersion, Row, Scan, SortedTable, TableWriter},
};
use crate::{
    env::FileSystem,
    storage::{files::FileError, format::sorted_table::Header, log::Identity},
    types::Offset,
};

/// How many tables of a tier are merged, and how much larger the next tier is.
const RADIX: u64 = 4;

/// How many tables of hot keys of a tier are merged. Merging these gains little: hot keys are found
/// in memory, and a look-up of another key is answered by filters small enough to stay in a
/// processor's cache.
const HOT_RADIX: usize = 16;

/// Tables with at least this many rows per key, on average, are tables of hot keys.
const HOT_ROWS: u64 = 8;

/// If there are more adjacent tables of hot keys than this, some are merged whatever their sizes.
const MOST_HOT: usize = 2 * HOT_RADIX;

/// The most tables that all partitions should have together. Each is a mapping of the process, of
/// which Linux allows 65,530.
pub(crate) const MOST_TABLES: usize = 30_000;

/// The tiers of one kind of tables.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tiers {
    /// Tables with fewer rows than this are in the lowest tier, whose tables are merged whatever
    /// their sum.
    small: u64,
    /// The tier of the largest tables that are merged.
    highest: u32,
    /// If more tables than this lie between two that are too large to merge, some are merged
    /// whatever their sizes.
    most: usize,
}

impl Tiers {
    /// The tiers of tables of records. 2^18 rows take 6 MiB. Tables from 2^18 · 4^4 = 2^26 rows on,
    /// 1.6 GB, are above the highest tier and are not merged, because merging tables of records
    /// drops almost no rows. Each tier may have three tables.
    pub(crate) const RECORDS: Self = Self {
        small: 1 << 18,
        highest: 4,
        most: 15,
    };

    /// The tiers of tables of last versions. 2^12 rows take about 200 KB, so even trims of few keys
    /// do not write much more than their own rows. No tier is too large to merge, because merging
    /// drops all but the newest last version of a key. 2^12 · 4^20 rows are more than a disk holds.
    pub(crate) const LAST_VERSIONS: Self = Self {
        small: 1 << 12,
        highest: 20,
        most: 24,
    };

    fn tier_of(&self, rows: u64) -> u32 {
        rows.checked_div(self.small)
            .and_then(|times| times.checked_ilog(RADIX))
            .map_or(0, |tier| tier + 1)
    }
}

/// How large a table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) rows: u64,
    /// How many different hashes its rows have.
    pub(crate) hashes: u64,
}

/// Decides which adjacent tables to merge, given their sizes in the order of what they cover. With
/// `few`, small tables are merged as soon as there are two.
pub(crate) fn plan(tables: &[Size], tiers: Tiers, few: bool) -> Option<Range<usize>> {
    (0..=tiers.highest)
        .find_map(|tier| plan_tier(tables, tiers, tier, few))
        .or_else(|| plan_crowded(tables, tiers))
}

/// Adjacent tables of at most this tier whose sum is in a higher one.
fn plan_tier(tables: &[Size], tiers: Tiers, tier: u32, few: bool) -> Option<Range<usize>> {
    let enough = if tier == 0 {
        0
    } else {
        tiers.small * RADIX.pow(tier)
    };
    stretches(tables, tiers, tier).find(|stretch| {
        let count = match tier {
            0 if few => 2,
            1.. if are_hot(&tables[stretch.clone()]) => HOT_RADIX,
            _ => RADIX as usize,
        };
        stretch.len() >= count && rows_of(&tables[stretch.clone()]) >= enough
    })
}

/// The adjacent tables that cost least to merge, where there are too many that the tiers leave
/// alone.
fn plan_crowded(tables: &[Size], tiers: Tiers) -> Option<Range<usize>> {
    let most = |stretch: &Range<usize>| {
        if are_hot(&tables[stretch.clone()]) {
            MOST_HOT
        } else {
            tiers.most
        }
    };
    let crowded =
        stretches(tables, tiers, tiers.highest).find(|stretch| stretch.len() > most(stretch))?;
    let windows = crowded.clone().zip(tables[crowded].windows(RADIX as usize));
    windows
        .min_by_key(|(_, window)| rows_of(window))
        .map(|(first, window)| first..first + window.len())
}

/// The longest runs of adjacent tables of at most this tier.
fn stretches(tables: &[Size], tiers: Tiers, tier: u32) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    let is_low = move |table: &Size| tiers.tier_of(table.rows) <= tier;
    tables
        .chunk_by(move |a, b| is_low(a) == is_low(b))
        .filter_map(move |chunk| {
            let stretch = at..at + chunk.len();
            at = stretch.end;
            is_low(&chunk[0]).then_some(stretch)
        })
}

fn rows_of(tables: &[Size]) -> u64 {
    tables.iter().map(|table| table.rows).sum()
}

fn are_hot(tables: &[Size]) -> bool {
    tables
        .iter()
        .all(|table| table.rows >= HOT_ROWS * table.hashes)
}

/// Why tables were not merged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The result could not be written, or one of the tables cannot be read at the moment.
    #[error(transparent)]
    File(#[from] FileError),
    /// One of them is damaged.
    #[error(transparent)]
    Damaged(#[from] Damaged),
}

impl From<Unread> for Error {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::Damaged(damaged) => Self::Damaged(damaged),
            Unread::Unavailable(error) => Self::File(error),
        }
    }
}

/// Merges adjacent tables of records into one that covers all their offsets. Keeps the rows whose
/// offsets `is_kept` accepts; `about` is their expected number, if it is known. When this returns,
/// the result is durable, and the merged tables can be removed.
///
/// # Panics
///
/// If there are no tables, or they are not adjacent.
pub(crate) fn merge(
    files: &dyn FileSystem,
    dir: &Path,
    tables: &[Arc<SortedTable>],
    about: Option<u64>,
    is_kept: impl Fn(Offset) -> bool,
) -> Result<SortedTable, Error> {
    let mut content = content(tables);
    if let Some(about) = about {
        content.expected_rows = content.expected_rows.min(about);
        content.expected_hashes = content.expected_hashes.min(about);
    }
    let mut writer = TableWriter::create(files, dir, &content)?;
    for row in Merged::new(tables) {
        let (row, _) = row?;
        if is_kept(row.offset()) {
            writer.push(row)?;
        }
    }
    Ok(writer.finish()?)
}

/// As [`merge`], for tables of last versions. Keeps the highest version of each entity; an entity
/// and an erased token never count as the same.
///
/// `edit` may replace each name; hash and version stay.
pub(crate) fn merge_last_versions(
    files: &dyn FileSystem,
    dir: &Path,
    tables: &[Arc<SortedTable>],
    edit: impl Fn(LastVersion) -> LastVersion,
) -> Result<SortedTable, Error> {
    let mut writer = TableWriter::create(files, dir, &content(tables))?;
    let mut names: Vec<_> = tables.iter().map(|table| table.names()).collect();
    let mut same_hash: Vec<LastVersion> = Vec::new();
    for row in Merged::new(tables) {
        let (row, number) = row?;
        let last = edit(names[number].last_version(&row)?);
        if same_hash
            .first()
            .is_some_and(|first| first.hash != last.hash)
        {
            push_latest(&mut writer, &mut same_hash)?;
        }
        same_hash.push(last);
    }
    push_latest(&mut writer, &mut same_hash)?;
    Ok(writer.finish()?)
}

/// Writes last versions with the same hash, except those of an entity with a later one among them.
fn push_latest(
    writer: &mut TableWriter<'_>,
    same_hash: &mut Vec<LastVersion>,
) -> Result<(), FileError> {
    for (at, last) in same_hash.iter().enumerate() {
        let mut later = same_hash[at + 1..].iter();
        if later.all(|later| later.name != last.name) {
            writer.push_last_version(last)?;
        }
    }
    same_hash.clear();
    Ok(())
}

fn content(tables: &[Arc<SortedTable>]) -> Content {
    let headers: Vec<&Header> = tables.iter().map(|table| table.header()).collect();
    assert!(
        headers.windows(2).all(|pair| pair[0].to == pair[1].from),
        "merged tables lie one behind the other"
    );
    let first = headers.first().expect("there are tables to merge");
    Content {
        kind: first.kind(),
        identity: Identity {
            topic: first.topic,
            partition: first.partition,
        },
        fingerprint: first.fingerprint,
        from: first.from,
        to: headers.last().map_or(first.to, |last| last.to),
        expected_rows: headers.iter().map(|header| header.rows).sum(),
        expected_hashes: headers.iter().map(|header| header.hashes).sum(),
    }
}

/// The rows of several tables in order, each with the index of its table. Stops at damage.
struct Merged<'a> {
    scans: Vec<Scan<'a>>,
    /// The next row of each scan that has one, with the scan's number.
    heads: BinaryHeap<Reverse<(Row, usize)>>,
    /// An error that a scan met before its row was asked for.
    unread: Option<Unread>,
}

impl<'a> Merged<'a> {
    fn new(tables: &'a [Arc<SortedTable>]) -> Self {
        let mut scans: Vec<Scan<'_>> = tables.iter().map(|table| table.scan()).collect();
        let (mut heads, mut unread) = (BinaryHeap::with_capacity(scans.len()), None);
        for (number, scan) in scans.iter_mut().enumerate() {
            match scan.next() {
                Some(Ok(row)) => heads.push(Reverse((row, number))),
                Some(Err(error)) => unread = Some(error),
                None => {}
            }
        }
        Self {
            scans,
            heads,
            unread,
        }
    }
}

impl Iterator for Merged<'_> {
    type Item = Result<(Row, usize), Unread>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(unread) = self.unread.take() {
            self.heads.clear();
            return Some(Err(unread));
        }
        let mut head = self.heads.peek_mut()?;
        let Reverse((row, number)) = *head;
        let scan = &mut self.scans[number];
        match scan.next() {
            Some(Ok(next)) if next >= row => *head = Reverse((next, number)),
            None => drop(PeekMut::pop(head)),
            Some(Ok(_)) => self.unread = Some(scan.damaged().into()),
            Some(Err(damaged)) => self.unread = Some(damaged),
        }
        Some(Ok((row, number)))
    }
}
