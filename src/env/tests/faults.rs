//! The simulated disk's faults: each does what its documentation says, and no more.

use std::{io::ErrorKind, path::Path, sync::Arc, thread};

use crate::env::{
    File, FileSystem, Open,
    sim::{CrashMode, Fault, OpKind, SimDisk},
};

const FILE: &str = "/file";

/// A disk with an open, durable file.
fn disk_with(content: &[u8]) -> (SimDisk, Arc<dyn File>) {
    let disk = SimDisk::new(7);
    let file = disk.open(Path::new(FILE), Open::Create).unwrap();
    file.write_all_at(&[content], 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    (disk, file)
}

fn kind<T>(result: std::io::Result<T>) -> ErrorKind {
    result.err().expect("the operation should fail").kind()
}

#[test]
fn a_fault_hits_the_operation_it_was_meant_for() {
    let (disk, file) = disk_with(b"abc");
    let other = disk.open(Path::new("/other"), Open::Create).unwrap();
    disk.inject(
        Fault::on(OpKind::Write)
            .in_path("file")
            .nth(2)
            .error(ErrorKind::QuotaExceeded),
    );
    file.write_all_at(&[b"1"], 0).unwrap();
    other.write_all_at(&[b"2"], 0).unwrap();
    file.sync_data().unwrap();
    assert_eq!(
        kind(file.write_all_at(&[b"3"], 0)),
        ErrorKind::QuotaExceeded
    );
    file.write_all_at(&[b"4"], 1).unwrap();
    assert_eq!(disk.content(FILE).unwrap(), b"14c");
    assert_eq!(disk.stats().faults[&OpKind::Write], 1);
}

#[test]
fn a_lasting_fault_ends_when_it_is_taken_back() {
    let (disk, file) = disk_with(b"abc");
    disk.inject(Fault::on(OpKind::Read).for_ever());
    for _ in 0..3 {
        let error = file.read_exact_at(&mut [0], 0).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(5), "the default is EIO");
    }
    disk.clear_faults();
    file.read_exact_at(&mut [0], 0).unwrap();
}

#[test]
fn every_kind_of_operation_can_fail_and_then_changes_nothing() {
    let (disk, file) = disk_with(b"abc");
    let root = Path::new("/");
    disk.create_dir(Path::new("/dir")).unwrap();
    let attempt = |kind| match kind {
        OpKind::Open => disk.open(Path::new(FILE), Open::Read).map(drop),
        OpKind::Read => file.read_exact_at(&mut [0], 0),
        OpKind::Map => disk.map(Path::new(FILE)).map(drop),
        OpKind::ReadDir => disk.read_dir(root).map(drop),
        OpKind::Lock => disk.lock(Path::new(FILE)).map(drop),
        OpKind::Ask => disk.exists(root).map(drop),
        OpKind::Create => disk.open(Path::new("/new"), Open::Create).map(drop),
        OpKind::Write => file.write_all_at(&[b"x"], 0),
        OpKind::SetLen => file.set_len(1),
        OpKind::Allocate => file.allocate(5000),
        OpKind::SyncData => file.sync_data(),
        OpKind::Rename => disk.rename(Path::new(FILE), Path::new("/new")),
        OpKind::RemoveFile => disk.remove_file(Path::new(FILE)),
        OpKind::CreateDir => disk.create_dir(Path::new("/new")),
        OpKind::RemoveDir => disk.remove_dir(Path::new("/dir")),
        OpKind::SyncDir => disk.sync_dir(root),
    };
    let kinds = [
        OpKind::Open,
        OpKind::Read,
        OpKind::Map,
        OpKind::ReadDir,
        OpKind::Lock,
        OpKind::Ask,
        OpKind::Create,
        OpKind::Write,
        OpKind::SetLen,
        OpKind::Allocate,
        OpKind::SyncData,
        OpKind::Rename,
        OpKind::RemoveFile,
        OpKind::CreateDir,
        OpKind::RemoveDir,
        OpKind::SyncDir,
    ];
    for kind in kinds {
        disk.inject(Fault::on(kind));
        attempt(kind).expect_err("the injected fault");
        assert_eq!(disk.read_dir(root).unwrap().len(), 2);
        assert_eq!(disk.content(FILE).unwrap(), b"abc");
    }
    assert_eq!(disk.stats().faults.len(), kinds.len());
}

