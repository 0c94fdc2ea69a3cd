//! Reads: what to read, and the stream of batches.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use tonic::Streaming;

use super::link::Link;
use super::{Error, StoredRecord, offsets::to_wire, status::AtStake, stored::Runs};
use crate::{
    proto::{self, log_client::LogClient, wire::ReadResponse},
    types::{MalformedRecord, Offset, PartitionId, Position, RecordView, TopicId, Version, limits},
};

/// What to read; see [`Client::read`](super::Client::read).
#[derive(Clone, Debug)]
#[must_use]
pub struct Read {
    log: LogClient<Link>,
    request: proto::ReadRequest,
}

impl Read {
    pub(super) fn new(log: LogClient<Link>, topic: &str) -> Self {
        let request = proto::ReadRequest {
            topic: topic.to_owned(),
            max_response_bytes: limits::CLIENT_RESPONSE_BYTES,
            ..proto::ReadRequest::default()
        };
        Self { log, request }
    }

    /// Where to start in partitions without a position of their own.
    pub fn from(mut self, start: Position) -> Self {
        self.request.start = Some(to_wire(start));
        self
    }

    /// Reads this partition, in addition to others that are named.
    pub fn partition(mut self, partition: PartitionId) -> Self {
        self.request.partitions.push(proto::PartitionPosition {
            partition: partition.0,
            position: None,
        });
        self
    }

    /// Reads this partition from a position of its own.
    pub fn partition_from(mut self, partition: PartitionId, start: Position) -> Self {
        let position = Some(to_wire(start));
        self.request.partitions.push(proto::PartitionPosition {
            partition: partition.0,
            position,
        });
        self
    }

    /// Reads only if the topic with this name still has this id; otherwise fails with
    /// `TOPIC_RECREATED`. Offsets from an earlier read mean nothing in a topic that was deleted and
    /// created again, so pass the id together with them, as [`Reading::topic_id`] or
    /// [`PartitionOffset::topic_id`](super::PartitionOffset::topic_id) returned it.
    pub fn topic_id(mut self, id: TopicId) -> Self {
        self.request.topic_id = id.to_string();
        self
    }

    /// Continues with records as they are appended, instead of ending at the last one there is now.
    pub fn follow(mut self) -> Self {
        self.request.follow = true;
        self
    }

    /// Ends after this many records.
    pub fn max_records(mut self, max: u64) -> Self {
        self.request.max_records = max;
        self
    }

    /// Returns only records with this key, or other keys that are named. At most 1,000 keys.
    pub fn key(mut self, key: impl AsRef<[u8]>) -> Self {
        self.filter()
            .keys
            .push(Bytes::copy_from_slice(key.as_ref()));
        self
    }

    /// Returns only records of this type, or other types that are named. At most 1,000 types.
    pub fn event_type(mut self, event_type: &str) -> Self {
        self.filter().types.push(event_type.to_owned());
        self
    }

    fn filter(&mut self) -> &mut proto::Filter {
        self.request.filter.get_or_insert_default()
    }

    /// Starts reading.
    ///
    /// # Errors
    ///
    /// `UNKNOWN_TOPIC`, `UNKNOWN_PARTITION`, `TOPIC_RECREATED`, [`Error::OffsetOutOfRange`], or if
    /// the broker is not available. These errors may also come with the first batch.
    pub async fn open(mut self) -> Result<Reading, Error> {
        let responses = self.log.read(self.request).await;
        let responses = responses
            .map_err(|status| Error::from_status(&status, AtStake::Nothing))?
            .into_inner();
        Ok(Reading {
            responses,
            topic_id: None,
            positions: BTreeMap::new(),
            records: VecDeque::new(),
        })
    }
}

/// A read of a topic. Dropping it ends it.
#[derive(Debug)]
pub struct Reading {
    responses: Streaming<ReadResponse>,
    topic_id: Option<TopicId>,
    positions: BTreeMap<PartitionId, Offset>,
    /// The rest of the last batch, when records are taken one by one.
    records: VecDeque<StoredRecord>,
}

