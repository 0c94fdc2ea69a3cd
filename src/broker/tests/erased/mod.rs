//! Erased entities: their content can no longer be read at once, and in time is in no file.
//!
//! The entity to be erased, the *secret*, has distinctive bytes in its key, values, headers and
//! event ids, which the tests search for. `places.rs` puts it wherever records can be; `reads.rs`
//! reads in every possible way; `damaged.rs` and `beside_damage.rs` damage files; `hindered.rs`
//! tests what goes on meanwhile; `crash.rs` cuts the power at every operation of an erasure;
//! `real.rs` erases on a real disk.

mod beside_damage;
mod crash;
mod damaged;
mod hindered;
mod places;
mod reads;
mod real;

use std::collections::BTreeMap;

use bytes::Bytes;

use super::world::{create, encode_proto, env, now, options, send};
use crate::{
    broker::{
        Append, AppendBatch, Broker, Condition, Erasure, Error, Expected, Filter, Options, Read,
        ReadKey, Step,
    },
    budget::Name,
    env::{
        Random,
        sim::{CrashMode, SimClock, SimDisk, SimRandom},
    },
    proto,
    types::{Position, RecordView, Records, Version},
};

/// An entity to be erased, with bytes that occur nowhere else.
#[derive(Clone, Debug)]
struct Secret {
    /// The distinctive bytes in the key.
    key_mark: [u8; 16],
    /// The distinctive bytes in values, headers and event ids.
    mark: [u8; 16],
}

impl Secret {
    fn new(chance: &SimRandom) -> Self {
        let mark = || {
            [chance.next_u64(), chance.next_u64()]
                .map(u64::to_le_bytes)
                .concat()
        };
        let array = |mark: Vec<u8>| mark.try_into().expect("two numbers have 16 bytes");
        Self {
            key_mark: array(mark()),
            mark: array(mark()),
        }
    }

    fn key(&self) -> Bytes {
        [b"secret ", &self.key_mark[..]].concat().into()
    }

    /// The n-th record, which has the marks wherever a client can put them.
    fn record(&self, nth: u64, len: usize) -> Vec<u8> {
        let mut value = self.mark.to_vec();
        value.resize(len.max(16), nth as u8);
        value.extend(self.mark);
        let marked = |what: &[u8]| Bytes::from([what, &self.mark[..]].concat());
        encode_proto(&proto::Record {
            key: Some(self.key()),
            value: Some(value.into()),
            r#type: "happened".into(),
            headers: vec![proto::Header {
                name: "from".into(),
                value: marked(b"header "),
            }],
            event_id: [&nth.to_be_bytes()[..], &self.mark].concat().into(),
            ..Default::default()
        })
    }

    fn is_in(&self, bytes: &[u8]) -> bool {
        contains(bytes, &self.key_mark) || contains(bytes, &self.mark)
    }

    /// The files that have any of the marks, on the disk as it is, or as it would be after a power
    /// cut.
    fn files(&self, disk: &SimDisk) -> Vec<String> {
        let durable = disk.fork().power_cut(1, CrashMode::LoseUnsynced);
        let mut found = Vec::new();
        for (disk, how) in [(disk, "now"), (&durable, "behind a power cut")] {
            for path in disk.files() {
                if self.is_in(&disk.content(&path).expect("it was just listed")) {
                    found.push(format!("{} {how}", path.display()));
                }
            }
        }
        found
    }

    fn assert_gone(&self, disk: &SimDisk) {
        assert_eq!(self.files(disk), [""; 0], "erased bytes are still there");
    }

    /// Appends the n-th record in one frame with records of others.
    fn append(&self, broker: &Broker, nth: u64, len: usize) {
        let records = [
            other("before", nth),
            self.record(nth, len),
            plain(nth),
            other("after", nth),
        ];
        send(broker, append_of(&records)).expect("nothing fails");
    }

    /// Reads all records of the secret in every possible way. Returns the encoding by version,
    /// `None` for an erased record.
    fn read(&self, broker: &Broker) -> BTreeMap<u64, Option<Vec<u8>>> {
        let read = ReadKey {
            topic: "t".into(),
            key: self.key(),
            ..ReadKey::default()
        };
        let mut reader = broker.read_key(read).expect("it can be read");
        let mut found = BTreeMap::new();
        while let Some(slices) = reader.step().expect("it can be read on") {
            for (record, encoded) in slices.iter().flat_map(parsed) {
                let version = record.0.expect("the broker's field");
                found.insert(version, (!record.1).then_some(encoded));
            }
        }
        found
    }

