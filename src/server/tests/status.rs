//! The status for each error.

use std::time::Duration;

use bytes::Bytes;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::{
    broker::{
        Actual, BackupRefused, CommitFenced, Condition, Error, Expected, FailedCondition,
        GroupOffsetOutOfRange, ImportRefused, Shortage,
    },
    catalog::{
        groups::{Generation, Many, MemberId},
        producers::{Excess, Kind},
    },
    proto::{self, Conflict},
    server::status::{of_undecoded, too_large},
    types::{
        GroupName, MalformedRecord, Offset, PartitionId, ProducerId, TopicId, TopicName,
        TopicSettings, Version,
    },
};

/// One error of each kind. A kind that is added must be added to the match here.
fn every_error() -> Vec<Error> {
    let errors = [
        of_topics(),
        of_records(),
        of_producers(),
        of_groups(),
        of_requests(),
    ]
    .concat();
    for error in &errors {
        match error {
            Error::InvalidTopicName(_)
            | Error::TooManyTokens
            | Error::Backup(_)
            | Error::Import(_)
            | Error::UnknownToken { .. }
            | Error::UnknownTopic { .. }
            | Error::UnknownPartition { .. }
            | Error::TopicRecreated { .. }
            | Error::TopicExists { .. }
            | Error::InvalidPartitionCount { .. }
            | Error::FewerPartitions { .. }
            | Error::TooManyPartitions { .. }
            | Error::InvalidSetting(_)
            | Error::MalformedRequest { .. }
            | Error::MalformedRecord { .. }
            | Error::RecordTooLarge { .. }
            | Error::RecordExceedsResponse { .. }
            | Error::WrongPartition { .. }
            | Error::KeyRequired { .. }
            | Error::PlainTopic { .. }
            | Error::NotCompacted { .. }
            | Error::VersionedTopic { .. }
            | Error::MalformedCondition { .. }
            | Error::Conflict { .. }
            | Error::UnknownProducer { .. }
            | Error::Fenced { .. }
            | Error::OutOfSequence { .. }
            | Error::NoProducerNamed { .. }
            | Error::TooManyProducers(_)
            | Error::TooManyErasures
            | Error::TooManyKeyTrims
            | Error::VersionOutOfRange { .. }
            | Error::UnknownErasure { .. }
            | Error::EmptyAppend
            | Error::RequestTooLarge { .. }
            | Error::PartitionFull { .. }
            | Error::RetentionHeld { .. }
            | Error::OffsetOutOfRange { .. }
            | Error::ShiftOutOfRange { .. }
            | Error::DamagedRecords { .. }
            | Error::DiskFull(_)
            | Error::Overloaded { .. }
            | Error::DeletedPartitionsRemain { .. }
            | Error::StorageUnavailable { .. }
            | Error::ReadStalled { .. }
            | Error::ShuttingDown
            | Error::MemberFenced { .. }
            | Error::SessionEnded { .. }
            | Error::NoOffset { .. }
            | Error::InvalidGroupName(_)
            | Error::UnknownGroup { .. }
            | Error::UnknownMember { .. }
            | Error::GroupExists { .. }
            | Error::GroupHasMembers { .. }
            | Error::GroupKind { .. }
            | Error::TooManyForGroups { .. }
            | Error::NothingCommitted { .. }
            | Error::GroupOffsetOutOfRange(_)
            | Error::CommitFenced(_)
            | Error::OutcomeUnknown => {}
        }
    }
    errors
}

fn of_topics() -> Vec<Error> {
    let topic = || "flights".to_owned();
    let partition = PartitionId(3);
    let setting_error = TopicSettings::default().set("colour", "red").unwrap_err();
    vec![
        Error::InvalidTopicName(TopicName::new("no spaces").unwrap_err()),
        Error::UnknownTopic { topic: topic() },
        Error::UnknownPartition {
            topic: topic(),
            partition,
            partitions: 2,
        },
        Error::TopicRecreated {
            topic: topic(),
            expected: TopicId(0xa),
            actual: TopicId(0xb),
        },
        Error::TopicExists { topic: topic() },
        Error::InvalidPartitionCount { partitions: 0 },
        Error::FewerPartitions {
            topic: topic(),
            partitions: 2,
            existing: 4,
        },
        Error::TooManyPartitions {
            existing: 19_999,
            asked: 2,
            most: 20_000,
        },
        Error::DeletedPartitionsRemain {
            remaining: 3,
            asked: 2,
        },
        Error::InvalidSetting(setting_error),
        Error::PlainTopic { topic: topic() },
        Error::VersionedTopic { topic: topic() },
        Error::NotCompacted { topic: topic() },
    ]
}

