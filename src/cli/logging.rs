//! The log on standard error: text for people, or one JSON object a line.

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

/// The log level if none is given for all modules. Without it, a level for one module, perhaps
/// misspelt, would turn off the errors and warnings of all others. A level for all modules in the
/// setting overrides it.
const DEFAULT_LEVEL: &str = "info";

/// Modules of the transport that would log a warning for each mistake of a client, with which
/// clients could fill the disk. What matters to an operator is counted by `server/notices.rs`
/// instead. A level for such a module in the setting overrides this one.
const UNCOUNTED: &str = "h2=error,tonic=error";

/// Chooses the format of errors before the configuration is checked: the one that the flags, the
/// environment or the file ask for.
pub(super) fn prepare(flags: &ServeFlags, file: Option<&ConfigFile>) {
    let file = file.map(|(_, text)| text.as_str());
    if config::asks_for_json(flags.log_format.as_deref(), config::variables(), file) {
        said::speak(Manner::JsonLog);
        panic::set_hook(Box::new(|panic| said::mistake(panic)));
    }
}

/// Starts the log as it is configured.
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
