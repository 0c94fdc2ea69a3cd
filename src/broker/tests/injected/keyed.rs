//! A topic of entities, for which the right answers are known.

use bytes::Bytes;

use crate::{
    broker::{
        Append, AppendBatch, Appended, Broker, Condition, Error, Expected, Options, ReadKey,
        tests::world::{create, encode_proto, env, options, send},
    },
    env::sim::{SimClock, SimDisk, SimRandom},
    proto,
    types::{Offset, Version},
};

/// A broker and its clock.
pub(super) struct Timed {
    pub(super) broker: Broker,
    pub(super) clock: SimClock,
}

/// Opens a broker without threads whose time can be set.
pub(super) fn open_timed(disk: &SimDisk, seed: u64) -> Timed {
    let clock = SimClock::new(1_700_000_000_000);
    let environment = env(disk, &clock, &SimRandom::new(seed));
    let broker = Broker::open_stepped(environment, roomy())
        .unwrap_or_else(|error| panic!("cannot be opened: {error}"));
    Timed { broker, clock }
}

/// Options with journal files so large that one holds a whole test.
pub(super) fn roomy() -> Options {
    Options {
        journal_file_bytes: 1 << 20,
        ..options()
    }
}

pub(super) fn key(number: u64) -> Bytes {
    format!("k{number}").into()
}

/// An append of one record of an entity.
pub(super) fn record_of(key: &Bytes, value: Vec<u8>, expected: Option<Expected>) -> Append {
    let record = proto::Record {
        key: Some(key.clone()),
        value: Some(value.into()),
        ..Default::default()
    };
    let batch = AppendBatch {
        topic_id: None,
        topic: "t".into(),
        partition: None,
        sequence: None,
        records: encode_proto(&record).into(),
    };
    let condition = expected.map(|expected| Condition {
        topic_id: None,
        topic: "t".into(),
        expected,
    });
    Append {
        batches: vec![batch],
        conditions: condition.into_iter().collect(),
        return_versions: true,
        ..Append::default()
    }
}

/// Appends a record to an entity; if `absent`, on the condition that it has none. Returns the
/// version.
pub(super) fn append(broker: &Broker, number: u64, absent: bool) -> Result<u64, Error> {
    let key = key(number);
    let expected = absent.then(|| Expected::KeyAbsent { key: key.clone() });
    let appended: Appended = send(broker, record_of(&key, vec![7; 1_000], expected))?;
    Ok(appended.batches[0][0].versions[0].0)
}

/// The latest version of an entity.
pub(super) fn version(broker: &Broker, number: u64) -> Result<u64, Error> {
    Ok(broker.get_latest("t", &[key(number)])?[0].version.0)
}

/// The versions of the records that a read of an entity returns.
pub(super) fn read_entity(broker: &Broker, number: u64, backward: bool) -> Result<Vec<u64>, Error> {
    let read = ReadKey {
        topic: "t".into(),
        key: key(number),
        backward,
        ..ReadKey::default()
    };
    let mut reader = broker.read_key(read)?;
    let mut versions = Vec::new();
    while let Some(slices) = reader.step()? {
        for slice in &slices {
            for element in crate::types::Records::new(slice) {
                let record = element.expect("a record").1;
                let record = crate::types::RecordView::parse(record).expect("a record");
                versions.push(record.version.expect("the broker's field"));
            }
        }
    }
    Ok(versions)
}

/// A disk with a topic of one partition, and one record of 5,000 bytes of each of `count` entities,
/// whose offset is the entity's number. All records are in segments, and none is in the key index,
/// because two crashes came before that was written.
pub(super) fn crashed(count: u64) -> SimDisk {
    let disk = SimDisk::new(1);
    let Timed { broker, .. } = open_timed(&disk, 1);
    create(&broker, "t", 1);
    for number in 0..count {
        let append = record_of(&key(number), vec![7; 5_000], None);
        let appended = send(&broker, append).expect("nothing fails");
        assert_eq!(appended.batches[0][0].first_offset, Offset(number));
        assert_eq!(appended.batches[0][0].versions, [Version(1)]);
    }
    let disk = disk.fork();
    drop(open_timed(&disk, 2));
    disk.fork()
}

/// The segments, in order.
pub(super) fn segments(disk: &SimDisk) -> Vec<std::path::PathBuf> {
    let mut files = disk.files();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    files
}
