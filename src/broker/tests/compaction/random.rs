//! Whatever happens, the records that can be read obey the rules. A model has every record that was
//! ever appended, and knows which must be there, which may be gone, and which must be gone.
//!
//! What happens is drawn from a seed: appends, with conditions and by a numbered producer that
//! sends again; compaction with keep 1 to 3, retention, trims of the partition and of entities,
//! erasures, changes of compression, time that passes, restarts, and power cuts amid all of that.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    time::Duration,
};

use super::world::{Found, PARTITION, TOPIC, World};
use crate::{
    broker::{
        Append, Appended, Condition, Expected, Producer,
        tests::world::{append_of, below, encode_proto, now, send},
    },
    env::{
        Clock,
        sim::{CrashMode, SimRandom},
    },
    types::{Offset, Version, limits::REMEMBERED_BATCHES},
};

/// How many seeds each of the two tests tries; they run side by side.
const SEEDS: u64 = 125;
const STEPS: u32 = 120;
const KEYS: u64 = 12;
const TOMBSTONE_MS: i64 = 20_000;

#[derive(Clone, Debug)]
struct Known {
    key: String,
    version: u64,
    value: Option<Vec<u8>>,
    append_ms: i64,
    is_erased: bool,
    /// The rules allowed it at some moment so far.
    may_be_gone: bool,
}

struct Model {
    world: World,
    chance: SimRandom,
    seed: u64,
    records: BTreeMap<u64, Known>,
    versions: BTreeMap<String, u64>,
    /// The entities that were trimmed, with the version where each starts.
    starts: BTreeMap<String, u64>,
    /// Records that a reader did not find.
    gone: BTreeSet<u64>,
    keep: u64,
    /// For how long records stay, if retention removes any.
    retention_ms: Option<i64>,
    start: u64,
    end: u64,
    producer: Producer,
    /// What the producer has sent, by sequence, and how it was answered.
    sent: Vec<(Vec<Vec<u8>>, Appended)>,
    did: Did,
}

#[derive(Debug, Default)]
struct Did {
    operations: u64,
    gone: u64,
    compactions: u64,
    restarts: u64,
    cuts: u64,
    erasures: u64,
    key_trims: u64,
    tombstones_gone: u64,
    expired: u64,
    repeated: u64,
}

#[test]
fn what_is_there_is_what_the_rules_say_whatever_happens() {
    run_all(0..SEEDS);
}

#[test]
fn what_is_there_is_what_the_rules_say_whatever_else_happens() {
    run_all(SEEDS..2 * SEEDS);
}

fn run_all(seeds: Range<u64>) {
    let mut all = Did::default();
    for seed in seeds.clone() {
        let did = std::panic::catch_unwind(|| Model::run(seed));
        let did = did.unwrap_or_else(|panic| {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(panic)
        });
        all.operations += did.operations;
        all.gone += did.gone;
        all.compactions += did.compactions;
        all.restarts += did.restarts;
        all.cuts += did.cuts;
        all.erasures += did.erasures;
        all.key_trims += did.key_trims;
        all.tombstones_gone += did.tombstones_gone;
        all.expired += did.expired;
        all.repeated += did.repeated;
    }
    println!("seeds {seeds:?}: {all:?}");
    assert!(all.operations >= 50_000, "{all:?}");
    assert!(
        all.gone > 2_000 && all.compactions > 100 && all.restarts > 50 && all.cuts > 30,
        "{all:?}"
    );
    assert!(
        all.erasures > 50 && all.key_trims > 100 && all.tombstones_gone > 40,
        "{all:?}"
    );
    assert!(all.expired > 100 && all.repeated > 100, "{all:?}");
}

impl Model {
    fn run(seed: u64) -> Did {
        let settings = [
            ("delete.retention.ms", "20s"),
            ("max.compaction.lag.ms", "30s"),
        ];
        let world = World::with(&settings);
        let opened = world.broker.open_producer("model", None);
        world.broker.commit_all();
        let producer = now(opened.expect("a good name")).expect("an answer");
        let mut model = Self {
            producer: producer.expect("nothing fails"),
            sent: Vec::new(),
            retention_ms: None,
            world,
            chance: SimRandom::new(seed),
            seed,
            records: BTreeMap::new(),
            versions: BTreeMap::new(),
            starts: BTreeMap::new(),
            gone: BTreeSet::new(),
            keep: 1,
            start: 0,
            end: 0,
            did: Did::default(),
        };
        for step in 0..STEPS {
            model.step(step);
            model.check();
        }
        model.did
    }

