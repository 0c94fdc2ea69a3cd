//! How a command fails, and the exit code that says so.

use std::{io, process::ExitCode};

use super::signals::StopSignal;
use crate::{client, config};

/// The exit codes, for `--help`.
pub(super) const EXIT_CODES: &str = "\
Exit codes:
  0   done
  1   failed: input that cannot be read or is malformed, output that cannot be written
  2   the command line is wrong
  3   a condition of an append does not hold, such as --expect-version; nothing was stored
  4   the broker refused; nothing of the refused request was stored or changed
  5   the broker cannot be reached, or the outcome of a change is unknown
  6   some records are damaged on disk; everything else was read
  74  serve: the disk failed; restart to recover what is on it
  78  serve, inspect: the configuration or the data directory cannot be used, or is in use by a broker
  130, 143  stopped by Ctrl-C or SIGTERM before the end; it says how far it came";

/// Why a command did not do what it was asked. The text says what to do next.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// Input, output or anything else on this side.
    #[error("{0}")]
    General(String),
    /// Flags that do not go together, or a value that is none.
    #[error("{0}; see --help")]
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
    #[error("{0}")]
    Missing(String),
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

    pub(super) fn code(&self) -> u8 {
        match self {
            Self::General(_) | Self::Output(_) => 1,
            Self::Usage(_) => 2,
            Self::Call(error) | Self::CallIn { source: error, .. } => call_code(error),
            Self::Missing(_) => 4,
            Self::DataLoss(_) => 6,
            Self::Storage(_) => 74,
            Self::Unusable(_) => 78,
            Self::Stopped { signal, .. } => signal.exit_code(),
        }
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
