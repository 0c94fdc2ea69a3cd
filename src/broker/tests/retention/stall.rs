//! `retention.bytes` where the disk falls behind: what has gathered in memory meanwhile goes to
//! segments only as far as the limit allows, until earlier segments are removed.

use std::time::Duration;

use super::world::{Kept, PARTITION, TOPIC};
use crate::{
    broker::{
        Broker, Options,
        tests::world::{append_of, encode_proto, options, read_all, send},
    },
    budget::{Name, Sizes},
    env::sim::{CrashMode, SimDisk},
    types::Offset,
};

const LIMIT: u64 = 256 << 10;
const SEGMENT: u64 = 64 << 10;

/// The size of a record.
const RECORD: usize = 9_000;

/// How many entities the records are of.
const ENTITIES: u64 = 7;

/// How many records come first, a little more than the limit allows.
const BEFORE: u64 = 40;

/// In so many rounds a broker has brought to the disk what has gathered in memory.
const ROUNDS: u32 = 40;

/// Nothing but the limit makes the broker write anything out or checkpoint.
fn roomy() -> Options {
    Options {
        journal_file_bytes: 4 << 20,
        memory: Sizes::default().with(Name::Appends, 16 << 20),
        ..options()
    }
}

fn limits(keys: &'static str) -> [(&'static str, &'static str); 3] {
    [
        ("retention.bytes", "256KiB"),
        ("segment.bytes", "64KiB"),
        ("keys", keys),
    ]
}

fn key_of(number: u64) -> Vec<u8> {
    format!("entity {}", number % ENTITIES).into_bytes()
}

/// A value as [`read_all`] expects it.
fn value_of(number: u64) -> Vec<u8> {
    let mut value = number.to_le_bytes().to_vec();
    value.resize(RECORD, (number % 251) as u8);
    value
}

fn record_of(number: u64) -> Vec<u8> {
    encode_proto(&crate::proto::Record {
        key: Some(key_of(number).into()),
        value: Some(value_of(number).into()),
        ..Default::default()
    })
}

fn append(broker: &Broker, number: u64) {
    let record = record_of(number);
    send(broker, append_of(TOPIC, Some(0), &[record])).expect("it is taken");
}

/// A world in which the limit was reached, and then this many records gathered in memory.
fn stalled(keys: &'static str, gathered: u64) -> Kept {
    stalled_behind(BEFORE, keys, gathered)
}

/// A world in which so many records were appended, and then this many gathered in memory.
fn stalled_behind(before: u64, keys: &'static str, gathered: u64) -> Kept {
    let kept = Kept::with_options(&limits(keys), roomy());
    for number in 0..before {
        append(&kept.broker, number);
        kept.settle();
    }
    kept.settle_on_disk();
    go_on(&kept);
    assert!(on_disk(&kept) <= LIMIT, "the limit holds before");
    for number in before..before + gathered {
        append(&kept.broker, number);
    }
    kept
}

fn on_disk(kept: &Kept) -> u64 {
    segments_of(&kept.disk)
}

/// Lets the broker work until the limit holds and nothing more is to be removed.
fn go_on(kept: &Kept) {
    for _ in 0..ROUNDS {
        kept.broker.step();
        kept.broker.commit_all();
    }
}

#[test]
fn what_has_gathered_in_memory_goes_to_the_disk_within_the_limit_and_a_segment() {
    for (keys, before) in [
        ("plain", BEFORE),
        ("versioned", BEFORE),
        ("plain", 0),
        ("versioned", 0),
    ] {
        let kept = stalled_behind(before, keys, 90);
        let mut most = 0;
        for _ in 0..ROUNDS {
            kept.broker.step();
            kept.broker.commit_all();
            most = most.max(on_disk(&kept));
        }
        assert!(most <= LIMIT + SEGMENT, "{keys}: {most} on the disk");
        let (bytes, there) = (kept.described().bytes, kept.there());
        assert!(
            (LIMIT - SEGMENT..=LIMIT).contains(&bytes),
            "{keys}: {bytes}"
        );
        assert_eq!(there.end, before + 90, "{keys}");
    }
}

#[test]
fn the_limit_holds_from_the_first_record_on_where_memory_has_room_for_all() {
    for keys in ["plain", "versioned"] {
        let kept = Kept::with_options(&limits(keys), roomy());
        for number in 0..200 {
            append(&kept.broker, number);
            kept.settle();
            let (bytes, on_disk) = (kept.described().bytes, on_disk(&kept));
            assert!(bytes <= LIMIT + SEGMENT, "{keys}: {bytes} after {number}");
            assert!(
                on_disk <= LIMIT + SEGMENT,
                "{keys}: {on_disk} after {number}"
            );
        }
        assert!(kept.there().start > 100, "{keys}");
    }
}

