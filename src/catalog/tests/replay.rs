//! Any sequence of changes: what is planned and what is applied agree whenever nothing is queued,
//! and whatever snapshot is restored, the changes behind it lead to where those that were applied
//! live have led.

use std::collections::VecDeque;

use proptest::{collection::vec, prelude::*};

use super::held;
use crate::{
    catalog::{
        Catalog, Change, Erasure, Planned, Snapshot, Token,
        producers::{Decision, Opened, Room},
    },
    types::{Offset, PartitionId, ProducerId, TopicId, TopicName, TopicSettings, Version},
};

const NAMES: [&str; 3] = ["a", "b", "c"];
const MOST_PARTITIONS: usize = 8;

/// A step of the world. Topics, producers and names are few, so that steps meet.
#[derive(Clone, Debug)]
enum Step {
    Create {
        name: usize,
        partitions: u32,
    },
    Delete {
        topic: usize,
    },
    Alter {
        topic: usize,
        segment_ms: u64,
    },
    Trim {
        topic: usize,
        before: u64,
    },
    Open {
        name: usize,
    },
    Forget {
        producer: usize,
    },
    Append {
        producer: usize,
        topic: usize,
    },
    Erase {
        topic: usize,
    },
    Complete {
        erasure: usize,
    },
    /// So many of the commits that are queued become durable.
    Commit {
        commits: usize,
    },
    /// The journal has no room: whatever can be refused is.
    Refuse,
    /// A checkpoint.
    Snapshot,
}

/// A durable fact.
#[derive(Clone, Debug)]
enum Fact {
    Change(Change),
    Batch(ProducerId, u32, TopicId, u64),
}

impl Fact {
    fn apply(&self, catalog: &mut Catalog) {
        match self {
            Self::Change(change) => catalog.apply(change),
            Self::Batch(producer, epoch, topic, sequence) => {
                catalog.apply_batch(*producer, *epoch, *topic, PartitionId(0), *sequence);
            }
        }
    }

    fn can_be_refused(&self) -> bool {
        matches!(
            self,
            Self::Change(
                Change::Create { .. }
                    | Change::Delete { .. }
                    | Change::Alter { .. }
                    | Change::Trim { .. }
                    | Change::Erase { .. }
            )
        )
    }
}

struct World {
    planned: Planned,
    applied: Catalog,
    queued: VecDeque<Fact>,
    durable: Vec<Fact>,
    /// Each with how many facts are in it.
    snapshots: Vec<(usize, Snapshot)>,
    last_id: u64,
    refused: usize,
}

impl World {
    fn new() -> Self {
        let applied = Catalog::new(Room::MOST);
        Self {
            planned: Planned::of(&applied),
            snapshots: vec![(0, applied.snapshot())],
            applied,
            queued: VecDeque::new(),
            durable: Vec::new(),
            last_id: 0,
            refused: 0,
        }
    }

    fn fresh(&mut self) -> u64 {
        self.last_id += 1;
        // Not in the order in which they are drawn.
        self.last_id.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    fn topic(&self, at: usize) -> Option<TopicId> {
        let topics = self.planned.topics();
        let at = at % topics.len().max(1);
        topics.iter().nth(at).map(|topic| topic.id)
    }

    fn producer(&self, at: usize) -> Option<Opened> {
        let known = self.planned.producers.snapshot();
        let known = known.get(at % known.len().max(1))?;
        Some(Opened {
            id: known.id,
            epoch: known.epoch,
        })
    }

    fn plan(&mut self, change: Change) {
        self.planned.plan(&change);
        self.queued.push_back(Fact::Change(change));
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Create { name, partitions } => self.create(NAMES[name], partitions),
            Step::Commit { commits } => {
                for _ in 0..commits.min(self.queued.len()) {
                    self.commit();
                }
            }
            Step::Refuse => self.refuse(),
            Step::Snapshot => {
                let taken = (self.durable.len(), self.applied.snapshot());
                self.snapshots.push(taken);
            }
            Step::Append { producer, topic } => self.append(producer, topic),
            Step::Open { name } => {
                let fresh = ProducerId(self.fresh());
                let opened = self.planned.producers.decide_open(NAMES[name], fresh, None);
                let Opened { id, epoch } = opened.expect("there is room");
                self.plan(Change::OpenProducer {
                    producer: id,
                    epoch,
                    name: NAMES[name].to_owned(),
                });
            }
            ref other => {
                if let Some(change) = self.change(other) {
                    self.plan(change);
                }
            }
        }
    }

