//! The settings of a topic. The name, default, bounds and meaning of each are declared once, in
//! `declared.rs`; everything that reads, stores, lists or explains settings uses these
//! declarations.

mod declared;
mod text;

pub(crate) use declared::{TOPIC_SETTINGS, TopicSetting};
pub(crate) use text::{shown_setting, topic_settings_text};

use super::{
    limits::{RETAINED_SEGMENTS, SEGMENT_BYTES, SEGMENT_MS},
    quantity::QuantityError,
};

/// What an acknowledgement means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// The records and every earlier byte of their partition are synced to disk.
    #[default]
    Sync,
    /// The operating system has the records: they survive the broker's death, not a power cut.
    Os,
}

/// Whether the records of a key have versions and can be found by key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keys {
    /// Each record has its version, and an index finds the records of a key.
    #[default]
    Versioned,
    /// Neither versions nor an index.
    Plain,
}

/// What keeps a topic from growing without end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CleanupPolicy {
    /// Retention: what is beyond `retention.ms` and `retention.bytes` is removed.
    #[default]
    Delete,
    /// Compaction: the last records of each key stay.
    Compact,
    /// Both retention and compaction.
    CompactDelete,
}

/// What happens when a partition reaches `retention.bytes`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LimitPolicy {
    /// The oldest records are removed.
    #[default]
    Discard,
    /// Appends are refused.
    Refuse,
}

/// Whether retention waits for groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RetentionHold {
    /// It waits for none.
    #[default]
    None,
    /// It waits for each named group that has committed an offset in the topic: records that the
    /// group has not committed stay.
    Groups,
}

/// How sealed segments are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all: they stay as they were appended.
    #[default]
    None,
    /// LZ4, which is fast.
    Lz4,
    /// Zstandard, which compresses better.
    Zstd,
}

/// Who appends to a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AppendsFrom {
    /// Every client that may append to the topic.
    #[default]
    Clients,
    /// An import, and nobody else: the topic has no record yet, or an import has not come to its
    /// end.
    Import,
}

/// The settings of a topic, each within its bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSettings {
    /// `keys`, which is fixed when the topic is created.
    pub keys: Keys,
    /// `durability`.
    pub durability: Durability,
    /// `max.record.bytes`: the largest encoded record, with the broker's fields.
    pub max_record_bytes: u64,
    /// `segment.bytes`: a segment is sealed when the next frame would take it past this.
    pub segment_bytes: u64,
    /// `segment.ms`: a segment is sealed when its first record was appended this long ago.
    pub segment_ms: u64,
    /// `retention.ms`: records are removed when they were appended this long ago; `None` for never.
    pub retention_ms: Option<u64>,
    /// `retention.bytes`: how many bytes a partition may have. `limit.policy` says whether its
    /// oldest records are removed beyond that, or appends refused; `None` for no limit.
    pub retention_bytes: Option<u64>,
    /// `limit.policy`.
    pub limit_policy: LimitPolicy,
    /// `retention.hold`.
    pub retention_hold: RetentionHold,
    /// `cleanup.policy`.
    pub cleanup_policy: CleanupPolicy,
    /// `compaction.keep`: how many records of each key compaction keeps.
    pub compaction_keep: u64,
    /// `delete.retention.ms`: a tombstone is removed this long after it was first compacted; `None`
    /// for never.
    pub delete_retention_ms: Option<u64>,
    /// `min.compaction.lag.ms`: records younger than this are not compacted.
    pub min_compaction_lag_ms: u64,
    /// `max.compaction.lag.ms`: records older than this are compacted without further delay.
    pub max_compaction_lag_ms: u64,
    /// `compression`: how segments are compressed once they are sealed.
    pub compression: Compression,
    /// `compression.level`: the level of Zstandard.
    pub compression_level: u64,
    /// `appends`.
    pub appends: AppendsFrom,
}

/// A setting that does not exist or a value that it cannot have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// No setting of a topic has this name.
    #[error("{name:?} is not a topic setting; there are: {}", TopicSettings::names().join(", "))]
    Unknown {
        /// The name given.
        name: String,
    },
    /// The value is none of the words that the setting may be.
    #[error("setting {name} cannot be {value:?}; it is one of: {}", allowed.join(", "))]
    NotAWord {
        /// The setting.
        name: &'static str,
        /// The value given.
        value: String,
        /// The words it may be.
        allowed: &'static [&'static str],
    },
    /// The value is not a size or duration.
    #[error("setting {name}: {source}")]
    NotAQuantity {
        /// The setting.
        name: &'static str,
        /// What is wrong with the value.
        source: QuantityError,
    },
    /// The setting was fixed when the topic was created.
    #[error("setting {name} cannot be changed; create another topic with it")]
    Fixed {
        /// The setting.
        name: &'static str,
    },
    /// The value contradicts another setting.
    #[error("setting {name} cannot be {value}: {reason}")]
    Together {
        /// The setting.
        name: &'static str,
        /// The value given.
        value: String,
        /// What it contradicts, and why.
        reason: &'static str,
    },
    /// The value is too small or too large.
    #[error(
        "setting {name} cannot be {}; it is between {} and {}",
        shown_setting(name, &value.to_string()),
        shown_setting(name, &min.to_string()),
        shown_setting(name, &max.to_string())
    )]
    OutOfBounds {
        /// The setting.
        name: &'static str,
        /// The value given.
        value: u64,
        /// The smallest value it may have.
        min: u64,
        /// The largest value it may have.
        max: u64,
    },
}

