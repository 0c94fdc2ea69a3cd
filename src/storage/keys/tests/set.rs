//! Which tables a start finds, and which gaps between them.

use std::ops::Range;

use super::*;
use crate::{
    env::Open,
    storage::keys::{
        merge::merge,
        set::{self, Found, Owner},
        sorted_table::table_path,
    },
};

fn list(disk: &SimDisk, log: Range<u64>) -> Found {
    set::list(owner(disk), Offset(log.start)..Offset(log.end), 0).expect("it can be read")
}

fn covered(found: &Found) -> Vec<(u64, u64)> {
    found
        .runs
        .iter()
        .map(|run| (run.from().0, run.to().0))
        .collect()
}

fn gaps(found: &Found) -> Vec<(u64, u64)> {
    found
        .gaps
        .iter()
        .map(|gap| (gap.start.0, gap.end.0))
        .collect()
}

fn path(from: u64, to: u64) -> PathBuf {
    table_path(&dir(), Kind::Records, from..to)
}

/// A disk with tables of records for these ranges of offsets.
fn disk_with(runs: &[(u64, u64)]) -> SimDisk {
    let disk = disk();
    for (from, to) in runs {
        write(&disk, *from, *to, &rows_of(*from, to - from, 50));
    }
    disk
}

#[test]
fn nothing_is_found_where_nothing_is() {
    let disk_without = disk();
    let nowhere = Owner {
        dir: Path::new("/nowhere"),
        ..owner(&disk_without)
    };
    let found = set::list(nowhere, Offset(3)..Offset(9), 0);
    let found = found.expect("that there is no directory is no error");
    assert_eq!(
        (covered(&found), gaps(&found), &found.stale),
        (vec![], vec![(3, 9)], &vec![])
    );
    let found = list(&disk(), 5..5);
    assert_eq!((covered(&found), gaps(&found)), (vec![], vec![]));
}

#[test]
fn runs_are_found_in_order_with_the_gaps_between_them() {
    let disk = disk_with(&[(100, 200), (10, 20), (20, 30)]);
    let found = list(&disk, 0..250);
    assert_eq!(covered(&found), [(10, 20), (20, 30), (100, 200)]);
    assert_eq!(gaps(&found), [(0, 10), (30, 100), (200, 250)]);
    assert_eq!(found.stale, [] as [PathBuf; 0]);
    // A table below the log's start is kept. A range missing in front of the log's start is no gap.
    let found = list(&disk, 25..200);
    assert_eq!((covered(&found).len(), gaps(&found)), (3, vec![(30, 100)]));
    // A missing range between two tables is a gap even below the log's start, because neighbours
    // are merged.
    let found = list(&disk, 150..250);
    assert_eq!(
        (covered(&found).len(), gaps(&found)),
        (3, vec![(30, 100), (200, 250)])
    );
    let found = list(&disk, 240..250);
    assert_eq!(
        (covered(&found).len(), gaps(&found)),
        (3, vec![(30, 100), (200, 250)])
    );
}

#[test]
fn what_was_merged_gives_way_to_the_result() {
    let disk = disk_with(&[(0, 10), (10, 20), (20, 30), (30, 40)]);
    let runs = list(&disk, 0..40).runs;
    let merged = merge(&disk, &dir(), &runs[1..3], None, |offset| {
        offset >= Offset::ZERO
    })
    .expect("all is sound");
    let found = list(&disk, 0..40);
    assert_eq!(covered(&found), [(0, 10), (10, 30), (30, 40)]);
    assert_eq!(found.stale, [path(10, 20), path(20, 30)]);
    set::remove_merged(&disk, &dir(), &runs[1..3], &merged, &Arc::default())
        .expect("they can be removed");
    assert_eq!(disk.files(), [path(0, 10), path(10, 30), path(30, 40)]);
    assert_eq!(
        scan(&runs[1]).len(),
        10,
        "those who still have a removed run go on"
    );
}

#[test]
fn a_result_of_the_same_name_is_not_removed_with_what_was_merged() {
    let disk = disk_with(&[(0, 10)]);
    let runs = list(&disk, 0..10).runs;
    let merged =
        merge(&disk, &dir(), &runs, None, |offset| offset >= Offset(5)).expect("all is sound");
    set::remove_merged(&disk, &dir(), &runs, &merged, &Arc::default())
        .expect("there is nothing to do");
    assert_eq!(disk.files(), [path(0, 10)]);
}

#[test]
fn a_damaged_result_gives_way_to_what_was_merged() {
    let disk = disk_with(&[(0, 10), (10, 20), (0, 20)]);
    disk.flip_bit(path(0, 20), 33, 1).expect("it is there");
    let found = list(&disk, 0..20);
    assert_eq!(
        (covered(&found), found.stale),
        (vec![(0, 10), (10, 20)], vec![path(0, 20)])
    );
}

#[test]
fn runs_beyond_the_end_of_the_log_and_files_that_are_no_runs_are_stale() {
    let disk = disk_with(&[(0, 10), (10, 21), (30, 40), (40, 50)]);
    disk.rename(&path(40, 50), &path(10, 12))
        .expect("it can be renamed");
    disk.rename(&path(30, 40), &path(12, 20).with_extension("new"))
        .expect("it can be renamed");
    let found = list(&disk, 0..20);
    assert_eq!(
        (covered(&found), gaps(&found)),
        (vec![(0, 10)], vec![(10, 20)])
    );
    let mut stale = found.stale.clone();
    stale.sort();
    assert_eq!(
        stale,
        [
            path(10, 12),
            path(10, 21),
            path(12, 20).with_extension("new")
        ]
    );
    set::remove(&disk, &dir(), &found.stale).expect("they can be removed");
    assert_eq!(disk.files(), [path(0, 10)]);
    assert_eq!(covered(&list(&disk, 0..50)), [(0, 10)]);
}

#[test]
fn files_of_others_are_left_alone() {
    let disk = disk_with(&[(0, 10)]);
    let others = [
        "00000000000000000000.log",
        "1-2.keys",
        "00000000000000000000-0000000000000000000x.keys",
        "keys",
        "a.new",
    ];
    for name in others {
        disk.open(&dir().join(name), Open::Create)
            .expect("there is room");
    }
    let found = list(&disk, 0..10);
    assert_eq!((covered(&found), found.stale), (vec![(0, 10)], vec![]));
}
