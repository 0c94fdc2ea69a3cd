//! A checkpoint with its deltas has the same content as a checkpoint that is written whole.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use super::world::{append_of, below, create, encode_keyed, env, key_in, now, options, send};
use crate::{
    broker::{Append, Broker, OpenError, Options, Producer, WhichProducer, keys::Freeze, lock},
    catalog::{Change, KnownErasure, KnownKeyTrim, groups},
    env::{
        Random,
        sim::{CrashMode, SimClock, SimDisk, SimRandom},
    },
    storage::{
        checkpoint::{Found, copies, load},
        files::FileError,
        format::checkpoint::{Checkpoint, Producer as StoredProducer, Topic},
    },
    types::{GroupName, Offset, PartitionId, Version},
};

const PARTITIONS: u32 = 3;

/// A producer's next sequences, by topic and partition.
type Sequences = BTreeMap<(String, u32), u64>;

/// A broker to which everything happens at random.
pub(super) struct Life {
    pub(super) disk: SimDisk,
    clock: SimClock,
    chance: SimRandom,
    broker: Broker,
    producers: Vec<(Producer, Sequences)>,
    topics: Vec<String>,
    made: u64,
    compared: u64,
    followed: u64,
}

/// The content of a checkpoint, in a comparable order.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    topics: Vec<Topic>,
    producers: Vec<StoredProducer>,
    erasures: Vec<KnownErasure>,
    groups: groups::Snapshot,
    key_trims: Vec<KnownKeyTrim>,
}

fn options_of_life() -> Options {
    Options {
        delta_bytes: 4 << 10,
        producer_idle: Duration::from_secs(40),
        ..options()
    }
}

fn open(disk: &SimDisk, clock: &SimClock, seed: u64) -> Result<Broker, OpenError> {
    let random = SimRandom::new(seed);
    Broker::open_stepped(env(disk, clock, &random), options_of_life())
}

impl Life {
    pub(super) fn new(seed: u64) -> Self {
        let (disk, clock) = (SimDisk::new(seed), SimClock::new(1_700_000_000_000));
        let broker = open(&disk, &clock, seed).expect("nothing fails");
        Self {
            disk,
            clock,
            chance: SimRandom::new(seed),
            broker,
            producers: Vec::new(),
            topics: Vec::new(),
            made: 0,
            compared: 0,
            followed: 0,
        }
    }

    /// Opens another broker on another disk, at the time that it is here.
    pub(super) fn opened_on(&self, disk: &SimDisk) -> Result<Broker, OpenError> {
        open(disk, &self.clock, self.chance.next_u64())
    }

    pub(super) fn step(&mut self) {
        match below(&self.chance, 40) {
            0 => self.create(),
            1 => self.delete(),
            2 | 3 => self.open_producer(),
            4 => self.forget_producer(),
            5 => self.trim(),
            6 => self.erase(),
            15 => self.trim_key(),
            7..=9 => self.checkpoint(),
            10 => self.restart(),
            11..=14 => self.change_group(),
            _ => self.append(),
        }
    }

    fn create(&mut self) {
        if self.topics.len() >= 3 {
            return;
        }
        self.made += 1;
        let name = format!("topic-{}", self.made);
        create(&self.broker, &name, PARTITIONS);
        self.topics.push(name);
    }

    fn delete(&mut self) {
        if self.topics.len() < 2 {
            return;
        }
        let name = self.topics.remove(0);
        let deleted = self.broker.delete_topic(&name).expect("it is there");
        self.broker.commit_all();
        now(deleted).expect("an answer").expect("nothing fails");
    }

    fn open_producer(&mut self) {
        let name = ["", "one", "two"][below(&self.chance, 3) as usize];
        let opening = self.broker.open_producer(name, None).expect("a good name");
        self.broker.commit_all();
        let opened = now(opening).expect("an answer").expect("nothing fails");
        self.producers.retain(|(known, _)| known.id != opened.id);
        self.producers.push((opened, BTreeMap::new()));
    }

    fn forget_producer(&mut self) {
        if self.producers.is_empty() {
            return;
        }
        let (producer, _) = self.producers.remove(0);
        // The broker may have forgotten the producer already, after it was idle for too long.
        if let Ok(forgetting) = self.broker.forget_producer(&WhichProducer::Id(producer.id)) {
            self.broker.commit_all();
            drop(now(forgetting));
        }
    }

