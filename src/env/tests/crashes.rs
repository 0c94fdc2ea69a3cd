//! The simulated disk's power cuts: what must survive survives, what may be lost is sometimes lost,
//! and nothing else changes.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::env::{
    File, FileSystem, Open,
    sim::{CrashMode, OpKind, SimDisk, Stats},
};

const FILE: &str = "/file";
const SECTOR: usize = 512;

fn create(disk: &SimDisk, path: &str) -> Arc<dyn File> {
    disk.open(Path::new(path), Open::Create).unwrap()
}

fn rename(disk: &SimDisk, from: &str, to: &str) {
    disk.rename(Path::new(from), Path::new(to)).unwrap();
}

fn sync_root(disk: &SimDisk) {
    disk.sync_dir(Path::new("/")).unwrap();
}

/// A disk with an open file whose name and content are durable.
fn disk_with(content: &[u8]) -> (SimDisk, Arc<dyn File>) {
    let disk = SimDisk::new(7);
    let file = create(&disk, FILE);
    file.write_all_at(&[content], 0).unwrap();
    file.sync_data().unwrap();
    sync_root(&disk);
    (disk, file)
}

/// The disk as a power cut would leave it; the original goes on unchanged.
fn cut(disk: &SimDisk, seed: u64, mode: CrashMode) -> SimDisk {
    disk.fork().power_cut(seed, mode)
}

/// All contents that the file has after one of many power cuts.
fn outcomes(disk: &SimDisk, mode: CrashMode) -> BTreeSet<Vec<u8>> {
    (0..500)
        .map(|seed| cut(disk, seed, mode).content(FILE).unwrap())
        .collect()
}

/// All sets of files that are there after one of many power cuts.
fn trees(disk: &SimDisk, mode: CrashMode) -> BTreeSet<Vec<PathBuf>> {
    (0..500).map(|seed| cut(disk, seed, mode).files()).collect()
}

fn paths(names: &[&str]) -> Vec<PathBuf> {
    names.iter().map(PathBuf::from).collect()
}

#[test]
fn what_was_synced_survives_every_power_cut() {
    let (disk, file) = disk_with(&[1; 5000]);
    file.write_all_at(&[&[2; 5000]], 5000).unwrap();
    file.sync_data().unwrap();
    create(&disk, "/unsynced")
        .write_all_at(&[&[3; 5000]], 0)
        .unwrap();
    let mut expected = vec![1; 5000];
    expected.extend([2; 5000]);
    for mode in CrashMode::ALL {
        assert_eq!(
            outcomes(&disk, mode),
            BTreeSet::from([expected.clone()]),
            "{mode:?}"
        );
    }
}

#[test]
fn a_sync_on_one_handle_covers_the_writes_of_all() {
    let (disk, file) = disk_with(b"");
    let other = disk.open(Path::new(FILE), Open::Write).unwrap();
    other.write_all_at(&[b"abc"], 0).unwrap();
    file.sync_data().unwrap();
    assert_eq!(
        cut(&disk, 0, CrashMode::LoseUnsynced)
            .content(FILE)
            .unwrap(),
        b"abc"
    );
}

#[test]
fn a_file_whose_directory_was_not_synced_is_lost_however_well_its_data_was() {
    let disk = SimDisk::new(0);
    let file = create(&disk, FILE);
    file.write_all_at(&[b"abc"], 0).unwrap();
    file.sync_data().unwrap();
    assert!(cut(&disk, 0, CrashMode::LoseUnsynced).files().is_empty());
    assert!(cut(&disk, 0, CrashMode::LoseDirEntries).files().is_empty());
    assert_eq!(
        trees(&disk, CrashMode::RandomSubset),
        BTreeSet::from([vec![], paths(&[FILE])])
    );
}

#[test]
fn a_name_that_was_synced_without_its_data_is_an_empty_file() {
    let disk = SimDisk::new(0);
    create(&disk, FILE).write_all_at(&[b"abc"], 0).unwrap();
    sync_root(&disk);
    assert_eq!(
        cut(&disk, 0, CrashMode::LoseUnsynced)
            .content(FILE)
            .unwrap(),
        b""
    );
    assert_eq!(
        cut(&disk, 0, CrashMode::LoseDirEntries)
            .content(FILE)
            .unwrap(),
        b"abc"
    );
}

