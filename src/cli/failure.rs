//! Why commands fail, and their exit codes.

use std::{fmt::Write as _, io, process::ExitCode};

use serde_json::{Value, json};

use super::signals::StopSignal;
use crate::{client, config, types::PartitionId};

/// The commands that work on a data directory, without a broker.
const ON_FILES: [&str; 2] = ["inspect", "restore"];

/// The commands that need neither a broker nor files.
const ALONE: [&str; 4] = ["completions", "man", "version", "dashboard"];

/// The exit codes for the `--help` of a command, given the first word of its name; all codes if it
/// is empty.
pub(super) fn exit_codes(command: &str) -> String {
    let is_of = |commands: &[&str]| command.is_empty() || commands.contains(&command);
    let calls = !ON_FILES.contains(&command) && !ALONE.contains(&command) && command != "serve";
    let mut text = "Exit codes:\n  0   done\n".to_owned();
    let general =
        "failed: input that cannot be read or is malformed, output that cannot be written";
    for (code, means, is_shown) in [
        ("1", general, true),
        ("2", "the command line is wrong", true),
        (
            "3",
            "a condition of an append does not hold, such as --expect-version; nothing was stored",
            is_of(&["produce"]),
        ),
        (
            "4",
            "the broker refused; nothing of the refused request was stored or changed",
            calls,
        ),
        (
            "5",
            "the broker cannot be reached, or the outcome of a change is unknown",
            calls,
        ),
        (
            "6",
            "some records are damaged on disk; everything else was read",
            is_of(&["consume", "entity", "export", "inspect", "restore", "bench"]),
        ),
        (
            "74",
            "the disk failed; restart to recover what is on it",
            is_of(&["serve"]),
        ),
        (
            "78",
            "the configuration or the directory cannot be used, or is in use",
            is_of(&["serve", "inspect", "backup", "restore"]),
        ),
    ] {
        if is_shown {
            let _ = writeln!(text, "  {code:<4}{means}");
        }
    }
    text + "  130, 143  stopped by Ctrl-C or SIGTERM before the end; it says how far it came"
}

/// Why a command has failed. The text says what to do next.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// Something on the side of the command, such as its input.
    #[error("{0}")]
    General(String),
    /// The flags contradict each other, or a value is invalid.
    #[error("{0}")]
    Usage(String),
    /// Standard output cannot be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
    /// The broker's error, or that it cannot be reached.
    #[error("{0}")]
    Call(#[from] client::Error),
    /// A failed call, with a text that says what it means for the command.
    #[error("{message}")]
    CallIn {
        /// What the command had done, what has failed, and what to do.
        message: String,
        /// The failed call, which decides on the exit code.
        source: client::Error,
    },
    /// Something does not exist that the command looked up itself.
    #[error("{message}")]
    Missing {
        /// The broker's reason for this case, for programs.
        reason: &'static str,
        /// What does not exist.
        message: String,
    },
    /// Records could not be read because they are damaged.
    #[error("{0}")]
    DataLoss(String),
    /// The disk failed while serving.
    #[error("{0}")]
    Storage(String),
    /// The configuration or the data directory cannot be used.
    #[error("{0}")]
    Unusable(String),
    /// A signal has stopped the command before its end.
    #[error("{message}")]
    Stopped {
        /// How far the command had come.
        message: String,
        /// The signal.
        signal: StopSignal,
    },
}

impl Failure {
    /// Whether the reader of standard output has closed it, which is no failure.
    pub(super) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    pub(super) fn exit_code(&self) -> ExitCode {
        self.code().into()
    }

    /// The topic does not have the partition; says how many it has.
    pub(super) fn no_partition(topic: &str, wanted: PartitionId, partitions: usize) -> Self {
        Self::Missing {
            reason: "UNKNOWN_PARTITION",
            message: format!(
                "topic {topic:?} has no partition {wanted}; it has {partitions}, numbered from 0"
            ),
        }
    }

    /// The failed call, if one was the cause.
    pub(super) fn call(&self) -> Option<&client::Error> {
        match self {
            Self::Call(error) | Self::CallIn { source: error, .. } => Some(error),
            _ => None,
        }
    }

    /// The reason for programs: the broker's, if the broker has answered.
    fn reason(&self) -> &str {
        match self {
            Self::General(_) => "FAILED",
            Self::Usage(_) => "USAGE",
            Self::Output(_) => "OUTPUT",
            Self::Call(error) | Self::CallIn { source: error, .. } => call_reason(error),
            Self::Missing { reason, .. } => reason,
            Self::DataLoss(_) => "DAMAGED_RECORDS",
            Self::Storage(_) => "STORAGE_FAILED",
            Self::Unusable(_) => "UNUSABLE",
            Self::Stopped { .. } => "STOPPED",
        }
    }

    /// The failure as a JSON object with this text.
    pub(super) fn json(&self, message: &str) -> Value {
        let mut error = json!({
            "reason": self.reason(),
            "message": message,
            "exit_code": self.code(),
        });
        if let Some(client::Error::Refused(refusal)) = self.call() {
            error["code"] = json!(refusal.code);
            error["metadata"] = json!(refusal.metadata);
            if let Some(after) = refusal.retry_after {
                let millis = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
                error["retry_after_ms"] = json!(millis);
            }
        }
        json!({ "error": error })
    }

    pub(super) fn code(&self) -> u8 {
        match self {
            Self::General(_) | Self::Output(_) => 1,
            Self::Usage(_) => 2,
            Self::Call(error) | Self::CallIn { source: error, .. } => call_code(error),
            Self::Missing { .. } => 4,
            Self::DataLoss(_) => 6,
            Self::Storage(_) => 74,
            Self::Unusable(_) => 78,
            Self::Stopped { signal, .. } => signal.exit_code(),
        }
    }
}

fn call_reason(error: &client::Error) -> &str {
    if let Some(reason) = error.reason() {
        return reason;
    }
    match error {
        client::Error::InvalidServer { .. }
        | client::Error::InvalidTls { .. }
        | client::Error::InvalidToken => "USAGE",
        client::Error::Unavailable { .. } => "UNAVAILABLE",
        client::Error::OutcomeUnknown { .. } => "OUTCOME_UNKNOWN",
        client::Error::StreamEnded { .. } => "STREAM_ENDED",
        client::Error::MalformedResponse(_) => "MALFORMED_RESPONSE",
        // A proxy has answered, or the client library has a new kind of error.
        _ => "REFUSED",
    }
}

fn call_code(error: &client::Error) -> u8 {
    match error {
        client::Error::InvalidServer { .. }
        | client::Error::InvalidTls { .. }
        | client::Error::InvalidToken => 2,
        client::Error::Conflict { .. } => 3,
        client::Error::Refused(_) | client::Error::OffsetOutOfRange { .. } => 4,
        client::Error::DamagedRecords { .. } => 6,
        client::Error::MalformedResponse(_) => 1,
        // Not available, outcome unknown, stream ended; or a new kind of error.
        _ => 5,
    }
}

impl From<config::Error> for Failure {
    fn from(error: config::Error) -> Self {
        Self::Unusable(error.to_string())
    }
}
