//! Merged tables of records.

use proptest::prelude::*;

use super::*;
use crate::storage::keys::merge::{self, merge};

/// Tables with these numbers of rows, whose offsets follow each other, and whose hashes are the
/// same.
fn runs_of(disk: &SimDisk, sizes: &[u64]) -> (Vec<Arc<SortedTable>>, Vec<Row>) {
    let (mut runs, mut all, mut from) = (Vec::new(), Vec::new(), 1_000);
    for size in sizes {
        let rows = rows_of(from, *size, 37);
        // Each table covers one offset more, as if of a record without a key.
        runs.push(write(disk, from, from + size + 1, &rows));
        all.extend(rows);
        from += size + 1;
    }
    all.sort_unstable();
    (arcs(runs), all)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn merged_runs_have_the_rows_of_all_but_those_that_are_not_kept(
        sizes in prop::collection::vec(0u64..600, 1..7),
        keep_from in 900u64..3_000,
    ) {
        let disk = disk();
        let (runs, mut rows) = runs_of(&disk, &sizes);
        let merged = merge(&disk, &dir(), &runs, None, |offset| offset >= Offset(keep_from)).expect("all is sound");
        rows.retain(|row| row.offset().0 >= keep_from);
        prop_assert_eq!(scan(&merged), rows.clone());
        prop_assert_eq!((merged.from(), merged.to()), (runs[0].from(), runs[runs.len() - 1].to()));
        let opened = open(&disk, merged.path()).expect("it is sound");
        for row in &rows {
            prop_assert!(group(&opened, row.hash).expect("it is sound").contains(row));
        }
    }
}

#[test]
fn a_run_can_be_merged_by_itself_to_drop_rows() {
    let disk = disk();
    let (runs, mut rows) = runs_of(&disk, &[500]);
    let merged =
        merge(&disk, &dir(), &runs, None, |offset| offset >= Offset(1_200)).expect("all is sound");
    rows.retain(|row| row.offset().0 >= 1_200);
    assert_eq!(merged.path(), runs[0].path());
    assert_eq!(scan(&merged), rows);
    assert_eq!(
        scan(&runs[0]).len(),
        500,
        "the old run goes on for those who have it"
    );
}

#[test]
fn damage_in_any_run_ends_a_merge_and_leaves_nothing_of_it() {
    for damaged in 0..3 {
        let disk = disk();
        let (runs, _) = runs_of(&disk, &[400, 400, 400]);
        let before = disk.files();
        let path = runs[damaged].path().to_owned();
        let len = disk.content(&path).expect("it is there").len() as u64;
        for from_end in [4_000, 9_000] {
            disk.flip_bit(&path, len - from_end, 3)
                .expect("it is there");
            let runs = arcs(
                before
                    .iter()
                    .map(|path| open(&disk, path).expect("headers are sound")),
            );
            match merge(&disk, &dir(), &runs, None, |offset| offset >= Offset::ZERO).map(|_| ()) {
                Err(merge::Error::Damaged(found)) => assert_eq!(found.path, path),
                other => panic!("{other:?}"),
            }
            assert_eq!(disk.files(), before);
            disk.flip_bit(&path, len - from_end, 3)
                .expect("it is there");
        }
    }
}