fn of_records() -> Vec<Error> {
    let topic = || "flights".to_owned();
    let (partition, offset) = (PartitionId(3), Offset(40));
    vec![
        Error::MalformedRecord {
            topic: topic(),
            index: 7,
            reason: MalformedRecord::Encoding,
        },
        Error::RecordTooLarge {
            topic: topic(),
            index: 7,
            bytes: 11,
            limit: 10,
        },
        Error::RecordExceedsResponse {
            topic: topic(),
            partition,
            offset,
            bytes: 5_000_000,
            limit: 4_194_304,
        },
        Error::KeyRequired {
            topic: "t".to_owned(),
            index: 0,
        },
        Error::WrongPartition {
            topic: topic(),
            index: 7,
            partition,
            belongs: PartitionId(1),
        },
        Error::PartitionFull {
            topic: topic(),
            partition,
            bytes: 90,
            limit: 100,
        },
        Error::RetentionHeld {
            topic: topic(),
            partition,
            group: "billing".to_owned(),
            from: offset,
        },
        Error::OffsetOutOfRange {
            topic: topic(),
            partition,
            offset,
            earliest: Offset(50),
            high_watermark: Offset(60),
        },
        Error::ShiftOutOfRange {
            topic: topic(),
            partition,
            by: -9,
            from: Offset(4),
            earliest: Offset::ZERO,
            high_watermark: Offset(60),
        },
        Error::DamagedRecords {
            topic: topic(),
            partition,
            from: offset,
            to: Offset(45),
            cause: "bad".to_owned(),
        },
    ]
}

fn of_producers() -> Vec<Error> {
    let topic = || "flights".to_owned();
    let (id, partition) = (ProducerId(0xfeed), PartitionId(3));
    vec![
        Error::UnknownProducer { id },
        Error::Fenced {
            id,
            epoch: 1,
            current: 2,
        },
        Error::OutOfSequence {
            id,
            topic: topic(),
            partition,
            sequence: 9,
            expected: 8,
        },
        Error::NoProducerNamed {
            name: "orders".to_owned(),
        },
        Error::TooManyProducers(Excess {
            kind: Kind::Sequences,
            count: 129,
            most: 128,
            is_share: true,
        }),
    ]
}

fn of_groups() -> Vec<Error> {
    let group = || "billing".to_owned();
    let (topic, partition) = ("flights".to_owned(), PartitionId(3));
    let (what, count, most) = (Many::Groups, 10_001, 10_000);
    vec![
        Error::InvalidGroupName(GroupName::new("").unwrap_err()),
        Error::UnknownGroup { group: group() },
        Error::UnknownMember {
            group: group(),
            member: MemberId(7),
        },
        Error::GroupExists { group: group() },
        Error::GroupHasMembers {
            group: group(),
            members: 4,
        },
        Error::GroupKind {
            group: group(),
            is_ephemeral: true,
        },
        Error::TooManyForGroups {
            group: group(),
            what,
            count,
            most,
        },
        Error::MemberFenced { group: group() },
        Error::SessionEnded { group: group() },
        Error::NoOffset {
            group: group(),
            topic: topic.clone(),
            partition,
        },
        Error::NothingCommitted {
            group: group(),
            topic: Some(topic.clone()),
            partition: Some(partition),
        },
        Error::GroupOffsetOutOfRange(GroupOffsetOutOfRange {
            group: group(),
            topic: topic.clone(),
            partition,
            offset: Offset(40),
            earliest: Offset(50),
            high_watermark: Offset(60),
            asked: Default::default(),
        }),
        Error::CommitFenced(CommitFenced {
            group: group(),
            topic,
            partition,
            partitions: 2,
            generation: Generation(4),
            member: None,
            current: Some(Generation(5)),
        }),
    ]
}

