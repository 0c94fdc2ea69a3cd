//! Entities: read one, read the latest records of many, trim, erase.

mod read;
mod trim;

use std::time::Duration;

use bytes::Bytes;
use tonic::Response;

pub use self::{
    read::{EntityBatch, EntityReading, ReadEntity},
    trim::TrimmedEntity,
};
use super::link::Link;
use super::{
    Error, StoredRecord,
    status::{AtStake, answer},
};
use crate::{
    proto::{self, entities_client::EntitiesClient, wire},
    types::{PartitionId, RecordView, Version, limits},
};

/// Reads, trims and erases entities; see [`Client::entities`](super::Client::entities).
#[derive(Clone, Debug)]
pub struct Entities {
    calls: EntitiesClient<Link>,
    timeout: Duration,
}

/// The latest state of an entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LatestRecord {
    /// The version of its latest record; [`Version::NONE`] if it never had one.
    pub version: Version,
    /// Its latest record; `None` if there never was one, or it was trimmed.
    pub record: Option<StoredRecord>,
}

/// The erasure of an entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erasure {
    /// Its id, for [`Entities::erasure`].
    pub id: u64,
    /// Whether the bytes are gone from every file.
    pub complete: bool,
    /// When it was asked for, in milliseconds since 1970-01-01T00:00:00Z.
    pub requested_ms: i64,
    /// By when it should be complete, in the same unit.
    pub deadline_ms: i64,
    /// The version of the last erased record. [`Version::NONE`] if there was nothing to erase;
    /// [`Version::UNKNOWN`] if that is not known, because records that may be the entity's are
    /// damaged.
    pub through: Version,
    /// Why it could not be completed when it was last tried, as text. The broker tries again.
    pub problem: Option<String>,
}

impl Entities {
    pub(super) fn new(calls: EntitiesClient<Link>, timeout: Duration) -> Self {
        Self { calls, timeout }
    }

    /// Reads the records of an entity: by default all of them, from the first version on. See
    /// [`ReadEntity`] for the options.
    pub fn read(&self, topic: &str, key: impl AsRef<[u8]>) -> ReadEntity {
        ReadEntity::new(self.calls.clone(), self.timeout, topic, key.as_ref())
    }

    /// The latest records of up to 1,000 entities at one moment, in the order of `keys`.
    ///
    /// # Errors
    ///
    /// `UNKNOWN_TOPIC`, `PLAIN_TOPIC`, `REQUEST_TOO_LARGE`, [`Error::DamagedRecords`], or if the
    /// broker is not available.
    pub async fn latest(
        &self,
        topic: &str,
        keys: impl IntoIterator<Item = impl AsRef<[u8]>>,
    ) -> Result<Vec<LatestRecord>, Error> {
        let keys: Vec<Bytes> = keys
            .into_iter()
            .map(|key| Bytes::copy_from_slice(key.as_ref()))
            .collect();
        let asked = keys.len();
        let request = proto::GetLatestRequest {
            topic: topic.to_owned(),
            keys,
            max_response_bytes: limits::CLIENT_RESPONSE_BYTES,
        };
        let mut calls = self.calls.clone();
        let all_responses = async {
            let mut responses = calls.get_latest(request).await?.into_inner();
            let mut latest = Vec::with_capacity(asked);
            while let Some(response) = responses.message().await? {
                latest.extend(response.latest);
            }
            Ok(Response::new(latest))
        };
        let latest = answer(self.timeout, AtStake::Nothing, all_responses).await?;
        let latest = latest
            .into_iter()
            .map(LatestRecord::new)
            .collect::<Result<Vec<_>, _>>()?;
        if latest.len() == asked {
            Ok(latest)
        } else {
            Err(read::cut_short())
        }
    }

    /// Erases an entity: once this returns, no read returns keys, values, headers and event ids of
    /// its records any more. Their bytes are then removed from every file; [`Erasure::complete`]
    /// says when that is done.
    ///
    /// # Errors
    ///
    /// `UNKNOWN_TOPIC`, `PLAIN_TOPIC`, `TOO_MANY_ERASURES`, or the errors of any change.
    pub async fn erase(&self, topic: &str, key: impl AsRef<[u8]>) -> Result<Erasure, Error> {
        let key = Bytes::copy_from_slice(key.as_ref());
        let request = proto::EraseKeyRequest {
            topic: topic.to_owned(),
            key,
        };
        let response = answer(
            self.timeout,
            AtStake::Change,
            self.calls.clone().erase_key(request),
        )
        .await?;
        Ok(response.erasure.unwrap_or_default().into())
    }

    /// The state of an erasure.
    ///
    /// # Errors
    ///
    /// `UNKNOWN_ERASURE`, or if the broker is not available.
    pub async fn erasure(&self, id: u64) -> Result<Erasure, Error> {
        let request = proto::DescribeErasureRequest { id };
        let response = answer(
            self.timeout,
            AtStake::Nothing,
            self.calls.clone().describe_erasure(request),
        )
        .await?;
        Ok(response.erasure.unwrap_or_default().into())
    }
}

impl LatestRecord {
    fn new(latest: wire::LatestRecord) -> Result<Self, Error> {
        let partition = PartitionId(latest.partition);
        let record = match &latest.record {
            Some(encoded) => Some(StoredRecord::new(
                partition,
                encoded,
                &RecordView::parse(encoded)?,
            )),
            None => None,
        };
        Ok(Self {
            version: Version(latest.version),
            record,
        })
    }
}

impl From<proto::Erasure> for Erasure {
    fn from(erasure: proto::Erasure) -> Self {
        Self {
            id: erasure.id,
            complete: erasure.complete,
            requested_ms: erasure.requested_ms,
            deadline_ms: erasure.deadline_ms,
            through: Version(erasure.through_version),
            problem: (!erasure.problem.is_empty()).then_some(erasure.problem),
        }
    }
}
