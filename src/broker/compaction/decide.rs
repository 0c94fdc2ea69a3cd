//! What compaction is to do about a partition: a decision over facts.

use crate::types::{Offset, TopicSettings};

/// What there is to know of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) end: Offset,
    /// Behind the last sealed segment.
    pub(super) sealed_end: Offset,
    /// Of sealed segments.
    pub(super) sealed_bytes: u64,
    /// Of these, the segments that have not been compacted.
    pub(super) dirty_bytes: u64,
    /// Before this offset no key has more records than are kept.
    pub(super) clean_to: Offset,
    /// When the first record from there on was appended; none if there is none.
    pub(super) dirty_since_ms: Option<i64>,
    /// When the oldest tombstone that is there was first compacted.
    pub(super) oldest_tombstone_ms: Option<i64>,
    /// Tombstones are not looked for before this moment.
    pub(super) tombstones_from_ms: i64,
    /// Somebody has asked for it.
    pub(super) is_asked: bool,
    /// The last pass had no memory for all keys.
    pub(super) is_unfinished: bool,
    /// When what trims of entities have taken is to be removed; none if there are none.
    pub(super) trims_due_ms: Option<i64>,
    /// Behind all that they have taken.
    pub(super) trims_end: Offset,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// The active segment is to be sealed, so that it can be compacted.
    Seal,
    /// A pass is due.
    Pass,
    /// There is nothing to do before this moment, if time alone brings anything.
    Wait(Option<i64>),
}

/// Decides at a moment of the broker's time.
///
/// A pass costs reading the whole partition, so it waits until half of what is sealed is new, or a
/// record becomes as old as `max.compaction.lag.ms`, or a tombstone is to go. What trims of
/// entities have taken goes with any pass, and waits for one as long as a record does.
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

/// How long a record is left alone at least, and how long it waits at most.
pub(super) fn lags_ms(settings: &TopicSettings) -> (i64, i64) {
    let min_ms = millis(settings.min_compaction_lag_ms);
    (min_ms, millis(settings.max_compaction_lag_ms).max(min_ms))
}

/// When the oldest tombstone is to go.
fn expiry_ms(settings: &TopicSettings, facts: &Facts) -> Option<i64> {
    let life_ms = millis(settings.delete_retention_ms?);
    let at_ms = facts.oldest_tombstone_ms?.saturating_add(life_ms);
    Some(at_ms.max(facts.tombstones_from_ms))
}

fn millis(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}