    fn trim(&mut self) {
        let Some(topic) = self.topics.first() else {
            return;
        };
        let (_, partitions) = self.broker.describe_topic(topic).expect("it is there");
        let end = partitions[0].high_watermark;
        let trimming = self.broker.trim(&**topic, PartitionId(0), end);
        self.broker.commit_all();
        drop(trimming.map(now));
    }

    fn erase(&mut self) {
        let Some(topic) = self.topics.first() else {
            return;
        };
        let key = key_in(below(&self.chance, 7), 0, PARTITIONS);
        let erasing = self.broker.erase_key(topic, &key);
        self.broker.commit_all();
        drop(erasing.map(now));
    }

    fn trim_key(&mut self) {
        let Some(topic) = self.topics.first() else {
            return;
        };
        let key = key_in(below(&self.chance, 7), 0, PARTITIONS);
        let before = Version(1 + below(&self.chance, 3));
        let trimming = self.broker.trim_key(topic, &key, before);
        self.broker.commit_all();
        drop(trimming.map(now));
    }

    fn append(&mut self) {
        let count = self.topics.len() as u64;
        if count == 0 {
            return self.create();
        }
        let topic = self.topics[below(&self.chance, count) as usize].clone();
        let partition = below(&self.chance, u64::from(PARTITIONS)) as u32;
        let id = self.chance.next_u64() % 1_000_000;
        let record = encode_keyed(id, 30, partition, PARTITIONS);
        let mut append = append_of(&topic, Some(partition), &[record]);
        let producers = self.producers.len() as u64;
        if producers > 0 {
            let at = below(&self.chance, producers) as usize;
            let (producer, next) = &mut self.producers[at];
            let sequence = next.entry((topic, partition)).or_default();
            append.batches[0].sequence = Some(*sequence);
            append.producer = Some(*producer);
            // Now and then a batch that is stored already is sent again.
            if below(&self.chance, 6) > 0 {
                *sequence += 1;
            }
        }
        self.sent(append);
    }

    /// Sets offsets, forks a group, or deletes one.
    fn change_group(&mut self) {
        let Some(topic) = self.topics.first() else {
            return;
        };
        let shared = &self.broker.shared;
        let topic = shared
            .partitions
            .topics()
            .find(topic)
            .expect("it is there")
            .id;
        let name = |which| GroupName::new(["g", "h"][which as usize]).expect("it may be");
        let group = name(below(&self.chance, 2));
        let place = (topic, PartitionId(below(&self.chance, 3) as u32));
        let next = Offset(below(&self.chance, 9));
        let mut planned = shared.sequencer.planned();
        let groups = planned.groups();
        let decided = match below(&self.chance, 8) {
            0 => groups.decide_delete(&group),
            1 => groups.decide_fork(&name(0), &group, next.0 > 4, planned.topics(), 7),
            _ => groups.decide_reset(&group, vec![(place, next)], 7),
        };
        let Ok(change) = decided else {
            return;
        };
        let change = Change::Group { group, change };
        drop(shared.sequencer.plan(&mut planned, change, || Ok(())));
        drop(planned);
        self.broker.commit_all();
    }

    /// Sends an append. A producer whose append is refused was forgotten, after it was idle for too
    /// long.
    fn sent(&mut self, append: Append) {
        let producer = append.producer;
        if send(&self.broker, append).is_err() {
            self.producers.retain(|(known, _)| Some(*known) != producer);
        }
    }

    fn checkpoint(&mut self) {
        self.clock.advance(Duration::from_millis(700));
        self.broker.keep_house(false);
        self.broker.commit_all();
        let before = self.disk.content("/data/checkpoint").ok();
        lock(&self.broker.shared.maintenance.housekeeper)
            .checkpoint(&self.broker.shared, Freeze::Due)
            .expect("nothing fails");
        assert_eq!(said(stored(&self.disk)), said(self.as_whole()));
        self.compared += 1;
        self.followed += u64::from(self.disk.content("/data/checkpoint").ok() == before);
    }

    /// The content of a checkpoint that would be written whole now.
    fn as_whole(&self) -> Checkpoint {
        let shared = &self.broker.shared;
        let snapshot = shared.sequencer.applied().snapshot();
        let producers = snapshot.producers.into_iter();
        Checkpoint {
            topics: shared.partitions.describe_topics(snapshot.topics),
            producers: producers.map(StoredProducer::of).collect(),
            erasures: snapshot.erasures,
            groups: snapshot.groups,
            key_trims: snapshot.key_trims,
            access_tokens: snapshot.access_tokens,
            ..Checkpoint::default()
        }
    }

