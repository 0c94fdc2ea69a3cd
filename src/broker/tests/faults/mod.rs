//! A broker whose disk, clock or memory fails.
//!
//! `sync.rs`: syncs and writes that fail; `full.rs` and `deltas.rs`: no room on the disk;
//! `reserve.rs`: none but what the reserve file has; `lost.rs`: files that are gone, cut, renamed
//! or damaged; `journal.rs`: the same for journal files; `directory.rs`: directories that must not
//! be used; `identity.rs`: directories that have lost their identity; `waiting.rs`: records that
//! are not durable yet, and requests for which there is no memory; `clock.rs`: a clock that jumps;
//! `upkeep.rs`: key indexes on a full disk.

mod clock;
mod deltas;
mod directory;
pub(in crate::broker::tests) mod full;
mod identity;
mod journal;
mod lost;
mod reserve;
mod sync;
mod upkeep;
mod waiting;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::world::{append_of, encode_record, env, now, read_all};
use crate::{
    broker::{Appended, Broker, Error, OpenError, Options, Pending, Read, Step},
    env::{
        Env,
        sim::{SimClock, SimDisk, SimRandom},
    },
    types::{Offset, PartitionId, Position},
};

/// The size of every value.
const VALUE_BYTES: usize = 1_000;

/// Every checkpoint is written whole, so that a test knows which operation fails.
fn options() -> Options {
    Options {
        delta_bytes: 0,
        ..super::world::options()
    }
}

/// The environment of one start. Each start of a disk needs another seed.
fn world(disk: &SimDisk, start: u64) -> Env {
    env(
        disk,
        &SimClock::new(1_700_000_000_000),
        &SimRandom::new(start),
    )
}

/// Opens a broker without threads, with these options.
fn open_with(disk: &SimDisk, start: u64, options: Options) -> Result<Broker, OpenError> {
    Broker::open_stepped(world(disk, start), options)
}

/// Opens a broker without threads, which must succeed.
fn opened(disk: &SimDisk, start: u64) -> Broker {
    open_with(disk, start, options()).unwrap_or_else(|error| panic!("cannot be opened: {error}"))
}

/// Creates a topic with the smallest segments.
fn create(broker: &Broker, topic: &str, partitions: u32) {
    let settings = BTreeMap::from([("segment.bytes".to_owned(), "64KiB".to_owned())]);
    let created = broker
        .create_topic(topic, partitions, &settings)
        .expect("it can be created");
    broker.commit_all();
    now(created).expect("an answer").expect("it can be created");
}

/// Asks for an append of one record to topic `t`.
fn ask(broker: &Broker, partition: u32, id: u64) -> Result<Pending<Appended>, Error> {
    let admission = now(broker.admit_alone(VALUE_BYTES)).expect("there is memory")?;
    broker.append(
        append_of("t", Some(partition), &[encode_record(id, VALUE_BYTES)]),
        admission,
    )
}

/// Appends one record to topic `t`; returns its offset.
fn append(broker: &Broker, partition: u32, id: u64) -> Result<Offset, Error> {
    let pending = ask(broker, partition, id)?;
    broker.commit_all();
    let appended = now(pending).expect("what was committed is answered")?;
    Ok(appended.batches[0][0].first_offset)
}

/// Appends the records `from..to` to partition 0 of topic `t`, whose ids equal their offsets.
fn fill(broker: &Broker, from: u64, to: u64) {
    for id in from..to {
        assert_eq!(append(broker, 0, id), Ok(Offset(id)));
    }
}

/// The ids of the records in a partition of topic `t`, all of which must be readable.
fn ids(broker: &Broker, partition: u32) -> Vec<u64> {
    let found = read_all(broker, "t", PartitionId(partition));
    let start = found.first().map_or(0, |(first, _)| first.0);
    for ((offset, _), expected) in found.iter().zip(start..) {
        assert_eq!(offset.0, expected, "an offset was passed over in silence");
    }
    found.into_iter().map(|(_, id)| id).collect()
}

/// Reads a partition of topic `t` to its end, stepping over damage. Returns the offsets that can be
/// read, whose values must be the ids of the same number, and the damaged ranges.
fn read_around(broker: &Broker, partition: u32) -> (Vec<u64>, Vec<(u64, u64)>) {
    let (mut read, mut damaged) = (Vec::new(), Vec::new());
    let mut from = broker.describe_topic("t").expect("it is there").1[partition as usize].earliest;
    loop {
        let position = Some(Position::Offset(from));
        let wanted = Read {
            topic: "t".into(),
            partitions: vec![(PartitionId(partition), position)],
            ..Read::default()
        };
        let mut reader = broker.read(wanted).expect("the offset is in the log");
        let gap = loop {
            match reader.step() {
                Ok(Step::Batch(batch)) => read.extend(batch.records.iter().flat_map(offsets)),
                Ok(Step::Wait(_)) => panic!("a finite read waits"),
                Ok(Step::End) => return (read, damaged),
                Err(Error::DamagedRecords { from, to, .. }) => break (from, to),
                Err(error) => panic!("{error}"),
            }
        };
        let next = read
            .last()
            .map_or(from.0, |last: &u64| from.0.max(last + 1));
        assert_eq!(gap.0.0, next, "the damage begins where the records end");
        assert!(gap.0 < gap.1, "a range of damage is not empty");
        match damaged.last_mut() {
            // Two adjacent files are lost.
            Some((_, end)) if *end == gap.0.0 => *end = gap.1.0,
            _ => damaged.push((gap.0.0, gap.1.0)),
        }
        from = gap.1;
    }
}

/// The offsets of records, each of which must hold the id of the same number.
fn offsets(records: &bytes::Bytes) -> Vec<u64> {
    let parsed = crate::types::Records::new(records).map(|record| {
        let record =
            crate::types::RecordView::parse(record.expect("a record").1).expect("a record");
        let offset = record.offset.expect("the broker's field");
        assert_eq!(super::world::id_of(record.value.expect("a value")), offset);
        offset
    });
    parsed.collect()
}

/// The files of partition 0 with this extension, sorted by name.
fn files(disk: &SimDisk, ending: &str) -> Vec<PathBuf> {
    let mut files = disk.files();
    files.retain(|path| {
        path.to_string_lossy().contains("/0/") && path.to_string_lossy().ends_with(ending)
    });
    files
}

/// Every file with its content.
fn tree(disk: &SimDisk) -> BTreeMap<PathBuf, Vec<u8>> {
    disk.files()
        .into_iter()
        .map(|path| {
            (
                path.clone(),
                disk.content(&path).expect("it was just listed"),
            )
        })
        .collect()
}

/// Writes a file to the disk, as something other than a broker.
fn put(disk: &SimDisk, path: impl AsRef<Path>, content: &[u8]) {
    use crate::env::{FileSystem, Open};
    let file = disk
        .open(path.as_ref(), Open::Create)
        .expect("its directory is there");
    file.write_all_at(&[content], 0).expect("there is room");
    file.sync_data().expect("nothing fails");
}

/// A disk with topic `t` of two partitions with `count` records each, one to a frame, all of them
/// in segments.
fn stopped_cleanly(count: u64) -> SimDisk {
    let disk = SimDisk::new(1);
    let broker = opened(&disk, 1);
    create(&broker, "t", 2);
    for id in 0..count {
        append(&broker, 0, id).expect("nothing fails");
        append(&broker, 1, id).expect("nothing fails");
    }
    broker.close().expect("nothing fails");
    drop(broker);
    disk.fork()
}
