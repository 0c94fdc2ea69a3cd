//! The one mapping from the broker's errors to gRPC status.
//!
//! The code says what the caller should do, the text what happened, `google.rpc.ErrorInfo` the same
//! for programs (reason, and the values that a program would otherwise have to find in the text),
//! `google.rpc.RetryInfo` when to try again, and `taffrail.v1.Conflict` what does not hold.

use std::{collections::HashMap, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::limits::{MAX_MESSAGE_BYTES, MAX_NAME_CHARS, MAX_NEXT_OFFSETS_BYTES, RETRY_AFTER_MS};
use crate::{
    broker::{Actual, CommitFenced, Error, FailedCondition, GroupOffsetOutOfRange, Kind, Shortage},
    codec::ENCODINGS,
    proto::{self, Conflict, append_stream_response::Outcome},
    types::{Offset, PartitionId, SettingError, limits},
};

/// `domain` of every `google.rpc.ErrorInfo`.
const DOMAIN: &str = "taffrail.dev";

/// When to come back to a broker that is shutting down: it takes about this long to start again.
const RESTART_TIME: Duration = Duration::from_secs(1);

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let mut details = ErrorDetails::with_error_info(error.reason(), DOMAIN, metadata(&error));
        if let Some(delay) = retry_after(&error) {
            details.set_retry_info(Some(delay));
        }
        let status = Self::with_error_details(code(error.kind()), message(&error), details);
        match error {
            Error::Conflict { failed } => with_conflict(&status, &failed),
            _ => status,
        }
    }
}

/// The error's text. Keys can make it longer than the headers that it travels in may be.
fn message(error: &Error) -> String {
    let mut message = error.to_string();
    if message.len() > MAX_MESSAGE_BYTES {
        let end = (0..=MAX_MESSAGE_BYTES)
            .rev()
            .find(|end| message.is_char_boundary(*end));
        message.truncate(end.unwrap_or_default());
        message.push_str("...");
    }
    message
}

fn with_conflict(status: &Status, failed: &[FailedCondition]) -> Status {
    let conflict = conflict(failed);
    Status::with_details(
        status.code(),
        status.message(),
        conflict.add_to_details(status.details()),
    )
}

/// What has become of an append that was not stored, as a stream of appends answers it.
pub(super) fn outcome(error: Error) -> Outcome {
    if let Error::Conflict { failed } = &error {
        let mut told = conflict(failed);
        told.message = message(&error);
        return Outcome::Conflict(told);
    }
    Outcome::Refused(proto::refused(&error.into()))
}

/// What does not hold, as the wire has it.
fn conflict(failed: &[FailedCondition]) -> Conflict {
    let failed = failed.iter().map(|failed| proto::FailedCondition {
        index: u32::try_from(failed.index).expect("a request has 1,000 conditions at most"),
        actual: Some(match failed.actual {
            Actual::Version(version) => proto::failed_condition::Actual::Version(version.0),
            Actual::NextOffset(next) => proto::failed_condition::Actual::NextOffset(next.0),
        }),
    });
    Conflict::of(failed.collect())
}

/// The status of a request that could not be decoded, out of the one that the transport has for it,
/// or that one if it is about something else.
///
/// Ours always have details, so one without comes from the transport, which says INTERNAL of a
/// message that is no protobuf.
pub(super) fn of_undecoded(status: Status) -> Status {
    if status.code() == Code::Internal && status.details().is_empty() {
        return Error::MalformedRequest {
            reason: status.message().to_owned(),
        }
        .into();
    }
    status
}

/// The status of a call whose caller is not known by what it shows.
pub(super) fn unauthenticated(reason: &str, text: &str) -> Status {
    let details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
    Status::with_error_details(Code::Unauthenticated, text, details)
}

/// The status of a call that its caller may not make.
pub(super) fn denied(principal: &str, operation: &str, resource: &str) -> Status {
    let metadata = [
        ("principal", shortened(principal)),
        ("operation", operation.to_owned()),
        ("resource", shortened(resource)),
    ];
    let [principal, resource] = [principal, resource].map(shortened);
    Status::with_error_details(
        Code::PermissionDenied,
        format!("{principal} may not do \"{operation}\" on {resource}; no grant allows it"),
        ErrorDetails::with_error_info("PERMISSION_DENIED", DOMAIN, owned(metadata)),
    )
}

