//! A broker's life at random: topics are created and deleted, records are appended and trimmed,
//! segments roll, checkpoints happen.

use std::collections::BTreeMap;

use super::{
    ledger::{Known, Ledger},
    world::{append_of, below, encode_keyed, env, now, options},
};
use crate::{
    broker::{Appended, Broker, Options, Pending, TopicDescription},
    env::sim::{SimClock, SimDisk, SimRandom},
    types::{Offset, PartitionId},
};

/// A broker with its disk, clock and random numbers, and a ledger of what was done with it.
pub(super) struct Life {
    pub(super) disk: SimDisk,
    clock: SimClock,
    chance: SimRandom,
    pub(super) broker: Broker,
    /// Whether topics have retention limits.
    limits: bool,
    pub(super) ledger: Ledger,
    pub(super) did: Did,
}

/// How often each thing happened.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Did {
    pub(super) created: u64,
    pub(super) deleted: u64,
    pub(super) trimmed: u64,
    pub(super) appended: u64,
    pub(super) checkpoints: u64,
    pub(super) most_segments: u64,
    /// How often the start of a log had moved without a trim.
    pub(super) retained: u64,
}

/// Requests that are not answered yet.
#[derive(Default)]
struct Waiting {
    creates: Vec<(u64, Pending<TopicDescription>)>,
    deletes: Vec<(u64, Pending<()>)>,
    trims: Vec<(u64, u32, Pending<Offset>)>,
    appends: Vec<(usize, Pending<Appended>)>,
}

impl Life {
    /// Begins a life on an empty disk, whose power may fail. `None` if it fails before the broker
    /// is open.
    pub(super) fn begin(disk: &SimDisk, seed: u64) -> Option<Self> {
        Self::begin_with(disk, seed, options())
    }

    /// As [`begin`](Self::begin), with these options.
    pub(super) fn begin_with(disk: &SimDisk, seed: u64, options: Options) -> Option<Self> {
        let (clock, chance) = (SimClock::new(1_700_000_000_000), SimRandom::new(seed));
        let env = env(disk, &clock, &SimRandom::new(seed + 1));
        let broker = Broker::open_stepped(env, options).ok()?;
        Some(Self {
            disk: disk.clone(),
            clock,
            chance,
            broker,
            limits: false,
            ledger: Ledger::default(),
            did: Did::default(),
        })
    }

    /// From now on topics are created with retention limits, which are altered at times.
    pub(super) fn with_limits(self) -> Self {
        Self {
            limits: true,
            ..self
        }
    }

    /// Takes this many steps, or fewer if the power fails.
    pub(super) fn live(&mut self, steps: u32) {
        for _ in 0..steps {
            let mut waiting = Waiting::default();
            for _ in 0..=below(&self.chance, 3) {
                self.ask(&mut waiting);
            }
            self.broker.commit_all();
            self.hear(waiting);
            self.note_starts();
            self.keep_house();
            if self.broker.shared.health.has_failed() {
                assert!(
                    !self.disk.is_on(),
                    "storage has failed with the power on: {:?}",
                    self.broker.shared.health.failure()
                );
                return;
            }
        }
    }

    /// Ends the life. The outcome of unanswered requests stays unknown.
    pub(super) fn end(self) -> (Ledger, Did) {
        (self.ledger, self.did)
    }

    fn ask(&mut self, waiting: &mut Waiting) {
        let living: Vec<u64> = self.living();
        match below(&self.chance, 24) {
            0 | 1 => self.ask_create(waiting),
            2 if living.len() > 1 => {
                let key = self.pick(&living);
                let name = self.ledger.topic(key).name.clone();
                if let Ok(pending) = self.broker.delete_topic(&name) {
                    self.ledger.topic(key).deleted = Some(Known::Maybe);
                    waiting.deletes.push((key, pending));
                }
            }
            5 if self.limits && !living.is_empty() => {
                let key = self.pick(&living);
                self.ask_alter(key);
            }
            3 | 4 if !living.is_empty() => {
                let key = self.pick(&living);
                self.ask_trim(key, waiting);
            }
            _ if !living.is_empty() => {
                let key = self.pick(&living);
                self.ask_append(key, waiting);
            }
            _ => self.ask_create(waiting),
        }
    }

    /// The topics that were created and not deleted.
    fn living(&self) -> Vec<u64> {
        let living = self
            .ledger
            .topics
            .iter()
            .filter(|(_, topic)| topic.created == Known::Yes && topic.deleted.is_none());
        living.map(|(key, _)| *key).collect()
    }

    fn pick(&self, keys: &[u64]) -> u64 {
        keys[usize::try_from(below(&self.chance, keys.len() as u64)).expect("small")]
    }

