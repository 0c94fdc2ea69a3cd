//! A key index that is damaged, lost or removed changes no answer, and versions that outlive
//! trimmed records are never mistaken for others.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use bytes::Bytes;

use super::world::{create, encode_proto, env, now, options, send};
use crate::{
    broker::{Actual, Append, AppendBatch, Broker, Condition, Error, Expected, Options, ReadKey},
    budget::Name,
    env::{
        FileSystem,
        sim::{CrashMode, SimClock, SimDisk, SimRandom},
    },
    proto,
    types::{PartitionId, RecordView, Records, Version},
};

const KEYS: u64 = 40;
const PARTITIONS: u32 = 2;

/// The ids of each key's records, in the order of versions.
type Model = BTreeMap<Bytes, Vec<u64>>;

/// Options with which tables are written soon, so that there are many.
fn small_tables() -> Options {
    Options {
        memory: options().memory.with(Name::KeyIndex, 16 << 10),
        ..options()
    }
}

fn open(disk: &SimDisk, seed: u64) -> Broker {
    let environment = env(
        disk,
        &SimClock::new(1_700_000_000_000),
        &SimRandom::new(seed),
    );
    Broker::open_stepped(environment, small_tables())
        .unwrap_or_else(|error| panic!("cannot be opened: {error}"))
}

fn append_of(key: &Bytes, id: u64, condition: Option<Version>) -> Append {
    let record = proto::Record {
        key: Some(key.clone()),
        value: Some(id.to_le_bytes().to_vec().into()),
        ..Default::default()
    };
    let records = encode_proto(&record).into();
    let batch = AppendBatch {
        topic_id: None,
        topic: "t".into(),
        partition: None,
        sequence: None,
        records,
    };
    let at = |version| Condition {
        topic_id: None,
        topic: "t".into(),
        expected: Expected::KeyAt {
            key: key.clone(),
            version,
        },
    };
    let conditions = condition.map(at).into_iter().collect();
    Append {
        batches: vec![batch],
        conditions,
        return_versions: true,
        ..Append::default()
    }
}

fn key(number: u64) -> Bytes {
    format!("key {number}").into()
}

/// Records of some keys, in tables of records, in a frozen table and in memory; the last ones only
/// in the journal.
fn filled(seed: u64) -> (SimDisk, Broker, Model) {
    let disk = SimDisk::new(seed);
    let broker = open(&disk, seed);
    create(&broker, "t", PARTITIONS);
    let mut model = Model::new();
    for id in 0..600 {
        let key = key(id * id % KEYS);
        let appended = send(&broker, append_of(&key, id, None)).expect("nothing fails");
        let ids = model.entry(key).or_default();
        ids.push(id);
        assert_eq!(appended.batches[0][0].versions, [Version(ids.len() as u64)]);
        // Up to three tables of one size are left alone by merges.
        if id % 66 == 20 {
            broker.checkpoint_now().expect("nothing fails");
        }
    }
    assert!(files(&disk, "keys").len() > 4, "{:?}", disk.files());
    (disk, broker, model)
}

fn files(disk: &SimDisk, extension: &str) -> Vec<PathBuf> {
    disk.files()
        .into_iter()
        .filter(|path| path.extension().is_some_and(|other| other == extension))
        .collect()
}

/// Asserts that all reads and all conditions agree with the model.
fn check(broker: &Broker, model: &Model, trimmed: bool) {
    for number in 0..=KEYS {
        let key = key(number);
        let ids = model.get(&key).cloned().unwrap_or_default();
        let version = ids.len() as u64;
        for backward in [false, true] {
            let read = ReadKey {
                topic: "t".into(),
                key: key.clone(),
                backward,
                ..ReadKey::default()
            };
            let mut reader = broker.read_key(read).expect("it can be read");
            assert_eq!(reader.latest(), Version(version), "{key:?}");
            let mut found = Vec::new();
            while let Some(slices) = reader.step().expect("it can be read on") {
                slices
                    .iter()
                    .for_each(|slice| found.extend(versions_and_ids(slice)));
            }
            let mut expected: Vec<(u64, u64)> = (1..).zip(ids.iter().copied()).collect();
            if backward {
                expected.reverse();
            }
            assert_eq!(
                found,
                if trimmed { Vec::new() } else { expected },
                "{key:?}"
            );
        }
        let latest = broker
            .get_latest("t", std::slice::from_ref(&key))
            .expect("it can be read");
        assert_eq!(latest[0].version, Version(version), "{key:?}");
        let Err(Error::Conflict { failed }) =
            send(broker, append_of(&key, 0, Some(Version(version + 1))))
        else {
            panic!("{key:?} is at version {version}");
        };
        assert_eq!(
            failed[0].actual,
            Actual::Version(Version(version)),
            "{key:?}"
        );
    }
}