#[test]
fn a_directory_that_was_not_synced_into_its_parent_takes_all_that_is_in_it() {
    let disk = SimDisk::new(0);
    disk.create_dir(Path::new("/dir")).unwrap();
    create(&disk, "/dir/file").sync_data().unwrap();
    disk.sync_dir(Path::new("/dir")).unwrap();
    assert!(
        cut(&disk, 0, CrashMode::LoseUnsynced)
            .read_dir(Path::new("/"))
            .unwrap()
            .is_empty()
    );
    sync_root(&disk);
    assert_eq!(
        cut(&disk, 0, CrashMode::LoseUnsynced).files(),
        paths(&["/dir/file"])
    );
}

#[test]
fn a_replacing_rename_leaves_the_old_file_or_the_new_one_and_never_none() {
    let (disk, _file) = disk_with(b"old");
    let new = create(&disk, "/new");
    new.write_all_at(&[b"new"], 0).unwrap();
    new.sync_data().unwrap();
    rename(&disk, "/new", FILE);
    let both = BTreeSet::from([b"old".to_vec(), b"new".to_vec()]);
    assert_eq!(outcomes(&disk, CrashMode::RandomSubset), both);
    assert_eq!(
        outcomes(&disk, CrashMode::LoseUnsynced),
        BTreeSet::from([b"old".to_vec()])
    );
    // The name of the new file need not have survived even if the rename has not.
    let trees = trees(&disk, CrashMode::RandomSubset);
    assert_eq!(
        trees,
        BTreeSet::from([paths(&[FILE]), paths(&[FILE, "/new"])])
    );
    sync_root(&disk);
    assert_eq!(
        outcomes(&disk, CrashMode::RandomSubset),
        BTreeSet::from([b"new".to_vec()])
    );
}

#[test]
fn a_rename_of_data_that_was_not_synced_can_replace_a_good_file_by_an_empty_one() {
    let (disk, _file) = disk_with(b"old");
    create(&disk, "/new").write_all_at(&[b"new"], 0).unwrap();
    rename(&disk, "/new", FILE);
    sync_root(&disk);
    assert_eq!(
        cut(&disk, 0, CrashMode::LoseUnsynced)
            .content(FILE)
            .unwrap(),
        b""
    );
}

#[test]
fn a_rename_between_directories_is_durable_when_both_are_synced() {
    let (disk, _file) = disk_with(b"abc");
    disk.create_dir(Path::new("/dir")).unwrap();
    sync_root(&disk);
    rename(&disk, FILE, "/dir/file");
    disk.sync_dir(Path::new("/dir")).unwrap();
    assert_eq!(
        cut(&disk, 0, CrashMode::LoseUnsynced).files(),
        paths(&[FILE])
    );
    let either = BTreeSet::from([paths(&[FILE]), paths(&["/dir/file"])]);
    assert_eq!(trees(&disk, CrashMode::RandomSubset), either);
    sync_root(&disk);
    assert_eq!(
        cut(&disk, 0, CrashMode::LoseUnsynced).files(),
        paths(&["/dir/file"])
    );
}

#[test]
fn a_removed_file_returns_until_its_directory_is_synced() {
    let (disk, file) = disk_with(b"abc");
    drop(file);
    disk.remove_file(Path::new(FILE)).unwrap();
    assert_eq!(
        cut(&disk, 0, CrashMode::LoseUnsynced)
            .content(FILE)
            .unwrap(),
        b"abc"
    );
    assert_eq!(
        trees(&disk, CrashMode::RandomSubset),
        BTreeSet::from([vec![], paths(&[FILE])])
    );
    sync_root(&disk);
    assert!(cut(&disk, 0, CrashMode::LoseUnsynced).files().is_empty());
}

#[test]
fn a_name_used_again_has_one_of_the_files_it_had() {
    let (disk, _file) = disk_with(b"first");
    disk.remove_file(Path::new(FILE)).unwrap();
    let second = create(&disk, FILE);
    second.write_all_at(&[b"second"], 0).unwrap();
    second.sync_data().unwrap();
    let contents: BTreeSet<_> = (0..500)
        .map(|seed| cut(&disk, seed, CrashMode::RandomSubset).content(FILE).ok())
        .collect();
    assert_eq!(
        contents,
        BTreeSet::from([None, Some(b"first".to_vec()), Some(b"second".to_vec())])
    );
}

#[test]
fn unsynced_names_survive_in_any_order() {
    let disk = SimDisk::new(0);
    create(&disk, "/a");
    create(&disk, "/b");
    let expected = [vec![], paths(&["/a"]), paths(&["/b"]), paths(&["/a", "/b"])];
    assert_eq!(
        trees(&disk, CrashMode::RandomSubset),
        BTreeSet::from(expected)
    );
}

