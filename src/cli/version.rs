//! `taffrail version`: prints the version of the program.

use serde_json::json;

use super::{Failure, flags::VersionFlags, output};

/// The version with the commit, if it is known; made by `build.rs`.
pub(super) const TEXT: &str = env!("VERSION_TEXT");

/// The commit that the program was built from; empty if it is unknown.
pub(super) const COMMIT: &str = env!("BUILT_FROM_COMMIT");

pub(super) fn run(flags: &VersionFlags) -> Result<(), Failure> {
    if flags.json {
        let commit = Some(COMMIT).filter(|commit| !commit.is_empty());
        let version = env!("CARGO_PKG_VERSION");
        return Ok(output::json(
            &json!({ "version": version, "commit": commit }),
        )?);
    }
    Ok(output::line(format_args!("taffrail {TEXT}"))?)
}
