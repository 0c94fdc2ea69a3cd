//! What a broker has acknowledged, and which answers are therefore right.
//!
//! An answer must be right, or say that something cannot be read at the moment, or, if the disk
//! reported that it cannot read, that records are damaged. No other answer is tolerated.

use std::collections::{BTreeMap, BTreeSet};

use super::keyed::{key, record_of};
use crate::{
    broker::{
        Actual, Append, Appended, Broker, Error, Expected, Read, ReadKey, Step,
        tests::world::{now, send},
    },
    types::{Offset, PartitionId, Position, RecordView, Records, Version},
};

/// An acknowledged record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) entity: u64,
    pub(super) version: u64,
    pub(super) id: u64,
}

/// Everything that has been acknowledged.
#[derive(Clone, Default)]
pub(super) struct Book {
    /// The acknowledged records by offset.
    entries: BTreeMap<u64, Entry>,
    versions: BTreeMap<u64, u64>,
    /// Where the log starts.
    start: u64,
    erased: BTreeSet<u64>,
    /// The ids of records that may or may not be stored, because the broker has failed.
    unsettled: BTreeSet<u64>,
    next_id: u64,
}

/// Which answers are tolerated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tolerance {
    /// Only right answers.
    Nothing,
    /// Also that something cannot be read at the moment.
    Unavailable,
    /// Also that records are damaged, because the disk said so.
    Damage,
}

impl Tolerance {
    /// The answer, or `None` for a tolerated error.
    fn pass<T>(self, broker: &Broker, what: &str, answer: Result<T, Error>) -> Option<T> {
        let error = match answer {
            Ok(answer) => return Some(answer),
            Err(error) => error,
        };
        let passes = match &error {
            Error::StorageUnavailable { .. } => self != Self::Nothing,
            Error::DamagedRecords { .. } => self == Self::Damage,
            Error::ShuttingDown | Error::OutcomeUnknown => broker.shared.health.has_failed(),
            _ => false,
        };
        assert!(passes, "{what}, with {self:?} let through: {error:?}");
        None
    }
}

impl Book {
    /// The version that an entity is at.
    pub(super) fn version(&self, entity: u64) -> u64 {
        self.versions.get(&entity).copied().unwrap_or_default()
    }

    fn end(&self) -> u64 {
        self.entries
            .last_key_value()
            .map_or(self.start, |(offset, _)| offset + 1)
    }

    /// Appends a record of an entity; if `at`, with a condition that holds.
    pub(super) fn append(&mut self, broker: &Broker, entity: u64, at: bool, passes: Tolerance) {
        let expected = at.then(|| self.expected(entity));
        let (id, append) = self.record(entity, expected);
        match send(broker, append) {
            Ok(appended) => self.take(entity, id, &appended),
            Err(error) => {
                if error == Error::OutcomeUnknown {
                    self.unsettled.insert(id);
                }
                passes.pass::<()>(broker, "an append", Err(error));
            }
        }
    }

    /// Appends with a condition that does not hold. Asserts that nothing is stored, and that the
    /// right versions are reported.
    pub(super) fn append_refused(&mut self, broker: &Broker, entity: u64, passes: Tolerance) {
        let key = key(entity);
        let expected = match self.version(entity) {
            0 => Expected::KeyExists { key },
            version if version % 2 == 0 => Expected::KeyAbsent { key },
            version => Expected::KeyAt {
                key,
                version: Version(version + 1),
            },
        };
        let (_, append) = self.record(entity, Some(expected));
        match send(broker, append) {
            Err(Error::Conflict { failed }) => {
                let actual = Actual::Version(Version(self.version(entity)));
                assert_eq!(failed[0].actual, actual, "of entity {entity}");
            }
            answer => {
                let stored = passes.pass(broker, "a refused append", answer);
                assert!(stored.is_none(), "stored although it must not be: {entity}");
            }
        }
    }