fn of_requests() -> Vec<Error> {
    vec![
        Error::TooManyTokens,
        Error::Backup(BackupRefused::UnderWay),
        Error::Backup(BackupRefused::Ended),
        Error::Import(ImportRefused::Record {
            topic: "t".to_owned(),
            partition: PartitionId(1),
            number: 17,
            problem: "why".to_owned(),
        }),
        Error::UnknownToken {
            token: "ci".to_owned(),
        },
        Error::MalformedRequest {
            reason: "why".to_owned(),
        },
        Error::MalformedCondition {
            index: 7,
            reason: "why",
        },
        Error::Conflict {
            failed: vec![failed(0, b"alice")],
        },
        Error::TooManyErasures,
        Error::TooManyKeyTrims,
        Error::VersionOutOfRange {
            topic: "t".into(),
            before: Version(9),
            latest: Version(7),
        },
        Error::UnknownErasure { id: 0xe },
        Error::EmptyAppend,
        Error::RequestTooLarge {
            what: "batches",
            count: 1_001,
            limit: 1_000,
        },
        Error::DiskFull(Shortage {
            free: Some(4096),
            held: 0,
            needed: 1 << 20,
            reserve: 1 << 20,
        }),
        Error::Overloaded {
            retry_after_ms: 250,
        },
        Error::StorageUnavailable {
            cause: "too many open files".to_owned(),
        },
        Error::ReadStalled {
            next_offsets: vec![(PartitionId(0), Offset(17)), (PartitionId(3), Offset(5))],
        },
        Error::ShuttingDown,
        Error::OutcomeUnknown,
    ]
}

fn failed(index: usize, key: &'static [u8]) -> FailedCondition {
    let expected = Expected::KeyAt {
        key: Bytes::from_static(key),
        version: Version(3),
    };
    let condition = Condition {
        topic_id: None,
        topic: "accounts".to_owned(),
        expected,
    };
    FailedCondition {
        index,
        condition,
        actual: Actual::Version(Version(5)),
    }
}

fn metadata(status: &Status, name: &str) -> String {
    let info = status
        .get_details_error_info()
        .expect("every status of ours has it");
    info.metadata
        .get(name)
        .unwrap_or_else(|| panic!("no {name} in {info:?}"))
        .clone()
}

