//! Reads: what to read, the stream of batches, and the records in them.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use tonic::{Streaming, transport::Channel};

use super::{Error, Record, offsets::to_wire, status::AtStake};
use crate::{
    proto::{self, log_client::LogClient, wire::ReadResponse},
    types::{MalformedRecord, Offset, PartitionId, Position, RecordView, Records},
};

/// What to read; see [`Client::read`](super::Client::read).
#[derive(Clone, Debug)]
#[must_use]
pub struct Read {
    log: LogClient<Channel>,
    request: proto::ReadRequest,
}

impl Read {
    pub(super) fn new(log: LogClient<Channel>, topic: &str) -> Self {
        let request = proto::ReadRequest { topic: topic.to_owned(), ..proto::ReadRequest::default() };
        Self { log, request }
    }

    /// Where to start in the partitions that are not given a place of their own.
    pub fn from(mut self, start: Position) -> Self {
        self.request.start = Some(to_wire(start));
        self
    }

    /// Reads this partition, beside the others that are named.
    pub fn partition(mut self, partition: PartitionId) -> Self {
        self.request.partitions.push(proto::PartitionPosition { partition: partition.0, position: None });
        self
    }

    /// Reads this partition from a place of its own.
    pub fn partition_from(mut self, partition: PartitionId, start: Position) -> Self {
        let position = Some(to_wire(start));
        self.request.partitions.push(proto::PartitionPosition { partition: partition.0, position });
        self
    }

    /// Goes on with records as they are appended, instead of ending at what is there now.
    pub fn follow(mut self) -> Self {
        self.request.follow = true;
        self
    }

    /// Ends after this many records.
    pub fn max_records(mut self, max: u64) -> Self {
        self.request.max_records = max;
        self
    }

    /// Only records with this key, or another one that is named. At most 1,000.
    pub fn key(mut self, key: impl AsRef<[u8]>) -> Self {
        self.filter().keys.push(Bytes::copy_from_slice(key.as_ref()));
        self
    }

    /// Only records of this type, or another one that is named. At most 1,000.
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
    /// `UNKNOWN_TOPIC`, `UNKNOWN_PARTITION`, [`Error::OffsetOutOfRange`], or that the broker is not available. The
    /// broker may also say so on the first batch.
    pub async fn open(mut self) -> Result<Reading, Error> {
        let responses = self.log.read(self.request).await;
        let responses = responses.map_err(|status| Error::from_status(&status, AtStake::Nothing))?.into_inner();
        Ok(Reading { responses, positions: BTreeMap::new(), records: VecDeque::new() })
    }
}

/// A read under way. Dropping it ends it.
#[derive(Debug)]
pub struct Reading {
    responses: Streaming<ReadResponse>,
    positions: BTreeMap<PartitionId, Offset>,
    /// The rest of the last batch, when records are taken one by one.
    records: VecDeque<StoredRecord>,
}

impl Reading {
    /// The next batch: some records of one partition, or news about how far the read has come. None at the end.
    ///
    /// # Errors
    ///
    /// [`Error::DamagedRecords`] at a damaged range: read on behind it with a new read. [`Error::Unavailable`] when the
    /// connection is lost: read on from [`positions`](Self::positions). `UNKNOWN_TOPIC` if it has been deleted.
    pub async fn next_batch(&mut self) -> Result<Option<ReadBatch>, Error> {
        match self.responses.message().await {
            Ok(Some(response)) => {
                let batch = ReadBatch::new(response);
                self.positions.insert(batch.partition, batch.next_offset);
                Ok(Some(batch))
            }
            Ok(None) => Ok(None),
            Err(status) => Err(Error::from_status(&status, AtStake::Nothing)),
        }
    }

    /// The next record, by itself. None at the end. Use either this or [`next_batch`](Self::next_batch).
    ///
    /// # Errors
    ///
    /// As [`next_batch`](Self::next_batch), and [`Error::MalformedResponse`].
    pub async fn next_record(&mut self) -> Result<Option<StoredRecord>, Error> {
        loop {
            if let Some(record) = self.records.pop_front() {
                return Ok(Some(record));
            }
            let Some(batch) = self.next_batch().await? else { return Ok(None) };
            for record in batch.owned_records() {
                self.records.push_back(record?);
            }
        }
    }

