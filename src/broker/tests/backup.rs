//! Backups of a broker that lives on, to another disk whose power fails, and what is restored of
//! them: it has what was known when the backup was begun.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use super::{
    ledger::Ledger,
    workload::Life,
    world::{
        append_of, create, encode_proto, encode_record, env, now, open, options, read_all, send,
    },
};
use crate::{
    broker::{Backup, BackupRefused, Broker, Error, Options},
    env::{
        FileSystem, Open,
        sim::{CrashMode, SimClock, SimDisk, SimRandom},
    },
    storage::{
        backup::{self, Halt, MARK, Receiver, Restored, Summary},
        files::{remove_tree, replace_file},
        format::{backup_mark::BackupMark, crc32},
    },
    types::{Offset, PartitionId},
};

/// How much of a file is copied at once: less than most files have.
const CHUNK_BYTES: u64 = 5_000;

pub(super) const BACKUP: &str = "/backup";
pub(super) const RESTORED: &str = "/restored";

/// Copies a backup to a disk, as a client does.
pub(super) fn copy(taken: &mut Backup, disk: &SimDisk) -> Result<Summary, backup::Error> {
    copy_to(BACKUP, taken, disk)
}

pub(super) fn copy_to(
    dir: &str,
    taken: &mut Backup,
    disk: &SimDisk,
) -> Result<Summary, backup::Error> {
    let mut receiver = Receiver::open(Arc::new(disk.clone()), Path::new(dir))?;
    let mut had = BTreeMap::new();
    for file in receiver.had()? {
        had.insert(file.path, (file.len, file.ends));
    }
    taken.leave_out_kept(|path| had.contains_key(path));
    let image = taken.image();
    let (commit, taken_ms, directory) = (image.commit(), image.taken_ms(), image.directory());
    let files: Vec<(String, u64)> = image
        .files()
        .iter()
        .map(|file| (file.path.to_string(), file.len))
        .collect();
    receiver.begin(directory)?;
    for (at, (path, len)) in files.into_iter().enumerate() {
        let from = taken.missing_from(at, had.get(&path).copied());
        let mut from = from.expect("nothing fails there");
        receiver.begin_file(&path, len, from)?;
        while from < len {
            let bytes = taken.read(at, from, CHUNK_BYTES.min(len - from));
            let bytes = bytes.expect("nothing fails there");
            receiver.take(&bytes, crc32(&[&bytes]))?;
            from += bytes.len() as u64;
        }
    }
    receiver.finish(commit, taken_ms, directory)
}

pub(super) fn restore(
    disk: &SimDisk,
    from: &Path,
    to: &Path,
    erasures_of: Option<&Path>,
) -> Result<Restored, backup::Error> {
    backup::restore(disk, from, to, erasures_of, &Halt::default())
}

/// Restores the backup on a disk, and opens a broker on what came of it.
fn open_restored(disk: &SimDisk, seed: u64) -> Broker {
    restore(disk, Path::new(BACKUP), Path::new(RESTORED), None).expect("the backup is whole");
    open_at(RESTORED, disk, seed)
}

pub(super) fn open_at(dir: &str, disk: &SimDisk, seed: u64) -> Broker {
    let clock = SimClock::new(1_700_000_000_000);
    let options = Options {
        data_dir: dir.into(),
        ..options()
    };
    let env = env(disk, &clock, &SimRandom::new(seed));
    Broker::open_stepped(env, options)
        .unwrap_or_else(|error| panic!("it cannot be opened: {error}"))
}

/// A life with a backup that was begun in it, and what was known then.
fn begin_in(life: &Life) -> (Backup, Ledger) {
    let begun = life.broker.begin_backup().expect("nothing fails");
    (begun, life.ledger.clone())
}

#[test]
fn what_is_restored_has_what_was_known_when_the_backup_was_begun_and_nothing_that_came_later() {
    let (mut records, mut received) = (0, 0);
    for seed in 1..9 {
        let mut life = Life::begin(&SimDisk::new(seed), seed).expect("nothing fails");
        let target = SimDisk::new(seed + 100);
        for round in 0..3 {
            life.live(40);
            let (mut begun, mut known) = begin_in(&life);
            life.live(40);
            let copied = copy(&mut begun, &target).expect("nothing fails");
            drop(begun);
            received += copied.received;
            let disk = target.fork().power_cut(seed, CrashMode::LoseUnsynced);
            let restored = open_restored(&disk, seed + 1_000 + round);
            records += known.check(&restored).records;
        }
    }
    println!("{records} records, {received} bytes received");
    assert!(records > 1_000);
}