#[test]
fn every_power_cut_leaves_a_tree_that_makes_sense() {
    let disk = SimDisk::new(0);
    let dir = |path: &str| disk.create_dir(Path::new(path)).unwrap();
    dir("/a");
    dir("/b");
    create(&disk, "/a/1");
    create(&disk, "/a/2");
    rename(&disk, "/a/1", "/b/1");
    rename(&disk, "/a", "/b/a");
    rename(&disk, "/b/a/2", "/2");
    disk.remove_dir(Path::new("/b/a")).unwrap();
    dir("/a");
    rename(&disk, "/b", "/a/b");
    for seed in 0..2000 {
        let survived = cut(&disk, seed, CrashMode::RandomSubset);
        let files = survived.files();
        let names: BTreeSet<_> = files.iter().map(|path| path.file_name().unwrap()).collect();
        assert_eq!(names.len(), files.len(), "no file has two names: {files:?}");
        for path in &files {
            survived.open(path, Open::Read).unwrap();
        }
    }
}

#[test]
fn unsynced_sectors_are_lost_one_by_one_and_show_what_was_there_before() {
    let (disk, file) = disk_with(&[1; 4 * SECTOR]);
    file.write_all_at(&[&[2; 4 * SECTOR]], 0).unwrap();
    let outcomes = outcomes(&disk, CrashMode::RandomSubset);
    assert_eq!(outcomes.len(), 16, "every subset of four sectors");
    for content in outcomes {
        assert!(
            content
                .chunks(SECTOR)
                .all(|sector| sector == [1; SECTOR] || sector == [2; SECTOR])
        );
    }
}

#[test]
fn of_a_sector_written_twice_any_version_may_survive() {
    let (disk, file) = disk_with(b"one");
    file.write_all_at(&[b"two"], 0).unwrap();
    file.write_all_at(&[b"three"], 0).unwrap();
    let with_padding = [b"one\0\0".to_vec(), b"two\0\0".to_vec(), b"three".to_vec()];
    let cut_short = [b"one".to_vec(), b"two".to_vec(), b"thr".to_vec()];
    assert_eq!(
        outcomes(&disk, CrashMode::RandomSubset),
        with_padding.into_iter().chain(cut_short).collect()
    );
}

#[test]
fn lengths_and_data_survive_independently() {
    let (disk, file) = disk_with(&[]);
    file.write_all_at(&[&[1; SECTOR]], 0).unwrap();
    file.write_all_at(&[&[2; SECTOR]], SECTOR as u64).unwrap();
    let outcomes = outcomes(&disk, CrashMode::RandomSubset);
    let lengths: BTreeSet<_> = outcomes.iter().map(Vec::len).collect();
    assert_eq!(lengths, BTreeSet::from([0, SECTOR, 2 * SECTOR]));
    assert!(
        outcomes.contains(&vec![0; 2 * SECTOR]),
        "grown, with no data"
    );
    let mut second_only = vec![0; SECTOR];
    second_only.extend([2; SECTOR]);
    assert!(outcomes.contains(&second_only));
}

#[test]
fn a_lost_cut_brings_back_the_old_bytes_and_loses_what_was_written_after_it() {
    let (disk, file) = disk_with(&[1; 2 * SECTOR]);
    file.set_len(0).unwrap();
    file.write_all_at(&[&[2; 2 * SECTOR]], 0).unwrap();
    assert_eq!(
        cut(&disk, 0, CrashMode::LoseUnsynced)
            .content(FILE)
            .unwrap(),
        [1; 2 * SECTOR]
    );
    for content in outcomes(&disk, CrashMode::RandomSubset) {
        let old = content == [1; 2 * SECTOR];
        assert!(
            old || !content.contains(&1),
            "old bytes never mix with what came after the cut"
        );
    }
    assert_eq!(
        cut(&disk, 0, CrashMode::ZerosForData)
            .content(FILE)
            .unwrap(),
        [0; 2 * SECTOR]
    );
}

#[test]
fn zeros_for_data_keeps_lengths_and_names_and_the_old_bytes_under_overwrites() {
    let (disk, file) = disk_with(&[1; SECTOR]);
    file.write_all_at(&[&[2; 2 * SECTOR]], 0).unwrap();
    create(&disk, "/new").write_all_at(&[b"abc"], 0).unwrap();
    let survived = cut(&disk, 0, CrashMode::ZerosForData);
    let mut expected = vec![1; SECTOR];
    expected.extend([0; SECTOR]);
    assert_eq!(survived.content(FILE).unwrap(), expected);
    assert_eq!(survived.content("/new").unwrap(), [0; 3]);
}

