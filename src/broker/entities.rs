//! Reading entities: one by version, or the latest of many.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError},
};

use bytes::Bytes;

use super::{
    Broker, Error, Shared,
    keys::{Rows, is_of_key},
    state::{PartitionRef, Topic},
};
use crate::{
    storage::{
        keys::{hash::KeyHash, table::Subject},
        log::FoundRecord,
    },
    types::{Offset, PartitionId, Version, limits, partition_of_key},
};

/// Which records of an entity to read.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReadKey {
    pub(crate) topic: String,
    pub(crate) key: Bytes,
    /// [`Version::NONE`]: from the first; backward, from the last.
    pub(crate) from: Version,
    pub(crate) backward: bool,
    /// 0: no limit.
    pub(crate) max_records: u64,
}

/// A read of one entity under way.
pub(crate) struct KeyReader {
    shared: Arc<Shared>,
    partition: PartitionRef,
    key: Bytes,
    hash: KeyHash,
    /// The latest version when the read began, and where the log ended.
    latest: Version,
    limit: Offset,
    /// The version to go on at; none when the read is complete.
    next: Option<Version>,
    backward: bool,
    remaining: u64,
}

/// The latest record of an entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Latest {
    /// Where its records are, or would be.
    pub(crate) partition: PartitionId,
    /// Of its latest record; [`Version::NONE`] if it never had one.
    pub(crate) version: Version,
    /// Encoded. None if there never was one, or it was trimmed.
    pub(crate) record: Option<Bytes>,
}

/// Rows that are looked up at once. Each of them may be a page of the disk away.
const ROWS_AT_ONCE: usize = 256;

impl Broker {
    /// Begins to read an entity. May read files.
    pub(crate) fn read_key(&self, read: ReadKey) -> Result<KeyReader, Error> {
        let topic = self.shared.topics().find(&read.topic)?;
        let (partition, hash) = entity(&topic, &read.key)?;
        let limit = partition.range().1;
        let subject = Subject::Key(&read.key);
        let (latest, _) = self.shared.latest_below(&partition, hash, subject, limit)?;
        let first = match read.from {
            Version::NONE if read.backward => latest,
            from if read.backward => from.min(latest),
            from => from.max(Version(1)),
        };
        Ok(KeyReader {
            shared: Arc::clone(&self.shared),
            partition,
            key: read.key,
            hash,
            latest,
            limit,
            next: (first != Version::NONE && first <= latest).then_some(first),
            backward: read.backward,
            remaining: if read.max_records == 0 { u64::MAX } else { read.max_records },
        })
    }

    /// The latest record of each of these entities, as they are at one moment. May read files.
    pub(crate) fn get_latest(&self, topic: &str, keys: &[Bytes]) -> Result<Vec<Latest>, Error> {
        if keys.len() > limits::MAX_LATEST_KEYS {
            return Err(Error::RequestTooLarge { what: "keys", count: keys.len(), limit: limits::MAX_LATEST_KEYS });
        }
        let topic = self.shared.topics().find(topic)?;
        let entities = keys.iter().map(|key| entity(&topic, key)).collect::<Result<Vec<_>, _>>()?;
        let ends = self.shared.ends_at_one_moment(entities.iter().map(|(partition, _)| partition));
        let latest = |(key, (partition, hash)): (&Bytes, (PartitionRef, KeyHash))| {
            let limit = ends[&partition.partition().id];
            self.shared.latest_record(&partition, hash, key, limit)
        };
        keys.iter().zip(entities).map(latest).collect()
    }
}

