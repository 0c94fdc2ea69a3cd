//! The errors of the client, by what a program should do about them.

use std::{collections::BTreeMap, time::Duration};

use super::FailedCondition;
use crate::types::{MalformedRecord, Offset, PartitionId};

/// Why a call did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The broker's address is malformed.
    #[error(
        "{server:?} is not a broker's address ({reason}); give one such as http://127.0.0.1:9640"
    )]
    InvalidServer {
        /// The address given.
        server: String,
        /// What is wrong with it.
        reason: String,
    },

    /// A certificate or a key that the client was given cannot be used.
    #[error("a TLS file of this client cannot be used: {reason}")]
    InvalidTls {
        /// What is wrong with it.
        reason: String,
    },

    /// The text is not an access token.
    #[error(
        "that is no access token: it is empty, or has spaces or other signs in it that no token has"
    )]
    InvalidToken,

    /// The broker cannot be reached, is shutting down, or did not answer a call that changes
    /// nothing. Nothing was stored or changed; the call can be repeated.
    #[error("the broker is not available: {message}")]
    Unavailable {
        /// What happened.
        message: String,
    },

    /// The call was sent but its answer was lost, or the broker's storage failed. The change may
    /// have happened or not; read to find out.
    #[error("the outcome is unknown: {message}")]
    OutcomeUnknown {
        /// What happened.
        message: String,
    },

    /// An append of a stream was not sent, or not accepted, because the stream had ended before it.
    /// Nothing of it was stored.
    #[error("not appended, because the stream had ended before: {cause}")]
    StreamEnded {
        /// How the stream ended.
        cause: String,
    },

    /// The broker refused the call. Nothing was stored or changed.
    #[error("{0}")]
    Refused(Box<Refusal>),

    /// A condition of the append does not hold. Nothing was stored. Look at the present state, and
    /// decide again.
    #[error("{message}")]
    Conflict {
        /// The broker's message.
        message: String,
        /// How many conditions do not hold.
        count: u32,
        /// The first 100 of them, in the order of the append's conditions.
        failed: Vec<FailedCondition>,
    },

    /// The position to read from is not in the log. Read from `earliest`, or from the last position
    /// that was read.
    #[error("{message}")]
    OffsetOutOfRange {
        /// The broker's message.
        message: String,
        /// The partition, if the broker said.
        partition: Option<PartitionId>,
        /// The first offset that can be read.
        earliest: Offset,
        /// The offset that the next record will get.
        high_watermark: Offset,
    },

    /// Some records are damaged on disk. Everything from `to` on can be read.
    #[error("{message}")]
    DamagedRecords {
        /// The broker's message.
        message: String,
        /// The partition.
        partition: PartitionId,
        /// The first damaged offset.
        from: Offset,
        /// The offset behind the damage.
        to: Offset,
    },

    /// A record that the broker sent cannot be decoded: the server is no broker, or one whose
    /// records have bounds or types that this client does not know.
    #[error("the broker sent a record that this client does not understand: {0}")]
    MalformedResponse(#[from] MalformedRecord),
}

/// The broker's refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The gRPC status code's name, such as `NotFound`.
    pub code: String,
    /// The reason, for programs, such as `UNKNOWN_TOPIC`; empty if something between client and
    /// broker has answered.
    pub reason: String,
    /// The broker's message, for people.
    pub message: String,
    /// The values that the message mentions, by name.
    pub metadata: BTreeMap<String, String>,
    /// When to try again, if that makes sense.
    pub retry_after: Option<Duration>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.message.is_empty() {
            write!(f, "refused ({})", self.code)
        } else {
            f.write_str(&self.message)
        }
    }
}

impl Error {
    /// The broker's reason, for programs, such as `UNKNOWN_TOPIC`; `None` if the error is not an
    /// answer of the broker. The `.proto` files list the reasons call by call.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Refused(refusal) => Some(&refusal.reason)
                .filter(|reason| !reason.is_empty())
                .map(String::as_str),
            Self::Conflict { .. } => Some("CONFLICT"),
            Self::OffsetOutOfRange { .. } => Some("OFFSET_OUT_OF_RANGE"),
            Self::DamagedRecords { .. } => Some("DAMAGED_RECORDS"),
            _ => None,
        }
    }
}