#[test]
fn every_error_has_its_text_its_reason_and_our_domain() {
    for error in every_error() {
        let status = Status::from(error.clone());
        let info = status
            .get_details_error_info()
            .expect("every status of ours has it");
        assert_eq!(status.message(), error.to_string());
        assert_eq!(
            (&*info.reason, &*info.domain),
            (error.reason(), "taffrail.dev")
        );
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
fn an_error_of_a_count_says_the_count_and_the_limit() {
    let mut looked_at = Vec::new();
    for error in every_error() {
        let reason = error.reason();
        if !reason.contains("TOO_") || reason == "RECORD_TOO_LARGE" {
            continue;
        }
        looked_at.push(reason);
        let status = Status::from(error);
        let (count, limit) = (metadata(&status, "count"), metadata(&status, "limit"));
        let number = |text: &str| text.parse::<usize>().expect("it is a number");
        assert!(number(&count) > number(&limit), "{status}");
        let names_count = status.message().contains(&count);
        // Where there are as many as may be, one more is one too many.
        let is_full = status.message().contains("as many as may be");
        // It has the two numbers of which this is the sum.
        let is_sum = reason == "TOO_MANY_PARTITIONS";
        assert!(names_count || is_full || is_sum, "{status}");
        assert!(status.message().contains(&limit), "{status}");
    }
    assert_eq!(looked_at.len(), 7, "{looked_at:?}");
}

#[test]
fn damage_names_the_range_that_is_lost() {
    let error = every_error()
        .into_iter()
        .find(|error| matches!(error, Error::DamagedRecords { .. }))
        .unwrap();
    let status = Status::from(error);
    assert_eq!(status.code(), Code::DataLoss);
    assert_eq!(metadata(&status, "topic"), "flights");
    assert_eq!(metadata(&status, "partition"), "3");
    assert_eq!(metadata(&status, "from_offset"), "40");
    assert_eq!(metadata(&status, "to_offset"), "45");
}

#[test]
fn a_full_disk_says_what_is_free_what_is_needed_and_what_is_kept_free() {
    let shortage = Shortage {
        free: Some(4096),
        held: 0,
        needed: 2 << 20,
        reserve: 1 << 20,
    };
    let status = Status::from(Error::DiskFull(shortage));
    assert_eq!(metadata(&status, "free"), "4096");
    assert_eq!(metadata(&status, "needed"), "2097152");
    assert_eq!(metadata(&status, "disk.reserve_bytes"), "1048576");
    assert!(
        status
            .message()
            .contains(
                "4096 bytes are free, 2097152 are needed (disk.reserve_bytes is 1048576): 2093056 must be freed"
            ),
        "{status:?}"
    );
}

#[test]
fn an_offset_out_of_range_comes_with_the_range() {
    let error = every_error()
        .into_iter()
        .find(|error| matches!(error, Error::OffsetOutOfRange { .. }))
        .unwrap();
    let status = Status::from(error);
    assert_eq!(status.code(), Code::OutOfRange);
    assert_eq!(metadata(&status, "earliest"), "50");
    assert_eq!(metadata(&status, "high_watermark"), "60");
}

#[test]
fn an_offset_of_a_group_that_is_out_of_range_comes_with_the_group_and_the_range() {
    let error = every_error()
        .into_iter()
        .find(|error| matches!(error, Error::GroupOffsetOutOfRange(_)))
        .unwrap();
    assert!(error.to_string().contains("reset the group"), "{error}");
    let status = Status::from(error);
    assert_eq!(status.code(), Code::OutOfRange);
    assert_eq!(metadata(&status, "group"), "billing");
    assert_eq!(metadata(&status, "earliest"), "50");
    assert_eq!(metadata(&status, "high_watermark"), "60");
}

#[test]
fn a_client_is_told_when_to_come_back_where_coming_back_helps() {
    for error in every_error() {
        let retry = Status::from(error.clone())
            .get_details_retry_info()
            .and_then(|info| info.retry_delay);
        match error {
            Error::Overloaded { .. } | Error::ReadStalled { .. } => {
                assert_eq!(retry, Some(Duration::from_millis(250)));
            }
            Error::DeletedPartitionsRemain { .. }
            | Error::StorageUnavailable { .. }
            | Error::ShuttingDown => {
                assert_eq!(retry, Some(Duration::from_secs(1)));
            }
            error => assert_eq!(retry, None, "{error}"),
        }
    }
}

#[test]
fn a_message_that_is_no_protobuf_is_the_clients_mistake() {
    let status = of_undecoded(Status::internal(
        "failed to decode Protobuf message: buffer underflow",
    ));
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(
        status.get_details_error_info().unwrap().reason,
        "MALFORMED_REQUEST"
    );
    assert!(status.message().contains("buffer underflow"), "{status}");
}

#[test]
fn a_message_that_is_too_large_is_refused_with_the_limit() {
    let status = too_large(17, 16);
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(
        status.get_details_error_info().unwrap().reason,
        "REQUEST_TOO_LARGE"
    );
    assert_eq!(metadata(&status, "limit"), "16");
}

#[test]
fn our_own_status_is_left_alone() {
    let error = every_error()
        .into_iter()
        .find(|error| matches!(error, Error::OffsetOutOfRange { .. }))
        .unwrap();
    let status = of_undecoded(error.clone().into());
    assert_eq!(status.message(), error.to_string());
}

#[test]
fn a_conflict_says_what_does_not_hold_and_what_is_the_case_instead() {
    let mut of_partition = failed(4, b"");
    of_partition.condition.expected = Expected::PartitionAt {
        partition: PartitionId(1),
        next: Offset(7),
    };
    of_partition.actual = Actual::NextOffset(Offset(9));
    let status = Status::from(Error::Conflict {
        failed: vec![failed(2, b"alice"), of_partition],
    });
    assert_eq!(status.code(), Code::Aborted);
    assert_eq!(status.get_details_error_info().unwrap().reason, "CONFLICT");
    assert_eq!(metadata(&status, "failed"), "2");
    let conflict = Conflict::from_details(status.details()).expect("the typed detail");
    let failed = [
        (2, proto::failed_condition::Actual::Version(5)),
        (4, proto::failed_condition::Actual::NextOffset(9)),
    ];
    let failed = failed.map(|(index, actual)| proto::FailedCondition {
        index,
        actual: Some(actual),
    });
    assert_eq!(conflict.failed, failed);
    assert_eq!(conflict.count, 2);
}

#[test]
fn a_conflict_of_a_thousand_conditions_fits_into_the_headers_that_a_client_takes() {
    // A quotation mark is escaped in the message, so keys of them take the most room.
    static KEY: [u8; 65_535] = [b'"'; 65_535];
    let one = |index| FailedCondition {
        actual: Actual::Version(Version(u64::MAX)),
        ..failed(index, &KEY)
    };
    let failed = (0..1_000).map(one).collect();
    let status = Status::from(Error::Conflict { failed });
    assert_eq!(metadata(&status, "failed"), "1000");
    let conflict = Conflict::from_details(status.details()).expect("the typed detail");
    assert_eq!((conflict.count, conflict.failed.len()), (1_000, 100));

    let headers = status.into_http::<tonic::body::Body>().headers().clone();
    // The size of headers as HTTP/2 counts it:
    // https://www.rfc-editor.org/rfc/rfc9113#name-defined-settings
    let bytes: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 32)
        .sum();
    // `:status` and `date` come with the response.
    let bytes = bytes + 7 + 3 + 32 + 4 + 29 + 32;
    assert!(bytes <= 8 << 10, "{bytes} bytes of headers");
}
