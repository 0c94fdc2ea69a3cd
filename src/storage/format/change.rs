//! What a journal entry says about topics, as opposed to the frames it carries.
//!
//! ```text
//!  u8   kind: 1 create, 2 delete, 3 alter, 4 trim
//!  u64  topic
//!  then, by kind:
//!    create  u32 partitions, string name, settings
//!    alter   settings
//!    trim    u32 partition, u64 offset
//! settings: u32 count, then (string name, string value) of each
//! ```

use super::fields::{Fields, put_count, put_string};
use crate::types::{Offset, PartitionId, TopicId, TopicName, TopicSettings};

/// A durable fact about topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// There is a new topic.
    Create { topic: TopicId, name: TopicName, partitions: u32, settings: TopicSettings },
    /// A topic and its records are gone.
    Delete { topic: TopicId },
    /// A topic has these settings now.
    Alter { topic: TopicId, settings: TopicSettings },
    /// A partition's log starts here, if it did not start further on already.
    Trim { topic: TopicId, partition: PartitionId, before: Offset },
}

impl Change {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Create { topic, name, partitions, settings } => {
                put_kind(&mut out, 1, *topic);
                out.extend_from_slice(&partitions.to_le_bytes());
                put_string(&mut out, name.as_str());
                put_settings(&mut out, settings);
            }
            Self::Delete { topic } => put_kind(&mut out, 2, *topic),
            Self::Alter { topic, settings } => {
                put_kind(&mut out, 3, *topic);
                put_settings(&mut out, settings);
            }
            Self::Trim { topic, partition, before } => {
                put_kind(&mut out, 4, *topic);
                out.extend_from_slice(&partition.0.to_le_bytes());
                out.extend_from_slice(&before.0.to_le_bytes());
            }
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        let [kind] = fields.array()?;
        let topic = TopicId(fields.u64()?);
        let change = match kind {
            1 => {
                let partitions = fields.u32()?;
                let name = TopicName::new(fields.string()?).ok()?;
                Self::Create { topic, name, partitions, settings: take_settings(&mut fields)? }
            }
            2 => Self::Delete { topic },
            3 => Self::Alter { topic, settings: take_settings(&mut fields)? },
            4 => Self::Trim { topic, partition: PartitionId(fields.u32()?), before: Offset(fields.u64()?) },
            _ => return None,
        };
        fields.is_empty().then_some(change)
    }
}

fn put_kind(out: &mut Vec<u8>, kind: u8, topic: TopicId) {
    out.push(kind);
    out.extend_from_slice(&topic.0.to_le_bytes());
}

/// Settings by name, so that a later version can add one.
pub(super) fn put_settings(out: &mut Vec<u8>, settings: &TopicSettings) {
    put_count(out, TopicSettings::NAMES.len());
    for name in TopicSettings::NAMES {
        put_string(out, name);
        put_string(out, &settings.get(name).expect("every listed setting has a value"));
    }
}

/// The settings; those that are not stored have their defaults.
pub(super) fn take_settings(fields: &mut Fields<'_>) -> Option<TopicSettings> {
    let mut settings = TopicSettings::default();
    for _ in 0..fields.count(8)? {
        let (name, value) = (fields.string()?, fields.string()?);
        settings.set(name, value).ok()?;
    }
    Some(settings)
}
