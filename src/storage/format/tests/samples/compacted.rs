//! Frames that compaction has written.

use super::{TOPIC, golden};
use crate::{
    storage::format::{
        compacted::Compacted,
        frame::Frame,
        pack::{Kept, Packer, Tombstones},
    },
    types::{Offset, PartitionId, Records},
};

/// A frame that was compacted a while ago, and of which a tombstone remains.
pub(in super::super) fn compacted_frame() -> Frame {
    let frame = golden::frame();
    let records = frame.records();
    let mut elements = Records::new(&records);
    let (tombstone, _) = elements.nth(1).expect("two records").expect("sound ones");
    let kept = Kept {
        parts: vec![tombstone],
        count: 1,
        latest_timestamp_ms: 1_357_034_100_000,
        tombstones: Tombstones::Since(1_357_120_000_000),
    };
    let (mut packer, mut packed) = (Packer::default(), Vec::new());
    packer.take(&frame, &kept, &mut packed);
    packer.finish(&mut packed);
    packed.remove(0)
}

pub(in super::super) fn compacted() -> Compacted {
    Compacted {
        topic: TOPIC,
        partition: PartitionId(3),
        clean_to: Offset(1002),
        keep: 1,
        last_ms: 1_357_120_000_000,
        oldest_tombstone_ms: Some(1_357_120_000_000),
    }
}
