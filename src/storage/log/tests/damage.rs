//! Damaged, cut, missing and misplaced files: the exact offsets are reported, and the neighbours
//! stay readable.

use super::*;

#[test]
fn a_damaged_frame_is_reported_with_its_offsets_while_its_neighbours_are_read() {
    for active in [false, true] {
        let bench = Bench::filled();
        let base = if active { 32 } else { 16 };
        let at = bench.position(1);
        for position in at..bench.position(2) {
            bench.flip(&bench.segment(base), position);
            let damaged = (base + 2, base + 4);
            for from in 0..40 {
                let expected = if from / 2 * 2 == damaged.0 {
                    Err((from, damaged.1))
                } else {
                    Ok(from / 2 * 2)
                };
                // Maps the segment again, as after a start.
                bench.segments.let_go();
                assert_eq!(
                    bench.first_at(from),
                    expected,
                    "byte {} of the frame, from {from}",
                    position - at
                );
            }
            bench.flip(&bench.segment(base), position);
        }
    }
}

#[test]
fn a_reader_that_goes_through_finds_all_but_the_damaged_frames() {
    let bench = Bench::filled();
    // The first frame of a segment, the last one, and two adjacent ones.
    for (base, number) in [(0, 0), (8, 3), (24, 1), (24, 2)] {
        bench.flip(&bench.segment(base), bench.position(number) + 75);
    }
    let sound: Vec<Frame> = bench
        .frames
        .iter()
        .filter(|frame| ![0, 14, 26, 28].contains(&frame.header().base.0))
        .cloned()
        .collect();
    for max_bytes in [1, 600, 1 << 20] {
        bench.segments.let_go();
        assert_eq!(
            bench.read_through(0, max_bytes),
            (sound.clone(), vec![(0, 2), (14, 16), (26, 30)])
        );
    }
}

#[test]
fn a_damaged_segment_header_costs_nothing() {
    let mut bench = Bench::filled();
    for base in [0, 32] {
        bench.overwrite(&bench.segment(base), 0, &[0; 64]);
    }
    let at = bench.checkpoint();
    bench.reopen(at);
    assert_eq!(bench.read_through(0, 500), (bench.frames.clone(), vec![]));
    bench.scan(Offset(0));
    assert_eq!(bench.read_through(0, 500), (bench.frames.clone(), vec![]));
}

#[test]
fn a_missing_segment_is_a_range_of_damage() {
    for (base, damaged) in [(0, (0, 8)), (16, (16, 24)), (24, (24, 32)), (32, (32, 40))] {
        let mut bench = Bench::filled();
        let at = bench.checkpoint();
        bench.remove(&bench.segment(base));
        bench.reopen(at);
        assert_eq!((bench.start(), bench.end()), (Offset(0), Offset(40)));
        let (frames, found) = bench.read_through(0, 500);
        assert_eq!(found, [damaged], "segment {base}");
        assert_eq!(frames.len(), 16);
        for from in [damaged.0, damaged.0 + 3, damaged.1 - 1] {
            assert_eq!(bench.first_at(from), Err((from, damaged.1)));
        }
        // The log still continues at its end.
        bench.apply_all(5);
        bench.write_out();
        assert_eq!(
            bench.read_through(40, 1),
            (bench.frames[20..].to_vec(), vec![])
        );
        let at = bench.checkpoint();
        bench.reopen(at);
        assert_eq!(bench.read_through(32, 1).0.last(), bench.frames.last());
    }
}

#[test]
fn a_segment_that_was_cut_loses_only_what_was_cut_off() {
    for base in [16, 32] {
        let mut bench = Bench::filled();
        let at = bench.checkpoint();
        let len = bench.position(2) + 30;
        bench.set_len(&bench.segment(base), len);
        bench.reopen(at);
        assert_eq!(bench.end(), Offset(40));
        assert_eq!(bench.read_through(0, 500).1, [(base + 4, base + 8)]);
        assert_eq!(bench.first_at(base + 3), Ok(base + 2));
        bench.apply_all(3);
        bench.write_out();
        assert_eq!(
            bench.read_through(40, 500),
            (bench.frames[20..].to_vec(), vec![])
        );
    }
}

#[test]
fn an_empty_segment_file_is_a_range_of_damage() {
    for (base, len) in [(0, 0), (0, 10), (0, 64), (16, 0), (32, 0), (32, 63)] {
        let mut bench = Bench::filled();
        let at = bench.checkpoint();
        bench.set_len(&bench.segment(base), len);
        bench.reopen(at);
        assert_eq!(
            bench.read_through(0, 500).1,
            [(base, base + 8)],
            "segment {base} cut to {len}"
        );
    }
}

#[test]
fn a_segment_under_another_ones_name_is_not_taken_for_it() {
    for (from, to) in [(0, 16), (16, 8), (24, 0)] {
        let mut bench = Bench::filled();
        let at = bench.checkpoint();
        bench
            .env
            .files
            .rename(&bench.segment(from), &bench.segment(to))
            .expect("it can be renamed");
        bench.reopen(at);
        let (frames, damaged) = bench.read_through(0, 500);
        let expected: Vec<Frame> = bench
            .frames
            .iter()
            .filter(|frame| frames.contains(frame))
            .cloned()
            .collect();
        assert_eq!(frames, expected, "frames are what was appended, in order");
        let lost: u64 = damaged.iter().map(|(from, to)| to - from).sum();
        assert_eq!(lost + 2 * frames.len() as u64, 40, "{from} named {to}");
        bench
            .reader()
            .find_time(1_000_000)
            .expect("damage is passed over");
        bench.scan(Offset(0));
        bench.read_through(0, 500);
    }
}

#[test]
fn a_segment_of_another_partition_is_damage() {
    let mut bench = Bench::filled();
    let at = bench.checkpoint();
    let mut foreign = bench.bytes(&bench.segment(8));
    foreign.truncate(64);
    for base in [8, 10, 12, 14] {
        foreign.extend_from_slice(
            frame_of(
                PartitionId(1),
                Offset(base),
                0,
                &[record("v", 0), record("v", 0)],
            )
            .bytes(),
        );
    }
    bench.remove(&bench.segment(8));
    bench
        .env
        .files
        .open(&bench.segment(8), Open::Create)
        .expect("a new file");
    bench.overwrite(&bench.segment(8), 0, &foreign);
    bench.reopen(at);
    assert_eq!(bench.read_through(0, 500).1, [(8, 16)]);
}

#[test]
fn a_sector_from_elsewhere_in_the_same_segment_is_found() {
    let bench = Bench::filled();
    let bytes = bench.bytes(&bench.segment(16));
    let one = bench.frames[0].bytes().len();
    // Copies the first frame over the third.
    bench.overwrite(&bench.segment(16), bench.position(2), &bytes[64..64 + one]);
    assert_eq!(bench.read_through(0, 500).1, [(20, 22)]);
    assert_eq!(bench.first_at(22), Ok(22));
}