    fn expected(&self, entity: u64) -> Expected {
        let key = key(entity);
        match self.version(entity) {
            0 => Expected::KeyAbsent { key },
            version => Expected::KeyAt {
                key,
                version: Version(version),
            },
        }
    }

    fn record(&mut self, entity: u64, expected: Option<Expected>) -> (u64, Append) {
        self.next_id += 1;
        let mut value = self.next_id.to_le_bytes().to_vec();
        value.resize(600, 7);
        (self.next_id, record_of(&key(entity), value, expected))
    }

    fn take(&mut self, entity: u64, id: u64, appended: &Appended) {
        let range = &appended.batches[0][0];
        let (offset, version) = (range.first_offset.0, range.versions[0].0);
        assert_eq!(offset, self.end(), "the next offset is given out");
        assert_eq!(
            version,
            self.version(entity) + 1,
            "the next version is given out"
        );
        let entry = Entry {
            entity,
            version,
            id,
        };
        self.entries.insert(offset, entry);
        self.versions.insert(entity, version);
    }

    /// Asserts that the latest version of an entity is right.
    pub(super) fn check_latest(&self, broker: &Broker, entity: u64, passes: Tolerance) {
        let latest = broker.get_latest("t", &[key(entity)]);
        if let Some(latest) = passes.pass(broker, "the latest record", latest) {
            assert_eq!(
                latest[0].version.0,
                self.version(entity),
                "of entity {entity}"
            );
        }
    }

    /// Asserts that a read of an entity returns all of its records that are not trimmed.
    pub(super) fn check_entity(
        &self,
        broker: &Broker,
        entity: u64,
        backward: bool,
        passes: Tolerance,
    ) {
        let Some(found) = passes.pass(broker, "a read", read_entity(broker, entity, backward))
        else {
            return;
        };
        let kept = self.entries.range(self.start..).map(|(_, entry)| entry);
        let mut expected: Vec<u64> = kept
            .filter(|entry| entry.entity == entity)
            .map(|entry| entry.version)
            .collect();
        if backward {
            expected.reverse();
        }
        assert_eq!(found, expected, "of entity {entity}, backward: {backward}");
    }

    /// Asserts that a read by offset returns every record, up to the first that cannot be read.
    pub(super) fn check_log(&self, broker: &Broker, passes: Tolerance) {
        let read = Read {
            topic: "t".into(),
            partitions: vec![(PartitionId(0), Some(Position::Earliest))],
            ..Read::default()
        };
        let Some(mut reader) = passes.pass(broker, "a read", broker.read(read)) else {
            return;
        };
        let mut next = self.start;
        loop {
            match passes.pass(broker, "a read", reader.step()) {
                Some(Step::Batch(batch)) => {
                    for slice in &batch.records {
                        Records::new(slice).for_each(|record| {
                            self.check_record(next, record.expect("a record").1);
                            next += 1;
                        });
                    }
                }
                Some(Step::Wait(_)) => panic!("a finite read waits"),
                Some(Step::End) => break,
                None => return,
            }
        }
        assert_eq!(next, self.end(), "the log ends where it did");
    }

    fn check_record(&self, offset: u64, encoded: &[u8]) {
        let record = RecordView::parse(encoded).expect("a record");
        let entry = self.entries[&offset];
        assert_eq!(record.offset, Some(offset));
        assert_eq!(record.version, Some(entry.version), "at {offset}");
        if self.erased.contains(&entry.entity) && record.value.is_none() {
            return;
        }
        let value = record.value.expect("a value");
        let id = u64::from_le_bytes(*value.first_chunk().expect("8 bytes"));
        assert_eq!(id, entry.id, "at {offset}");
        assert_eq!(record.key, Some(&key(entry.entity)[..]), "at {offset}");
    }

    /// Asserts that a search for time 0 finds the first record.
    pub(super) fn check_time(&self, broker: &Broker, passes: Tolerance) {
        let wanted = [(PartitionId(0), Some(Position::Timestamp(0)))];
        let found = broker.list_offsets("t", Position::Earliest, &wanted);
        if let Some((_, found)) = passes.pass(broker, "a search by time", found) {
            assert_eq!(found[0].offset.0, self.start);
        }
    }

