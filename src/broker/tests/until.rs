//! Restores that end between two backups, with the journal entries that were kept for that.

use std::{collections::BTreeMap, path::Path, time::Duration};

use super::{
    backup::{
        BACKUP, RESTORED, copy, copy_to, count_files_with, open_at, put, restore as restore_whole,
    },
    ledger::Ledger,
    workload::Life,
    world::{append_of, create, encode_proto, encode_record, env, now, options, read_all, send},
};
use crate::{
    broker::{Broker, Options},
    env::{
        Clock, FileSystem,
        sim::{CrashMode, SimClock, SimDisk, SimRandom},
    },
    storage::{
        backup::{Error, Halt, Kept, Until, is_unsettled, restore_until},
        files::remove_tree,
    },
    types::PartitionId,
};

pub(super) const BEGUN_MS: i64 = 1_700_000_000_000;

/// The options of a broker that keeps its journal.
pub(super) fn keeping() -> Options {
    Options {
        kept_journal_bytes: 4 << 20,
        ..options()
    }
}

pub(super) fn open_keeping(disk: &SimDisk, clock: &SimClock, seed: u64) -> Broker {
    let opened = Broker::open_stepped(env(disk, clock, &SimRandom::new(seed)), keeping());
    opened.unwrap_or_else(|error| panic!("it cannot be opened: {error}"))
}

pub(super) fn back_up(broker: &Broker, target: &SimDisk) -> u64 {
    let mut begun = broker.begin_backup().expect("nothing fails");
    copy(&mut begun, target).expect("nothing fails").commit
}

/// Restores on this disk; returns the last commit and how many entities were erased.
pub(super) fn restore_on(disk: &SimDisk, until: Until) -> Result<(u64, u64), Error> {
    restore_without(disk, until, None)
}

/// As [`restore_on`], without what this backup knows as erased.
pub(super) fn restore_without(
    disk: &SimDisk,
    until: Until,
    erasures_of: Option<&Path>,
) -> Result<(u64, u64), Error> {
    restore_unless_told(disk, until, erasures_of, &Halt::default())
}

pub(super) fn restore_unless_told(
    disk: &SimDisk,
    until: Until,
    erasures_of: Option<&Path>,
    halt: &Halt,
) -> Result<(u64, u64), Error> {
    let env = env(disk, &SimClock::new(BEGUN_MS), &SimRandom::new(91));
    let mut apply = |dir: &Path, kept: &Kept<'_>| {
        let options = Options {
            data_dir: dir.to_owned(),
            ..options()
        };
        Broker::apply_kept(&env, &options, kept)
    };
    let (from, to) = (Path::new(BACKUP), Path::new(RESTORED));
    let asked = (until, erasures_of);
    let restored = restore_until(disk, from, to, asked, &mut apply, halt)?;
    Ok((restored.commit, restored.erased))
}

/// Restores on a fork of this disk, and opens what came of it.
pub(super) fn restore(
    target: &SimDisk,
    until: Until,
) -> Result<((u64, u64), Broker, SimDisk), Error> {
    let disk = target.fork();
    let restored = restore_on(&disk, until)?;
    let disk = disk.power_cut(92, CrashMode::LoseUnsynced);
    let broker = open_at(RESTORED, &disk, 93);
    Ok((restored, broker, disk))
}

pub(super) fn has_no_range(target: &SimDisk, commit: u64) -> bool {
    let refused = restore(target, Until::Commit(commit)).err();
    matches!(refused, Some(Error::NoRange { .. }))
}

/// Lives on, and notes what was known at which commit.
fn live(life: &mut Life, steps: u32, known: &mut BTreeMap<u64, Ledger>) {
    for _ in 0..steps {
        life.live(1);
        known.insert(life.broker.shared.committer.applied(), life.ledger.clone());
    }
}

pub(super) const PERSON: &[u8] = b"a person that is erased without a trace";

pub(super) fn record_of(key: &'static [u8], value: &'static [u8]) -> Vec<u8> {
    encode_proto(&crate::proto::Record {
        key: Some(bytes::Bytes::from_static(key)),
        value: Some(bytes::Bytes::from_static(value)),
        ..Default::default()
    })
}

pub(super) fn append(broker: &Broker, id: u64) {
    let record = encode_record(id, 1_000);
    send(broker, append_of("t", Some(0), &[record])).expect("there is room");
    broker.keep_house(false);
}

