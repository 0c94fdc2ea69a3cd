//! A change of the catalog, as a journal entry stores it beside frames.
//!
//! ```text
//!  u8   kind: 1 create, 2 delete, 3 alter, 4 trim, 5 open producer, 6 forget producer, 7 erase, 8 erasure complete,
//!       9 group, 10 add partitions, 11 trim an entity, 12 trims of entities are complete, 13 create an access token,
//!       14 revoke an access token, 15 a partition without records starts elsewhere
//!  u64  topic; or the producer (5, 6); or the erasure (8); 0 (9, 13); or the token (14)
//!  then, by kind:
//!    create  u64 seed, u32 partitions, string name, settings
//!    alter   settings
//!    trim    u32 partition, u64 offset
//!    start   u32 partition, u64 offset
//!    open    u32 epoch, string name
//!    erase   an erasure, see `erasure.rs`
//!    group   string name, a change of the group, see `group.rs`
//!    add     u32 partitions from then on
//!    trim an entity  a trim, see `key_trim.rs`
//!    create an access token  a token, see `access_token.rs`
//!    complete        u32 partition, u32 count, then of each: 32 bytes token, u64 version
//! settings: u32 count, then (string name, string value) of each
//! ```

use super::{
    fields::{Fields, put_count, put_string},
    group::{put_group, take_group},
    key_trim::COMPLETE_BYTES,
};
use crate::{
    catalog::{AccessToken, Change, Erasure, KeyTrim, Token},
    types::{
        Offset, PartitionId, ProducerId, TOPIC_SETTINGS, TopicId, TopicName, TopicSettings, Version,
    },
};

/// Enough for a group's commit in a few partitions, which are most of all changes.
const USUAL_BYTES: usize = 256;

