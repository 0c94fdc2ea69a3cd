//! Journal files that are used again.

use std::thread;

use super::*;
use crate::env::{
    FileSystem,
    sim::{OpKind, SimDisk},
};

#[test]
fn a_journal_goes_on_in_the_next_file_when_one_is_full() {
    let dir = Dir::new();
    let (ring, mut journal) = dir.journal(Tip::default());
    let written = write(&mut journal, 1..=30, 100);
    assert_eq!(ring.fill(), (2, 2));
    assert_eq!(dir.found(), sound(&written));
    assert_eq!(
        (
            ring.file_of(1),
            ring.file_of(15),
            ring.file_of(16),
            ring.file_of(30)
        ),
        (1, 1, 2, 2)
    );
}

#[test]
fn a_full_journal_says_so_writes_nothing_and_goes_on_once_a_file_is_released() {
    let dir = Dir::new();
    let (ring, mut journal) = dir.journal(Tip::default());
    let written = write(&mut journal, 1..=30, 100);
    for _ in 0..2 {
        assert!(matches!(
            journal.write(&mut [&mut items(31, 100)], true),
            Err(Error::Full)
        ));
        assert_eq!(journal.sequence(), 30);
        assert_eq!(dir.found(), sound(&written));
    }
    // A checkpoint of everything releases both files. The second takes no more entries either.
    assert_eq!(ring.file_of(31), 3);
    ring.release_before(3);
    let more = write(&mut journal, 31..=40, 100);
    assert_eq!(
        found(&dir.replay(3, Some(30))),
        Found {
            tip: 40,
            ..sound(&more)
        }
    );
}

#[test]
fn entries_of_an_earlier_use_of_a_file_never_come_back() {
    let dir = Dir::new();
    let (ring, mut journal) = dir.journal(Tip::default());
    write(&mut journal, 1..=30, 100);
    ring.release_before(2);
    // The first file is used again for a few entries, which leaves entries of its first use behind
    // them.
    let mut expected = Vec::new();
    for number in 31..=44 {
        expected.extend(write(&mut journal, number..=number, 100));
        assert_eq!(ring.file_of(31), 3);
        let found = found(&dir.replay(3, Some(30)));
        assert_eq!(found, sound(&expected));
    }
}

#[test]
fn without_a_checkpoint_what_is_left_of_the_journal_is_found() {
    let dir = Dir::new();
    let (ring, mut journal) = dir.journal(Tip::default());
    let mut written = write(&mut journal, 1..=30, 100);
    ring.release_before(2);
    written.extend(write(&mut journal, 31..=35, 100));
    assert_eq!(dir.found(), sound(&written[15..]));
}

/// Otherwise a start without a checkpoint might see the creation of a topic but not its deletion.
#[test]
fn files_are_used_again_oldest_first() {
    let dir = Dir::with_files(4);
    let (ring, mut journal) = dir.journal(Tip::default());
    let mut written = write(&mut journal, 1..=60, 100);
    ring.release_before(4);
    written.extend(write(&mut journal, 61..=75, 100));
    // The first file has been overwritten, the second and third have not.
    assert_eq!(dir.found(), sound(&written[15..]));
}

#[test]
fn entries_that_a_checkpoint_covers_are_not_given_out() {
    let dir = Dir::new();
    let (ring, mut journal) = dir.journal(Tip::default());
    let written = write(&mut journal, 1..=20, 100);
    for applied in 0..=20 {
        let replay = dir.replay(ring.file_of(applied + 1), Some(applied));
        let needed = &written[usize::try_from(applied).expect("small")..];
        assert_eq!(
            found(&replay),
            Found {
                tip: 20,
                ..sound(needed)
            },
            "applied {applied}"
        );
    }
}

#[test]
fn a_new_start_goes_on_in_a_file_of_its_own_with_the_chain_unbroken() {
    let dir = Dir::with_files(8);
    let mut written = Vec::new();
    let mut tip = Tip::default();
    for start in 0..4 {
        let (_, mut journal) = dir.journal(tip);
        written.extend(write(&mut journal, start * 3 + 1..=start * 3 + 3, 100));
        let replay = dir.replay(0, None);
        assert_eq!(found(&replay), sound(&written));
        tip = replay.tip();
    }
    assert_eq!(dir.ring().fill().0, 4);
}