fn versions_and_ids(slice: &Bytes) -> Vec<(u64, u64)> {
    let one = |encoded| {
        let record = RecordView::parse(encoded).expect("a record");
        let id = u64::from_le_bytes(record.value.expect("a value").try_into().expect("8 bytes"));
        (record.version.expect("the broker's field"), id)
    };
    Records::new(slice)
        .map(|element| one(element.expect("a record").1))
        .collect()
}

/// Asserts that new records continue the versions.
fn go_on(broker: &Broker, model: &Model) {
    for (key, ids) in model {
        let appended = send(broker, append_of(key, 0, Some(Version(ids.len() as u64))))
            .expect("nothing fails");
        assert_eq!(
            appended.batches[0][0].versions,
            [Version(ids.len() as u64 + 1)]
        );
    }
}

fn remove(disk: &SimDisk, path: &Path) {
    disk.remove_file(path).expect("it is there");
    disk.sync_dir(path.parent().expect("it is in a directory"))
        .expect("nothing fails");
}

/// The ways to damage a file.
const DAMAGES: [&str; 6] = ["flip", "remove", "zero", "head", "tail", "other"];

fn damage(disk: &SimDisk, path: &Path, how: &str, nth: u64) {
    let len = disk.content(path).expect("it is there").len() as u64;
    match how {
        "flip" => disk
            .flip_bit(path, (nth * 7_919 + 13) % len, (nth % 8) as u8)
            .expect("it is that long"),
        "zero" => disk.zero(path, 0..len).expect("it is that long"),
        "head" => disk
            .overwrite(path, 0, &[0xa5; 64])
            .expect("it is that long"),
        "tail" => disk
            .zero(path, len - len.min(512)..len)
            .expect("it is that long"),
        "other" => {
            let files = files(disk, "keys");
            let other = disk
                .content(&files[nth as usize % files.len()])
                .expect("it is there");
            disk.overwrite(path, 0, &other[..other.len().min(len as usize)])
                .expect("it is that long");
        }
        _ => remove(disk, path),
    }
}

#[test]
fn a_run_that_is_damaged_or_lost_between_starts_is_built_again() {
    let (disk, broker, model) = filled(1);
    check(&broker, &model, false);
    drop(broker);
    let disk = disk.fork();
    let runs = files(&disk, "keys");
    let mut start = 10;
    for how in DAMAGES {
        for (nth, path) in runs.iter().enumerate() {
            let disk = disk.fork();
            damage(&disk, path, how, nth as u64);
            start += 1;
            let broker = open(&disk, start);
            check(&broker, &model, false);
            broker.close().expect("nothing fails");
            let broker = open(&disk.fork(), start);
            check(&broker, &model, false);
            go_on(&broker, &model);
        }
    }
}

#[test]
fn a_run_that_is_damaged_while_it_is_open_is_built_again() {
    let mut start = 100;
    for how in ["flip", "zero", "head", "tail", "other"] {
        for nth in 0..12 {
            let (disk, broker, model) = filled(2);
            let runs = files(&disk, "keys");
            if nth % 2 == 0 {
                damage(&disk, &runs[nth as usize % runs.len()], how, nth);
            } else {
                runs.iter().for_each(|run| damage(&disk, run, how, nth));
            }
            check(&broker, &model, false);
            broker.keep_house(true);
            check(&broker, &model, false);
            go_on(&broker, &model);
            start += 1;
            drop(broker);
            drop(open(&disk.fork(), start));
        }
    }
}

#[test]
fn flipped_bits_anywhere_in_a_run_change_nothing() {
    let (disk, broker, model) = filled(3);
    drop(broker);
    let runs = files(&disk, "keys");
    for nth in 0..150 {
        let disk = disk.fork();
        let path = &runs[nth % runs.len()];
        let len = disk.content(path).expect("it is there").len();
        disk.flip_bit(path, (len * nth / 150) as u64, (nth % 8) as u8)
            .expect("it is that long");
        check(&open(&disk, 1_000 + nth as u64), &model, false);
    }
}

#[test]
fn without_any_run_all_is_found_again() {
    let (disk, broker, model) = filled(4);
    broker.close().expect("nothing fails");
    let disk = disk.fork();
    files(&disk, "keys")
        .iter()
        .for_each(|path| remove(&disk, path));
    let broker = open(&disk, 50);
    check(&broker, &model, false);
    broker.close().expect("nothing fails");
    assert!(!files(&disk, "keys").is_empty(), "the index is there again");
    let broker = open(&disk.fork(), 51);
    check(&broker, &model, false);
    go_on(&broker, &model);
}