    fn step(&mut self, step: u32) {
        match below(&self.chance, 28) {
            0 | 1 => self.compact(),
            2 => self.set_keep(),
            3 => self.trim(),
            4 => self.erase(),
            5 => self.restart(),
            6 => self.cut_power(step),
            7..=10 => self.pass(),
            11 => self.append_if(),
            12 => self.world.broker.keep_house(true),
            13 => self.trim_key(),
            14 => self.set_retention(),
            15 | 16 => self.append_numbered(),
            17 => self.repeat(),
            _ => self.append(),
        }
        self.did.operations += 1;
        self.note_what_may_go();
        self.world.settle();
        self.note_what_may_go();
    }

    fn key(&self) -> String {
        format!("key {}", below(&self.chance, KEYS))
    }

    fn append(&mut self) {
        for _ in 0..=below(&self.chance, 12) {
            let key = self.key();
            let size = [20, 500, 9_000][below(&self.chance, 3) as usize];
            let is_tombstone = below(&self.chance, 6) == 0;
            let value = (!is_tombstone).then(|| vec![(self.end % 251) as u8; size]);
            let appended = self.world.append(Some(&key), value.as_deref());
            let appended = appended.expect("it is taken");
            assert_eq!(appended.first_offset.0, self.end, "offsets go on");
            self.note(key, value, appended.versions[0].0);
            self.did.operations += 1;
        }
    }

    fn note(&mut self, key: String, value: Option<Vec<u8>>, version: u64) {
        let last = self.versions.entry(key.clone()).or_default();
        *last += 1;
        assert_eq!(version, *last, "versions go on");
        let known = Known {
            key,
            version,
            value,
            append_ms: self.world.clock.now_ms(),
            is_erased: false,
            may_be_gone: false,
        };
        self.records.insert(self.end, known);
        self.end += 1;
    }

    /// Appends with a condition that may or may not hold.
    fn append_if(&mut self) {
        let key = self.key();
        let version = self.versions.get(&key).copied().unwrap_or_default();
        let holds = below(&self.chance, 2) == 0;
        let expected = if holds { version } else { version + 1 };
        let record = encode_proto(&crate::proto::Record {
            key: Some(key.clone().into_bytes().into()),
            value: Some(b"conditional".as_slice().into()),
            ..Default::default()
        });
        let mut append = append_of(TOPIC, Some(0), &[record]);
        append.return_versions = true;
        append.conditions.push(Condition {
            topic: TOPIC.to_owned(),
            topic_id: None,
            expected: match expected {
                0 => Expected::KeyAbsent {
                    key: key.clone().into_bytes().into(),
                },
                version => Expected::KeyAt {
                    key: key.clone().into_bytes().into(),
                    version: Version(version),
                },
            },
        });
        match send(&self.world.broker, append) {
            Ok(appended) => {
                assert!(holds, "{key} is at {version}, not at {expected}");
                let version = appended.batches[0][0].versions[0].0;
                self.note(key, Some(b"conditional".to_vec()), version);
            }
            Err(error) => assert!(!holds, "{key} is at {version}: {error}"),
        }
    }

    /// The producer's next batch, of a few records.
    fn append_numbered(&mut self) {
        let keys: Vec<String> = (0..=below(&self.chance, 3)).map(|_| self.key()).collect();
        let records: Vec<Vec<u8>> = keys
            .iter()
            .map(|key| {
                encode_proto(&crate::proto::Record {
                    key: Some(key.clone().into_bytes().into()),
                    value: Some(b"numbered".as_slice().into()),
                    ..Default::default()
                })
            })
            .collect();
        let append = self.numbered(self.sent.len(), &records);
        let appended = send(&self.world.broker, append).expect("it is taken");
        let range = &appended.batches[0][0];
        assert_eq!(range.first_offset.0, self.end, "offsets go on");
        for (key, version) in keys.into_iter().zip(range.versions.clone()) {
            self.note(key, Some(b"numbered".to_vec()), version.0);
            self.did.operations += 1;
        }
        self.sent.push((records, appended));
    }