#[test]
fn every_commit_between_two_backups_can_be_restored_and_no_other() {
    let (disk, target) = (SimDisk::new(1), SimDisk::new(2));
    let clock = SimClock::new(BEGUN_MS);
    let mut broker = open_keeping(&disk, &clock, 1);
    create(&broker, "t", 1);
    for id in 0..20 {
        append(&broker, id);
    }
    let first = back_up(&broker, &target);
    for id in 20..60 {
        append(&broker, id);
        if id % 10 == 0 {
            // Such an entry is written from where it is.
            let large = encode_record(1_000 + id, 60_000);
            send(&broker, append_of("t", Some(0), &[large])).expect("there is room");
        }
        if id == 40 {
            drop(broker);
            broker = open_keeping(&disk, &clock, 2);
        }
    }
    let all = read_all(&broker, "t", PartitionId(0));
    let second = back_up(&broker, &target);
    assert_eq!(second, first + 44);
    for commit in first..=second {
        let (restored, broker, _) = restore(&target, Until::Commit(commit)).expect("it is there");
        assert_eq!(restored, (commit, 0));
        let known = 20 + usize::try_from(commit - first).expect("it is small");
        assert_eq!(
            read_all(&broker, "t", PartitionId(0)),
            all[..known],
            "{commit}"
        );
        // Versions and offsets go on.
        append(&broker, 1_000);
    }
    for commit in [first - 1, second + 1] {
        let refused = restore(&target, Until::Commit(commit)).err();
        assert!(
            matches!(refused, Some(Error::OutOfRange { .. })),
            "{refused:?}"
        );
    }
}

#[test]
fn a_time_is_that_of_the_last_commit_before_it() {
    let (disk, target) = (SimDisk::new(3), SimDisk::new(4));
    let clock = SimClock::new(BEGUN_MS);
    let broker = open_keeping(&disk, &clock, 3);
    create(&broker, "t", 1);
    let first = back_up(&broker, &target);
    let began = broker
        .begin_backup()
        .expect("nothing fails")
        .image()
        .taken_ms()
        + 1;
    for id in 0..5 {
        clock.advance(Duration::from_millis(100));
        append(&broker, id);
    }
    clock.advance(Duration::from_millis(1));
    back_up(&broker, &target);
    for (ms, records) in [(0, 0), (99, 0), (100, 1), (350, 3), (499, 4), (500, 5)] {
        let (restored, broker, _) =
            restore(&target, Until::TimeMs(began + ms)).expect("it is there");
        assert_eq!(
            read_all(&broker, "t", PartitionId(0)).len(),
            records,
            "{ms}"
        );
        assert_eq!(restored, (first + records as u64, 0));
    }
    for ms in [-2, 501] {
        let refused = restore(&target, Until::TimeMs(began + ms)).err();
        assert!(
            matches!(refused, Some(Error::OutOfRange { .. })),
            "{refused:?}"
        );
    }
}

#[test]
fn until_a_time_there_is_every_record_that_was_appended_by_then_also_beside_a_backup() {
    let (disk, target) = (SimDisk::new(23), SimDisk::new(24));
    let clock = SimClock::new(BEGUN_MS);
    let broker = open_keeping(&disk, &clock, 23);
    create(&broker, "t", 1);
    let tick = || clock.advance(Duration::from_millis(10));
    tick();
    back_up(&broker, &target);
    tick();
    append(&broker, 0);
    tick();
    // It has its time, and is committed behind the backup.
    let admission = now(broker.admit_alone(100)).expect("an answer");
    let late = append_of("t", Some(0), &[encode_record(1, 10)]);
    let late = broker.append(late, admission.expect("there is memory"));
    let late_ms = clock.now_ms();
    tick();
    let known = |until_ms| {
        let (_, broker, _) = restore(&target, Until::TimeMs(until_ms)).ok()?;
        Some(read_all(&broker, "t", PartitionId(0)).len())
    };
    back_up(&broker, &target);
    assert_eq!([late_ms - 1, late_ms].map(known), [Some(1), None]);
    broker.commit_all();
    now(late.expect("there is room"))
        .expect("an answer")
        .expect("nothing fails");
    tick();
    append(&broker, 2);
    tick();
    back_up(&broker, &target);
    let times = [late_ms - 1, late_ms, late_ms + 10, late_ms + 20];
    assert_eq!(times.map(known), [Some(1), Some(2), Some(2), Some(3)]);
}