#[test]
fn a_power_cut_of_the_backup_leaves_the_one_before_or_the_new_one_and_it_can_be_taken_again() {
    let mut life = Life::begin(&SimDisk::new(5), 5).expect("nothing fails");
    life.live(50);
    let first_disk = SimDisk::new(50);
    let (mut begun, first) = begin_in(&life);
    let first_commit = copy(&mut begun, &first_disk).expect("nothing fails").commit;
    drop(begun);
    life.live(30);
    let (mut begun, second) = begin_in(&life);
    let whole = first_disk.fork();
    let second_commit = copy(&mut begun, &whole).expect("nothing fails").commit;
    let operations = whole.operations();
    let (mut before, mut behind) = (0, 0);
    for operation in 1..=operations {
        let disk = first_disk.fork();
        match operation.is_multiple_of(2) {
            true => disk.crash_at(operation),
            false => disk.crash_within(operation),
        }
        copy(&mut begun, &disk).expect_err("the power fails");
        let mode = CrashMode::ALL[operation as usize % CrashMode::ALL.len()];
        let disk = disk.power_cut(operation, mode);
        let restored = restore(&disk, Path::new(BACKUP), Path::new(RESTORED), None);
        let restored = restored.unwrap_or_else(|error| panic!("{operation}, {mode:?}: {error}"));
        let mut known = match restored.commit {
            commit if commit == first_commit => first.clone(),
            commit => {
                assert_eq!(commit, second_commit);
                second.clone()
            }
        };
        before += u32::from(restored.commit == first_commit);
        behind += u32::from(restored.commit == second_commit);
        known.check(&open_at(RESTORED, &disk, operation));
        let again = disk.fork();
        remove_tree(&again, Path::new(RESTORED)).expect("the disk is sound");
        copy(&mut begun, &again).expect("it goes on");
        second.clone().check(&open_restored(&again, operation + 1));
    }
    println!("{operations} operations, {before} with the one before, {behind} with the new one");
    assert!(before > 20 && behind > 3);
}

#[test]
fn a_power_cut_of_a_restore_leaves_nothing_or_all_and_it_can_be_done_again() {
    let mut life = Life::begin(&SimDisk::new(6), 6).expect("nothing fails");
    life.live(40);
    let source = SimDisk::new(60);
    let (mut begun, known) = begin_in(&life);
    copy(&mut begun, &source).expect("nothing fails");
    let whole = source.fork();
    restore(&whole, Path::new(BACKUP), Path::new(RESTORED), None).expect("nothing fails");
    let mut restored = 0;
    for operation in 1..=whole.operations() {
        let disk = source.fork();
        disk.crash_within(operation);
        restore(&disk, Path::new(BACKUP), Path::new(RESTORED), None).expect_err("the power fails");
        let mode = CrashMode::ALL[operation as usize % CrashMode::ALL.len()];
        let disk = disk.power_cut(operation, mode);
        let is_there = disk.exists(Path::new(RESTORED)).expect("the disk is sound");
        restored += u32::from(is_there);
        let broker = match is_there {
            true => open_at(RESTORED, &disk, operation),
            false => open_restored(&disk, operation),
        };
        known.clone().check(&broker);
    }
    assert!(restored > 0);
}

