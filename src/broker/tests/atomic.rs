//! Appends to several partitions and topics are whole or absent, for a reader after a crash and for
//! a reader that follows.
//!
//! The power is cut at every operation of a run, in every crash mode. Whatever a following reader
//! saw before must still be there, and whenever the reader had caught up with all partitions, it
//! must have seen all or nothing of each append.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::world::{
    Found, below, create, encode_keyed, env, id_of, now, open, options, read_whole,
};
use crate::{
    broker::{Append, AppendBatch, Appended, Broker, Pending, Read, ReadBatch, Reader, Step},
    env::sim::{CrashMode, SimClock, SimDisk, SimRandom},
    types::{PartitionId, RecordView, Records},
};

/// The topics with their numbers of partitions. The reader follows the first topic.
const TOPICS: [(&str, u32); 2] = [("followed", 3), ("other", 2)];

/// The steps of a run: some appends and a commit each.
const STEPS: u64 = 24;

/// A batch of an append: its topic, by its place in [`TOPICS`], its partition, and its records.
type Part = (usize, u32, Vec<u64>);

/// An append that was asked for.
#[derive(Clone, Debug)]
struct Asked {
    parts: Vec<Part>,
    answer: Option<Appended>,
}

/// What is known about a run.
#[derive(Clone, Debug, Default)]
struct Known {
    asked: Vec<Asked>,
    seen: Seen,
    last_id: u64,
}

/// What the following reader has seen, and how often it had caught up with all partitions.
#[derive(Clone, Debug, Default)]
struct Seen {
    records: BTreeMap<(u32, u64), u64>,
    ids: BTreeSet<u64>,
    caught_up: BTreeMap<u32, bool>,
    whole: u64,
}

/// What all runs came across.
#[derive(Debug, Default)]
struct Coverage {
    states: u64,
    answered: u64,
    unknown_whole: u64,
    unknown_absent: u64,
    seen_unanswered: u64,
    caught_up: u64,
}

struct Life {
    disk: SimDisk,
    chance: SimRandom,
    clock: SimClock,
    broker: Broker,
    reader: Reader,
    known: Known,
}

#[test]
fn an_append_to_several_topics_is_whole_or_absent_after_every_crash() {
    let mut coverage = Coverage::default();
    for seed in [1, 2] {
        campaign(seed, &mut coverage);
    }
    println!("{coverage:?}");
    assert!(
        coverage.states > 1_500 && coverage.answered > 1_000,
        "{coverage:?}"
    );
    assert!(
        coverage.unknown_whole > 50 && coverage.unknown_absent > 50,
        "{coverage:?}"
    );
    assert!(coverage.caught_up > 20, "{coverage:?}");
}

fn campaign(seed: u64, coverage: &mut Coverage) {
    let disk = SimDisk::new(seed);
    let mut whole = Life::begin(&disk, seed).expect("nothing fails");
    let from = disk.operations();
    whole.live();
    assert!(
        whole.known.asked.iter().all(|asked| asked.answer.is_some()),
        "nothing fails"
    );
    let followed: BTreeSet<u64> = whole
        .known
        .asked
        .iter()
        .flat_map(Asked::followed_ids)
        .collect();
    assert_eq!(
        whole.known.seen.ids, followed,
        "who follows has seen everything"
    );
    let last = disk.operations();
    coverage.caught_up += whole.known.seen.whole;
    for operation in from + 1..=last {
        let disk = SimDisk::new(seed);
        if operation.is_multiple_of(2) {
            disk.crash_within(operation);
        } else {
            disk.crash_at(operation);
        }
        let mut life = Life::begin(&disk, seed).expect("the power fails later");
        life.live();
        assert!(
            !disk.is_on(),
            "operation {operation} of seed {seed} was not reached the second time"
        );
        for mode in CrashMode::ALL {
            let survived = disk.power_cut(seed ^ operation, mode);
            let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                check_state(seed, survived, &life.known, coverage);
            }));
            if let Err(panic) = checked {
                eprintln!("failed at operation {operation} of seed {seed}, {mode:?}");
                std::panic::resume_unwind(panic);
            }
        }
    }
}