    fn ask_create(&mut self, waiting: &mut Waiting) {
        let name = format!("topic-{}", below(&self.chance, 3));
        let taken = self
            .ledger
            .topics
            .values()
            .any(|topic| topic.name == name && topic.deleted != Some(Known::Yes));
        if taken {
            return;
        }
        let partitions = 1 + below(&self.chance, 3) as u32;
        let mut settings = BTreeMap::from([("segment.bytes".to_owned(), "64KiB".to_owned())]);
        if self.limits {
            settings.insert("retention.ms".to_owned(), "3s".to_owned());
        }
        if let Ok(pending) = self.broker.create_topic(&name, partitions, &settings) {
            let key = self.ledger.create_asked(&name, partitions);
            self.ledger.topic(key).limited = self.limits;
            waiting.creates.push((key, pending));
        }
    }

    /// Records the starts of all logs: records that a reader could see to be gone stay gone.
    fn note_starts(&mut self) {
        if !self.limits {
            return;
        }
        for key in self.living() {
            let name = self.ledger.topic(key).name.clone();
            let Ok((_, partitions)) = self.broker.describe_topic(&name) else {
                continue;
            };
            for described in partitions {
                let (partition, start) = (described.partition.0, described.earliest);
                self.did.retained += u64::from(self.ledger.start_of(key, partition) < start.0);
                self.ledger.trim_answered(key, partition, start);
            }
        }
    }

    fn ask_alter(&self, key: u64) {
        let name = &self.ledger.topics[&key].name;
        let value = ["-1", "1s", "5s"][below(&self.chance, 3) as usize];
        let settings = [("retention.ms".to_owned(), value.to_owned())].into();
        // The answer is not needed: the altered limits show in which records are removed.
        drop(self.broker.alter_topic(name, &settings, &[]));
    }

    fn ask_trim(&mut self, key: u64, waiting: &mut Waiting) {
        let topic = self.ledger.topic(key).clone();
        let partition = below(&self.chance, u64::from(topic.partitions)) as u32;
        let Ok((_, partitions)) = self.broker.describe_topic(&topic.name) else {
            return;
        };
        let described = &partitions[partition as usize];
        let (start, end) = (described.earliest.0, described.high_watermark.0);
        let before = start + below(&self.chance, end - start + 1);
        if let Ok(pending) = self
            .broker
            .trim(&*topic.name, PartitionId(partition), Offset(before))
        {
            self.ledger.trim_asked(key, partition, before);
            waiting.trims.push((key, partition, pending));
        }
    }

    fn ask_append(&mut self, key: u64, waiting: &mut Waiting) {
        let topic = self.ledger.topic(key).clone();
        let partition = below(&self.chance, u64::from(topic.partitions)) as u32;
        let count = 1 + below(&self.chance, 4);
        let largest = [40, 700, 9_000][below(&self.chance, 3) as usize];
        let ids: Vec<u64> = (0..count).map(|_| self.ledger.fresh_id()).collect();
        let records: Vec<Vec<u8>> = ids
            .iter()
            .map(|id| {
                encode_keyed(
                    *id,
                    below(&self.chance, largest) as usize,
                    partition,
                    topic.partitions,
                )
            })
            .collect();
        let append = append_of(&topic.name, Some(partition), &records);
        let admission = now(self.broker.admit_alone(records.iter().map(Vec::len).sum()))
            .expect("there is memory");
        let asked = self.ledger.append_asked(key, ids);
        match admission.and_then(|admission| self.broker.append(append, admission)) {
            Ok(pending) => waiting.appends.push((asked, pending)),
            Err(_) => self.ledger.append_refused(asked),
        }
    }

    /// Records the answers that have come.
    fn hear(&mut self, waiting: Waiting) {
        for (key, pending) in waiting.creates {
            if let Some(Ok(topic)) = now(pending) {
                self.ledger.create_answered(key, topic.id);
                self.did.created += 1;
            }
        }
        for (asked, pending) in waiting.appends {
            match now(pending) {
                Some(Ok(appended)) => {
                    self.ledger.append_answered(asked, &appended);
                    self.did.appended += 1;
                }
                Some(Err(crate::broker::Error::UnknownTopic { .. })) => {
                    self.ledger.append_refused(asked);
                }
                _ => {}
            }
        }
        for (key, partition, pending) in waiting.trims {
            if let Some(Ok(start)) = now(pending) {
                self.ledger.trim_answered(key, partition, start);
                self.did.trimmed += 1;
            }
        }
        for (key, pending) in waiting.deletes {
            if let Some(Ok(())) = now(pending) {
                self.ledger.topic(key).deleted = Some(Known::Yes);
                self.did.deleted += 1;
            }
        }
    }

    fn keep_house(&mut self) {
        self.clock.advance(std::time::Duration::from_millis(
            100 + below(&self.chance, 900),
        ));
        match below(&self.chance, 16) {
            0 => {
                self.broker.keep_house(true);
                self.did.checkpoints += 1;
            }
            1..=4 => self.broker.keep_house(false),
            _ => {}
        }
        for (_, partitions) in self
            .ledger
            .topics
            .values()
            .filter_map(|topic| self.broker.describe_topic(&topic.name).ok())
        {
            let segments = partitions
                .iter()
                .map(|partition| u64::from(partition.segments))
                .max()
                .unwrap_or(0);
            self.did.most_segments = self.did.most_segments.max(segments);
        }
    }
}
