//! Converts the conditions of an append.

use bytes::Bytes;

use super::position::topic_id;
use crate::{
    broker::{Condition, Error, Expected},
    proto::{self, KeyCondition, PartitionCondition, condition::About, key_condition::State},
    types::{Offset, PartitionId, Version, limits::MAX_KEY_BYTES},
};

/// The conditions of a request, in its order. A condition without content could be a kind that only
/// a newer client knows, so it is refused rather than skipped.
pub(in crate::server) fn conditions(
    conditions: Vec<proto::Condition>,
) -> Result<Vec<Condition>, Error> {
    let numbered = conditions.into_iter().enumerate();
    numbered
        .map(|(index, condition)| {
            let topic_id = topic_id(&condition.topic_id)?;
            let expected = expected(condition.about)
                .map_err(|reason| Error::MalformedCondition { index, reason })?;
            Ok(Condition {
                topic: condition.topic,
                topic_id,
                expected,
            })
        })
        .collect()
}

/// The memory that a request's conditions hold.
pub(super) fn bytes(conditions: &[proto::Condition]) -> usize {
    let key = |condition: &proto::Condition| match &condition.about {
        Some(About::Key(KeyCondition { key, .. })) => key.len(),
        _ => 0,
    };
    conditions
        .iter()
        .map(|condition| size_of::<Condition>() + condition.topic.len() + key(condition))
        .sum()
}

fn expected(about: Option<About>) -> Result<Expected, &'static str> {
    match about {
        Some(About::Key(KeyCondition { key, state })) => of_key(key, state),
        Some(About::Partition(PartitionCondition {
            partition,
            next_offset,
        })) => Ok(Expected::PartitionAt {
            partition: PartitionId(partition),
            next: Offset(next_offset),
        }),
        None => Err("it is about nothing that this broker knows; it needs `key` or `partition`"),
    }
}

fn of_key(key: Bytes, state: Option<State>) -> Result<Expected, &'static str> {
    if !(1..=MAX_KEY_BYTES).contains(&key.len()) {
        return Err("its key does not have 1 to 65,535 bytes");
    }
    match state {
        Some(State::Absent(true)) => Ok(Expected::KeyAbsent { key }),
        Some(State::Exists(true)) => Ok(Expected::KeyExists { key }),
        Some(State::Version(version)) => Ok(Expected::KeyAt {
            key,
            version: Version(version),
        }),
        Some(State::Absent(false)) => Err("it says `absent: false`; say `exists: true`"),
        Some(State::Exists(false)) => Err("it says `exists: false`; say `absent: true`"),
        None => Err(
            "it says nothing of its key that this broker knows; it needs `absent`, `exists` or `version`",
        ),
    }
}
