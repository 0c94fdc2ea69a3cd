//! Reads: what to read, and the batches that come of it. `reading.rs` is the read itself.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;

use super::link::Link;
use super::{
    Error, Outage, Reading, StoredRecord,
    offsets::to_wire,
    outage::Outages,
    status::{AtStake, answer},
    stored::Runs,
};
use crate::{
    proto::{self, log_client::LogClient, position::At, wire::ReadResponse},
    types::{MalformedRecord, Offset, PartitionId, Position, RecordView, TopicId, Version, limits},
};

/// What to read; see [`Client::read`](super::Client::read).
#[derive(Clone, Debug)]
#[must_use]
pub struct Read {
    pub(super) log: LogClient<Link>,
    pub(super) request: proto::ReadRequest,
    pub(super) retry_for: Duration,
    pub(super) outages: Outages,
    timeout: Duration,
}

impl Read {
    pub(super) fn new(log: LogClient<Link>, timeout: Duration, topic: &str) -> Self {
        let request = proto::ReadRequest {
            topic: topic.to_owned(),
            max_response_bytes: limits::CLIENT_RESPONSE_BYTES,
            ..proto::ReadRequest::default()
        };
        Self {
            log,
            request,
            retry_for: Duration::from_secs(60),
            outages: Outages::default(),
            timeout,
        }
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

    /// For how long the broker may be away: the read goes on by itself where it was, once the
    /// broker is back. Each record that comes starts this time anew. Default: 60 s; zero for a read
    /// that ends with its connection.
    pub fn retry_for(mut self, time: Duration) -> Self {
        self.retry_for = time;
        self
    }

    /// Tells when the read has lost the broker, and when it goes on. What it calls must not block.
    pub fn on_outage(mut self, listener: impl Fn(Outage) + Send + Sync + 'static) -> Self {
        self.outages = Outages::told_to(listener);
        self
    }

    /// Starts reading. Where it starts is settled when this returns.
    ///
    /// # Errors
    ///
    /// `UNKNOWN_TOPIC`, `UNKNOWN_PARTITION`, `TOPIC_RECREATED`, [`Error::OffsetOutOfRange`], or if
    /// the broker is not available. These errors may also come with the first batch.
    pub async fn open(mut self) -> Result<Reading, Error> {
        let positions = match self.offsets() {
            Some(offsets) => offsets,
            None => self.settle().await?,
        };
        Reading::open(self, positions).await
    }

    /// The offsets to start at, if they are known without asking the broker.
    fn offsets(&self) -> Option<BTreeMap<PartitionId, Offset>> {
        let mut offsets = BTreeMap::new();
        for place in &self.request.partitions {
            let position = place.position.or(self.request.start)?;
            let At::Offset(offset) = position.at? else {
                return None;
            };
            offsets.insert(PartitionId(place.partition), Offset(offset));
        }
        (!offsets.is_empty()).then_some(offsets)
    }

    /// Asks for the offset of every place to start at, so that a read that breaks off before it has
    /// heard of a partition begins there again, and not at what is the end by then. Returns the
    /// offsets.
    async fn settle(&mut self) -> Result<BTreeMap<PartitionId, Offset>, Error> {
        let start = self.request.start.take();
        let named = std::mem::take(&mut self.request.partitions);
        let ask = proto::ListOffsetsRequest {
            topic: self.request.topic.clone(),
            position: start,
            partitions: named.clone(),
            topic_id: self.request.topic_id.clone(),
        };
        let call = self.log.list_offsets(ask);
        let found = answer(self.timeout, AtStake::Nothing, call).await?;
        self.request.topic_id = found.topic_id;
        let mut positions = BTreeMap::new();
        // In the order of those that are named, if there are any.
        for (index, place) in found.offsets.iter().enumerate() {
            let own = named.get(index).and_then(|named| named.position);
            let mut position = own.or(start).unwrap_or(to_wire(Position::Earliest));
            // The beginning may be trimmed meanwhile, and then is what is the beginning by then.
            if position != to_wire(Position::Earliest) {
                position.at = Some(At::Offset(place.offset));
                positions.insert(PartitionId(place.partition), Offset(place.offset));
            }
            self.request.partitions.push(proto::PartitionPosition {
                partition: place.partition,
                position: Some(position),
            });
        }
        Ok(positions)
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
    pub(super) fn new(response: ReadResponse) -> Self {
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
    /// too. Only a read that [follows](Read::follow) is told, and not of what was erased while it
    /// was without the broker.
    #[must_use]
    pub fn erased(&self) -> &[ErasedEntity] {
        &self.erased
    }

    /// The size of the records, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.runs.bytes()
    }

    /// How many records there are, without looking into them.
    pub(super) fn count(&self) -> u64 {
        self.runs.count()
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