impl Shared {
    /// Where these partitions, all of one topic, end at one moment: of every atomic append, all lies before, or
    /// nothing.
    pub(super) fn ends_at_one_moment<'a>(
        &self,
        partitions: impl IntoIterator<Item = &'a PartitionRef>,
    ) -> BTreeMap<PartitionId, Offset> {
        let _gate = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        partitions.into_iter().map(|partition| (partition.partition().id, partition.range().1)).collect()
    }

    pub(super) fn latest_record(
        &self,
        partition: &PartitionRef,
        hash: KeyHash,
        key: &[u8],
        limit: Offset,
    ) -> Result<Latest, Error> {
        let (version, offset) = self.latest_below(partition, hash, Subject::Key(key), limit)?;
        let id = partition.partition().id;
        let Some(offset) = offset else { return Ok(Latest { partition: id, version, record: None }) };
        let record = self.read_record(partition, offset)?;
        Ok(Latest { partition: id, version, record: record.map(|record| record.encoded()) })
    }

    /// The record at an offset, as readers may see it; none if it was trimmed.
    fn read_record(&self, partition: &PartitionRef, offset: Offset) -> Result<Option<FoundRecord>, Error> {
        loop {
            let erased = partition.partition().erased();
            let found = self.reader(partition).record_at(offset).map_err(|error| self.explain(partition, error))?;
            if offset < partition.range().0 {
                return Ok(None);
            }
            let Some(found) = found else { return Ok(None) };
            // What was erased while the record was read must not be shown.
            if partition.partition().erased().is_same(&erased) {
                return Ok(Some(erased.hide(&partition.topic.hasher, found)));
            }
        }
    }
}

impl KeyReader {
    /// The entity's version when the read began.
    pub(crate) fn latest(&self) -> Version {
        self.latest
    }

    /// Where the entity's records are.
    pub(crate) fn partition(&self) -> PartitionId {
        self.partition.partition().id
    }

    /// The next records in wire form (tag, length, record, again and again), at most one response's worth; none when
    /// the read is complete. May read files.
    pub(crate) fn step(&mut self) -> Result<Option<Vec<Bytes>>, Error> {
        let (mut chosen, mut bytes) = (Vec::new(), 0);
        while let Some(from) = self.next.filter(|_| self.remaining > 0 && bytes < limits::MAX_RESPONSE_BYTES) {
            let rows = self.rows(from)?;
            let Some(last) = rows.last().map(|(version, _)| *version) else {
                self.next = None;
                break;
            };
            self.next = self.behind(last);
            for (version, offset) in rows {
                if self.remaining == 0 {
                    break;
                }
                let record = self.shared.read_record(&self.partition, offset)?;
                let Some(record) = record.filter(|record| record.view().version == Some(version.0)) else { continue };
                if !is_of_key(&record.view(), &self.key) {
                    continue;
                }
                let element = record.element();
                if !chosen.is_empty() && bytes + element.len() > limits::MAX_RESPONSE_BYTES {
                    self.next = Some(version);
                    return Ok(Some(chosen));
                }
                bytes += element.len();
                chosen.push(element);
                self.remaining -= 1;
            }
        }
        Ok((!chosen.is_empty()).then_some(chosen))
    }

    fn rows(&self, from: Version) -> Result<Vec<(Version, Offset)>, Error> {
        let most = ROWS_AT_ONCE.min(usize::try_from(self.remaining).unwrap_or(ROWS_AT_ONCE));
        let wanted = Rows {
            hash: self.hash,
            subject: Some(Subject::Key(&self.key)),
            from,
            backward: self.backward,
            most,
            limit: self.limit,
        };
        self.shared.rows_of(&self.partition, &wanted)
    }

    /// The version to go on at behind this one.
    fn behind(&self, version: Version) -> Option<Version> {
        if self.backward {
            version.0.checked_sub(1).filter(|before| *before > 0).map(Version)
        } else {
            Some(version.next()).filter(|next| *next <= self.latest)
        }
    }
}

/// Where an entity is.
pub(super) fn entity(topic: &Arc<Topic>, key: &[u8]) -> Result<(PartitionRef, KeyHash), Error> {
    if key.is_empty() || key.len() > limits::MAX_KEY_BYTES {
        let reason = format!("a key has 1 to {} bytes, not {}", limits::MAX_KEY_BYTES, key.len());
        return Err(Error::MalformedRequest { reason });
    }
    topic.check_versioned()?;
    let partition = topic.partition(partition_of_key(key, topic.partition_count()))?;
    Ok((partition, topic.hasher.key(key)))
}
