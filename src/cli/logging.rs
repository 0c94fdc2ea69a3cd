//! Log lines on standard error: for people, or one JSON object each.

use std::{
    io::{self, IsTerminal, Write},
    panic,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use serde_json::json;
use tracing::error;
use tracing_subscriber::EnvFilter;

use super::Failure;
use crate::config::{Config, LogFormat};

/// What is logged where no level is given for everything. Without it a level for one module, whose
/// name may be mistyped, would turn off the errors and warnings of all others. A level for
/// everything that comes behind takes its place.
const DEFAULT_LEVEL: &str = "info";

/// Modules of the transport that warn of what a client does, each time: a client could fill the disk
/// with it. What of it concerns an operator is counted in `server/notices.rs`. A level for such a
/// module takes the place of this one.
const UNCOUNTED: &str = "h2=error,tonic=error";

/// Every line is to be a JSON object.
static IS_JSON: AtomicBool = AtomicBool::new(false);

/// Whatever is said from now on is JSON, before logging starts too.
pub(super) fn speak_json() {
    IS_JSON.store(true, Relaxed);
}

/// Says why the process ends. Where standard error is closed there is nobody left to tell.
pub(super) fn last_words(failure: &Failure) {
    let mut out = io::stderr();
    let _ = match IS_JSON.load(Relaxed) {
        true => {
            let line = json!({ "level": "ERROR", "message": failure.to_string() });
            writeln!(out, "{line}")
        }
        false => writeln!(out, "error: {failure}"),
    };
}

/// Starts logging as configured.
pub(super) fn start(config: &Config) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(format!("{DEFAULT_LEVEL},{UNCOUNTED},{}", config.log_level));
    let filter = filter.map_err(|error| {
        Failure::Unusable(format!(
            "log.level cannot be {:?}: {error}",
            config.log_level
        ))
    })?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    match config.log_format {
        LogFormat::Json => {
            speak_json();
            lines.json().flatten_event(true).init();
            panic::set_hook(Box::new(|panic| error!("{panic}")));
        }
        LogFormat::Text => lines
            .with_ansi(io::stderr().is_terminal())
            .with_target(false)
            .init(),
    }
    Ok(())
}
