//! Decides what compaction does about a partition, given facts about it.

use crate::types::{Offset, TopicSettings};

/// Facts about a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) end: Offset,
    /// The end of the last sealed segment.
    pub(super) sealed_end: Offset,
    /// The size of sealed segments.
    pub(super) sealed_bytes: u64,
    /// The size of the sealed segments that are not compacted.
    pub(super) dirty_bytes: u64,
    /// Before this offset no key has more records than are to be kept.
    pub(super) clean_to: Offset,
    /// When the first record from `clean_to` on was appended; `None` if there is none.
    pub(super) dirty_since_ms: Option<i64>,
    /// When the oldest existing tombstone was first compacted.
    pub(super) oldest_tombstone_ms: Option<i64>,
    /// Passes for tombstones alone do not begin before this time.
    pub(super) tombstones_from_ms: i64,
    /// Whether a user has asked for compaction.
    pub(super) is_asked: bool,
    /// Whether the last pass had too little memory for all keys.
    pub(super) is_unfinished: bool,
    /// When records that trims of entities have taken must be removed; `None` if there are none.
    pub(super) trims_due_ms: Option<i64>,
    /// No record that trims of entities have taken is at this offset or behind it.
    pub(super) trims_end: Offset,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Seal the active segment, so that it can be compacted.
    Seal,
    /// Begin a pass.
    Pass,
    /// Nothing before this time; `None` if time alone changes nothing.
    Wait(Option<i64>),
}

/// Decides what to do at a time.
///
/// A pass must read the whole partition, so it waits until half of the sealed bytes are new, a
/// record is as old as `max.compaction.lag.ms`, or a tombstone is to be removed. Records that trims
/// of entities have taken are removed by any pass, and wait for one as long as a record does.
pub(super) fn decide(settings: &TopicSettings, facts: &Facts, now_ms: i64) -> Decision {
    let (min_ms, max_ms) = lags_ms(settings);
    let ripe_ms = facts
        .dirty_since_ms
        .map(|since| since.saturating_add(min_ms));
    let overdue_ms = facts
        .dirty_since_ms
        .map(|since| since.saturating_add(max_ms));
    let expiry_ms = expiry_ms(settings, facts);
    let has_come = |at_ms: Option<i64>| at_ms.is_some_and(|at_ms| at_ms <= now_ms);

    let is_ripe = has_come(ripe_ms);
    let is_overdue = has_come(overdue_ms);
    let is_all_dirty_active = facts.clean_to >= facts.sealed_end;
    let has_active = facts.sealed_end < facts.end;
    if is_ripe && has_active && (facts.is_asked || (is_overdue && is_all_dirty_active)) {
        return Decision::Seal;
    }
    let has_dirty_sealed = is_ripe && facts.clean_to < facts.sealed_end;
    let is_half_new = facts.dirty_bytes.saturating_mul(2) >= facts.sealed_bytes;
    let is_wanted = facts.is_asked || facts.is_unfinished || is_overdue || is_half_new;
    let are_trims_due = has_come(facts.trims_due_ms);
    if are_trims_due && facts.trims_end > facts.sealed_end && has_active {
        return Decision::Seal;
    }
    if (has_dirty_sealed && is_wanted) || has_come(expiry_ms) || are_trims_due {
        return Decision::Pass;
    }
    let half_new_ms = ripe_ms.filter(|_| is_half_new && facts.clean_to < facts.sealed_end);
    let moments = [half_new_ms, overdue_ms, expiry_ms, facts.trims_due_ms];
    Decision::Wait(
        moments
            .into_iter()
            .flatten()
            .filter(|at_ms| *at_ms > now_ms)
            .min(),
    )
}

/// The least time for which a record is left alone, and the most that it waits to be compacted.
pub(super) fn lags_ms(settings: &TopicSettings) -> (i64, i64) {
    let min_ms = millis(settings.min_compaction_lag_ms);
    (min_ms, millis(settings.max_compaction_lag_ms).max(min_ms))
}

/// When the oldest tombstone is to be removed.
fn expiry_ms(settings: &TopicSettings, facts: &Facts) -> Option<i64> {
    let life_ms = millis(settings.delete_retention_ms?);
    let at_ms = facts.oldest_tombstone_ms?.saturating_add(life_ms);
    Some(at_ms.max(facts.tombstones_from_ms))
}

fn millis(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}
