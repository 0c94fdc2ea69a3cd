//! Segments with compressed frames: readers get the original frames, and damage costs no more than
//! the block that it hits.

use super::*;
use crate::storage::format::{
    block::BLOCK_BYTES,
    segment_file::{Compressed, HEADER_BYTES},
};

/// The number of frames in the log, and the number of records in each.
const FRAMES: u64 = 400;
const RECORDS: u64 = 2;

/// A frame at this offset, of about 2 KB, whose records resemble those of other frames.
fn like_others(base: u64) -> Frame {
    let time = i64::try_from(base).expect("small");
    let words = |nth: u64| {
        let words = (0..100).map(|word| format!("word {} ", (base + nth) * word % 1_013));
        words.collect::<String>().into_bytes()
    };
    let records = [record(words(0), time), record(words(1), time + 1)];
    frame_of(PartitionId(0), Offset(base), time, &records)
}

/// A log whose segments have some blocks each, except the last one, which is active.
fn filled() -> (Bench, checkpoint::Partition) {
    let mut bench = Bench::new(2 * BLOCK_BYTES as u64);
    for _ in 0..FRAMES {
        let base = bench.end().0;
        bench.apply(like_others(base));
    }
    let at = bench.checkpoint();
    (bench, at)
}

/// Compresses the sealed segments, in turns with each method or none.
fn compress_all(bench: &Bench) {
    let ways = [Some(ZSTD), Some(LZ4), None];
    for (range, way) in bases(bench).into_iter().zip(ways.into_iter().cycle()) {
        compress(&bench.log, &bench.segments, range, way).expect("there is room");
    }
}

fn bases(bench: &Bench) -> Vec<Offset> {
    let ranges = bench.log.lock().sealed_ranges();
    ranges.into_iter().map(|range| range.start).collect()
}

fn is_all_there(bench: &Bench) {
    for max_bytes in [1, 5_000, 100_000, usize::MAX] {
        let found = bench.read_through(0, max_bytes);
        assert_eq!(found, (bench.frames.clone(), vec![]), "{max_bytes}");
    }
    for (nth, frame) in bench.frames.iter().enumerate() {
        for offset in nth as u64 * RECORDS..(nth as u64 + 1) * RECORDS {
            let found = bench.read_at(offset, 1).expect("nothing is damaged");
            assert_eq!(&found[0], frame, "{offset}");
            let record = bench.reader().record_at(Offset(offset)).expect("sound");
            let expected = crate::storage::log::point::find_record(frame, Offset(offset));
            assert_eq!(
                record.map(|record| record.element()),
                expected.map(|record| record.element())
            );
            let time = i64::try_from(offset).expect("small");
            let found = bench.reader().find_time(time).expect("sound");
            assert_eq!(found, Offset(offset));
        }
    }
}

#[test]
fn every_reader_gets_the_frames_as_they_were_also_after_a_start_and_without_an_index() {
    let (mut bench, at) = filled();
    let before = bench.log.lock().bytes_on_disk();
    assert!(bases(&bench).len() >= 4, "{:?}", bases(&bench));
    compress_all(&bench);
    assert!(bench.remove_trimmed(), "nobody reads");
    let after = bench.log.lock().bytes_on_disk();
    assert!(after < before * 3 / 4, "{before} became {after}");
    is_all_there(&bench);
    bench.reopen(at);
    is_all_there(&bench);
    for base in bases(&bench) {
        bench.remove(&bench.index(base.0));
    }
    bench.reopen(at);
    is_all_there(&bench);
    bench.scan(Offset(0));
    is_all_there(&bench);
}

#[test]
fn an_index_that_is_made_again_is_the_one_that_was_written() {
    let (mut bench, at) = filled();
    compress_all(&bench);
    let indexes = |bench: &Bench| -> Vec<Vec<u8>> {
        let bases = bases(bench);
        bases
            .iter()
            .map(|base| bench.bytes(&bench.index(base.0)))
            .collect()
    };
    let written = indexes(&bench);
    for base in bases(&bench) {
        bench.remove(&bench.index(base.0));
    }
    bench.reopen(at);
    bench.read_through(0, 1_000);
    assert_eq!(indexes(&bench), written);
}

#[test]
fn a_segment_says_how_many_bytes_it_had_and_what_is_as_it_was_appended_has_them_again() {
    let (mut bench, at) = filled();
    let base = bases(&bench)[0];
    let original = bench.bytes(&bench.segment(base.0));
    let unpacked = original.len() as u64;
    for (compression, codec) in [(ZSTD, 2), (LZ4, 1)] {
        compress(&bench.log, &bench.segments, base, Some(compression)).expect("room");
        for reopened in [false, true] {
            let sealed = bench.sealed(base.0);
            let codec = codec.try_into().expect("not 0");
            let found = bench.segments.compressed(&sealed).expect("it can be read");
            assert_eq!(found, Some(Compressed { codec, unpacked }));
            if reopened {
                break;
            }
            bench.reopen(at);
        }
        assert!((bench.bytes(&bench.segment(base.0)).len() as u64) < unpacked / 2);
    }
    compress(&bench.log, &bench.segments, base, None).expect("room");
    assert_eq!(bench.bytes(&bench.segment(base.0)), original);
    let found = bench.segments.compressed(&bench.sealed(base.0));
    assert_eq!(found.expect("it can be read"), None);
}

