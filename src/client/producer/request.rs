//! A request of a producer: numbered batches, and the waiting sender of each record.

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::SentRecord;
use crate::{
    client::{Append, AppendHandle, Appended, AppendedRange, Batch, Error, batch::KnownTopic},
    proto,
    types::{PartitionId, Version},
};

/// A record on its way into a request.
#[derive(Debug)]
pub(super) struct Queued {
    /// `None` for any.
    pub(super) partition: Option<PartitionId>,
    /// The record with its tag and length.
    pub(super) encoded: Vec<u8>,
    pub(super) answer: Answer,
}

/// The waiting sender of a record. Dropping it frees the record's room in the window.
#[derive(Debug)]
pub(super) struct Answer {
    to: oneshot::Sender<Result<SentRecord, Error>>,
    _room: OwnedSemaphorePermit,
}

impl Answer {
    pub(super) fn new(
        to: oneshot::Sender<Result<SentRecord, Error>>,
        room: OwnedSemaphorePermit,
    ) -> Self {
        Self { to, _room: room }
    }

    pub(super) fn give(self, answer: Result<SentRecord, Error>) {
        // The sender may have dropped its future.
        drop(self.to.send(answer));
    }
}

/// Records of one partition, with the batch's sequence.
#[derive(Debug)]
pub(super) struct NumberedBatch {
    partition: PartitionId,
    /// An encoded `AppendBatch`.
    encoded: Bytes,
    /// Where the records begin in the encoded batch.
    records_at: usize,
    answers: Vec<Answer>,
}

/// One atomic commit. It may be sent several times, always unchanged.
#[derive(Debug)]
pub(super) struct Request {
    batches: Vec<NumberedBatch>,
    /// The future answer, if it was sent on the current stream.
    pub(super) handle: Option<AppendHandle>,
    /// Whether it was sent and its outcome is not known.
    pub(super) in_doubt: bool,
}

impl NumberedBatch {
    pub(super) fn new(
        partition: PartitionId,
        batch: Batch,
        records_at: usize,
        answers: Vec<Answer>,
    ) -> Self {
        Self {
            partition,
            encoded: batch.into_encoded(),
            records_at,
            answers,
        }
    }

    /// Gives the same records another sequence, for another producer.
    fn renumber(&mut self, topic: &KnownTopic, sequence: u64) {
        let mut batch = Batch::numbered(topic, self.partition, sequence);
        let records_at = batch.bytes();
        batch.push_encoded(&self.encoded[self.records_at..], self.answers.len());
        (self.encoded, self.records_at) = (batch.into_encoded(), records_at);
    }

    /// Tells each sender where its record is. `ranges` is empty if the batch is stored at positions
    /// that the broker does not remember.
    fn answer(self, ranges: &[AppendedRange]) {
        if ranges.is_empty() {
            let stored = SentRecord {
                partition: self.partition,
                offset: None,
                version: None,
            };
            for answer in self.answers {
                answer.give(Ok(stored));
            }
            return;
        }
        let mut places = ranges.iter().flat_map(places);
        for answer in self.answers {
            answer.give(places.next().ok_or_else(|| Error::OutcomeUnknown {
                message: "the broker's answer has fewer records than it was sent".to_owned(),
            }));
        }
    }

    /// Tells the senders that have not been told anything.
    fn tell(&mut self, error: &Error) {
        for answer in self.answers.drain(..) {
            answer.give(Err(error.clone()));
        }
    }
}

/// The positions of the records in a range.
fn places(range: &AppendedRange) -> impl Iterator<Item = SentRecord> + '_ {
    (0..range.count).map(|at| SentRecord {
        partition: range.partition,
        offset: Some(range.first_offset.plus(u64::from(at))),
        version: range
            .versions
            .get(at as usize)
            .copied()
            .filter(|version| *version != Version::NONE),
    })
}

impl Request {
    pub(super) fn new(batches: Vec<NumberedBatch>) -> Self {
        Self {
            batches,
            handle: None,
            in_doubt: false,
        }
    }

    /// The append to send; it shares the records instead of copying them.
    pub(super) fn append(&self, producer: proto::Producer) -> Append {
        Append::of_producer(
            self.batches
                .iter()
                .map(|batch| batch.encoded.clone())
                .collect(),
            producer,
        )
    }

    /// Gives every batch a new sequence, for another producer.
    pub(super) fn renumber(
        &mut self,
        topic: &KnownTopic,
        mut sequence: impl FnMut(PartitionId) -> u64,
    ) {
        for batch in &mut self.batches {
            batch.renumber(topic, sequence(batch.partition));
        }
    }

    pub(super) fn answer(self, appended: &Appended) {
        for (at, mut batch) in self.batches.into_iter().enumerate() {
            match appended.batches.get(at) {
                Some(ranges) => batch.answer(ranges),
                None => batch.tell(&Error::OutcomeUnknown {
                    message: "the broker's answer has fewer batches than it was sent".to_owned(),
                }),
            }
        }
    }

    /// Tells the senders that have not been told anything.
    pub(super) fn tell(&mut self, error: &Error) {
        for batch in &mut self.batches {
            batch.tell(error);
        }
    }

    /// The partitions of its batches.
    pub(super) fn partitions(&self) -> impl Iterator<Item = PartitionId> {
        self.batches.iter().map(|batch| batch.partition)
    }
}