fn check_state(seed: u64, disk: SimDisk, known: &Known, coverage: &mut Coverage) {
    coverage.states += 1;
    let broker =
        open(&disk, seed + 200).unwrap_or_else(|error| panic!("cannot be opened: {error}"));
    let found = read_everything(&broker);
    let there: BTreeMap<u64, (usize, u32, u64)> = found
        .iter()
        .flat_map(|((topic, partition), records)| {
            records
                .iter()
                .map(move |found| (found.id, (*topic, *partition, found.offset.0)))
        })
        .collect();
    for asked in &known.asked {
        check_append(asked, &there, coverage);
    }
    let all: BTreeSet<u64> = known.asked.iter().flat_map(Asked::ids).collect();
    assert!(
        there.keys().all(|id| all.contains(id)),
        "there is a record that nobody appended"
    );
    for ((partition, offset), id) in &known.seen.records {
        assert_eq!(
            there.get(id),
            Some(&(0, *partition, *offset)),
            "a reader saw record {id}, and it is gone or moved"
        );
        coverage.seen_unanswered += u64::from(
            known
                .asked
                .iter()
                .any(|asked| asked.answer.is_none() && asked.ids().any(|other| other == *id)),
        );
    }
    for records in found.values() {
        check_versions(records);
    }
    let mut seen = Seen::default();
    let mut reader = follow(&broker);
    seen.drive(&mut reader, &known.asked, u64::MAX);
    let followed = there.values().filter(|(topic, ..)| *topic == 0).count();
    assert_eq!(
        seen.records.len(),
        followed,
        "who follows from the beginning sees everything"
    );
}

fn check_append(asked: &Asked, there: &BTreeMap<u64, (usize, u32, u64)>, coverage: &mut Coverage) {
    let present = asked.ids().filter(|id| there.contains_key(id)).count();
    assert!(
        present == 0 || present == asked.ids().count(),
        "a part of an append is there: {asked:?}"
    );
    match &asked.answer {
        Some(answer) => {
            coverage.answered += 1;
            for ((topic, partition, ids), ranges) in asked.parts.iter().zip(&answer.batches) {
                for (id, offset) in ids.iter().zip(ranges[0].first_offset.0..) {
                    assert_eq!(
                        there.get(id),
                        Some(&(*topic, *partition, offset)),
                        "an answered append is not there"
                    );
                }
            }
        }
        None if present > 0 => coverage.unknown_whole += 1,
        None => coverage.unknown_absent += 1,
    }
}

fn check_versions(records: &[Found]) {
    let mut versions: BTreeMap<&[u8], u64> = BTreeMap::new();
    for found in records {
        let version = found.version.map_or(0, |version| version.0);
        match &found.key {
            Some(key) => {
                let expected = versions.entry(key).or_default();
                *expected += 1;
                assert_eq!(version, *expected, "{found:?}");
            }
            None => assert_eq!(version, 0, "{found:?}"),
        }
    }
}

fn read_everything(broker: &Broker) -> BTreeMap<(usize, u32), Vec<Found>> {
    let mut found = BTreeMap::new();
    for (topic, (name, partitions)) in TOPICS.iter().enumerate() {
        for partition in 0..*partitions {
            found.insert(
                (topic, partition),
                read_whole(broker, name, PartitionId(partition)),
            );
        }
    }
    found
}

fn follow(broker: &Broker) -> Reader {
    let read = Read {
        topic: TOPICS[0].0.into(),
        follow: true,
        ..Read::default()
    };
    broker.read(read).expect("it is there")
}

impl Asked {
    fn ids(&self) -> impl Iterator<Item = u64> {
        self.parts
            .iter()
            .flat_map(|(_, _, ids)| ids.iter().copied())
    }

    fn followed_ids(&self) -> impl Iterator<Item = u64> {
        self.parts
            .iter()
            .filter(|(topic, ..)| *topic == 0)
            .flat_map(|(_, _, ids)| ids.iter().copied())
    }
}

