//! Sealed segments that are rewritten.

use super::*;
use crate::storage::log::remove_unfinished;

/// Replaces the frame at offset 2 by one of another length.
fn edit(at: &Frame) -> Option<Frame> {
    let records = [record("changed, and longer than it was", 2), record("x", 3)];
    (at.header().base == Offset(2)).then(|| frame_of(PartitionId(0), Offset(2), 2, &records))
}

fn files(bench: &Bench, ending: &str) -> usize {
    let entries = bench.env.files.read_dir(&bench.dir).expect("it is there");
    entries
        .iter()
        .filter(|entry| entry.name.ends_with(ending))
        .count()
}

#[test]
fn a_segment_that_needs_nothing_is_left_alone() {
    let bench = Bench::filled();
    let rewrite = Rewrite::of(&bench.log, &bench.segments, Offset(8))
        .expect("it can be read")
        .expect("it is there");
    assert!(!rewrite.is_needed(edit).expect("it can be read"));
    assert!(
        Rewrite::of(&bench.log, &bench.segments, Offset(9))
            .expect("nothing fails")
            .is_none()
    );
}

#[test]
fn damage_is_replaced_by_zeros_once_and_the_frames_around_it_stay() {
    let bench = Bench::filled();
    let read = || bench.bytes(&bench.segment(8));
    let (sound, length) = (read(), frame(0).bytes().len());
    // In the segment's second frame.
    let second = 64 + length..64 + 2 * length;
    bench.flip(&bench.segment(8), second.start as u64 + 80);
    let rewrite = || {
        Rewrite::of(&bench.log, &bench.segments, Offset(8))
            .expect("it can be read")
            .expect("it is there")
    };
    assert!(rewrite().is_needed(|_| None).expect("it can be read"));
    rewrite()
        .write(|_| None)
        .expect("there is room")
        .install(&bench.log)
        .expect("nothing fails");
    let mut expected = sound;
    expected[second].fill(0);
    assert_eq!(read(), expected);
    assert!(
        !rewrite().is_needed(|_| None).expect("it can be read"),
        "zeros are as good as it gets"
    );
}

#[test]
fn a_segment_that_is_removed_while_it_is_written_anew_does_not_come_back() {
    let bench = Bench::filled();
    let before = files(&bench, ".log");
    let rewrite = Rewrite::of(&bench.log, &bench.segments, Offset(0))
        .expect("it can be read")
        .expect("it is there");
    assert!(rewrite.is_needed(edit).expect("it can be read"));
    let rewritten = rewrite.write(edit).expect("there is room");
    assert_eq!(files(&bench, ".log.new"), 1);
    remove_file(&*bench.env.files, &bench.segment(0)).expect("it is there");
    rewritten.install(&bench.log).expect("nothing fails");
    assert_eq!(
        (files(&bench, ".log"), files(&bench, ".new")),
        (before - 1, 0)
    );
}

#[test]
fn what_is_not_installed_leaves_nothing_and_what_a_crash_has_left_is_removed() {
    let bench = Bench::filled();
    let rewrite = || {
        Rewrite::of(&bench.log, &bench.segments, Offset(0))
            .expect("it can be read")
            .expect("it is there")
    };
    drop(rewrite().write(edit).expect("there is room"));
    assert_eq!(files(&bench, ".new"), 0);
    std::mem::forget(rewrite().write(edit).expect("there is room"));
    assert_eq!(files(&bench, ".new"), 1);
    remove_unfinished(&*bench.env.files, &bench.dir).expect("nothing fails");
    assert_eq!(files(&bench, ".new"), 0);
}