impl Default for TopicSettings {
    fn default() -> Self {
        // The numbers here are overwritten below by the declared defaults.
        let mut settings = Self {
            keys: Keys::default(),
            durability: Durability::default(),
            max_record_bytes: 0,
            segment_bytes: 0,
            segment_ms: 0,
            retention_ms: None,
            retention_bytes: None,
            limit_policy: LimitPolicy::default(),
            retention_hold: RetentionHold::default(),
            cleanup_policy: CleanupPolicy::default(),
            compaction_keep: 0,
            delete_retention_ms: None,
            min_compaction_lag_ms: 0,
            max_compaction_lag_ms: 0,
            compression: Compression::default(),
            compression_level: 0,
            appends: AppendsFrom::default(),
        };
        for declared in &TOPIC_SETTINGS {
            declared.put_default(&mut settings);
        }
        settings
    }
}

impl TopicSettings {
    /// The names of all settings.
    #[must_use]
    pub fn names() -> Vec<&'static str> {
        TOPIC_SETTINGS
            .iter()
            .map(|declared| declared.name)
            .collect()
    }

    /// Gives one setting a value.
    ///
    /// # Errors
    ///
    /// If there is no such setting or it cannot have this value; nothing is changed then.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), SettingError> {
        find(name)?.put(self, value)
    }

    /// Gives one setting its default value again.
    ///
    /// # Errors
    ///
    /// If there is no such setting.
    pub fn reset(&mut self, name: &str) -> Result<(), SettingError> {
        find(name)?.put_default(self);
        Ok(())
    }

    /// Checks that the settings do not contradict each other.
    ///
    /// # Errors
    ///
    /// If `cleanup.policy` compacts a topic with `keys=plain`: compaction needs versions to tell
    /// how many newer records of its key a record has. If `min.compaction.lag.ms` is more than
    /// `max.compaction.lag.ms`.
    pub fn check(&self) -> Result<(), SettingError> {
        if self.is_compacted() && self.keys == Keys::Plain {
            return Err(SettingError::Together {
                name: "cleanup.policy",
                value: self.get("cleanup.policy").unwrap_or_default(),
                reason: "compaction tells by their versions which records of a key are the last ones, and this topic \
                         has keys=plain; use a topic with keys=versioned",
            });
        }
        if self.min_compaction_lag_ms > self.max_compaction_lag_ms {
            let name = "min.compaction.lag.ms";
            let value = self.get(name).unwrap_or_default();
            return Err(SettingError::Together {
                name,
                value: shown_setting(name, &value),
                reason: "it would be more than max.compaction.lag.ms, when a record is to be compacted at the latest; \
                         raise that, too, or lower this",
            });
        }
        Ok(())
    }

    /// Whether compaction removes records of the topic.
    pub(crate) fn is_compacted(&self) -> bool {
        self.cleanup_policy != CleanupPolicy::Delete
    }

    /// Whether `retention.ms` and `retention.bytes` remove records.
    pub(crate) fn is_retained(&self) -> bool {
        self.cleanup_policy != CleanupPolicy::Compact
    }

    /// Whether the topic has a limit of age or size, be it that records are removed there or that
    /// appends are refused.
    pub(crate) fn has_limits(&self) -> bool {
        self.expires_ms().is_some() || self.retention_bytes.is_some_and(|_| self.is_retained())
    }

    /// `retention.ms`, if `cleanup.policy` lets it remove records.
    pub(crate) fn expires_ms(&self) -> Option<u64> {
        self.retention_ms.filter(|_| self.is_retained())
    }

    /// `retention.bytes`, if `cleanup.policy` and `limit.policy` let it remove records.
    pub(crate) fn discards_at(&self) -> Option<u64> {
        let removes = self.is_retained() && self.limit_policy == LimitPolicy::Discard;
        self.retention_bytes.filter(|_| removes)
    }

    /// How many bytes the segments of a partition may have together: one segment more than
    /// `retention.bytes`, if that removes records whatever groups have read.
    pub(crate) fn most_on_disk(&self) -> Option<u64> {
        let most = self.discards_at()?;
        let is_held = self.retention_hold == RetentionHold::Groups;
        (!is_held).then(|| most.saturating_add(self.roll_bytes()))
    }

    /// The size at which a segment rolls: `segment.bytes`, but no more than a quarter of
    /// `retention.bytes`.
    pub(crate) fn roll_bytes(&self) -> u64 {
        let most = self.retention_bytes.unwrap_or(u64::MAX) / RETAINED_SEGMENTS;
        self.segment_bytes.min(most.max(SEGMENT_BYTES.0))
    }

    /// The age at which a segment rolls, in milliseconds: `segment.ms`, but no more than a quarter
    /// of `retention.ms`, and never less than the smallest `segment.ms`.
    pub(crate) fn roll_ms(&self) -> u64 {
        let most = self.expires_ms().unwrap_or(u64::MAX) / RETAINED_SEGMENTS;
        self.segment_ms.min(most.max(SEGMENT_MS.0))
    }

    /// The longest that a record may live by `retention.ms`, in milliseconds. A segment is removed
    /// when its last record is old enough, so its first one lives longer, by up to the age at which
    /// segments roll. `None` if age removes nothing, or not before groups have read it.
    pub(crate) fn longest_life_ms(&self) -> Option<u64> {
        if self.retention_hold == RetentionHold::Groups {
            return None;
        }
        Some(self.expires_ms()?.saturating_add(self.roll_ms()))
    }

    /// The value of one setting, in the form that [`set`](Self::set) takes; none if there is no
    /// such setting.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<String> {
        find(name).ok().map(|declared| declared.get(self))
    }
}

fn find(name: &str) -> Result<&'static TopicSetting, SettingError> {
    let found = TOPIC_SETTINGS.iter().find(|declared| declared.name == name);
    found.ok_or_else(|| SettingError::Unknown {
        name: name.chars().take(64).collect(),
    })
}
