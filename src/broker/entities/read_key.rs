//! Reading one entity, in the order of its versions.

use std::sync::Arc;

use bytes::Bytes;

use super::entity;
use crate::{
    broker::{
        Broker, Error, ResponseLimit,
        keys::{Begun, Rows, is_of_key},
        partitions::Partitions,
        state::PartitionRef,
    },
    storage::keys::hash::KeyHash,
    types::{Offset, PartitionId, Version},
};

/// Which records of an entity to read.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReadKey {
    pub(crate) topic: String,
    pub(crate) key: Bytes,
    /// The version to begin at. [`Version::NONE`] is the first; backward, the last.
    pub(crate) from: Version,
    pub(crate) backward: bool,
    /// 0 for no limit.
    pub(crate) max_records: u64,
    pub(crate) response: ResponseLimit,
}

/// A read of one entity.
pub(crate) struct KeyReader {
    owner: Arc<Partitions>,
    partition: PartitionRef,
    key: Bytes,
    hash: KeyHash,
    /// The latest version when the read began; `limit` is where the log ended then.
    latest: Version,
    /// Records of lower versions are gone.
    start: Version,
    limit: Offset,
    /// The version to continue at; `None` when the read is complete.
    next: Option<Version>,
    backward: bool,
    remaining: u64,
    response: ResponseLimit,
    /// `next` and `remaining` before the last step.
    before: (Option<Version>, u64),
    /// The first rows, which were looked up when the read began; taken by the first step.
    first: Option<Vec<(Version, Offset)>>,
}

/// Most rows that are looked up at once. Each may need a page from the disk.
const ROWS_AT_ONCE: usize = 256;

impl Broker {
    /// Begins to read an entity. May read files.
    pub(crate) fn read_key(&self, read: ReadKey) -> Result<KeyReader, Error> {
        let topic = self.shared.partitions.topics().find(&read.topic)?;
        let (partition, hash) = entity(&topic, &read.key)?;
        let limit = partition.range().1;
        let remaining = if read.max_records == 0 {
            u64::MAX
        } else {
            read.max_records
        };
        let owner = &self.shared.partitions;
        let start = owner.start_of_entity(&partition, hash, &read.key)?;
        let from = match read.from {
            Version::NONE if read.backward => Version(u64::MAX),
            from if read.backward => from,
            from => from.max(start),
        };
        let wanted = Rows {
            hash,
            key: Some(&read.key),
            from,
            backward: read.backward,
            most: rows_at_once(remaining),
            limit,
        };
        let begun = owner.begin_reading(&partition, &read.key, &wanted);
        let Begun { latest, rows } = topic.unless_deleted(begun)?;
        let first = if read.backward {
            from.min(latest)
        } else {
            from
        };
        let next = (start..=latest).contains(&first).then_some(first);
        Ok(KeyReader {
            owner: Arc::clone(&self.shared.partitions),
            partition,
            key: read.key,
            hash,
            latest,
            start,
            limit,
            next,
            backward: read.backward,
            remaining,
            response: read.response,
            before: (next, remaining),
            first: rows,
        })
    }
}

/// How many rows to look up for `remaining` records.
fn rows_at_once(remaining: u64) -> usize {
    ROWS_AT_ONCE.min(usize::try_from(remaining).unwrap_or(ROWS_AT_ONCE))
}

impl KeyReader {
    /// The reader's memory, in bytes.
    pub(crate) fn memory(&self) -> usize {
        let first = self.first.as_ref();
        self.key.len() + first.map_or(0, |rows| rows.capacity() * size_of::<(Version, Offset)>())
    }

    /// The entity's version when the read began.
    pub(crate) fn latest(&self) -> Version {
        self.latest
    }

    /// The first version of the entity, as far as the read knows: records of lower versions are
    /// gone.
    pub(crate) fn start(&self) -> Version {
        self.start
    }

    /// The partition of the entity.
    pub(crate) fn partition(&self) -> PartitionId {
        self.partition.partition().id
    }

    /// The next records in wire form (tag, length and record, repeated), up to one response; `None`
    /// when the read is complete. May read files.
    pub(crate) fn step(&mut self) -> Result<Option<Vec<Bytes>>, Error> {
        self.before = (self.next, self.remaining);
        let chosen = self.choose();
        self.partition.topic.unless_deleted(chosen)
    }

    /// Checks the size of the response that has these records behind a head of so many bytes.
    ///
    /// # Errors
    ///
    /// If the client takes less. The read is over then.
    pub(crate) fn check_response(&self, head: usize, records: &[Bytes]) -> Result<(), Error> {
        let bytes: usize = records.iter().map(Bytes::len).sum();
        self.response.check(head + bytes, &self.partition, records)
    }

    /// Whether all were returned, as far as that is known without reading.
    pub(crate) fn is_complete(&self) -> bool {
        self.next.is_none() || self.remaining == 0
    }

    /// Reads again what the last step returned. It differs if records have changed.
    pub(crate) fn again(&mut self) -> Result<Option<Vec<Bytes>>, Error> {
        (self.next, self.remaining) = self.before;
        self.step()
    }

    fn choose(&mut self) -> Result<Option<Vec<Bytes>>, Error> {
        let (mut chosen, mut bytes) = (Vec::new(), 0);
        let most = self.response.most();
        while let Some(from) = self
            .next
            .filter(|_| self.remaining > 0 && bytes < most.bytes)
        {
            let rows = match self.first.take() {
                Some(rows) => rows,
                None => self.rows(from)?,
            };
            let Some(last) = rows.last().map(|(version, _)| *version) else {
                self.next = None;
                break;
            };
            self.next = self.behind(last);
            for (version, offset) in rows {
                if self.remaining == 0 {
                    break;
                }
                let record = self.owner.read_record(&self.partition, offset)?;
                let Some(record) = record.filter(|record| record.view().version == Some(version.0))
                else {
                    self.pass_gone(version, offset);
                    continue;
                };
                if !is_of_key(&record.view(), &self.key) {
                    continue;
                }
                let element = record.element();
                if !chosen.is_empty() && bytes + element.len() > most.bytes {
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
        let wanted = Rows {
            hash: self.hash,
            key: Some(&self.key),
            from,
            backward: self.backward,
            most: rows_at_once(self.remaining),
            limit: self.limit,
        };
        self.owner.rows_of(&self.partition, &wanted)
    }

    /// Handles a row whose record is gone. If it lay before the log's start, all earlier records of
    /// the entity are gone too.
    fn pass_gone(&mut self, version: Version, offset: Offset) {
        if offset < self.partition.range().0 {
            self.start = self.start.max(version.next());
        }
    }

    /// The version behind this one, in the direction of the read.
    fn behind(&self, version: Version) -> Option<Version> {
        if self.backward {
            let before = version.0.checked_sub(1).map(Version);
            before.filter(|before| *before >= self.start)
        } else {
            Some(version.next()).filter(|next| *next <= self.latest)
        }
    }
}
