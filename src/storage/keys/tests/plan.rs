//! Which tables are merged.

use super::*;
use crate::storage::keys::merge::{self, Size, Tiers};

/// The plan for tables with these numbers of rows, none of which share a hash.
fn plan(rows: &[u64], few: bool) -> Option<std::ops::Range<usize>> {
    let sizes: Vec<Size> = rows
        .iter()
        .map(|rows| Size {
            rows: *rows,
            hashes: *rows,
        })
        .collect();
    merge::plan(&sizes, Tiers::RECORDS, few)
}

/// Adds tables of these sizes one by one, and merges as planned after each. Returns the highest
/// number of tables at any time, and the number of rows written, including those that merges wrote.
fn grow(sizes: impl IntoIterator<Item = u64>) -> (usize, u64) {
    let (mut runs, mut most, mut written) = (Vec::new(), 0, 0);
    for size in sizes {
        runs.push(size);
        written += size;
        while let Some(range) = plan(&runs, false) {
            assert!(range.len() >= 2, "{range:?} of {runs:?}");
            let merged = runs[range.clone()].iter().sum();
            assert!(
                runs[range.clone()].iter().all(|rows| *rows < 1 << 26),
                "a large run is merged"
            );
            runs.splice(range, [merged]);
            written += merged;
        }
        most = most.max(runs.len());
    }
    (most, written)
}

#[test]
fn runs_of_one_size_stay_few_and_each_row_is_written_a_few_times() {
    for size in [1, 1_000, 100_000, 500_000, 3_000_000, 20_000_000] {
        let count = (400_000_000 / size).min(5_000);
        let (most, written) = grow((0..count).map(|_| size));
        let large = (size * count) >> 26;
        assert!(most as u64 <= 16 + large, "{most} runs of {size} rows");
        if size >= 100_000 {
            assert!(
                written <= 6 * size * count,
                "{written} rows written for {count} runs of {size}"
            );
        }
    }
}

#[test]
fn runs_of_any_sizes_stay_few() {
    for seed in 0..20 {
        let sizes: Vec<u64> = (0..2_000)
            .map(|at| 1 << (drawn(seed * 10_000 + at) % 24))
            .collect();
        let rows: u64 = sizes.iter().sum();
        let (most, written) = grow(sizes);
        assert!(most as u64 <= 16 + (rows >> 26) * 2, "{most} runs");
        assert!(written <= 10 * rows, "{written} rows written for {rows}");
    }
}

#[test]
fn few_runs_and_large_runs_are_left_alone() {
    let large = 1 << 26;
    assert_eq!(plan(&[], false), None);
    assert_eq!(plan(&[10, 10, 10], false), None);
    assert_eq!(plan(&[large; 10], false), None);
    assert_eq!(plan(&[large, 10, 10, large, 10, large], false), None);
    // A merge would write the 30 million rows again to save next to nothing.
    assert_eq!(plan(&[30_000_000, 10, 10, 10], false), None);
}

#[test]
fn small_neighbours_are_merged_first() {
    let large = 1 << 26;
    assert_eq!(plan(&[10, 10, 10, 10], false), Some(0..4));
    assert_eq!(plan(&[large, 10, 10, 10, 10, 10], false), Some(1..6));
    assert_eq!(
        plan(&[500_000, 500_000, 500_000, 500_000, 10, 10, 10, 10], false),
        Some(4..8)
    );
    assert_eq!(
        plan(&[500_000, 500_000, 500_000, 500_000], false),
        Some(0..4)
    );
}

#[test]
fn where_there_are_to_be_few_small_ones_are_merged_as_soon_as_there_are_two() {
    let large = 1 << 26;
    assert_eq!(plan(&[10, 10], true), Some(0..2));
    assert_eq!(plan(&[large, 500_000, 10, 10], true), Some(2..4));
    assert_eq!(plan(&[large, 500_000, 500_000, 10], true), None);
    assert_eq!(plan(&[10], true), None);
}

#[test]
fn runs_of_hot_subjects_wait_for_more_of_them() {
    let hot = Size {
        rows: 1_700_000,
        hashes: 1_000,
    };
    assert_eq!(merge::plan(&[hot; 15], Tiers::RECORDS, false), None);
    assert_eq!(merge::plan(&[hot; 16], Tiers::RECORDS, false), Some(0..16));
    let small = Size {
        rows: 10_000,
        hashes: 10,
    };
    assert_eq!(
        merge::plan(&[small; 4], Tiers::RECORDS, false),
        Some(0..4),
        "small ones do not"
    );
    let mixed = Size {
        rows: 1_700_000,
        hashes: 1_000_000,
    };
    assert_eq!(
        merge::plan(&[hot, hot, hot, mixed], Tiers::RECORDS, false),
        Some(0..4),
        "nor does what is mixed with others"
    );
    // Whatever the order of their sizes, there are never many tables.
    let (mut runs, mut most, mut written) = (Vec::new(), 0, 0);
    for _ in 0..1_000 {
        runs.push(hot);
        written += hot.rows;
        while let Some(range) = merge::plan(&runs, Tiers::RECORDS, false) {
            let rows = runs[range.clone()].iter().map(|run| run.rows).sum();
            runs.splice(
                range,
                [Size {
                    rows,
                    hashes: 1_000,
                }],
            );
            written += rows;
        }
        most = most.max(runs.len());
    }
    assert!(
        most as u64 <= 32 + ((1_000 * hot.rows) >> 24),
        "{most} runs"
    );
    assert!(written <= 4 * 1_000 * hot.rows, "{written} rows written");
}

#[test]
fn last_versions_of_a_table_of_any_size_are_written_a_few_times_and_their_tables_stay_few() {
    for size in [1u64, 300, 20_000, 1_000_000] {
        // Keys that never repeat, up to 50 million of them, and a set of keys that repeats all the
        // time.
        for different in [50_000_000, 10 * size] {
            let (mut tables, mut most, mut written, mut added) = (Vec::new(), 0, 0, 0);
            while added < 50_000_000.min(5_000 * size) {
                tables.push(Size {
                    rows: size,
                    hashes: size,
                });
                added += size;
                written += size;
                while let Some(range) = merge::plan(&tables, Tiers::LAST_VERSIONS, false) {
                    let rows: u64 = tables[range.clone()].iter().map(|table| table.rows).sum();
                    let rows = rows.min(different);
                    tables.splice(range, [Size { rows, hashes: rows }]);
                    written += rows;
                }
                most = most.max(tables.len());
            }
            assert!(most <= 24, "{most} tables of {size}");
            // Below the lowest tier there are too few rows to count writes.
            if size >= 20_000 {
                assert!(
                    written <= 8 * added,
                    "{written} written for {added} of {size}"
                );
            }
        }
    }
}