    fn numbered(&self, sequence: usize, records: &[Vec<u8>]) -> Append {
        let mut append = append_of(TOPIC, Some(0), records);
        append.return_versions = true;
        append.producer = Some(self.producer);
        append.batches[0].sequence = Some(sequence as u64);
        append
    }

    /// A batch that is stored comes again, whatever has become of its records: it is answered as it
    /// was, and nothing is stored.
    fn repeat(&mut self) {
        if self.sent.is_empty() {
            return;
        }
        let newest = self.sent.len().min(REMEMBERED_BATCHES) as u64;
        let sequence = self.sent.len() - 1 - below(&self.chance, newest) as usize;
        let (records, answer) = &self.sent[sequence];
        let mut answer = answer.clone();
        let again = send(&self.world.broker, self.numbered(sequence, records));
        let again = again.expect("it is stored");
        if again.batches[0][0].versions.is_empty() {
            // Where a batch is, is remembered; the versions of its records are not, if one is gone.
            let first = answer.batches[0][0].first_offset.0;
            let mut these = first..first + records.len() as u64;
            assert!(these.any(|offset| self.records[&offset].may_be_gone));
            answer.batches[0][0].versions.clear();
        }
        assert_eq!(again, answer, "sequence {sequence}");
        let end = self.world.described().high_watermark.0;
        assert_eq!(end, self.end, "it was stored again");
        self.did.repeated += 1;
    }

    fn compact(&mut self) {
        self.world.compact();
        self.did.compactions += 1;
        self.note_what_may_go();
        let newest = self.newest();
        for found in self.world.read() {
            let known = &self.records[&found.offset];
            let newer = newest[&known.key] - known.version;
            assert!(
                known.is_erased || newer < self.keep,
                "{found:?} has {newer} newer ones"
            );
        }
    }

    fn newest(&self) -> BTreeMap<String, u64> {
        self.versions.clone()
    }

    fn set_keep(&mut self) {
        self.keep = 1 + below(&self.chance, 3);
        let keep = self.keep.to_string();
        let codecs = ["none", "lz4", "zstd"];
        let codec = codecs[usize::try_from(below(&self.chance, 3)).expect("small")];
        let settings = [("compaction.keep", &keep[..]), ("compression", codec)];
        self.world.alter(&settings);
    }

    fn set_retention(&mut self) {
        let lives = [None, None, Some(10_000), Some(40_000)];
        self.retention_ms = lives[below(&self.chance, 4) as usize];
        let (policy, life) = match self.retention_ms {
            None => ("compact", -1),
            Some(life) => ("compact,delete", life),
        };
        let life = life.to_string();
        self.world
            .alter(&[("cleanup.policy", policy), ("retention.ms", &life)]);
    }

    fn trim(&mut self) {
        let before = self.start + below(&self.chance, self.end - self.start + 1) / 4;
        let trimmed = self.world.broker.trim(TOPIC, PARTITION, Offset(before));
        self.world.broker.commit_all();
        now(trimmed.expect("it is in range"))
            .expect("an answer")
            .expect("nothing fails");
        self.start = self.start.max(before);
    }

    fn erase(&mut self) {
        let key = self.key();
        let erased = self.world.broker.erase_key(TOPIC, key.as_bytes());
        self.world.broker.commit_all();
        now(erased.expect("it is taken"))
            .expect("an answer")
            .expect("nothing fails");
        for known in self.records.values_mut().filter(|known| known.key == key) {
            (known.is_erased, known.value) = (true, None);
        }
        self.did.erasures += 1;
    }

    fn trim_key(&mut self) {
        let key = self.key();
        let version = self.versions.get(&key).copied().unwrap_or_default();
        let before = 1 + below(&self.chance, version + 1);
        self.world.trim_key(&key, before).expect("it is in range");
        for known in self.records.values_mut() {
            known.may_be_gone |= known.key == key && known.version < before;
        }
        let start = self.starts.entry(key).or_default();
        *start = before.max(*start);
        self.did.key_trims += 1;
    }

    fn restart(&mut self) {
        let cleanly = below(&self.chance, 2) == 0;
        self.world.restart(cleanly);
        self.did.restarts += 1;
    }

