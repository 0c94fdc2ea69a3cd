//! A broker whose files were changed while it was stopped.

use std::collections::BTreeMap;

use super::world::{append_of, encode_record, now, open, read_all};
use crate::{
    broker::{Broker, Error, Read, Step},
    env::sim::{CrashMode, SimDisk},
    types::{Offset, PartitionId, Position},
};

/// A disk with a topic of two partitions with `count` records each, one to a frame, everything in
/// segments.
fn filled(count: u64) -> SimDisk {
    let disk = SimDisk::new(1);
    let broker = open(&disk, 1).expect("nothing fails");
    let settings = BTreeMap::from([("segment.bytes".to_owned(), "64KiB".to_owned())]);
    let created = broker
        .create_topic("t", 2, &settings)
        .expect("it is a good name");
    broker.commit_all();
    now(created).expect("an answer").expect("nothing fails");
    for id in 0..2 * count {
        append(&broker, (id % 2) as u32, id);
    }
    broker.close().expect("nothing fails");
    disk.fork()
}

fn append(broker: &Broker, partition: u32, id: u64) {
    let admission = now(broker.admit_alone(1_000))
        .expect("there is memory")
        .expect("there is room");
    let records = [encode_record(id, 1_000)];
    let pending = broker
        .append(append_of("t", Some(partition), &records), admission)
        .expect("it is a good append");
    broker.commit_all();
    now(pending).expect("an answer").expect("nothing fails");
}

/// The files of partition 0 with this extension, sorted by name.
fn files(disk: &SimDisk, ending: &str) -> Vec<std::path::PathBuf> {
    let mut files = disk.files();
    files.retain(|path| {
        path.to_string_lossy().contains("/0/") && path.to_string_lossy().ends_with(ending)
    });
    files.sort();
    files
}

/// Reads partition 0 to its end, stepping over damage. Returns the offsets that can be read, and
/// the damaged ranges.
fn read_around(broker: &Broker) -> (Vec<u64>, Vec<(u64, u64)>) {
    let (mut read, mut damaged, mut from) = (Vec::new(), Vec::new(), Offset::ZERO);
    loop {
        let position = Some(Position::Offset(from));
        let wanted = Read {
            topic: "t".into(),
            partitions: vec![(PartitionId(0), position)],
            ..Read::default()
        };
        let mut reader = broker.read(wanted).expect("the offset is in the log");
        let broken = loop {
            match reader.step() {
                Ok(Step::Batch(batch)) => {
                    let first = read.last().map_or(from.0, |last| from.0.max(last + 1));
                    read.extend(first..batch.next_offset.0);
                }
                Ok(_) => return (read, damaged),
                Err(Error::DamagedRecords { from, to, .. }) => break (from, to),
                Err(error) => panic!("{error}"),
            }
        };
        damaged.push((broken.0.0, broken.1.0));
        from = broken.1;
    }
}

#[test]
fn a_flipped_bit_is_reported_with_its_offsets_and_all_else_is_served() {
    for sealed in [true, false] {
        let disk = filled(100);
        let segments = files(&disk, ".log");
        assert!(segments.len() > 1, "a segment was sealed");
        let segment = if sealed {
            &segments[0]
        } else {
            segments.last().expect("there are some")
        };
        disk.flip_bit(segment, 1_500, 3)
            .expect("the segment is that long");

        for start in 1..3 {
            let broker = open(&disk, start).expect("damage is no reason not to start");
            let (read, damaged) = read_around(&broker);
            let &[(from, to)] = &damaged[..] else {
                panic!("one frame was damaged: {damaged:?}")
            };
            assert_eq!(to - from, 1, "the frame holds one record");
            let expected: Vec<u64> = (0..100).filter(|offset| *offset != from).collect();
            assert_eq!(read, expected);
            assert_eq!(read_all(&broker, "t", PartitionId(1)).len(), 100);
            broker.close().expect("nothing fails");
        }
        let broker = open(&disk, 9).expect("damage is no reason not to start");
        append(&broker, 0, 1_000);
        assert_eq!(
            read_around(&broker).0.last(),
            Some(&100),
            "the partition goes on"
        );
    }
}

