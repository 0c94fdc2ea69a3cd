//! A broker with one compacted topic of one partition, and a clock that tests move.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use bytes::Bytes;

use crate::{
    broker::{
        AppendedRange, Broker, Compaction, Error, Options, PartitionDescription, Read, ReadKey,
        Step,
        key_trims::TrimmedEntity,
        lock,
        tests::world::{append_of, encode_proto, env, now, options, send},
    },
    env::sim::{SimClock, SimDisk, SimRandom},
    types::{PartitionId, Position, RecordView, Records, Version},
};

pub(in crate::broker::tests) const START_MS: i64 = 1_700_000_000_000;
pub(in crate::broker::tests) const TOPIC: &str = "compacted";
pub(in crate::broker::tests) const PARTITION: PartitionId = PartitionId(0);

pub(in crate::broker::tests) const MS: Duration = Duration::from_millis(1);
pub(in crate::broker::tests) const SECOND: Duration = Duration::from_secs(1);
pub(in crate::broker::tests) const HOUR: Duration = Duration::from_secs(3_600);
pub(in crate::broker::tests) const DAY: Duration = Duration::from_secs(86_400);

/// A record as a reader got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::broker::tests) struct Found {
    pub(in crate::broker::tests) offset: u64,
    pub(in crate::broker::tests) key: Option<String>,
    pub(in crate::broker::tests) version: Option<u64>,
    pub(in crate::broker::tests) value: Option<Vec<u8>>,
    pub(in crate::broker::tests) is_erased: bool,
}

pub(in crate::broker::tests) struct World {
    pub(in crate::broker::tests) disk: SimDisk,
    pub(in crate::broker::tests) clock: SimClock,
    pub(in crate::broker::tests) broker: Broker,
    options: Options,
    starts: u64,
}

impl World {
    /// A world whose topic is compacted, has these settings and the smallest segments.
    pub(in crate::broker::tests) fn with(settings: &[(&str, &str)]) -> Self {
        Self::with_options(settings, options())
    }

    pub(in crate::broker::tests) fn with_options(
        settings: &[(&str, &str)],
        options: Options,
    ) -> Self {
        let (disk, clock) = (SimDisk::new(1), SimClock::new(START_MS));
        let world = env(&disk, &clock, &SimRandom::new(1));
        let broker = Broker::open_stepped(world, options.clone()).expect("it can be opened");
        let world = Self {
            disk,
            clock,
            broker,
            options,
            starts: 1,
        };
        let mut all = named(&[("segment.bytes", "64KiB"), ("cleanup.policy", "compact")]);
        all.extend(named(settings));
        let created = world.broker.create_topic(TOPIC, 1, &all);
        world.broker.commit_all();
        let created = now(created.expect("good settings")).expect("an answer");
        created.expect("nothing fails");
        world
    }

    /// Appends a record; returns its offset.
    pub(in crate::broker::tests) fn put(&self, key: &str, value: &[u8]) -> u64 {
        self.append(Some(key), Some(value))
            .expect("it is taken")
            .first_offset
            .0
    }

    /// Appends a tombstone; returns its offset.
    pub(in crate::broker::tests) fn delete(&self, key: &str) -> u64 {
        self.append(Some(key), None)
            .expect("it is taken")
            .first_offset
            .0
    }

    pub(in crate::broker::tests) fn append(
        &self,
        key: Option<&str>,
        value: Option<&[u8]>,
    ) -> Result<AppendedRange, Error> {
        let record = encode_proto(&crate::proto::Record {
            key: key.map(|key| key.to_owned().into()),
            value: value.map(|value| value.to_vec().into()),
            ..Default::default()
        });
        let mut append = append_of(TOPIC, Some(0), &[record]);
        append.return_versions = true;
        let mut appended = send(&self.broker, append)?;
        Ok(appended.batches.remove(0).remove(0))
    }

    /// Fills the active segment with records of a key used for nothing else, so that the next
    /// append begins another segment.
    pub(in crate::broker::tests) fn roll(&self) {
        for _ in 0..2 {
            self.put("filler", &[0; 40_000]);
        }
        self.broker.keep_house(true);
        self.broker.commit_all();
    }

