//! Imports: what is imported is as it was, also when the power fails at any write (`crash.rs`), and
//! what cannot be is refused (`refused.rs`).

mod crash;
mod refused;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;

use super::world::{append_of, encode_proto, env, now, options, send};
use crate::{
    broker::{
        Broker, Condition, Error, Expected, Flow, Import, ImportBatch, ImportRefused, Kind, Load,
        Options, Read, ReadKey, Step,
    },
    env::sim::{CrashMode, SimClock, SimDisk, SimRandom},
    proto::Record,
    types::{Offset, PartitionId, Position, RecordView, Records, Version, partition_of_key},
};

const START_MS: i64 = 1_700_000_000_000;
const PARTITIONS: u32 = 3;
const KEYS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// A partition as it was exported.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Exported {
    partition: PartitionId,
    start: Offset,
    end: Offset,
    /// With its tag and length.
    records: Vec<Vec<u8>>,
}

impl Exported {
    fn offset_of(record: &[u8]) -> u64 {
        parsed(record).offset.expect("it was stored")
    }
}

/// A record in wire form.
fn parsed(element: &[u8]) -> RecordView<'_> {
    let (_, record) = Records::new(element).next().expect("one").expect("sound");
    RecordView::parse(record).expect("it is a record")
}

/// A record in wire form, with a change.
fn changed(element: &[u8], change: impl FnOnce(&mut Record)) -> Vec<u8> {
    let (_, record) = Records::new(element).next().expect("one").expect("sound");
    let mut record = <Record as prost::Message>::decode(record).expect("it is a record");
    change(&mut record);
    encode_proto(&record)
}

fn open(disk: &SimDisk, seed: u64) -> (Broker, SimClock) {
    let clock = SimClock::new(START_MS + 86_400_000);
    let world = env(disk, &clock, &SimRandom::new(seed));
    let broker = Broker::open_stepped(world, options()).expect("it can be opened");
    (broker, clock)
}

fn create(broker: &Broker, topic: &str, partitions: u32, settings: &[(&str, &str)]) {
    let mut all = BTreeMap::from([("segment.bytes".to_owned(), "64KiB".to_owned())]);
    for (name, value) in settings {
        all.insert((*name).to_owned(), (*value).to_owned());
    }
    let created = broker.create_topic(topic, partitions, &all);
    let created = created.expect("good settings");
    broker.commit_all();
    now(created).expect("an answer").expect("nothing fails");
}

/// A topic with records of all kinds, in which some are trimmed and some erased.
fn source(disk: &SimDisk, settings: &[(&str, &str)]) -> Broker {
    let clock = SimClock::new(START_MS);
    let world = env(disk, &clock, &SimRandom::new(7));
    let broker = Broker::open_stepped(world, options()).expect("it can be opened");
    create(&broker, "t", PARTITIONS, settings);
    for id in 0..120u64 {
        clock.advance(Duration::from_millis(id));
        let key = (id % 5 > 0).then(|| Bytes::from(KEYS[id as usize % KEYS.len()]));
        let is_tombstone = key.is_some() && id % 17 == 0;
        let record = Record {
            key: key.clone(),
            value: (!is_tombstone).then(|| vec![id as u8; 600].into()),
            r#type: if id % 2 == 0 {
                "even".to_owned()
            } else {
                String::new()
            },
            event_id: if id % 3 == 0 {
                id.to_le_bytes().to_vec().into()
            } else {
                Bytes::new()
            },
            timestamp_ms: (id % 4 == 0).then(|| START_MS - id as i64),
            headers: vec![crate::proto::Header {
                name: "h".to_owned(),
                value: vec![0xff, id as u8].into(),
            }],
            ..Record::default()
        };
        let partition = match key {
            Some(_) => None,
            None => Some(id as u32 % PARTITIONS),
        };
        send(&broker, append_of("t", partition, &[encode_proto(&record)])).expect("there is room");
        broker.keep_house(false);
    }
    broker
}

/// Erases an entity and trims a partition.
fn remove_some(broker: &Broker) {
    let erased = broker.erase_key("t", b"b").expect("there is such a topic");
    broker.commit_all();
    now(erased).expect("an answer").expect("nothing fails");
    let trimmed = broker.trim("t", PartitionId(0), Offset(9));
    let trimmed = trimmed.expect("it is in the log");
    broker.commit_all();
    now(trimmed).expect("an answer").expect("nothing fails");
    for _ in 0..10 {
        broker.keep_house(true);
        broker.commit_all();
    }
}

