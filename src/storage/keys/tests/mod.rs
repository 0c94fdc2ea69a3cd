//! The key index on a simulated disk.

mod crash;
mod damage;
mod hash;
mod merge;
mod plan;
mod retired;
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
    run::{Content, Row, Run},
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
        identity: IDENTITY,
        fingerprint: FINGERPRINT,
        from: Offset(from),
        to: Offset(to),
        expected_rows: rows as u64,
        expected_hashes: rows as u64,
    }
}

fn write(disk: &SimDisk, from: u64, to: u64, rows: &[Row]) -> Run {
    Run::write(
        disk,
        &dir(),
        &content(from, to, rows.len()),
        rows.iter().copied(),
    )
    .expect("the disk takes it")
}

fn open(disk: &SimDisk, path: &Path) -> Result<Run, Unusable> {
    Run::open(disk, path, IDENTITY, FINGERPRINT)
}

fn row(hash: u64, version: u64, offset: u64) -> Row {
    Row {
        hash: KeyHash(hash),
        version: Version(version),
        offset: Offset(offset),
    }
}

fn scan(run: &Run) -> Vec<Row> {
    run.scan()
        .collect::<Result<_, Unread>>()
        .expect("it is sound")
}

/// The rows of a hash.
fn group(run: &Run, hash: KeyHash) -> Result<Vec<Row>, Unread> {
    let group = run.group(hash)?;
    (0..group.len()).map(|at| group.row(at)).collect()
}

/// Numbers that look drawn, the same in each run of the tests.
fn drawn(nth: u64) -> u64 {
    let mixed = nth.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb)
}

/// Rows of the offsets from `from` on, one for each, of as many subjects, in order of their hashes.
fn rows_of(from: u64, rows: u64, subjects: u64) -> Vec<Row> {
    let mut rows: Vec<Row> = (from..from + rows)
        .map(|at| row(drawn(at % subjects), 1 + at / subjects, at))
        .collect();
    rows.sort_unstable();
    rows
}

fn arcs(runs: impl IntoIterator<Item = Run>) -> Vec<Arc<Run>> {
    runs.into_iter().map(Arc::new).collect()
}

/// The page of this number in a file, to be forged.
fn page(bytes: &mut [u8], number: usize) -> &mut Page {
    bytes[number * PAGE_BYTES..]
        .first_chunk_mut()
        .expect("there is one")
}
