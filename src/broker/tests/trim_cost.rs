//! A trim writes index data only for the keys of the records that it removes, however many went
//! before.

use bytes::Bytes;

use super::world::{append_of, create, encode_proto, now, open, send};
use crate::{
    broker::{Broker, Error, ReadKey},
    env::sim::{CrashMode, SimDisk},
    proto,
    types::{PartitionId, Version},
};

/// The bytes of a record in an index, without its part of the filter.
const ROW_BYTES: u64 = 24;

/// The number of records that fill a segment, each with its own key.
const KEYS: u64 = 2_000;

/// A broker whose records are trimmed as fast as they are appended.
struct World {
    disk: SimDisk,
    broker: Broker,
}

impl World {
    fn new() -> Self {
        let disk = SimDisk::new(1);
        let broker = open(&disk, 2).expect("an empty disk");
        create(&broker, "t", 1);
        Self { disk, broker }
    }

    /// Appends a record of each of these keys, and then records without a key, so that all the
    /// former are in sealed segments.
    fn append(&self, keys: std::ops::Range<u64>) {
        let keys: Vec<u64> = keys.collect();
        for keys in keys.chunks(500) {
            let records: Vec<Vec<u8>> = keys.iter().map(|key| keyed(*key)).collect();
            send(&self.broker, append_of("t", Some(0), &records)).expect("nothing fails");
            self.broker.keep_house(true);
        }
        for _ in 0..4 {
            send(&self.broker, append_of("t", Some(0), &[filler()])).expect("nothing fails");
        }
        (0..3).for_each(|_| self.broker.keep_house(true));
    }

    /// Trims everything, and returns how many bytes were written to the index.
    fn trim(&self) -> u64 {
        self.disk.record_trace();
        let end = self.broker.describe_topic("t").expect("it is there").1[0].high_watermark;
        let trimmed = self.broker.trim("t", PartitionId(0), end);
        self.broker.commit_all();
        let trimmed = now(trimmed.expect("it is in the log"));
        trimmed.expect("an answer").expect("nothing fails");
        (0..4).for_each(|_| self.broker.keep_house(true));
        index_bytes(&self.disk.trace())
    }

    fn version(&self, key: u64) -> Version {
        let read = ReadKey {
            topic: "t".into(),
            key: name(key),
            ..ReadKey::default()
        };
        let reader = self.broker.read_key(read).expect("it can be read");
        reader.latest()
    }

    fn files(&self, extension: &str) -> usize {
        let files = self.disk.files();
        let of_extension =
            |path: &&std::path::PathBuf| path.extension().is_some_and(|other| other == extension);
        files.iter().filter(of_extension).count()
    }
}

fn name(key: u64) -> Bytes {
    format!("k{key}").into()
}

fn keyed(key: u64) -> Vec<u8> {
    encode_proto(&proto::Record {
        key: Some(name(key)),
        value: Some(vec![0; 20].into()),
        ..Default::default()
    })
}

/// A large record without a key; a few of these fill a segment.
fn filler() -> Vec<u8> {
    encode_proto(&proto::Record {
        value: Some(vec![1; 20_000].into()),
        ..Default::default()
    })
}

/// The number of bytes written to key index files, each of which has another name until it is
/// whole.
fn index_bytes(trace: &[String]) -> u64 {
    let written = |line: &String| {
        let (_, operation) = line.split_once(' ')?;
        let of_file = operation.strip_prefix("Write ")?;
        if !of_file.contains("/topics/") || !of_file.contains(".new") {
            return None;
        }
        let (before, _) = of_file.split_once(" bytes")?;
        before.rsplit(' ').next()?.parse::<u64>().ok()
    };
    trace.iter().filter_map(written).sum()
}

#[test]
fn a_trim_writes_less_than_twice_the_index_of_what_it_removes_however_many_keys_went_before() {
    let world = World::new();
    world.append(0..30_000);
    let first = world.trim();
    assert!(
        first > 30_000 * ROW_BYTES,
        "{first} bytes, so they are counted"
    );
    assert_eq!(
        world.files("log"),
        1,
        "but for the active segment all are gone"
    );
    world.append(100_000..100_000 + KEYS);
    let written = world.trim();
    assert!(
        (1..2 * KEYS * ROW_BYTES).contains(&written),
        "{written} bytes for {KEYS} keys, beside 30,000"
    );
    for key in [0, 29_999, 100_000, 100_000 + KEYS - 1] {
        assert_eq!(world.version(key), Version(1));
    }
    assert_eq!(world.version(50_000), Version::NONE);
}