#[test]
fn a_checkpoint_that_is_due_waits_for_the_removal_but_not_for_ever() {
    let kept = stalled("versioned", 90);
    // From now on a checkpoint is due.
    kept.clock.advance(Duration::from_secs(11));
    // Nothing is removed as long as nothing is kept of what must outlive it.
    for _ in 0..4 {
        kept.broker.shared.maintenance.housekeeping.notify();
        keep_house_alone(&kept);
        kept.clock.advance(Duration::from_millis(200));
    }
    assert!(on_disk(&kept) <= LIMIT + SEGMENT, "it waits");
    kept.clock.advance(Duration::from_secs(1));
    kept.broker.shared.maintenance.housekeeping.notify();
    keep_house_alone(&kept);
    assert!(
        on_disk(&kept) > LIMIT + SEGMENT,
        "it does not wait for ever"
    );
    go_on(&kept);
    kept.settle_on_disk();
    assert!(on_disk(&kept) <= LIMIT, "it is removed after that");
}

/// A trim reaches into a batch that is in memory, and the segments before it are removed. The
/// batch has no other place than the journal then.
#[test]
fn a_trim_into_a_batch_in_memory_loses_nothing_when_segments_are_removed_behind_it() {
    for keys in ["plain", "versioned"] {
        let mut kept = stalled(keys, 0);
        let batch: Vec<Vec<u8>> = (0..20).map(|nth| record_of(BEFORE + nth)).collect();
        send(&kept.broker, append_of(TOPIC, Some(0), &batch)).expect("it is taken");
        let middle = BEFORE + 10;
        super::held::trim(&kept, middle, false).expect("in range");
        for _ in 0..3 {
            kept.pass(Duration::from_secs(2));
        }
        assert!(on_disk(&kept) < SEGMENT, "{keys}: the segments are removed");
        kept.restart(false);
        assert_eq!(kept.there(), middle..BEFORE + 20, "{keys}");
        append(&kept.broker, BEFORE + 20);
        let read = read_all(&kept.broker, TOPIC, PARTITION);
        let expected: Vec<_> = (middle..=BEFORE + 20)
            .map(|number| (Offset(number), number))
            .collect();
        assert_eq!(read, expected, "{keys}");
    }
}

/// A round of housekeeping, but none of indexing.
fn keep_house_alone(kept: &Kept) {
    if let Some(wanted) = kept.broker.shared.maintenance.housekeeping.take() {
        kept.broker.housekeeping_round(wanted);
    }
    kept.broker.commit_all();
}

/// The power is cut at every write and sync while what has gathered goes to the disk in steps,
/// each behind the removal of segments. Nothing that was acknowledged and not trimmed is lost, the
/// versions go on, and at no moment is more on the disk than the limit and a segment.
#[test]
fn after_every_crash_meanwhile_all_is_there_that_the_limit_keeps() {
    let mut states = 0;
    let (from, last) = {
        let kept = stalled("versioned", 40);
        let from = kept.disk.operations();
        go_on(&kept);
        (from, kept.disk.operations())
    };
    for operation in from + 1..=last {
        let mut kept = stalled("versioned", 40);
        let disk = kept.disk.clone();
        if operation.is_multiple_of(2) {
            disk.crash_within(operation);
        } else {
            disk.crash_at(operation);
        }
        go_on(&kept);
        assert!(!disk.is_on(), "operation {operation} was not reached");
        let bytes = segments_of(&disk);
        assert!(bytes <= LIMIT + SEGMENT, "{bytes} at operation {operation}");
        for mode in CrashMode::ALL {
            kept.start_on(disk.power_cut(operation, mode));
            states += 1;
            check(&kept, operation, mode);
        }
    }
    println!("{states} states");
    assert!(states > 200, "{states}");
}

/// How many bytes the segments on a disk have.
fn segments_of(disk: &SimDisk) -> u64 {
    let files = disk.files().into_iter();
    let segments = files.filter(|path| path.extension().is_some_and(|end| end == "log"));
    segments
        .map(|path| disk.content(path).expect("it is there").len() as u64)
        .sum()
}

fn check(kept: &Kept, operation: u64, mode: CrashMode) {
    let at = || format!("operation {operation}, {mode:?}");
    let there = kept.there();
    assert_eq!(there.end, BEFORE + 40, "{}", at());
    let read = read_all(&kept.broker, TOPIC, PARTITION);
    let expected: Vec<_> = there
        .clone()
        .map(|number| (Offset(number), number))
        .collect();
    assert_eq!(read, expected, "{}", at());
    let left = (there.end - there.start) * RECORD as u64;
    assert!(
        left >= LIMIT - SEGMENT - RECORD as u64,
        "{}: {left} left",
        at()
    );
    for number in there.end - ENTITIES..there.end {
        let latest = kept
            .broker
            .get_latest(TOPIC, &[key_of(number).into()])
            .expect("it can be read");
        assert_eq!(latest[0].version.0, number / ENTITIES + 1, "{}", at());
    }
    append(&kept.broker, there.end);
    go_on(kept);
    let latest = kept
        .broker
        .get_latest(TOPIC, &[key_of(there.end).into()])
        .expect("it can be read");
    assert_eq!(latest[0].version.0, there.end / ENTITIES + 1, "{}", at());
    assert!(kept.described().bytes <= LIMIT + SEGMENT, "{}", at());
}