impl Change {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(USUAL_BYTES);
        match self {
            Self::Create {
                topic,
                seed,
                name,
                partitions,
                settings,
            } => {
                put_kind(&mut out, 1, topic.0);
                out.extend_from_slice(&seed.to_le_bytes());
                out.extend_from_slice(&partitions.to_le_bytes());
                put_string(&mut out, name.as_str());
                put_settings(&mut out, settings);
            }
            Self::Delete { topic } => put_kind(&mut out, 2, topic.0),
            Self::Alter { topic, settings } => {
                put_kind(&mut out, 3, topic.0);
                put_settings(&mut out, settings);
            }
            Self::Trim {
                topic,
                partition,
                before,
            } => {
                put_kind(&mut out, 4, topic.0);
                out.extend_from_slice(&partition.0.to_le_bytes());
                out.extend_from_slice(&before.0.to_le_bytes());
            }
            Self::OpenProducer {
                producer,
                epoch,
                name,
            } => {
                put_kind(&mut out, 5, producer.0);
                out.extend_from_slice(&epoch.to_le_bytes());
                put_string(&mut out, name);
            }
            Self::ForgetProducer { producer } => put_kind(&mut out, 6, producer.0),
            Self::Erase { topic, erasure } => {
                put_kind(&mut out, 7, topic.0);
                erasure.put(&mut out);
            }
            Self::ErasureComplete { id } => put_kind(&mut out, 8, *id),
            Self::Group { group, change } => {
                put_kind(&mut out, 9, 0);
                put_group(&mut out, group, change);
            }
            Self::AddPartitions { topic, partitions } => {
                put_kind(&mut out, 10, topic.0);
                out.extend_from_slice(&partitions.to_le_bytes());
            }
            Self::TrimKey { topic, trim } => {
                put_kind(&mut out, 11, topic.0);
                trim.put(&mut out);
            }
            Self::KeysTrimmed {
                topic,
                partition,
                trims,
            } => {
                put_kind(&mut out, 12, topic.0);
                out.extend_from_slice(&partition.0.to_le_bytes());
                put_count(&mut out, trims.len());
                for (token, before) in trims {
                    out.extend_from_slice(&token.0);
                    out.extend_from_slice(&before.0.to_le_bytes());
                }
            }
            Self::CreateToken { token } => {
                put_kind(&mut out, 13, 0);
                token.put(&mut out);
            }
            Self::RevokeToken { id } => put_kind(&mut out, 14, *id),
            Self::StartAt {
                topic,
                partition,
                offset,
            } => {
                put_kind(&mut out, 15, topic.0);
                out.extend_from_slice(&partition.0.to_le_bytes());
                out.extend_from_slice(&offset.0.to_le_bytes());
            }
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        let [kind] = fields.array()?;
        let subject = fields.u64()?;
        let topic = TopicId(subject);
        let change = match kind {
            1 => {
                let seed = fields.u64()?;
                let partitions = fields.u32()?;
                let name = TopicName::new(fields.string()?).ok()?;
                Self::Create {
                    topic,
                    seed,
                    name,
                    partitions,
                    settings: take_settings(&mut fields)?,
                }
            }
            2 => Self::Delete { topic },
            3 => Self::Alter {
                topic,
                settings: take_settings(&mut fields)?,
            },
            4 => Self::Trim {
                topic,
                partition: PartitionId(fields.u32()?),
                before: Offset(fields.u64()?),
            },
            5 => {
                let (epoch, name) = (fields.u32()?, fields.string()?.to_owned());
                Self::OpenProducer {
                    producer: ProducerId(subject),
                    epoch,
                    name,
                }
            }
            6 => Self::ForgetProducer {
                producer: ProducerId(subject),
            },
            7 => Self::Erase {
                topic,
                erasure: Erasure::take(&mut fields)?,
            },
            8 => Self::ErasureComplete { id: subject },
            9 => {
                let (group, change) = take_group(&mut fields)?;
                Self::Group { group, change }
            }
            10 => Self::AddPartitions {
                topic,
                partitions: fields.u32()?,
            },
            11 => Self::TrimKey {
                topic,
                trim: KeyTrim::take(&mut fields)?,
            },
            12 => {
                let partition = PartitionId(fields.u32()?);
                let mut trims = Vec::new();
                for _ in 0..fields.count(COMPLETE_BYTES)? {
                    trims.push((Token(fields.array()?), Version(fields.u64()?)));
                }
                Self::KeysTrimmed {
                    topic,
                    partition,
                    trims,
                }
            }
            13 => Self::CreateToken {
                token: AccessToken::take(&mut fields)?,
            },
            14 => Self::RevokeToken { id: subject },
            15 => Self::StartAt {
                topic,
                partition: PartitionId(fields.u32()?),
                offset: Offset(fields.u64()?),
            },
            _ => return None,
        };
        fields.is_empty().then_some(change)
    }
}

fn put_kind(out: &mut Vec<u8>, kind: u8, subject: u64) {
    out.push(kind);
    out.extend_from_slice(&subject.to_le_bytes());
}

/// Writes settings by name, so that a later version can add one.
pub(super) fn put_settings(out: &mut Vec<u8>, settings: &TopicSettings) {
    let default = TopicSettings::default();
    let mut stored = Vec::with_capacity(TOPIC_SETTINGS.len());
    for setting in &TOPIC_SETTINGS {
        if setting.is_always_stored || setting.get(settings) != setting.get(&default) {
            stored.push(setting);
        }
    }
    put_count(out, stored.len());
    for setting in stored {
        put_string(out, setting.name);
        put_string(out, &setting.get(settings));
    }
}

/// Reads settings; those that are not stored get their defaults.
pub(super) fn take_settings(fields: &mut Fields<'_>) -> Option<TopicSettings> {
    let mut settings = TopicSettings::default();
    for _ in 0..fields.count(8)? {
        let (name, value) = (fields.string()?, fields.string()?);
        settings.set(name, value).ok()?;
    }
    Some(settings)
}
