//! Journal files that have changed: none of them is taken for a free file.

use super::*;
use crate::storage::{format::entry::FileHeader, journal::look};

/// A ring of three files in which a checkpoint covers the first, and the last has room left.
struct Used {
    dir: Dir,
    written: Vec<(u64, Vec<Item>)>,
}

const APPLIED: u64 = 15;
const FROM_FILE: u64 = 2;

impl Used {
    fn new() -> Self {
        let dir = Dir::with_files(4);
        let (_, mut journal) = dir.journal(Tip::default());
        // One file takes fifteen such entries.
        let written = write(&mut journal, 1..=40, 100);
        Self { dir, written }
    }

    /// The entries behind the checkpoint.
    fn needed(&self) -> Found {
        Found {
            tip: 40,
            ..sound(&self.written[APPLIED as usize..])
        }
    }

    fn found(&self) -> Found {
        found(&self.dir.replay(FROM_FILE, Some(APPLIED)))
    }

    /// The error with which a start is refused.
    fn refused(&self) -> OpenError {
        let covered = Covered {
            applied: APPLIED,
            journal_file: FROM_FILE,
            ..Covered::default()
        };
        match self.dir.open(Some(covered)) {
            Ok(_) => panic!("what may be needed is given up"),
            Err(error) => error,
        }
    }

    fn fault(&self, file: u32) -> Fault {
        match self.refused() {
            OpenError::Unusable { path, fault, .. } => {
                assert_eq!(path, self.dir.file(file));
                fault
            }
            error => panic!("{error}"),
        }
    }

    fn cut(&self, file: u32, len: u64) {
        let files = &*self.dir.env.files;
        let file = files
            .open(&self.dir.file(file), Open::Write)
            .expect("there is one");
        file.set_len(len).expect("the disk takes it");
    }

    fn remove(&self, name: &str) {
        let path = self.dir.path().join(name);
        self.dir.env.files.remove_file(&path).expect("there is one");
    }

    /// Removes the notes, as if a broker had left the directory that takes none.
    fn without_notes(self) -> Self {
        self.remove("ring");
        self
    }
}

/// Contents that a lost first block can have.
fn lost_blocks() -> [Vec<u8>; 2] {
    let other = (0..4096u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8);
    [vec![0; 4096], other.collect()]
}

#[test]
fn a_lost_first_block_of_any_file_costs_nothing() {
    for file in 1..=3 {
        for block in lost_blocks() {
            let used = Used::new();
            used.dir.overwrite(file, 0, &block);
            assert_eq!(used.found(), used.needed(), "file {file}");
            // The start after it loses nothing either.
            assert_eq!(used.found(), used.needed(), "file {file}");
        }
    }
}

#[test]
fn a_lost_first_block_costs_nothing_without_a_checkpoint_either() {
    for file in 1..=3 {
        let used = Used::new();
        used.dir.overwrite(file, 0, &lost_blocks()[1]);
        assert_eq!(used.dir.found(), sound(&used.written), "file {file}");
    }
}

#[test]
fn without_notes_a_file_that_lost_its_first_block_stops_the_start_if_it_may_be_needed() {
    for file in 2..=3 {
        for block in lost_blocks() {
            let used = Used::new().without_notes();
            used.dir.overwrite(file, 0, &block);
            assert_eq!(used.fault(file), Fault::Header, "file {file}");
        }
    }
    for block in lost_blocks() {
        let used = Used::new().without_notes();
        used.dir.overwrite(1, 0, &block);
        assert_eq!(used.found(), used.needed(), "a checkpoint covers it");
    }
}

/// Only entries of an earlier use of the file can be seen.
#[test]
fn a_file_whose_first_entry_is_damaged_too_may_hold_others_that_were() {
    let used = Used::new().without_notes();
    let first_entries = vec![7; 4 * 4096];
    used.dir.overwrite(3, 0, &first_entries);
    assert_eq!(used.fault(3), Fault::Header);
}

#[test]
fn a_file_that_is_cut_short_stops_the_start_if_it_is_needed() {
    for file in 1..=3 {
        for len in [0, 1, 4095, 4096, FILE_BYTES / 2, FILE_BYTES - 1] {
            let used = Used::new();
            used.cut(file, len);
            if file == 1 {
                assert_eq!(used.found(), used.needed(), "a checkpoint covers it");
                continue;
            }
            let fault = used.fault(file);
            match len {
                0 => assert_eq!(fault, Fault::Blank),
                _ => assert_eq!(
                    fault,
                    Fault::CutShort {
                        bytes: len,
                        of: FILE_BYTES
                    }
                ),
            }
        }
    }
}

#[test]
fn without_notes_a_file_that_is_shorter_than_it_would_be_made_stops_the_start() {
    let used = Used::new().without_notes();
    used.cut(3, FILE_BYTES / 2);
    let expected = Fault::Smaller {
        bytes: FILE_BYTES / 2,
        of: FILE_BYTES,
    };
    assert_eq!(used.fault(3), expected);
}

#[test]
fn a_file_that_is_all_zeros_or_gone_stops_the_start_if_it_is_needed() {
    for file in 2..=3 {
        let used = Used::new();
        used.dir.overwrite(file, 0, &[0; FILE_BYTES as usize]);
        assert_eq!(used.fault(file), Fault::Blank);

        let used = Used::new();
        used.remove(&format!("{file}.journal"));
        match used.refused() {
            OpenError::Missing { number, .. } => assert_eq!(number, u64::from(file)),
            error => panic!("{error}"),
        }
    }
    let used = Used::new();
    used.remove("1.journal");
    assert_eq!(used.found(), used.needed(), "a checkpoint covers it");
}

