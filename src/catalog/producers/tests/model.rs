//! Compares the state machine with a model that remembers every batch ever sent. There are two
//! instances, as in the broker: the planned one decides and is ahead; the applied one follows, and
//! is stored, restored and replayed.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use proptest::{collection::vec, prelude::*, strategy::ValueTree, test_runner::TestRunner};

use super::without_idleness;
use crate::{
    catalog::producers::{Decision, HolderId, Opened, Producers, Refused, Room, room::IN_USE},
    types::{PartitionId, ProducerId, TopicId},
};

const NAMES: [&str; 3] = ["", "a", "b"];

/// A step of a run. Producers, topics and names are few, so that steps interfere with each other.
#[derive(Clone, Debug)]
enum Step {
    Open {
        name: usize,
        holder: u64,
    },
    /// An append by one of the producers that were ever opened, in its current epoch, or an earlier
    /// one if `older`. Each batch is for a topic and partition, with a sequence at this distance
    /// from the expected one.
    Append {
        producer: usize,
        older: u32,
        batches: Vec<(u64, u32, i64)>,
        holder: u64,
    },
    /// Time passes.
    Tick {
        minutes: u64,
    },
    /// A connection ends.
    LetGo {
        holder: u64,
    },
    Forget {
        producer: usize,
    },
    DeleteTopic {
        topic: u64,
    },
    /// This many of the queued facts become durable.
    Apply {
        facts: usize,
    },
    /// A power cut: the queued facts are lost or not, the checkpoint is restored, and the later
    /// facts are replayed, together with some facts that the checkpoint has already.
    Crash {
        lost: bool,
        again: usize,
    },
}

/// A durable fact.
#[derive(Clone, Debug)]
enum Fact {
    Open(ProducerId, u32, &'static str),
    Batch(ProducerId, u32, TopicId, PartitionId, u64),
    Forget(ProducerId),
    DeleteTopic(TopicId),
}

fn apply(producers: &mut Producers, fact: &Fact) {
    match *fact {
        Fact::Open(id, epoch, name) => producers.apply_open(id, epoch, name),
        Fact::Batch(id, epoch, topic, partition, sequence) => {
            producers.apply_batch(id, epoch, topic, partition, sequence);
        }
        Fact::Forget(id) => producers.apply_forget(id),
        Fact::DeleteTopic(topic) => producers.forget_topic(topic),
    }
}

/// The model: all batches of the latest epoch of every producer, one by one.
#[derive(Clone, Debug, Default)]
struct Model {
    known: BTreeMap<ProducerId, Remembered>,
}

#[derive(Clone, Debug, Default)]
struct Remembered {
    epoch: u32,
    name: &'static str,
    stored: Vec<(TopicId, PartitionId, u64)>,
}

impl Model {
    fn new(facts: &[Fact]) -> Self {
        let mut model = Self::default();
        for fact in facts {
            match *fact {
                Fact::Open(id, epoch, name) => {
                    model.known.insert(
                        id,
                        Remembered {
                            epoch,
                            name,
                            stored: Vec::new(),
                        },
                    );
                }
                Fact::Batch(id, _, topic, partition, sequence) => {
                    let known = model
                        .known
                        .get_mut(&id)
                        .expect("only known producers append");
                    known.stored.push((topic, partition, sequence));
                }
                Fact::Forget(id) => drop(model.known.remove(&id)),
                Fact::DeleteTopic(deleted) => {
                    for known in model.known.values_mut() {
                        known.stored.retain(|(topic, _, _)| *topic != deleted);
                    }
                }
            }
        }
        model
    }

    fn open(&self, name: &str, fresh: ProducerId) -> Opened {
        let known = self
            .known
            .iter()
            .find(|(_, known)| !name.is_empty() && known.name == name);
        known.map_or(
            Opened {
                id: fresh,
                epoch: 1,
            },
            |(id, known)| Opened {
                id: *id,
                epoch: known.epoch + 1,
            },
        )
    }