    /// Asserts that no way to read returns any of the marks, and that the entity still has this
    /// many versions.
    fn assert_hidden(&self, broker: &Broker, versions: u64) {
        for (offset, encoded) in everything(broker) {
            assert!(
                !self.is_in(&encoded),
                "a read returns it at offset {offset}"
            );
        }
        let kept = self.read(broker);
        assert!(
            kept.values().all(Option::is_none),
            "a read of the entity returns it: {kept:?}"
        );
        assert!(kept.keys().all(|version| *version <= versions), "{kept:?}");
        let latest = broker
            .get_latest("t", &[self.key()])
            .expect("it can be read");
        assert_eq!(latest[0].version, Version(versions));
        assert!(
            latest[0]
                .record
                .as_ref()
                .is_none_or(|record| !self.is_in(record)),
            "it is the latest"
        );
        let filter = Filter {
            keys: vec![self.key()],
            types: Vec::new(),
        };
        assert_eq!(
            read_with(broker, filter),
            BTreeMap::new(),
            "a filter finds it by its key"
        );
        let filter = Filter {
            keys: Vec::new(),
            types: vec!["happened".into()],
        };
        assert!(
            read_with(broker, filter)
                .values()
                .all(|encoded| !self.is_in(encoded)),
            "a filter finds it by its type"
        );
    }

    fn erase(&self, broker: &Broker) -> Erasure {
        let erased = broker
            .erase_key("t", &self.key())
            .expect("there is such a topic");
        broker.commit_all();
        now(erased).expect("an answer").expect("nothing fails")
    }

    /// Appends to the secret on the condition that it is at this version.
    fn append_at(
        &self,
        broker: &Broker,
        version: u64,
        value: &'static [u8],
    ) -> Result<Version, Error> {
        let record = proto::Record {
            key: Some(self.key()),
            value: Some(value.into()),
            ..Default::default()
        };
        let condition = Condition {
            topic_id: None,
            topic: "t".into(),
            expected: Expected::KeyAt {
                key: self.key(),
                version: Version(version),
            },
        };
        let append = Append {
            conditions: vec![condition],
            return_versions: true,
            ..append_of(&[encode_proto(&record)])
        };
        Ok(send(broker, append)?.batches[0][0].versions[0])
    }
}

fn contains(bytes: &[u8], mark: &[u8; 16]) -> bool {
    // Comparing the first eight bytes as one number rules out nearly all other places quickly.
    let first = u64::from_le_bytes(*mark.first_chunk().expect("it has 16 bytes"));
    let at = |window: &[u8]| {
        u64::from_le_bytes(*window.first_chunk().expect("it has 16 bytes")) == first
    };
    bytes.windows(16).any(|window| at(window) && window == mark)
}

/// A record of another entity.
fn other(which: &str, nth: u64) -> Vec<u8> {
    encode_proto(&proto::Record {
        key: Some(format!("{which} {}", nth % 3).into()),
        value: Some(format!("value {nth}").into()),
        event_id: format!("{which} {nth}").into(),
        ..Default::default()
    })
}

/// A record without a key.
fn plain(nth: u64) -> Vec<u8> {
    encode_proto(&proto::Record {
        value: Some(format!("plain {nth}").into()),
        ..Default::default()
    })
}

fn append_of(records: &[Vec<u8>]) -> Append {
    let batch = AppendBatch {
        topic_id: None,
        topic: "t".into(),
        partition: None,
        sequence: None,
        records: records.concat().into(),
    };
    Append {
        batches: vec![batch],
        ..Append::default()
    }
}

/// Options with which tables of key indexes are written at once.
fn small_tables() -> Options {
    Options {
        memory: options().memory.with(Name::KeyIndex, 4 << 10),
        ..options()
    }
}

/// A broker with topic `t` of one partition, so that all records of an append are in one frame.
struct World {
    disk: SimDisk,
    clock: SimClock,
    chance: SimRandom,
    broker: Broker,
    starts: u64,
}

impl World {
    fn new(seed: u64, options: Options) -> Self {
        let disk = SimDisk::new(seed);
        let world = Self::on(disk, seed, options);
        create(&world.broker, "t", 1);
        world
    }

    fn on(disk: SimDisk, seed: u64, options: Options) -> Self {
        let clock = SimClock::new(1_700_000_000_000);
        let environment = env(&disk, &clock, &SimRandom::new(seed + 7));
        let broker = Broker::open_stepped(environment, options).expect("it can be opened");
        Self {
            disk,
            clock,
            chance: SimRandom::new(seed),
            broker,
            starts: 0,
        }
    }

