//! How a command fails, and the exit code that says so.

use std::{fmt::Write as _, io, process::ExitCode};

use serde_json::{Value, json};

use super::signals::StopSignal;
use crate::{client, config, types::PartitionId};

/// The commands that work on files, and with no broker.
const ON_FILES: [&str; 2] = ["inspect", "restore"];

/// The commands that need neither.
const ALONE: [&str; 4] = ["completions", "man", "version", "dashboard"];

/// The exit codes of a command, by the first word of its name, for `--help`; all, where it has
/// none.
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

/// Why a command did not do what it was asked. The text says what to do next.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// Input, output or anything else on this side.
    #[error("{0}")]
    General(String),
    /// Flags that do not go together, or a value that is none.
    #[error("{0}")]
    Usage(String),
    /// Standard output.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
    /// The broker's answer, or the lack of one.
    #[error("{0}")]
    Call(#[from] client::Error),
    /// The same, with what it means for the command.
    #[error("{message}")]
    CallIn {
        /// What the command had done, what happened, what to do.
        message: String,
        /// What happened, for the exit code.
        source: client::Error,
    },
    /// The broker does not have what was named.
    #[error("{message}")]
    Missing {
        /// As the broker would have it, for programs.
        reason: &'static str,
        /// What there is not.
        message: String,
    },
    /// Records could not be read.
    #[error("{0}")]
    DataLoss(String),
    /// The disk failed while serving.
    #[error("{0}")]
    Storage(String),
    /// The configuration or the data directory.
    #[error("{0}")]
    Unusable(String),
    /// A signal came before the end.
    #[error("{message}")]
    Stopped {
        /// What had been done.
        message: String,
        /// Which one.
        signal: StopSignal,
    },
}

impl Failure {
    /// Whether whoever read the output has had enough, which is not a failure.
    pub(super) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    pub(super) fn exit_code(&self) -> ExitCode {
        self.code().into()
    }

    /// A topic has no such partition, but so many.
    pub(super) fn no_partition(topic: &str, wanted: PartitionId, partitions: usize) -> Self {
        Self::Missing {
            reason: "UNKNOWN_PARTITION",
            message: format!(
                "topic {topic:?} has no partition {wanted}; it has {partitions}, numbered from 0"
            ),
        }
    }

    /// What the client was told, if that is why.
    pub(super) fn call(&self) -> Option<&client::Error> {
        match self {
            Self::Call(error) | Self::CallIn { source: error, .. } => Some(error),
            _ => None,
        }
    }

    /// What it is, for programs: the broker's reason, if it was the broker's answer.
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

    /// The failure as an object, with this text of it.
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
        // Something between here and the broker has answered; and what a later client may add.
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
        // Unavailable, outcome unknown, stream ended; and what a later client may add.
        _ => 5,
    }
}

impl From<config::Error> for Failure {
    fn from(error: config::Error) -> Self {
        Self::Unusable(error.to_string())
    }
}
