//! The declarations: everything about each topic setting, declared once.

use super::{
    AppendsFrom, CleanupPolicy, Compression, Durability, Keys, LimitPolicy, RetentionHold,
    SettingError, TopicSettings,
};
use crate::types::{
    limits::{
        COMPACTION_KEEP, COMPRESSION_LEVEL, DELETE_RETENTION_MS, MAX_COMPACTION_LAG_MS,
        MIN_COMPACTION_LAG_MS, RECORD_BYTES, RETENTION_BYTES, RETENTION_MS, SEGMENT_BYTES,
        SEGMENT_MS,
    },
    quantity::{parse_bytes, parse_count, parse_millis},
};

/// Everything about one setting.
pub(crate) struct TopicSetting {
    /// Its name, the same everywhere.
    pub(crate) name: &'static str,
    /// What values it has, and how to get and set them.
    pub(super) kind: Kind,
    /// Whether it is fixed when a topic is created.
    pub(crate) is_fixed: bool,
    /// Whether it is stored even while it has its default, as every setting once was. The newer
    /// ones are not: so an older version can read the topics that do not use them.
    pub(crate) is_always_stored: bool,
    /// What it does, as users are told.
    pub(super) meaning: &'static str,
}

/// What values a setting has, and the functions that get and set it in [`TopicSettings`].
pub(super) enum Kind {
    /// One of these words; `get` and `put` use its index. The first word is the default.
    Word {
        words: &'static [&'static str],
        get: fn(&TopicSettings) -> usize,
        put: fn(&mut TopicSettings, usize),
    },
    /// A number. Its bounds are the smallest value, the default and the largest value.
    Number {
        unit: Unit,
        bounds: (u64, u64, u64),
        get: fn(&TopicSettings) -> u64,
        put: fn(&mut TopicSettings, u64),
    },
    /// A number that limits something, with bounds as in `Number`. No limit is written as -1.
    Limit {
        unit: Unit,
        bounds: (u64, Option<u64>, u64),
        get: fn(&TopicSettings) -> Option<u64>,
        put: fn(&mut TopicSettings, Option<u64>),
    },
}

/// How "no limit" is written.
const NO_LIMIT: &str = "-1";

/// What a number counts.
#[derive(Clone, Copy)]
pub(super) enum Unit {
    Bytes,
    Millis,
    /// Records, or other things that are counted without a unit.
    Plain,
}

