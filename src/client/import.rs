//! Importing records that were exported from another topic.

use std::collections::BTreeMap;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::{Client, Error, status::AtStake};
use crate::{
    proto::{
        self, ImportRecordsResponse,
        import_records_response::Message,
        wire::{self, ImportRecordsRequest},
    },
    types::{Offset, PartitionId, Version},
};

/// How many messages may wait to be sent.
const MESSAGES_AHEAD: usize = 4;

/// A record with the offset and the other fields that it had in the exported topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportedRecord {
    /// The offset.
    pub offset: Offset,
    /// The version, if the record has or had a key in a topic with `keys=versioned`.
    pub version: Option<Version>,
    /// The append time, in milliseconds since 1970.
    pub append_time_ms: i64,
    /// The timestamp, in milliseconds since 1970.
    pub timestamp_ms: i64,
    /// The key, if it has one.
    pub key: Option<Bytes>,
    /// The value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// The type of the event.
    pub event_type: String,
    /// Application metadata, in order.
    pub headers: Vec<(String, Bytes)>,
    /// The identity of the event; empty for none.
    pub event_id: Bytes,
    /// If the record was erased: the token that stands for its key.
    pub erased: Option<Bytes>,
}

/// An import under way; see [`Client::import`]. If it is dropped before [`finish`](Self::finish),
/// the topic stays closed to all other appends.
#[derive(Debug)]
pub struct Import {
    requests: mpsc::Sender<ImportRecordsRequest>,
    answers: Streaming<ImportRecordsResponse>,
    next: BTreeMap<PartitionId, Offset>,
}

impl Client {
    /// Begins an import into a topic that never had a record, or continues one that was broken off.
    /// The partitions start at `starts`, or at 0. Until [`Import::finish`] nobody else can append
    /// to the topic; [the protocol](crate::proto) says how to open it without completing the
    /// import.
    ///
    /// # Errors
    ///
    /// `TOPIC_NOT_EMPTY`, `IMPORT_UNDER_WAY`, `IMPORT_OF_OTHER`, `UNKNOWN_TOPIC`,
    /// `UNKNOWN_PARTITION`, or if the broker is not available.
    pub async fn import(
        &self,
        topic: &str,
        starts: &[(PartitionId, Offset)],
    ) -> Result<Import, Error> {
        let (requests, waiting) = mpsc::channel(MESSAGES_AHEAD);
        let begin = proto::ImportBegin {
            topic: topic.to_owned(),
            starts: to_wire(starts),
        };
        let begin = ImportRecordsRequest {
            begin: Some(begin),
            ..ImportRecordsRequest::default()
        };
        // The new channel is empty, so this succeeds.
        requests.try_send(begin).ok();
        let mut calls = self.admin.clone();
        let answered = calls.import_records(ReceiverStream::new(waiting)).await;
        let mut answers = answered.map_err(lost)?.into_inner();
        match next(&mut answers).await? {
            Message::Begun(begun) => {
                let mut next = BTreeMap::new();
                for of in begun.next {
                    next.insert(PartitionId(of.partition), Offset(of.offset));
                }
                Ok(Import {
                    requests,
                    answers,
                    next,
                })
            }
            Message::Done(_) => Err(malformed()),
        }
    }
}

impl Import {
    /// The next offset of each partition: records below it were imported already.
    #[must_use]
    pub fn next_offsets(&self) -> &BTreeMap<PartitionId, Offset> {
        &self.next
    }

    /// Sends records of one partition, in the order of their offsets. `number` is a number for the
    /// first record, counted on for the others, by which errors of this and later calls name a
    /// record.
    ///
    /// # Errors
    ///
    /// `IMPORT_MALFORMED`, for one of these records or of those that were sent before;
    /// `IMPORT_ENDED`, or if the connection was lost: a later import continues from what is stored.
    pub async fn send(
        &mut self,
        partition: PartitionId,
        number: u64,
        records: &[ImportedRecord],
    ) -> Result<(), Error> {
        let mut run = Vec::new();
        for record in records {
            wire::push_record(&mut run, &record.to_wire());
        }
        self.send_request(ImportRecordsRequest {
            partition: partition.0,
            number,
            records: vec![run.into()],
            ..ImportRecordsRequest::default()
        })
        .await
    }

    /// Ends the import. When this returns, all records are durable and clients may append. The next
    /// offset of each partition is at least the one in `ends`. Returns how many records were sent.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub async fn finish(mut self, ends: &[(PartitionId, Offset)]) -> Result<u64, Error> {
        let end = proto::ImportEnd {
            ends: to_wire(ends),
        };
        self.send_request(ImportRecordsRequest {
            end: Some(end),
            ..ImportRecordsRequest::default()
        })
        .await?;
        match next(&mut self.answers).await? {
            Message::Done(done) => Ok(done.records),
            Message::Begun(_) => Err(malformed()),
        }
    }

    async fn send_request(&mut self, request: ImportRecordsRequest) -> Result<(), Error> {
        tokio::select! {
            sent = self.requests.send(request) => match sent {
                Ok(()) => Ok(()),
                // The broker has ended the call, and its answer says why.
                Err(_) => Err(next(&mut self.answers).await.err().unwrap_or_else(malformed)),
            },
            answer = next(&mut self.answers) => Err(answer.err().unwrap_or_else(malformed)),
        }
    }
}

impl ImportedRecord {
    fn to_wire(&self) -> proto::Record {
        let header = |(name, value): &(String, Bytes)| proto::Header {
            name: name.clone(),
            value: value.clone(),
        };
        proto::Record {
            key: self.key.clone(),
            value: self.value.clone(),
            r#type: self.event_type.clone(),
            headers: self.headers.iter().map(header).collect(),
            timestamp_ms: Some(self.timestamp_ms),
            event_id: self.event_id.clone(),
            offset: Some(self.offset.0),
            version: self.version.map(|version| version.0),
            append_time_ms: Some(self.append_time_ms),
            erased: self.erased.clone(),
        }
    }
}

fn to_wire(offsets: &[(PartitionId, Offset)]) -> Vec<proto::ImportedPartition> {
    let of = |(partition, offset): &(PartitionId, Offset)| proto::ImportedPartition {
        partition: partition.0,
        offset: offset.0,
    };
    offsets.iter().map(of).collect()
}

async fn next(answers: &mut Streaming<ImportRecordsResponse>) -> Result<Message, Error> {
    let answer = answers.message().await.map_err(lost)?;
    let message = answer.and_then(|answer| answer.message);
    message.ok_or_else(malformed)
}

fn lost(status: tonic::Status) -> Error {
    Error::from_status(&status, AtStake::Nothing)
}

fn malformed() -> Error {
    let message = "the broker has answered what does not belong to an import".to_owned();
    Error::Unavailable { message }
}