#[test]
fn a_torn_last_write_loses_one_end_of_it_and_nothing_else() {
    let (disk, file) = disk_with(&[1; 8 * SECTOR]);
    file.write_all_at(&[&[2; 4 * SECTOR]], 0).unwrap();
    file.write_all_at(&[&[3; 4 * SECTOR]], 4 * SECTOR as u64)
        .unwrap();
    create(&disk, "/new");
    let outcomes = outcomes(&disk, CrashMode::TornLast);
    assert_eq!(
        outcomes.len(),
        4 + 3,
        "fronts of 0 to 3 sectors, backs of 1 to 3"
    );
    for content in outcomes {
        assert_eq!(content[..4 * SECTOR], [2; 4 * SECTOR]);
        let last = &content[4 * SECTOR..];
        assert!(last.contains(&1));
        assert!(last.chunks(SECTOR).is_sorted() || last.chunks(SECTOR).rev().is_sorted());
    }
    assert_eq!(cut(&disk, 0, CrashMode::TornLast).files().len(), 2);
}

#[test]
fn lose_one_loses_exactly_one_change() {
    let (disk, file) = disk_with(&[1; 3 * SECTOR]);
    for sector in 0..3 {
        file.write_all_at(&[&[2; SECTOR]], sector * SECTOR as u64)
            .unwrap();
    }
    create(&disk, "/new");
    let mut lost = BTreeSet::new();
    for seed in 0..100 {
        let survived = cut(&disk, seed, CrashMode::LoseOne);
        let content = survived.content(FILE).unwrap();
        let sectors = content
            .chunks(SECTOR)
            .filter(|sector| *sector == [1; SECTOR])
            .count();
        let names = usize::from(survived.files().len() == 1);
        assert_eq!(sectors + names, 1);
        lost.insert((content, names));
    }
    assert_eq!(lost.len(), 4, "each is lost in some case");
}

#[test]
fn after_a_kill_everything_is_seen_and_still_not_durable() {
    let (disk, file) = disk_with(b"old");
    file.write_all_at(&[b"new"], 0).unwrap();
    create(&disk, "/name");
    let killed = cut(&disk, 0, CrashMode::KeepAll);
    assert_eq!(killed.content(FILE).unwrap(), b"new");
    assert_eq!(killed.files().len(), 2);
    let lost = cut(&killed, 0, CrashMode::LoseUnsynced);
    assert_eq!(lost.content(FILE).unwrap(), b"old");
    assert_eq!(lost.files().len(), 1);
    let kept = cut(
        &cut(&disk, 0, CrashMode::KeepAllDurable),
        0,
        CrashMode::LoseUnsynced,
    );
    assert_eq!(kept.content(FILE).unwrap(), b"new");
    assert_eq!(kept.files().len(), 2);
}

#[test]
fn at_the_crash_point_and_after_it_everything_fails_and_nothing_changes() {
    let (disk, file) = disk_with(b"abc");
    disk.crash_at(disk.operations() + 2);
    file.write_all_at(&[b"x"], 0).unwrap();
    let before = disk.content(FILE).unwrap();
    let errors = [
        file.write_all_at(&[b"y"], 1).unwrap_err(),
        file.read_exact_at(&mut [0], 0).unwrap_err(),
        file.len().map(drop).unwrap_err(),
        file.sync_data().unwrap_err(),
        disk.sync_dir(Path::new("/")).unwrap_err(),
        disk.exists(Path::new(FILE)).map(drop).unwrap_err(),
        disk.open(Path::new("/new"), Open::Create)
            .map(drop)
            .unwrap_err(),
        disk.lock(Path::new("/lock")).map(drop).unwrap_err(),
    ];
    assert!(
        errors
            .iter()
            .all(|error| error.to_string() == "power is off")
    );
    assert!(!disk.is_on());
    assert_eq!(disk.content(FILE).unwrap(), before);
    assert_eq!(disk.files().len(), 1);
    assert_eq!(
        cut(&disk, 0, CrashMode::KeepAllDurable)
            .content(FILE)
            .unwrap(),
        b"xbc"
    );
}

