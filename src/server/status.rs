//! The one mapping from the broker's errors to gRPC status.
//!
//! The code says what the caller should do, the text what happened, `google.rpc.ErrorInfo` the same for programs
//! (reason, and the values that a program would otherwise have to find in the text), `google.rpc.RetryInfo` when to try
//! again.

use std::{collections::HashMap, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::{
    broker::{Error, Kind},
    types::SettingError,
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
        Self::with_error_details(code(error.kind()), error.to_string(), details)
    }
}

/// The status of a request that could not be decoded, out of the one that the transport has for it, or that one if it
/// is about something else.
///
/// Ours always have details, so one without comes from the transport, which says INTERNAL of a message that is no
/// protobuf.
pub(super) fn of_undecoded(status: Status) -> Status {
    if status.code() == Code::Internal && status.details().is_empty() {
        return Error::MalformedRequest { reason: status.message().to_owned() }.into();
    }
    status
}

/// The status of a request message that is larger than its call allows.
pub(super) fn too_large(bytes: usize, limit: usize) -> Status {
    let metadata = [("what", "bytes".to_owned()), ("count", bytes.to_string()), ("limit", limit.to_string())];
    Status::with_error_details(
        Code::ResourceExhausted,
        format!("the request has {bytes} bytes, at most {limit} are allowed; split it"),
        ErrorDetails::with_error_info("REQUEST_TOO_LARGE", DOMAIN, owned(metadata)),
    )
}

fn code(kind: Kind) -> Code {
    match kind {
        Kind::InvalidArgument => Code::InvalidArgument,
        Kind::NotFound => Code::NotFound,
        Kind::AlreadyExists => Code::AlreadyExists,
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
        Error::ShuttingDown => Some(RESTART_TIME),
        _ => None,
    }
}

/// What the error's text tells, by name. Names are part of the API.
fn metadata(error: &Error) -> HashMap<String, String> {
    let pairs: Vec<(&'static str, String)> = match error {
        Error::InvalidTopicName(error) => vec![("topic", error.name.clone())],
        Error::UnknownTopic { topic } | Error::TopicExists { topic } => vec![("topic", topic.clone())],
        Error::UnknownPartition { topic, partition, partitions } => {
            vec![("topic", topic.clone()), ("partition", partition.to_string()), ("partitions", partitions.to_string())]
        }
        Error::InvalidPartitionCount { partitions } => vec![("partitions", partitions.to_string())],
        Error::TooManyPartitions { existing, asked } => {
            vec![("existing", existing.to_string()), ("asked", asked.to_string())]
        }
        Error::InvalidSetting(error) => vec![("setting", setting(error).to_owned())],
        Error::MalformedRecord { topic, index, .. } => {
            vec![("topic", topic.clone()), ("index", index.to_string())]
        }
        Error::RecordTooLarge { topic, index, bytes, limit } => vec![
            ("topic", topic.clone()),
            ("index", index.to_string()),
            ("bytes", bytes.to_string()),
            ("limit", limit.to_string()),
        ],
        Error::RequestTooLarge { what, count, limit } => {
            vec![("what", (*what).to_owned()), ("count", count.to_string()), ("limit", limit.to_string())]
        }
        Error::OffsetOutOfRange { topic, partition, offset, earliest, high_watermark } => vec![
            ("topic", topic.clone()),
            ("partition", partition.to_string()),
            ("offset", offset.to_string()),
            ("earliest", earliest.to_string()),
            ("high_watermark", high_watermark.to_string()),
        ],
        Error::DamagedRecords { topic, partition, from, to, .. } => vec![
            ("topic", topic.clone()),
            ("partition", partition.to_string()),
            ("from_offset", from.to_string()),
            ("to_offset", to.to_string()),
        ],
        Error::MalformedRequest { .. }
        | Error::EmptyAppend
        | Error::DiskFull
        | Error::Overloaded { .. }
        | Error::ShuttingDown
        | Error::OutcomeUnknown => Vec::new(),
    };
    owned(pairs)
}

fn owned(pairs: impl IntoIterator<Item = (&'static str, String)>) -> HashMap<String, String> {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn setting(error: &SettingError) -> &str {
    match error {
        SettingError::Unknown { name } => name,
        SettingError::NotAWord { name, .. }
        | SettingError::NotAQuantity { name, .. }
        | SettingError::OutOfBounds { name, .. } => name,
    }
}