/// The status of a call that has come without TLS to a port which speaks nothing else.
pub(super) fn needs_tls() -> Status {
    let details = ErrorDetails::with_error_info("NEEDS_TLS", DOMAIN, HashMap::new());
    let text = "this port speaks TLS: use an https:// URL";
    Status::with_error_details(Code::Unavailable, text, details)
}

/// The status of a request message that is larger than its call allows.
pub(super) fn too_large(bytes: usize, limit: usize) -> Status {
    let metadata = [
        ("what", "bytes".to_owned()),
        ("count", bytes.to_string()),
        ("limit", limit.to_string()),
    ];
    Status::with_error_details(
        Code::ResourceExhausted,
        format!("the request has {bytes} bytes, at most {limit} are allowed; split it"),
        ErrorDetails::with_error_info("REQUEST_TOO_LARGE", DOMAIN, owned(metadata)),
    )
}

/// The status of a call whose request does not come in, or too slowly.
pub(super) fn request_stalled() -> Status {
    let mut details = ErrorDetails::with_error_info("REQUEST_STALLED", DOMAIN, HashMap::new());
    details.set_retry_info(Some(Duration::ZERO));
    Status::with_error_details(
        Code::Unavailable,
        "the rest of the request did not come in time (server.request_timeout); nothing of it was done",
        details,
    )
}

/// The status of a call whose client does not take the answer. Nothing is said of what was done.
pub(super) fn answer_stalled() -> Status {
    Status::with_error_details(
        Code::Unavailable,
        "the client has taken nothing of the answer for long (reads.stalled)",
        ErrorDetails::with_error_info("ANSWER_STALLED", DOMAIN, HashMap::new()),
    )
}

/// The status of a call whose messages are compressed with what is not built in.
pub(super) fn compressed(encoding: &str) -> Status {
    Status::with_error_details(
        Code::Unimplemented,
        format!(
            "the messages are compressed with {}; this broker takes {ENCODINGS}",
            quoted(encoding)
        ),
        ErrorDetails::with_error_info(
            "COMPRESSION_NOT_SUPPORTED",
            DOMAIN,
            owned([("encoding", shortened(encoding))]),
        ),
    )
}

/// The status of a call to what is no service or no method of the broker.
pub(super) fn unknown_method(path: &str) -> Status {
    Status::with_error_details(
        Code::Unimplemented,
        format!(
            "this broker has no method {}; it is older than the client, or no server of that service",
            quoted(path)
        ),
        ErrorDetails::with_error_info("UNKNOWN_METHOD", DOMAIN, owned([("path", shortened(path))])),
    )
}

/// The status of a call in which the broker has panicked.
pub(super) fn internal() -> Status {
    Status::with_error_details(
        Code::Internal,
        "the broker has made a mistake, which its log tells; a change that was asked for was made, or not",
        ErrorDetails::with_error_info("INTERNAL", DOMAIN, HashMap::new()),
    )
}

/// The status of a call that takes longer than its client gave it.
pub(super) fn deadline_exceeded() -> Status {
    Status::with_error_details(
        Code::DeadlineExceeded,
        "the time that the client gave the call is over; a change that it asked for was made, or not",
        ErrorDetails::with_error_info("DEADLINE_EXCEEDED", DOMAIN, HashMap::new()),
    )
}

/// The status of a question for the health of what is no service of the broker.
pub(super) fn unknown_service(name: &str) -> Status {
    Status::with_error_details(
        Code::NotFound,
        format!("this broker has no service {}", quoted(name)),
        ErrorDetails::with_error_info(
            "UNKNOWN_SERVICE",
            DOMAIN,
            owned([("service", shortened(name))]),
        ),
    )
}

fn quoted(name: &str) -> String {
    format!("{:?}", shortened(name))
}

/// A name that a client made up, no longer than what a status has room for.
pub(super) fn shortened(name: &str) -> String {
    name.chars().take(MAX_NAME_CHARS).collect()
}

