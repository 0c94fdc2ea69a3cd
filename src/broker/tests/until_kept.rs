//! Journal entries that a backup is sent, and restores that are told to stop.

use std::path::Path;

use super::{
    backup::{BACKUP, RESTORED, restore as restore_whole},
    until::{BEGUN_MS, append, back_up, open_keeping, restore, restore_on, restore_unless_told},
    world::create,
};
use crate::{
    env::{
        FileSystem, Open,
        sim::{SimClock, SimDisk},
    },
    storage::{
        backup::{self, Error, Halt, Kept, Until, restore_until},
        format::entry::BLOCK_BYTES,
    },
};

/// How many bytes of files with journal entries a backup on this disk has.
fn kept_bytes(disk: &SimDisk) -> u64 {
    let mut bytes = 0;
    for path in disk.files() {
        if path.starts_with("/backup/kept") {
            let file = disk.open(&path, Open::Read).expect("it is there");
            bytes += file.len().expect("the disk is sound");
        }
    }
    bytes
}

#[test]
fn a_first_backup_is_sent_no_journal_entries_and_the_next_one_goes_on_from_it() {
    let (disk, clock) = (SimDisk::new(25), SimClock::new(BEGUN_MS));
    let mut broker = open_keeping(&disk, &clock, 25);
    create(&broker, "t", 1);
    let nothing = broker.status().kept_journal;
    assert_eq!((nothing.bytes, nothing.commits), (0, None));
    let earlier = back_up(&broker, &SimDisk::new(26));
    for restarts in [false, true] {
        (0..20).for_each(|id| append(&broker, id));
        let target = SimDisk::new(27);
        let first = back_up(&broker, &target);
        // Two files without entries.
        assert_eq!(kept_bytes(&target), 2 * BLOCK_BYTES);
        if restarts {
            drop(broker);
            broker = open_keeping(&disk, &clock, 28);
        }
        (20..25).for_each(|id| append(&broker, id));
        let last = back_up(&broker, &target);
        for commit in first..=last {
            restore(&target, Until::Commit(commit)).expect("it is there");
        }
        let kept = broker.status().kept_journal;
        assert_eq!(kept.commits, Some((earlier, last)));
        assert!(kept.bytes > 0 && kept.bytes < kept.limit, "{kept:?}");
    }
}

#[test]
fn a_restore_that_is_told_to_stop_leaves_what_the_next_one_removes() {
    let target = SimDisk::new(29);
    let broker = open_keeping(&SimDisk::new(30), &SimClock::new(BEGUN_MS), 30);
    create(&broker, "t", 1);
    let first = back_up(&broker, &target);
    (0..3).for_each(|id| append(&broker, id));
    back_up(&broker, &target);
    let (from, to) = (Path::new(BACKUP), Path::new(RESTORED));
    let exists = |path: &Path| target.exists(path).expect("the disk is sound");
    let (halt, until) = (Halt::default(), Until::Commit(first + 2));
    let mut apply = |_: &Path, kept: &Kept<'_>| {
        halt.tell();
        kept.apply(|_| Ok(()))
    };
    let stopped = restore_until(&target, from, to, (until, None), &mut apply, &halt);
    let Err(Error::Stopped { left: Some(left) }) = stopped else {
        panic!("{stopped:?}")
    };
    assert!(exists(&left) && !exists(to));
    let again = restore_unless_told(&target, until, None, &halt);
    assert!(
        matches!(again, Err(Error::Stopped { left: None })),
        "{again:?}"
    );
    restore_on(&target, until).expect("it is there");
    assert!(exists(to) && !exists(&left));

    let empty = Path::new("/empty");
    target.create_dir(empty).expect("there is room");
    let stopped = backup::restore(&target, from, empty, None, &halt);
    assert!(
        matches!(stopped, Err(Error::Stopped { left: None })),
        "{stopped:?}"
    );
    restore_whole(&target, from, empty, None).expect("it is whole");
}
