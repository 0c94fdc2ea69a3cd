//! The partitions of a topic. More may be added; references to existing ones stay valid.

use std::{iter::successors, ops::Index, sync::OnceLock};

use super::state::Partition;

/// A list that only grows.
pub(super) struct PartitionList {
    first: Box<[Partition]>,
    more: OnceLock<Box<PartitionList>>,
}

impl PartitionList {
    pub(super) fn new(partitions: Vec<Partition>) -> Self {
        Self {
            first: partitions.into(),
            more: OnceLock::new(),
        }
    }

    fn parts(&self) -> impl Iterator<Item = &Self> {
        successors(Some(self), |part| part.more.get().map(|more| &**more))
    }

    pub(super) fn len(&self) -> usize {
        self.parts().map(|part| part.first.len()).sum()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Partition> {
        self.parts().flat_map(|part| part.first.iter())
    }

    fn get(&self, mut at: usize) -> Option<&Partition> {
        for part in self.parts() {
            if let Some(found) = part.first.get(at) {
                return Some(found);
            }
            at -= part.first.len();
        }
        None
    }

    /// Adds partitions behind the others. Only the thread that applies changes may call it.
    pub(super) fn add(&self, partitions: Vec<Partition>) {
        let added = Box::new(Self::new(partitions));
        let last = self.parts().last().unwrap_or(self);
        let added = last.more.set(added);
        assert!(added.is_ok(), "changes are applied one by one");
    }
}

impl Index<usize> for PartitionList {
    type Output = Partition;

    fn index(&self, at: usize) -> &Partition {
        self.get(at).expect("a partition was found by its number")
    }
}
