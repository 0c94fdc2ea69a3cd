//! When a segment is sealed, and what remains of a trimmed one.

use super::*;

#[test]
fn a_segment_is_sealed_when_the_next_frame_would_take_it_past_its_size() {
    let bench = Bench::filled();
    assert_eq!(bench.segment_count(), 5);
    for base in [0, 8, 16, 24, 32] {
        assert!(bench.exists(&bench.segment(base)), "segment {base}");
        assert!(bench.bytes(&bench.segment(base)).len() as u64 <= bench.settings.segment_bytes);
        assert_eq!(
            bench.exists(&bench.index(base)),
            base < 32,
            "the index of segment {base}"
        );
    }
}

#[test]
fn a_tail_that_was_long_keeps_no_room_when_it_is_written_out() {
    let mut bench = Bench::new(1 << 20);
    bench.apply_all(1_000);
    bench.write_out();
    assert_eq!(bench.log.lock().tail.capacity(), 0);
}

#[test]
fn a_frame_larger_than_a_segment_gets_one_of_its_own() {
    let mut bench = Bench::new(100);
    bench.apply_all(3);
    bench.write_out();
    assert_eq!(bench.segment_count(), 3);
    assert_eq!(bench.read_through(0, 1), (bench.frames.clone(), vec![]));
}

#[test]
fn a_segment_is_sealed_when_a_frame_comes_that_is_too_much_younger() {
    let mut bench = Bench::new(1 << 20);
    bench.settings.segment_ms = 1_000;
    for (offset, time) in [(0, 0), (1, 999), (2, 1_000), (3, 1_999), (4, 9_000)] {
        bench.apply(frame_of(
            PartitionId(0),
            Offset(offset),
            time,
            &[record("v", time)],
        ));
    }
    bench.write_out();
    for (base, there) in [(0, true), (1, false), (2, true), (3, false), (4, true)] {
        assert_eq!(bench.exists(&bench.segment(base)), there, "segment {base}");
    }
    assert_eq!(bench.read_through(0, 1), (bench.frames.clone(), vec![]));
}

#[test]
fn an_idle_segment_is_sealed_once_it_is_old_but_not_before_its_tail_is_written() {
    let mut bench = Bench::new(1 << 20);
    bench.settings.segment_ms = 1_000;
    let seal = |bench: &mut Bench, now| {
        bench
            .writer
            .seal_if_due(&bench.log, &bench.segments, &bench.settings, now)
            .expect("the disk takes it");
    };
    bench.apply(frame_of(
        PartitionId(0),
        Offset(0),
        5_000,
        &[record("v", 0)],
    ));
    bench.write_out();
    seal(&mut bench, 5_999);
    assert!(!bench.exists(&bench.index(0)));
    bench.apply(frame_of(
        PartitionId(0),
        Offset(1),
        5_100,
        &[record("v", 0)],
    ));
    seal(&mut bench, 6_000);
    assert!(!bench.exists(&bench.index(0)));
    bench.write_out();
    seal(&mut bench, 6_000);
    assert!(bench.exists(&bench.index(0)));
    assert_eq!(bench.segment_count(), 1);
    // A clock that goes back seals nothing; and without an active segment there is nothing to seal.
    seal(&mut bench, -1_000_000);
    seal(&mut bench, i64::MAX);

    bench.apply(frame_of(
        PartitionId(0),
        Offset(2),
        6_100,
        &[record("v", 0)],
    ));
    bench.write_out();
    assert_eq!(bench.segment_count(), 2);
    assert_eq!(bench.read_through(0, 1), (bench.frames.clone(), vec![]));
}

#[test]
fn trimmed_segments_are_removed_only_when_they_are_taken() {
    let mut bench = Bench::filled();
    bench.log.lock().trim(Offset(17));
    assert_eq!(bench.segment_count(), 3);
    assert!(bench.exists(&bench.segment(0)));
    let at = bench.checkpoint();
    assert!(bench.remove_trimmed(), "nobody reads");
    for (base, there) in [(0, false), (8, false), (16, true), (24, true)] {
        assert_eq!(bench.exists(&bench.segment(base)), there, "segment {base}");
        assert_eq!(
            bench.exists(&bench.index(base)),
            there,
            "the index of segment {base}"
        );
    }
    bench.reopen(at);
    assert_eq!((bench.start(), bench.end()), (Offset(17), Offset(40)));
    assert_eq!(bench.read_through(17, 500).0, bench.frames[8..]);
}

#[test]
fn a_start_finds_trimmed_segments_that_were_not_removed_yet() {
    let mut bench = Bench::filled();
    bench.log.lock().trim(Offset(17));
    let at = bench.checkpoint();
    bench.reopen(at);
    assert_eq!(bench.log.lock().trimmed(), Some(Offset(0)..Offset(16)));
    assert!(bench.exists(&bench.segment(0)) && bench.exists(&bench.segment(8)));
    assert!(bench.remove_trimmed(), "nobody reads");
    assert!(!bench.exists(&bench.segment(0)) && !bench.exists(&bench.segment(8)));
    assert_eq!(bench.segment_count(), 3);
}

#[test]
fn a_log_that_was_trimmed_to_its_end_goes_on_there() {
    let mut bench = Bench::filled();
    bench.log.lock().trim(Offset(40));
    let at = bench.checkpoint();
    bench.reopen(at);
    assert_eq!((bench.start(), bench.end()), (Offset(40), Offset(40)));
    bench.apply_all(5);
    bench.write_out();
    assert_eq!(
        bench.read_through(40, 500),
        (bench.frames[20..].to_vec(), vec![])
    );
}