#[test]
fn a_short_write_writes_a_part_from_the_front_and_fails() {
    let mut lengths = Vec::new();
    for seed in 0..20 {
        let disk = SimDisk::new(seed);
        let file = disk.open(Path::new(FILE), Open::Create).unwrap();
        disk.inject(Fault::on(OpKind::Write).short());
        file.write_all_at(&[&[1; 3000], &[1; 3000]], 0).unwrap_err();
        let content = disk.content(FILE).unwrap();
        assert!(content.len() < 6000 && content.iter().all(|&byte| byte == 1));
        lengths.push(content.len());
    }
    lengths.sort_unstable();
    lengths.dedup();
    assert!(lengths.len() > 10, "the part is random: {lengths:?}");
}

#[test]
fn after_a_failed_sync_no_later_sync_makes_durable_what_it_lost() {
    let mut lost = 0;
    for seed in 0..20 {
        let disk = SimDisk::new(seed);
        let file = disk.open(Path::new(FILE), Open::Create).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        file.write_all_at(&[&[1; 8192]], 0).unwrap();
        disk.inject(Fault::on(OpKind::SyncData));
        file.sync_data().unwrap_err();
        assert_eq!(
            disk.content(FILE).unwrap(),
            [1; 8192],
            "the process still sees what it wrote"
        );
        file.sync_data().unwrap();
        let survived = disk
            .power_cut(seed, CrashMode::KeepAllDurable)
            .content(FILE)
            .unwrap();
        lost += usize::from(survived != [1; 8192]);
        // Only writing the data again helps.
        let file = disk.power_cut(seed, CrashMode::KeepAll);
        let again = file.open(Path::new(FILE), Open::Write).unwrap();
        again.write_all_at(&[&[1; 8192]], 0).unwrap();
        again.sync_data().unwrap();
        assert_eq!(
            file.power_cut(seed, CrashMode::LoseUnsynced)
                .content(FILE)
                .unwrap(),
            [1; 8192]
        );
    }
    assert!(lost >= 15, "{lost} of 20 failed syncs lost something");
}

#[test]
fn after_a_failed_directory_sync_no_later_one_makes_its_names_durable() {
    let disk = SimDisk::new(1);
    disk.open(Path::new(FILE), Open::Create).unwrap();
    disk.inject(Fault::on(OpKind::SyncDir));
    disk.sync_dir(Path::new("/")).unwrap_err();
    disk.open(Path::new("/later"), Open::Create).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    assert_eq!(
        disk.power_cut(1, CrashMode::LoseUnsynced).files(),
        [Path::new("/later")]
    );
    assert_eq!(
        disk.power_cut(1, CrashMode::KeepAllDurable).files().len(),
        2
    );
}

#[test]
fn a_full_disk_takes_what_fits_and_nothing_that_is_new() {
    let (disk, file) = disk_with(&[1; 4096]);
    disk.set_capacity(3 * 4096);
    assert_eq!(
        disk.available_bytes(Path::new("/")).unwrap(),
        Some(2 * 4096)
    );
    assert_eq!(
        kind(file.write_all_at(&[&[2; 20_000]], 4096)),
        ErrorKind::StorageFull
    );
    assert_eq!(file.len().unwrap(), 3 * 4096);
    assert_eq!(disk.available_bytes(Path::new("/")).unwrap(), Some(0));
    assert_eq!(
        kind(disk.open(Path::new("/new"), Open::Create)),
        ErrorKind::StorageFull
    );
    assert_eq!(
        kind(disk.create_dir(Path::new("/new"))),
        ErrorKind::StorageFull
    );
    assert_eq!(kind(file.allocate(4 * 4096)), ErrorKind::StorageFull);
    file.set_len(1 << 20).unwrap();
    assert_eq!(
        kind(file.write_all_at(&[b"x"], 900_000)),
        ErrorKind::StorageFull
    );
    assert_eq!(disk.stats().disk_full, 5);
    // Writes to allocated blocks, and operations that free room, go on working.
    file.write_all_at(&[&[3; 4096]], 0).unwrap();
    file.sync_data().unwrap();
    disk.rename(Path::new(FILE), Path::new("/moved")).unwrap();
    file.set_len(5000).unwrap();
    assert_eq!(disk.available_bytes(Path::new("/")).unwrap(), Some(4096));
}