    /// Checks all kinds of reads, for all entities.
    pub(super) fn check_all(&self, broker: &Broker, passes: Tolerance) {
        self.check_log(broker, passes);
        self.check_time(broker, passes);
        let seen = self.versions.keys().copied();
        for entity in seen.chain([u64::MAX]) {
            self.check_latest(broker, entity, passes);
            self.check_entity(broker, entity, false, passes);
            self.check_entity(broker, entity, true, passes);
        }
    }

    pub(super) fn entities(&self) -> Vec<u64> {
        self.versions.keys().copied().collect()
    }

    /// Trims up to an offset.
    pub(super) fn trim(&mut self, broker: &Broker, before: u64, passes: Tolerance) {
        let trimmed = broker.trim("t", PartitionId(0), Offset(before));
        broker.commit_all();
        let answer = trimmed.and_then(|pending| now(pending).expect("an answer"));
        if let Some(start) = passes.pass(broker, "a trim", answer) {
            self.start = start.0;
        }
    }

    /// Erases an entity.
    pub(super) fn erase(&mut self, broker: &Broker, entity: u64, passes: Tolerance) {
        let erased = broker.erase_key("t", &key(entity));
        broker.commit_all();
        let answer = erased.and_then(|pending| now(pending).expect("an answer"));
        if let Some(erasure) = passes.pass(broker, "an erasure", answer) {
            let through = erasure.through;
            assert!(through == Version(self.version(entity)) || through == Version::UNKNOWN);
            self.erased.insert(entity);
        }
    }

    pub(super) fn middle(&self) -> u64 {
        self.start + (self.end() - self.start) / 2
    }

    /// After the failed broker was started again: finds out by reading which unsettled appends are
    /// stored.
    pub(super) fn settle(&mut self, broker: &Broker) {
        if self.unsettled.is_empty() {
            return;
        }
        let end = broker.describe_topic("t").expect("it is there").1[0].high_watermark;
        let unsettled = std::mem::take(&mut self.unsettled);
        for offset in self.end()..end.0 {
            let read = Read {
                topic: "t".into(),
                partitions: vec![(PartitionId(0), Some(Position::Offset(Offset(offset))))],
                max_records: 1,
                ..Read::default()
            };
            let step = broker.read(read).and_then(|mut reader| reader.step());
            let Ok(Step::Batch(batch)) = step else {
                panic!("offset {offset} cannot be read");
            };
            let slice = batch.records.concat();
            let mut records = Records::new(&slice);
            let encoded = records.next().expect("a record").expect("a record").1;
            let record = RecordView::parse(encoded).expect("a record");
            let value = record.value.expect("a value");
            let id = u64::from_le_bytes(*value.first_chunk().expect("8 bytes"));
            assert!(
                unsettled.contains(&id),
                "nobody appended what is at {offset}"
            );
            let name = std::str::from_utf8(record.key.expect("a key")).expect("a name");
            let entity = name[1..].parse().expect("a number");
            let version = record.version.expect("the broker's field");
            assert_eq!(version, self.version(entity) + 1);
            let entry = Entry {
                entity,
                version,
                id,
            };
            self.entries.insert(offset, entry);
            self.versions.insert(entity, version);
        }
    }
}

fn read_entity(broker: &Broker, entity: u64, backward: bool) -> Result<Vec<u64>, Error> {
    let read = ReadKey {
        topic: "t".into(),
        key: key(entity),
        backward,
        ..ReadKey::default()
    };
    let mut reader = broker.read_key(read)?;
    let mut versions = Vec::new();
    while let Some(slices) = reader.step()? {
        for slice in &slices {
            for element in Records::new(slice) {
                let record = RecordView::parse(element.expect("a record").1).expect("a record");
                versions.push(record.version.expect("the broker's field"));
            }
        }
    }
    Ok(versions)
}
