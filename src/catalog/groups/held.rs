//! The records that groups have not read yet, which retention must keep.

use super::{Groups, Place};
use crate::types::{GroupName, Offset, PartitionId};

/// The group that is furthest behind in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeldFrom {
    pub(crate) group: GroupName,
    /// The first offset that it has not committed.
    pub(crate) from: Offset,
}

impl Groups {
    /// The named groups that have committed an offset anywhere in the partition's topic, each with
    /// the offset that it has reached in the partition: 0 if it has committed none there.
    pub(crate) fn readers(&self, (topic, partition): Place) -> Vec<(GroupName, Offset)> {
        let mut readers = Vec::new();
        let whole_topic = (topic, PartitionId(0))..=(topic, PartitionId(u32::MAX));
        for (name, group) in &self.by_name {
            let offsets = &group.state.offsets;
            if group.state.is_ephemeral || offsets.range(whole_topic.clone()).next().is_none() {
                continue;
            }
            let committed = offsets.get(&(topic, partition));
            let from = committed.map_or(Offset::ZERO, |committed| committed.next);
            readers.push((name.clone(), from));
        }
        readers
    }

    /// The group among them that is furthest behind.
    pub(crate) fn holder(&self, place: Place) -> Option<HeldFrom> {
        let readers = self.readers(place).into_iter();
        let (group, from) = readers.min_by_key(|(_, from)| *from)?;
        Some(HeldFrom { group, from })
    }
}
