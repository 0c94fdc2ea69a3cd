//! The latest records of many entities at one moment.
//!
//! Which records these are is decided when the read begins. The records themselves are read in
//! steps, as the client takes them, so that a thousand large ones are never in memory together.
//! They do not change meanwhile. If one is trimmed before it is returned, only its version is
//! returned, as if it had been trimmed before.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;

use super::entity;
use crate::{
    broker::{Broker, Error, ResponseLimit, partitions::Partitions, state::PartitionRef},
    storage::keys::hash::KeyHash,
    types::{Offset, PartitionId, Version, limits},
};

/// A read of latest records.
pub(crate) struct LatestReader {
    owner: Arc<Partitions>,
    /// The records to return, in the order of the request.
    rows: Vec<Row>,
    /// How many were returned.
    returned: usize,
    /// How many to read in the next step.
    ahead: usize,
    response: ResponseLimit,
    /// `returned` and `ahead` before the last step.
    before: (usize, usize),
}

/// The latest record of an entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Latest {
    /// The partition of its records, even if it has none.
    pub(crate) partition: PartitionId,
    /// The version of its latest record; [`Version::NONE`] if it never had one.
    pub(crate) version: Version,
    /// The encoded record; `None` if there never was one, or it was trimmed.
    pub(crate) record: Option<Bytes>,
}

/// Where the latest record of an entity is.
struct Row {
    partition: PartitionRef,
    version: Version,
    /// `None` if there is no record.
    offset: Option<Offset>,
}

/// What a response has beside each record: a version, a partition, lengths.
const AROUND_LATEST: usize = 32;

/// How many records are read in the first step.
const FIRST_AHEAD: usize = 64;

impl Broker {
    /// Begins to read the latest record of each of these entities, as they are at one moment. May
    /// read files.
    pub(crate) fn read_latest(
        &self,
        topic: &str,
        keys: &[Bytes],
        response: ResponseLimit,
    ) -> Result<LatestReader, Error> {
        if keys.len() > limits::MAX_LATEST_KEYS {
            return Err(Error::RequestTooLarge {
                what: "keys",
                count: keys.len(),
                limit: limits::MAX_LATEST_KEYS,
            });
        }
        let topic = self.shared.partitions.topics().find(topic)?;
        let entities = keys
            .iter()
            .map(|key| entity(&topic, key))
            .collect::<Result<Vec<_>, _>>()?;
        let ends: Vec<Offset> = self
            .shared
            .partitions
            .at_one_moment(|| entities.iter().map(|(at, _)| at.range().1).collect());
        let row =
            |(key, ((partition, hash), limit)): (&Bytes, ((PartitionRef, KeyHash), Offset))| {
                let (version, offset) = self
                    .shared
                    .partitions
                    .latest_below(&partition, hash, key, limit)?;
                Ok::<_, Error>(Row {
                    partition,
                    version,
                    offset,
                })
            };
        let rows = keys
            .iter()
            .zip(entities.into_iter().zip(ends))
            .map(row)
            .collect();
        Ok(LatestReader {
            owner: Arc::clone(&self.shared.partitions),
            rows: topic.unless_deleted(rows)?,
            returned: 0,
            ahead: FIRST_AHEAD,
            response,
            before: (0, FIRST_AHEAD),
        })
    }
}

impl LatestReader {
    /// The next entities in the order of the request, up to one response; `None` when all were
    /// returned. May read files.
    pub(crate) fn step(&mut self) -> Result<Option<Vec<Latest>>, Error> {
        self.before = (self.returned, self.ahead);
        let ahead = self.ahead.min(self.rows.len() - self.returned);
        if ahead == 0 {
            return Ok(None);
        }
        let rows = &self.rows[self.returned..self.returned + ahead];
        let latest = self.read(rows);
        let latest = rows[0].partition.topic.unless_deleted(latest)?;
        self.returned += latest.len();
        // If records are large, fewer are read ahead, because those that do not fit are dropped.
        self.ahead = if latest.len() == ahead {
            2 * self.ahead
        } else {
            latest.len()
        };
        Ok(Some(latest))
    }

    /// Checks the size of the response that has what the last step returned, encoded.
    ///
    /// # Errors
    ///
    /// If the client takes less. The read is over then.
    pub(crate) fn check_response(&self, bytes: usize, latest: &[Latest]) -> Result<(), Error> {
        let first = latest.first().and_then(|latest| latest.record.as_ref());
        match first {
            Some(record) => {
                let at = &self.rows[self.before.0].partition;
                self.response.check_record(bytes, at, record)
            }
            None => Ok(()),
        }
    }

    /// Whether all were returned.
    pub(crate) fn is_complete(&self) -> bool {
        self.returned == self.rows.len()
    }

    /// Reads again what the last step returned. It differs if records have changed.
    pub(crate) fn again(&mut self) -> Result<Option<Vec<Latest>>, Error> {
        (self.returned, self.ahead) = self.before;
        self.step()
    }

    /// The reader's memory, in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.rows.capacity() * size_of::<Row>()
    }

    /// As many of the first rows as fit in a response, and at least one.
    fn read(&self, rows: &[Row]) -> Result<Vec<Latest>, Error> {
        // In the order of offsets, so that a frame with several of the records is read once.
        let mut by_place: Vec<usize> = (0..rows.len()).collect();
        by_place.sort_by_key(|at| (rows[*at].partition.partition().id, rows[*at].offset));
        let mut found: BTreeMap<usize, Latest> = BTreeMap::new();
        let most = self.response.most();
        let (mut fit, mut bytes) = (rows.len(), 0);
        for at in by_place {
            if at >= fit {
                continue;
            }
            let latest = rows[at].read(&self.owner)?;
            bytes += latest.bytes();
            found.insert(at, latest);
            while bytes > most.bytes && found.len() > 1 {
                let Some((last, dropped)) = found.pop_last() else {
                    break;
                };
                bytes -= dropped.bytes();
                fit = last;
            }
        }
        Ok(found.into_values().collect())
    }
}

impl Row {
    fn read(&self, owner: &Partitions) -> Result<Latest, Error> {
        let record = self
            .offset
            .map(|offset| owner.read_record(&self.partition, offset))
            .transpose()?
            .flatten();
        Ok(Latest {
            partition: self.partition.partition().id,
            version: self.version,
            record: record.map(|record| record.encoded()),
        })
    }
}

impl Latest {
    /// The size of this element in a response, with everything beside the record.
    fn bytes(&self) -> usize {
        AROUND_LATEST + self.record.as_ref().map_or(0, Bytes::len)
    }
}