#[test]
fn reserved_room_is_there_when_the_disk_is_full() {
    let (disk, file) = disk_with(b"abc");
    disk.set_capacity(4 * 4096);
    file.allocate(4 * 4096).unwrap();
    assert_eq!(disk.available_bytes(Path::new("/")).unwrap(), Some(0));
    file.write_all_at(&[&[1; 4 * 4096]], 0).unwrap();
    assert_eq!(disk.stats().disk_full, 0);
}

#[test]
fn a_removed_file_gives_its_room_back_when_it_is_closed() {
    let (disk, file) = disk_with(&[1; 8192]);
    disk.set_capacity(8192);
    disk.remove_file(Path::new(FILE)).unwrap();
    assert_eq!(disk.available_bytes(Path::new("/")).unwrap(), Some(0));
    drop(file);
    assert_eq!(disk.available_bytes(Path::new("/")).unwrap(), Some(8192));
}

#[test]
fn a_read_only_disk_is_read_and_not_changed() {
    let (disk, _file) = disk_with(b"abc");
    disk.set_read_only(true);
    let file = disk.open(Path::new(FILE), Open::Read).unwrap();
    file.read_exact_at(&mut [0; 3], 0).unwrap();
    assert_eq!(
        kind(disk.open(Path::new(FILE), Open::Write)),
        ErrorKind::ReadOnlyFilesystem
    );
    assert_eq!(
        kind(disk.open(Path::new("/new"), Open::Create)),
        ErrorKind::ReadOnlyFilesystem
    );
    assert_eq!(
        kind(disk.lock(Path::new(FILE))),
        ErrorKind::ReadOnlyFilesystem
    );
    assert_eq!(
        kind(disk.lock(Path::new("/lock"))),
        ErrorKind::ReadOnlyFilesystem
    );
    assert_eq!(
        kind(disk.remove_file(Path::new(FILE))),
        ErrorKind::ReadOnlyFilesystem
    );
}

#[test]
fn damage_is_seen_by_the_process_and_survives_a_power_cut() {
    let (disk, _file) = disk_with(&[0xff; 2000]);
    disk.flip_bit(FILE, 1000, 3).unwrap();
    disk.zero(FILE, 0..512).unwrap();
    disk.overwrite(FILE, 1999, b"xyz").unwrap();
    let mut expected = vec![0xff; 2000];
    expected[1000] = 0xf7;
    expected[..512].fill(0);
    expected[1999] = b'x';
    assert_eq!(disk.content(FILE).unwrap(), expected);
    assert_eq!(
        disk.power_cut(0, CrashMode::LoseUnsynced)
            .content(FILE)
            .unwrap(),
        expected
    );
}

#[test]
fn a_held_operation_waits_until_the_hold_is_dropped() {
    let (disk, file) = disk_with(b"abc");
    let hold = disk.hold(OpKind::SyncData);
    thread::scope(|scope| {
        let syncs = [
            scope.spawn(|| file.sync_data()),
            scope.spawn(|| file.sync_data()),
        ];
        hold.wait_for(2);
        file.write_all_at(&[b"other operations go on"], 0).unwrap();
        assert_eq!(disk.stats().operations[&OpKind::SyncData], 1);
        drop(hold);
        for sync in syncs {
            sync.join().unwrap().unwrap();
        }
    });
    assert_eq!(disk.stats().operations[&OpKind::SyncData], 3);
}

#[test]
fn the_end_of_power_ends_the_wait_of_held_operations() {
    let (disk, file) = disk_with(b"abc");
    let hold = disk.hold(OpKind::SyncData);
    thread::scope(|scope| {
        let sync = scope.spawn(|| file.sync_data());
        hold.wait_for(1);
        disk.power_off();
        assert_eq!(
            sync.join().unwrap().unwrap_err().to_string(),
            "power is off"
        );
    });
}

#[test]
#[should_panic(expected = "changed while it is mapped")]
fn writing_to_a_mapped_file_is_a_mistake_that_tests_catch() {
    let (disk, file) = disk_with(b"abc");
    let map = disk.map(Path::new(FILE)).unwrap();
    let part = map.slice(0..1);
    drop(map);
    let _ = file.write_all_at(&[b"x"], 0);
    drop(part);
}

#[test]
fn a_file_may_be_written_to_when_its_maps_are_gone() {
    let (disk, file) = disk_with(b"abc");
    drop(disk.map(Path::new(FILE)).unwrap());
    file.write_all_at(&[b"x"], 0).unwrap();
}
