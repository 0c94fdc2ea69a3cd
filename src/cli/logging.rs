//! Log lines on standard error: for people, or one JSON object each.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use super::Failure;
use crate::config::{Config, LogFormat};

/// Starts logging as configured.
pub(super) fn start(config: &Config) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&config.log_level).map_err(|error| {
        Failure::Unusable(format!(
            "log.level cannot be {:?}: {error}",
            config.log_level
        ))
    })?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    match config.log_format {
        LogFormat::Json => lines.json().flatten_event(true).init(),
        LogFormat::Text => lines
            .with_ansi(io::stderr().is_terminal())
            .with_target(false)
            .init(),
    }
    Ok(())
}
