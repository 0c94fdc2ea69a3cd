//! The declarations: each setting of a topic, once.

use super::{Durability, Keys, SettingError, TopicSettings};
use crate::types::{
    limits::{RECORD_BYTES, SEGMENT_BYTES, SEGMENT_MS},
    quantity::{parse_bytes, parse_millis},
};

/// All that there is to say about one setting.
pub(crate) struct TopicSetting {
    /// What it is called everywhere.
    pub(crate) name: &'static str,
    /// What it can be, and where its value is.
    pub(super) kind: Kind,
    /// It is settled when a topic is created.
    pub(crate) is_fixed: bool,
    /// What it does, for people.
    pub(super) meaning: &'static str,
}

/// What a setting can be, and how its value is taken from the settings and put there.
pub(super) enum Kind {
    /// One of these words, by its place; the first is the default.
    Word {
        words: &'static [&'static str],
        get: fn(&TopicSettings) -> usize,
        put: fn(&mut TopicSettings, usize),
    },
    /// A number: the smallest, the default and the largest.
    Number {
        unit: Unit,
        bounds: (u64, u64, u64),
        get: fn(&TopicSettings) -> u64,
        put: fn(&mut TopicSettings, u64),
    },
}

/// What a number counts.
#[derive(Clone, Copy)]
pub(super) enum Unit {
    Bytes,
    Millis,
}

/// Every setting of a topic, in the order in which they are listed.
pub(crate) static TOPIC_SETTINGS: [TopicSetting; 5] = [
    TopicSetting {
        name: "keys",
        kind: Kind::Word {
            words: &["versioned", "plain"],
            get: |settings| match settings.keys {
                Keys::Versioned => 0,
                Keys::Plain => 1,
            },
            put: |settings, word| settings.keys = [Keys::Versioned, Keys::Plain][word],
        },
        is_fixed: true,
        meaning: "records with a key have versions and can be read by key; or neither, for floods that nobody reads by \
            key",
    },
    TopicSetting {
        name: "durability",
        kind: Kind::Word {
            words: &["sync", "os"],
            get: |settings| match settings.durability {
                Durability::Sync => 0,
                Durability::Os => 1,
            },
            put: |settings, word| settings.durability = [Durability::Sync, Durability::Os][word],
        },
        is_fixed: false,
        meaning: "answer when synced to disk, or once the kernel has it: then a power cut loses it",
    },
    TopicSetting {
        name: "max.record.bytes",
        kind: Kind::Number {
            unit: Unit::Bytes,
            bounds: RECORD_BYTES,
            get: |settings| settings.max_record_bytes,
            put: |settings, bytes| settings.max_record_bytes = bytes,
        },
        is_fixed: false,
        meaning: "the largest record, encoded, with the broker's fields",
    },
    TopicSetting {
        name: "segment.bytes",
        kind: Kind::Number {
            unit: Unit::Bytes,
            bounds: SEGMENT_BYTES,
            get: |settings| settings.segment_bytes,
            put: |settings, bytes| settings.segment_bytes = bytes,
        },
        is_fixed: false,
        meaning: "a segment is sealed when it would grow past this",
    },
    TopicSetting {
        name: "segment.ms",
        kind: Kind::Number {
            unit: Unit::Millis,
            bounds: SEGMENT_MS,
            get: |settings| settings.segment_ms,
            put: |settings, ms| settings.segment_ms = ms,
        },
        is_fixed: false,
        meaning: "a segment is sealed when its first record is this old",
    },
];

impl TopicSetting {
    /// Puts a value that is given as text among the settings; changes nothing if it cannot be one.
    pub(super) fn put(
        &self,
        settings: &mut TopicSettings,
        value: &str,
    ) -> Result<(), SettingError> {
        match &self.kind {
            Kind::Word { words, put, .. } => put(settings, self.place_of(words, value)?),
            Kind::Number {
                unit, bounds, put, ..
            } => {
                let (min, _, max) = *bounds;
                put(settings, self.parse(*unit, value, min, max)?);
            }
        }
        Ok(())
    }

    /// Puts the default among the settings.
    pub(super) fn put_default(&self, settings: &mut TopicSettings) {
        match &self.kind {
            Kind::Word { put, .. } => put(settings, 0),
            Kind::Number { bounds, put, .. } => put(settings, bounds.1),
        }
    }

    /// The value that it has among these settings, as text.
    pub(crate) fn get(&self, settings: &TopicSettings) -> String {
        match &self.kind {
            Kind::Word { words, get, .. } => words[get(settings)].to_owned(),
            Kind::Number { get, .. } => get(settings).to_string(),
        }
    }

    fn place_of(&self, words: &'static [&'static str], value: &str) -> Result<usize, SettingError> {
        let place = words.iter().position(|word| *word == value);
        place.ok_or_else(|| SettingError::NotAWord {
            name: self.name,
            value: value.chars().take(64).collect(),
            allowed: words,
        })
    }

    fn parse(&self, unit: Unit, value: &str, min: u64, max: u64) -> Result<u64, SettingError> {
        let name = self.name;
        let parsed = match unit {
            Unit::Bytes => parse_bytes(value),
            Unit::Millis => parse_millis(value),
        };
        let value = parsed.map_err(|source| SettingError::NotAQuantity { name, source })?;
        if (min..=max).contains(&value) {
            return Ok(value);
        }
        Err(SettingError::OutOfBounds {
            name,
            value,
            min,
            max,
        })
    }
}
