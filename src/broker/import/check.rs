//! Checks imported records.

use std::collections::HashMap;

use super::{ImportBatch, ImportRefused};
use crate::{
    broker::{
        keys::Wanted,
        lock,
        state::{Next, PartitionRef, Topic},
    },
    catalog::Token,
    storage::keys::{hash::KeyHash, table::EntryId},
    types::{Keys, Offset, RecordView, Records, TopicSettings, Version, limits, partition_of_key},
};

/// A batch whose records were checked one by one.
pub(super) struct Checked {
    /// In the order of their offsets; never empty.
    records: Vec<Imported>,
    pub(super) latest_timestamp_ms: i64,
}

/// What later checks need to know of a record.
pub(super) struct Imported {
    pub(super) offset: Offset,
    /// [`Version::NONE`] if it has none.
    pub(super) version: Version,
    pub(super) append_time_ms: i64,
    /// The place of the key in the batch, and its hash; `None` if the record has no version.
    key: Option<(std::ops::Range<usize>, KeyHash)>,
}

/// How many versions are skipped between records of the batch.
#[derive(Default)]
pub(super) struct Missing(u64);

impl Checked {
    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.records.len()).expect("a request is far below 4 GiB")
    }

    fn first(&self) -> &Imported {
        &self.records[0]
    }

    pub(super) fn last(&self) -> &Imported {
        &self.records[self.records.len() - 1]
    }

    /// The records that have versions.
    pub(super) fn with_versions(&self) -> impl Iterator<Item = &Imported> {
        self.records.iter().filter(|record| record.key.is_some())
    }

    /// The keys of the records that have versions.
    pub(super) fn keyed<'a>(&'a self, records: &'a [u8]) -> impl Iterator<Item = Wanted<'a>> {
        let keys = self.records.iter().filter_map(|record| record.key.as_ref());
        keys.map(|(range, hash)| Wanted {
            at: 0,
            hash: *hash,
            key: &records[range.clone()],
        })
    }
}

/// Checks what does not depend on the topic's records.
pub(super) fn batch(
    partition: &PartitionRef,
    batch: &ImportBatch,
    now_ms: i64,
) -> Result<Checked, ImportRefused> {
    let topic = &partition.topic;
    let settings = topic.settings();
    let latest_ms = now_ms.saturating_add(limits::IMPORT_AHEAD_MS);
    let mut checked = Checked {
        records: Vec::new(),
        latest_timestamp_ms: i64::MIN,
    };
    for (nth, element) in (0..).zip(Records::new(&batch.records)) {
        let parsed = element
            .map_err(|malformed| malformed.to_string())
            .and_then(|(_, encoded)| record(partition, &settings, &batch.records, encoded));
        let parsed = parsed.and_then(|(record, timestamp_ms)| {
            in_order(checked.records.last(), &record)?;
            check_time(record.append_time_ms, latest_ms)?;
            match checked.records.len() {
                limits::MAX_RECORDS_PER_APPEND => {
                    Err("there are more in its batch than may be".to_owned())
                }
                _ => Ok((record, timestamp_ms)),
            }
        });
        let (record, timestamp_ms) =
            parsed.map_err(|problem| refused(partition, batch, nth, problem))?;
        checked.latest_timestamp_ms = checked.latest_timestamp_ms.max(timestamp_ms);
        checked.records.push(record);
    }
    match checked.records.is_empty() {
        true => {
            let problem = "a batch has no records".to_owned();
            Err(ImportRefused::partition(topic, batch.partition, problem))
        }
        false => Ok(checked),
    }
}

fn refused(
    partition: &PartitionRef,
    batch: &ImportBatch,
    nth: u64,
    problem: String,
) -> ImportRefused {
    ImportRefused::Record {
        topic: partition.topic.name.to_string(),
        partition: batch.partition,
        number: batch.number.saturating_add(nth),
        problem,
    }
}