    /// The change that a step is, where there is something that it can change.
    fn change(&mut self, step: &Step) -> Option<Change> {
        match *step {
            Step::Delete { topic } => {
                let topic = self.topic(topic)?;
                Some(Change::Delete { topic })
            }
            Step::Alter { topic, segment_ms } => {
                let topic = self.topic(topic)?;
                let settings = self.planned.decide_topic(topic).expect("it is planned");
                let settings = TopicSettings {
                    segment_ms,
                    ..settings.settings.clone()
                };
                Some(Change::Alter { topic, settings })
            }
            Step::Trim { topic, before } => Some(Change::Trim {
                topic: self.topic(topic)?,
                partition: PartitionId(0),
                before: Offset(before),
            }),
            Step::Forget { producer } => {
                let producer = self.producer(producer)?.id;
                Some(Change::ForgetProducer { producer })
            }
            Step::Erase { topic } => {
                let topic = self.topic(topic)?;
                assert_eq!(self.planned.decide_erase(topic), Ok(()));
                let erasure = Erasure {
                    id: self.fresh(),
                    partition: PartitionId(0),
                    token: Token([1; Token::BYTES]),
                    end: Offset(1),
                    through: Version(1),
                    requested_ms: 0,
                };
                Some(Change::Erase { topic, erasure })
            }
            Step::Complete { erasure } => {
                // As its bytes are removed behind its being durable.
                let waiting: Vec<u64> = self
                    .applied
                    .erasures()
                    .waiting()
                    .map(|known| known.erasure.id)
                    .collect();
                let id = *waiting.get(erasure % waiting.len().max(1))?;
                Some(Change::ErasureComplete { id })
            }
            _ => None,
        }
    }

    fn create(&mut self, name: &str, partitions: u32) {
        let name = TopicName::new(name).expect("it may be");
        if self
            .planned
            .decide_create(&name, partitions, MOST_PARTITIONS)
            .is_err()
        {
            return;
        }
        let (topic, seed) = (TopicId(self.fresh()), self.fresh());
        self.plan(Change::Create {
            topic,
            seed,
            name,
            partitions,
            settings: TopicSettings::default(),
        });
        assert!(self.planned.topics().partitions() <= MOST_PARTITIONS);
    }

    /// The next batch of a producer for a topic, of which there is one that is not being deleted.
    fn append(&mut self, producer: usize, topic: usize) {
        let (Some(producer), Some(topic)) = (self.producer(producer), self.topic(topic)) else {
            return;
        };
        // Appends find no topic whose creation is queued: it may be refused.
        if self.applied.topics().get(topic).is_none() {
            return;
        }
        let partition = PartitionId(0);
        let next = self.planned.producers.snapshot();
        let next = next.iter().find(|known| known.id == producer.id);
        let next = next.and_then(|known| {
            known
                .sequences
                .iter()
                .find(|of| (of.topic, of.partition) == (topic, partition))
        });
        let sequence = next.map_or(0, |of| of.next);
        let batch = [(topic, partition, sequence)];
        let decided =
            self.planned
                .producers
                .decide_append(producer.id, producer.epoch, &batch, None);
        assert_eq!(decided, Ok(Decision::New));
        self.planned.producers_mut().apply_batch(
            producer.id,
            producer.epoch,
            topic,
            partition,
            sequence,
        );
        self.queued
            .push_back(Fact::Batch(producer.id, producer.epoch, topic, sequence));
    }

    fn commit(&mut self) {
        let fact = self
            .queued
            .pop_front()
            .expect("it was asked whether there is one");
        fact.apply(&mut self.applied);
        if let Fact::Change(change) = &fact {
            self.planned.settle(change);
        }
        self.durable.push(fact);
    }

    fn refuse(&mut self) {
        let before = self.queued.len();
        self.queued.retain(|fact| !fact.can_be_refused());
        self.refused += before - self.queued.len();
        let mut changes = Vec::new();
        for fact in &self.queued {
            if let Fact::Change(change) = fact {
                changes.push(change);
            }
        }
        self.planned.take_back(&self.applied, changes);
    }

    fn check(&self) {
        if self.queued.is_empty() {
            assert_eq!(held(&self.planned), held(&self.applied));
        }
    }

    /// Restores every snapshot, and applies the facts behind it; also behind some that it has
    /// already, as a checkpoint may be ahead of what it says it is.
    fn check_replays(&self, again: usize) {
        for (at, snapshot) in &self.snapshots {
            let mut restored = Catalog::restore(snapshot.clone(), Room::MOST);
            assert_eq!(restored.snapshot(), *snapshot);
            for fact in &self.durable[at.saturating_sub(again)..] {
                fact.apply(&mut restored);
            }
            assert_eq!(held(&restored), held(&self.applied));
        }
    }
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..NAMES.len(), 1u32..4).prop_map(|(name, partitions)| Step::Create { name, partitions }),
        2 => (0usize..8).prop_map(|topic| Step::Delete { topic }),
        1 => (0usize..8, 1_000u64..9_000).prop_map(|(topic, segment_ms)| Step::Alter { topic, segment_ms }),
        1 => (0usize..8, 0u64..100).prop_map(|(topic, before)| Step::Trim { topic, before }),
        2 => (0..NAMES.len()).prop_map(|name| Step::Open { name }),
        1 => (0usize..8).prop_map(|producer| Step::Forget { producer }),
        4 => (0usize..8, 0usize..8).prop_map(|(producer, topic)| Step::Append { producer, topic }),
        2 => (0usize..8).prop_map(|topic| Step::Erase { topic }),
        2 => (0usize..8).prop_map(|erasure| Step::Complete { erasure }),
        4 => (1usize..6).prop_map(|commits| Step::Commit { commits }),
        1 => Just(Step::Refuse),
        1 => Just(Step::Snapshot),
    ]
}

proptest! {
    #[test]
    fn replay_from_any_snapshot_leads_to_the_live_state(
        steps in vec(any_step(), 1..80),
        again in 0usize..4,
    ) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
            world.check();
        }
        while !world.queued.is_empty() {
            world.commit();
        }
        world.check();
        world.check_replays(0);
        world.check_replays(again);
    }
}