impl Seen {
    /// Lets the reader take this many steps, or fewer if there is nothing more to read. Returns
    /// false if a read has failed.
    fn drive(&mut self, reader: &mut Reader, asked: &[Asked], steps: u64) -> bool {
        for _ in 0..steps {
            match reader.step() {
                Ok(Step::Batch(batch)) => self.take(&batch, asked),
                Ok(Step::Wait(_)) => return true,
                Ok(Step::End) => panic!("a read that follows does not end"),
                Err(_) => return false,
            }
        }
        true
    }

    fn take(&mut self, batch: &ReadBatch, asked: &[Asked]) {
        for slice in &batch.records {
            for element in Records::new(slice) {
                let record = RecordView::parse(element.expect("a record").1).expect("a record");
                let id = id_of(record.value.expect("a value"));
                let offset = record.offset.expect("the broker's field");
                let before = self.records.insert((batch.partition.0, offset), id);
                assert_eq!(
                    before, None,
                    "offset {offset} of partition {} comes twice",
                    batch.partition
                );
                self.ids.insert(id);
            }
        }
        self.caught_up.insert(batch.partition.0, batch.caught_up);
        let everywhere =
            self.caught_up.len() == TOPICS[0].1 as usize && self.caught_up.values().all(|is| *is);
        if everywhere {
            self.whole += 1;
            for asked in asked {
                let seen = asked
                    .followed_ids()
                    .filter(|id| self.ids.contains(id))
                    .count();
                let all = asked.followed_ids().count();
                assert!(
                    seen == 0 || seen == all,
                    "who has caught up everywhere sees {seen} of {all} of {asked:?}"
                );
            }
        }
    }
}

impl Life {
    /// A broker with its topics; `None` if the power fails before they exist.
    fn begin(disk: &SimDisk, seed: u64) -> Option<Self> {
        let clock = SimClock::new(1_700_000_000_000);
        let broker =
            Broker::open_stepped(env(disk, &clock, &SimRandom::new(seed + 1)), options()).ok()?;
        for (topic, partitions) in TOPICS {
            create(&broker, topic, partitions);
        }
        let reader = follow(&broker);
        let (disk, chance) = (disk.clone(), SimRandom::new(seed));
        Some(Self {
            disk,
            chance,
            clock,
            broker,
            reader,
            known: Known::default(),
        })
    }

    fn live(&mut self) {
        for _ in 0..STEPS {
            let mut waiting = Vec::new();
            for _ in 0..=below(&self.chance, 3) {
                waiting.extend(self.ask());
                self.look(2);
            }
            self.look(3);
            self.broker.commit_all();
            self.look(below(&self.chance, 6));
            for (asked, pending) in waiting {
                self.known.asked[asked].answer = now(pending).and_then(Result::ok);
            }
            self.keep_house();
            self.look(below(&self.chance, 12));
            if self.broker.shared.health.has_failed() || !self.disk.is_on() {
                return;
            }
        }
        self.look(u64::MAX);
    }

    fn look(&mut self, steps: u64) {
        let reads = self
            .known
            .seen
            .drive(&mut self.reader, &self.known.asked, steps);
        assert!(
            reads || !self.disk.is_on(),
            "a reader fails with the power on"
        );
    }

    fn keep_house(&mut self) {
        self.clock.advance(std::time::Duration::from_millis(
            100 + below(&self.chance, 900),
        ));
        match below(&self.chance, 10) {
            0 => self.broker.keep_house(true),
            1..=4 => self.broker.keep_house(false),
            _ => {}
        }
    }