/// A checkpoint right after a start names the file that the next entry will go to, so that all
/// older ones are released.
#[test]
fn after_a_start_the_next_entry_is_expected_in_a_new_file() {
    let dir = Dir::with_files(4);
    let (_, mut journal) = dir.journal(Tip::default());
    write(&mut journal, 1..=20, 100);
    let (ring, _journal) = dir.journal(dir.replay(0, None).tip());
    assert_eq!(ring.file_of(21), 3);
    ring.release_before(ring.file_of(21));
    assert_eq!(ring.fill().0, 0);
}

#[test]
fn a_prepared_file_without_entries_changes_nothing() {
    let dir = Dir::with_files(3);
    let (ring, mut journal) = dir.journal(Tip::default());
    let mut written = write(&mut journal, 1..=3, 100);
    ring.prepare_next().expect("room");
    assert_eq!(dir.found(), sound(&written));
    written.extend(write(&mut journal, 4..=20, 100));
    assert_eq!(dir.found(), sound(&written));
}

/// A journal with entries in all of its files, to which a third may be added, on a simulated disk.
fn on_simulated_disk(file_bytes: u64) -> (SimDisk, Arc<Ring>, Journal) {
    let disk = SimDisk::new(1);
    let dir = Path::new("/journal");
    disk.create_dir(dir).expect("there is room");
    let env = Env {
        files: Arc::new(disk.clone()),
        ..Env::system()
    };
    let options = Options {
        file_bytes,
        files: 3,
    };
    let ring = super::super::open(&env, dir, options, None).expect("it is empty");
    let mut journal = Journal::new(Arc::clone(&ring), options, Tip::default());
    write(&mut journal, 1..=1, 100);
    journal.leave_file().expect("the disk takes it");
    write(&mut journal, 2..=2, 100);
    assert_eq!(ring.fill(), (2, 3));
    (disk, ring, journal)
}

#[test]
fn entries_are_written_while_the_next_file_is_being_made() {
    let (disk, ring, mut journal) = on_simulated_disk(FILE_BYTES);
    let hold = disk.hold(OpKind::Allocate);
    thread::scope(|scope| {
        let preparing = scope.spawn(|| ring.prepare_next());
        hold.wait_for(1);
        write(&mut journal, 3..=5, 100);
        assert_eq!(ring.files().made, 2);
        drop(hold);
        let prepared = preparing.join().expect("it does not panic");
        prepared.expect("the disk takes it");
    });
    assert_eq!(ring.files().made, 3);
    journal.leave_file().expect("the disk takes it");
    write(&mut journal, 6..=6, 100);
    assert_eq!(ring.fill(), (3, 3));
}

#[test]
fn a_journal_that_needs_the_file_that_is_being_made_waits_for_it() {
    let (disk, ring, mut journal) = on_simulated_disk(FILE_BYTES);
    journal.leave_file().expect("the disk takes it");
    let hold = disk.hold(OpKind::Allocate);
    thread::scope(|scope| {
        let preparing = scope.spawn(|| ring.prepare_next());
        hold.wait_for(1);
        let writing = scope.spawn(|| write(&mut journal, 3..=3, 100));
        drop(hold);
        writing.join().expect("it finds a file");
        let prepared = preparing.join().expect("it does not panic");
        prepared.expect("the disk takes it");
    });
    assert_eq!((ring.fill(), ring.files().made), ((3, 3), 3));
}

/// The journal's syncs wait for what was written before them.
#[test]
fn a_file_is_filled_a_step_at_a_time() {
    let (disk, ring, _journal) = on_simulated_disk(3 << 20);
    let synced = || disk.stats().operations[&OpKind::SyncData];
    let before = synced();
    ring.prepare_next().expect("the disk takes it");
    assert_eq!(synced() - before, 3, "one for each MiB");
}

