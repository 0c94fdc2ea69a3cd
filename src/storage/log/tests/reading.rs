//! Reading from tail, active and sealed segments.

use super::*;

#[test]
fn an_empty_log_has_nothing_to_read() {
    let bench = Bench::new(1_000);
    assert_eq!((bench.start(), bench.end()), (Offset(0), Offset(0)));
    assert_eq!(bench.read_at(0, 1_000).unwrap(), []);
}

#[test]
fn every_frame_is_read_from_the_tail_and_from_segments() {
    let mut bench = Bench::filled();
    bench.apply_all(3);
    assert_eq!(bench.segment_count(), 5);
    for max_bytes in [0, 1, 300, 1_000, 1 << 20] {
        assert_eq!(
            bench.read_through(0, max_bytes),
            (bench.frames.clone(), vec![]),
            "{max_bytes} bytes at a time"
        );
    }
}

#[test]
fn a_read_from_any_offset_begins_with_the_frame_that_holds_it() {
    let mut bench = Bench::filled();
    bench.apply_all(3);
    for from in 0..46 {
        assert_eq!(bench.first_at(from), Ok(from / 2 * 2), "from {from}");
        let expected = &bench.frames[usize::try_from(from / 2).expect("small")..];
        assert_eq!(bench.read_through(from, 500).0, expected, "from {from}");
    }
    assert_eq!(bench.read_at(46, 1_000).unwrap(), []);
    assert_eq!(bench.read_at(1_000, 1_000).unwrap(), []);
}

#[test]
fn one_read_gives_about_as_much_as_was_asked_for() {
    let mut bench = Bench::new(1 << 20);
    bench.apply_all(10);
    let one = bench.frames[0].bytes().len();
    for written in [false, true] {
        assert_eq!(bench.read_at(0, 1).unwrap().len(), 1);
        assert_eq!(bench.read_at(0, one).unwrap().len(), 1);
        assert_eq!(bench.read_at(0, one + 1).unwrap().len(), 2);
        assert_eq!(
            bench.read_at(0, 100 * one).unwrap().len(),
            10,
            "written: {written}"
        );
        bench.write_out();
    }
}

#[test]
fn a_cursor_goes_on_while_frames_move_from_the_tail_into_segments_that_are_sealed() {
    let mut bench = Bench::new(64 + 4 * frame(0).bytes().len() as u64);
    bench.apply_all(3);
    let mut cursor = Cursor::new(Offset(0));
    let mut read = Vec::new();
    for round in 0..30 {
        read.extend(bench.reader().read(&mut cursor, 1).unwrap());
        bench.apply_all(1);
        if round % 3 == 0 {
            bench.write_out();
        }
    }
    assert_eq!(read, bench.frames[..30]);
}

#[test]
fn a_trimmed_offset_is_below_the_start() {
    let bench = Bench::filled();
    bench.log.lock().trim(Offset(13));
    assert_eq!(bench.start(), Offset(13));
    assert!(matches!(bench.read_at(12, 1), Err(ReadError::BelowStart)));
    // The frame at the log's start also holds a record below the start.
    assert_eq!(bench.first_at(13), Ok(12));
    bench.log.lock().trim(Offset(5));
    assert_eq!(bench.start(), Offset(13));
    bench.log.lock().trim(Offset(1_000));
    assert_eq!(bench.start(), Offset(40));
    assert_eq!(bench.read_at(40, 1).unwrap(), []);
}

#[test]
fn frames_that_are_there_are_passed_over_when_they_are_applied_again() {
    let mut bench = Bench::filled();
    for frame in bench.frames.clone() {
        bench.log.lock().apply(frame, None);
    }
    bench.write_out();
    assert_eq!(bench.read_through(0, 500), (bench.frames.clone(), vec![]));
}

#[test]
fn lost_offsets_are_damage_wherever_what_follows_them_lies() {
    let mut bench = Bench::filled();
    bench.log.lock().apply_loss(Offset(44));
    assert_eq!(bench.first_at(40), Err((40, 44)));
    bench.apply(frame(44));
    bench.apply(frame(50));
    for written in [false, true] {
        assert_eq!(
            bench.read_through(0, 500),
            (bench.frames.clone(), vec![(40, 44), (46, 50)]),
            "written: {written}"
        );
        assert_eq!(bench.first_at(43), Err((43, 44)));
        bench.write_out();
    }
    let at = bench.checkpoint();
    bench.reopen(at);
    assert_eq!(
        bench.read_through(0, 500),
        (bench.frames.clone(), vec![(40, 44), (46, 50)])
    );
}
