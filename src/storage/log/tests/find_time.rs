//! Search by time, compared with a scan of every record.

use proptest::prelude::*;

use super::*;

/// The first offset from the log's start on whose record has this timestamp or a later one.
fn naive(bench: &Bench, time: i64) -> Offset {
    let start = bench.start();
    let mut records = bench.frames.iter().flat_map(times);
    records
        .find(|(offset, found)| *offset >= start && *found >= time)
        .map_or(bench.end(), |(offset, _)| offset)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_first_record_that_is_late_enough_is_found(
        batches in prop::collection::vec(prop::collection::vec(0i64..60, 1..5), 1..40),
        value_bytes in prop_oneof![Just(10), Just(9_000)],
        segment_bytes in 300u64..300_000,
        written in 0usize..40,
        trim in 0u64..100,
        reopened: bool,
    ) {
        let mut bench = Bench::new(segment_bytes);
        for (at, batch) in batches.iter().enumerate() {
            if at == written {
                bench.write_out();
            }
            let records: Vec<Record> = batch.iter().map(|time| record(vec![0; value_bytes], *time)).collect();
            bench.apply(frame_of(PartitionId(0), bench.end(), 0, &records));
        }
        bench.log.lock().trim(Offset(trim));
        if reopened {
            let at = bench.checkpoint();
            bench.reopen(at);
        }
        for time in -1..62 {
            prop_assert_eq!(bench.reader().find_time(time).unwrap(), naive(&bench, time), "time {}", time);
        }
    }
}

#[test]
fn damaged_and_missing_records_are_passed_over() {
    let mut bench = Bench::filled();
    let at = bench.checkpoint();
    bench.remove(&bench.segment(8));
    // A length that ends in the middle of the frame after the next one.
    bench.overwrite(&bench.segment(16), bench.position(1), &700u32.to_le_bytes());
    bench.flip(&bench.segment(32), bench.position(0) + 33);
    bench.reopen(at);
    let found = |time: i64| bench.reader().find_time(1_000_000 + time).unwrap().0;
    assert_eq!(
        (
            found(7),
            found(8),
            found(16),
            found(18),
            found(19),
            found(20)
        ),
        (7, 16, 16, 20, 20, 20)
    );
    assert_eq!(
        (found(31), found(32), found(34), found(40)),
        (31, 34, 34, 40)
    );
}
