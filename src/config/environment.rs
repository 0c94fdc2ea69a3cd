//! The one place that looks at environment variables.

use std::{ffi::OsString, time::Duration};

/// The variable that tells the other commands which broker to use.
const SERVER_VARIABLE: &str = "TAFFRAIL_SERVER";

/// Those that tell them which brokers to trust, and who to be.
pub(crate) const TLS_CA_VARIABLE: &str = "TAFFRAIL_TLS_CA";
pub(crate) const TLS_CERT_VARIABLE: &str = "TAFFRAIL_TLS_CERT";
pub(crate) const TLS_CERT_KEY_VARIABLE: &str = "TAFFRAIL_TLS_CERT_KEY";

/// The one that gives them their token.
pub(crate) const TOKEN_VARIABLE: &str = "TAFFRAIL_TOKEN";

/// Names the binary that the test brokers of clients run.
const BINARY_VARIABLE: &str = "TAFFRAIL_BINARY";

/// All variables for the other commands, and for clients: no settings of `serve`.
pub(super) const OF_COMMANDS: [&str; 6] = [
    BINARY_VARIABLE,
    SERVER_VARIABLE,
    TLS_CA_VARIABLE,
    TLS_CERT_VARIABLE,
    TLS_CERT_KEY_VARIABLE,
    TOKEN_VARIABLE,
];

/// All variables whose name and value are text; others are none of ours.
#[expect(clippy::disallowed_methods, reason = "this is the door")]
pub(crate) fn variables() -> impl Iterator<Item = (String, String)> {
    let text = |(name, value): (OsString, OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(text)
}

/// Whether the environment leaves it to us to use colours: <https://no-color.org>, and a terminal
/// that knows none.
#[expect(clippy::disallowed_methods, reason = "this is the door")]
pub(crate) fn wants_colours() -> bool {
    let refuses = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
    !refuses && !is_dumb
}

/// The broker that the environment names for the commands that need one. What is not text is none
/// that there is, and not left out: that would be another broker.
#[expect(clippy::disallowed_methods, reason = "this is the door")]
pub(crate) fn server_variable() -> Option<String> {
    let named = std::env::var_os(SERVER_VARIABLE)?;
    Some(named.to_string_lossy().into_owned())
}

/// Who wants to be told how `serve` goes on: systemd, where it has started it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Supervisor {
    /// Where it hears; a name that begins with @ is none of the file system.
    pub(crate) socket: OsString,
    /// How often it wants to hear that the process lives, if it does.
    pub(crate) watchdog: Option<Duration>,
}

/// The supervisor that the environment names.
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

/// The file that a variable of the commands names; none if it is empty.
#[expect(clippy::disallowed_methods, reason = "this is the door")]
pub(crate) fn file_variable(variable: &str) -> Option<std::path::PathBuf> {
    let named = std::env::var_os(variable)?;
    (!named.is_empty()).then(|| named.into())
}

/// The access token that the environment has for the commands that show one.
#[expect(clippy::disallowed_methods, reason = "this is the door")]
pub(crate) fn token_variable() -> Option<String> {
    let token = std::env::var_os(TOKEN_VARIABLE)?;
    Some(token.to_string_lossy().into_owned())
}