/// All that readers get.
fn export(broker: &Broker, topic: &str) -> Vec<Exported> {
    let (_, partitions) = broker.describe_topic(topic).expect("it is there");
    let mut exported = Vec::new();
    for partition in partitions {
        let read = Read {
            topic: topic.to_owned(),
            partitions: vec![(partition.partition, Some(Position::Earliest))],
            ..Read::default()
        };
        let mut reader = broker.read(read).expect("it is there");
        let mut records = Vec::new();
        while let Step::Batch(batch) = reader.step().expect("nothing is damaged") {
            for slice in &batch.records {
                for record in Records::new(slice) {
                    let (range, _) = record.expect("it is sound");
                    records.push(slice[range].to_vec());
                }
            }
        }
        exported.push(Exported {
            partition: partition.partition,
            start: partition.earliest,
            end: partition.high_watermark,
            records,
        });
    }
    exported
}

fn begin(broker: &Broker, topic: &str, exported: &[Exported]) -> Result<Import, Error> {
    let mut starts = Vec::new();
    for of in exported {
        starts.push((of.partition, of.start));
    }
    let (import, begun) = broker.begin_import(topic, &starts)?;
    broker.commit_all();
    now(begun).expect("an answer").map(|()| import)
}

fn take(
    broker: &Broker,
    import: &Import,
    partition: PartitionId,
    records: &[Vec<u8>],
) -> Result<(), Error> {
    let batch = ImportBatch {
        partition,
        number: 100,
        records: records.concat().into(),
    };
    let load = Load {
        bytes: batch.records.len(),
        batches: 1,
        records: records.len(),
    };
    let admission = now(broker.admit(&Flow::default(), load)).expect("there is memory")?;
    let queued = broker.import(import, &batch, admission)?;
    broker.commit_all();
    now(queued).expect("an answer")
}

fn end(broker: &Broker, import: &Import, exported: &[Exported]) -> Result<(), Error> {
    let mut ends = Vec::new();
    for of in exported {
        ends.push((of.partition, of.end));
    }
    let ended = broker.end_import(import, &ends)?;
    broker.commit_all();
    now(ended).expect("an answer")
}

/// Imports what the topic does not have yet.
fn import(broker: &Broker, topic: &str, exported: &[Exported]) -> Result<(), Error> {
    let import = begin(broker, topic, exported)?;
    let next: BTreeMap<_, _> = import.next_offsets().into_iter().collect();
    for of in exported {
        let is_missing = |record: &&Vec<u8>| Exported::offset_of(record) >= next[&of.partition].0;
        let missing: Vec<Vec<u8>> = of.records.iter().filter(is_missing).cloned().collect();
        for batch in missing.chunks(7) {
            take(broker, &import, of.partition, batch)?;
            broker.keep_house(false);
        }
    }
    end(broker, &import, exported)
}

/// The version of each key, and its last record.
fn latest(broker: &Broker, topic: &str) -> Vec<(Version, Option<Vec<u8>>)> {
    let keys: Vec<Bytes> = KEYS.iter().map(|key| Bytes::from(*key)).collect();
    let latest = broker.get_latest(topic, &keys).expect("nothing is damaged");
    let of = |one: crate::broker::Latest| (one.version, one.record.map(|record| record.to_vec()));
    latest.into_iter().map(of).collect()
}

/// The versions of a key that can be read.
fn versions(broker: &Broker, topic: &str, key: &str) -> Vec<u64> {
    let read = ReadKey {
        topic: topic.to_owned(),
        key: Bytes::copy_from_slice(key.as_bytes()),
        ..ReadKey::default()
    };
    let mut reader = broker.read_key(read).expect("it is there");
    let mut versions = Vec::new();
    while let Some(run) = reader.step().expect("nothing is damaged") {
        for slice in &run {
            for record in Records::new(slice) {
                let record = RecordView::parse(record.expect("sound").1).expect("a record");
                versions.push(record.version.expect("it has a key"));
            }
        }
    }
    versions
}

