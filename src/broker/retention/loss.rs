//! Warnings of records that groups are about to lose, before retention removes what they have not
//! read.

use std::collections::BTreeSet;

use super::place_of;
use crate::{
    broker::{Shared, lock, state::PartitionRef},
    types::{Offset, RetentionHold, TopicSettings},
};

/// A warning is logged when only this fraction of `retention.ms` is left.
const WARNED_AT: i64 = 10;

impl Shared {
    /// In how many milliseconds, at the earliest, retention removes the record at this offset by
    /// age; `None` if age does not remove it.
    pub(in crate::broker) fn lost_in_ms(
        &self,
        partition: &PartitionRef,
        next: Offset,
    ) -> Option<u64> {
        let settings = partition.topic.settings();
        let is_held = settings.retention_hold == RetentionHold::Groups;
        let ms = settings.expires_ms().filter(|_| !is_held)?;
        let now_ms = self.clock.now_ms();
        loop {
            let part = lock(&partition.partition().log).part_from(next)?;
            if let Some(last_append_ms) = part.last_append_ms {
                let age_ms = u64::try_from(now_ms.saturating_sub(last_append_ms)).unwrap_or(0);
                return Some(ms.saturating_sub(age_ms));
            }
            self.read_age(partition, &part, now_ms).ok()?;
        }
    }

    /// Warns of groups that will lose records when the oldest segment behind `from` is removed at
    /// `goes_ms`. If it is too early for that, returns when it is time.
    pub(super) fn warn_of_loss(
        &self,
        partition: &PartitionRef,
        settings: &TopicSettings,
        from: Offset,
        goes_ms: i64,
    ) -> Option<i64> {
        let ms = settings.expires_ms()?;
        if settings.retention_hold == RetentionHold::Groups {
            return None;
        }
        let now_ms = self.clock.now_ms();
        let warn_ms = goes_ms.saturating_sub(i64::try_from(ms).unwrap_or(i64::MAX) / WARNED_AT);
        if now_ms < warn_ms {
            return Some(warn_ms);
        }
        let place = place_of(partition);
        let first = lock(&partition.partition().log).part_from(from)?;
        if !self.partitions.retention.warn(place, first.end) {
            return None;
        }
        let readers = self.sequencer.planned().groups().readers(place);
        for (group, next) in readers.into_iter().filter(|(_, next)| *next < first.end) {
            let lost = self.records_between(partition, next.max(from), first.end);
            self.partitions.retention.count_warning();
            tracing::warn!(
                %group,
                topic = %partition.topic.name,
                partition = %place.1,
                committed = next.0,
                records = lost,
                seconds = goes_ms.saturating_sub(now_ms) / 1_000,
                count = self.partitions.retention.warnings(),
                "retention is about to remove records that a group has not committed; let the group catch up, raise \
                 retention.ms, or set retention.hold=groups"
            );
        }
        None
    }

    /// Logs a warning for each group that has not committed all records before this offset, which
    /// retention removes now: removal by size cannot be foreseen as removal by age can. There is
    /// another one for a group only after it had committed all that was removed in between.
    pub(super) fn warn_of_removal(
        &self,
        partition: &PartitionRef,
        settings: &TopicSettings,
        before: Offset,
    ) {
        if settings.retention_hold == RetentionHold::Groups {
            return;
        }
        let (place, start) = (place_of(partition), partition.range().0);
        let mut behind = BTreeSet::new();
        let mut lost = Vec::new();
        for (group, next) in self.sequencer.planned().groups().readers(place) {
            let from = next.max(start);
            if from < before {
                let records = self.records_between(partition, from, before);
                behind.insert(group.clone());
                lost.push((group, next, records));
            }
        }
        let warned = self.partitions.retention.overtake(place, before, behind);
        for (group, next, records) in lost {
            if warned.contains(&group) {
                continue;
            }
            self.partitions.retention.count_warning();
            tracing::warn!(
                %group,
                topic = %partition.topic.name,
                partition = %place.1,
                committed = next.0,
                records,
                count = self.partitions.retention.warnings(),
                "retention removes records that a group has not committed; let the group catch up, raise \
                 retention.bytes or retention.ms, or set retention.hold=groups"
            );
        }
    }
}
