//! Reading one entity.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use tonic::{Status, Streaming};

use crate::client::link::Link;
use crate::{
    client::{
        Error, StoredRecord,
        status::{AtStake, answer},
        stored::Runs,
    },
    proto::{ReadKeyRequest, entities_client::EntitiesClient, wire::ReadKeyResponse},
    types::{MalformedRecord, PartitionId, RecordView, Version, limits},
};

/// Which records of an entity to read; see [`Entities::read`](super::Entities::read).
#[derive(Clone, Debug)]
#[must_use]
pub struct ReadEntity {
    calls: EntitiesClient<Link>,
    timeout: Duration,
    request: ReadKeyRequest,
}

impl ReadEntity {
    pub(super) fn new(
        calls: EntitiesClient<Link>,
        timeout: Duration,
        topic: &str,
        key: &[u8],
    ) -> Self {
        let key = Bytes::copy_from_slice(key);
        let request = ReadKeyRequest {
            topic: topic.to_owned(),
            key,
            max_response_bytes: limits::CLIENT_RESPONSE_BYTES,
            ..ReadKeyRequest::default()
        };
        Self {
            calls,
            timeout,
            request,
        }
    }

    /// Starts at this version. If its record is gone, or does not exist yet, starts at the next one
    /// in the direction of the read.
    pub fn from_version(mut self, version: Version) -> Self {
        self.request.from_version = version.0;
        self
    }

    /// Reads from the latest record to the first.
    pub fn backward(mut self) -> Self {
        self.request.backward = true;
        self
    }

    /// Ends after this many records.
    pub fn max_records(mut self, max: u64) -> Self {
        self.request.max_records = max;
        self
    }

    /// Starts reading. The read ends at the version that is the latest now.
    ///
    /// # Errors
    ///
    /// `UNKNOWN_TOPIC`, `PLAIN_TOPIC`, [`Error::DamagedRecords`], or if the broker is not
    /// available. It is not an error if the entity never had a record: then its [latest
    /// version](EntityReading::latest_version) is [`Version::NONE`].
    pub async fn open(mut self) -> Result<EntityReading, Error> {
        let mut responses = answer(
            self.timeout,
            AtStake::Nothing,
            self.calls.read_key(self.request),
        )
        .await?;
        let first = responses
            .message()
            .await
            .map_err(failed)?
            .ok_or_else(cut_short)?;
        Ok(EntityReading {
            responses,
            latest: Version(first.latest_version),
            start: Version(first.first_version),
            first: Some(first).filter(|first| !first.records.is_empty()),
            records: VecDeque::new(),
        })
    }
}

/// A read of one entity. Dropping it ends it.
#[derive(Debug)]
pub struct EntityReading {
    responses: Streaming<ReadKeyResponse>,
    latest: Version,
    start: Version,
    /// The first response, which had the latest version, until it is taken.
    first: Option<ReadKeyResponse>,
    /// The rest of the last batch, when records are taken one by one.
    records: VecDeque<StoredRecord>,
}

impl EntityReading {
    /// The entity's latest version when the read began; [`Version::NONE`] if it never had a record.
    #[must_use]
    pub fn latest_version(&self) -> Version {
        self.latest
    }

    /// The first version of the entity; records of lower versions were trimmed or have expired.
    /// Exact if the read began below it; otherwise the true first version may be higher.
    #[must_use]
    pub fn first_version(&self) -> Version {
        self.start
    }

    /// The next records; `None` at the end.
    ///
    /// # Errors
    ///
    /// [`Error::DamagedRecords`], or if the connection was lost.
    pub async fn next_batch(&mut self) -> Result<Option<EntityBatch>, Error> {
        let response = match self.first.take() {
            Some(first) => Some(first),
            None => self.responses.message().await.map_err(failed)?,
        };
        Ok(response.map(EntityBatch::new))
    }

    /// The next record on its own; `None` at the end. Use either this or
    /// [`next_batch`](Self::next_batch).
    ///
    /// # Errors
    ///
    /// As [`next_batch`](Self::next_batch), and [`Error::MalformedResponse`].
    pub async fn next_record(&mut self) -> Result<Option<StoredRecord>, Error> {
        loop {
            if let Some(record) = self.records.pop_front() {
                return Ok(Some(record));
            }
            let Some(batch) = self.next_batch().await? else {
                return Ok(None);
            };
            for record in batch.owned_records() {
                self.records.push_back(record?);
            }
        }
    }
}

/// Some records of an entity, in the order of the read.
#[derive(Clone, Debug)]
pub struct EntityBatch {
    /// The partition of the entity.
    pub partition: PartitionId,
    runs: Runs,
}

impl EntityBatch {
    fn new(response: ReadKeyResponse) -> Self {
        Self {
            partition: PartitionId(response.partition),
            runs: Runs(response.records),
        }
    }

    /// The records, borrowed from the received bytes: nothing is allocated.
    pub fn records(&self) -> impl Iterator<Item = Result<RecordView<'_>, MalformedRecord>> {
        self.runs.records()
    }

    /// The records as owned values, which share the received bytes.
    pub fn owned_records(&self) -> impl Iterator<Item = Result<StoredRecord, MalformedRecord>> {
        self.runs.owned_records(self.partition)
    }

    /// The size of the records, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.runs.bytes()
    }
}

pub(super) fn failed(status: Status) -> Error {
    Error::from_status(&status, AtStake::Nothing)
}

pub(super) fn cut_short() -> Error {
    Error::Unavailable {
        message: "the broker ended its answer before it was complete".to_owned(),
    }
}