/// Appends a record of a key that is expected at this version; returns the version that it gets.
fn append_at(broker: &Broker, topic: &str, key: &str, version: Version) -> Result<Version, Error> {
    let record = encode_proto(&Record {
        key: Some(key.to_owned().into()),
        value: Some("next".into()),
        ..Record::default()
    });
    let mut append = append_of(topic, None, &[record]);
    append.return_versions = true;
    append.conditions.push(Condition {
        topic: topic.to_owned(),
        topic_id: None,
        expected: Expected::KeyAt {
            key: key.as_bytes().to_vec().into(),
            version,
        },
    });
    let appended = send(broker, append)?;
    Ok(appended.batches[0][0].versions[0])
}

#[test]
fn what_is_imported_is_as_it_was_and_goes_on_from_there() {
    let from = source(&SimDisk::new(1), &[]);
    let whole_latest = latest(&from, "t");
    remove_some(&from);
    let exported = export(&from, "t");
    assert_eq!(exported[0].start, Offset(9));
    let disk = SimDisk::new(2);
    let (broker, _) = open(&disk, 20);
    create(&broker, "t", PARTITIONS, &[]);
    import(&broker, "t", &exported).expect("nothing fails");
    assert_eq!(export(&broker, "t"), exported);
    let mut expected = latest(&from, "t");
    assert_eq!(
        expected[1].0, whole_latest[1].0,
        "an erased entity keeps its version"
    );
    // If only erased records of an entity are left, an export does not tell its version.
    expected[1] = (Version::NONE, None);
    let check = |broker: &Broker, when: &str| {
        assert_eq!(export(broker, "t"), exported, "{when}");
        assert_eq!(latest(broker, "t"), expected, "{when}");
        for key in ["a", "c", "d", "e", "f"] {
            assert_eq!(
                versions(broker, "t", key),
                versions(&from, "t", key),
                "{when}: {key}"
            );
        }
    };
    check(&broker, "imported");
    for _ in 0..6 {
        broker.keep_house(true);
        broker.commit_all();
    }
    check(&broker, "in segments");
    broker.close().expect("nothing fails");
    drop(broker);
    let (broker, _) = open(&disk, 21);
    check(&broker, "opened again");
    broker.abandon();
    drop(broker);
    let (broker, _) = open(&disk, 22);
    check(&broker, "after a kill");

    for (key, (version, _)) in KEYS.iter().zip(&expected) {
        let earlier = Version(version.0.saturating_sub(1));
        if earlier != *version {
            let refused = append_at(&broker, "t", key, earlier);
            assert!(
                matches!(refused, Err(Error::Conflict { .. })),
                "{refused:?}"
            );
        }
        assert_eq!(append_at(&broker, "t", key, *version), Ok(version.next()));
    }
    let appended = export(&broker, "t");
    for (before, after) in exported.iter().zip(&appended) {
        let next = after.records.get(before.records.len());
        assert!(next.is_none_or(|next| Exported::offset_of(next) == before.end.0));
    }
}

#[test]
fn what_compaction_has_left_is_imported_with_its_gaps() {
    let from = source(&SimDisk::new(4), &[]);
    let mut exported = export(&from, "t");
    // The last records of each key stay, and some others, as after compaction.
    for of in &mut exported {
        let mut nth = 0;
        let count = of.records.len();
        of.records.retain(|record| {
            nth += 1;
            nth + 8 > count || parsed(record).key.is_some() && nth % 5 == 0
        });
    }
    // What was behind the last record is gone, too.
    exported[1].end = exported[1].end.plus(1_000);
    let disk = SimDisk::new(40);
    let (broker, _) = open(&disk, 40);
    create(&broker, "t", PARTITIONS, &[]);
    import(&broker, "t", &exported).expect("nothing fails");
    let check = |broker: &Broker| {
        assert_eq!(export(broker, "t"), exported);
        assert_eq!(latest(broker, "t"), latest(&from, "t"));
        for key in KEYS {
            let is_left = |version: &u64| {
                let mut records = exported.iter().flat_map(|of| &of.records);
                records.any(|record| {
                    let record = parsed(record);
                    record.key == Some(key.as_bytes()) && record.version == Some(*version)
                })
            };
            let mut left = versions(&from, "t", key);
            left.retain(is_left);
            assert_eq!(versions(broker, "t", key), left, "{key}");
        }
    };
    check(&broker);
    broker.abandon();
    drop(broker);
    let (broker, _) = open(&disk, 41);
    check(&broker);
    for _ in 0..4 {
        broker.keep_house(true);
        broker.commit_all();
    }
    broker.close().expect("nothing fails");
    drop(broker);
    let (broker, _) = open(&disk, 42);
    check(&broker);
    let appended = send(
        &broker,
        append_of(
            "t",
            Some(1),
            &[encode_proto(&Record {
                value: Some("x".into()),
                ..Record::default()
            })],
        ),
    );
    let appended = appended.expect("there is room");
    assert_eq!(appended.batches[0][0].first_offset, exported[1].end);
}