#[test]
fn over_many_trims_each_key_is_written_a_few_times_and_tables_stay_few() {
    let world = World::new();
    let mut written = 0;
    for round in 0..40 {
        // Half of the keys are used again in each round.
        world.append(0..KEYS / 2);
        world.append(KEYS * round + KEYS..KEYS * round + KEYS + KEYS / 2);
        written += world.trim();
        assert!(world.files("versions") <= 12, "{}", world.files("versions"));
        assert_eq!(world.version(1), Version(round + 1));
    }
    let added = 40 * KEYS * ROW_BYTES;
    assert!(written < 8 * added, "{written} bytes for {added}");
    for key in [KEYS, KEYS * 20, KEYS * 40] {
        assert_eq!(world.version(key), Version(1));
    }
    assert_eq!(world.version(0), Version(40));
    // The versions continue, also after a start.
    world.broker.close().expect("nothing fails");
    let disk = world.disk.fork();
    let broker = open(&disk, 9).expect("nothing is wrong");
    let world = World { disk, broker };
    world.append(0..1);
    assert_eq!(world.version(0), Version(41));
}

/// The number of keys that are used again in each round.
const AGAIN: u64 = 20;

/// Appends a record of each key and trims everything, again and again, until the power fails.
/// Counts the rounds whose records were acknowledged.
fn append_and_trim(broker: &Broker, acknowledged: &mut u64) -> Option<()> {
    let records: Vec<Vec<u8>> = (0..AGAIN).map(keyed).collect();
    send(broker, append_of("t", Some(0), &records)).ok()?;
    *acknowledged += 1;
    for _ in 0..4 {
        send(broker, append_of("t", Some(0), &[filler()])).ok()?;
    }
    broker.keep_house(true);
    let end = broker.describe_topic("t").ok()?.1[0].high_watermark;
    let trimmed = broker.trim("t", PartitionId(0), end).ok()?;
    broker.commit_all();
    now(trimmed)?.ok()?;
    (0..4).for_each(|_| broker.keep_house(true));
    Some(())
}

#[test]
fn versions_go_on_whenever_the_power_fails_while_last_versions_are_written_and_merged() {
    let disk = SimDisk::new(3);
    let broker = open(&disk, 2).expect("an empty disk");
    create(&broker, "t", 1);
    let mut before = 0;
    for _ in 0..3 {
        append_and_trim(&broker, &mut before).expect("nothing fails");
    }
    broker.close().expect("nothing fails");
    let disk = disk.fork();
    let (mut crashes, mut merges) = (0, 0);
    for at in 1.. {
        let disk = disk.fork();
        disk.record_trace();
        disk.crash_within(disk.operations() + at);
        let mut acknowledged = before;
        if let Ok(broker) = open(&disk, at) {
            let _ = append_and_trim(&broker, &mut acknowledged)
                .and_then(|()| append_and_trim(&broker, &mut acknowledged));
            broker.abandon();
        }
        if disk.is_on() {
            break;
        }
        crashes += 1;
        let last = disk.trace().pop().unwrap_or_default();
        merges += u32::from(last.contains("00000000000000000001-"));
        let mode = CrashMode::ALL[at as usize % CrashMode::ALL.len()];
        let disk = disk.power_cut(at, mode);
        let broker = open(&disk, 90).expect("nothing is wrong");
        let world = World { disk, broker };
        let version = world.version(0);
        // Records that were not acknowledged may still be there.
        assert!(
            (acknowledged..=acknowledged + 1).contains(&version.0),
            "cut at {at}: {version} of {acknowledged}"
        );
        assert!(
            (0..AGAIN).all(|key| world.version(key) == version),
            "cut at {at}"
        );
        world.append(0..AGAIN);
        world.trim();
        assert!(
            (0..AGAIN).all(|key| world.version(key) == version.next()),
            "cut at {at}"
        );
    }
    assert!(
        crashes > 100 && merges > 5,
        "{crashes} crashes, {merges} in a merge"
    );
}

#[test]
fn damage_in_what_is_known_of_trimmed_records_keeps_no_segment_from_being_removed() {
    let world = World::new();
    world.append(0..50);
    world.trim();
    world.broker.close().expect("nothing fails");
    let disk = world.disk.fork();
    let files = disk.files();
    let table = files
        .iter()
        .find(|path| path.extension().is_some_and(|other| other == "versions"))
        .expect("it was written");
    // A page with the table's rows.
    disk.flip_bit(table, 3 * 4_096 + 100, 3)
        .expect("it is that long");
    let broker = open(&disk, 5).expect("damage is no reason not to start");
    let world = World { disk, broker };
    world.append(100..150);
    world.trim();
    assert_eq!(
        world.files("log"),
        1,
        "but for the active segment all are gone"
    );
    assert!((100..150).all(|key| world.version(key) == Version(1)));
    let read = ReadKey {
        topic: "t".into(),
        key: name(0),
        ..ReadKey::default()
    };
    let lost = world.broker.read_key(read).map(|reader| reader.latest());
    assert!(
        matches!(lost, Err(Error::DamagedRecords { .. })),
        "{lost:?}"
    );
}
