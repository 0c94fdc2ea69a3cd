//! Entries that are written from the memory of their frames.

use super::*;
use crate::{
    env::{
        FileSystem as _,
        sim::{OpKind, SimDisk},
    },
    storage::format::entry,
};

/// Large enough for a frame to have the memory of its entry.
const LARGE: usize = 9_000;

/// Writes entries of these sizes as one synced write; returns them with their numbers.
fn write_group(journal: &mut Journal, sizes: &[usize]) -> Vec<(u64, Vec<Item>)> {
    let numbers = journal.sequence() + 1..;
    let mut group: Vec<(u64, Vec<Item>)> = numbers
        .zip(sizes)
        .map(|(number, bytes)| (number, items(number, *bytes)))
        .collect();
    let mut entries: Vec<&mut [Item]> = Vec::new();
    for (_, items) in &mut group {
        entries.push(items);
    }
    journal.write(&mut entries, true).expect("there is room");
    group
}

#[test]
fn large_and_small_entries_of_one_write_are_found_in_order() {
    let dir = Dir::new();
    let (_, mut journal) = dir.journal(Tip::default());
    let mut written = Vec::new();
    for sizes in [
        &[100, LARGE, LARGE, 100, 200, LARGE][..],
        &[LARGE],
        &[50, 60],
        &[LARGE, 70],
    ] {
        let group = write_group(&mut journal, sizes);
        for (_, items) in &group {
            assert_eq!(entry::len_in_place(items), None, "it is written once");
        }
        written.extend(group);
        assert_eq!(dir.found(), sound(&written));
    }
}

#[test]
fn a_large_entry_begins_with_a_block_and_is_what_it_would_be_anywhere() {
    let dir = Dir::new();
    let (_, mut journal) = dir.journal(Tip::default());
    write_group(&mut journal, &[100, LARGE, 100]);
    let bytes = dir.bytes(1);
    let salt = entry::salt(&bytes[BLOCK_BYTES as usize..]).expect("an entry");
    let large = bytes::Bytes::from(bytes).slice(2 * BLOCK_BYTES as usize..);
    let decoded = entry::decode(&large, salt).expect("an entry");
    assert_eq!((decoded.link.sequence, decoded.is_whole()), (2, true));
    let [Ok(Item::Frame(frame))] = &decoded.items[..] else {
        panic!("it has one frame");
    };
    let items = [Item::Frame(frame.clone())];
    let encoded = entry::encode(decoded.link, &items);
    assert_eq!(encoded.checksum, decoded.checksum);
    assert_eq!(encoded.head, large[..encoded.head.len()]);
}

#[test]
fn a_frame_that_somebody_else_has_is_copied() {
    let dir = Dir::new();
    let (_, mut journal) = dir.journal(Tip::default());
    let mut entry = items(1, LARGE);
    assert!(entry::len_in_place(&entry).is_some());
    let held = entry.clone();
    journal
        .write(&mut [&mut entry, &mut items(2, 100)], true)
        .expect("there is room");
    assert_eq!(entry, held);
    assert_eq!(dir.found(), sound(&[(1, entry), (2, items(2, 100))]));
}

#[test]
fn entries_that_fit_a_file_only_side_by_side_are_copied() {
    let dir = Dir::new();
    let (_, mut journal) = dir.journal(Tip::default());
    // A file takes 15 blocks: less than seven entries of three blocks each, but enough for their
    // bytes.
    let sizes = [8_300; 7];
    let written = write_group(&mut journal, &sizes);
    assert_eq!(dir.found(), sound(&written));
    assert!(dir.bytes(1).len() as u64 <= FILE_BYTES);
}

#[test]
fn a_large_entry_at_the_end_of_a_write_that_was_torn_is_cut() {
    let dir = Dir::new();
    let (_, mut journal) = dir.journal(Tip::default());
    let written = write_group(&mut journal, &[100]);
    write_group(&mut journal, &[100, LARGE, LARGE]);
    // The first large entry has lost a block: the second one, which is whole, does not count.
    dir.overwrite(1, 4 * BLOCK_BYTES, &[0; 4096]);
    let found = dir.found();
    let kept: Vec<u64> = found.entries.iter().map(|(number, _)| *number).collect();
    assert_eq!((kept, found.torn, found.damaged), (vec![1, 2], true, false));
    drop(written);
}

#[test]
fn small_entries_between_large_ones_are_handed_to_the_disk_with_them() {
    let disk = SimDisk::new(1);
    let path = Path::new("/journal");
    disk.create_dir(path).expect("nothing fails");
    let mut dir = Dir::new();
    dir.env.files = Arc::new(disk.clone());
    let options = dir.options;
    let ring = super::super::open(&dir.env, path, options, None).expect("it is empty");
    let mut journal = Journal::new(ring, options, Tip::default());
    write_group(&mut journal, &[100]);
    let before = disk.stats().operations[&OpKind::Write];
    write_group(&mut journal, &[100, LARGE, 100, 200, LARGE, 100]);
    assert_eq!(disk.stats().operations[&OpKind::Write] - before, 1);
}