#[test]
fn after_a_power_cut_of_a_restore_to_a_directory_that_is_there_nobody_serves_a_part_of_it() {
    let mut life = Life::begin(&SimDisk::new(8), 8).expect("nothing fails");
    life.live(40);
    let source = SimDisk::new(80);
    let (mut begun, known) = begin_in(&life);
    copy(&mut begun, &source).expect("nothing fails");
    let (from, to) = (Path::new(BACKUP), Path::new(RESTORED));
    source.create_dir(to).expect("it is new");
    source.sync_dir(Path::new("/")).expect("the disk is sound");
    let whole = source.fork();
    restore(&whole, from, to, None).expect("nothing fails");
    known.clone().check(&open_at(RESTORED, &whole, 0));
    let (mut again, mut refused) = (0, 0);
    for operation in 1..=operations_of_restore(&source) {
        let disk = source.fork();
        disk.crash_within(operation);
        restore(&disk, from, to, None).expect_err("the power fails");
        let mode = CrashMode::ALL[operation as usize % CrashMode::ALL.len()];
        let disk = disk.power_cut(operation, mode);
        let is_unfinished = disk
            .exists(&to.join(".restore"))
            .expect("the disk is sound");
        if is_unfinished {
            let env = env(&disk, &SimClock::new(0), &SimRandom::new(operation));
            let options = Options {
                data_dir: to.into(),
                ..options()
            };
            let opened = Broker::open_stepped(env, options);
            assert!(opened.is_err(), "{operation}: it is not whole");
        }
        if is_unfinished || disk.read_dir(to).expect("the disk is sound").is_empty() {
            match restore(&disk, from, to, None) {
                Err(backup::Error::CutOff { .. }) => {
                    refused += 1;
                    continue;
                }
                restored => restored.map(drop).expect("the disk is sound"),
            }
            again += 1;
        }
        known.clone().check(&open_at(RESTORED, &disk, operation));
    }
    println!("{again} restored again, {refused} refused");
    assert!(again > 20 && refused > 0);
}

/// How many operations a restore takes.
fn operations_of_restore(source: &SimDisk) -> u64 {
    let disk = source.fork();
    let restored = restore(&disk, Path::new(BACKUP), Path::new(RESTORED), None);
    restored.expect("nothing fails");
    disk.operations()
}

#[test]
fn of_a_broker_that_has_not_changed_only_its_own_small_files_are_sent_again() {
    let disk = SimDisk::new(7);
    let broker = open(&disk, 7).expect("nothing fails");
    create(&broker, "t", 2);
    for id in 0..600 {
        let record = encode_record(id, 1_000);
        send(&broker, append_of("t", Some((id % 2) as u32), &[record])).expect("there is room");
        broker.keep_house(false);
    }
    let target = SimDisk::new(70);
    let take = || copy(&mut broker.begin_backup().expect("nothing fails"), &target);
    let first = take().expect("nothing fails");
    let second = take().expect("nothing fails");
    assert_eq!(first.received, first.bytes);
    assert!(second.received * 100 < second.bytes, "{second:?}");

    // What has grown is sent from where it ended.
    send(
        &broker,
        append_of("t", Some(0), &[encode_record(600, 1_000)]),
    )
    .expect("there is room");
    let third = take().expect("nothing fails");
    assert!(third.received < second.received + 3_000, "{third:?}");
    let restored = open_restored(&target, 71);
    for partition in [PartitionId(0), PartitionId(1)] {
        let known = read_all(&broker, "t", partition);
        assert_eq!(read_all(&restored, "t", partition), known);
    }
}

#[test]
fn what_is_deleted_and_trimmed_meanwhile_is_in_the_backup_all_the_same() {
    let disk = SimDisk::new(8);
    let broker = open(&disk, 8).expect("nothing fails");
    for topic in ["deleted", "trimmed"] {
        create(&broker, topic, 1);
        for id in 0..300 {
            send(&broker, append_of(topic, None, &[encode_record(id, 1_000)]))
                .expect("there is room");
            broker.keep_house(false);
        }
    }
    let known = read_all(&broker, "trimmed", PartitionId(0));
    let mut begun = broker.begin_backup().expect("nothing fails");
    assert!(matches!(
        broker.begin_backup(),
        Err(Error::Backup(BackupRefused::UnderWay))
    ));
    let deleted = broker.delete_topic("deleted").expect("it is there");
    let trimmed = broker.trim("trimmed", PartitionId(0), Offset(300));
    broker.commit_all();
    now(deleted).expect("an answer").expect("nothing fails");
    drop(trimmed);
    for _ in 0..3 {
        broker.keep_house(true);
    }
    let target = SimDisk::new(80);
    copy(&mut begun, &target).expect("nothing fails");
    drop(begun);
    let restored = open_restored(&target, 81);
    assert_eq!(read_all(&restored, "trimmed", PartitionId(0)), known);
    assert_eq!(read_all(&restored, "deleted", PartitionId(0)), known);

    // What was kept for the backup goes behind it.
    for _ in 0..3 {
        broker.keep_house(true);
    }
    let is_left = |path: &std::path::PathBuf| path.to_string_lossy().contains("deleted");
    assert!(!disk.files().iter().any(is_left), "{:?}", disk.files());
}

