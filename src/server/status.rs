//! The one mapping from the broker's errors to gRPC status.
//!
//! The code says what the caller should do, the text what happened, `google.rpc.ErrorInfo` the same
//! for programs (reason, and the values that a program would otherwise have to find in the text),
//! `google.rpc.RetryInfo` when to try again, and `taffrail.v1.Conflict` what does not hold.

mod metadata;

use std::{collections::HashMap, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::limits::{MAX_MESSAGE_BYTES, MAX_NAME_CHARS, MAX_NEXT_OFFSETS_BYTES, RETRY_AFTER_MS};
use crate::{
    broker::{Actual, Error, FailedCondition, Kind},
    codec::ENCODINGS,
    proto::{self, Conflict, append_stream_response::Outcome},
    types::limits,
};

/// `domain` of every `google.rpc.ErrorInfo`.
pub(super) const DOMAIN: &str = "taffrail.dev";

/// When to come back to a broker that is shutting down: it takes about this long to start again.
const RESTART_TIME: Duration = Duration::from_secs(1);

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let mut details =
            ErrorDetails::with_error_info(error.reason(), DOMAIN, owned(metadata::of(&error)));
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

/// The conditions that do not hold, as a message.
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

/// The status for a request that could not be decoded. The transport has made one that says
/// INTERNAL if a message is no protobuf; a status about something else is returned as it is.
///
/// Our own statuses always have details, so one without comes from the transport.
pub(super) fn of_undecoded(status: Status) -> Status {
    if status.code() == Code::Internal && status.details().is_empty() {
        return Error::MalformedRequest {
            reason: status.message().to_owned(),
        }
        .into();
    }
    status
}

/// The status if the caller's token or certificate is not accepted.
pub(super) fn unauthenticated(reason: &str, text: &str) -> Status {
    let details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
    Status::with_error_details(Code::Unauthenticated, text, details)
}

/// The status if the caller's token has too many roles.
pub(super) fn too_many_roles(reason: &str, text: &str, roles: usize, limit: usize) -> Status {
    let metadata = owned(metadata::count_and_limit(roles, limit));
    let text = format!("{text}: {roles} are too many, {limit} are allowed");
    let details = ErrorDetails::with_error_info(reason, DOMAIN, metadata);
    Status::with_error_details(Code::Unauthenticated, text, details)
}

/// The status if the caller may not make the call.
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

/// The status if a call comes without TLS to a port that requires it.
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

/// The status if a request does not come in, or too slowly.
pub(super) fn request_stalled() -> Status {
    let mut details = ErrorDetails::with_error_info("REQUEST_STALLED", DOMAIN, HashMap::new());
    details.set_retry_info(Some(Duration::ZERO));
    Status::with_error_details(
        Code::Unavailable,
        "the rest of the request did not come in time (server.request_timeout); nothing of it was done",
        details,
    )
}

/// The status if the client does not take the response. It does not tell what was done.
pub(super) fn answer_stalled() -> Status {
    Status::with_error_details(
        Code::Unavailable,
        "the client has taken nothing of the answer for long (reads.stalled)",
        ErrorDetails::with_error_info("ANSWER_STALLED", DOMAIN, HashMap::new()),
    )
}

/// The status if messages have a compression that is not built in.
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

/// The status if the broker has no such service or method.
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

/// The status if a call takes longer than its client has allowed.
pub(super) fn deadline_exceeded() -> Status {
    Status::with_error_details(
        Code::DeadlineExceeded,
        "the time that the client gave the call is over; a change that it asked for was made, or not",
        ErrorDetails::with_error_info("DEADLINE_EXCEEDED", DOMAIN, HashMap::new()),
    )
}

/// The status for calls that only ephemeral brokers take.
pub(super) fn not_ephemeral() -> Status {
    Status::with_error_details(
        Code::FailedPrecondition,
        "this broker keeps its data: only one that was started with `serve --ephemeral` does that",
        ErrorDetails::with_error_info("NOT_EPHEMERAL", DOMAIN, HashMap::new()),
    )
}

/// The status if the health of an unknown service is asked for.
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

/// A name from a client, shortened to what a status has room for.
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

fn owned(pairs: impl IntoIterator<Item = (&'static str, String)>) -> HashMap<String, String> {
    pairs
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}
