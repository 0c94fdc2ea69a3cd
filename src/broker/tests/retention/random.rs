//! Whatever happens, the records that can be read obey the limits. A model has each record with its
//! append time, and knows which may be gone and which must be.

use std::{collections::BTreeMap, time::Duration};

use super::world::{Kept, PARTITION, TOPIC};
use crate::{
    broker::tests::world::{below, now, read_whole},
    env::{Clock, sim::SimRandom},
    types::{Offset, TopicSettings},
};

const SEEDS: u64 = 40;
const STEPS: u32 = 150;

/// What is known of a record.
struct Known {
    id: Option<u64>,
    append_ms: i64,
    /// The sum of the records' bytes before it.
    bytes_before: u64,
}

struct Model {
    kept: Kept,
    chance: SimRandom,
    records: BTreeMap<u64, Known>,
    bytes: u64,
    settings: TopicSettings,
    /// A request has trimmed the log up to this offset.
    trimmed: u64,
    /// The furthest start of the log that was seen.
    start: u64,
    /// The furthest start that the limits have allowed at any moment so far.
    may_go: u64,
    did: Did,
}

#[derive(Debug, Default)]
struct Did {
    by_limits: u64,
    trims: u64,
    restarts: u64,
    operations: u64,
}

#[test]
fn what_is_there_is_what_the_limits_say_whatever_happens() {
    let mut all = Did::default();
    for seed in 0..SEEDS {
        let did = std::panic::catch_unwind(|| Model::run(seed));
        let did = did.unwrap_or_else(|panic| {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(panic)
        });
        all.by_limits += did.by_limits;
        all.trims += did.trims;
        all.restarts += did.restarts;
        all.operations += did.operations;
    }
    println!("seeds 0..{SEEDS}: {all:?}");
    assert!(
        all.by_limits > 200 && all.trims > 50 && all.restarts > 50,
        "{all:?}"
    );
}

impl Model {
    fn run(seed: u64) -> Did {
        let mut model = Self {
            kept: Kept::with(&[]),
            chance: SimRandom::new(seed),
            records: BTreeMap::new(),
            bytes: 0,
            settings: TopicSettings::default(),
            trimmed: 0,
            start: 0,
            may_go: 0,
            did: Did::default(),
        };
        for _ in 0..STEPS {
            model.step();
            model.check();
        }
        model.did
    }

    fn step(&mut self) {
        self.did.operations += 1;
        match below(&self.chance, 20) {
            0 => self.alter("retention.ms", &["-1", "2s", "10s", "60s"]),
            1 => self.alter("retention.bytes", &["-1", "256KiB", "512KiB", "1MiB"]),
            2 => self.alter("segment.bytes", &["64KiB", "256KiB"]),
            3 => self.trim(),
            4 => self.restart(),
            5..=8 => self.pass(),
            9 => self.kept.settle_on_disk(),
            _ => self.append(),
        }
        self.note_what_may_go();
        // The broker acts at once on altered settings, restarts and the passing of time; on appends
        // in its next round.
        self.kept.settle();
        self.note_what_may_go();
    }

    fn append(&mut self) {
        for _ in 0..=below(&self.chance, 3) {
            let size = [50, 5_000, 40_000][below(&self.chance, 3) as usize];
            let offset = self.kept.append(size);
            let known = Known {
                id: None,
                append_ms: self.now_ms(),
                bytes_before: self.bytes,
            };
            self.records.insert(offset.0, known);
            self.bytes += size as u64;
        }
    }

    fn alter(&mut self, name: &str, values: &[&str]) {
        let value = values[below(&self.chance, values.len() as u64) as usize];
        self.kept.alter(&[(name, value)]);
        self.settings.set(name, value).expect("a good value");
    }

    fn trim(&mut self) {
        let there = self.kept.there();
        let before = there.start + below(&self.chance, there.end - there.start + 1);
        let trimmed = self.kept.broker.trim(TOPIC, PARTITION, Offset(before));
        self.kept.broker.commit_all();
        let start = now(trimmed.expect("it is in range")).expect("an answer");
        assert!(start.expect("nothing fails").0 >= before);
        self.trimmed = self.trimmed.max(before);
        self.did.trims += 1;
    }

    fn restart(&mut self) {
        let cleanly = below(&self.chance, 2) == 0;
        self.kept.restart(cleanly);
        self.did.restarts += 1;
    }

    fn pass(&mut self) {
        let time = Duration::from_millis(1 + below(&self.chance, 5_000));
        self.kept.clock.advance(time);
    }

    fn now_ms(&self) -> i64 {
        self.kept.clock.now_ms()
    }

    /// Records which offsets are old enough, or beyond the limit, by now.
    fn note_what_may_go(&mut self) {
        let now_ms = self.now_ms();
        for (offset, known) in &self.records {
            let is_old = |ms: u64| known.append_ms + ms as i64 <= now_ms;
            let is_too_old = self.settings.retention_ms.is_some_and(is_old);
            // A segment is removed as a whole, may have been sealed under the largest limit, and
            // has more bytes than its records' values.
            let behind = self.bytes - known.bytes_before;
            let is_too_much = |most: u64| behind + (300 << 10) > most;
            let is_too_much = self.settings.retention_bytes.is_some_and(is_too_much);
            if is_too_old || is_too_much {
                self.may_go = self.may_go.max(offset + 1);
            }
        }
    }

    fn check(&mut self) {
        let there = self.kept.there();
        let end = self
            .records
            .last_key_value()
            .map_or(0, |(last, _)| last + 1);
        assert_eq!(there.end, end, "offsets are never used twice, nor lost");
        assert!(there.start >= self.start, "the start went back");
        assert!(there.start >= self.trimmed, "a trim was undone");
        let most = self.trimmed.max(self.may_go);
        assert!(there.start <= most, "{there:?} was removed, {most} may be");
        self.did.by_limits += u64::from(there.start > self.start.max(self.trimmed));
        self.start = there.start;
        let now_ms = self.now_ms();
        if let (Some(life), Some(oldest)) = (
            self.settings.longest_life_ms(),
            self.records.get(&there.start),
        ) {
            // Records from before the setting was altered may be in a longer segment.
            let age = now_ms - oldest.append_ms;
            let is_newest = there.start + 1 == end;
            let newest = self.records[&(end - 1)].append_ms;
            let all_expired = newest + life as i64 <= now_ms;
            assert!(
                !all_expired,
                "{there:?} is {age} ms old, newest {is_newest}"
            );
        }
        let found = read_whole(&self.kept.broker, TOPIC, PARTITION);
        let offsets: Vec<u64> = found.iter().map(|found| found.offset.0).collect();
        assert_eq!(offsets, there.collect::<Vec<_>>());
        for found in found {
            let known = self.records.get_mut(&found.offset.0).expect("appended");
            let id = *known.id.get_or_insert(found.id);
            assert_eq!(id, found.id, "another record is at {}", found.offset);
        }
    }
}
