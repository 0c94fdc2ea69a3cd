//! Look-ups in large frames: a frame is read and checked once for many look-ups.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use prost::Message;

use super::*;
use crate::{
    env::sim::{OpKind, SimClock, SimDisk, SimRandom},
    storage::{
        format::frame::{HEADER_BYTES, Header},
        log::{
            FoundRecord,
            kept::{KeptFrame, KeptFrames, Written},
            point::find_record,
        },
    },
    types::limits::{KEPT_FRAMES_BYTES, LARGE_FRAME_BYTES},
};

/// A log on a simulated disk, whose operations are counted.
fn counted() -> (Bench, SimDisk) {
    let disk = SimDisk::new(1);
    let env = Env {
        files: Arc::new(disk.clone()),
        clock: Arc::new(SimClock::new(0)),
        random: Arc::new(SimRandom::new(1)),
    };
    let dir = PathBuf::from("/0");
    let segments = OpenSegments::new(env.clone(), 3);
    let log = LogLock::new(Log::new(IDENTITY, topic_dir(&dir)));
    (
        Bench {
            env,
            dir,
            segments,
            log,
            ..Bench::new(64 << 20)
        },
        disk,
    )
}

/// A frame of this many records of 100 bytes.
fn frame_with(base: u64, records: u64) -> Frame {
    let one = |nth: u64| {
        record(
            nth.to_le_bytes().repeat(12),
            i64::try_from(base + nth).expect("small"),
        )
    };
    frame_of(
        PartitionId(0),
        Offset(base),
        1,
        &(0..records).map(one).collect::<Vec<_>>(),
    )
}

const LARGE: u64 = 2_000;

fn reads(disk: &SimDisk) -> u64 {
    disk.stats()
        .operations
        .get(&OpKind::Read)
        .copied()
        .unwrap_or_default()
}

fn look_up(bench: &Bench, offset: u64) -> FoundRecord {
    bench
        .reader()
        .record_at(Offset(offset))
        .expect("it is sound")
        .expect("it is there")
}

fn assert_same(found: &FoundRecord, expected: &FoundRecord) {
    assert_eq!(
        (found.element(), found.encoded()),
        (expected.element(), expected.encoded())
    );
}

#[test]
fn a_large_frame_is_read_once_for_all_look_ups_in_it_wherever_it_is() {
    let (mut bench, disk) = counted();
    let large = frame_with(3, LARGE);
    assert!(large.bytes().len() >= LARGE_FRAME_BYTES);
    for frame in [frame_with(0, 3), large.clone(), frame_with(3 + LARGE, 3)] {
        bench.apply(frame);
    }
    for place in ["tail", "active", "sealed"] {
        match place {
            "tail" => {}
            "active" => bench.write_out(),
            _ => bench
                .writer
                .seal_before(&bench.log, &bench.segments, Offset(u64::MAX))
                .expect("nothing fails"),
        }
        bench.segments.forget_topic(TOPIC);
        look_up(&bench, 3);
        let before = reads(&disk);
        for nth in (0..LARGE).chain((0..LARGE).rev()) {
            let offset = Offset(3 + nth);
            let expected = find_record(&large, offset).expect("it is there");
            assert_eq!(expected.view().offset, Some(offset.0));
            assert_same(&look_up(&bench, offset.0), &expected);
        }
        assert_eq!(
            bench.reader().frame_at(Offset(9)).expect("it is sound"),
            Some(large.clone())
        );
        assert_eq!(reads(&disk), before, "in {place}");
        assert_eq!(
            look_up(&bench, 2).view().offset,
            Some(2),
            "the one before, in {place}"
        );
        assert_eq!(
            look_up(&bench, 3 + LARGE).view().offset,
            Some(3 + LARGE),
            "the one behind, in {place}"
        );
    }
}

#[test]
fn records_are_found_in_a_large_frame_with_holes() {
    let mut bytes = BytesMut::zeroed(HEADER_BYTES);
    for offset in (0..2 * LARGE).step_by(2) {
        bytes.put_u8(15 << 3 | 2);
        let record = Record {
            offset: Some(offset),
            ..record(vec![1; 100], 1)
        };
        record
            .encode_length_delimited(&mut bytes)
            .expect("it grows");
    }
    let whole = *frame_with(0, LARGE).header();
    let frame = Frame::seal(
        Header {
            span: 2 * whole.span,
            ..whole
        },
        bytes,
    );
    let kept = KeptFrame::new(frame.clone());
    for offset in 0..2 * LARGE + 2 {
        let found = kept.record(Offset(offset)).map(|found| found.element());
        assert_eq!(
            found,
            find_record(&frame, Offset(offset)).map(|found| found.element())
        );
        assert_eq!(
            found.is_some(),
            offset % 2 == 0 && offset < 2 * LARGE,
            "{offset}"
        );
    }
}