#[test]
fn an_older_state_of_a_file_that_was_put_back_stops_the_start() {
    let dir = Dir::new();
    let (ring, mut journal) = dir.journal(Tip::default());
    write(&mut journal, 1..=30, 100);
    let before = dir.bytes(1);
    ring.release_before(2);
    let written = write(&mut journal, 31..=35, 100);
    assert_eq!(ring.file_of(31), 3);
    let used = Used { dir, written };
    used.dir.overwrite(1, 0, &before);
    match used.refused() {
        OpenError::Unusable { fault, .. } => assert_eq!(fault, Fault::Older),
        error => panic!("{error}"),
    }
}

#[test]
fn damaged_notes_cost_nothing_and_are_seen() {
    for file in 1..=3 {
        let used = Used::new();
        let ring = used.dir.path().join("ring");
        let handle = used
            .dir
            .env
            .files
            .open(&ring, Open::Write)
            .expect("there is one");
        handle
            .write_all_at(&[&lost_blocks()[1]], (file - 1) * 4096)
            .expect("room");
        let seen = || {
            let look = look(&used.dir.env, used.dir.path(), None, None);
            look.expect("readable").damaged_notes
        };
        assert_eq!(seen(), Some(ring));
        assert_eq!(used.found(), used.needed(), "note {file}");
        assert_eq!(seen(), None, "it is written anew");
    }
}

/// A broker that takes no notes may have used the file since.
#[test]
fn a_note_of_an_earlier_use_is_not_believed() {
    let used = Used::new();
    let notes = read_file(&*used.dir.env.files, &used.dir.path().join("ring"));
    let notes = notes.expect("readable").expect("there is one");
    let (ring, mut journal) = used.dir.journal(Tip {
        sequence: 40,
        checksum: 0,
    });
    ring.release_before(4);
    write(&mut journal, 41..=50, 100);
    let handle = used
        .dir
        .env
        .files
        .open(&used.dir.path().join("ring"), Open::Write)
        .expect("there is one");
    handle.write_all_at(&[&notes], 0).expect("room");
    let file = (1..=4)
        .find(|file| {
            FileHeader::decode(&used.dir.bytes(*file)).is_some_and(|header| header.number == 4)
        })
        .expect("the fourth use");
    used.dir.overwrite(file, 0, &lost_blocks()[1]);
    let covered = Covered {
        applied: 40,
        journal_file: 4,
        ..Covered::default()
    };
    for covered in [Some(covered), None] {
        let refused = used.dir.open(covered).err().expect("it is needed");
        assert!(
            matches!(
                refused,
                OpenError::Unusable {
                    fault: Fault::Header,
                    ..
                }
            ),
            "{refused}"
        );
    }
}

/// Otherwise entries would go to files that a start behind the checkpoint does not read.
#[test]
fn a_journal_that_has_lost_all_of_its_files_goes_on_behind_the_checkpoint() {
    let dir = Dir::new();
    let covered = Covered {
        applied: 40,
        journal_file: 9,
        ..Covered::default()
    };
    let ring = dir.open(Some(covered)).expect("an empty directory");
    let tip = Tip {
        sequence: 40,
        checksum: 0,
    };
    let mut journal = Journal::new(ring, dir.options, tip);
    let written = write(&mut journal, 41..=43, 100);
    assert_eq!(found(&dir.replay(9, Some(40))), sound(&written));
}

#[test]
fn a_file_that_is_being_overwritten_is_free_wherever_that_is_cut_off() {
    let blank = |dir: &Dir| dir.overwrite(1, 0, &[0; 4096]);
    let nothing = |_: &Dir| {};
    for header in [blank, nothing] {
        let used = Used::new();
        let ring = used.dir.ring();
        ring.release_before(2);
        ring.begin_overwriting().expect("the disk takes it");
        // As if the last entries of the earlier use had not been overwritten yet.
        let entries = Used::new().dir.bytes(1);
        used.dir.overwrite(1, 8192, &entries[8192..]);
        header(&used.dir);
        assert_eq!(used.found(), used.needed());
        assert_eq!(used.dir.found().lost, []);
    }
}

/// As when a broker uses the directory during the inspection.
#[test]
fn a_file_that_changes_while_it_is_read_is_an_error() {
    let dir = Dir::new();
    let (_, mut journal) = dir.journal(Tip::default());
    write(&mut journal, 1..=3, 100);
    let whole = dir.bytes(1);
    let another = Dir::new();
    let (_, mut journal) = another.journal(Tip::default());
    write(&mut journal, 1..=3, 200);
    let at = usize::try_from(block(2)).expect("small");
    for changed in [&[0; 4096][..], &another.bytes(1)[at..at + 4096]] {
        let replay = dir.replay(0, None);
        dir.overwrite(1, block(2), changed);
        let read: Vec<_> = replay.entries().map(|entry| entry.map(drop)).collect();
        assert!(read[0].is_ok() && read[2].is_ok(), "{read:?}");
        let error = read[1].as_ref().expect_err("it is another entry");
        assert!(error.to_string().contains("it changes while it is read"));
        dir.overwrite(1, 0, &whole);
    }
}
