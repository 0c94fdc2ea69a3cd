//! The audit log: what was denied, and what administrators do. These are lines of the log with the
//! target `audit`, and records of a topic where there is to be one (`trail.rs`): who, from where,
//! what, on what, and what came of it.

use serde_json::json;
use tonic::Status;
use tracing::{info, warn};

use super::Trail;

/// A principal, and where it calls from.
type Who<'a> = (&'a str, &'a str);

/// An act, or what was denied.
pub(super) struct Told<'a> {
    /// When, in milliseconds since 1970.
    pub(super) time_ms: i64,
    pub(super) who: Who<'a>,
    pub(super) operation: &'a str,
    pub(super) resource: &'a str,
}

/// A call that its caller may not make.
pub(super) fn denied(trail: &Trail, told: &Told<'_>) {
    let (principal, address) = told.who;
    warn!(
        target: "audit",
        principal,
        address,
        operation = told.operation,
        resource = told.resource,
        outcome = "denied",
        "a call was denied"
    );
    trail.tell(|| text(told, "denied", None));
}

/// What has come of an act.
pub(super) enum Came {
    Done,
    /// The act goes on: what comes of it is known to its caller alone.
    Begun,
    Failed(Status),
    /// The call was given up before it was answered: what it asked for may happen all the same.
    Unknown,
}

/// An act of an administrator.
pub(super) fn acted(trail: &Trail, told: &Told<'_>, came: &Came) {
    let (outcome, cause) = match came {
        Came::Done => ("done", None),
        Came::Begun => ("begun", None),
        Came::Failed(status) => ("failed", Some(status.message())),
        Came::Unknown => ("unknown", None),
    };
    let (principal, address) = told.who;
    info!(
        target: "audit",
        principal,
        address,
        operation = told.operation,
        resource = told.resource,
        outcome,
        cause,
        "an administrator has acted"
    );
    trail.tell(|| text(told, outcome, cause));
}

/// The configuration file says something else than before.
pub(super) fn reloaded(trail: &Trail, time_ms: i64, what: &str, count: usize) {
    info!(target: "audit", count, "the {what} of the configuration file have changed");
    let told = Told {
        time_ms,
        who: ("", ""),
        operation: "change the configuration file",
        resource: what,
    };
    trail.tell(|| text(&told, "done", None));
}

/// As a record has it.
fn text(told: &Told<'_>, outcome: &str, cause: Option<&str>) -> String {
    let (principal, address) = told.who;
    let mut object = json!({
        "time_ms": told.time_ms,
        "principal": principal,
        "address": address,
        "operation": told.operation,
        "resource": told.resource,
        "outcome": outcome,
    });
    if let Some(cause) = cause {
        object["cause"] = json!(cause);
    }
    object.to_string()
}