    fn restart(&mut self) {
        let before = self.as_whole();
        let disk = self.disk.power_cut(self.made, CrashMode::LoseUnsynced);
        let seed = self.chance.next_u64();
        self.broker = open(&disk, &self.clock, seed).expect("nothing fails");
        self.disk = disk;
        let after = self.as_whole();
        // The idle times are those of the checkpoint, so they are not compared.
        assert_eq!(sequences(&after), sequences(&before));
        assert_eq!(after.groups, before.groups);
    }
}

fn sequences(checkpoint: &Checkpoint) -> Vec<StoredProducer> {
    let mut producers = checkpoint.producers.clone();
    producers
        .iter_mut()
        .for_each(|producer| producer.idle_ms = 0);
    producers
}

fn stored(disk: &SimDisk) -> Checkpoint {
    let path = Path::new("/data/checkpoint");
    let found = load(disk, path, |_, _| Ok::<_, FileError>(())).expect("nothing fails");
    match found.0 {
        Found::Whole(checkpoint) => checkpoint,
        other => panic!("{other:?}"),
    }
}

fn said(checkpoint: Checkpoint) -> Said {
    let Checkpoint {
        mut topics,
        producers,
        erasures,
        groups,
        key_trims,
        ..
    } = checkpoint;
    topics.sort_by_key(|topic| topic.id);
    Said {
        topics,
        producers,
        erasures,
        groups,
        key_trims,
    }
}

#[test]
fn deltas_say_what_a_whole_checkpoint_would_say_whatever_has_changed() {
    let (mut compared, mut followed) = (0, 0);
    for seed in 0..12 {
        let mut life = Life::new(seed);
        (0..400).for_each(|_| life.step());
        compared += life.compared;
        followed += life.followed;
    }
    assert!(
        compared > 200 && followed > compared / 2,
        "{followed} of {compared}"
    );
}

#[test]
fn what_a_checkpoint_writes_grows_with_what_has_changed_and_not_with_what_there_is() {
    const MANY: u32 = 100;
    let (disk, clock) = (SimDisk::new(1), SimClock::new(1_700_000_000_000));
    let options = Options {
        delta_bytes: 256 << 10,
        ..options()
    };
    let environment = env(&disk, &clock, &SimRandom::new(1));
    let broker = Broker::open_stepped(environment, options).expect("nothing fails");
    create(&broker, "t", MANY);
    let append = |producer: Producer, partition, sequence| {
        let record = encode_keyed(3, 8, partition, MANY);
        let mut append = append_of("t", Some(partition), &[record]);
        append.batches[0].sequence = Some(sequence);
        append.producer = Some(producer);
        send(&broker, append).expect("it is the next");
    };
    let checkpoint = || {
        lock(&broker.shared.maintenance.housekeeper)
            .checkpoint(&broker.shared, Freeze::Due)
            .expect("nothing fails");
        let mut written = BTreeMap::new();
        for path in disk.files() {
            if path.to_string_lossy().starts_with("/data/checkpoint") {
                let content = disk.content(&path).expect("it is there");
                written.insert(path, content);
            }
        }
        written
    };
    let mut producers = Vec::new();
    for _ in 0..10 {
        let opening = broker.open_producer("", None).expect("no name");
        broker.commit_all();
        producers.push(now(opening).expect("an answer").expect("nothing fails"));
    }
    for producer in &producers {
        (0..MANY).for_each(|partition| append(*producer, partition, 0));
    }
    let many = checkpoint();
    for partition in 0..3 {
        append(producers[0], partition, 1);
    }
    let few = checkpoint();
    let len = |files: &BTreeMap<PathBuf, Vec<u8>>| files.values().map(Vec::len).sum::<usize>();
    assert!(len(&many) > 2 * 10 * MANY as usize * 20, "{}", len(&many));
    for path in copies(Path::new("/data/checkpoint")) {
        assert_eq!(few[&path], many[&path], "the checkpoint is as it was");
    }
    let grown = len(&few) - len(&many);
    assert!((200..1_500).contains(&grown), "{grown} bytes in two copies");
}
