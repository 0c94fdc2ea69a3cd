//! The key index on a simulated disk.

mod crash;
mod damage;
mod earlier;
mod hash;
mod last_versions;
mod merge;
mod plan;
mod run;
mod salvage;
mod set;
mod table;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Unread, Unusable,
    hash::{KeyHash, KeyHasher},
    sorted_table::{Content, Kind, LastVersion, Name, Row, SortedTable},
};
use crate::{
    env::{FileSystem, sim::SimDisk},
    storage::{
        format::{
            page::{PAGE_BYTES, Page},
            tests::samples::TOPIC,
        },
        log::Identity,
    },
    types::{Offset, PartitionId, Version},
};

const IDENTITY: Identity = Identity {
    topic: TOPIC,
    partition: PartitionId(3),
};
const FINGERPRINT: u64 = 77;

fn dir() -> PathBuf {
    PathBuf::from("/index")
}

/// A disk with the directory that indexes are in.
fn disk() -> SimDisk {
    let disk = SimDisk::new(1);
    disk.create_dir(&dir()).expect("an empty disk");
    disk.sync_dir(Path::new("/")).expect("it is there");
    disk
}

fn content(from: u64, to: u64, rows: usize) -> Content {
    Content {
        kind: Kind::Records,
        identity: IDENTITY,
        fingerprint: FINGERPRINT,
        from,
        to,
        expected_rows: rows as u64,
        expected_hashes: rows as u64,
    }
}

fn write(disk: &SimDisk, from: u64, to: u64, rows: &[Row]) -> SortedTable {
    SortedTable::write(
        disk,
        &dir(),
        &content(from, to, rows.len()),
        rows.iter().copied(),
    )
    .expect("the disk takes it")
}

fn open(disk: &SimDisk, path: &Path) -> Result<SortedTable, Unusable> {
    SortedTable::open(disk, path, IDENTITY, FINGERPRINT)
}

fn row(hash: u64, version: u64, offset: u64) -> Row {
    Row::of_record(KeyHash(hash), Version(version), Offset(offset))
}

fn scan(run: &SortedTable) -> Vec<Row> {
    run.scan()
        .collect::<Result<_, Unread>>()
        .expect("it is sound")
}

/// The rows of a hash.
fn group(run: &SortedTable, hash: KeyHash) -> Result<Vec<Row>, Unread> {
    let group = run.group(hash)?;
    (0..group.len()).map(|at| group.row(at)).collect()
}

/// A pseudo-random number, the same in each run of the tests.
fn drawn(nth: u64) -> u64 {
    let mixed = nth.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb)
}

/// One row for each of the offsets from `from` on, with this many different hashes, in the order of
/// the hashes.
fn rows_of(from: u64, rows: u64, subjects: u64) -> Vec<Row> {
    let mut rows: Vec<Row> = (from..from + rows)
        .map(|at| row(drawn(at % subjects), 1 + at / subjects, at))
        .collect();
    rows.sort_unstable();
    rows
}

fn arcs(runs: impl IntoIterator<Item = SortedTable>) -> Vec<Arc<SortedTable>> {
    runs.into_iter().map(Arc::new).collect()
}

/// A mutable page of a file by its number, to forge it.
fn page(bytes: &mut [u8], number: usize) -> &mut Page {
    bytes[number * PAGE_BYTES..]
        .first_chunk_mut()
        .expect("there is one")
}

/// The content of a table with these numbers and this many last versions.
fn content_of_last(numbers: std::ops::Range<u64>, lasts: usize) -> Content {
    Content {
        kind: Kind::LastVersions,
        ..content(numbers.start, numbers.end, lasts)
    }
}

fn store(disk: &SimDisk, numbers: std::ops::Range<u64>, lasts: &[LastVersion]) -> SortedTable {
    let content = content_of_last(numbers, lasts.len());
    SortedTable::write_last_versions(disk, &dir(), &content, lasts).expect("the disk takes it")
}

fn entity(hash: u64, version: u64, key: impl Into<bytes::Bytes>) -> LastVersion {
    LastVersion {
        hash: KeyHash(hash),
        version: Version(version),
        name: Name::Entity { key: key.into() },
    }
}

fn erased(hash: u64, version: u64, token: u8) -> LastVersion {
    LastVersion {
        hash: KeyHash(hash),
        version: Version(version),
        name: Name::Erased { token: [token; 32] },
    }
}

fn unreadable(hash: u64, version: u64) -> LastVersion {
    LastVersion {
        hash: KeyHash(hash),
        version: Version(version),
        name: Name::Unreadable,
    }
}

/// All last versions of a table.
fn lasts(table: &SortedTable) -> Vec<LastVersion> {
    scan(table)
        .iter()
        .map(|row| table.last_version(row).expect("it is sound"))
        .collect()
}

/// The last versions of a hash.
fn lasts_of(table: &SortedTable, hash: KeyHash) -> Result<Vec<LastVersion>, Unread> {
    if !table.may_have(hash)? {
        return Ok(Vec::new());
    }
    let rows = group(table, hash)?;
    rows.iter().map(|row| table.last_version(row)).collect()
}

fn owner(disk: &SimDisk) -> super::set::Owner<'_> {
    static DIR: std::sync::LazyLock<PathBuf> = std::sync::LazyLock::new(dir);
    super::set::Owner {
        files: disk,
        dir: &DIR,
        identity: IDENTITY,
        fingerprint: FINGERPRINT,
    }
}
