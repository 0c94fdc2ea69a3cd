//! Power cuts while files of an index are written, merged and removed: a file with a final name is
//! whole.

use super::*;
use crate::{
    env::sim::{CrashMode, Fault, OpKind},
    storage::keys::{
        merge::{self, merge},
        set::{self, Found},
    },
};

const LOG_END: u64 = 2_000;

/// Writes two tables, merges them, then removes the result, until the power fails.
fn live(disk: &SimDisk) -> Result<(), merge::Error> {
    let mut runs = Vec::new();
    for from in [0, LOG_END / 2] {
        let rows = rows(from, from + LOG_END / 2);
        let content = content(from, from + LOG_END / 2, rows.len());
        runs.push(Arc::new(SortedTable::write(disk, &dir(), &content, rows)?));
    }
    let merged = merge(disk, &dir(), &runs, None, |_| true)?;
    set::remove_merged(disk, &dir(), &runs, &merged, &Arc::default())?;
    Ok(())
}

fn rows(from: u64, to: u64) -> Vec<Row> {
    rows_of(from, to - from, 300)
}

/// Lists the index's files. Every file that counts must be whole and right.
fn check(disk: &SimDisk) -> Found {
    let log = Offset::ZERO..Offset(LOG_END);
    let found = set::list(owner(disk), log, 0).expect("the disk is sound");
    for run in &found.runs {
        assert_eq!(
            scan(run),
            rows(run.from().0, run.to().0),
            "{}",
            run.path().display()
        );
    }
    let covered: u64 = found.runs.iter().map(|run| run.to().0 - run.from().0).sum();
    let missing: u64 = found.gaps.iter().map(|gap| gap.end.0 - gap.start.0).sum();
    assert_eq!(covered + missing, LOG_END);
    found
}

#[test]
fn whenever_the_power_fails_what_is_found_is_whole_and_what_was_complete_stays() {
    let disk_of_run = disk();
    let before = disk_of_run.operations();
    live(&disk_of_run).expect("nothing fails");
    let operations = disk_of_run.operations();
    let (mut states, mut with_stale, mut complete) = (0, 0, 0);
    for operation in before + 1..=operations + 1 {
        for within in [false, true] {
            let disk = disk();
            if within {
                disk.crash_within(operation);
            } else {
                disk.crash_at(operation);
            }
            assert_eq!(live(&disk).is_ok(), operation > operations);
            for mode in CrashMode::ALL {
                let survived = disk.power_cut(operation, mode);
                let found = check(&survived);
                states += 1;
                with_stale += u32::from(!found.stale.is_empty());
                complete += u32::from(found.gaps.is_empty());
                set::remove(&survived, &dir(), &found.stale).expect("the disk is sound");
                // A removed file stays removed, and a file that counted still does, unless the next
                // power cut takes its name.
                let again = check(&survived.power_cut(operation, CrashMode::LoseUnsynced));
                assert!(
                    again.stale.iter().all(|path| !found.stale.contains(path)),
                    "{mode:?}"
                );
                assert!(
                    again.gaps == found.gaps || mode == CrashMode::KeepAll,
                    "{mode:?}"
                );
            }
        }
    }
    println!("{states} states, {with_stale} with leftovers, {complete} complete");
    assert!(states > 200 && with_stale > 10 && complete > 10);
}

#[test]
fn a_run_that_was_written_outlives_a_power_cut() {
    for mode in CrashMode::ALL {
        let disk = disk();
        write(&disk, 0, LOG_END, &rows(0, LOG_END));
        assert_eq!(check(&disk.power_cut(3, mode)).runs.len(), 1, "{mode:?}");
    }
}

#[test]
fn a_full_disk_fails_a_run_and_leaves_nothing_of_it() {
    for kind in [
        OpKind::Create,
        OpKind::Write,
        OpKind::SyncData,
        OpKind::Rename,
    ] {
        for nth in 1..4 {
            let disk = disk();
            disk.inject(
                Fault::on(kind)
                    .nth(nth)
                    .error(std::io::ErrorKind::StorageFull)
                    .short(),
            );
            let rows = rows(0, LOG_END);
            let written = SortedTable::write(&disk, &dir(), &content(0, LOG_END, rows.len()), rows);
            match written {
                Err(_) => assert_eq!(disk.files(), [] as [PathBuf; 0], "{kind:?} {nth}"),
                Ok(_) => assert!(nth > 1, "{kind:?} did not fail"),
            }
        }
    }
}