/// Checks one record; also returns its timestamp.
fn record(
    partition: &PartitionRef,
    settings: &TopicSettings,
    records: &[u8],
    encoded: &[u8],
) -> Result<(Imported, i64), String> {
    let record = RecordView::parse(encoded).map_err(|malformed| malformed.to_string())?;
    if encoded.len() as u64 > settings.max_record_bytes {
        return Err(format!(
            "it has {} bytes, and the topic's max.record.bytes is {}; raise that",
            encoded.len(),
            settings.max_record_bytes
        ));
    }
    let missing = |what: &str| format!("it has no {what}, which every stored record has");
    let offset = record.offset.ok_or_else(|| missing("offset"))?;
    let append_time_ms = record
        .append_time_ms
        .ok_or_else(|| missing("append time"))?;
    let timestamp_ms = record.timestamp_ms.ok_or_else(|| missing("timestamp"))?;
    if offset >= limits::MAX_IMPORTED_OFFSET {
        return Err(format!("its offset {offset} is too large"));
    }
    check_erased(&record)?;
    if record.key.is_none() && record.erased.is_none() && settings.is_compacted() {
        return Err("it has no key, and the topic is compacted".to_owned());
    }
    let version = version(&record, settings, offset)?;
    let topic = &partition.topic;
    let key = match record.key {
        Some(key) if settings.keys == Keys::Versioned => {
            check_partition(topic, partition, key)?;
            let start = key.as_ptr().addr() - records.as_ptr().addr();
            Some((start..start + key.len(), topic.hasher.key(key)))
        }
        _ => None,
    };
    let imported = Imported {
        offset: Offset(offset),
        version,
        append_time_ms,
        key,
    };
    Ok((imported, timestamp_ms))
}

/// The version of a record. It must have one exactly if it has or had a key, in a topic with
/// versions.
fn version(
    record: &RecordView<'_>,
    settings: &TopicSettings,
    offset: u64,
) -> Result<Version, String> {
    let is_of_entity = record.key.is_some() || record.erased.is_some();
    match record.version {
        Some(_) if settings.keys == Keys::Plain => {
            Err("it has a version, and the topic has keys=plain; use one with keys=versioned".to_owned())
        }
        Some(_) if !is_of_entity => Err("it has a version, and no key".to_owned()),
        Some(0) => Err("its version is 0; versions begin at 1".to_owned()),
        Some(version) if version > offset + 1 => Err(format!(
            "it has version {version} at offset {offset}: there are not as many offsets before it"
        )),
        Some(version) => Ok(Version(version)),
        None if record.key.is_some() && settings.keys == Keys::Versioned => Err(
            "it has a key and no version, and the topic has keys=versioned; use one with keys=plain"
                .to_owned(),
        ),
        None => Ok(Version::NONE),
    }
}

/// Checks that an erased record has nothing but its type, times, offset and version.
fn check_erased(record: &RecordView<'_>) -> Result<(), String> {
    let Some(token) = record.erased else {
        return Ok(());
    };
    let has_content = record.key.is_some()
        || record.value.is_some()
        || !record.event_id.is_empty()
        || record.headers().next().is_some();
    if has_content {
        return Err("it is erased, and has content".to_owned());
    }
    match Token::decode(token) {
        Some(_) => Ok(()),
        None => Err(format!("`erased` has {} bytes, not 32", token.len())),
    }
}

fn check_partition(topic: &Topic, partition: &PartitionRef, key: &[u8]) -> Result<(), String> {
    let belongs = partition_of_key(key, topic.partition_count());
    match belongs == partition.partition().id {
        true => Ok(()),
        false => Err(format!(
            "its key belongs in partition {belongs} of the topic's {}; import into a topic with as many partitions \
             as the exported one",
            topic.partition_count()
        )),
    }
}

/// Checks that a record may follow the one before it in the batch.
fn in_order(before: Option<&Imported>, record: &Imported) -> Result<(), String> {
    let Some(before) = before else {
        return Ok(());
    };
    if record.offset <= before.offset {
        return Err(format!(
            "its offset {} is not behind {}, that of the record before it",
            record.offset, before.offset
        ));
    }
    if record.append_time_ms < before.append_time_ms {
        return Err(earlier(record.append_time_ms, before.append_time_ms));
    }
    Ok(())
}