    /// Lets the broker do everything that is due now and, as compaction pauses between its steps,
    /// in the next milliseconds.
    pub(in crate::broker::tests) fn settle(&self) {
        for _ in 0..4 {
            self.broker.step();
            self.broker.commit_all();
            self.finish_pass();
        }
    }

    fn finish_pass(&self) {
        for _ in 0..10_000 {
            let goes_on = {
                let compactions = &self.broker.shared.maintenance.compactions;
                compactions.pass_goes_on_at()
            };
            let Some(at) = goes_on else { return };
            let now = self.broker.shared.env.clock.elapsed();
            self.clock.advance(at.saturating_sub(now));
            self.broker.step();
            self.broker.commit_all();
        }
        panic!("a pass does not end");
    }

    /// Lets time pass, and the broker do what becomes due.
    pub(in crate::broker::tests) fn pass(&self, time: Duration) {
        self.clock.advance(time);
        self.settle();
    }

    /// Compacts the topic on request.
    pub(in crate::broker::tests) fn compact(&self) {
        let compacted = self.broker.compact_topic(TOPIC).expect("it is compacted");
        self.settle();
        now(compacted).expect("it is done").expect("nothing fails");
    }

    pub(in crate::broker::tests) fn alter(&self, settings: &[(&str, &str)]) {
        let altered = self.broker.alter_topic(TOPIC, &named(settings), &[]);
        self.broker.commit_all();
        let altered = now(altered.expect("good settings")).expect("an answer");
        altered.expect("nothing fails");
    }

    /// All records that a reader gets from an offset on, and the offset at which the read ends.
    pub(in crate::broker::tests) fn read_from(&self, offset: u64) -> (Vec<Found>, u64) {
        try_read(&self.broker, offset).expect("it can be read")
    }

    /// All records of the partition.
    pub(in crate::broker::tests) fn read(&self) -> Vec<Found> {
        let (found, end) = self.read_from(self.described().earliest.0);
        assert_eq!(end, self.described().high_watermark.0, "told up to the end");
        found
    }

    /// The offsets that have records.
    pub(in crate::broker::tests) fn offsets(&self) -> Vec<u64> {
        self.read().iter().map(|found| found.offset).collect()
    }

    /// The records of a key: versions and offsets.
    pub(in crate::broker::tests) fn of_key(&self, key: &str) -> Vec<(u64, u64)> {
        let found = self.read();
        let of_key = found
            .iter()
            .filter(|found| found.key.as_deref() == Some(key));
        of_key
            .map(|found| (found.version.expect("versioned"), found.offset))
            .collect()
    }

    /// The first version that a read of the entity reports.
    pub(in crate::broker::tests) fn start_of(&self, key: &str) -> u64 {
        self.read_entity(key).2
    }

    /// The versions that a read of the entity returns, and the latest version that it reports.
    pub(in crate::broker::tests) fn versions(&self, key: &str) -> (Vec<u64>, u64) {
        let (versions, latest, _) = self.read_entity(key);
        (versions, latest)
    }

    fn read_entity(&self, key: &str) -> (Vec<u64>, u64, u64) {
        let read = ReadKey {
            topic: TOPIC.to_owned(),
            key: Bytes::from(key.to_owned()),
            ..ReadKey::default()
        };
        let mut reader = self.broker.read_key(read).expect("it can be read");
        let latest = reader.latest().0;
        let mut versions = Vec::new();
        while let Some(slices) = reader.step().expect("it can be read") {
            for slice in slices {
                for record in records(&slice) {
                    versions.push(record.version.expect("versioned"));
                }
            }
        }
        (versions, latest, reader.start().0)
    }

    /// Trims an entity.
    pub(in crate::broker::tests) fn trim_key(
        &self,
        key: &str,
        before: u64,
    ) -> Result<TrimmedEntity, Error> {
        let trimming = self
            .broker
            .trim_key(TOPIC, key.as_bytes(), Version(before))?;
        self.broker.commit_all();
        now(trimming).expect("an answer")
    }

    /// Whether any file has these bytes.
    pub(in crate::broker::tests) fn has_bytes(&self, bytes: &[u8]) -> bool {
        self.have_bytes(bytes, "")
    }

    /// Whether any segment has these bytes.
    pub(in crate::broker::tests) fn segments_have(&self, bytes: &[u8]) -> bool {
        self.have_bytes(bytes, ".log")
    }

