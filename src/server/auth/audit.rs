//! The audit log: what was denied, and what administrators do. These are lines of the log with the
//! target `audit`: who, from where, what, on what, and what came of it.

use tonic::Status;
use tracing::{info, warn};

/// A principal, and where it calls from.
type Who<'a> = (&'a str, &'a str);

/// A call that its caller may not make.
pub(super) fn denied((principal, address): Who<'_>, operation: &str, resource: &str) {
    warn!(
        target: "audit",
        principal,
        address,
        operation,
        resource,
        outcome = "denied",
        "a call was denied"
    );
}

/// What has come of an act.
pub(super) enum Came {
    Done,
    Failed(Status),
    /// The call was given up before it was answered: what it asked for may happen all the same.
    Unknown,
}

/// An act of an administrator.
pub(super) fn acted(
    (principal, address): Who<'_>,
    operation: &'static str,
    resource: &str,
    came: &Came,
) {
    let (outcome, cause) = match came {
        Came::Done => ("done", None),
        Came::Failed(status) => ("failed", Some(status.message())),
        Came::Unknown => ("unknown", None),
    };
    info!(
        target: "audit",
        principal,
        address,
        operation,
        resource,
        outcome,
        cause,
        "an administrator has acted"
    );
}
