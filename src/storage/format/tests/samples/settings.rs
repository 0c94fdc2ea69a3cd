//! Any settings of a topic.

use proptest::{option, prelude::*};

use crate::types::{
    AppendsFrom, CleanupPolicy, Compression, Durability, Keys, LimitPolicy, RetentionHold,
    TopicSettings,
};

pub(super) fn settings() -> impl Strategy<Value = TopicSettings> {
    let keys = prop_oneof![Just(Keys::Versioned), Just(Keys::Plain)];
    let durability = prop_oneof![Just(Durability::Sync), Just(Durability::Os)];
    (
        keys,
        durability,
        1024u64..8 << 20,
        65_536u64..1 << 30,
        1_000u64..1 << 40,
        option::of(1_000u64..1 << 40),
        option::of(256u64 << 10..1 << 40),
    )
        .prop_map(
            |(
                keys,
                durability,
                max_record_bytes,
                segment_bytes,
                segment_ms,
                retention_ms,
                retention_bytes,
            )| TopicSettings {
                keys,
                durability,
                max_record_bytes,
                segment_bytes,
                segment_ms,
                retention_ms,
                retention_bytes,
                limit_policy: match retention_ms {
                    Some(ms) if ms % 2 == 0 => LimitPolicy::Refuse,
                    _ => LimitPolicy::Discard,
                },
                retention_hold: match retention_bytes {
                    Some(bytes) if bytes % 2 == 0 => RetentionHold::Groups,
                    _ => RetentionHold::None,
                },
                cleanup_policy: match (keys, segment_ms % 3) {
                    (Keys::Plain, _) | (_, 0) => CleanupPolicy::Delete,
                    (_, 1) => CleanupPolicy::Compact,
                    _ => CleanupPolicy::CompactDelete,
                },
                compaction_keep: 1 + segment_ms % 5,
                compression: match max_record_bytes % 3 {
                    0 => Compression::None,
                    1 => Compression::Lz4,
                    _ => Compression::Zstd,
                },
                compression_level: 1 + max_record_bytes % 19,
                delete_retention_ms: retention_ms,
                min_compaction_lag_ms: segment_ms % 7,
                max_compaction_lag_ms: segment_ms,
                appends: match segment_ms % 2 {
                    0 => AppendsFrom::Clients,
                    _ => AppendsFrom::Import,
                },
            },
        )
}
