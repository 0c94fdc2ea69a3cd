//! What a power cut leaves of files that are synced in parallel.

use std::{collections::BTreeSet, path::Path};

use crate::env::{
    FileSystem, Open, ToSync,
    sim::{CrashMode, SimDisk},
};

/// Writes to two files, syncs them together with their directory, and lets the power fail at this
/// operation. Returns whether each file is whole afterwards, and whether the call reported success.
fn sync_two(crash_at: Option<u64>) -> ([bool; 2], bool) {
    let disk = SimDisk::new(7);
    let files = ["/one", "/other"].map(|path| disk.open(Path::new(path), Open::Create).unwrap());
    disk.sync_dir(Path::new("/")).unwrap();
    for file in &files {
        file.write_all_at(&[&[1; 5000]], 0).unwrap();
    }
    if let Some(nth) = crash_at {
        disk.crash_at(disk.operations() + nth);
    }
    let these = [
        ToSync::File(&*files[0]),
        ToSync::File(&*files[1]),
        ToSync::Dir(Path::new("/")),
    ];
    let all = disk.sync_all(&these).iter().all(Result::is_ok);
    let after = disk.power_cut(1, CrashMode::LoseUnsynced);
    let whole = ["/one", "/other"].map(|path| after.content(path).unwrap() == [1; 5000]);
    (whole, all)
}

#[test]
fn what_was_synced_together_survives_and_in_between_any_of_it_may_be_lost() {
    assert_eq!(sync_two(None), ([true, true], true));
    let outcomes = BTreeSet::from([1, 2, 3].map(|nth| sync_two(Some(nth))));
    let expected = [([false, false], false), ([false, true], false)];
    assert_eq!(outcomes, BTreeSet::from(expected));
}
