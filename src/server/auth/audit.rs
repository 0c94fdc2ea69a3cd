//! The audit log: what was denied, and what administrators do. These are lines of the log with the
//! target `audit`, and records of a topic where there is to be one (`trail.rs`): who, from where,
//! what, on what, and what came of it.

use serde_json::{Value, json};
use tonic::Status;
use tracing::{info, warn};

use super::{Trail, trail::About};

/// A principal, and where it calls from.
type Who<'a> = (&'a str, &'a str);

/// What the audit log is told: an act, or something that was denied.
pub(super) struct Told<'a> {
    /// The time, in milliseconds since 1970.
    pub(super) time_ms: i64,
    pub(super) who: Who<'a>,
    pub(super) operation: &'a str,
    pub(super) resource: &'a str,
    /// For example the settings that were changed; empty if there is nothing to add.
    pub(super) details: &'a str,
}

/// Records that a caller was denied something.
pub(super) fn denied(trail: &Trail, told: &Told<'_>) {
    if trail.denials().is_first(told) {
        say_denied(trail, told, 1);
    }
}

/// Records how many denials were equal to one that was recorded already.
pub(super) fn denied_again(trail: &Trail) {
    for denied in trail.denials().take() {
        let told = Told {
            time_ms: denied.time_ms,
            who: (&denied.principal, &denied.address),
            operation: &denied.operation,
            resource: &denied.resource,
            details: "",
        };
        say_denied(trail, &told, denied.count);
    }
}

fn say_denied(trail: &Trail, told: &Told<'_>, count: u64) {
    let (principal, address) = told.who;
    warn!(
        target: "audit",
        principal,
        address,
        operation = told.operation,
        resource = told.resource,
        outcome = "denied",
        count,
        "a call was denied"
    );
    trail.tell(About::Denials, || {
        let mut object = object(told, "denied");
        object["count"] = json!(count);
        object.to_string()
    });
}

/// The outcome of an act.
pub(super) enum Came {
    Done,
    /// The act is a stream, which has begun: its outcome is known only to its caller.
    Begun,
    Failed(Status),
    /// The call was given up before it was answered: the act may have happened nevertheless.
    Unknown,
}

/// Records an act of an administrator.
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
        details = (!told.details.is_empty()).then_some(told.details),
        outcome,
        cause,
        "a caller has acted"
    );
    trail.tell(About::Acts, || {
        let mut object = object(told, outcome);
        if let Some(cause) = cause {
            object["cause"] = json!(cause);
        }
        object.to_string()
    });
}

/// Records that the configuration file was changed and read again.
pub(super) fn reloaded(trail: &Trail, time_ms: i64, what: &str, count: usize) {
    info!(target: "audit", count, "the {what} of the configuration file have changed");
    let told = Told {
        time_ms,
        who: ("", ""),
        operation: "change the configuration file",
        resource: what,
        details: "",
    };
    trail.tell(About::Acts, || object(&told, "done").to_string());
}

/// The JSON object that is appended to the topic of the audit log.
fn object(told: &Told<'_>, outcome: &str) -> Value {
    let (principal, address) = told.who;
    let mut object = json!({
        "time_ms": told.time_ms,
        "principal": principal,
        "address": address,
        "operation": told.operation,
        "resource": told.resource,
        "outcome": outcome,
    });
    if !told.details.is_empty() {
        object["details"] = json!(told.details);
    }
    object
}
