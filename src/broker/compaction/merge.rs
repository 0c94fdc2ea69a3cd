//! Merging segments that have become small: a decision over their sizes.

use std::ops::Range;

/// So many segments are merged whatever their sizes are.
const MANY: usize = 8;

/// Most segments that are merged at once.
const MOST: usize = 256;

/// Which adjacent segments of these sizes to write as one that is no larger than `most`, if any.
///
/// It pays where those that are added to the largest are a quarter of it together: so each byte is
/// written again a few times only, however often it is asked, and what is left are segments that
/// each are several times as large as all behind them.
pub(super) fn plan(sizes: &[u64], most: u64) -> Option<Range<usize>> {
    for first in 0..sizes.len() {
        let (mut sum, mut largest, mut found) = (0u64, 0, None);
        for (at, size) in sizes.iter().enumerate().skip(first).take(MOST) {
            sum = sum.saturating_add(*size);
            if sum > most {
                break;
            }
            largest = largest.max(*size);
            let count = at + 1 - first;
            let pays = (sum - largest).saturating_mul(4) >= largest || count >= MANY;
            if count > 1 && pays {
                found = Some(first..at + 1);
            }
        }
        if found.is_some() {
            return found;
        }
    }
    None
}
