//! Decides what to remove of a partition by its limits, given facts about it.

use crate::{
    storage::log::Part,
    types::{Offset, TopicSettings},
};

/// What retention does about a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// First read when the last record of this segment was appended.
    Read(Part),
    /// Everything before `end` must be removed. What is before `before` is in sealed segments, the
    /// rest is not yet.
    Seal { end: Offset, before: Option<Offset> },
    /// Trim the log at `before`, if that is set, and check it again at `again_ms`, if time alone
    /// changes anything.
    Keep {
        before: Option<Offset>,
        again_ms: Option<i64>,
        /// Whether a group holds more that would be removed.
        is_held: bool,
    },
}

/// Decides about the parts of a log, oldest first, which have `bytes` together.
///
/// By age, a part is removed when its last record is as old as `retention.ms`. By size, the oldest
/// parts are removed until the rest is within `retention.bytes`. But the newest part with records
/// stays, or a record larger than the limit would be gone as soon as it is acknowledged; of a tail
/// that is to become several segments only the newest of these. Nothing is removed that reaches
/// beyond `held_from`.
pub(super) fn decide(
    settings: &TopicSettings,
    parts: &mut dyn Iterator<Item = Part>,
    bytes: u64,
    held_from: Option<Offset>,
    now_ms: i64,
) -> Decision {
    let mut parts = parts.peekable();
    let (mut left, mut gone) = (bytes, None);
    while let Some(part) = parts.next() {
        let is_segment = part.is_sealed || part.bytes <= settings.roll_bytes();
        let is_newest = parts.peek().is_none() && is_segment;
        let is_too_much = settings.discards_at().is_some_and(|most| left > most);
        let mut expires_ms = None;
        if let Some(ms) = settings.expires_ms() {
            let Some(last_append_ms) = part.last_append_ms else {
                return Decision::Read(part);
            };
            expires_ms = Some(last_append_ms.saturating_add(millis(ms)));
        }
        let is_too_old = expires_ms.is_some_and(|expires_ms| expires_ms <= now_ms);
        if !is_too_old && (is_newest || !is_too_much) {
            return Decision::Keep {
                before: gone,
                again_ms: expires_ms,
                is_held: false,
            };
        }
        if held_from.is_some_and(|from| from < part.end) {
            // A commit triggers the next check, not time.
            return Decision::Keep {
                before: gone,
                again_ms: None,
                is_held: true,
            };
        }
        if !part.is_sealed {
            return Decision::Seal {
                end: part.end,
                before: gone,
            };
        }
        left -= part.bytes.min(left);
        gone = Some(part.end);
    }
    Decision::Keep {
        before: gone,
        again_ms: None,
        is_held: false,
    }
}

fn millis(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}
