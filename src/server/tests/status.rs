//! What clients are told.

use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::{
    broker::Error,
    server::status::{of_undecoded, too_large},
    types::{MalformedRecord, Offset, PartitionId, TopicName, TopicSettings},
};

/// One of each. The match makes sure that a new one is added here.
fn every_error() -> Vec<Error> {
    let topic = || "flights".to_owned();
    let (partition, offset) = (PartitionId(3), Offset(40));
    let setting_error = TopicSettings::default().set("colour", "red").unwrap_err();
    let errors = vec![
        Error::InvalidTopicName(TopicName::new("no spaces").unwrap_err()),
        Error::UnknownTopic { topic: topic() },
        Error::UnknownPartition { topic: topic(), partition, partitions: 2 },
        Error::TopicExists { topic: topic() },
        Error::InvalidPartitionCount { partitions: 0 },
        Error::TooManyPartitions { existing: 1, asked: 2 },
        Error::InvalidSetting(setting_error),
        Error::MalformedRequest { reason: "why".to_owned() },
        Error::MalformedRecord { topic: topic(), index: 7, reason: MalformedRecord::Encoding },
        Error::RecordTooLarge { topic: topic(), index: 7, bytes: 11, limit: 10 },
        Error::EmptyAppend,
        Error::RequestTooLarge { what: "batches", count: 1_001, limit: 1_000 },
        Error::OffsetOutOfRange { topic: topic(), partition, offset, earliest: Offset(50), high_watermark: Offset(60) },
        Error::DamagedRecords { topic: topic(), partition, from: offset, to: Offset(45), cause: "bad".to_owned() },
        Error::DiskFull,
        Error::Overloaded { retry_after_ms: 250 },
        Error::ShuttingDown,
        Error::OutcomeUnknown,
    ];
    for error in &errors {
        match error {
            Error::InvalidTopicName(_)
            | Error::UnknownTopic { .. }
            | Error::UnknownPartition { .. }
            | Error::TopicExists { .. }
            | Error::InvalidPartitionCount { .. }
            | Error::TooManyPartitions { .. }
            | Error::InvalidSetting(_)
            | Error::MalformedRequest { .. }
            | Error::MalformedRecord { .. }
            | Error::RecordTooLarge { .. }
            | Error::EmptyAppend
            | Error::RequestTooLarge { .. }
            | Error::OffsetOutOfRange { .. }
            | Error::DamagedRecords { .. }
            | Error::DiskFull
            | Error::Overloaded { .. }
            | Error::ShuttingDown
            | Error::OutcomeUnknown => {}
        }
    }
    errors
}

fn metadata(status: &Status, name: &str) -> String {
    let info = status.get_details_error_info().expect("every status of ours has it");
    info.metadata.get(name).unwrap_or_else(|| panic!("no {name} in {info:?}")).clone()
}

#[test]
fn every_error_has_its_text_its_reason_and_our_domain() {
    for error in every_error() {
        let status = Status::from(error.clone());
        let info = status.get_details_error_info().expect("every status of ours has it");
        assert_eq!(status.message(), error.to_string());
        assert_eq!((&*info.reason, &*info.domain), (error.reason(), "taffrail.dev"));
        assert_ne!(status.code(), Code::Internal, "{error}");
    }
}

#[test]
fn an_unknown_outcome_is_not_taken_for_a_refusal() {
    for error in every_error() {
        let is_unknown = Status::from(error.clone()).code() == Code::Unknown;
        assert_eq!(is_unknown, error == Error::OutcomeUnknown, "{error}");
    }
}

#[test]
fn damage_names_the_range_that_is_lost() {
    let error = every_error().into_iter().find(|error| matches!(error, Error::DamagedRecords { .. })).unwrap();
    let status = Status::from(error);
    assert_eq!(status.code(), Code::DataLoss);
    assert_eq!(metadata(&status, "topic"), "flights");
    assert_eq!(metadata(&status, "partition"), "3");
    assert_eq!(metadata(&status, "from_offset"), "40");
    assert_eq!(metadata(&status, "to_offset"), "45");
}

#[test]
fn an_offset_out_of_range_comes_with_the_range() {
    let error = every_error().into_iter().find(|error| matches!(error, Error::OffsetOutOfRange { .. })).unwrap();
    let status = Status::from(error);
    assert_eq!(status.code(), Code::OutOfRange);
    assert_eq!(metadata(&status, "earliest"), "50");
    assert_eq!(metadata(&status, "high_watermark"), "60");
}

#[test]
fn a_client_is_told_when_to_come_back_where_coming_back_helps() {
    for error in every_error() {
        let retry = Status::from(error.clone()).get_details_retry_info().and_then(|info| info.retry_delay);
        match error {
            Error::Overloaded { .. } => assert_eq!(retry, Some(Duration::from_millis(250))),
            Error::ShuttingDown => assert_eq!(retry, Some(Duration::from_secs(1))),
            error => assert_eq!(retry, None, "{error}"),
        }
    }
}

#[test]
fn a_message_that_is_no_protobuf_is_the_clients_mistake() {
    let status = of_undecoded(Status::internal("failed to decode Protobuf message: buffer underflow"));
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(status.get_details_error_info().unwrap().reason, "MALFORMED_REQUEST");
    assert!(status.message().contains("buffer underflow"), "{status}");
}

#[test]
fn a_message_that_is_too_large_is_refused_with_the_limit() {
    let status = too_large(17, 16);
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(status.get_details_error_info().unwrap().reason, "REQUEST_TOO_LARGE");
    assert_eq!(metadata(&status, "limit"), "16");
}

#[test]
fn our_own_status_is_left_alone() {
    let error = every_error().into_iter().find(|error| matches!(error, Error::OffsetOutOfRange { .. })).unwrap();
    let status = of_undecoded(error.clone().into());
    assert_eq!(status.message(), error.to_string());
}
