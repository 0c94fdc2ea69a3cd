//! The request that is being filled.
//!
//! Each partition with records gets one batch, with the sequence that follows its last one.
//! Requests are sent in the order in which they are filled, so the sequences are right from the
//! first record on.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
};

use super::{
    options::Options,
    request::{Answer, NumberedBatch, Queued, Request},
};
use crate::{
    client::{Batch, Error, batch::KnownTopic},
    types::{PartitionId, limits::MAX_BATCHES_PER_APPEND},
};

/// Fills requests, one after the other.
#[derive(Debug)]
pub(super) struct Filling {
    topic: KnownTopic,
    partitions: u32,
    max_bytes: usize,
    max_records: usize,
    /// The sequence of the next batch in each partition where it is not 0.
    sequences: BTreeMap<PartitionId, u64>,
    /// The partition of this request's records without a key.
    keyless: PartitionId,
    batches: BTreeMap<PartitionId, FillingBatch>,
    bytes: usize,
    records: usize,
}

#[derive(Debug)]
struct FillingBatch {
    batch: Batch,
    /// Where the records begin in the encoded batch.
    records_at: usize,
    answers: Vec<Answer>,
}

impl Filling {
    pub(super) fn new(topic: KnownTopic, partitions: u32, options: &Options) -> Self {
        // So that producers which start together do not all begin with the same partition.
        let first = RandomState::new().hash_one(&topic.name) % u64::from(partitions);
        Self {
            topic,
            partitions,
            max_bytes: options.request_bytes,
            max_records: options.request_records,
            sequences: BTreeMap::new(),
            keyless: PartitionId(
                u32::try_from(first).expect("it is less than the number of partitions"),
            ),
            batches: BTreeMap::new(),
            bytes: 0,
            records: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Whether the record fits in the request; the first one always does.
    pub(super) fn fits(&self, record: &Queued) -> bool {
        let partition = record.partition.unwrap_or(self.keyless);
        self.is_empty()
            || self.bytes + record.encoded.len() <= self.max_bytes
                && self.records < self.max_records
                && (self.batches.len() < MAX_BATCHES_PER_APPEND
                    || self.batches.contains_key(&partition))
    }

    pub(super) fn push(&mut self, record: Queued) {
        let partition = record.partition.unwrap_or(self.keyless);
        let sequence = self.sequences.get(&partition).copied().unwrap_or_default();
        let filling = self.batches.entry(partition).or_insert_with(|| {
            let batch = Batch::numbered(&self.topic, partition, sequence);
            FillingBatch {
                records_at: batch.bytes(),
                batch,
                answers: Vec::new(),
            }
        });
        filling.batch.push_encoded(&record.encoded, 1);
        filling.answers.push(record.answer);
        self.bytes += record.encoded.len();
        self.records += 1;
    }

    /// Closes the request, if it has records, and begins the next.
    pub(super) fn take(&mut self) -> Option<Request> {
        let batches = std::mem::take(&mut self.batches);
        if batches.is_empty() {
            return None;
        }
        (self.bytes, self.records) = (0, 0);
        self.keyless = PartitionId((self.keyless.0 + 1) % self.partitions);
        let batches = batches.into_iter().map(|(partition, filling)| {
            next(&mut self.sequences, partition);
            NumberedBatch::new(
                partition,
                filling.batch,
                filling.records_at,
                filling.answers,
            )
        });
        Some(Request::new(batches.collect()))
    }

    /// Starts counting again for a new producer, and numbers the given requests, which are closed
    /// and not stored. The request that is being filled must be among them.
    pub(super) fn restart<'a>(&mut self, closed: impl IntoIterator<Item = &'a mut Request>) {
        debug_assert!(self.batches.is_empty(), "its batches have numbers");
        self.sequences.clear();
        for request in closed {
            request.renumber(&self.topic, |partition| {
                next(&mut self.sequences, partition)
            });
        }
    }

    /// Tells all waiting senders that it failed.
    pub(super) fn fail(mut self, error: &Error) {
        if let Some(mut request) = self.take() {
            request.tell(error);
        }
    }

    /// Forgets the request that is being filled, whose senders are told this, and takes back the
    /// numbers of closed ones that nobody will send: the last that there are.
    pub(super) fn forget(&mut self, closed: &[Request], error: &Error) {
        let mut filled = self.take();
        if let Some(request) = &mut filled {
            request.tell(error);
        }
        for request in closed.iter().chain(&filled) {
            for partition in request.partitions() {
                let next = self.sequences.entry(partition).or_default();
                *next = next.saturating_sub(1);
            }
        }
    }
}

/// Takes the next sequence of a partition.
fn next(sequences: &mut BTreeMap<PartitionId, u64>, partition: PartitionId) -> u64 {
    let next = sequences.entry(partition).or_default();
    *next += 1;
    *next - 1
}