/// Trims everything, and makes segments with trimmed records be sealed soon.
fn trim_all(broker: &Broker) {
    for partition in (0..PARTITIONS).map(PartitionId) {
        let end =
            broker.describe_topic("t").expect("it is there").1[partition.0 as usize].high_watermark;
        let trimmed = broker.trim("t", partition, end).expect("it is in the log");
        broker.commit_all();
        assert_eq!(now(trimmed).expect("an answer"), Ok(end));
    }
    // Seals segments soon, so that trimmed segments can be removed.
    let set = BTreeMap::from([("segment.ms".to_owned(), "1000".to_owned())]);
    let altered = broker.alter_topic("t", &set, &[]).expect("it is a setting");
    broker.commit_all();
    now(altered).expect("an answer").expect("nothing fails");
}

/// A disk on which all records are trimmed and removed.
fn trimmed(seed: u64) -> (SimDisk, Model) {
    let (disk, broker, model) = filled(seed);
    trim_all(&broker);
    broker.close().expect("nothing fails");
    drop(broker);
    let clock = SimClock::new(1_700_000_100_000);
    let disk = disk.fork();
    let broker = Broker::open_stepped(env(&disk, &clock, &SimRandom::new(60)), small_tables())
        .expect("it can be opened");
    keep_house_for_long(&broker, &clock);
    assert!(
        files(&disk, "log").is_empty(),
        "all segments are gone: {:?}",
        disk.files()
    );
    check(&broker, &model, true);
    broker.close().expect("nothing fails");
    (disk.fork(), model)
}

/// Runs rounds of housekeeping, long after the last append.
fn keep_house_for_long(broker: &Broker, clock: &SimClock) {
    for _ in 0..4 {
        clock.advance(std::time::Duration::from_secs(5));
        broker.keep_house(true);
    }
}

#[test]
fn versions_go_on_when_records_that_could_not_be_read_are_trimmed() {
    let (disk, broker, model) = filled(8);
    broker.close().expect("nothing fails");
    drop(broker);
    let disk = disk.fork();
    for path in files(&disk, "log") {
        let len = disk.content(&path).expect("it is there").len() as u64;
        disk.zero(&path, len / 4..len).expect("it is that long");
    }
    let clock = SimClock::new(1_700_000_100_000);
    let broker = Broker::open_stepped(env(&disk, &clock, &SimRandom::new(61)), small_tables())
        .expect("it can be opened");
    let refused = model.iter().filter(|(key, ids)| {
        let appended = send(
            &broker,
            append_of(key, 0, Some(Version(ids.len() as u64 + 1))),
        );
        matches!(appended, Err(Error::DamagedRecords { .. }))
    });
    assert_eq!(
        refused.count(),
        model.len(),
        "while its record is there and cannot be read, it is not known whose it is"
    );
    trim_all(&broker);
    keep_house_for_long(&broker, &clock);
    assert!(
        files(&disk, "log").is_empty(),
        "all segments are gone: {:?}",
        disk.files()
    );
    check(&broker, &model, true);
    broker.close().expect("nothing fails");
    let disk = disk.fork();
    files(&disk, "keys")
        .iter()
        .for_each(|path| remove(&disk, path));
    let broker = open(&disk, 62);
    check(&broker, &model, true);
    go_on(&broker, &model);
}

#[test]
fn what_is_missing_between_runs_of_records_that_are_gone_is_in_nobodys_way() {
    let (disk, model) = trimmed(9);
    let append_fillers = |broker: &Broker| {
        for number in 0..FILLERS {
            send(
                broker,
                append_of(&format!("filler {number}").into(), 0, None),
            )
            .expect("nothing fails");
        }
        broker.checkpoint_now().expect("nothing fails");
    };
    let clock = SimClock::new(1_700_000_200_000);
    let broker = Broker::open_stepped(env(&disk, &clock, &SimRandom::new(63)), small_tables())
        .expect("it can be opened");
    append_fillers(&broker);
    trim_all(&broker);
    keep_house_for_long(&broker, &clock);
    drop(broker);
    // As after a crash: the missing rows were in a table in memory, and the records were removed
    // before that was written.
    let disk = disk.fork();
    let runs = files(&disk, "keys");
    let second = runs
        .iter()
        .filter(|path| !path.to_string_lossy().contains("/00000000000000000000-"));
    second.for_each(|path| remove(&disk, path));
    let broker = open(&disk, 64);
    check(&broker, &model, true);
    (0..6).for_each(|_| append_fillers(&broker));
    check(&broker, &model, true);
    go_on(&broker, &model);
}

