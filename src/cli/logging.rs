//! Log lines on standard error: for people, or one JSON object each.

use std::{io, panic};

use tracing::error;
use tracing_subscriber::EnvFilter;

use super::{
    Failure,
    flags::ServeFlags,
    said::{self, Manner},
    serve::ConfigFile,
};
use crate::config::{self, Config, LogFormat};

/// What is logged where no level is given for everything. Without it a level for one module, whose
/// name may be mistyped, would turn off the errors and warnings of all others. A level for
/// everything that comes behind takes its place.
const DEFAULT_LEVEL: &str = "info";

/// Modules of the transport that warn of what a client does, each time: a client could fill the disk
/// with it. What of it concerns an operator is counted in `server/notices.rs`. A level for such a
/// module takes the place of this one.
const UNCOUNTED: &str = "h2=error,tonic=error";

/// Before it is known what is configured: has what goes wrong said in the format that flags, the
/// environment or the file ask for.
pub(super) fn prepare(flags: &ServeFlags, file: Option<&ConfigFile>) {
    let file = file.map(|(_, text)| text.as_str());
    if config::asks_for_json(flags.log_format.as_deref(), config::variables(), file) {
        said::speak(Manner::JsonLog);
        panic::set_hook(Box::new(|panic| said::mistake(panic)));
    }
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
            said::speak(Manner::JsonLog);
            lines.json().flatten_event(true).init();
            panic::set_hook(Box::new(|panic| error!("{panic}")));
        }
        LogFormat::Text => lines
            .with_ansi(said::has_colours(&io::stderr()))
            .with_target(false)
            .init(),
    }
    Ok(())
}