    /// Where the next batch of each partition begins, as far as the broker has said: a read that broke off goes on from
    /// here.
    #[must_use]
    pub fn positions(&self) -> &BTreeMap<PartitionId, Offset> {
        &self.positions
    }
}

/// Some records of one partition; without records, news about how far the read has come.
#[derive(Clone, Debug)]
pub struct ReadBatch {
    /// The partition.
    pub partition: PartitionId,
    /// Where its next batch begins: everything before has been returned or did not match the filter.
    pub next_offset: Offset,
    /// The offset that the partition's next record will get.
    pub high_watermark: Offset,
    /// Whether `next_offset` has reached the high watermark.
    pub caught_up: bool,
    runs: Vec<Bytes>,
}

impl ReadBatch {
    fn new(response: ReadResponse) -> Self {
        Self {
            partition: PartitionId(response.partition),
            next_offset: Offset(response.next_offset),
            high_watermark: Offset(response.high_watermark),
            caught_up: response.caught_up,
            runs: response.records,
        }
    }

    /// The records in offset order, borrowed from the received bytes: nothing is allocated.
    pub fn records(&self) -> impl Iterator<Item = Result<RecordView<'_>, MalformedRecord>> {
        self.runs.iter().flat_map(|run| Records::new(run)).map(|element| RecordView::parse(element?.1))
    }

    /// The records in offset order, each with its own hold on the received bytes.
    pub fn owned_records(&self) -> impl Iterator<Item = Result<StoredRecord, MalformedRecord>> {
        let elements = self.runs.iter().flat_map(|run| Records::new(run).map(move |element| (run, element)));
        elements.map(|(run, element)| {
            let view = RecordView::parse(element?.1)?;
            Ok(StoredRecord::new(self.partition, run, &view))
        })
    }

    /// How many bytes of records there are.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.runs.iter().map(Bytes::len).sum()
    }
}

/// A record as the broker stores it. Keeping one keeps the batch that it came with in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRecord {
    /// The partition.
    pub partition: PartitionId,
    /// Its place in the partition.
    pub offset: Offset,
    /// What it is about.
    pub key: Option<Bytes>,
    /// The content; none is a tombstone.
    pub value: Option<Bytes>,
    /// The type of the event.
    pub event_type: String,
    /// The headers, in order.
    pub headers: Vec<(String, Bytes)>,
    /// When it happened, in milliseconds since 1970-01-01T00:00:00Z.
    pub timestamp_ms: i64,
    /// When the broker took it, in milliseconds since 1970-01-01T00:00:00Z.
    pub append_time_ms: i64,
    /// The producer's identity for the event; empty for none.
    pub event_id: Bytes,
    /// Its number among its entity's records, in topics that count versions.
    pub version: Option<u64>,
}

impl StoredRecord {
    fn new(partition: PartitionId, run: &Bytes, view: &RecordView<'_>) -> Self {
        let append_time_ms = view.append_time_ms.unwrap_or_default();
        Self {
            partition,
            offset: Offset(view.offset.unwrap_or_default()),
            key: view.key.map(|key| run.slice_ref(key)),
            value: view.value.map(|value| run.slice_ref(value)),
            event_type: view.event_type.to_owned(),
            headers: view.headers().map(|(name, value)| (name.to_owned(), run.slice_ref(value))).collect(),
            timestamp_ms: view.timestamp_ms.unwrap_or(append_time_ms),
            append_time_ms,
            event_id: run.slice_ref(view.event_id),
            version: view.version,
        }
    }

    /// The same record, to append it elsewhere.
    pub fn to_record(&self) -> Record<'_> {
        let mut record = match (&self.key, &self.value) {
            (Some(key), None) => Record::tombstone(key),
            (None, None) => Record::default(),
            (Some(key), Some(value)) => Record::new().key(key).value(value),
            (None, Some(value)) => Record::new().value(value),
        };
        for (name, value) in &self.headers {
            record = record.header(name, value);
        }
        record.event_type(&self.event_type).timestamp_ms(self.timestamp_ms).event_id(&self.event_id)
    }
}