    fn cut_power(&mut self, step: u32) {
        // The broker takes a few steps after an append, or in the middle of a pass.
        drop(self.world.broker.compact_topic(TOPIC));
        for _ in 0..below(&self.chance, 6) {
            self.world.broker.step();
        }
        let modes = CrashMode::ALL;
        let mode = modes[below(&self.chance, modes.len() as u64) as usize];
        let disk = self.world.disk.clone();
        disk.power_off();
        let survived = disk.power_cut(self.seed ^ u64::from(step), mode);
        self.world.go_on_with(survived);
        self.did.cuts += 1;
    }

    fn pass(&mut self) {
        let time = Duration::from_millis(1 + below(&self.chance, 15_000));
        self.world.clock.advance(time);
    }

    fn note_what_may_go(&mut self) {
        let now_ms = self.world.clock.now_ms();
        let newest = self.newest();
        let mut gone_through: BTreeMap<String, u64> = BTreeMap::new();
        for known in self.records.values() {
            let is_over = known.append_ms + TOMBSTONE_MS <= now_ms;
            if known.value.is_none() && !known.is_erased && is_over {
                let through = gone_through.entry(known.key.clone()).or_default();
                *through = (*through).max(known.version);
            }
        }
        for (offset, known) in &mut self.records {
            let newer = newest[&known.key] - known.version;
            let is_before_tombstone = gone_through
                .get(&known.key)
                .is_some_and(|through| known.version <= *through);
            let is_expired = self
                .retention_ms
                .is_some_and(|life| known.append_ms + life <= now_ms);
            known.may_be_gone |= newer >= self.keep
                || is_before_tombstone
                || is_expired
                || known.is_erased
                || *offset < self.start;
        }
    }

    fn check(&mut self) {
        let found = self.world.read();
        let there: BTreeMap<u64, Found> = found
            .iter()
            .map(|found| (found.offset, found.clone()))
            .collect();
        assert_eq!(there.len(), found.len(), "each is there once");
        assert!(found.is_sorted_by_key(|found| found.offset), "in order");
        for found in &found {
            let known = &self.records[&found.offset];
            assert!(!self.gone.contains(&found.offset), "{found:?} came back");
            let start = self.start_of(&known.key);
            assert!(
                known.is_erased || known.version >= start,
                "{found:?} is trimmed"
            );
            assert_eq!(found.version, Some(known.version), "{found:?}");
            assert_eq!(found.value, known.value, "{found:?}");
            assert_eq!(found.is_erased, known.is_erased, "{found:?}");
            let key = (!known.is_erased).then_some(&known.key);
            assert_eq!(found.key.as_ref(), key, "{found:?}");
        }
        for (offset, known) in &self.records {
            if there.contains_key(offset) {
                continue;
            }
            assert!(known.may_be_gone, "{offset} is gone: {known:?}");
            if self.gone.insert(*offset) {
                self.did.gone += 1;
                let start = self.world.described().earliest.0;
                self.did.expired += u64::from(*offset >= self.start && *offset < start);
                let is_newest = self.versions[&known.key] == known.version;
                let is_tombstone = known.value.is_none() && !known.is_erased;
                self.did.tombstones_gone += u64::from(is_newest && is_tombstone);
            }
        }
        self.check_entities(&there);
    }

    fn start_of(&self, key: &str) -> u64 {
        self.starts.get(key).copied().unwrap_or_default()
    }

    fn check_entities(&self, there: &BTreeMap<u64, Found>) {
        for (key, version) in &self.versions {
            let mut versions = Vec::new();
            let mut newest = None;
            for (offset, known) in &self.records {
                if known.key == *key && there.contains_key(offset) {
                    // The remains of erased records stay in the partition.
                    if known.version >= self.start_of(key) {
                        versions.push(known.version);
                    }
                    newest = Some(known);
                }
            }
            let (found, latest) = self.world.versions(key);
            assert_eq!(latest, *version, "{key}");
            assert_eq!(found, versions, "{key}");
            let first = self.world.start_of(key);
            assert!(first >= self.start_of(key), "{key} starts at {first}");
            assert!(found.iter().all(|version| *version >= first), "{key}");
            let newest = newest.filter(|newest| newest.version == *version);
            let value = newest.and_then(|newest| newest.value.clone());
            assert_eq!(self.world.latest(key), (Version(*version), value), "{key}");
        }
    }
}