#[test]
fn a_file_that_is_too_short_or_empty_is_made_long_enough_before_it_is_used() {
    let dir = Dir::new();
    dir.env
        .files
        .open(&dir.file(1), Open::Create)
        .expect("a new file");
    let (ring, mut journal) = dir.journal(Tip::default());
    let written = write(&mut journal, 1..=20, 100);
    assert_eq!(ring.fill(), (2, 2));
    assert_eq!(dir.found(), sound(&written));
}

/// Asserts that a file is empty.
fn assert_blank(dir: &Dir, number: u32) {
    assert!(
        dir.bytes(number).iter().all(|byte| *byte == 0),
        "file {number} is not blank"
    );
}

#[test]
fn overwriting_leaves_a_file_to_go_on_in_while_those_released_are_still_to_be_written_over() {
    let dir = Dir::with_files(4);
    let (ring, mut journal) = dir.journal(Tip::default());
    write(&mut journal, 1..=60, 100);
    ring.release_before(3);
    ring.begin_overwriting().expect("the disk takes it");
    (1..=2).for_each(|number| assert_blank(&dir, number));
    journal.leave_file().expect("the disk takes it");
    ring.release_before(5);
    let written = write(&mut journal, 61..=90, 100);
    assert!(
        matches!(
            journal.write(&mut [&mut items(91, 100)], true),
            Err(Error::Full)
        ),
        "the others have old entries"
    );
    ring.overwrite().expect("the disk takes it");
    (3..=4).for_each(|number| assert_blank(&dir, number));
    assert_eq!(
        found(&dir.replay(5, Some(60))),
        Found {
            tip: 90,
            ..sound(&written)
        }
    );
    write(&mut journal, 91..=120, 100);
    assert_eq!(ring.fill(), (4, 4));
}

#[test]
fn files_that_were_used_again_since_the_last_time_are_written_over_by_the_next() {
    let dir = Dir::with_files(3);
    let (ring, mut journal) = dir.journal(Tip::default());
    write(&mut journal, 1..=45, 100);
    for round in 0..3 {
        journal.leave_file().expect("the disk takes it");
        ring.release_before(ring.file_of(journal.sequence() + 1));
        ring.prepare_next().expect("the disk takes it");
        ring.begin_overwriting().expect("the disk takes it");
        ring.overwrite().expect("the disk takes it");
        (1..=3).for_each(|number| assert_blank(&dir, number));
        let next = journal.sequence() + 1;
        write(&mut journal, next..=next + 10 * round, 100);
    }
}

#[test]
fn overwriting_that_failed_gives_files_back_when_it_is_tried_again() {
    let dir = Dir::with_files(2);
    let (ring, mut journal) = dir.journal(Tip::default());
    write(&mut journal, 1..=15, 100);
    ring.begin_overwriting().expect("the disk takes it");
    journal.leave_file().expect("the disk takes it");
    // No checkpoint could be written, so nothing is released.
    ring.overwrite().expect("the disk takes it");
    write(&mut journal, 16..=30, 100);
    assert!(matches!(
        journal.write(&mut [&mut items(31, 100)], true),
        Err(Error::Full)
    ));
    ring.release_before(2);
    write(&mut journal, 31..=40, 100);
}

#[test]
fn a_file_that_held_nothing_needed_and_is_gone_is_made_again() {
    let dir = Dir::with_files(4);
    let (ring, mut journal) = dir.journal(Tip::default());
    let mut written = write(&mut journal, 1..=60, 100);
    written.drain(..45);
    ring.release_before(4);
    let remove = |number| {
        let path = dir.file(number);
        dir.env.files.remove_file(&path).expect("it is there");
    };
    (1..=3).for_each(remove);
    ring.prepare_next().expect("another is made");
    remove(1);
    // So many entries that all four files are needed.
    written.extend(write(&mut journal, 61..=105, 100));
    assert_eq!(ring.fill(), (4, 4));
    assert_eq!(found(&dir.replay(4, Some(45))), sound(&written));

    ring.release_before(7);
    remove(1);
    ring.begin_overwriting().expect("another is made");
    ring.overwrite().expect("the disk takes it");
    written.extend(write(&mut journal, 106..=150, 100));
    assert_eq!(found(&dir.replay(7, Some(90))), sound(&written[45..]));
}
