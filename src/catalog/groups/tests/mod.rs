//! Groups, as a state machine.

mod assign;
mod cases;
mod forks;
mod instances;
mod model;
mod room;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{Generation, GroupChange, Groups, Join, KnownTopics, MemberId, Place, State};
use crate::types::{GroupName, PartitionId, TopicId, TopicName};

pub(super) const SESSION: Duration = Duration::from_secs(10);
pub(super) const DRAIN: Duration = Duration::from_secs(30);

/// Topics by name, with their numbers of partitions.
#[derive(Clone, Debug, Default)]
pub(super) struct Topics(pub(super) BTreeMap<TopicName, (TopicId, u32)>);

impl Topics {
    pub(super) fn new(topics: &[(&str, u32)]) -> Self {
        let ids = (1..).map(TopicId);
        let topics = topics.iter().zip(ids);
        Self(
            topics
                .map(|((topic, partitions), id)| (topic_name(topic), (id, *partitions)))
                .collect(),
        )
    }
}

impl KnownTopics for Topics {
    fn named(&self, name: &TopicName) -> Option<(TopicId, u32)> {
        self.0.get(name).copied()
    }

    fn with_prefix(&self, prefix: &str, found: &mut dyn FnMut(TopicId, u32)) {
        for (name, (id, partitions)) in &self.0 {
            if name.as_str().starts_with(prefix) {
                found(*id, *partitions);
            }
        }
    }

    fn has(&self, (topic, partition): Place) -> bool {
        let mut known = self.0.values();
        known.any(|(id, partitions)| *id == topic && partition.0 < *partitions)
    }
}

impl Groups {
    /// The changes since the last call, looked up in batches of about this size.
    fn take_changes(&mut self, about: usize) -> Vec<(GroupName, GroupChange)> {
        let (mut noted, mut changes) = (self.take_noted(), Vec::new());
        while !noted.is_empty() {
            self.look_up(&mut noted, about, &mut changes);
        }
        changes
    }
}

pub(super) fn topic_name(name: &str) -> TopicName {
    TopicName::new(name).expect("it is valid")
}

pub(super) fn group_name() -> GroupName {
    GroupName::new("g").expect("it is valid")
}

/// A member that joins without a name of its own, for these topics.
pub(super) fn join(id: u64, topics: &[&str]) -> Join {
    Join {
        fresh: MemberId(id),
        back: None,
        instance: None,
        name: "".into(),
        topics: topics.iter().map(|name| topic_name(name)).collect(),
        prefixes: BTreeSet::new(),
        session: SESSION,
        drain: DRAIN,
        client: "test".into(),
        is_ephemeral: false,
        at_ms: 1,
    }
}

/// Groups with their topics and the time.
pub(super) struct World {
    pub(super) groups: Groups,
    pub(super) topics: Topics,
    pub(super) now: Duration,
    /// Every change so far.
    pub(super) log: Vec<(GroupName, GroupChange)>,
}

impl World {
    pub(super) fn new(topics: &[(&str, u32)]) -> Self {
        Self {
            groups: Groups::default(),
            topics: Topics::new(topics),
            now: Duration::from_secs(1_000),
            log: Vec::new(),
        }
    }

    pub(super) fn apply(&mut self, change: GroupChange) {
        self.apply_to(group_name(), change);
    }

    fn apply_to(&mut self, group: GroupName, change: GroupChange) {
        self.groups.apply(&group, &change, self.now);
        self.log.push((group, change));
    }

    pub(super) fn join(&mut self, join: Join) -> MemberId {
        let joined = self
            .groups
            .decide_join(&group_name(), join, &self.topics, self.now);
        let joined = joined.expect("there is room");
        self.apply(joined.change);
        joined.member
    }

    pub(super) fn leave(&mut self, member: u64) {
        let left = self
            .groups
            .decide_leave(&group_name(), MemberId(member), &self.topics);
        self.apply(left.expect("it is a member"));
    }

    /// Hands over all partitions that the member was told to hand over.
    pub(super) fn drain(&mut self, member: MemberId) {
        let places: Vec<Place> = self.draining(member);
        self.hand_over(member, &places);
    }

    pub(super) fn hand_over(&mut self, member: MemberId, places: &[Place]) {
        let drained =
            self.groups
                .decide_drained(&group_name(), member, places, &self.topics, self.now);
        if let Some(change) = drained.expect("it is a member") {
            self.apply(change);
        }
    }

    pub(super) fn draining(&self, member: MemberId) -> Vec<Place> {
        let state = self.state();
        let owned = state.owned.iter();
        let draining = owned.filter(|(_, owned)| owned.owner == member && owned.is_draining);
        draining.map(|(place, _)| *place).collect()
    }

    pub(super) fn lose(&mut self, member: u64) {
        self.groups.lose(&group_name(), MemberId(member), self.now);
    }

    /// Lets time pass, and does everything that becomes due meanwhile.
    pub(super) fn advance(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(next) = self.groups.next_deadline().filter(|next| *next <= end) {
            self.now = next.max(self.now);
            for (group, change) in self.groups.on_deadline(&self.topics, self.now) {
                self.apply_to(group, change);
            }
        }
        self.now = end;
    }

    pub(super) fn state(&self) -> State {
        let group = self.groups.get(&group_name());
        group.map(|group| group.state().clone()).unwrap_or_default()
    }

    /// How many partitions each member has, in the order of their ids.
    pub(super) fn shares(&self) -> Vec<usize> {
        let state = self.state();
        let mut shares: BTreeMap<MemberId, usize> = BTreeMap::new();
        for member in state.members.keys() {
            shares.insert(*member, 0);
        }
        for owned in state.owned.values() {
            *shares.entry(owned.owner).or_default() += 1;
        }
        shares.into_values().collect()
    }

    pub(super) fn owner(&self, topic: u64, partition: u32) -> Option<(MemberId, Generation)> {
        let owned = self.state().owned.get(&place(topic, partition)).copied();
        owned.map(|owned| (owned.owner, owned.since))
    }
}

pub(super) fn place(topic: u64, partition: u32) -> Place {
    (TopicId(topic), PartitionId(partition))
}

pub(super) fn text(text: &str) -> Arc<str> {
    text.into()
}