#[test]
fn until_a_commit_there_is_what_was_known_then_and_nothing_that_came_later() {
    let (mut restored, mut records) = (0, 0);
    for seed in 1..5 {
        let disk = SimDisk::new(seed);
        let mut life = Life::begin_with(&disk, seed, keeping()).expect("nothing fails");
        let target = SimDisk::new(seed + 100);
        live(&mut life, 30, &mut BTreeMap::new());
        let mut first = back_up(&life.broker, &target);
        for _ in 0..2 {
            let mut known = BTreeMap::new();
            live(&mut life, 40, &mut known);
            let second = back_up(&life.broker, &target);
            for (commit, mut ledger) in known {
                let ((at, _), broker, _) = restore(&target, Until::Commit(commit))
                    .unwrap_or_else(|error| panic!("{commit} of {first} to {second}: {error}"));
                assert_eq!(at, commit);
                records += ledger.check(&broker).records;
                restored += 1;
            }
            first = second;
        }
    }
    println!("{restored} restored, {records} records");
    assert!(restored > 200 && records > 10_000);
}

#[test]
fn a_power_cut_of_the_backup_leaves_the_commits_before_or_the_new_ones_to_be_restored() {
    let mut life = Life::begin_with(&SimDisk::new(5), 5, keeping()).expect("nothing fails");
    let disk = SimDisk::new(50);
    let mut known = BTreeMap::new();
    live(&mut life, 40, &mut known);
    let first = back_up(&life.broker, &disk);
    live(&mut life, 40, &mut known);
    let second = back_up(&life.broker, &disk);
    live(&mut life, 40, &mut known);
    let mut begun = life.broker.begin_backup().expect("nothing fails");
    let whole = disk.fork();
    let third = copy(&mut begun, &whole).expect("nothing fails").commit;
    let commits: Vec<u64> = known.keys().copied().collect();
    let within = |from, to| {
        let inside = |commit: &&u64| (from..=to).contains(*commit);
        let inside: Vec<u64> = commits.iter().filter(inside).copied().collect();
        inside[inside.len() / 2]
    };
    let (earlier, later) = (within(first, second), within(second, third));
    let check = |disk: &SimDisk, commit: u64| {
        let (_, broker, _) = restore(disk, Until::Commit(commit)).expect("it is there");
        known[&commit].clone().check(&broker);
    };
    let (mut before, mut between, mut behind) = (0, 0, 0);
    for operation in 1..=whole.operations() {
        let disk = disk.fork();
        match operation.is_multiple_of(2) {
            true => disk.crash_at(operation),
            false => disk.crash_within(operation),
        }
        copy(&mut begun, &disk).expect_err("the power fails");
        let mode = CrashMode::ALL[operation as usize / 2 % CrashMode::ALL.len()];
        let disk = disk.power_cut(operation, mode);
        let to = Path::new(RESTORED);
        let restored = restore_whole(&disk.fork(), Path::new(BACKUP), to, None);
        let commit = restored.expect("one of them is whole").commit;
        match restore(&disk, Until::Commit(earlier)) {
            Ok((_, broker, _)) => {
                assert_eq!(commit, second, "{operation}");
                known[&earlier].clone().check(&broker);
                before += 1;
            }
            Err(Error::OutOfRange { .. }) => {
                assert_eq!(commit, third, "{operation}");
                check(&disk, later);
                match is_unsettled(&disk, Path::new(BACKUP)).expect("nothing fails") {
                    true => between += 1,
                    false => behind += 1,
                }
            }
            Err(error) => panic!("{operation}, {mode:?}: {error}"),
        }
        copy(&mut begun, &disk).expect("it goes on");
        check(&disk, later);
    }
    println!("{before} with the ones before, {between} in between, {behind} with the new ones");
    assert!(before > 20 && between > 20 && behind > 0);
}

#[test]
fn a_power_cut_of_a_restore_until_a_commit_leaves_nothing_or_all() {
    let disk = SimDisk::new(7);
    let mut life = Life::begin_with(&disk, 7, keeping()).expect("nothing fails");
    let source = SimDisk::new(70);
    let mut known = BTreeMap::new();
    live(&mut life, 20, &mut known);
    back_up(&life.broker, &source);
    live(&mut life, 20, &mut known);
    let (commit, ledger) = known.last_key_value().expect("it has lived");
    live(&mut life, 5, &mut BTreeMap::new());
    back_up(&life.broker, &source);
    let whole = source.fork();
    restore_on(&whole, Until::Commit(*commit)).expect("nothing fails");
    let mut restored = 0;
    for operation in (1..=whole.operations()).step_by(3) {
        let disk = source.fork();
        disk.crash_within(operation);
        restore_on(&disk, Until::Commit(*commit)).expect_err("the power fails");
        let mode = CrashMode::ALL[operation as usize / 3 % CrashMode::ALL.len()];
        let disk = disk.power_cut(operation, mode);
        let is_there = disk.exists(Path::new(RESTORED)).expect("the disk is sound");
        restored += u32::from(is_there);
        if !is_there {
            restore_on(&disk, Until::Commit(*commit)).expect("the disk is sound");
        }
        ledger.clone().check(&open_at(RESTORED, &disk, operation));
    }
    println!("{restored} of {} had all", whole.operations());
}

