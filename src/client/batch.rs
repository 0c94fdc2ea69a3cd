//! Records for one topic, encoded as they are added.

use bytes::Bytes;
use prost::encoding;

use super::Record;
use crate::types::PartitionId;

/// Records for one topic, encoded as they are added into one buffer, which is sent as it is.
///
/// Without a partition, each record with a key goes to the partition of its key. The records
/// without a key all go to one partition, another one for each batch.
#[derive(Clone, Debug)]
#[must_use]
pub struct Batch {
    /// An encoded `AppendBatch`: the topic and the partition, then the records.
    encoded: Vec<u8>,
    records: usize,
}

/// A topic as a producer has found it. Another topic that is created under its name does not count.
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

    /// An empty batch for one partition of exactly this topic, with its producer's sequence.
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

    /// Reserves memory for this many bytes of encoded records.
    pub fn reserve(&mut self, bytes: usize) {
        self.encoded.reserve(bytes);
    }

    /// Adds a record.
    pub fn push(&mut self, record: &Record<'_>) {
        record.encode(&mut self.encoded);
        self.records += 1;
    }

    /// Adds encoded records, each with its tag and length.
    pub(super) fn push_encoded(&mut self, run: &[u8], records: usize) {
        self.encoded.extend_from_slice(run);
        self.records += records;
    }

    /// The size of the batch in bytes, if this record were added.
    #[must_use]
    pub fn bytes_with(&self, record: &Record<'_>) -> usize {
        self.bytes() + record.run_len()
    }

    /// The size of the batch in bytes, encoded. A request may have 16 MiB.
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
