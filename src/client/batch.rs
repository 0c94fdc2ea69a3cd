//! Records for one topic, encoded as they are added.

use bytes::Bytes;
use prost::encoding;

use super::Record;
use crate::types::PartitionId;

/// Records for one topic, encoded into one buffer as they are added, which is sent as it is.
///
/// Without a partition, each record with a key goes to the partition of its key, and those without
/// go together to one that rotates from batch to batch.
#[derive(Clone, Debug)]
#[must_use]
pub struct Batch {
    /// An encoded `AppendBatch`: the topic and the partition, then the records.
    encoded: Vec<u8>,
    records: usize,
}

/// A topic as a producer has found it: not another one that is created under its name.
#[derive(Clone, Debug)]
pub(super) struct KnownTopic {
    pub(super) name: String,
    pub(super) id: String,
}

impl Batch {
    /// An empty batch for a topic; the broker chooses the partition.
    pub fn new(topic: &str) -> Self {
        let mut encoded = Vec::new();
        encoding::string::encode(1, &topic.to_owned(), &mut encoded);
        Self {
            encoded,
            records: 0,
        }
    }

    /// An empty batch for one partition of a topic.
    pub fn to_partition(topic: &str, partition: PartitionId) -> Self {
        let mut batch = Self::new(topic);
        encoding::uint32::encode(2, &partition.0, &mut batch.encoded);
        batch
    }

    /// An empty batch for one partition of this very topic, with its number among its producer's.
    pub(super) fn numbered(topic: &KnownTopic, partition: PartitionId, sequence: u64) -> Self {
        let mut batch = Self::to_partition(&topic.name, partition);
        encoding::uint64::encode(3, &sequence, &mut batch.encoded);
        encoding::string::encode(4, &topic.id, &mut batch.encoded);
        batch
    }

    /// A batch of these records; the broker chooses the partition.
    pub fn of<'a>(topic: &str, records: impl IntoIterator<Item = Record<'a>>) -> Self {
        let mut batch = Self::new(topic);
        records.into_iter().for_each(|record| batch.push(&record));
        batch
    }

    /// Makes room, so that adding this many bytes of encoded records does not move what is there.
    pub fn reserve(&mut self, bytes: usize) {
        self.encoded.reserve(bytes);
    }

    /// Adds a record.
    pub fn push(&mut self, record: &Record<'_>) {
        record.encode(&mut self.encoded);
        self.records += 1;
    }

    /// Adds records that are encoded already, each with its tag and length.
    pub(super) fn push_encoded(&mut self, run: &[u8], records: usize) {
        self.encoded.extend_from_slice(run);
        self.records += records;
    }

    /// How many bytes the batch would take with this record added.
    #[must_use]
    pub fn bytes_with(&self, record: &Record<'_>) -> usize {
        self.bytes() + record.run_len()
    }

    /// How many bytes the batch takes, encoded. A request may have 16 MiB.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.encoded.len()
    }

    /// How many records it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records
    }

    /// Whether it has no records.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    pub(super) fn into_encoded(self) -> Bytes {
        self.encoded.into()
    }
}
