//! Merging runs: when, and how.
//!
//! Runs are of *tiers* by their rows, each four times as large as the one before. Adjacent runs are
//! merged when the result is of a higher tier than each of them. So a row is written at most once
//! per tier, and as long as runs come from tables of about one size, each tier has fewer than four.
//! Runs of hot subjects wait for more of them.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, binary_heap::PeekMut},
    ops::Range,
    path::Path,
    sync::Arc,
};

use super::{
    Damaged, Unread,
    run::{Content, Row, Run, RunWriter, Scan},
};
use crate::{
    env::FileSystem,
    storage::{files::FileError, log::Identity},
    types::Offset,
};

/// How many runs of a tier are merged, and how much larger the next tier is.
const RADIX: u64 = 4;

/// The same of runs of hot subjects. Merging these buys little: such subjects are found in tables,
/// and others are told apart by filters that are small enough to stay in a processor's cache.
const HOT_RADIX: usize = 16;

/// Runs with so many rows of each subject, on average, are of hot subjects.
const HOT_ROWS: u64 = 8;

/// Runs below this many rows (6 MiB) are of the lowest tier: they are merged whatever comes of it.
const SMALL: u64 = 1 << 18;

/// The tier of the largest runs that are merged. The next begins at 2^18 · 4^4 = 2^26 rows, 1.6 GB.
const HIGHEST: u32 = 4;

/// More runs than this between two that are left alone, three of each tier and more of hot ones,
/// are merged even where their sizes do not fit.
const MOST: usize = 3 * (HIGHEST as usize + 1);
const MOST_HOT: usize = 2 * HOT_RADIX;

/// How many runs there should be in all partitions. Each is a mapping of the process, of which
/// Linux allows 65,530; a partition has another for its retired facts.
pub(crate) const MOST_RUNS: usize = 30_000;

/// How large a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) rows: u64,
    /// Different ones, of its rows.
    pub(crate) hashes: u64,
}

/// Which of the runs, given by their sizes and in the order of their offsets, to merge into one.
/// Where there are to be `few`, small ones are merged as soon as there are two.
pub(crate) fn plan(runs: &[Size], few: bool) -> Option<Range<usize>> {
    (0..=HIGHEST)
        .find_map(|tier| plan_tier(runs, tier, few))
        .or_else(|| plan_crowded(runs))
}

/// Adjacent runs of a tier or lower that together are of a higher one.
fn plan_tier(runs: &[Size], tier: u32, few: bool) -> Option<Range<usize>> {
    let enough = if tier == 0 {
        0
    } else {
        SMALL * RADIX.pow(tier)
    };
    stretches(runs, tier).find(|stretch| {
        let count = match tier {
            0 if few => 2,
            1.. if are_hot(&runs[stretch.clone()]) => HOT_RADIX,
            _ => RADIX as usize,
        };
        stretch.len() >= count && rows_of(&runs[stretch.clone()]) >= enough
    })
}

/// The cheapest neighbours where there are too many runs of sizes that do not fit.
fn plan_crowded(runs: &[Size]) -> Option<Range<usize>> {
    let most = |stretch: &Range<usize>| {
        if are_hot(&runs[stretch.clone()]) {
            MOST_HOT
        } else {
            MOST
        }
    };
    let crowded = stretches(runs, HIGHEST).find(|stretch| stretch.len() > most(stretch))?;
    let windows = crowded.clone().zip(runs[crowded].windows(RADIX as usize));
    windows
        .min_by_key(|(_, window)| rows_of(window))
        .map(|(first, window)| first..first + window.len())
}

/// The longest stretches of adjacent runs of at most this tier.
fn stretches(runs: &[Size], tier: u32) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    runs.chunk_by(move |a, b| (tier_of(a.rows) <= tier) == (tier_of(b.rows) <= tier))
        .filter_map(move |chunk| {
            let stretch = at..at + chunk.len();
            at = stretch.end;
            (tier_of(chunk[0].rows) <= tier).then_some(stretch)
        })
}

fn rows_of(runs: &[Size]) -> u64 {
    runs.iter().map(|run| run.rows).sum()
}

fn are_hot(runs: &[Size]) -> bool {
    runs.iter().all(|run| run.rows >= HOT_ROWS * run.hashes)
}

fn tier_of(rows: u64) -> u32 {
    rows.checked_div(SMALL)
        .and_then(|times| times.checked_ilog(RADIX))
        .map_or(0, |tier| tier + 1)
}

/// Why runs, or files of facts, were not merged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The result could not be written, or one of them cannot be read at the moment.
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

/// Merges runs that lie one behind the other into one that covers their offsets, without rows of
/// offsets below `keep_from`. When this returns, it is durable, and the merged ones can be removed.
///
/// # Panics
///
/// If there are none, or they do not lie one behind the other.
pub(crate) fn merge(
    files: &dyn FileSystem,
    dir: &Path,
    runs: &[Arc<Run>],
    keep_from: Offset,
) -> Result<Run, Error> {
    let mut writer = RunWriter::create(files, dir, &content(runs))?;
    for row in Merged::new(runs) {
        let row = row?;
        if row.offset >= keep_from {
            writer.push(row)?;
        }
    }
    Ok(writer.finish()?)
}

fn content(runs: &[Arc<Run>]) -> Content {
    assert!(
        runs.windows(2).all(|pair| pair[0].to() == pair[1].from()),
        "merged runs lie one behind the other"
    );
    let (first, last) = (
        runs.first().expect("there are runs to merge"),
        runs.last().expect("so there is a last"),
    );
    Content {
        identity: Identity {
            topic: first.header().topic,
            partition: first.header().partition,
        },
        fingerprint: first.header().fingerprint,
        from: first.from(),
        to: last.to(),
        expected_rows: runs.iter().map(|run| run.rows()).sum(),
        expected_hashes: runs.iter().map(|run| run.header().hashes).sum(),
    }
}

/// The rows of some runs in the order of one. Ends at damage.
pub(crate) struct Merged<'a> {
    scans: Vec<Scan<'a>>,
    /// The next row of each scan that has one, with the scan's number.
    heads: BinaryHeap<Reverse<(Row, usize)>>,
    /// Met before it was asked for.
    unread: Option<Unread>,
}

impl<'a> Merged<'a> {
    pub(crate) fn new(runs: &'a [Arc<Run>]) -> Self {
        let mut scans: Vec<Scan<'_>> = runs.iter().map(|run| run.scan()).collect();
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
    type Item = Result<Row, Unread>;

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
        Some(Ok(row))
    }
}
