//! The one mapping from gRPC status to [`Error`].
//!
//! A status with `google.rpc.ErrorInfo` is the broker's own answer, so its code can be trusted. Any
//! other comes from the transport, or from something in between, and does not tell whether a call
//! that was sent was carried out.

use std::{error::Error as _, time::Duration};

use tonic::{Code, ConnectError, Response, Status};
use tonic_types::{ErrorInfo, StatusExt};

use super::{Error, FailedCondition, Refusal};
use crate::{
    proto::Conflict,
    types::{Offset, PartitionId},
};

/// What is not known if the answer is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AtStake {
    /// Nothing: the call changes nothing.
    Nothing,
    /// Whether the change was made.
    Change,
}

/// Waits for the answer to a call, for at most `timeout`.
pub(super) async fn answer<T>(
    timeout: Duration,
    at_stake: AtStake,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Error> {
    match tokio::time::timeout(timeout, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(Error::from_status(&status, at_stake)),
        Err(_) => Err(Error::timed_out(at_stake)),
    }
}

impl Error {
    pub(super) fn connect(server: &str, error: &tonic::transport::Error) -> Self {
        Self::Unavailable {
            message: format!("cannot connect to {server}: {}", innermost(error)),
        }
    }

    pub(super) fn from_status(status: &Status, at_stake: AtStake) -> Self {
        match status.get_details_error_info() {
            // The broker's answer, but it only says that the broker has stopped waiting; the change
            // may still happen.
            Some(_) if status.code() == Code::DeadlineExceeded => lost(describe(status), at_stake),
            Some(info) => from_broker(status, info),
            None => from_transport(status, at_stake),
        }
    }

    pub(super) fn conflict(message: String, conflict: &Conflict) -> Self {
        Self::Conflict {
            message,
            count: conflict.count,
            failed: FailedCondition::of(conflict),
        }
    }

    pub(super) fn timed_out(at_stake: AtStake) -> Self {
        lost("the broker did not answer in time".to_owned(), at_stake)
    }
}

fn from_broker(status: &Status, info: ErrorInfo) -> Error {
    let number = |name: &str| {
        info.metadata
            .get(name)
            .and_then(|text| text.parse::<u64>().ok())
    };
    let partition = number("partition")
        .and_then(|number| u32::try_from(number).ok())
        .map(PartitionId);
    let message = status.message().to_owned();
    match status.code() {
        Code::Unknown => return Error::OutcomeUnknown { message },
        Code::Unavailable => return Error::Unavailable { message },
        Code::Aborted if info.reason == "CONFLICT" => {
            let conflict = Conflict::from_details(status.details()).unwrap_or_default();
            return Error::conflict(message, &conflict);
        }
        Code::OutOfRange => {
            if let (Some(earliest), Some(high)) = (number("earliest"), number("high_watermark")) {
                let (earliest, high_watermark) = (Offset(earliest), Offset(high));
                return Error::OffsetOutOfRange {
                    message,
                    partition,
                    earliest,
                    high_watermark,
                };
            }
        }
        Code::DataLoss => {
            if let (Some(partition), Some(from), Some(to)) =
                (partition, number("from_offset"), number("to_offset"))
            {
                return Error::DamagedRecords {
                    message,
                    partition,
                    from: Offset(from),
                    to: Offset(to),
                };
            }
        }
        _ => {}
    }
    refused(status, Some(info))
}

fn from_transport(status: &Status, at_stake: AtStake) -> Error {
    if never_connected(status) {
        return Error::Unavailable {
            message: describe(status),
        };
    }
    match status.code() {
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Unauthenticated => refused(status, None),
        _ => lost(describe(status), at_stake),
    }
}

fn lost(message: String, at_stake: AtStake) -> Error {
    match at_stake {
        AtStake::Nothing => Error::Unavailable { message },
        AtStake::Change => Error::OutcomeUnknown { message },
    }
}

fn refused(status: &Status, info: Option<ErrorInfo>) -> Error {
    let (reason, metadata) = info
        .map(|info| (info.reason, info.metadata))
        .unwrap_or_default();
    Error::Refused(Box::new(Refusal {
        code: format!("{:?}", status.code()),
        reason,
        message: status.message().to_owned(),
        metadata: metadata.into_iter().collect(),
        retry_after: status
            .get_details_retry_info()
            .and_then(|info| info.retry_delay),
    }))
}

/// Whether the call failed because there was no connection, so that it was never sent.
fn never_connected(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

fn describe(status: &Status) -> String {
    match status.source() {
        Some(error) => format!("{} ({})", status.message(), innermost(error)),
        None => status.message().to_owned(),
    }
}

/// The text of the innermost cause, which tells people most.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    innermost.to_string()
}