#[test]
fn a_broker_whose_power_fails_has_kept_its_journal_all_the_same() {
    let mut ends = BTreeMap::new();
    for seed in 1..60 {
        let disk = SimDisk::new(seed);
        let mut life = Life::begin_with(&disk, seed, keeping()).expect("nothing fails");
        let target = SimDisk::new(seed + 1_000);
        live(&mut life, 5, &mut BTreeMap::new());
        let first = back_up(&life.broker, &target);
        let mut known = BTreeMap::new();
        live(&mut life, 20, &mut known);
        disk.crash_at(disk.operations() + 7 * seed);
        live(&mut life, 1_000, &mut BTreeMap::new());
        assert!(!disk.is_on());
        let (mut ledger, _) = life.end();
        let mode = CrashMode::ALL[seed as usize % CrashMode::ALL.len()];
        let disk = disk.power_cut(seed, mode);
        let broker = open_keeping(&disk, &SimClock::new(BEGUN_MS), seed + 2_000);
        ledger.check(&broker);
        let second = back_up(&broker, &target);
        for commit in [first, second] {
            restore(&target, Until::Commit(commit)).expect("it is there");
        }
        let (commit, mut ledger) = known.pop_last().expect("it has lived");
        let (_, broker, _) = restore(&target, Until::Commit(commit)).expect("it is there");
        ledger.check(&broker);
        *ends.entry(mode).or_insert(0) += second - first;
    }
    println!("commits in between, by what a power cut takes: {ends:?}");
}

#[test]
fn only_the_journal_since_the_backups_before_is_sent_and_a_second_one_at_once_changes_nothing() {
    let (disk, target) = (SimDisk::new(8), SimDisk::new(80));
    let broker = open_keeping(&disk, &SimClock::new(BEGUN_MS), 8);
    create(&broker, "t", 1);
    let (mut ends, mut most) = (Vec::new(), 0);
    for round in 0..6 {
        for id in 0..20 {
            append(&broker, round * 20 + id);
        }
        ends.push(back_up(&broker, &target));
        let kept = target.files().into_iter();
        let kept = kept.filter(|path| path.starts_with("/backup/kept"));
        most = most.max(kept.count());
    }
    assert!(most <= 6, "{most} files");
    let [.., middle, last] = ends[..] else {
        panic!("there are backups")
    };
    assert_eq!(back_up(&broker, &target), last);
    for commit in [middle, middle + 7, last] {
        restore(&target, Until::Commit(commit)).expect("it is there");
    }
    let refused = restore(&target, Until::Commit(middle - 1)).err();
    assert!(
        matches!(refused, Some(Error::OutOfRange { .. })),
        "{refused:?}"
    );
}

#[test]
fn without_the_whole_journal_in_between_no_commit_before_the_backup_can_be_restored() {
    let (disk, target) = (SimDisk::new(9), SimDisk::new(90));
    let clock = SimClock::new(BEGUN_MS);
    let broker = Broker::open_stepped(env(&disk, &clock, &SimRandom::new(9)), options());
    let broker = broker.expect("nothing fails");
    create(&broker, "t", 1);
    append(&broker, 0);
    let first = back_up(&broker, &target);
    assert!(has_no_range(&target, first));
    broker.close().expect("nothing fails");

    // From the first backup on that begins with it, it is kept.
    let broker = open_keeping(&disk, &clock, 10);
    append(&broker, 1);
    let second = back_up(&broker, &target);
    assert!(has_no_range(&target, second));
    append(&broker, 2);
    let third = back_up(&broker, &target);
    restore(&target, Until::Commit(second)).expect("it is there");

    // More than is kept.
    for id in 0..80 {
        append(&broker, 100 + id);
        let large = encode_record(1_000 + id, 70_000);
        send(&broker, append_of("t", Some(0), &[large])).expect("there is room");
        broker.keep_house(false);
    }
    let fourth = back_up(&broker, &target);
    assert!(has_no_range(&target, third));
    append(&broker, 3);
    back_up(&broker, &target);
    restore(&target, Until::Commit(fourth)).expect("it is there");
    broker.close().expect("nothing fails");

    // Nothing more is kept.
    let broker = Broker::open_stepped(env(&disk, &clock, &SimRandom::new(11)), options());
    let broker = broker.expect("nothing fails");
    let is_kept = |disk: &SimDisk, of: &str| {
        let files = disk.files();
        files.iter().any(|path| path.starts_with(of))
    };
    assert!(!is_kept(&disk, "/data/kept"));
    let last = back_up(&broker, &target);
    assert!(has_no_range(&target, last));
    assert!(!is_kept(&target, "/backup/kept") && !is_kept(&target, "/backup/before"));
}

