//! Decides which small segments to merge, given their sizes.

use std::ops::Range;

/// This many adjacent segments are merged whatever their sizes.
const MANY: usize = 8;

/// Most segments that are merged at once.
const MOST: usize = 256;

/// Which adjacent segments to write as one that is not larger than `most`, if any.
///
/// Merging pays if the segments added to the largest one make up a quarter of the sum. So each byte
/// is written only a few times, however often this is asked, and in the end each segment is several
/// times as large as all those behind it together.
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