fn code(kind: Kind) -> Code {
    match kind {
        Kind::InvalidArgument => Code::InvalidArgument,
        Kind::NotFound => Code::NotFound,
        Kind::AlreadyExists => Code::AlreadyExists,
        Kind::Conflict => Code::Aborted,
        Kind::FailedPrecondition => Code::FailedPrecondition,
        Kind::OutOfRange => Code::OutOfRange,
        Kind::DataLoss => Code::DataLoss,
        Kind::ResourceExhausted => Code::ResourceExhausted,
        Kind::Unavailable => Code::Unavailable,
        Kind::OutcomeUnknown => Code::Unknown,
    }
}

fn retry_after(error: &Error) -> Option<Duration> {
    match error {
        Error::Overloaded { retry_after_ms } => Some(Duration::from_millis(*retry_after_ms)),
        Error::DeletedPartitionsRemain { .. } => {
            Some(Duration::from_millis(limits::PARTITIONS_RETRY_MS))
        }
        Error::StorageUnavailable { .. } => Some(Duration::from_millis(limits::STORAGE_RETRY_MS)),
        Error::ReadStalled { .. } => Some(Duration::from_millis(RETRY_AFTER_MS)),
        Error::ShuttingDown => Some(RESTART_TIME),
        _ => None,
    }
}

/// What the error's text tells, by name. Names are part of the API.
fn metadata(error: &Error) -> HashMap<String, String> {
    owned(match error {
        Error::InvalidTopicName(_)
        | Error::UnknownTopic { .. }
        | Error::TopicRecreated { .. }
        | Error::TopicExists { .. }
        | Error::PlainTopic { .. }
        | Error::VersionedTopic { .. }
        | Error::NotCompacted { .. }
        | Error::InvalidPartitionCount { .. }
        | Error::FewerPartitions { .. }
        | Error::TooManyPartitions { .. }
        | Error::DeletedPartitionsRemain { .. }
        | Error::InvalidSetting(_) => of_topics(error),
        Error::UnknownPartition { .. }
        | Error::MalformedRecord { .. }
        | Error::RecordTooLarge { .. }
        | Error::WrongPartition { .. }
        | Error::KeyRequired { .. }
        | Error::PartitionFull { .. }
        | Error::RetentionHeld { .. }
        | Error::DamagedRecords { .. } => of_records(error),
        Error::OffsetOutOfRange { .. } | Error::ShiftOutOfRange { .. } => of_places(error),
        Error::GroupOffsetOutOfRange(out) => of_group_offset(out),
        Error::VersionOutOfRange {
            topic,
            before,
            latest,
        } => vec![
            ("topic", topic.clone()),
            ("before", before.to_string()),
            ("latest", latest.to_string()),
        ],
        Error::MemberFenced { group }
        | Error::SessionEnded { group }
        | Error::UnknownGroup { group }
        | Error::GroupExists { group }
        | Error::GroupKind { group, .. } => vec![("group", group.clone())],
        Error::GroupHasMembers { group, members } => {
            vec![("group", group.clone()), ("members", members.to_string())]
        }
        Error::TooManyForGroups { group, most, .. } => {
            vec![("group", group.clone()), ("limit", most.to_string())]
        }
        Error::CommitFenced(fenced) => of_fenced(fenced),
        Error::NothingCommitted {
            group,
            topic,
            partition,
        } => {
            let mut pairs = vec![("group", group.clone())];
            pairs.extend(topic.clone().map(|topic| ("topic", topic)));
            pairs.extend(partition.map(|partition| ("partition", partition.to_string())));
            pairs
        }
        Error::NoOffset {
            group,
            topic,
            partition,
        } => vec![
            ("group", group.clone()),
            ("topic", topic.clone()),
            ("partition", partition.to_string()),
        ],
        Error::InvalidGroupName(error) => {
            let mut metadata = vec![("group", error.name.clone())];
            metadata.extend(error.letter.clone().map(|letter| ("character", letter)));
            metadata
        }
        Error::UnknownProducer { .. } | Error::Fenced { .. } | Error::OutOfSequence { .. } => {
            of_producers(error)
        }
        Error::RequestTooLarge { what, count, limit } => vec![
            ("what", (*what).to_owned()),
            ("count", count.to_string()),
            ("limit", limit.to_string()),
        ],
        Error::MalformedCondition { index, .. } => vec![("index", index.to_string())],
        Error::Conflict { failed } => vec![("failed", failed.len().to_string())],
        Error::DiskFull(shortage) => disk_full(*shortage),
        Error::NoProducerNamed { name } => vec![("name", name.clone())],
        Error::ReadStalled { next_offsets: next } => vec![("next_offsets", next_offsets(next))],
        Error::UnknownToken { token } => vec![("token", token.clone())],
        Error::UnknownErasure { id } => vec![("erasure", format!("{id:016x}"))],
        Error::MalformedRequest { .. }
        | Error::TooManyProducers
        | Error::TooManyErasures
        | Error::TooManyKeyTrims
        | Error::TooManyTokens
        | Error::EmptyAppend
        | Error::Overloaded { .. }
        | Error::StorageUnavailable { .. }
        | Error::ShuttingDown
        | Error::OutcomeUnknown => Vec::new(),
    })
}

