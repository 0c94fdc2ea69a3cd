//! The check finds what it is there for, and medians are medians.

use std::{path::PathBuf, time::Duration};

use super::{
    payload::Payload,
    plan::{Load, Plan},
    report::Figures,
};
use crate::types::PartitionId;

fn plan(record_bytes: usize) -> Plan {
    Plan {
        load: Load::Produce,
        record_bytes,
        records: 3,
        producers: 2,
        requests: 4,
        partitions: 3,
        settings: Vec::new(),
        runs: 1,
        dir: PathBuf::new(),
    }
}

/// Everything that the plan appends, by partition, the producers taking turns.
fn appended(payload: &Payload) -> Vec<(PartitionId, Vec<u8>)> {
    let mut all = Vec::new();
    for number in 0..12 {
        for producer in 0..2 {
            let mut value = Vec::new();
            payload.write(&mut value, producer, number);
            all.push((payload.partition(number), value));
        }
    }
    all
}

fn check(payload: &Payload, records: &[(PartitionId, Vec<u8>)]) -> Result<(), String> {
    let mut check = payload.check();
    records.iter().try_for_each(|(partition, value)| check.record(*partition, value))?;
    check.finish()
}

#[test]
fn what_was_appended_passes_the_check() {
    for record_bytes in [1, 11, 12, 13, 1000] {
        let payload = Payload::new(&plan(record_bytes), 5);
        let records = appended(&payload);
        assert!(records.iter().all(|(_, value)| value.len() == record_bytes));
        assert_eq!(check(&payload, &records), Ok(()));
    }
}

#[test]
fn a_record_that_is_missing_doubled_moved_or_changed_is_found() {
    let payload = Payload::new(&plan(100), 5);
    let records = appended(&payload);
    for at in 0..records.len() {
        let mut missing = records.clone();
        missing.remove(at);
        assert!(check(&payload, &missing).is_err());

        let mut doubled = records.clone();
        doubled.insert(at, records[at].clone());
        assert!(check(&payload, &doubled).is_err());

        let mut moved = records.clone();
        moved[at].0 = PartitionId((moved[at].0.0 + 1) % 3);
        assert!(check(&payload, &moved).is_err());

        for byte in [0, 11, 12, 99] {
            let mut changed = records.clone();
            changed[at].1[byte] ^= 1;
            assert!(check(&payload, &changed).is_err());
        }
    }
}

#[test]
fn the_median_is_taken_of_each_figure() {
    let figures = |speed: f64, p50: u64| Figures {
        records_per_second: speed,
        megabytes_per_second: speed,
        p50: Duration::from_millis(p50),
        p99: Duration::ZERO,
        p999: Duration::ZERO,
        max: Duration::ZERO,
    };
    let medians = Figures::medians(&[figures(3.0, 1), figures(1.0, 3), figures(2.0, 9)]);
    assert_eq!((medians.records_per_second, medians.p50), (2.0, Duration::from_millis(3)));
}