impl Reading {
    /// The next batch: some records of one partition, or news about how far the read is. `None` at
    /// the end.
    ///
    /// # Errors
    ///
    /// [`Error::DamagedRecords`] at a damaged range: continue behind it with a new read.
    /// [`Error::Unavailable`] if the connection is lost: continue from
    /// [`positions`](Self::positions), with the [`topic_id`](Self::topic_id). `UNKNOWN_TOPIC` if
    /// the topic was deleted.
    pub async fn next_batch(&mut self) -> Result<Option<ReadBatch>, Error> {
        match self.responses.message().await {
            Ok(Some(response)) => {
                self.topic_id = TopicId::parse(&response.topic_id);
                let batch = ReadBatch::new(response);
                self.positions.insert(batch.partition, batch.next_offset);
                Ok(Some(batch))
            }
            Ok(None) => Ok(None),
            Err(status) => Err(Error::from_status(&status, AtStake::Nothing)),
        }
    }

    /// The next record on its own; `None` at the end. Use either this or
    /// [`next_batch`](Self::next_batch); only that one tells of erased entities.
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

    /// The topic's id, once the broker has sent it. Pass it to [`Read::topic_id`] for a read that
    /// continues from [`positions`](Self::positions).
    #[must_use]
    pub fn topic_id(&self) -> Option<TopicId> {
        self.topic_id
    }

    /// Where the next batch of each partition begins, as far as the broker has said. A read that
    /// broke off can be continued from here, in the same topic.
    #[must_use]
    pub fn positions(&self) -> &BTreeMap<PartitionId, Offset> {
        &self.positions
    }
}

/// Some records of one partition. A batch without records only tells how far the read is.
#[derive(Clone, Debug)]
pub struct ReadBatch {
    /// The partition.
    pub partition: PartitionId,
    /// Where the partition's next batch begins: all records before it were returned or did not
    /// match the filter.
    pub next_offset: Offset,
    /// The offset that the partition's next record will get.
    pub high_watermark: Offset,
    /// Whether `next_offset` has reached the high watermark.
    pub caught_up: bool,
    erased: Vec<ErasedEntity>,
    runs: Runs,
}

impl ReadBatch {
    fn new(response: ReadResponse) -> Self {
        Self {
            partition: PartitionId(response.partition),
            next_offset: Offset(response.next_offset),
            high_watermark: Offset(response.high_watermark),
            caught_up: response.caught_up,
            erased: response
                .erased
                .iter()
                .filter_map(ErasedEntity::new)
                .collect(),
            runs: Runs(response.records),
        }
    }

    /// The records in offset order, borrowed from the received bytes: nothing is allocated.
    pub fn records(&self) -> impl Iterator<Item = Result<RecordView<'_>, MalformedRecord>> {
        self.runs.records()
    }

    /// The records in offset order as owned values, which share the received bytes.
    pub fn owned_records(&self) -> impl Iterator<Item = Result<StoredRecord, MalformedRecord>> {
        self.runs.owned_records(self.partition)
    }

    /// Entities that were erased since the read began: erase what was derived from their records
    /// too. Only a read that [follows](Read::follow) is told.
    #[must_use]
    pub fn erased(&self) -> &[ErasedEntity] {
        &self.erased
    }

    /// The size of the records, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.runs.bytes()
    }
}

/// The notice that an entity was erased. It has no key, only what is needed to recognize the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErasedEntity {
    /// SHA-256 of the key.
    pub key_sha256: [u8; 32],
    /// The version of the last erased record: this one and all before it were erased.
    /// [`Version::UNKNOWN`] if that is not known, because records that may be the entity's are
    /// damaged; then all of its records before `end` were erased.
    pub through: Version,
    /// The offset behind the last erased record.
    pub end: Offset,
}

impl ErasedEntity {
    /// `None` if the notice has no complete hash, so that no key could be recognized by it.
    pub(super) fn new(notice: &proto::ErasedEntity) -> Option<Self> {
        let key_sha256 = notice.key_sha256.as_ref().try_into().ok()?;
        Some(Self {
            key_sha256,
            through: Version(notice.through_version),
            end: Offset(notice.end_offset),
        })
    }
}