    fn have_bytes(&self, bytes: &[u8], end: &str) -> bool {
        let files = self.disk.files().into_iter();
        let mut these = files.filter(|path| path.to_string_lossy().ends_with(end));
        these.any(|path| {
            let content = self.disk.content(&path).expect("it is there");
            content.windows(bytes.len()).any(|window| window == bytes)
        })
    }

    /// The latest version that is reported for an entity, and the value of its latest record.
    pub(in crate::broker::tests) fn latest(&self, key: &str) -> (Version, Option<Vec<u8>>) {
        let latest = self.broker.get_latest(TOPIC, &[key.to_owned().into()]);
        let latest = latest.expect("it can be read").remove(0);
        let value = latest.record.and_then(|record| {
            let record = RecordView::parse(&record).expect("a record");
            record.value.map(<[u8]>::to_vec)
        });
        (latest.version, value)
    }

    pub(in crate::broker::tests) fn described(&self) -> PartitionDescription {
        let described = self.broker.describe_topic(TOPIC).expect("it is there");
        described.1[0].clone()
    }

    pub(in crate::broker::tests) fn compaction(&self) -> Compaction {
        self.described().compaction.expect("it is compacted")
    }

    /// The offset behind the last sealed segment.
    pub(in crate::broker::tests) fn sealed_end(&self) -> u64 {
        let topics = self.broker.shared.partitions.topics();
        let topic = topics.find(TOPIC).expect("it is there");
        let partition = topic.partition(PARTITION).expect("it is there");
        let view = partition.partition().log.view();
        view.sealed_end().unwrap_or_default().0
    }

    /// The directory of the partition's files.
    pub(in crate::broker::tests) fn dir(&self) -> PathBuf {
        let topics = self.broker.shared.partitions.topics();
        let topic = topics.find(TOPIC).expect("it is there");
        let partition = topic.partition(PARTITION).expect("it is there");
        lock(&partition.partition().log).dir().to_path_buf()
    }

    /// Stops the broker, cleanly or not, and starts it again.
    pub(in crate::broker::tests) fn restart(&mut self, cleanly: bool) {
        if cleanly {
            self.broker.close().expect("nothing fails");
        }
        self.disk = self.disk.fork();
        self.open();
    }

    /// Continues with another disk.
    pub(in crate::broker::tests) fn go_on_with(&mut self, disk: SimDisk) {
        self.disk = disk;
        self.open();
    }

    fn open(&mut self) {
        self.starts += 1;
        let world = env(&self.disk, &self.clock, &SimRandom::new(self.starts));
        self.broker = Broker::open_stepped(world, self.options.clone()).expect("it can be opened");
    }
}

pub(in crate::broker::tests) fn try_read(
    broker: &Broker,
    offset: u64,
) -> Result<(Vec<Found>, u64), Error> {
    let read = Read {
        topic: TOPIC.to_owned(),
        partitions: vec![(
            PARTITION,
            Some(Position::Offset(crate::types::Offset(offset))),
        )],
        ..Read::default()
    };
    let mut reader = broker.read(read)?;
    let (mut found, mut end) = (Vec::new(), offset);
    loop {
        match reader.step()? {
            Step::Batch(batch) => {
                for slice in &batch.records {
                    found.extend(records(slice));
                }
                end = batch.next_offset.0;
                assert!(batch.next_offset <= batch.high_watermark, "{batch:?}");
            }
            Step::Wait(_) => panic!("a finite read waits"),
            Step::End => return Ok((found, end)),
        }
    }
}

pub(in crate::broker::tests) fn records(slice: &Bytes) -> Vec<Found> {
    let mut found = Vec::new();
    for record in Records::new(slice) {
        let record = RecordView::parse(record.expect("a record").1).expect("a record");
        found.push(Found {
            offset: record.offset.expect("the broker's field"),
            key: record
                .key
                .map(|key| String::from_utf8_lossy(key).into_owned()),
            version: record.version,
            value: record.value.map(<[u8]>::to_vec),
            is_erased: record.erased.is_some(),
        });
    }
    found
}

pub(in crate::broker::tests) fn named(settings: &[(&str, &str)]) -> BTreeMap<String, String> {
    let settings = settings.iter();
    settings
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}
