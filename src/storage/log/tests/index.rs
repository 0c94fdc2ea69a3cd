//! Indexes: they are derived, can be rebuilt, and are never trusted over the frames.

use super::*;
use crate::storage::format::segment_file::{self, INDEX_INTERVAL_BYTES, INDEX_ROW_BYTES, IndexRow};
use crate::storage::log::index::Rows;

/// A sealed segment of some hundred KiB, and a second one that is active.
fn large() -> Bench {
    let mut bench = Bench::new(400 << 10);
    for offset in 0..120 {
        let time = i64::try_from(offset * 7 % 50 + offset).expect("small");
        bench.apply(frame_of(
            PartitionId(0),
            Offset(offset),
            time,
            &[record(vec![1; 5_000], time)],
        ));
    }
    bench.write_out();
    assert_eq!(bench.segment_count(), 2);
    bench
}

fn rows(bench: &Bench, base: u64) -> Vec<IndexRow> {
    let bytes = bench.bytes(&bench.index(base));
    bytes
        .chunks(INDEX_ROW_BYTES)
        .map(|row| IndexRow::decode(row).expect("a sound row"))
        .collect()
}

/// Asserts what every reader of the log must see, whatever state the indexes are in.
fn assert_sound(bench: &Bench, what: &str) {
    for from in 0..bench.end().0 {
        assert_eq!(bench.first_at(from), Ok(from), "{what}");
    }
    for time in -1..200 {
        let all = bench.frames.iter().flat_map(times);
        let expected = all
            .clone()
            .find(|(_, found)| *found >= time)
            .map_or(bench.end(), |(offset, _)| offset);
        assert_eq!(
            bench.reader().find_time(time).unwrap(),
            expected,
            "{what}, time {time}"
        );
    }
}

#[test]
fn an_index_has_a_row_for_about_every_8_kib_and_one_for_the_end() {
    let bench = large();
    let rows = rows(&bench, 0);
    let bytes = bench.bytes(&bench.segment(0));
    let frame = bench.frames[0].bytes().len() as u64;
    let mut behind = segment_file::HEADER_BYTES;
    for row in &rows[..rows.len() - 1] {
        let apart = u64::from(row.position) - behind;
        let expected = INDEX_INTERVAL_BYTES..INDEX_INTERVAL_BYTES + frame;
        assert!(expected.contains(&apart), "{apart} bytes apart");
        behind = u64::from(row.position);
    }
    assert_eq!(INDEX_INTERVAL_BYTES, 8 << 10);
    assert!(bytes.len() as u64 - behind < INDEX_INTERVAL_BYTES + frame);
    for row in &rows[..rows.len() - 1] {
        let header = crate::storage::format::frame::Header::peek(&bytes[row.position as usize..])
            .expect("a frame")
            .1;
        assert_eq!(u64::from(row.relative), header.base.0);
        let before = bench
            .frames
            .iter()
            .filter(|frame| frame.header().base < header.base)
            .flat_map(times);
        assert_eq!(
            Some(row.latest_before_ms),
            before.map(|(_, time)| time).max()
        );
    }
    assert_eq!(
        rows.last().map(|row| row.position as usize),
        Some(bytes.len())
    );
    assert_sound(&bench, "as written");
}

#[test]
fn a_missing_or_damaged_index_is_rebuilt_as_it_was() {
    let written = large().bytes(&large().index(0));
    let truncated = &written[..written.len() - INDEX_ROW_BYTES - 3];
    let mut flipped = written.clone();
    flipped[30] ^= 1;
    let zeros = vec![0; written.len()];
    for (what, index) in [
        ("missing", None),
        ("empty", Some(&[][..])),
        ("cut", Some(truncated)),
        ("damaged", Some(&flipped)),
        ("zeros", Some(&zeros)),
        (
            "not an index",
            Some(&b"something else that is longer than a row"[..]),
        ),
    ] {
        let mut bench = large();
        let at = bench.checkpoint();
        bench.remove(&bench.index(0));
        if let Some(index) = index {
            bench
                .env
                .files
                .open(&bench.index(0), Open::Create)
                .expect("a new file");
            bench.overwrite(&bench.index(0), 0, index);
        }
        bench.reopen(at);
        assert_sound(&bench, what);
        assert_eq!(bench.bytes(&bench.index(0)), written, "{what}");
    }
}