    /// Stops and starts the broker, on the disk as it is or as a power cut leaves it.
    fn restart(self, cut: Option<CrashMode>) -> Self {
        let options = self.broker.shared.options.clone();
        if cut.is_none() {
            self.broker.close().expect("nothing fails");
        }
        let disk = match cut {
            None => self.disk.fork(),
            Some(mode) => self.disk.power_cut(self.starts + 1, mode),
        };
        let starts = self.starts + 1;
        Self {
            starts,
            ..Self::on(disk, 100 * starts + self.chance.next_u64() % 100, options)
        }
    }

    fn keep_house(&self, checkpoint: bool) {
        self.clock.advance(std::time::Duration::from_millis(500));
        self.broker.keep_house(checkpoint);
        self.broker.commit_all();
    }

    /// Lets the broker work in the background until all erased bytes are gone.
    fn complete(&self) {
        complete(&self.broker, || self.keep_house(false));
    }
}

fn complete(broker: &Broker, keep_house: impl Fn()) {
    for _ in 0..10 {
        if broker
            .shared
            .sequencer
            .applied()
            .erasures()
            .waiting()
            .count()
            == 0
        {
            return;
        }
        keep_house();
    }
    panic!("an erasure does not complete");
}

/// The encoding of every record of the topic that can be read, by offset.
fn everything(broker: &Broker) -> BTreeMap<u64, Vec<u8>> {
    read_with(broker, Filter::default())
}

fn read_with(broker: &Broker, filter: Filter) -> BTreeMap<u64, Vec<u8>> {
    try_read(broker, filter).expect("it can be read")
}

fn try_read(broker: &Broker, filter: Filter) -> Result<BTreeMap<u64, Vec<u8>>, Error> {
    let read = Read {
        topic: "t".into(),
        start: Position::Earliest,
        filter,
        ..Read::default()
    };
    let mut reader = broker.read(read)?;
    let mut found = BTreeMap::new();
    loop {
        match reader.step()? {
            Step::Batch(batch) => {
                for element in batch.records.iter().flat_map(elements) {
                    let offset = RecordView::parse(&element).expect("a record").offset;
                    found.insert(offset.expect("the broker's field"), element);
                }
            }
            Step::Wait(_) => panic!("a finite read waits"),
            Step::End => return Ok(found),
        }
    }
}

fn elements(slice: &Bytes) -> Vec<Vec<u8>> {
    Records::new(slice)
        .map(|element| element.expect("a record").1.to_vec())
        .collect()
}

/// The version of each record, whether it is erased, and its encoding.
#[expect(clippy::type_complexity, reason = "taken apart at once")]
fn parsed(slice: &Bytes) -> Vec<((Option<u64>, bool), Vec<u8>)> {
    let one = |encoded: Vec<u8>| {
        let record = RecordView::parse(&encoded).expect("a record");
        let left = record.key.is_some() || record.value.is_some() || !record.event_id.is_empty();
        let erased = record.erased.is_some();
        assert!(
            !erased || (!left && record.headers().next().is_none()),
            "an erased record has something left: {record:?}"
        );
        ((record.version, erased), encoded)
    };
    elements(slice).into_iter().map(one).collect()
}

/// Asserts that all records are as before, except the secret's, of which offset, version, type and
/// times stay.
fn assert_only_the_secret_is_gone(
    secret: &Secret,
    before: &BTreeMap<u64, Vec<u8>>,
    after: &BTreeMap<u64, Vec<u8>>,
) {
    assert_eq!(
        before.keys().collect::<Vec<_>>(),
        after.keys().collect::<Vec<_>>(),
        "offsets have changed"
    );
    for (offset, encoded) in before {
        let (was, is) = (
            RecordView::parse(encoded).expect("a record"),
            RecordView::parse(&after[offset]).expect("a record"),
        );
        if !secret.is_in(encoded) {
            assert_eq!(
                encoded, &after[offset],
                "the record at offset {offset} has changed"
            );
            continue;
        }
        assert!(
            is.erased.is_some() && !secret.is_in(&after[offset]),
            "offset {offset} is not erased: {is:?}"
        );
        assert_eq!(
            (was.version, was.event_type),
            (is.version, is.event_type),
            "offset {offset}"
        );
        assert_eq!(
            (was.timestamp_ms, was.append_time_ms),
            (is.timestamp_ms, is.append_time_ms),
            "offset {offset}"
        );
    }
}