    /// Stores the batches one by one, as far as each has the expected sequence, and returns the
    /// outcome.
    fn append(
        &self,
        id: ProducerId,
        epoch: u32,
        batches: &[(TopicId, PartitionId, u64)],
    ) -> Result<Decision, Refused> {
        let Some(known) = self.known.get(&id) else {
            return Err(Refused::Unknown);
        };
        if epoch < known.epoch {
            return Err(Refused::Fenced {
                current: known.epoch,
            });
        }
        let mut stored = known.stored.clone();
        let mut repeated = None;
        for (at, batch) in batches.iter().enumerate() {
            let expected = stored
                .iter()
                .filter(|(topic, partition, _)| (*topic, *partition) == (batch.0, batch.1))
                .count();
            let expected = expected as u64;
            if known.stored.contains(batch) {
                repeated = repeated.or(Some(Refused::OutOfSequence { at, expected }));
            } else if batch.2 == expected {
                stored.push(*batch);
            } else {
                return Err(Refused::OutOfSequence { at, expected });
            }
        }
        match repeated {
            None => Ok(Decision::New),
            Some(_) if stored.len() == known.stored.len() => Ok(Decision::Duplicate),
            Some(refused) => Err(refused),
        }
    }
}

/// How many batches may be remembered: more than any run appends.
const REMEMBERED: usize = 1_000;

/// So little room that producers are forgotten or appends refused.
const LITTLE_ROOM: Room = Room {
    producers: 4,
    sequences: 6,
    name_bytes: 2,
};

/// The broker's two instances, and the journal between them.
struct World {
    journal: Vec<Fact>,
    planned: Producers,
    applied: Producers,
    /// How many facts are durable.
    durable: usize,
    /// The last checkpoint, with the number of facts that it covers.
    checkpoint: (usize, Vec<crate::catalog::producers::Known>),
    /// Every producer that was ever opened.
    ids: Vec<ProducerId>,
    decisions: [usize; 3],
    room: Room,
    /// When each producer was last used since the start, and on which connection.
    used: BTreeMap<ProducerId, (Duration, HolderId)>,
    now: Duration,
    /// The connections that have ended.
    ended: BTreeSet<HolderId>,
    /// How often producers were forgotten to make room, and how often that was not enough.
    made_room: [usize; 2],
}

impl World {
    fn new(room: Room) -> Self {
        Self {
            journal: Vec::new(),
            planned: Producers::new(room),
            applied: Producers::new(room),
            durable: 0,
            checkpoint: (0, Vec::new()),
            ids: Vec::new(),
            decisions: [0; 3],
            room,
            used: BTreeMap::new(),
            now: Duration::ZERO,
            ended: BTreeSet::new(),
            made_room: [0; 2],
        }
    }

    /// Forgets the producers that the planned instance names, none of which may be in use.
    fn make_room(&mut self, needed: Room, holder: HolderId, asking: Option<ProducerId>) -> bool {
        let Some(forgotten) = self.planned.make_room(needed, Some(holder), asking) else {
            self.made_room[1] += 1;
            return false;
        };
        self.made_room[0] += 1;
        for id in forgotten {
            let producer = self.planned.with_id(id).expect("it is known");
            if let Some((used, holder)) = self.used.get(&id) {
                let is_in_use = self.now - *used < IN_USE && !self.ended.contains(holder);
                assert!(!is_in_use || producer.partitions == 0, "{id} is in use");
            }
            assert_ne!(Some(id), asking);
            self.plan(Fact::Forget(id));
        }
        true
    }

    fn use_on(&mut self, id: ProducerId, holder: HolderId) {
        self.planned.hold(id, holder);
        self.ended.remove(&holder);
        self.used.insert(id, (self.now, holder));
    }

    fn plan(&mut self, fact: Fact) {
        apply(&mut self.planned, &fact);
        self.journal.push(fact);
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Open { name, holder } => self.open(NAMES[name], HolderId(holder)),
            Step::Append {
                producer,
                older,
                batches,
                holder,
            } => self.append(producer, older, &batches, HolderId(holder)),
            Step::Tick { minutes } => {
                let elapsed = Duration::from_secs(minutes * 60);
                self.now += elapsed;
                self.planned.tick(elapsed);
                self.applied.tick(elapsed);
            }
            Step::LetGo { holder } => {
                self.planned.let_go(HolderId(holder));
                self.ended.insert(HolderId(holder));
            }
            Step::Forget { producer } => {
                let known = without_idleness(&self.planned);
                if let Some(known) = known.get(producer) {
                    self.plan(Fact::Forget(known.id));
                }
            }
            Step::DeleteTopic { topic } => self.plan(Fact::DeleteTopic(TopicId(topic))),
            Step::Apply { facts } => self.apply_durable(facts),
            Step::Crash { lost, again } => self.crash(lost, again),
        }
    }

