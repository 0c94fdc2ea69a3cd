//! Counts the memory of groups. The catalog decides how much they may take.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crate::{budget::Part, catalog::groups::Groups, types::limits::GROUPS_SHARE_OF_CATALOG};

/// Counts the memory of groups in the catalog's part of the budget.
pub(in crate::broker) struct GroupMemory {
    part: Arc<Part>,
    counted: AtomicUsize,
}

impl GroupMemory {
    pub(in crate::broker) fn new(part: Arc<Part>) -> Self {
        Self {
            part,
            counted: AtomicUsize::new(0),
        }
    }

    /// Sets how much memory groups may take, and counts what they take now.
    pub(in crate::broker) fn bound(&self, planned: &mut Groups) {
        planned.set_most_bytes(self.part.bound() / GROUPS_SHARE_OF_CATALOG);
        self.count(planned);
    }

    /// Counts the planned groups.
    pub(in crate::broker) fn count(&self, planned: &Groups) {
        let bytes = planned.bytes();
        let before = self.counted.swap(bytes, Ordering::AcqRel);
        self.part.add(bytes.saturating_sub(before));
        self.part.subtract(before.saturating_sub(bytes));
    }
}