/// Checks an append time. One in the future is refused, because append times never go back: all
/// later ones would be in the future, too.
fn check_time(ms: i64, latest_ms: i64) -> Result<(), String> {
    match (0..=latest_ms).contains(&ms) {
        true => Ok(()),
        false => Err(format!(
            "its append time {ms} is before 1970, or more than a day ahead of the broker's clock"
        )),
    }
}

fn earlier(ms: i64, before_ms: i64) -> String {
    format!(
        "its append time {ms} is before {before_ms}, that of the record before it; append times never decrease along \
         a partition"
    )
}

/// Checks that the batch may follow the records in the partition. `entries` are the key table's
/// entries for the batch's keys.
pub(super) fn follows(
    partition: &PartitionRef,
    batch: &ImportBatch,
    checked: &Checked,
    entries: &[EntryId],
    next: &Next,
) -> Result<(), ImportRefused> {
    let first = checked.first();
    let problem = if first.offset < next.offset {
        Err(format!(
            "its offset {} is not behind those that the partition has: its next one is {}",
            first.offset, next.offset
        ))
    } else if first.append_time_ms < next.append_time_ms {
        Err(earlier(first.append_time_ms, next.append_time_ms))
    } else {
        room(partition, next, checked.last().offset.plus(1))
    };
    problem.map_err(|problem| refused(partition, batch, 0, problem))?;

    let mut newest: HashMap<EntryId, (Version, Option<Offset>)> = HashMap::new();
    let mut missing = Missing::default();
    let mut entries = entries.iter();
    for (nth, record) in (0..).zip(&checked.records) {
        if record.key.is_none() {
            continue;
        }
        let entry = *entries.next().expect("every key was looked up");
        let table = &next.keys.table;
        let before = newest
            .entry(entry)
            .or_insert_with(|| (table.version(entry), table.newest(entry)));
        missing
            .add(*before, record)
            .map_err(|problem| refused(partition, batch, nth, problem))?;
        *before = (record.version, Some(record.offset));
    }
    Ok(())
}

impl Missing {
    /// Checks a record against the record before it of the same key: its version must be higher,
    /// and so must its offset, if the table has that. Each skipped version takes some memory in the
    /// table.
    fn add(
        &mut self,
        (version, offset): (Version, Option<Offset>),
        record: &Imported,
    ) -> Result<(), String> {
        if record.version <= version {
            return Err(format!(
                "it has version {}, and its key is at version {version} already",
                record.version
            ));
        }
        let Some(offset) = offset else {
            return Ok(());
        };
        let missing = record.version.0 - version.0 - 1;
        if missing > record.offset.0 - offset.0 - 1 {
            return Err(format!(
                "it has version {}, and the record of its key before it version {version} at offset {offset}: there \
                 are not as many offsets between them",
                record.version
            ));
        }
        self.0 += missing;
        if self.0 > limits::MAX_VERSIONS_MISSING {
            return Err(format!(
                "more than {} versions lack between records of the same keys that are imported together",
                limits::MAX_VERSIONS_MISSING
            ));
        }
        Ok(())
    }
}

/// Fails if `end` is too far from the partition's end: a frame, and a key table, cover at most 2^32
/// offsets.
fn room(partition: &PartitionRef, next: &Next, end: Offset) -> Result<(), String> {
    let has_room = match partition.topic.keys() {
        Keys::Versioned => next.keys.table.has_room(end),
        Keys::Plain => end.0 - next.offset.0 <= u64::from(u32::MAX),
    };
    match has_room {
        true => Ok(()),
        false => Err(format!(
            "no record is left between offsets {} and {end}, which are more than fit at once; import again in a \
             while: it goes on from there",
            next.offset
        )),
    }
}

/// Checks the end that the import sets for a partition.
pub(super) fn end(partition: &PartitionRef, end: Offset) -> Result<(), ImportRefused> {
    let next = lock(&partition.partition().next);
    let problem = if end < next.offset {
        Err(format!(
            "it is to end at offset {end}, and has records up to {}",
            next.offset
        ))
    } else if end.0 > limits::MAX_IMPORTED_OFFSET {
        Err(format!("it cannot end at offset {end}"))
    } else {
        room(partition, &next, end)
    };
    let id = partition.partition().id;
    problem.map_err(|problem| ImportRefused::partition(&partition.topic, id, problem))
}