    fn open(&mut self, name: &'static str, holder: HolderId) {
        let fresh = ProducerId(self.ids.len() as u64 + 1);
        let mut decided = self.planned.decide_open(name, fresh, Some(holder));
        if decided.is_err() {
            if !self.make_room(Room::of_new(name), holder, None) {
                return;
            }
            decided = self.planned.decide_open(name, fresh, Some(holder));
        }
        let opened = decided.expect("there is room");
        assert_eq!(opened, Model::new(&self.journal).open(name, fresh));
        if opened.id == fresh {
            self.ids.push(fresh);
        }
        self.plan(Fact::Open(opened.id, opened.epoch, name));
        self.use_on(opened.id, holder);
    }

    fn append(
        &mut self,
        producer: usize,
        older: u32,
        batches: &[(u64, u32, i64)],
        holder: HolderId,
    ) {
        let Some(&id) = self.ids.get(producer % self.ids.len().max(1)) else {
            return;
        };
        let known = self
            .planned
            .snapshot()
            .into_iter()
            .find(|known| known.id == id);
        let epoch = known
            .as_ref()
            .map_or(1, |known| known.epoch)
            .saturating_sub(older);
        let mut next: BTreeMap<(TopicId, PartitionId), u64> = BTreeMap::new();
        for sequence in known.map(|known| known.sequences).unwrap_or_default() {
            next.insert((sequence.topic, sequence.partition), sequence.next);
        }
        let mut asked = Vec::new();
        for &(topic, partition, off) in batches {
            let next = next
                .entry((TopicId(topic), PartitionId(partition)))
                .or_default();
            asked.push((
                TopicId(topic),
                PartitionId(partition),
                next.saturating_add_signed(off),
            ));
            *next += 1;
        }
        let mut decision = self.planned.decide_append(id, epoch, &asked, Some(holder));
        if matches!(decision, Err(Refused::TooMany(_))) {
            if !self.make_room(self.planned.room_for(id, &asked), holder, Some(id)) {
                return;
            }
            decision = self.planned.decide_append(id, epoch, &asked, Some(holder));
        }
        assert_eq!(
            decision,
            Model::new(&self.journal).append(id, epoch, &asked)
        );
        let kind = match decision {
            Ok(Decision::New) => 0,
            Ok(Decision::Duplicate) => 1,
            Err(_) => 2,
        };
        self.decisions[kind] += 1;
        if decision == Ok(Decision::New) {
            for (topic, partition, sequence) in asked {
                self.plan(Fact::Batch(id, epoch, topic, partition, sequence));
            }
            self.use_on(id, holder);
            let (used, most) = (self.planned.used(), self.room);
            assert!(used.producers <= most.producers && used.sequences <= most.sequences);
        }
    }

    fn apply_durable(&mut self, facts: usize) {
        let end = self.journal.len().min(self.durable.saturating_add(facts));
        for fact in &self.journal[self.durable..end] {
            apply(&mut self.applied, fact);
        }
        self.durable = end;
        // Takes a checkpoint now and then, as the housekeeping of a broker does.
        if end.is_multiple_of(5) {
            self.checkpoint = (end, self.applied.snapshot());
        }
    }

    fn crash(&mut self, lost: bool, again: usize) {
        if lost {
            self.journal.truncate(self.durable);
        }
        let (in_checkpoint, snapshot) = self.checkpoint.clone();
        let mut recovered = Producers::restore(snapshot, self.room, REMEMBERED);
        // With little room nothing is replayed twice: producers that are forgotten since would need
        // room again.
        let again = if self.room == LITTLE_ROOM { 0 } else { again };
        self.used.clear();
        self.ended.clear();
        for fact in &self.journal[in_checkpoint.saturating_sub(again)..] {
            apply(&mut recovered, fact);
        }
        self.durable = self.journal.len();
        self.planned = recovered.clone();
        self.applied = recovered;
        self.check_agreement();
    }