/// The number of other keys that are appended while records are removed, enough to make a table
/// due.
const FILLERS: u64 = 60;

/// Removes records while others are appended, until the disk's operation `at`, where the power
/// fails. Returns whether that was reached.
fn crash_while_records_go(disk: &SimDisk, at: u64) -> bool {
    let clock = SimClock::new(1_700_000_100_000);
    let environment = env(disk, &clock, &SimRandom::new(at));
    disk.crash_within(disk.operations() + at);
    if let Ok(broker) = Broker::open_stepped(environment, small_tables()) {
        for round in 0..4 {
            for number in 0..FILLERS {
                let _ = send(
                    &broker,
                    append_of(&format!("filler {number}").into(), round, None),
                );
            }
            clock.advance(std::time::Duration::from_secs(5));
            broker.keep_house(true);
        }
        broker.abandon();
    }
    !disk.is_on()
}

#[test]
fn versions_go_on_whenever_the_power_fails_while_their_records_are_removed() {
    let mut crashes = 0;
    for runs_before in 0..4 {
        let (disk, broker, model) = filled(7 + runs_before);
        for round in 0..runs_before {
            for number in 0..FILLERS {
                send(
                    &broker,
                    append_of(&format!("filler {number}").into(), round, None),
                )
                .expect("nothing fails");
            }
            broker.checkpoint_now().expect("nothing fails");
        }
        trim_all(&broker);
        drop(broker);
        let disk = disk.fork();
        for without_runs in [false, true] {
            if without_runs {
                files(&disk, "keys")
                    .iter()
                    .for_each(|path| remove(&disk, path));
            }
            for at in (runs_before % 2..).step_by(2) {
                let disk = disk.fork();
                if !crash_while_records_go(&disk, at) {
                    break;
                }
                crashes += 1;
                let mode = if at % 4 < 2 {
                    CrashMode::LoseUnsynced
                } else {
                    CrashMode::RandomSubset
                };
                let broker = open(&disk.power_cut(at, mode), 90);
                for (key, ids) in &model {
                    let appended = send(&broker, append_of(key, 0, None)).expect("nothing fails");
                    let version = Version(ids.len() as u64 + 1);
                    assert_eq!(
                        appended.batches[0][0].versions,
                        [version],
                        "{key:?}, cut at {at}"
                    );
                }
            }
        }
    }
    assert!(crashes > 500, "{crashes} crashes");
}

#[test]
fn versions_outlive_all_records_and_all_that_is_derived() {
    let (disk, model) = trimmed(5);
    for lost in [
        &[][..],
        &["checkpoint"],
        &["checkpoint.copy"],
        &["checkpoint", "checkpoint.copy"],
    ] {
        for without_runs in [false, true] {
            let disk = disk.fork();
            lost.iter()
                .for_each(|name| remove(&disk, &Path::new("/data").join(name)));
            if without_runs {
                files(&disk, "keys")
                    .iter()
                    .for_each(|path| remove(&disk, path));
            }
            for start in 0..3 {
                let broker = open(&disk, 70 + start);
                check(&broker, &model, true);
                broker.close().expect("nothing fails");
            }
            let broker = open(&disk.fork(), 80);
            go_on(&broker, &model);
        }
    }
}

#[test]
fn last_versions_that_outlive_records_are_right_or_reported_when_they_are_damaged() {
    let (disk, model) = trimmed(6);
    let (mut refused, mut right) = (0, 0);
    for (at, path) in files(&disk, "versions").into_iter().enumerate() {
        let len = disk.content(&path).expect("it is there").len();
        for nth in 0..60 {
            let disk = disk.fork();
            disk.flip_bit(&path, (len * nth / 60) as u64, (nth % 8) as u8)
                .expect("it is that long");
            let broker = open(&disk, (300 + 100 * at + nth) as u64);
            for (key, ids) in &model {
                match send(&broker, append_of(key, 0, None)) {
                    Ok(appended) => {
                        right += 1;
                        assert_eq!(
                            appended.batches[0][0].versions,
                            [Version(ids.len() as u64 + 1)],
                            "{key:?}"
                        );
                    }
                    Err(Error::DamagedRecords { .. }) => refused += 1,
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }
    assert!(
        refused > 100 && right > 100,
        "{refused} refused, {right} right"
    );
}
