//! A broker whose calls to the disk fail for a while.
//!
//! `meaning.rs`: which errors mean damage and which are temporary; `catch_up.rs`: a log that cannot
//! be read while the key index is rebuilt from it; `unmapped.rs`: a file system without maps;
//! `suite.rs`: every call fails with every error. `keyed.rs` has a topic of entities, `book.rs` the
//! right answers, and `work.rs` the work that a broker does.

mod book;
mod catch_up;
mod keyed;
mod meaning;
mod suite;
mod unmapped;
mod work;

use std::{collections::BTreeMap, ops::Range, path::Path};

use super::world::{append_of, encode_record, now, open, read_all};
use crate::{
    broker::{Broker, Error, Read, Step},
    env::sim::{Fault, OpKind, SimDisk, fault},
    types::{Offset, PartitionId, Position},
};

/// Errors that say nothing about the stored data.
const PASSING: [i32; 7] = [
    fault::EMFILE,
    fault::ENFILE,
    fault::ENOMEM,
    fault::ENODEV,
    fault::EACCES,
    fault::EAGAIN,
    fault::ETIMEDOUT,
];

/// The number of records that `filled` appends.
const RECORDS: u64 = 100;

/// A topic with one partition of 100 records of 1,000 bytes in small segments, the last of them
/// active; the broker has been started again.
fn filled() -> (SimDisk, Broker) {
    let disk = SimDisk::new(1);
    let broker = open(&disk, 1).expect("nothing fails");
    let settings = BTreeMap::from([("segment.bytes".to_owned(), "64KiB".to_owned())]);
    let created = broker
        .create_topic("t", 1, &settings)
        .expect("it is a good name");
    broker.commit_all();
    now(created).expect("an answer").expect("nothing fails");
    append(&broker, 0..RECORDS);
    broker.close().expect("nothing fails");
    let disk = disk.fork();
    let broker = open(&disk, 2).expect("nothing fails");
    (disk, broker)
}

/// Appends records with these ids, each in its own append.
fn append(broker: &Broker, ids: Range<u64>) {
    for id in ids {
        let admission = now(broker.admit_alone(1_000)).expect("an answer");
        let admission = admission.expect("there is room");
        let append = append_of("t", Some(0), &[encode_record(id, 1_000)]);
        let pending = broker.append(append, admission).expect("a good append");
        broker.commit_all();
        now(pending).expect("an answer").expect("nothing fails");
    }
}

/// The first step of a read that begins at this offset.
fn read_at(broker: &Broker, offset: u64) -> Result<Step, Error> {
    let read = Read {
        topic: "t".to_owned(),
        partitions: vec![(PartitionId(0), Some(Position::Offset(Offset(offset))))],
        ..Read::default()
    };
    broker.read(read)?.step()
}

/// The offset found for a time.
fn find_time(broker: &Broker, timestamp_ms: i64) -> Result<Offset, Error> {
    let wanted = [(PartitionId(0), Some(Position::Timestamp(timestamp_ms)))];
    let (_, found) = broker.list_offsets("t", Position::Earliest, &wanted)?;
    Ok(found[0].offset)
}