    /// The planned and the applied instance are equal when nothing is queued, and equal to an
    /// instance that replays the whole journal.
    fn check_agreement(&self) {
        let mut replayed = Producers::new(self.room);
        self.journal
            .iter()
            .for_each(|fact| apply(&mut replayed, fact));
        assert_eq!(without_idleness(&self.planned), without_idleness(&replayed));
        assert_eq!(without_idleness(&self.applied), without_idleness(&replayed));
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let off = prop_oneof![6 => Just(0i64), 1 => Just(-1i64), 1 => -3..4i64];
    let same = vec((0..2u64, 0..2u32, off), 1..4);
    // Batches that are all stored already, as when a client repeats an append.
    let repeated = (vec((0..2u64, 0..2u32), 1..3), 1..4i64).prop_map(|(places, back)| {
        places
            .into_iter()
            .map(|(topic, partition)| (topic, partition, -back))
            .collect()
    });
    let batches = prop_oneof![2 => same, 1 => repeated];
    let older = prop_oneof![6 => Just(0u32), 1 => Just(1u32)];
    let step = prop_oneof![
        3 => (0..NAMES.len(), 0..3u64).prop_map(|(name, holder)| Step::Open { name, holder }),
        12 => (0..8usize, older, batches, 0..3u64).prop_map(|(producer, older, batches, holder)| {
            Step::Append { producer, older, batches, holder }
        }),
        2 => (1..4u64).prop_map(|minutes| Step::Tick { minutes }),
        1 => (0..3u64).prop_map(|holder| Step::LetGo { holder }),
        1 => (0..8usize).prop_map(|producer| Step::Forget { producer }),
        1 => (0..2u64).prop_map(|topic| Step::DeleteTopic { topic }),
        6 => (1..6usize).prop_map(|facts| Step::Apply { facts }),
        2 => (any::<bool>(), 0..12usize).prop_map(|(lost, again)| Step::Crash { lost, again }),
    ];
    vec(step, 1..80)
}

/// Runs many histories. Returns how often each kind of decision was made, and how often room was
/// made or could not be.
fn run_many(room: Room) -> ([usize; 3], [usize; 2]) {
    let mut runner = TestRunner::deterministic();
    let (mut decisions, mut made_room) = ([0; 3], [0; 2]);
    for _ in 0..2_000 {
        let steps = steps().new_tree(&mut runner).expect("no filters").current();
        let world = run(room, steps);
        for (sum, one) in decisions.iter_mut().zip(world.decisions) {
            *sum += one;
        }
        for (sum, one) in made_room.iter_mut().zip(world.made_room) {
            *sum += one;
        }
    }
    (decisions, made_room)
}

fn run(room: Room, steps: Vec<Step>) -> World {
    let mut world = World::new(room);
    steps.into_iter().for_each(|step| world.step(step));
    world.apply_durable(usize::MAX);
    world.check_agreement();
    world
}

#[test]
fn every_decision_is_the_models_and_what_is_applied_arrives_at_what_was_planned() {
    let (decisions, made_room) = run_many(Room::MOST);
    assert!(
        decisions.iter().all(|&count| count > 1_000),
        "new, duplicate and refused appends: {decisions:?}"
    );
    assert_eq!(made_room, [0, 0], "there is room for all");
}

#[test]
fn where_there_is_little_room_nobody_in_use_is_forgotten_and_no_batch_becomes_new_again() {
    let (decisions, made_room) = run_many(LITTLE_ROOM);
    let counts = decisions.iter().chain(&made_room);
    assert!(
        counts.clone().all(|&count| count > 500),
        "appends {decisions:?}, room {made_room:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_agrees_with_the_model(steps in steps()) {
        run(Room::MOST, steps.clone());
        run(LITTLE_ROOM, steps);
    }
}