#[test]
fn a_partition_that_starts_far_behind_the_first_offset_does_so_elsewhere() {
    let far = 1u64 << 40;
    let partition = partition_of_key(b"a", 1);
    let record = |offset: u64, version: u64| {
        encode_proto(&Record {
            key: Some("a".into()),
            value: Some("v".into()),
            timestamp_ms: Some(START_MS),
            offset: Some(offset),
            version: Some(version),
            append_time_ms: Some(START_MS),
            ..Record::default()
        })
    };
    let exported = vec![Exported {
        partition,
        start: Offset(far),
        end: Offset(far + 11),
        records: vec![record(far + 5, 3_000_000), record(far + 10, 3_000_001)],
    }];
    let disk = SimDisk::new(5);
    let (broker, _) = open(&disk, 5);
    create(&broker, "t", 1, &[]);
    import(&broker, "t", &exported).expect("nothing fails");
    for seed in 6..9 {
        assert_eq!(export(&broker, "t"), exported);
        assert_eq!(versions(&broker, "t", "a"), [3_000_000, 3_000_001]);
        broker.abandon();
        let (again, _) = open(&disk, seed);
        assert_eq!(export(&again, "t"), exported);
        assert_eq!(latest(&again, "t")[0].0, Version(3_000_001));
        again.close().expect("nothing fails");
    }
    let (broker, _) = open(&disk, 10);
    let next = append_at(&broker, "t", "a", Version(3_000_001));
    assert_eq!(next, Ok(Version(3_000_002)));
}

#[test]
fn a_topic_without_versions_and_one_without_records_are_imported() {
    let from = source(&SimDisk::new(6), &[("keys", "plain")]);
    let exported = export(&from, "t");
    let (broker, _) = open(&SimDisk::new(60), 60);
    create(&broker, "t", PARTITIONS, &[("keys", "plain")]);
    import(&broker, "t", &exported).expect("nothing fails");
    assert_eq!(export(&broker, "t"), exported);

    create(&broker, "none", 2, &[("appends", "import")]);
    let none = vec![
        Exported {
            partition: PartitionId(0),
            start: Offset(70),
            end: Offset(70),
            records: Vec::new(),
        },
        Exported {
            partition: PartitionId(1),
            start: Offset(0),
            end: Offset(5),
            records: Vec::new(),
        },
    ];
    import(&broker, "none", &none).expect("nothing fails");
    assert_eq!(export(&broker, "none"), none);
}

#[test]
fn imports_of_many_clients_do_not_take_more_memory_than_appends_may() {
    let clock = SimClock::new(START_MS + 86_400_000);
    let world = env(&SimDisk::new(10), &clock, &SimRandom::new(10));
    let broker = Broker::open_stepped(world, Options { ..options() }).expect("it can be opened");
    let broker = Arc::new(broker);
    create(&broker, "t", 1, &[("keys", "plain")]);
    let import = begin(&broker, "t", &[]).expect("it is empty");
    let record = |offset: u64| {
        encode_proto(&Record {
            value: Some(vec![1; 60_000].into()),
            timestamp_ms: Some(1),
            offset: Some(offset),
            append_time_ms: Some(START_MS),
            ..Record::default()
        })
    };
    let load = Load {
        bytes: 60_000,
        batches: 1,
        records: 1,
    };
    let flow = Flow::default();
    let mut queued = Vec::new();
    let admitted = (0..100).take_while(|offset| {
        let Some(admission) = now(broker.admit(&flow, load)) else {
            return false;
        };
        let batch = ImportBatch {
            partition: PartitionId(0),
            number: 0,
            records: record(*offset).into(),
        };
        let admission = admission.expect("it runs");
        queued.push(
            broker
                .import(&import, &batch, admission)
                .expect("it is sound"),
        );
        true
    });
    let admitted = admitted.count();
    assert!(
        (2..12).contains(&admitted),
        "{admitted} of 60 KB, with room for 688 KiB"
    );
}