#[test]
fn frames_that_were_not_used_for_longest_go_first() {
    let mut kept = KeptFrames::default();
    assert!(
        !KeptFrame::is_large(frame_with(0, 3).bytes().len()),
        "a small one is not kept"
    );
    let records = 20_000;
    let frames = KEPT_FRAMES_BYTES / frame_with(0, records).bytes().len() + 3;
    let base = |nth: usize| Offset(nth as u64 * records);
    for nth in 0..frames {
        let frame = KeptFrame::new(frame_with(base(nth).0, records));
        kept.keep(Written::First, &frame);
        assert!(
            kept.find(IDENTITY, Written::First, Offset::ZERO).is_some(),
            "used all the time"
        );
    }
    let held: Vec<usize> = (0..frames)
        .filter(|nth| kept.find(IDENTITY, Written::First, base(*nth)).is_some())
        .collect();
    assert!(
        (3..6).any(|gone| held[1..] == (gone..frames).collect::<Vec<_>>()),
        "{held:?}"
    );
    let bytes: usize = held
        .iter()
        .map(|nth| frame_with(base(*nth).0, records).bytes().len())
        .sum();
    assert!(bytes <= KEPT_FRAMES_BYTES, "{bytes}");
    let anew = Written::Anew(Offset::ZERO, 1);
    assert!(kept.find(IDENTITY, anew, Offset::ZERO).is_none());
    kept.forget(|of| of.topic == TOPIC);
    let is_gone = |nth| kept.find(IDENTITY, Written::First, base(nth)).is_none();
    assert!((0..frames).all(is_gone));
}

#[test]
fn a_frame_of_a_segment_that_was_written_anew_is_not_kept() {
    let (mut bench, _) = counted();
    bench.apply(frame_with(0, LARGE));
    bench.write_out();
    bench
        .writer
        .seal_before(&bench.log, &bench.segments, Offset(u64::MAX))
        .expect("nothing fails");
    let old = bench.sealed(7);
    let frame = bench.reader().frame_at(Offset(7)).expect("it is sound");
    let frame = KeptFrame::new(frame.expect("it is there"));
    look_up(&bench, 7);
    let kept = || {
        let segments = &bench.segments;
        segments.kept_frame(IDENTITY, old.written(), Offset(7))
    };
    assert!(kept().is_some());
    let new = frame_of(
        PartitionId(0),
        Offset(0),
        1,
        &vec![record(vec![9; 100], 1); 2_000],
    );
    rewrite_segment(&bench.log, &bench.segments, Offset(0), |_| {
        Some(new.clone())
    })
    .expect("nothing fails");
    assert_same(
        &look_up(&bench, 7),
        &find_record(&new, Offset(7)).expect("it is there"),
    );

    assert!(kept().is_none(), "it may have what was erased");

    // A frame that was found in the old segment and is kept late must not count for the new
    // segment.
    bench.segments.keep_frame(old.written(), &frame);
    assert_same(
        &look_up(&bench, 7),
        &find_record(&new, Offset(7)).expect("it is there"),
    );
}

#[test]
fn a_record_by_itself_does_not_hold_the_frame_that_it_was_in() {
    let frame = frame_with(0, LARGE);
    let is_in_frame = |bytes: &[u8]| frame.bytes().as_ptr_range().contains(&bytes.as_ptr());
    let found = || find_record(&frame, Offset(5)).expect("it is there");
    let by_itself = found().by_itself();
    assert!(is_in_frame(&found().element()) && !is_in_frame(&by_itself.element()));
    assert!(!is_in_frame(&by_itself.encoded()));
    assert_same(&by_itself, &found());

    // A record that takes most of its frame is not copied out of it.
    let frame = frame_of(
        PartitionId(0),
        Offset(0),
        1,
        &[record(vec![1; 100_000], 1), record(vec![1; 10], 1)],
    );
    let found = find_record(&frame, Offset(0)).expect("it is there");
    assert_eq!(found.element().as_ptr(), frame.records().as_ptr());
    assert_eq!(
        found.by_itself().element().as_ptr(),
        frame.records().as_ptr()
    );
}