/// Partitions and offsets, as many as there is room for: `0:17,3:5`.
fn next_offsets(next: &[(PartitionId, Offset)]) -> String {
    let mut text = String::new();
    for (partition, offset) in next {
        let one = format!("{partition}:{offset}");
        if text.len() + 1 + one.len() > MAX_NEXT_OFFSETS_BYTES {
            break;
        }
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(&one);
    }
    text
}

/// Metadata of an error that is about a topic and its settings.
fn of_topics(error: &Error) -> Vec<(&'static str, String)> {
    match error {
        Error::InvalidTopicName(error) => vec![("topic", error.name.clone())],
        Error::UnknownTopic { topic }
        | Error::TopicExists { topic }
        | Error::VersionedTopic { topic }
        | Error::NotCompacted { topic }
        | Error::PlainTopic { topic } => vec![("topic", topic.clone())],
        Error::TopicRecreated {
            topic,
            expected,
            actual,
        } => vec![
            ("topic", topic.clone()),
            ("expected_id", expected.to_string()),
            ("actual_id", actual.to_string()),
        ],
        Error::InvalidPartitionCount { partitions } => vec![("partitions", partitions.to_string())],
        Error::FewerPartitions {
            topic,
            partitions,
            existing,
        } => vec![
            ("topic", topic.clone()),
            ("partitions", partitions.to_string()),
            ("existing", existing.to_string()),
        ],
        Error::TooManyPartitions {
            existing,
            asked,
            most,
        } => vec![
            ("existing", existing.to_string()),
            ("asked", asked.to_string()),
            ("most", most.to_string()),
        ],
        Error::DeletedPartitionsRemain { remaining, asked } => vec![
            ("remaining", remaining.to_string()),
            ("asked", asked.to_string()),
        ],
        Error::InvalidSetting(error) => vec![("setting", setting(error).to_owned())],
        _ => Vec::new(),
    }
}

fn of_group_offset(out: &GroupOffsetOutOfRange) -> Vec<(&'static str, String)> {
    vec![
        ("group", out.group.clone()),
        ("topic", out.topic.clone()),
        ("partition", out.partition.to_string()),
        ("offset", out.offset.to_string()),
        ("earliest", out.earliest.to_string()),
        ("high_watermark", out.high_watermark.to_string()),
    ]
}

fn of_fenced(fenced: &CommitFenced) -> Vec<(&'static str, String)> {
    vec![
        ("group", fenced.group.clone()),
        ("topic", fenced.topic.clone()),
        ("partition", fenced.partition.to_string()),
        ("partitions", fenced.partitions.to_string()),
        ("generation", fenced.current.unwrap_or_default().to_string()),
    ]
}

