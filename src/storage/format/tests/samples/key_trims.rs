//! Trims of entities.

use super::*;
use crate::catalog::{KeyTrim, KnownKeyTrim};

prop_compose! {
    pub(super) fn any_key_trim()(
        topic in id(),
        partition in any::<u32>(),
        token in any::<[u8; 32]>(),
        before in any::<u64>(),
        end in offset(),
        requested_ms in any::<i64>(),
    ) -> KnownKeyTrim {
        let (partition, token) = (PartitionId(partition), Token(token));
        let before = Version(before);
        KnownKeyTrim { topic, trim: KeyTrim { partition, token, before, end, requested_ms } }
    }
}

pub(super) fn any_change() -> impl Strategy<Value = Change> {
    let trim = any_key_trim().prop_map(|known| Change::TrimKey {
        topic: known.topic,
        trim: known.trim,
    });
    let trims = vec((any::<[u8; 32]>(), any::<u64>()), 0..4);
    let complete = (id(), any::<u32>(), trims).prop_map(|(topic, partition, trims)| {
        let mut complete = Vec::new();
        for (token, before) in trims {
            complete.push((Token(token), Version(before)));
        }
        Change::KeysTrimmed {
            topic,
            partition: PartitionId(partition),
            trims: complete,
        }
    });
    let start = (id(), any::<u32>(), offset());
    let start = start.prop_map(|(topic, partition, offset)| Change::StartAt {
        topic,
        partition: PartitionId(partition),
        offset,
    });
    prop_oneof![trim, complete, start]
}