#[test]
fn a_backup_does_not_go_on_from_one_of_a_past_that_a_restore_has_left() {
    let (disk, target) = (SimDisk::new(16), SimDisk::new(17));
    let clock = SimClock::new(BEGUN_MS);
    let broker = Broker::open_stepped(env(&disk, &clock, &SimRandom::new(16)), options());
    let broker = broker.expect("nothing fails");
    create(&broker, "t", 1);
    let mut begun = broker.begin_backup().expect("nothing fails");
    copy_to("/origin", &mut begun, &target).expect("nothing fails");
    drop(begun);
    broker.close().expect("nothing fails");

    // Of both, the journal is kept from their third append on.
    let broker = open_keeping(&disk, &clock, 17);
    (0..3).for_each(|id| append(&broker, id));
    let left = back_up(&broker, &target);
    restore_whole(&target, Path::new("/origin"), Path::new(RESTORED), None).expect("it is whole");
    let there = Options {
        data_dir: RESTORED.into(),
        ..keeping()
    };
    let restored = Broker::open_stepped(env(&target, &clock, &SimRandom::new(18)), there);
    let restored = restored.expect("nothing fails");
    (10..13).for_each(|id| append(&restored, id));
    let mut begun = restored.begin_backup().expect("nothing fails");
    let elsewhere = copy_to("/elsewhere", &mut begun, &target).expect("nothing fails");
    assert_eq!(elsewhere.commit, left);
    drop(begun);
    append(&restored, 13);
    let last = back_up(&restored, &target);
    drop(restored);
    remove_tree(&target, Path::new(RESTORED)).expect("nothing fails");
    assert!(has_no_range(&target, left) && has_no_range(&target, last));
}

#[test]
fn a_directory_that_somebody_has_put_where_the_backup_before_goes_is_refused() {
    let (disk, target) = (SimDisk::new(10), SimDisk::new(11));
    let broker = open_keeping(&disk, &SimClock::new(BEGUN_MS), 12);
    back_up(&broker, &target);
    put(&target, "/backup/before/mine");
    let mut begun = broker.begin_backup().expect("nothing fails");
    let refused = copy(&mut begun, &target);
    assert!(matches!(refused, Err(Error::Foreign { .. })), "{refused:?}");
    assert!(
        target
            .exists(Path::new("/backup/before/mine"))
            .expect("nothing fails")
    );
}

#[test]
fn an_erasure_waits_for_a_backup_that_sends_the_journal() {
    let (disk, target) = (SimDisk::new(14), SimDisk::new(15));
    let clock = SimClock::new(BEGUN_MS);
    let broker = open_keeping(&disk, &clock, 14);
    create(&broker, "t", 1);
    let first = back_up(&broker, &target);
    send(&broker, append_of("t", None, &[record_of(PERSON, b"one")])).expect("there is room");
    let mut begun = broker.begin_backup().expect("nothing fails");
    let erased = broker
        .erase_key("t", PERSON)
        .expect("there is such a topic");
    broker.commit_all();
    let erasure = now(erased).expect("an answer").expect("nothing fails");
    let keep_house = || {
        for _ in 0..5 {
            clock.advance(Duration::from_secs(20));
            broker.keep_house(true);
            broker.commit_all();
        }
        broker.describe_erasure(erasure.id).expect("it is known")
    };
    let waits = keep_house();
    assert!(!waits.complete && waits.problem.is_some(), "{waits:?}");
    copy(&mut begun, &target).expect("nothing fails");
    restore(&target, Until::Commit(first + 1)).expect("it is there");
    drop(begun);
    let described = keep_house();
    assert!(described.complete, "{described:?}");
    assert_eq!(count_files_with(&disk, "/data", PERSON), 0);
}
