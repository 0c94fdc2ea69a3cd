//! A broker with one topic, and a clock that tests move.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    broker::{
        Broker, Error, Options, PartitionDescription,
        tests::world::{append_of, encode_proto, encode_record, env, now, options, send},
    },
    env::{
        Env,
        sim::{SimClock, SimDisk, SimRandom},
    },
    types::{Offset, PartitionId},
};

pub(super) const START_MS: i64 = 1_700_000_000_000;
pub(super) const TOPIC: &str = "kept";
pub(super) const PARTITION: PartitionId = PartitionId(0);

pub(super) struct Kept {
    pub(super) disk: SimDisk,
    pub(super) clock: SimClock,
    pub(super) broker: Broker,
    starts: u64,
    next_id: u64,
}

impl Kept {
    /// A world whose topic has these settings.
    pub(super) fn with(settings: &[(&str, &str)]) -> Self {
        Self::with_options(settings, options())
    }

    pub(super) fn with_options(settings: &[(&str, &str)], options: Options) -> Self {
        let (disk, clock) = (SimDisk::new(1), SimClock::new(START_MS));
        let world = env(&disk, &clock, &SimRandom::new(1));
        let broker = Broker::open_stepped(world, options).expect("it can be opened");
        let kept = Self {
            disk,
            clock,
            broker,
            starts: 1,
            next_id: 0,
        };
        let created = kept.broker.create_topic(TOPIC, 1, &named(settings));
        kept.broker.commit_all();
        let created = now(created.expect("good settings")).expect("an answer");
        created.expect("nothing fails");
        kept
    }

    /// Appends a record of about this size; returns its offset.
    pub(super) fn append(&mut self, bytes: usize) -> Offset {
        self.try_append(bytes).expect("it is taken")
    }

    pub(super) fn try_append(&mut self, bytes: usize) -> Result<Offset, Error> {
        self.next_id += 1;
        let record = encode_record(self.next_id, bytes);
        let appended = send(&self.broker, append_of(TOPIC, Some(0), &[record]))?;
        Ok(appended.batches[0][0].first_offset)
    }

    /// Appends a record of an entity; returns its version.
    pub(super) fn append_keyed(&mut self, key: &str) -> u64 {
        self.next_id += 1;
        let record = encode_proto(&crate::proto::Record {
            key: Some(key.to_owned().into()),
            value: Some(self.next_id.to_le_bytes().to_vec().into()),
            ..Default::default()
        });
        let appended = send(&self.broker, append_of(TOPIC, Some(0), &[record]));
        appended.expect("it is taken");
        let latest = self
            .broker
            .get_latest(TOPIC, &[key.to_owned().into()])
            .expect("it can be read");
        latest[0].version.0
    }

    /// Lets time pass, and the broker do what becomes due.
    pub(super) fn pass(&self, time: Duration) {
        self.clock.advance(time);
        self.settle();
    }

    /// Lets the broker do everything that is due now.
    pub(super) fn settle(&self) {
        for _ in 0..4 {
            self.broker.step();
            self.broker.commit_all();
        }
    }

    /// Lets the broker do everything that is due now, and write checkpoints, after which files are
    /// removed.
    pub(super) fn settle_on_disk(&self) {
        self.settle();
        for _ in 0..3 {
            self.broker.keep_house(true);
            self.broker.commit_all();
        }
    }

    pub(super) fn alter(&self, settings: &[(&str, &str)]) {
        let altered = self.broker.alter_topic(TOPIC, &named(settings), &[]);
        self.broker.commit_all();
        let altered = now(altered.expect("good settings")).expect("an answer");
        altered.expect("nothing fails");
    }

    pub(super) fn described(&self) -> PartitionDescription {
        let described = self.broker.describe_topic(TOPIC).expect("it is there");
        described.1[0].clone()
    }

    /// The offsets that can be read.
    pub(super) fn there(&self) -> std::ops::Range<u64> {
        let described = self.described();
        described.earliest.0..described.high_watermark.0
    }

    /// The directory of the partition's files.
    pub(super) fn dir(&self) -> std::path::PathBuf {
        let found = self
            .broker
            .shared
            .partitions
            .topics()
            .find(TOPIC)
            .expect("it is there");
        let partition = found.partition(PARTITION).expect("it is there");
        let log = crate::broker::lock(&partition.partition().log);
        log.dir().to_path_buf()
    }

    /// The sizes of the segment files.
    pub(super) fn segment_files(&self) -> Vec<u64> {
        let dir = self.dir();
        let world = self.world();
        let listed = world.files.read_dir(&dir).unwrap_or_default();
        let mut sizes = Vec::new();
        for entry in listed {
            if entry.name.ends_with(".log") {
                let path = dir.join(&entry.name);
                let file = world.files.open(&path, crate::env::Open::Read);
                let file = file.expect("it was listed");
                sizes.push(file.len().expect("it has a size"));
            }
        }
        sizes
    }

    /// Stops the broker, cleanly or not, and starts it again.
    pub(super) fn restart(&mut self, cleanly: bool) {
        if cleanly {
            self.broker.close().expect("nothing fails");
        }
        self.start_on(self.disk.fork());
    }

    /// Starts a broker on another disk.
    pub(super) fn start_on(&mut self, disk: SimDisk) {
        self.starts += 1;
        self.disk = disk;
        self.broker = open(&self.disk, &self.clock, self.starts);
    }

    fn world(&self) -> Env {
        env(&self.disk, &self.clock, &SimRandom::new(99))
    }
}

fn open(disk: &SimDisk, clock: &SimClock, seed: u64) -> Broker {
    let world = env(disk, clock, &SimRandom::new(seed));
    Broker::open_stepped(world, options()).expect("it can be opened")
}

fn named(settings: &[(&str, &str)]) -> BTreeMap<String, String> {
    let settings = settings.iter();
    settings
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}