#[test]
fn what_does_not_become_smaller_is_stored_as_it_is() {
    let mut bench = Bench::new(4_000);
    let mut state = 1u64;
    for base in 0..20 {
        let noise = (0..1_000).map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        });
        let record = record(noise.collect::<Vec<u8>>(), 1);
        bench.apply(frame_of(PartitionId(0), Offset(base), 1, &[record]));
    }
    bench.checkpoint();
    let base = bases(&bench)[1];
    let original = bench.bytes(&bench.segment(base.0));
    compress(&bench.log, &bench.segments, base, Some(ZSTD)).expect("room");
    let stored = bench.bytes(&bench.segment(base.0));
    let header = usize::try_from(HEADER_BYTES).expect("small");
    assert_eq!(stored[header..], original[header..]);
    let found = bench.segments.compressed(&bench.sealed(base.0));
    assert_eq!(
        found.expect("it can be read").map(|found| found.unpacked),
        Some(original.len() as u64),
        "nobody tries it again"
    );
}

#[test]
fn damage_takes_the_block_that_it_hit_and_zeros_take_its_place() {
    let (bench, _) = filled();
    let base = bases(&bench)[1];
    compress(&bench.log, &bench.segments, base, Some(ZSTD)).expect("room");
    let path = bench.segment(base.0);
    let sound = bench.bytes(&path);
    let of_segment = bench.log.lock().sealed_ranges()[1].clone();
    for position in (HEADER_BYTES..sound.len() as u64).step_by(997) {
        bench.flip(&path, position);
        bench.segments.let_go();
        let (frames, damaged) = bench.read_through(0, 3_000);
        let [(from, to)] = damaged[..] else {
            panic!("{damaged:?} by a byte at {position}");
        };
        assert!(of_segment.start.0 <= from && to <= of_segment.end.0);
        assert!(
            (to - from) * 1_000 / RECORDS < 2 * BLOCK_BYTES as u64,
            "{from}..{to}"
        );
        let is_lost = |frame: &&Frame| (from..to).contains(&frame.header().base.0);
        let expected: Vec<&Frame> = bench
            .frames
            .iter()
            .filter(|frame| !is_lost(frame))
            .collect();
        assert!(frames.iter().eq(expected), "a byte at {position}");
        assert!(matches!(
            bench.reader().record_at(Offset(from)),
            Err(ReadError::Damaged { .. })
        ));
        bench.flip(&path, position);
    }
    bench.flip(&path, sound.len() as u64 / 2);
    bench.segments.let_go();
    let damaged = bench.read_through(0, 3_000);
    compress(&bench.log, &bench.segments, base, Some(LZ4)).expect("room");
    assert_eq!(bench.read_through(0, 3_000), damaged);
    assert!(!bench.exists(&path), "it has another name");
}

#[test]
fn an_edit_leaves_nothing_of_what_it_took_out_of_a_compressed_segment() {
    let (bench, _) = filled();
    let base = bases(&bench)[1];
    let secret = b"a secret that was there only once";
    let with_secret = |frame: &Frame| {
        let header = frame.header();
        let time = header.append_time_ms;
        let records = [record(secret.to_vec(), time), record("y", time)];
        frame_of(PartitionId(0), header.base, time, &records)
    };
    let nth = Offset(base.0 + 10 * RECORDS);
    let is_nth = |frame: &Frame| frame.header().base == nth;
    let rewrite = |compression, edit: &dyn Fn(&Frame) -> Option<Frame>| {
        let rewrite = Rewrite::of(&bench.log, &bench.segments, base);
        let rewrite = rewrite.expect("it can be read").expect("it is there");
        let rewrite = rewrite.compressed(compression);
        assert!(rewrite.is_needed(edit).expect("it can be read"));
        let written = rewrite.write(edit).expect("room");
        written.install(&bench.log).expect("nothing fails");
    };
    rewrite(Some(LZ4), &|frame| {
        is_nth(frame).then(|| with_secret(frame))
    });
    let found = bench.read_at(nth.0, 1).expect("it can be read");
    assert_eq!(found[0], with_secret(&found[0]));
    let other = |frame: &Frame| {
        let has_it = frame
            .bytes()
            .windows(secret.len())
            .any(|part| part == secret);
        has_it.then(|| like_others(frame.header().base.0))
    };
    rewrite(Some(LZ4), &other);
    assert!(bench.remove_trimmed(), "nobody reads");
    for name in bench.names() {
        let bytes = bench.bytes(&bench.dir.join(name));
        assert!(!bytes.windows(10).any(|part| secret.starts_with(part)));
    }
    assert_eq!(bench.read_through(0, 9_000), (bench.frames.clone(), vec![]));
}

#[test]
fn a_record_that_is_looked_up_does_not_keep_the_block_that_it_was_in() {
    let (bench, _) = filled();
    compress_all(&bench);
    let found = bench.reader().record_at(Offset(21)).expect("sound");
    let found = found.expect("it is there").by_itself();
    assert!(found.frame.len() < 5_000, "{}", found.frame.len());
}