fn of_places(error: &Error) -> Vec<(&'static str, String)> {
    match error {
        Error::OffsetOutOfRange {
            topic,
            partition,
            offset,
            earliest,
            high_watermark,
        } => vec![
            ("topic", topic.clone()),
            ("partition", partition.to_string()),
            ("offset", offset.to_string()),
            ("earliest", earliest.to_string()),
            ("high_watermark", high_watermark.to_string()),
        ],
        Error::ShiftOutOfRange {
            topic,
            partition,
            by,
            from,
            earliest,
            high_watermark,
        } => vec![
            ("topic", topic.clone()),
            ("partition", partition.to_string()),
            ("shift", by.to_string()),
            ("committed", from.to_string()),
            ("earliest", earliest.to_string()),
            ("high_watermark", high_watermark.to_string()),
        ],
        _ => Vec::new(),
    }
}

/// Metadata of an error that is about records of a partition.
fn of_records(error: &Error) -> Vec<(&'static str, String)> {
    match error {
        Error::UnknownPartition {
            topic,
            partition,
            partitions,
        } => vec![
            ("topic", topic.clone()),
            ("partition", partition.to_string()),
            ("partitions", partitions.to_string()),
        ],
        Error::MalformedRecord { topic, index, .. } | Error::KeyRequired { topic, index } => {
            vec![("topic", topic.clone()), ("index", index.to_string())]
        }
        Error::RecordTooLarge {
            topic,
            index,
            bytes,
            limit,
        } => vec![
            ("topic", topic.clone()),
            ("index", index.to_string()),
            ("bytes", bytes.to_string()),
            ("limit", limit.to_string()),
        ],
        Error::WrongPartition {
            topic,
            index,
            partition,
            belongs,
        } => vec![
            ("topic", topic.clone()),
            ("index", index.to_string()),
            ("partition", partition.to_string()),
            ("belongs", belongs.to_string()),
        ],
        Error::PartitionFull {
            topic,
            partition,
            bytes,
            limit,
        } => vec![
            ("topic", topic.clone()),
            ("partition", partition.to_string()),
            ("bytes", bytes.to_string()),
            ("limit", limit.to_string()),
        ],
        Error::RetentionHeld {
            topic,
            partition,
            group,
            from,
        } => vec![
            ("topic", topic.clone()),
            ("partition", partition.to_string()),
            ("group", group.clone()),
            ("from_offset", from.to_string()),
        ],
        Error::DamagedRecords {
            topic,
            partition,
            from,
            to,
            ..
        } => vec![
            ("topic", topic.clone()),
            ("partition", partition.to_string()),
            ("from_offset", from.to_string()),
            ("to_offset", to.to_string()),
        ],
        _ => Vec::new(),
    }
}

/// Metadata of an error that is about a producer.
fn of_producers(error: &Error) -> Vec<(&'static str, String)> {
    match error {
        Error::UnknownProducer { id } => vec![("producer", id.to_string())],
        Error::Fenced { id, epoch, current } => vec![
            ("producer", id.to_string()),
            ("epoch", epoch.to_string()),
            ("current", current.to_string()),
        ],
        Error::OutOfSequence {
            id,
            topic,
            partition,
            sequence,
            expected,
        } => vec![
            ("producer", id.to_string()),
            ("topic", topic.clone()),
            ("partition", partition.to_string()),
            ("sequence", sequence.to_string()),
            ("expected", expected.to_string()),
        ],
        _ => Vec::new(),
    }
}

fn disk_full(shortage: Shortage) -> Vec<(&'static str, String)> {
    let mut pairs = vec![
        ("needed", shortage.needed.to_string()),
        ("disk.reserve_bytes", shortage.reserve.to_string()),
    ];
    if let Some(free) = shortage.free {
        pairs.push(("free", free.to_string()));
    }
    pairs
}

fn owned(pairs: impl IntoIterator<Item = (&'static str, String)>) -> HashMap<String, String> {
    pairs
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn setting(error: &SettingError) -> &str {
    match error {
        SettingError::Unknown { name } => name,
        SettingError::NotAWord { name, .. }
        | SettingError::NotAQuantity { name, .. }
        | SettingError::Fixed { name }
        | SettingError::Together { name, .. }
        | SettingError::OutOfBounds { name, .. } => name,
    }
}
