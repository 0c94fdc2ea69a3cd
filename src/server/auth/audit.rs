//! The audit log: what was denied, and what administrators do. These are lines of the log with the
//! target `audit`: who, from where, what, on what, and what came of it.

use tonic::{Code, Status};
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

/// An act of an administrator, and how it failed if it did.
pub(super) fn acted(
    (principal, address): Who<'_>,
    operation: &'static str,
    resource: &str,
    failed: Option<&Status>,
) {
    let failed = failed.filter(|status| status.code() != Code::Ok);
    let outcome = failed.map_or("done", |_| "failed");
    let cause = failed.map(Status::message);
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
