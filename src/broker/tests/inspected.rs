//! What `inspect` says of a directory is what the next start makes of it: after a power cut at any
//! moment, and with any bit of any file flipped.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use super::{deltas::Life, world::below, world::env};
use crate::{
    broker::{Broker, Error, Read, Step},
    env::sim::{CrashMode, SimClock, SimDisk, SimRandom},
    storage::inspect::{self, DamageKind, Report},
    types::{Offset, PartitionId, Position},
};

/// What is known of a data directory.
#[derive(Debug, Default, PartialEq, Eq)]
struct Known {
    /// The partitions of each topic.
    topics: BTreeMap<String, Vec<Partition>>,
    producers: usize,
    groups: usize,
    group_offsets: usize,
    erasures: BTreeSet<u64>,
    /// How many trims of entities wait, by topic and partition.
    key_trims: BTreeMap<(String, u32), u64>,
}

#[derive(Debug, PartialEq, Eq)]
struct Partition {
    start: u64,
    end: u64,
    /// The offsets that cannot be read.
    lost: BTreeSet<u64>,
}

fn inspected(disk: &SimDisk) -> Result<Report, inspect::Error> {
    let env = env(disk, &SimClock::new(1_700_000_000_000), &SimRandom::new(1));
    inspect::inspect(&env, Path::new("/data"), true)
}

/// What the report says.
fn said(report: &Report) -> Known {
    let mut known = Known {
        producers: report.producers as usize,
        groups: report.groups as usize,
        group_offsets: report.group_offsets as usize,
        erasures: report.erasures.iter().map(|erasure| erasure.id).collect(),
        ..Known::default()
    };
    for trims in &report.key_trims {
        let place = (trims.topic.to_string(), trims.partition.0);
        known.key_trims.insert(place, trims.waiting);
    }
    for topic in &report.topics {
        let mut partitions = Vec::new();
        for partition in &topic.partitions {
            let mut lost = BTreeSet::new();
            for damage in report.damage.iter().filter(|damage| {
                damage.topic.as_ref() == Some(&topic.name) && damage.partition == Some(partition.id)
            }) {
                let offsets = damage.offsets.clone().unwrap_or(Offset(0)..Offset(0));
                lost.extend(offsets.start.0.max(partition.start.0)..offsets.end.0);
            }
            partitions.push(Partition {
                start: partition.start.0,
                end: partition.end.0,
                lost,
            });
        }
        known.topics.insert(topic.name.to_string(), partitions);
    }
    known
}

/// What a broker has.
fn had(broker: &Broker) -> Known {
    let mut known = Known::default();
    let names: Vec<String> = {
        let applied = broker.shared.sequencer.applied();
        known.producers = applied.producers.used().producers;
        known.groups = applied.groups().len();
        known.group_offsets = applied.groups().offsets();
        for waiting in applied.erasures().waiting() {
            known.erasures.insert(waiting.erasure.id);
        }
        for (topic, partition) in applied.key_trims().places() {
            let name = &applied.topics().get(topic).expect("it is there").name;
            let waiting = applied.key_trims().of_partition((topic, partition)).count();
            let place = (name.to_string(), partition.0);
            known.key_trims.insert(place, waiting as u64);
        }
        let topics = applied.topics().iter();
        topics.map(|topic| topic.name.to_string()).collect()
    };
    for name in names {
        let (_, described) = broker.describe_topic(&name).expect("it is there");
        let mut partitions = Vec::new();
        for (number, partition) in (0..).zip(described) {
            let (start, end) = (partition.earliest.0, partition.high_watermark.0);
            let lost = unreadable(broker, &name, PartitionId(number), start);
            partitions.push(Partition { start, end, lost });
        }
        known.topics.insert(name, partitions);
    }
    known
}

/// The offsets that reading a partition reports as damaged.
fn unreadable(broker: &Broker, topic: &str, partition: PartitionId, start: u64) -> BTreeSet<u64> {
    let (mut lost, mut from) = (BTreeSet::new(), Offset(start));
    loop {
        let read = Read {
            topic: topic.to_owned(),
            partitions: vec![(partition, Some(Position::Offset(from)))],
            ..Read::default()
        };
        let mut reader = broker.read(read).expect("the offset is in the log");
        let gap = loop {
            match reader.step() {
                Ok(Step::Batch(_)) => {}
                Ok(Step::Wait(_)) => panic!("a finite read waits"),
                Ok(Step::End) => return lost,
                Err(Error::DamagedRecords { from, to, .. }) => break from..to,
                Err(error) => panic!("{error}"),
            }
        };
        lost.extend(gap.start.0..gap.end.0);
        from = gap.end;
    }
}

/// Whether a start is refused, according to the report.
fn refuses(report: &Report) -> bool {
    report.damage.iter().any(|damage| {
        matches!(
            damage.kind,
            DamageKind::JournalFile { .. }
                | DamageKind::JournalUnreadable { .. }
                | DamageKind::JournalFileMissing { .. }
        )
    })
}

#[test]
fn after_a_power_cut_inspect_says_what_the_next_start_makes_of_it() {
    for seed in 0..3 {
        let mut life = Life::new(seed);
        for cut in 0..30 {
            (0..12).for_each(|_| life.step());
            for mode in CrashMode::ALL {
                let disk = life.disk.fork().power_cut(cut, mode);
                let report = inspected(&disk).expect("a directory of ours");
                let mut damage = report.damage.iter();
                let is_lost = damage.any(|damage| damage.loses_records());
                assert!(!is_lost, "{seed} {cut} {mode:?}: {:?}", report.damage);
                let broker = life.opened_on(&disk).expect("nothing is damaged");
                assert_eq!(said(&report), had(&broker), "{seed} {cut} {mode:?}");
            }
        }
    }
}

#[test]
fn whatever_bit_is_flipped_inspect_says_what_the_next_start_makes_of_it() {
    let (mut refused, mut lost) = (0, 0);
    for seed in 0..6 {
        let mut life = Life::new(seed);
        let chance = SimRandom::new(seed);
        for cut in 0..60 {
            (0..8).for_each(|_| life.step());
            let disk = life.disk.fork().power_cut(cut, CrashMode::LoseUnsynced);
            let mut files = disk.files();
            files.retain(|path| disk.content(path).is_ok_and(|content| !content.is_empty()));
            let file = &files[below(&chance, files.len() as u64) as usize];
            let len = disk.content(file).expect("it is there").len() as u64;
            let at = below(&chance, len);
            let bit = below(&chance, 8) as u8;
            disk.flip_bit(file, at, bit).expect("it is that long");
            let what = format!("{seed} {cut}: bit {bit} of byte {at} of {}", file.display());
            let report = match inspected(&disk) {
                Ok(report) => report,
                Err(error) => {
                    assert!(life.opened_on(&disk).is_err(), "{what}: {error}");
                    continue;
                }
            };
            match life.opened_on(&disk) {
                Ok(broker) => {
                    assert!(!refuses(&report), "{what}: it starts: {:?}", report.damage);
                    let found = had(&broker);
                    assert_eq!(said(&report), found, "{what}: {:?}", report.damage);
                    let mut partitions = found.topics.values().flatten();
                    lost += u32::from(partitions.any(|partition| !partition.lost.is_empty()));
                }
                Err(error) => {
                    assert!(refuses(&report), "{what}: {error}: {:?}", report.damage);
                    refused += 1;
                }
            }
        }
    }
    assert!(lost > 5, "{lost} lose records, {refused} are refused");
}