    /// Asks for an append to two or three partitions, or to more; now and then one that takes
    /// several blocks of the journal.
    fn ask(&mut self) -> Option<(usize, Pending<Appended>)> {
        let mut parts = Vec::new();
        let mut batches = Vec::new();
        for _ in 0..2 + below(&self.chance, 3) {
            let topic = below(&self.chance, 2) as usize;
            let (name, partitions) = TOPICS[topic];
            let partition = below(&self.chance, u64::from(partitions)) as u32;
            let (mut ids, mut records) = (Vec::new(), Vec::new());
            for _ in 0..=below(&self.chance, 2) {
                self.known.last_id += 1;
                let id = self.known.last_id;
                let most = [40, 700, 6_000, 12_000][below(&self.chance, 4) as usize];
                records.extend(encode_keyed(
                    id,
                    below(&self.chance, most) as usize,
                    partition,
                    partitions,
                ));
                ids.push(id);
            }
            let partition_named = Some(PartitionId(partition));
            let records = records.into();
            batches.push(AppendBatch {
                topic_id: None,
                topic: name.into(),
                partition: partition_named,
                sequence: None,
                records,
            });
            parts.push((topic, partition, ids));
        }
        let bytes = batches.iter().map(|batch| batch.records.len()).sum();
        self.known.asked.push(Asked {
            parts,
            answer: None,
        });
        let admitted = now(self.broker.admit_alone(bytes)).expect("there is memory");
        let append = Append {
            batches,
            ..Append::default()
        };
        let pending = admitted
            .and_then(|admission| self.broker.append(append, admission))
            .ok()?;
        Some((self.known.asked.len() - 1, pending))
    }
}

/// Appends and commits run on their own threads while the reader follows.
#[test]
fn who_follows_several_partitions_while_appends_are_applied_never_sees_part_of_one() {
    const APPENDS: u64 = 300;
    let clock = SimClock::new(1_700_000_000_000);
    let environment = env(&SimDisk::new(1), &clock, &SimRandom::new(1));
    let broker = Broker::open(environment, options()).expect("nothing fails");
    let wait = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let created = broker
        .create_topic(TOPICS[0].0, TOPICS[0].1, &BTreeMap::new())
        .expect("it is a good name");
    wait.block_on(created).expect("nothing fails");

    // Append number n has the records 3n, 3n + 1 and 3n + 2, one in each partition.
    let ids = |number: u64| [3 * number, 3 * number + 1, 3 * number + 2];
    let asked: Vec<Asked> = (0..2 * APPENDS)
        .map(|number| {
            let parts = (0..)
                .zip(ids(number))
                .map(|(partition, id)| (0, partition, vec![id]))
                .collect();
            Asked {
                parts,
                answer: None,
            }
        })
        .collect();
    let writers: Vec<_> = (0..2)
        .map(|writer| {
            let broker = Arc::clone(&broker);
            let work = move || {
                let wait = tokio::runtime::Builder::new_current_thread()
                    .build()
                    .expect("a runtime");
                for number in writer * APPENDS..(writer + 1) * APPENDS {
                    let batch = |(partition, id)| AppendBatch {
                        topic_id: None,
                        topic: TOPICS[0].0.into(),
                        partition: Some(PartitionId(partition)),
                        sequence: None,
                        records: encode_keyed(id, 200, partition, TOPICS[0].1).into(),
                    };
                    let batches = (0..).zip(ids(number)).map(batch).collect();
                    let append = Append {
                        batches,
                        ..Append::default()
                    };
                    let appended =
                        async { broker.append(append, broker.admit_alone(600).await?)?.await };
                    wait.block_on(appended).expect("nothing fails");
                }
            };
            std::thread::Builder::new()
                .name(format!("writer {writer}"))
                .spawn(work)
                .expect("a thread")
        })
        .collect();

    let mut reader = follow(&broker);
    let mut seen = Seen::default();
    while seen.ids.len() < asked.len() * 3 {
        match reader.step().expect("nothing fails") {
            Step::Batch(batch) => seen.take(&batch, &asked),
            Step::Wait(moved) => wait.block_on(moved),
            Step::End => panic!("a read that follows does not end"),
        }
    }
    seen.drive(&mut reader, &asked, u64::MAX);
    assert!(seen.whole > 0, "it has caught up everywhere");
    writers
        .into_iter()
        .for_each(|writer| writer.join().expect("nothing fails"));
    broker.close().expect("nothing fails");
}
