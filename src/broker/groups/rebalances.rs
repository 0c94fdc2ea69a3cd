//! Measures how long rebalances take, until all partitions are with their new owners.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::{broker::Shared, catalog::groups::GroupChange, types::GroupName};

/// Groups with partitions that are being handed over, and since when.
#[derive(Debug, Default)]
pub(in crate::broker) struct Rebalances(Mutex<BTreeMap<GroupName, Duration>>);

impl Rebalances {
    /// Notes a change of owners, and whether partitions must still be handed over. Returns how long
    /// the rebalance took, once it is over.
    pub(in crate::broker) fn note(
        &self,
        group: &GroupName,
        is_moving: bool,
        now: Duration,
    ) -> Option<Duration> {
        let mut under_way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if is_moving {
            under_way.entry(group.clone()).or_insert(now);
            return None;
        }
        let since = under_way.remove(group).unwrap_or(now);
        Some(now.saturating_sub(since))
    }

    /// Forgets a deleted group.
    pub(in crate::broker) fn forget(&self, group: &GroupName) {
        let mut under_way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.remove(group);
    }
}

impl Shared {
    /// Counts a rebalance when all members have their partitions.
    pub(super) fn note_rebalance(&self, group: &GroupName, change: &GroupChange) {
        if change.is_deleted {
            return self.rebalances.forget(group);
        }
        if change.owned.is_empty() {
            return;
        }
        let is_moving = {
            let applied = self.sequencer.applied();
            let group = applied.groups().get(group);
            group.is_some_and(|group| group.state().owned.values().any(|owned| owned.is_draining))
        };
        let now = self.env.clock.elapsed();
        if let Some(took) = self.rebalances.note(group, is_moving, now) {
            self.counts.rebalances.observe(took);
        }
    }
}
