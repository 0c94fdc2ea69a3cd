//! Any sequence of changes: the planned and the applied instance agree whenever nothing is queued;
//! and from whichever snapshot, replaying the later changes leads to the same state as applying
//! them live did.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use bytes::Bytes;
use proptest::{collection::vec, prelude::*};

use super::held;
use crate::{
    catalog::{
        Catalog, Change, Erasure, Planned, Settled, Snapshot, Token,
        groups::{Commit, Fence, GroupChange, Join, KnownTopics, MemberId, Place},
        producers::{Decision, Opened, Room},
    },
    types::{
        GroupName, Keys, Offset, PartitionId, ProducerId, TopicId, TopicName, TopicSettings,
        Version,
    },
};

const NAMES: [&str; 3] = ["a", "b", "c"];
const GROUPS: [&str; 2] = ["g", "h"];
const MOST_PARTITIONS: usize = 8;

/// A step of a run. Topics, producers and names are few, so that steps interfere with each other.
#[derive(Clone, Debug)]
enum Step {
    Create {
        name: usize,
        partitions: u32,
    },
    Delete {
        topic: usize,
    },
    AddPartitions {
        topic: usize,
        partitions: u32,
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
    Join {
        group: usize,
        member: usize,
        topics: usize,
    },
    Leave {
        group: usize,
        member: usize,
    },
    Drained {
        group: usize,
        member: usize,
    },
    CommitOffset {
        group: usize,
        place: usize,
        next: u64,
    },
    Reset {
        group: usize,
        topic: usize,
        next: u64,
    },
    Fork {
        from: usize,
        to: usize,
        replay: bool,
    },
    DeleteGroup {
        group: usize,
    },
    /// Groups are told which topics are new or gone.
    TopicsOfGroups,
    /// Time passes, so that members that are away are removed.
    Pass {
        ms: u64,
    },
    /// This many of the queued commits become durable.
    Commit {
        commits: usize,
    },
    /// The journal has no room: every change that can be refused is refused.
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
    fn apply(&self, catalog: &mut Catalog, now: Duration) {
        match self {
            Self::Change(change) => catalog.apply(change, now),
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
                    | Change::AddPartitions { .. }
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
    /// Snapshots, each with the number of facts that it covers.
    snapshots: Vec<(usize, Snapshot)>,
    last_id: u64,
    refused: usize,
    now: Duration,
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
            now: Duration::ZERO,
        }
    }

    fn fresh(&mut self) -> u64 {
        self.last_id += 1;
        // Ids do not come in ascending order.
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
        self.planned.plan(&change, self.now);
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
                    return self.plan(change);
                }
                for (group, change) in self.group_changes(other) {
                    self.plan(Change::Group { group, change });
                }
            }
        }
    }

    /// The change that a step makes, or `None` if it can change nothing in this state.
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
            Step::AddPartitions { topic, partitions } => {
                let topic = self.topic(topic)?;
                let decided =
                    self.planned
                        .decide_add_partitions(topic, partitions, MOST_PARTITIONS);
                decided.ok()?;
                Some(Change::AddPartitions { topic, partitions })
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
                // The bytes can be removed only once the erasure is durable.
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

    /// The changes of groups that a step makes.
    fn group_changes(&mut self, step: &Step) -> Vec<(GroupName, GroupChange)> {
        let fresh = MemberId(self.fresh());
        let (applied, now) = (&self.applied, self.now);
        let durable = |topic| {
            let topic = applied.topics().get(topic)?;
            u32::try_from(topic.starts.len()).ok()
        };
        let topics = Settled {
            planned: &self.planned,
            durable: &durable,
        };
        let groups = self.planned.groups();
        let one = |group: usize| GroupName::new(GROUPS[group]).expect("it may be");
        let member = |group: usize, at: usize| {
            let state = groups.get(&one(group))?.state();
            state.members.keys().nth(at).copied()
        };
        let decided = match *step {
            Step::Join {
                group,
                member: at,
                topics: takes,
            } => {
                let names = NAMES[..takes].iter();
                let join = Join {
                    fresh,
                    back: member(group, at),
                    instance: None,
                    name: "".into(),
                    topics: names
                        .map(|name| TopicName::new(name).expect("it may be"))
                        .collect(),
                    prefixes: BTreeSet::new(),
                    session: Duration::from_secs(10),
                    drain: Duration::from_secs(30),
                    client: "".into(),
                    is_ephemeral: group == 1,
                    at_ms: 1,
                };
                let joined = groups.decide_join(&one(group), join, &topics, now);
                joined.ok().map(|joined| (group, joined.change))
            }
            Step::Leave { group, member: at } => member(group, at).and_then(|id| {
                let left = groups.decide_leave(&one(group), id, &topics);
                left.ok().map(|change| (group, change))
            }),
            Step::Drained { group, member: at } => member(group, at).and_then(|id| {
                let state = groups.get(&one(group)).expect("it has a member").state();
                let places: Vec<Place> = state.owned.keys().copied().collect();
                let drained = groups.decide_drained(&one(group), id, &places, &topics, now);
                drained.ok().flatten().map(|change| (group, change))
            }),
            Step::CommitOffset { group, place, next } => {
                let owned = groups.get(&one(group)).and_then(|found| {
                    let owned = found.state().owned.iter();
                    owned.map(|(at, owned)| (*at, owned.since)).nth(place)
                });
                owned.and_then(|(place, since)| {
                    let commit = Commit {
                        place,
                        next: Offset(next),
                        metadata: Bytes::from_static(b"here"),
                        fence: Fence::Owned { since, by: None },
                    };
                    let end = |place| topics.has(place).then_some(Offset(100));
                    let decided = groups.decide_commit(&one(group), vec![commit], end, 1);
                    let change = decided.expect("there is room").1;
                    change.map(|change| (group, change))
                })
            }
            Step::Reset { group, topic, next } => self.topic(topic).and_then(|topic| {
                let place = (topic, PartitionId(0));
                if !topics.has(place) {
                    return None;
                }
                let offsets = vec![(place, Offset(next))];
                let reset = groups.decide_reset(&one(group), offsets, 2);
                reset.ok().map(|change| (group, change))
            }),
            Step::Fork { from, to, replay } => {
                let forked = groups.decide_fork(&one(from), &one(to), replay, &topics, 3);
                forked.ok().map(|change| (to, change))
            }
            Step::DeleteGroup { group } => {
                let deleted = groups.decide_delete(&one(group));
                deleted.ok().map(|change| (group, change))
            }
            Step::TopicsOfGroups => return groups.on_topics(&topics),
            Step::Pass { ms } => return self.pass(Duration::from_millis(ms)),
            _ => None,
        };
        let decided = decided.map(|(group, change)| (one(group), change));
        decided.into_iter().collect()
    }

    /// The streams of all members break, and time passes.
    fn pass(&mut self, time: Duration) -> Vec<(GroupName, GroupChange)> {
        let mut members = Vec::new();
        for (group, found) in self.planned.groups().iter() {
            let ids = found.state().members.keys();
            members.extend(ids.map(|id| (group.clone(), *id)));
        }
        for (group, member) in members {
            let now = self.now;
            self.planned.groups_mut().lose(&group, member, now);
        }
        self.now += time;
        let (applied, now) = (&self.applied, self.now);
        let durable = |topic| {
            let topic = applied.topics().get(topic)?;
            u32::try_from(topic.starts.len()).ok()
        };
        self.planned.on_groups_deadline(&durable, now)
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
            settings: TopicSettings {
                keys: Keys::Plain,
                ..TopicSettings::default()
            },
        });
        assert!(self.planned.topics().partitions() <= MOST_PARTITIONS);
    }

    /// Appends the next batch of a producer to a topic that exists and is not being deleted.
    fn append(&mut self, producer: usize, topic: usize) {
        let (Some(producer), Some(topic)) = (self.producer(producer), self.topic(topic)) else {
            return;
        };
        // Appends do not find a topic whose creation is queued, because the creation may be
        // refused.
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
        fact.apply(&mut self.applied, self.now);
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
        self.planned.take_back(&self.applied, changes, self.now);
    }

    fn check(&self) {
        if self.queued.is_empty() {
            assert_eq!(held(&self.planned), held(&self.applied));
        }
    }

    /// Restores every snapshot and applies the later facts; also with some facts that the snapshot
    /// has already, because a checkpoint may be ahead of the position that it gives.
    fn check_replays(&self, again: usize) {
        for (at, snapshot) in &self.snapshots {
            let mut restored = Catalog::restore(snapshot.clone(), Room::MOST, Duration::ZERO);
            assert_eq!(restored.snapshot(), *snapshot);
            for fact in &self.durable[at.saturating_sub(again)..] {
                fact.apply(&mut restored, Duration::ZERO);
            }
            assert_eq!(held(&restored), held(&self.applied));
        }
    }
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..NAMES.len(), 1u32..4).prop_map(|(name, partitions)| Step::Create { name, partitions }),
        2 => (0usize..8).prop_map(|topic| Step::Delete { topic }),
        2 => (0usize..8, 1u32..5)
            .prop_map(|(topic, partitions)| Step::AddPartitions { topic, partitions }),
        1 => (0usize..8, 1_000u64..9_000).prop_map(|(topic, segment_ms)| Step::Alter { topic, segment_ms }),
        1 => (0usize..8, 0u64..100).prop_map(|(topic, before)| Step::Trim { topic, before }),
        2 => (0..NAMES.len()).prop_map(|name| Step::Open { name }),
        1 => (0usize..8).prop_map(|producer| Step::Forget { producer }),
        4 => (0usize..8, 0usize..8).prop_map(|(producer, topic)| Step::Append { producer, topic }),
        2 => (0usize..8).prop_map(|topic| Step::Erase { topic }),
        2 => (0usize..8).prop_map(|erasure| Step::Complete { erasure }),
        3 => (0usize..2, 0usize..4, 1usize..4)
            .prop_map(|(group, member, topics)| Step::Join { group, member, topics }),
        1 => (0usize..2, 0usize..4).prop_map(|(group, member)| Step::Leave { group, member }),
        3 => (0usize..2, 0usize..4).prop_map(|(group, member)| Step::Drained { group, member }),
        4 => (0usize..2, 0usize..8, 0u64..9)
            .prop_map(|(group, place, next)| Step::CommitOffset { group, place, next }),
        1 => (0usize..2, 0usize..8, 0u64..9)
            .prop_map(|(group, topic, next)| Step::Reset { group, topic, next }),
        1 => (0usize..2, 0usize..2, any::<bool>()).prop_map(|(from, to, replay)| Step::Fork { from, to, replay }),
        1 => (0usize..2).prop_map(|group| Step::DeleteGroup { group }),
        2 => Just(Step::TopicsOfGroups),
        2 => (0u64..20_000).prop_map(|ms| Step::Pass { ms }),
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
