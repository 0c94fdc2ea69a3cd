//! `taffrail version`: which program this is.

use serde_json::json;

use super::{Failure, flags::VersionFlags, output};

/// The version, with the commit where it is known: `build.rs` puts it together.
pub(super) const TEXT: &str = env!("VERSION_TEXT");

/// The commit that it was built from; empty where the build did not know it.
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
