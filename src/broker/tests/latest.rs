//! The latest records of many entities: read step by step, as of one moment, with never more than
//! one response in memory.

use bytes::Bytes;

use super::world::{append_of, create, encode_proto, env, now, options, send};
use crate::{
    broker::{Append, Broker, Latest, LatestReader, Options, ReadKey, ResponseLimit},
    budget::Name,
    env::sim::{OpKind, SimClock, SimDisk, SimRandom},
    proto,
    types::{Offset, PartitionId, RecordView, Records, Version, limits::MAX_RESPONSE_BYTES},
};

fn open(disk: &SimDisk) -> Broker {
    let large = Options {
        journal_file_bytes: 8 << 20,
        memory: options().memory.with(Name::Appends, 64 << 20),
        ..options()
    };
    let world = env(disk, &SimClock::new(1_700_000_000_000), &SimRandom::new(1));
    let broker = Broker::open_stepped(world, large).expect("nothing fails");
    create(&broker, "t", 1);
    broker
}

fn key(number: usize) -> Bytes {
    format!("key {number}").into()
}

fn keys(count: usize) -> Vec<Bytes> {
    (0..count).map(key).collect()
}

fn record(key: Bytes, bytes: usize) -> Vec<u8> {
    encode_proto(&proto::Record {
        key: Some(key),
        value: Some(vec![7; bytes].into()),
        ..Default::default()
    })
}

/// One append, and so one frame, of records of the keys 0, 1, 2 and so on, with values of these
/// sizes.
fn append(sizes: impl IntoIterator<Item = usize>) -> Append {
    append_of(
        "t",
        None,
        &sizes
            .into_iter()
            .enumerate()
            .map(|(nth, size)| record(key(nth), size))
            .collect::<Vec<_>>(),
    )
}

fn steps(mut reader: LatestReader) -> Vec<Vec<Latest>> {
    std::iter::from_fn(move || reader.step().expect("it can be read on")).collect()
}

fn value_len(latest: &Latest) -> Option<usize> {
    let record = latest.record.as_ref()?;
    Some(
        RecordView::parse(record)
            .expect("a record")
            .value
            .expect("a value")
            .len(),
    )
}

/// How many reads of files `of` makes.
fn reads(disk: &SimDisk, of: impl FnOnce()) -> u64 {
    let reads = || {
        disk.stats()
            .operations
            .get(&OpKind::Read)
            .copied()
            .unwrap_or_default()
    };
    let before = reads();
    of();
    reads() - before
}

#[test]
fn a_step_has_as_many_as_fit_a_response_in_the_order_asked_for_and_a_larger_record_goes_alone() {
    let half = MAX_RESPONSE_BYTES / 2 - 200;
    let sizes = [half, half, 1_000, 1_048_000, 0, 10, half, half];
    for order in [
        [0, 1, 2, 3, 4, 5, 6, 7],
        [7, 6, 5, 4, 3, 2, 1, 0],
        [3, 0, 6, 2, 1, 7, 5, 4],
    ] {
        for in_segments in [false, true] {
            let broker = open(&SimDisk::new(1));
            for (number, size) in sizes.into_iter().enumerate() {
                send(&broker, append_of("t", None, &[record(key(number), size)]))
                    .expect("nothing fails");
            }
            broker.keep_house(in_segments);
            let mut asked: Vec<Bytes> = order.iter().map(|number| key(*number)).collect();
            asked.insert(3, key(100));
            let found = steps(
                broker
                    .read_latest("t", &asked, ResponseLimit::default())
                    .expect("they can be looked up"),
            );
            for step in &found {
                let bytes: usize = step.iter().filter_map(value_len).sum();
                let records = step.iter().filter(|latest| latest.record.is_some()).count();
                assert!(
                    bytes <= MAX_RESPONSE_BYTES || records == 1,
                    "{bytes} bytes, {records} records"
                );
            }
            assert!((4..=7).contains(&found.len()), "{} steps", found.len());
            let mut expected: Vec<Option<usize>> =
                order.iter().map(|number| Some(sizes[*number])).collect();
            expected.insert(3, None);
            assert_eq!(
                found.concat().iter().map(value_len).collect::<Vec<_>>(),
                expected
            );
        }
    }
    let broker = open(&SimDisk::new(1));
    assert!(
        steps(
            broker
                .read_latest("t", &[], ResponseLimit::default())
                .expect("nothing to look up")
        )
        .is_empty()
    );
}

