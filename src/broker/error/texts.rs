//! Texts of errors that take more than a line.

use crate::{
    broker::{Actual, Expected, FailedCondition},
    catalog::producers::{Excess, Kind},
    types::{Offset, Version},
};

/// The text if an entity cannot be trimmed before a version.
pub(super) fn version_out_of_range(topic: &str, before: Version, latest: Version) -> String {
    if latest == Version::NONE {
        return format!(
            "the key has no record in topic {topic:?} yet: there is nothing to trim before version {before}"
        );
    }
    format!(
        "version {before} of an entity of topic {topic:?} is behind its next one: its latest is {latest}, so it can be \
         trimmed before version {} at most",
        latest.next()
    )
}

pub(super) fn too_many_producers(excess: Excess) -> String {
    let Excess { count, most, .. } = excess;
    let things = match excess.kind {
        Kind::Producers => "producers",
        Kind::Sequences => "partitions that producers append to",
        Kind::NameBytes => "bytes of producers' names",
    };
    match excess.is_share {
        true => format!(
            "the connection would have {count} {things}, at most {most} are allowed: it may hold as much as it leaves \
             free for others, and no producer in use is forgotten for it; use fewer, or come back later"
        ),
        false => format!(
            "there would be {count} {things}, at most {most} are allowed, and no producer in use is forgotten; use \
             fewer, or come back later"
        ),
    }
}

/// How many records lie between two offsets; negative if `to` is before `from`.
pub(super) fn distance(from: Offset, to: Offset) -> i128 {
    i128::from(to.0) - i128::from(from.0)
}

pub(super) fn kind_of_group(group: &str, is_ephemeral: bool) -> String {
    match is_ephemeral {
        true => format!(
            "group {group:?} ends with its last member (ephemeral); a member that joins must say so"
        ),
        false => {
            format!("group {group:?} stays (it is not ephemeral); a member must not say otherwise")
        }
    }
}

/// Most conditions that the text of a conflict names; the typed detail has them all.
const CONDITIONS_NAMED: usize = 3;

pub(super) fn conflict(failed: &[FailedCondition]) -> String {
    let one = |failed: &FailedCondition| {
        let topic = &failed.condition.topic;
        let expected = match &failed.condition.expected {
            Expected::KeyAbsent { key } => format!(
                "key \"{}\" of topic {topic:?} to be absent",
                key.escape_ascii()
            ),
            Expected::KeyExists { key } => {
                format!("key \"{}\" of topic {topic:?} to exist", key.escape_ascii())
            }
            Expected::KeyAt { key, version } => {
                format!(
                    "key \"{}\" of topic {topic:?} at version {version}",
                    key.escape_ascii()
                )
            }
            Expected::PartitionAt { partition, next } => {
                format!("partition {partition} of topic {topic:?} at next offset {next}")
            }
        };
        match failed.actual {
            Actual::Version(version) => format!("expected {expected}, it is at version {version}"),
            Actual::NextOffset(next) => format!("expected {expected}, it is at next offset {next}"),
        }
    };
    let named: Vec<String> = failed.iter().take(CONDITIONS_NAMED).map(one).collect();
    let more = match failed.len().saturating_sub(CONDITIONS_NAMED) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    format!("nothing was appended: {}{more}", named.join("; "))
}
