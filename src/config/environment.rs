//! The one place that reads environment variables.

use std::{ffi::OsString, time::Duration};

/// The broker that commands connect to.
const SERVER_VARIABLE: &str = "TAFFRAIL_SERVER";

/// The files with the authorities that commands trust, and with the client certificate that they
/// present.
pub(crate) const TLS_CA_VARIABLE: &str = "TAFFRAIL_TLS_CA";
pub(crate) const TLS_CERT_VARIABLE: &str = "TAFFRAIL_TLS_CERT";
pub(crate) const TLS_CERT_KEY_VARIABLE: &str = "TAFFRAIL_TLS_CERT_KEY";

/// The access token that commands send.
pub(crate) const TOKEN_VARIABLE: &str = "TAFFRAIL_TOKEN";

/// The binary that the test brokers in client libraries start.
const BINARY_VARIABLE: &str = "TAFFRAIL_BINARY";

/// All variables that are for commands and clients, and not settings of `serve`.
pub(super) const OF_COMMANDS: [&str; 6] = [
    BINARY_VARIABLE,
    SERVER_VARIABLE,
    TLS_CA_VARIABLE,
    TLS_CERT_VARIABLE,
    TLS_CERT_KEY_VARIABLE,
    TOKEN_VARIABLE,
];

/// All variables whose name and value are UTF-8. No others concern us.
#[expect(clippy::disallowed_methods, reason = "this is the door")]
pub(crate) fn variables() -> impl Iterator<Item = (String, String)> {
    let text = |(name, value): (OsString, OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(text)
}

/// Whether the environment permits colours: `NO_COLOR` is not set (<https://no-color.org>), and the
/// terminal supports them.
#[expect(clippy::disallowed_methods, reason = "this is the door")]
pub(crate) fn wants_colours() -> bool {
    let refuses = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
    !refuses && !is_dumb
}

/// The broker that the environment names. A name that is not UTF-8 is returned with replacement
/// characters and will not be found; ignoring it would connect to the default broker instead.
#[expect(clippy::disallowed_methods, reason = "this is the door")]
pub(crate) fn server_variable() -> Option<String> {
    let named = std::env::var_os(SERVER_VARIABLE)?;
    Some(named.to_string_lossy().into_owned())
}

/// The process supervisor that wants to be told the state of `serve`; in practice systemd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Supervisor {
    /// The path of its socket; if it begins with @, an abstract name that is not in the file
    /// system.
    pub(crate) socket: OsString,
    /// How often it expects a message as long as the process is alive, if it does.
    pub(crate) watchdog: Option<Duration>,
}

/// The supervisor that the environment names, if it names one.
#[expect(clippy::disallowed_methods, reason = "this is the door")]
pub(crate) fn supervisor() -> Option<Supervisor> {
    let socket = std::env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty())?;
    let us = std::env::var("WATCHDOG_USEC").ok();
    let us = us.and_then(|us| us.parse().ok()).filter(|us| *us > 0);
    let is_ours = std::env::var("WATCHDOG_PID")
        .ok()
        .is_none_or(|pid| pid == std::process::id().to_string());
    Some(Supervisor {
        socket,
        watchdog: us.filter(|_| is_ours).map(Duration::from_micros),
    })
}

/// The file that a variable names; `None` if it is empty or not set.
#[expect(clippy::disallowed_methods, reason = "this is the door")]
pub(crate) fn file_variable(variable: &str) -> Option<std::path::PathBuf> {
    let named = std::env::var_os(variable)?;
    (!named.is_empty()).then(|| named.into())
}

/// The access token in the environment.
#[expect(clippy::disallowed_methods, reason = "this is the door")]
pub(crate) fn token_variable() -> Option<String> {
    let token = std::env::var_os(TOKEN_VARIABLE)?;
    Some(token.to_string_lossy().into_owned())
}