#[test]
fn a_backup_that_is_damaged_or_not_whole_is_refused() {
    let broker = open(&SimDisk::new(9), 9).expect("nothing fails");
    create(&broker, "t", 1);
    send(&broker, append_of("t", None, &[encode_record(1, 100)])).expect("there is room");
    let target = SimDisk::new(90);
    copy(&mut broker.begin_backup().expect("nothing fails"), &target).expect("nothing fails");
    let refused = |disk: &SimDisk| {
        let refused = restore(disk, Path::new(BACKUP), Path::new(RESTORED), None);
        refused.expect_err("it is not as it was taken")
    };
    for path in target.files() {
        if path.ends_with("lock") {
            continue;
        }
        let disk = target.fork();
        let middle = disk.content(&path).expect("it is there").len() as u64 / 2;
        disk.flip_bit(&path, middle, 3).expect("it is there");
        let error = refused(&disk);
        assert!(
            matches!(error, backup::Error::Damaged { .. }),
            "{}: {error}",
            path.display()
        );
    }
    let mark = Path::new(BACKUP).join(MARK);
    target.remove_file(&mark).expect("it is there");
    assert!(matches!(refused(&target), backup::Error::NoMark { .. }));
    let taken = copy(&mut broker.begin_backup().expect("nothing fails"), &target);
    assert!(
        matches!(taken, Err(backup::Error::Foreign { .. })),
        "{taken:?}"
    );
}

#[test]
fn a_broker_that_is_given_a_backup_makes_it_a_data_directory_and_no_backup() {
    let broker = open(&SimDisk::new(10), 10).expect("nothing fails");
    create(&broker, "t", 1);
    send(&broker, append_of("t", None, &[encode_record(1, 100)])).expect("there is room");
    let target = SimDisk::new(91);
    copy(&mut broker.begin_backup().expect("nothing fails"), &target).expect("nothing fails");
    let served = open_at(BACKUP, &target, 92);
    assert_eq!(read_all(&served, "t", PartitionId(0)).len(), 1);
    send(&served, append_of("t", None, &[encode_record(2, 100)])).expect("there is room");
    served.close().expect("nothing fails");
    let restored = restore(&target, Path::new(BACKUP), Path::new(RESTORED), None);
    assert!(
        matches!(restored, Err(backup::Error::NoMark { .. })),
        "{restored:?}"
    );
}

/// How often bytes are in the files below a directory.
pub(super) fn count_files_with(disk: &SimDisk, dir: &str, bytes: &[u8]) -> usize {
    let files = disk
        .files()
        .into_iter()
        .filter(|path| path.starts_with(dir));
    let has = |path: &std::path::PathBuf| {
        let content = disk.content(path).expect("it is there");
        content.windows(bytes.len()).any(|window| window == bytes)
    };
    files.filter(has).count()
}