#[test]
fn a_write_at_the_crash_point_may_be_done_in_part() {
    let mut lengths = BTreeSet::new();
    for seed in 0..100 {
        let disk = SimDisk::new(seed);
        let file = create(&disk, FILE);
        disk.crash_within(disk.operations() + 1);
        file.write_all_at(&[&[1; 4 * SECTOR]], 0).unwrap_err();
        lengths.insert(
            cut(&disk, 0, CrashMode::KeepAll)
                .content(FILE)
                .unwrap()
                .len(),
        );
    }
    assert_eq!(lengths, BTreeSet::from([0, SECTOR, 2 * SECTOR, 3 * SECTOR]));
}

#[test]
fn a_crash_releases_locks_and_keeps_their_files() {
    let disk = SimDisk::new(0);
    let path = Path::new("/lock");
    let guard = disk.lock(path).unwrap();
    let survived = cut(&disk, 0, CrashMode::KeepAll);
    let _again = survived.lock(path).unwrap();
    drop(guard);
    assert!(
        survived.lock(path).is_err(),
        "a guard from before the crash has no part in it"
    );
}

#[test]
fn a_fork_goes_its_own_way() {
    let (disk, file) = disk_with(b"abc");
    file.write_all_at(&[b"x"], 0).unwrap();
    let fork = disk.fork();
    let other = fork.open(Path::new(FILE), Open::Write).unwrap();
    other.write_all_at(&[b"fork"], 0).unwrap();
    file.write_all_at(&[b"y"], 1).unwrap();
    assert_eq!(disk.content(FILE).unwrap(), b"xyc");
    assert_eq!(fork.content(FILE).unwrap(), b"fork");
    assert_eq!(
        cut(&fork, 0, CrashMode::LoseUnsynced)
            .content(FILE)
            .unwrap(),
        b"abc"
    );
    assert!(disk.is_on());
}

/// A bit of every operation, chosen by the seed.
fn run(seed: u64) -> SimDisk {
    let disk = SimDisk::new(seed);
    disk.record_trace();
    let file = create(&disk, FILE);
    sync_root(&disk);
    for step in 0..20_u64 {
        file.write_all_at(&[&vec![step as u8; 700]], step * 700)
            .unwrap();
        if step == 7 {
            file.sync_data().unwrap();
        }
        create(&disk, &format!("/{step}"));
        rename(&disk, &format!("/{step}"), "/last");
    }
    disk
}

fn contents(disk: &SimDisk) -> Vec<(PathBuf, Vec<u8>)> {
    disk.files()
        .into_iter()
        .map(|path| (path.clone(), disk.content(path).unwrap()))
        .collect()
}

#[test]
fn the_same_seed_gives_the_same_trace_and_the_same_outcome() {
    let (first, second) = (run(3), run(3));
    assert_eq!(first.trace(), second.trace());
    assert_eq!(first.trace().len() as u64, first.operations());
    assert!(
        first.trace()[2].starts_with("3 Write /file at 0: 700 bytes, "),
        "{}",
        first.trace()[2]
    );
    for mode in CrashMode::ALL {
        for seed in 0..20 {
            let cuts = [
                cut(&first, seed, mode),
                cut(&first, seed, mode),
                cut(&second, seed, mode),
            ];
            assert_eq!(contents(&cuts[0]), contents(&cuts[1]), "{mode:?}");
            assert_eq!(contents(&cuts[0]), contents(&cuts[2]), "{mode:?}");
            assert_eq!(cuts[0].stats(), cuts[2].stats(), "{mode:?}");
        }
    }
}

#[test]
fn statistics_say_what_power_cuts_did() {
    let disk = run(1);
    let mut total = Stats::default();
    total.add(&disk.stats());
    for mode in CrashMode::ALL {
        for seed in 0..10 {
            total.add(&cut(&disk, seed, mode).stats());
        }
    }
    assert_eq!(total.operations[&OpKind::Write], 20);
    assert_eq!(total.cuts.len(), CrashMode::ALL.len());
    for (mode, effect) in &total.cuts {
        let keeps = matches!(mode, CrashMode::KeepAll | CrashMode::KeepAllDurable);
        assert_eq!(effect.cuts, 10);
        assert_eq!(effect.lost_something(), !keeps, "{mode:?}: {effect:?}");
    }
    let unsynced = &total.cuts[&CrashMode::LoseUnsynced];
    assert_eq!((unsynced.names_lost, unsynced.names_kept), (400, 0));
    assert_eq!(unsynced.lengths_lost, 10);
}
