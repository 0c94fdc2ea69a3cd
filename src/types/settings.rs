//! The settings of a topic: one place for their names, defaults and bounds.

use super::{
    limits::{RECORD_BYTES, SEGMENT_BYTES, SEGMENT_MS},
    quantity::{QuantityError, parse_bytes, parse_millis},
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

/// Whether the records of a key are counted and can be found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keys {
    /// They are: each has its version, and an index finds them.
    #[default]
    Versioned,
    /// They are not.
    Plain,
}

/// The settings of a topic, each within its bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSettings {
    /// `keys`, which is settled when the topic is created.
    pub keys: Keys,
    /// `durability`.
    pub durability: Durability,
    /// `max.record.bytes`: the largest encoded record, with the broker's fields.
    pub max_record_bytes: u64,
    /// `segment.bytes`: a segment is sealed when the next frame would take it past this.
    pub segment_bytes: u64,
    /// `segment.ms`: a segment is sealed when its first record was appended this long ago.
    pub segment_ms: u64,
}

/// A setting that does not exist or a value that it cannot have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// No setting of a topic has this name.
    #[error("{name:?} is not a topic setting; there are: {}", TopicSettings::NAMES.join(", "))]
    Unknown {
        /// The name given.
        name: String,
    },
    /// The value is none of the words the setting knows.
    #[error("setting {name} cannot be {value:?}; it is one of: {}", allowed.join(", "))]
    NotAWord {
        /// The setting.
        name: &'static str,
        /// The value given.
        value: String,
        /// The words it may be.
        allowed: [&'static str; 2],
    },
    /// The value is not a size or duration.
    #[error("setting {name}: {source}")]
    NotAQuantity {
        /// The setting.
        name: &'static str,
        /// What is wrong with the value.
        source: QuantityError,
    },
    /// The setting was settled when the topic was created.
    #[error("setting {name} cannot be changed; create another topic with it")]
    Fixed {
        /// The setting.
        name: &'static str,
    },
    /// The value is too small or too large.
    #[error("setting {name} cannot be {value}; it is between {min} and {max}")]
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
        Self {
            keys: Keys::default(),
            durability: Durability::default(),
            max_record_bytes: RECORD_BYTES.1,
            segment_bytes: SEGMENT_BYTES.1,
            segment_ms: SEGMENT_MS.1,
        }
    }
}

impl TopicSettings {
    /// The names of all settings.
    pub const NAMES: [&'static str; 5] = [
        "keys",
        "durability",
        "max.record.bytes",
        "segment.bytes",
        "segment.ms",
    ];

    /// Gives one setting a value.
    ///
    /// # Errors
    ///
    /// If there is no such setting or it cannot have this value; nothing is changed then.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), SettingError> {
        match name {
            "keys" => {
                self.keys = word(
                    "keys",
                    value,
                    [("versioned", Keys::Versioned), ("plain", Keys::Plain)],
                )?;
            }
            "durability" => {
                self.durability = word(
                    "durability",
                    value,
                    [("sync", Durability::Sync), ("os", Durability::Os)],
                )?;
            }
            "max.record.bytes" => {
                self.max_record_bytes = size("max.record.bytes", value, RECORD_BYTES)?;
            }
            "segment.bytes" => self.segment_bytes = size("segment.bytes", value, SEGMENT_BYTES)?,
            "segment.ms" => self.segment_ms = duration("segment.ms", value, SEGMENT_MS)?,
            _ => {
                return Err(SettingError::Unknown {
                    name: name.chars().take(64).collect(),
                });
            }
        }
        Ok(())
    }

    /// Gives one setting its default value again.
    ///
    /// # Errors
    ///
    /// If there is no such setting.
    pub fn reset(&mut self, name: &str) -> Result<(), SettingError> {
        let default = Self::default()
            .get(name)
            .ok_or_else(|| SettingError::Unknown {
                name: name.chars().take(64).collect(),
            })?;
        self.set(name, &default)
    }

    /// The value of one setting, in the form that [`set`](Self::set) takes; none if there is no
    /// such setting.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<String> {
        Some(match name {
            "keys" => match self.keys {
                Keys::Versioned => "versioned".to_owned(),
                Keys::Plain => "plain".to_owned(),
            },
            "durability" => match self.durability {
                Durability::Sync => "sync".to_owned(),
                Durability::Os => "os".to_owned(),
            },
            "max.record.bytes" => self.max_record_bytes.to_string(),
            "segment.bytes" => self.segment_bytes.to_string(),
            "segment.ms" => self.segment_ms.to_string(),
            _ => return None,
        })
    }
}

/// One of two words.
fn word<T: Copy>(
    name: &'static str,
    value: &str,
    words: [(&'static str, T); 2],
) -> Result<T, SettingError> {
    let found = words.iter().find(|(word, _)| *word == value);
    found
        .map(|(_, meaning)| *meaning)
        .ok_or_else(|| SettingError::NotAWord {
            name,
            value: value.chars().take(64).collect(),
            allowed: words.map(|(word, _)| word),
        })
}

fn size(name: &'static str, value: &str, bounds: (u64, u64, u64)) -> Result<u64, SettingError> {
    let value = parse_bytes(value).map_err(|source| SettingError::NotAQuantity { name, source })?;
    within(name, value, bounds)
}

fn duration(name: &'static str, value: &str, bounds: (u64, u64, u64)) -> Result<u64, SettingError> {
    let value =
        parse_millis(value).map_err(|source| SettingError::NotAQuantity { name, source })?;
    within(name, value, bounds)
}

fn within(
    name: &'static str,
    value: u64,
    (min, _, max): (u64, u64, u64),
) -> Result<u64, SettingError> {
    if (min..=max).contains(&value) {
        Ok(value)
    } else {
        Err(SettingError::OutOfBounds {
            name,
            value,
            min,
            max,
        })
    }
}
