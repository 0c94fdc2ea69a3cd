//! A clock that jumps.

use super::{Broker, append, create, env, ids, options};
use crate::{
    broker::{Read, Step},
    env::sim::{CrashMode, SimClock, SimDisk, SimRandom},
    types::{Offset, RecordView, Records},
};

const YEAR_MS: i64 = 365 * 86_400_000;

/// The append times of all records of topic `t`, in order.
fn append_times(broker: &Broker) -> Vec<i64> {
    let mut reader = broker
        .read(Read {
            topic: "t".into(),
            ..Read::default()
        })
        .expect("it can be read");
    let mut times = Vec::new();
    while let Step::Batch(batch) = reader.step().expect("nothing is damaged") {
        for records in &batch.records {
            let parsed =
                Records::new(records).map(|record| RecordView::parse(record.expect("a record").1));
            times.extend(parsed.map(|record| {
                record
                    .expect("a record")
                    .append_time_ms
                    .expect("the broker's field")
            }));
        }
    }
    times
}

#[test]
fn a_clock_that_jumps_a_year_forth_and_back_changes_no_offset_and_takes_no_append_time_back() {
    let start = 1_700_000_000_000;
    let (mut disk, mut count) = (SimDisk::new(1), 0);
    let clock = SimClock::new(start);
    let mut expected = Vec::new();
    for (life, how_it_ends) in ["cut", "close", "damage", "cut", "close"]
        .into_iter()
        .enumerate()
    {
        let random = SimRandom::new(life as u64 + 1);
        let broker = Broker::open_stepped(env(&disk, &clock, &random), options())
            .expect("time is no reason");
        if life == 0 {
            create(&broker, "t", 1);
        }
        for now_ms in [start + YEAR_MS, start, start - YEAR_MS, start + 1] {
            clock.set_now_ms(now_ms);
            assert_eq!(append(&broker, 0, count), Ok(Offset(count)));
            broker.keep_house(false);
            count += 1;
            expected.push(start + YEAR_MS);
        }
        assert_eq!(append_times(&broker), expected, "life {life}");
        assert_eq!(ids(&broker, 0), (0..count).collect::<Vec<_>>());
        if how_it_ends != "cut" {
            broker.close().expect("nothing fails");
        }
        drop(broker);
        disk = disk.power_cut(life as u64, CrashMode::LoseUnsynced);
        if how_it_ends == "damage" {
            // Without a checkpoint the append time has to be found in the segments.
            for copy in ["/data/checkpoint", "/data/checkpoint.copy"] {
                disk.flip_bit(copy, 40, 1).expect("it is that long");
            }
        }
    }
}