#[test]
fn what_a_later_backup_knows_as_erased_does_not_come_back_with_an_earlier_one() {
    let key = b"a person that is erased without a trace";
    let record = |key: &[u8], value: &'static [u8]| {
        encode_proto(&crate::proto::Record {
            key: Some(bytes::Bytes::copy_from_slice(key)),
            value: Some(bytes::Bytes::from_static(value)),
            ..Default::default()
        })
    };
    let disk = SimDisk::new(11);
    let broker = open(&disk, 11).expect("nothing fails");
    create(&broker, "t", 1);
    for value in [&b"one"[..], b"two"] {
        send(
            &broker,
            append_of("t", None, &[record(key, value), record(b"other", value)]),
        )
        .expect("there is room");
    }
    let target = SimDisk::new(110);
    let mut earlier = broker.begin_backup().expect("nothing fails");
    copy_to("/earlier", &mut earlier, &target).expect("nothing fails");
    drop(earlier);
    assert!(count_files_with(&target, "/earlier", key) > 0);

    send(&broker, append_of("t", None, &[record(key, b"three")])).expect("there is room");
    let erased = broker.erase_key("t", key).expect("there is such a topic");
    broker.commit_all();
    let erasure = now(erased).expect("an answer").expect("nothing fails");
    for _ in 0..10 {
        broker.keep_house(true);
        broker.commit_all();
    }
    let mut later = broker.begin_backup().expect("nothing fails");
    copy_to("/later", &mut later, &target).expect("nothing fails");

    let (from, to) = (Path::new("/earlier"), Path::new(RESTORED));
    let restored = restore(&target, from, to, Some(Path::new("/later"))).expect("both are whole");
    assert_eq!(restored.erased, 1);
    let restored = open_at(RESTORED, &target, 111);
    let latest = restored.get_latest("t", &[key.to_vec().into(), b"other".to_vec().into()]);
    let latest = latest.expect("nothing is damaged");
    println!("{latest:?}");
    for _ in 0..20 {
        restored.keep_house(true);
        restored.commit_all();
    }
    let described = restored.describe_erasure(erasure.id).expect("it is known");
    assert!(described.complete, "{described:?}");
    restored.close().expect("nothing fails");
    assert_eq!(count_files_with(&target, RESTORED, key), 0);

    // What comes behind is another matter.
    let served = open_at(RESTORED, &target, 112);
    send(&served, append_of("t", None, &[record(key, b"anew")])).expect("there is room");
    for _ in 0..10 {
        served.keep_house(true);
    }
    assert!(count_files_with(&target, RESTORED, key) > 0);
}

/// Puts a file there that no backup knows.
pub(super) fn put(disk: &SimDisk, path: &str) {
    let path = Path::new(path);
    let parent = path.parent().expect("it has one");
    if !disk.exists(parent).expect("nothing fails") {
        disk.create_dir(parent).expect("nothing fails");
    }
    disk.open(path, Open::Create).expect("nothing fails");
}

#[test]
fn what_somebody_else_has_put_beside_a_backup_or_a_restore_stays() {
    let mut life = Life::begin(&SimDisk::new(1), 1).expect("nothing fails");
    life.live(40);
    let target = SimDisk::new(2);
    let (mut begun, _) = begin_in(&life);
    copy(&mut begun, &target).expect("nothing fails");
    drop(begun);
    let (notes, foreign) = (
        format!("{BACKUP}/notes"),
        format!("{RESTORED}.restoring/mine"),
    );
    put(&target, &notes);
    put(&target, &foreign);
    life.live(40);
    let (mut begun, _) = begin_in(&life);
    copy(&mut begun, &target).expect("nothing fails");
    drop(begun);
    assert!(target.exists(Path::new(&notes)).expect("nothing fails"));
    let refused = restore(&target, Path::new(BACKUP), Path::new(RESTORED), None);
    let refused = refused.expect_err("there is something");
    assert!(
        matches!(refused, backup::Error::Occupied { .. }),
        "{refused}"
    );
    assert!(target.exists(Path::new(&foreign)).expect("nothing fails"));
}

#[test]
fn a_mark_that_names_files_outside_of_the_backup_is_refused() {
    let disk = SimDisk::new(1);
    let broker = open(&disk, 1).expect("nothing fails");
    let target = SimDisk::new(2);
    let mut begun = broker.begin_backup().expect("nothing fails");
    copy(&mut begun, &target).expect("nothing fails");
    drop(begun);
    let path = Path::new(BACKUP).join(MARK);
    let mark = target.content(&path).expect("it is there");
    for name in ["../outside", "/outside", "topics/../../outside", "backup"] {
        let mut mark = BackupMark::decode(&mark).expect("it is whole");
        mark.files[0].path = name.to_owned();
        replace_file(&target, &path, &mark.encode()).expect("nothing fails");
        let refused = restore(&target, Path::new(BACKUP), Path::new(RESTORED), None);
        assert!(
            matches!(refused, Err(backup::Error::Damaged { .. })),
            "{name}: {refused:?}"
        );
    }
}
