//! Requests as any client could send them, built from generated messages.

use bytes::Bytes;
use prost::Message;
use taffrail::{
    proto::{
        self, AppendResponse, AppendedRange, Condition, Conflict, KeyCondition, PartitionCondition,
        Producer,
        condition::About,
        key_condition::State,
        log_client::LogClient,
        wire::{AppendBatch, AppendRequest},
    },
    testing::TestBroker,
};
use tonic::{Status, transport::Channel};
use tonic_types::{ErrorInfo, StatusExt};

pub(crate) fn log(broker: &TestBroker) -> LogClient<Channel> {
    LogClient::new(broker.channel())
}

pub(crate) fn keyed(key: &str, value: &str) -> proto::Record {
    let (key, value) = (
        Some(Bytes::copy_from_slice(key.as_bytes())),
        Some(Bytes::copy_from_slice(value.as_bytes())),
    );
    proto::Record {
        key,
        value,
        ..proto::Record::default()
    }
}

pub(crate) fn keyless(value: &str) -> proto::Record {
    proto::Record {
        key: None,
        ..keyed("", value)
    }
}

/// A batch of records for a topic; the broker chooses the partition.
pub(crate) fn batch(topic: &str, records: &[proto::Record]) -> AppendBatch {
    let records = records
        .iter()
        .map(|record| record.encode_to_vec().into())
        .collect();
    AppendBatch {
        topic: topic.to_owned(),
        records,
        ..AppendBatch::default()
    }
}

/// A batch of a producer, with its sequence.
pub(crate) fn numbered(
    topic: &str,
    partition: u32,
    sequence: u64,
    records: &[proto::Record],
) -> AppendBatch {
    AppendBatch {
        partition: Some(partition),
        sequence: Some(sequence),
        ..batch(topic, records)
    }
}

pub(crate) fn request(batches: impl IntoIterator<Item = AppendBatch>) -> AppendRequest {
    let batches = batches
        .into_iter()
        .map(|batch| batch.encode_to_vec().into())
        .collect();
    AppendRequest {
        batches,
        return_versions: true,
        ..AppendRequest::default()
    }
}

pub(crate) fn by(
    producer: Producer,
    batches: impl IntoIterator<Item = AppendBatch>,
) -> AppendRequest {
    AppendRequest {
        producer: Some(producer),
        ..request(batches)
    }
}

pub(crate) fn only_if(
    conditions: impl IntoIterator<Item = Condition>,
    batches: impl IntoIterator<Item = AppendBatch>,
) -> AppendRequest {
    AppendRequest {
        conditions: conditions.into_iter().collect(),
        ..request(batches)
    }
}

pub(crate) fn of_key(topic: &str, key: &[u8], state: State) -> Condition {
    let about = About::Key(KeyCondition {
        key: Bytes::copy_from_slice(key),
        state: Some(state),
    });
    Condition {
        topic_id: String::new(),
        topic: topic.to_owned(),
        about: Some(about),
    }
}

pub(crate) fn of_partition(topic: &str, partition: u32, next_offset: u64) -> Condition {
    let about = About::Partition(PartitionCondition {
        partition,
        next_offset,
    });
    Condition {
        topic_id: String::new(),
        topic: topic.to_owned(),
        about: Some(about),
    }
}

/// All ranges in a response.
pub(crate) fn ranges(response: &AppendResponse) -> Vec<AppendedRange> {
    response
        .batches
        .iter()
        .flat_map(|batch| batch.ranges.clone())
        .collect()
}

pub(crate) fn info(status: &Status) -> ErrorInfo {
    status
        .get_details_error_info()
        .unwrap_or_else(|| panic!("no details: {status:?}"))
}

pub(crate) fn reason(status: &Status) -> String {
    info(status).reason
}

pub(crate) fn conflict(status: &Status) -> Conflict {
    Conflict::from_details(status.details()).unwrap_or_else(|| panic!("no conflict: {status:?}"))
}
