//! The one place that looks at environment variables.

/// The variable that tells the other commands which broker to use; no setting of `serve`.
pub(super) const SERVER_VARIABLE: &str = "TAFFRAIL_SERVER";

/// All variables whose name and value are text; others are none of ours.
#[expect(clippy::disallowed_methods, reason = "this is the door")]
pub(crate) fn variables() -> impl Iterator<Item = (String, String)> {
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(text)
}

/// The broker that the environment names for the commands that need one. What is not text is none
/// that there is, and not left out: that would be another broker.
#[expect(clippy::disallowed_methods, reason = "this is the door")]
pub(crate) fn server_variable() -> Option<String> {
    let named = std::env::var_os(SERVER_VARIABLE)?;
    Some(named.to_string_lossy().into_owned())
}