#[test]
fn a_thousand_records_of_one_large_frame_cost_reading_it_once_and_hold_none_of_it() {
    let disk = SimDisk::new(1);
    let broker = open(&disk);
    send(&broker, append([4_000; 1_000])).expect("nothing fails");
    broker.keep_house(true);
    let mut found = Vec::new();
    let count = reads(&disk, || {
        found = broker
            .get_latest("t", &keys(1_000))
            .expect("they can be read");
    });
    assert!(count <= 4, "{count} reads");
    assert!(found.iter().all(|latest| value_len(latest) == Some(4_000)));
    assert!(
        found
            .iter()
            .filter_map(|latest| latest.record.as_ref())
            .all(Bytes::is_unique),
        "one keeps its frame"
    );
}

#[test]
fn a_read_of_an_entity_in_one_large_frame_costs_reading_it_once_and_holds_none_of_it() {
    let disk = SimDisk::new(1);
    let broker = open(&disk);
    let records = vec![record(key(0), 4_000); 1_000];
    send(&broker, append_of("t", None, &records)).expect("nothing fails");
    broker.keep_house(true);
    for backward in [false, true] {
        let read = ReadKey {
            topic: "t".into(),
            key: key(0),
            backward,
            ..ReadKey::default()
        };
        let mut slices: Vec<Bytes> = Vec::new();
        let count = reads(&disk, || {
            let mut reader = broker.read_key(read).expect("it can be read");
            while let Some(step) = reader.step().expect("it can be read on") {
                slices.extend(step);
            }
        });
        assert!(count <= 4, "{count} reads");
        assert_eq!(
            slices
                .iter()
                .map(|slice| Records::new(slice).count())
                .sum::<usize>(),
            1_000
        );
        assert!(slices.iter().all(Bytes::is_unique), "one keeps its frame");
    }
}

/// A reader of a thousand records of version 1 that needs several steps and has returned the first
/// part.
fn under_way(disk: &SimDisk) -> (Broker, LatestReader, Vec<Latest>) {
    let broker = open(disk);
    send(&broker, append([4_000; 1_000])).expect("nothing fails");
    let mut reader = broker
        .read_latest("t", &keys(1_000), ResponseLimit::default())
        .expect("they can be looked up");
    let first = reader
        .step()
        .expect("it can be read")
        .expect("there is something");
    assert!(first.len() < 500, "there is more to come");
    (broker, reader, first)
}

#[test]
fn all_steps_are_of_the_moment_at_which_the_read_began() {
    let disk = SimDisk::new(1);
    let (broker, reader, mut found) = under_way(&disk);
    send(&broker, append([10; 1_000])).expect("nothing fails");
    broker.keep_house(true);
    found.extend(steps(reader).concat());
    assert_eq!(found.len(), 1_000);
    assert!(
        found
            .iter()
            .all(|latest| latest.version == Version(1) && value_len(latest) == Some(4_000))
    );
    let now = broker
        .get_latest("t", &keys(1_000))
        .expect("they can be read");
    assert!(
        now.iter()
            .all(|latest| latest.version == Version(2) && value_len(latest) == Some(10))
    );
}

#[test]
fn what_is_trimmed_meanwhile_is_answered_as_what_was_trimmed_before() {
    for removed in [false, true] {
        let disk = SimDisk::new(1);
        let (broker, reader, first) = under_way(&disk);
        send(&broker, append([10; 1_000])).expect("nothing fails");
        let trimmed = broker
            .trim("t", PartitionId(0), Offset(1_000))
            .expect("it is in the log");
        broker.commit_all();
        assert_eq!(now(trimmed).expect("an answer"), Ok(Offset(1_000)));
        if removed {
            (0..4).for_each(|_| broker.keep_house(true));
        }
        let rest = steps(reader).concat();
        assert_eq!(first.len() + rest.len(), 1_000);
        let gone = Latest {
            partition: PartitionId(0),
            version: Version(1),
            record: None,
        };
        assert!(
            rest.iter().all(|latest| *latest == gone),
            "removed: {removed}"
        );
    }
}

#[test]
fn what_is_erased_meanwhile_is_not_returned() {
    for complete in [false, true] {
        let disk = SimDisk::new(1);
        let (broker, reader, first) = under_way(&disk);
        broker.keep_house(true);
        let erased = broker.erase_key("t", &key(999)).expect("it can be erased");
        broker.commit_all();
        let erased = now(erased).expect("an answer").expect("nothing fails");
        if complete {
            for _ in 0..4 {
                broker.keep_house(true);
                broker.commit_all();
            }
            assert!(
                broker
                    .describe_erasure(erased.id)
                    .expect("it is known")
                    .complete
            );
        }
        let found = [first, steps(reader).concat()].concat();
        let last = found.last().expect("there are a thousand");
        let record = RecordView::parse(
            last.record
                .as_ref()
                .expect("it is there, without what it held"),
        )
        .unwrap();
        assert!(record.erased.is_some() && record.key.is_none() && record.value.is_none());
        assert!(
            found[..999]
                .iter()
                .all(|latest| value_len(latest) == Some(4_000))
        );
    }
}