#[test]
fn an_index_that_is_sound_and_wrong_changes_nothing_that_is_read_by_offset() {
    let rows_were = rows(&large(), 0);
    let mangle: [fn(&mut IndexRow); 5] = [
        |row| row.position += 1,
        |row| row.position -= 3_000,
        |row| row.relative += 1,
        |row| row.relative -= 1,
        |row| row.position += 5_000,
    ];
    for (which, mangle) in mangle.iter().enumerate() {
        let mut bench = large();
        let at = bench.checkpoint();
        let mut rows = rows_were.clone();
        let inner = rows.len() - 1;
        rows[1..inner].iter_mut().for_each(mangle);
        let bytes: Vec<u8> = rows.iter().flat_map(IndexRow::encode).collect();
        bench.overwrite(&bench.index(0), 0, &bytes);
        bench.reopen(at);
        for from in 0..120 {
            assert_eq!(bench.first_at(from), Ok(from), "mangled {which}");
        }
        assert_eq!(
            bench.read_through(0, 30_000),
            (bench.frames.clone(), vec![])
        );
    }
}

#[test]
fn an_index_of_another_length_than_its_segment_is_rebuilt() {
    let mut bench = large();
    let at = bench.checkpoint();
    let mut bytes = bench.bytes(&bench.index(0));
    bytes.extend(
        IndexRow {
            relative: 100_000,
            position: 1_000_000,
            latest_before_ms: 1_000,
        }
        .encode(),
    );
    bench.overwrite(&bench.index(0), 0, &bytes);
    bench.reopen(at);
    assert_sound(&bench, "longer");
}

#[test]
fn an_index_is_rebuilt_around_damage_in_its_segment() {
    let mut bench = large();
    let at = bench.checkpoint();
    bench.remove(&bench.index(0));
    bench.flip(&bench.segment(0), 200_000);
    bench.reopen(at);
    let (frames, damaged) = bench.read_through(0, 100_000);
    assert_eq!((frames.len(), damaged.len()), (119, 1));
    assert_eq!(damaged[0].1, damaged[0].0 + 1);
}

#[test]
fn an_index_that_is_stored_while_its_segment_grows_is_the_same_as_one_that_is_rebuilt() {
    let mut bench = Bench::new(400 << 10);
    for offset in 0..120 {
        let time = i64::try_from(offset).expect("small");
        let records = [record(vec![1; 5_000], time)];
        bench.apply(frame_of(PartitionId(0), Offset(offset), time, &records));
        // Each checkpoint syncs the frames, and then stores their index rows.
        bench.checkpoint();
    }
    bench.write_out();
    let stored = bench.bytes(&bench.index(0));
    let at = bench.checkpoint();
    bench.remove(&bench.index(0));
    bench.reopen(at);
    assert_sound(&bench, "rebuilt");
    assert_eq!(bench.bytes(&bench.index(0)), stored);
}

#[test]
fn rows_are_found_however_unequal_the_frames_between_them_are() {
    use crate::env::{Random, sim::SimRandom};
    let random = SimRandom::new(7);
    for _ in 0..200 {
        let (mut relative, mut position) = (0, 0);
        let mut rows = Vec::new();
        for _ in 0..1 + random.next_u64() % 60 {
            relative += 1 + u32::try_from(random.next_u64() % 8).expect("small").pow(5);
            position += 8_192;
            rows.push(IndexRow {
                relative,
                position,
                latest_before_ms: i64::from(relative / 3),
            });
        }
        let index = Rows::of(&rows);
        for _ in 0..200 {
            let sought = random.next_u64() % u64::from(relative + 10);
            let before = rows.partition_point(|row| u64::from(row.relative) <= sought);
            assert_eq!(index.before(sought), before.checked_sub(1));
            let sought = i64::try_from(sought).expect("small");
            let before = rows.partition_point(|row| row.latest_before_ms < sought);
            assert_eq!(index.before_time(sought), before.checked_sub(1));
        }
    }
    assert_eq!(Rows::of(&[]).before(5), None);
}

#[test]
fn few_segments_are_open_at_a_time_and_all_can_be_read() {
    let bench = Bench::filled();
    for _ in 0..3 {
        for from in [0, 30, 9, 39, 17, 25, 1] {
            assert_eq!(bench.first_at(from), Ok(from / 2 * 2));
        }
    }
}