#[test]
fn a_damaged_or_missing_index_is_rebuilt_and_changes_nothing() {
    for damage in ["flip", "zero", "cut"] {
        let disk = filled(100);
        for index in files(&disk, ".index") {
            let len = disk.content(&index).expect("it is there").len() as u64;
            match damage {
                "flip" => disk.flip_bit(&index, 9, 0).expect("it has a row"),
                "zero" => disk.zero(&index, 0..len).expect("it is that long"),
                _ => disk
                    .overwrite(&index, 0, &[0xff; 24])
                    .expect("it has a row"),
            }
        }
        let broker = open(&disk, 1).expect("an index is no reason not to start");
        assert_eq!(
            read_around(&broker),
            ((0..100).collect(), Vec::new()),
            "{damage}"
        );
        let wanted = [(PartitionId(0), Some(Position::Timestamp(0)))];
        let (_, found) = broker
            .list_offsets("t", Position::Earliest, &wanted)
            .expect("it can be looked for");
        assert_eq!(found[0].offset, Offset::ZERO, "{damage}");
    }
}

#[test]
fn without_a_sound_checkpoint_everything_is_found_again() {
    for copies in [
        &["/data/checkpoint"][..],
        &["/data/checkpoint.copy"],
        &["/data/checkpoint", "/data/checkpoint.copy"],
    ] {
        let disk = filled(100);
        for copy in copies {
            disk.flip_bit(copy, 40, 1).expect("it is that long");
        }
        let broker = open(&disk, 1).expect("a checkpoint is no reason not to start");
        for partition in [0, 1] {
            assert_eq!(
                read_all(&broker, "t", PartitionId(partition)).len(),
                100,
                "{copies:?}"
            );
        }
        append(&broker, 0, 1_000);
        assert_eq!(
            read_all(&broker, "t", PartitionId(0)).len(),
            101,
            "{copies:?}"
        );
    }
}

#[test]
fn a_flipped_bit_in_what_the_journal_had_acknowledged_is_reported_with_its_offsets() {
    let disk = SimDisk::new(1);
    let broker = open(&disk, 1).expect("nothing fails");
    let created = broker
        .create_topic("t", 2, &BTreeMap::new())
        .expect("it is a good name");
    broker.commit_all();
    now(created).expect("an answer").expect("nothing fails");
    for id in 0..20 {
        append(&broker, (id % 2) as u32, id);
    }
    // No record is in a segment yet. The write at block 6 holds one record of partition 0.
    let disk = disk.power_cut(1, CrashMode::LoseUnsynced);
    let journal = disk
        .files()
        .into_iter()
        .find(|path| path.ends_with("1.journal"))
        .expect("it is there");
    disk.flip_bit(&journal, 6 * 4096 + 600, 1)
        .expect("it is that long");

    for start in 2..4 {
        let broker = open(&disk, start).expect("damage is no reason not to start");
        let (read, damaged) = read_around(&broker);
        let lost: u64 = damaged.iter().map(|(from, to)| to - from).sum();
        let other = broker.describe_topic("t").expect("it is there").1[1]
            .high_watermark
            .0;
        assert_eq!(
            (read.len() as u64 + lost, other),
            (10, 10),
            "no offset is given out again"
        );
        assert_eq!(
            lost + 10 - read_partition_1(&broker),
            1,
            "one record is lost, and it is reported"
        );
        broker.close().expect("nothing fails");
    }
}

/// How many records of partition 1 can be read.
fn read_partition_1(broker: &Broker) -> u64 {
    let wanted = Read {
        topic: "t".into(),
        partitions: vec![(PartitionId(1), None)],
        ..Read::default()
    };
    let mut reader = broker.read(wanted).expect("it is there");
    let mut count = 0;
    while let Ok(Step::Batch(batch)) = reader.step() {
        count += crate::types::Records::new(&batch.records.concat()).count() as u64;
    }
    count
}

#[test]
fn foreign_files_are_left_alone_and_a_second_broker_is_refused() {
    let disk = filled(10);
    let env = super::world::env(
        &disk,
        &crate::env::sim::SimClock::new(0),
        &crate::env::sim::SimRandom::new(3),
    );
    let foreign = std::path::Path::new("/data/topics/notes.txt");
    let file = env
        .files
        .open(foreign, crate::env::Open::Create)
        .expect("the directory is there");
    file.write_all_at(&[b"mine"], 0).expect("there is room");
    let broker = open(&disk, 1).expect("a foreign file is no reason not to start");
    let second = open(&disk, 2)
        .err()
        .expect("the directory is in use")
        .to_string();
    assert!(
        second.contains("/data") && second.contains("in use"),
        "{second}"
    );
    broker.checkpoint_now().expect("nothing fails");
    assert_eq!(disk.content(foreign).expect("it is still there"), b"mine");
}
