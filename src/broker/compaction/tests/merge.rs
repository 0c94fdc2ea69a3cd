//! Which segments are merged.

use crate::broker::compaction::merge::plan;

const MOST: u64 = 1_000;

#[test]
fn adjacent_segments_are_merged_where_that_pays_and_they_fit() {
    assert_eq!(plan(&[], MOST), None);
    assert_eq!(plan(&[10], MOST), None);
    assert_eq!(plan(&[10, 10], MOST), Some(0..2));
    assert_eq!(plan(&[600, 600], MOST), None, "they do not fit");
    assert_eq!(plan(&[400, 99], MOST), None, "it does not pay yet");
    assert_eq!(plan(&[400, 100], MOST), Some(0..2));
    assert_eq!(plan(&[900, 10, 10, 10], MOST), Some(1..4));
    assert_eq!(
        plan(&[400, 1, 1, 1, 1, 1, 1, 1], MOST),
        Some(0..8),
        "they are many"
    );
}

#[test]
fn segments_that_come_one_after_the_other_are_merged_into_few_and_written_few_times() {
    let (mut sizes, mut written, mut added) = (Vec::new(), 0, 0);
    for _ in 0..10_000u64 {
        sizes.push(1u64);
        added += 1;
        while let Some(range) = plan(&sizes, MOST) {
            let merged: u64 = sizes[range.clone()].iter().sum();
            written += merged;
            sizes.splice(range, [merged]);
        }
        let most = 2 * added / MOST + 20;
        assert!(sizes.len() as u64 <= most, "{added}: {sizes:?}");
    }
    assert!(written < 25 * added, "{written} for {added}");
}
