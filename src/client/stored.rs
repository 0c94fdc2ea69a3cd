//! Records that the broker has sent.

use bytes::Bytes;

use super::Record;
use crate::types::{MalformedRecord, Offset, PartitionId, RecordView, Records, Version};

/// The records of one response, in the received bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Runs(pub(super) Vec<Bytes>);

impl Runs {
    pub(super) fn records(&self) -> impl Iterator<Item = Result<RecordView<'_>, MalformedRecord>> {
        self.0
            .iter()
            .flat_map(|run| Records::received(run))
            .map(|element| RecordView::parse(element?.1))
    }

    pub(super) fn owned_records(
        &self,
        partition: PartitionId,
    ) -> impl Iterator<Item = Result<StoredRecord, MalformedRecord>> {
        let elements = self
            .0
            .iter()
            .flat_map(|run| Records::received(run).map(move |element| (run, element)));
        elements.map(move |(run, element)| {
            let view = RecordView::parse(element?.1)?;
            Ok(StoredRecord::new(partition, run, &view))
        })
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    /// How many records there are, without looking into them.
    pub(super) fn count(&self) -> u64 {
        let mut count = 0;
        for run in &self.0 {
            count += Records::received(run).count() as u64;
        }
        count
    }
}

/// A record as the broker stores it. As long as it is kept, its whole batch is kept in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRecord {
    /// The partition.
    pub partition: PartitionId,
    /// Its offset in the partition.
    pub offset: Offset,
    /// The key.
    pub key: Option<Bytes>,
    /// The content; `None` for a tombstone, and for a record that is [`erased`](Self::erased).
    pub value: Option<Bytes>,
    /// The type of the event.
    pub event_type: String,
    /// The headers, in order.
    pub headers: Vec<(String, Bytes)>,
    /// When it happened, in milliseconds since 1970-01-01T00:00:00Z.
    pub timestamp_ms: i64,
    /// When the broker took it, in milliseconds since 1970-01-01T00:00:00Z.
    pub append_time_ms: i64,
    /// The producer's id for the event; empty if it has none.
    pub event_id: Bytes,
    /// Its version; `None` without a key, and in topics with `keys=plain`.
    pub version: Option<Version>,
    /// Whether its entity was erased, and with it key, value, headers and event id. It is not a
    /// tombstone.
    pub erased: bool,
}

impl StoredRecord {
    /// The record that `view` shows; its bytes are in `run`.
    pub(super) fn new(partition: PartitionId, run: &Bytes, view: &RecordView<'_>) -> Self {
        let append_time_ms = view.append_time_ms.unwrap_or_default();
        Self {
            partition,
            offset: Offset(view.offset.unwrap_or_default()),
            key: view.key.map(|key| run.slice_ref(key)),
            value: view.value.map(|value| run.slice_ref(value)),
            event_type: view.event_type.to_owned(),
            headers: view
                .headers()
                .map(|(name, value)| (name.to_owned(), run.slice_ref(value)))
                .collect(),
            timestamp_ms: view.timestamp_ms.unwrap_or(append_time_ms),
            append_time_ms,
            event_id: run.slice_ref(view.event_id),
            version: view.version.map(Version),
            erased: view.erased.is_some(),
        }
    }

    /// This record, to be appended elsewhere.
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
        record
            .event_type(&self.event_type)
            .timestamp_ms(self.timestamp_ms)
            .event_id(&self.event_id)
    }
}