/// Every setting of a topic, in the order in which they are listed.
pub(crate) static TOPIC_SETTINGS: [TopicSetting; 17] = [
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
        is_always_stored: true,
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
        is_always_stored: true,
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
        is_always_stored: true,
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
        is_always_stored: true,
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
        is_always_stored: true,
        meaning: "a segment is sealed when its first record is this old",
    },
    TopicSetting {
        name: "retention.ms",
        kind: Kind::Limit {
            unit: Unit::Millis,
            bounds: RETENTION_MS,
            get: |settings| settings.retention_ms,
            put: |settings, ms| settings.retention_ms = ms,
        },
        is_fixed: false,
        is_always_stored: false,
        meaning: "a segment is removed when its last record was appended this long ago. Segments are sealed at a \
                  quarter of it (at 1 s at least), so a record lives a quarter longer at most",
    },
    TopicSetting {
        name: "retention.bytes",
        kind: Kind::Limit {
            unit: Unit::Bytes,
            bounds: RETENTION_BYTES,
            get: |settings| settings.retention_bytes,
            put: |settings, bytes| settings.retention_bytes = bytes,
        },
        is_fixed: false,
        is_always_stored: false,
        meaning: "the oldest segments of a partition are removed while it has more than this, but never the newest. \
                  Segments are sealed at a quarter of it",
    },
    TopicSetting {
        name: "limit.policy",
        kind: Kind::Word {
            words: &["discard", "refuse"],
            get: |settings| match settings.limit_policy {
                LimitPolicy::Discard => 0,
                LimitPolicy::Refuse => 1,
            },
            put: |settings, word| {
                settings.limit_policy = [LimitPolicy::Discard, LimitPolicy::Refuse][word];
            },
        },
        is_fixed: false,
        is_always_stored: false,
        meaning: "at retention.bytes the oldest segments are removed, or appends are refused (PARTITION_FULL) until \
                  something is trimmed or expires",
    },
    TopicSetting {
        name: "retention.hold",
        kind: Kind::Word {
            words: &["none", "groups"],
            get: |settings| match settings.retention_hold {
                RetentionHold::None => 0,
                RetentionHold::Groups => 1,
            },
            put: |settings, word| {
                settings.retention_hold = [RetentionHold::None, RetentionHold::Groups][word];
            },
        },
        is_fixed: false,
        is_always_stored: false,
        meaning: "neither limit removes what a group with a committed offset in the topic has not committed. At \
                  retention.bytes appends are refused then (RETENTION_HELD), and so is a trim without force",
    },
    TopicSetting {
        name: "cleanup.policy",
        kind: Kind::Word {
            words: &["delete", "compact", "compact,delete"],
            get: |settings| match settings.cleanup_policy {
                CleanupPolicy::Delete => 0,
                CleanupPolicy::Compact => 1,
                CleanupPolicy::CompactDelete => 2,
            },
            put: |settings, word| {
                settings.cleanup_policy = [
                    CleanupPolicy::Delete,
                    CleanupPolicy::Compact,
                    CleanupPolicy::CompactDelete,
                ][word];
            },
        },
        is_fixed: false,
        is_always_stored: false,
        meaning: "retention.ms and retention.bytes remove records; or compaction keeps the last records of each key, \
                  and these limits remove nothing; or both. Records without a key are refused in a compacted topic \
                  (KEY_REQUIRED); those that were there before stay. Needs keys=versioned",
    },
    TopicSetting {
        name: "compaction.keep",
        kind: Kind::Number {
            unit: Unit::Plain,
            bounds: COMPACTION_KEEP,
            get: |settings| settings.compaction_keep,
            put: |settings, records| settings.compaction_keep = records,
        },
        is_fixed: false,
        is_always_stored: false,
        meaning: "how many records of each key compaction keeps, the newest",
    },
    TopicSetting {
        name: "delete.retention.ms",
        kind: Kind::Limit {
            unit: Unit::Millis,
            bounds: DELETE_RETENTION_MS,
            get: |settings| settings.delete_retention_ms,
            put: |settings, ms| settings.delete_retention_ms = ms,
        },
        is_fixed: false,
        is_always_stored: false,
        meaning: "a tombstone goes so long after it was first compacted, with all that is before it of its key",
    },
    TopicSetting {
        name: "min.compaction.lag.ms",
        kind: Kind::Number {
            unit: Unit::Millis,
            bounds: MIN_COMPACTION_LAG_MS,
            get: |settings| settings.min_compaction_lag_ms,
            put: |settings, ms| settings.min_compaction_lag_ms = ms,
        },
        is_fixed: false,
        is_always_stored: false,
        meaning: "compaction leaves a record alone until it was appended this long ago; no more than \
                  max.compaction.lag.ms",
    },
    TopicSetting {
        name: "max.compaction.lag.ms",
        kind: Kind::Number {
            unit: Unit::Millis,
            bounds: MAX_COMPACTION_LAG_MS,
            get: |settings| settings.max_compaction_lag_ms,
            put: |settings, ms| settings.max_compaction_lag_ms = ms,
        },
        is_fixed: false,
        is_always_stored: false,
        meaning: "compaction begins when a record that it has not seen was appended this long ago, also where nothing \
                  is appended any more; before that, when half of a partition is new",
    },
    TopicSetting {
        name: "compression",
        kind: Kind::Word {
            words: &["none", "lz4", "zstd"],
            get: |settings| match settings.compression {
                Compression::None => 0,
                Compression::Lz4 => 1,
                Compression::Zstd => 2,
            },
            put: |settings, word| {
                settings.compression =
                    [Compression::None, Compression::Lz4, Compression::Zstd][word];
            },
        },
        is_fixed: false,
        is_always_stored: false,
        meaning: "segments are compressed in the background once they are sealed, also those that were sealed before \
                  this was set; readers get records as they were. What is compressed stays so until its segment is \
                  written anew. Sizes such as retention.bytes are those on disk",
    },
    TopicSetting {
        name: "compression.level",
        kind: Kind::Number {
            unit: Unit::Plain,
            bounds: COMPRESSION_LEVEL,
            get: |settings| settings.compression_level,
            put: |settings, level| settings.compression_level = level,
        },
        is_fixed: false,
        is_always_stored: false,
        meaning: "with compression=zstd: higher is smaller, and takes more CPU time to compress",
    },
    TopicSetting {
        name: "appends",
        kind: Kind::Word {
            words: &["clients", "import"],
            get: |settings| match settings.appends {
                AppendsFrom::Clients => 0,
                AppendsFrom::Import => 1,
            },
            put: |settings, word| {
                settings.appends = [AppendsFrom::Clients, AppendsFrom::Import][word];
            },
        },
        is_fixed: false,
        is_always_stored: false,
        meaning: "clients append; or only an import does, and all other appends are refused (TOPIC_IMPORTING): an \
                  import sets this in an empty topic and takes it back when it is complete. It can be set when a \
                  topic is created, and reset later, but not set later",
    },
];

impl TopicSetting {
    /// Parses `value` and sets it; changes nothing if the setting cannot have this value.
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
            Kind::Limit { put, .. } if value == NO_LIMIT => put(settings, None),
            Kind::Limit {
                unit, bounds, put, ..
            } => {
                let (min, _, max) = *bounds;
                put(settings, Some(self.parse(*unit, value, min, max)?));
            }
        }
        Ok(())
    }

    /// Sets the default.
    pub(super) fn put_default(&self, settings: &mut TopicSettings) {
        match &self.kind {
            Kind::Word { put, .. } => put(settings, 0),
            Kind::Number { bounds, put, .. } => put(settings, bounds.1),
            Kind::Limit { bounds, put, .. } => put(settings, bounds.1),
        }
    }

    /// The setting's value in `settings`, as text.
    pub(crate) fn get(&self, settings: &TopicSettings) -> String {
        match &self.kind {
            Kind::Word { words, get, .. } => words[get(settings)].to_owned(),
            Kind::Number { get, .. } => get(settings).to_string(),
            Kind::Limit { get, .. } => {
                get(settings).map_or_else(|| NO_LIMIT.to_owned(), |limit| limit.to_string())
            }
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
            Unit::Plain => parse_count(value),
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
