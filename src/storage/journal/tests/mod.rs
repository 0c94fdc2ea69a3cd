//! The journal on a real directory: what is read back, what is cut off, and what is reported.

mod damage;
mod found;
mod in_place;
mod model;
mod recycling;
mod torn;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tempfile::TempDir;

use super::{Covered, Error, Fault, Journal, OpenError, Options, Replay, Ring, Tip};
use crate::{
    env::{Env, Open, Random},
    storage::{
        files::read_file,
        format::{
            crc32,
            entry::{BLOCK_BYTES, Item},
            tests::samples::{frame_of, record},
        },
    },
    types::{Offset, PartitionId},
};

const FILE_BYTES: u64 = 64 << 10;

/// A journal's directory on the real disk, with repeatable random numbers.
struct Dir {
    temp: TempDir,
    env: Env,
    options: Options,
}

/// Salts that differ from each other and are the same in every run.
struct Counting(AtomicU64);

impl Random for Counting {
    fn next_u64(&self) -> u64 {
        self.0
            .fetch_add(1, Ordering::Relaxed)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

/// What a replay returned.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    /// The sequence and the items of each entry. An item is given by the checksum of its bytes, a
    /// damaged one by `None`.
    entries: Vec<(u64, Vec<Option<u32>>)>,
    /// The lost ranges: the first lost sequence, and the one behind the last.
    lost: Vec<(u64, u64)>,
    tip: u64,
    torn: bool,
    damaged: bool,
}

impl Dir {
    fn new() -> Self {
        Self::with_files(2)
    }

    fn with_files(files: u32) -> Self {
        let env = Env {
            random: Arc::new(Counting(AtomicU64::new(1))),
            ..Env::system()
        };
        let temp = tempfile::tempdir().expect("a temporary directory");
        Self {
            temp,
            env,
            options: Options {
                file_bytes: FILE_BYTES,
                files,
            },
        }
    }

    fn path(&self) -> &Path {
        self.temp.path()
    }

    fn ring(&self) -> Arc<Ring> {
        self.open(None).expect("the directory can be read")
    }

    fn open(&self, covered: Option<Covered>) -> Result<Arc<Ring>, OpenError> {
        super::open(&self.env, self.path(), self.options, covered)
    }

    /// A journal that continues behind an entry.
    fn journal(&self, tip: Tip) -> (Arc<Ring>, Journal) {
        let ring = self.ring();
        (ring.clone(), Journal::new(ring, self.options, tip))
    }

    /// What a new start finds from a file number on, behind an entry.
    fn replay(&self, from_file: u64, applied: Option<u64>) -> Replay {
        let covered = applied.map(|applied| Covered {
            applied,
            journal_file: from_file,
            ..Covered::default()
        });
        let ring = self.open(covered).expect("nothing is missing");
        Replay::survey(&self.env, &ring, from_file, applied).expect("the files can be read")
    }

    /// What a start without a checkpoint finds.
    fn found(&self) -> Found {
        found(&self.replay(0, None))
    }

    fn file(&self, number: u32) -> PathBuf {
        self.path().join(format!("{number}.journal"))
    }

    fn bytes(&self, number: u32) -> Vec<u8> {
        read_file(&*self.env.files, &self.file(number))
            .expect("the file can be read")
            .expect("there is one")
    }

    fn overwrite(&self, number: u32, position: u64, bytes: &[u8]) {
        let file = self
            .env
            .files
            .open(&self.file(number), Open::Write)
            .expect("there is one");
        file.write_all_at(&[bytes], position).expect("room");
    }

    fn flip(&self, number: u32, position: u64) {
        let byte = self.bytes(number)[usize::try_from(position).expect("small")];
        self.overwrite(number, position, &[byte ^ 0x10]);
    }
}

fn found(replay: &Replay) -> Found {
    let entries = replay.entries().map(|entry| {
        let entry = entry.expect("the files can be read");
        (
            entry.link.sequence,
            entry
                .items
                .iter()
                .map(|item| item.as_ref().ok().map(sum))
                .collect(),
        )
    });
    Found {
        entries: entries.collect(),
        lost: replay
            .lost()
            .iter()
            .map(|lost| (lost.sequences.start, lost.sequences.end))
            .collect(),
        tip: replay.tip().sequence,
        torn: replay.torn().is_some(),
        damaged: replay.is_damaged(),
    }
}

/// A number that stands for an item. The tests of the formats compare frames and changes as a
/// whole.
fn sum(item: &Item) -> u32 {
    match item {
        Item::Frame(frame) => crc32(&[frame.bytes()]),
        Item::Change(change) => crc32(&[&change.encode()]),
    }
}

/// What a replay finds of a sound journal with these entries.
fn sound(entries: &[(u64, Vec<Item>)]) -> Found {
    let whole = |items: &Vec<Item>| items.iter().map(|item| Some(sum(item))).collect();
    Found {
        entries: entries
            .iter()
            .map(|(sequence, items)| (*sequence, whole(items)))
            .collect(),
        lost: Vec::new(),
        tip: entries.last().map_or(0, |(sequence, _)| *sequence),
        torn: false,
        damaged: false,
    }
}

/// The items of an entry: one frame of about `bytes` bytes whose content depends on the number.
fn items(number: u64, bytes: usize) -> Vec<Item> {
    let value = vec![u8::try_from(number % 251).expect("below 256"); bytes];
    vec![Item::Frame(frame_of(
        PartitionId(0),
        Offset(number),
        1_000,
        &[record(value, 1_000)],
    ))]
}

/// Writes entries with these numbers, each in its own synced write.
fn write(
    journal: &mut Journal,
    numbers: std::ops::RangeInclusive<u64>,
    bytes: usize,
) -> Vec<(u64, Vec<Item>)> {
    let write_one = |number| {
        let mut items = items(number, bytes);
        journal
            .write(&mut [&mut items], true)
            .expect("the journal has room");
        assert_eq!(journal.sequence(), number);
        (number, items)
    };
    numbers.map(write_one).collect()
}

/// The position of the `n`th write in a file if each write takes one block.
fn block(n: u64) -> u64 {
    n * BLOCK_BYTES
}
