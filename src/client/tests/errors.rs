//! Each gRPC status becomes the right client error.

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::{
    client::{Actual, Error, FailedCondition, status::AtStake},
    proto::{self, Conflict},
    types::{Offset, PartitionId, Version},
};

fn from_broker(code: Code, reason: &str, metadata: &[(&str, &str)]) -> Status {
    let metadata: HashMap<String, String> = metadata
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    Status::with_error_details(
        code,
        "the message",
        ErrorDetails::with_error_info(reason, "taffrail", metadata),
    )
}

#[test]
fn a_refusal_has_the_brokers_reason_and_values() {
    let status = from_broker(Code::NotFound, "UNKNOWN_TOPIC", &[("topic", "orders")]);
    let error = Error::from_status(&status, AtStake::Change);
    assert_eq!(error.reason(), Some("UNKNOWN_TOPIC"));
    assert_eq!(error.to_string(), "the message");
    let Error::Refused(refusal) = error else {
        panic!("{error:?}")
    };
    assert_eq!(refusal.metadata["topic"], "orders");
}

#[test]
fn a_damaged_range_can_be_read_past() {
    let values = [
        ("partition", "3"),
        ("from_offset", "10"),
        ("to_offset", "20"),
    ];
    let status = from_broker(Code::DataLoss, "DAMAGED_RECORDS", &values);
    assert_eq!(
        Error::from_status(&status, AtStake::Nothing),
        Error::DamagedRecords {
            message: "the message".to_owned(),
            partition: PartitionId(3),
            from: Offset(10),
            to: Offset(20)
        }
    );
}

#[test]
fn an_offset_out_of_range_says_what_can_be_read() {
    let status = from_broker(
        Code::OutOfRange,
        "OFFSET_OUT_OF_RANGE",
        &[("earliest", "5"), ("high_watermark", "9")],
    );
    let error = Error::from_status(&status, AtStake::Nothing);
    assert!(
        matches!(
            error,
            Error::OffsetOutOfRange {
                earliest: Offset(5),
                high_watermark: Offset(9),
                ..
            }
        ),
        "{error:?}"
    );
}

#[test]
fn only_the_broker_can_say_that_an_append_was_not_stored() {
    let unavailable = from_broker(Code::Unavailable, "SHUTTING_DOWN", &[]);
    assert!(matches!(
        Error::from_status(&unavailable, AtStake::Change),
        Error::Unavailable { .. }
    ));

    for code in [
        Code::Unavailable,
        Code::Unknown,
        Code::Internal,
        Code::Cancelled,
        Code::DeadlineExceeded,
    ] {
        let error = Error::from_status(&Status::new(code, "lost"), AtStake::Change);
        assert!(
            matches!(error, Error::OutcomeUnknown { .. }),
            "{code:?}: {error:?}"
        );
    }
}

#[test]
fn a_lost_question_can_be_asked_again() {
    let error = Error::from_status(&Status::new(Code::Unknown, "lost"), AtStake::Nothing);
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
}

#[test]
fn a_conflict_has_what_is_there_instead() {
    let status = from_broker(Code::Aborted, "CONFLICT", &[("failed", "2")]);
    let failed = [
        (2, proto::failed_condition::Actual::Version(5)),
        (4, proto::failed_condition::Actual::NextOffset(9)),
    ];
    let failed = failed.map(|(index, actual)| proto::FailedCondition {
        index,
        actual: Some(actual),
    });
    let details = Conflict::of(failed.into()).add_to_details(status.details());
    let status = Status::with_details(status.code(), status.message(), details);

    let error = Error::from_status(&status, AtStake::Change);
    assert_eq!(
        (error.reason(), &*error.to_string()),
        (Some("CONFLICT"), "the message")
    );
    let Error::Conflict { count, failed, .. } = error else {
        panic!("{error:?}")
    };
    assert_eq!(count, 2);
    let expected = [
        (2, Actual::Version(Version(5))),
        (4, Actual::NextOffset(Offset(9))),
    ];
    assert_eq!(
        failed,
        expected.map(|(index, actual)| FailedCondition { index, actual })
    );
}

#[test]
fn an_abort_that_is_not_the_brokers_leaves_the_outcome_open() {
    let error = Error::from_status(&Status::new(Code::Aborted, "a proxy"), AtStake::Change);
    assert!(matches!(error, Error::OutcomeUnknown { .. }), "{error:?}");
}
