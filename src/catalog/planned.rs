//! The catalog with all queued changes.
//!
//! If the journal has no room for long, all queued changes that no later one relies on are refused
//! at once. Then the planned state is reset to the applied state, and the changes that are still
//! queued are planned again.
//!
//! Producers and groups are not reset. Their changes are never refused, because appends and commits
//! queued behind them rely on them. So there is nothing to take back, and 100,000 producers with
//! the connections that hold them need not be copied for every refusal. For the same reason, the
//! deletion of a topic, which may be refused, keeps the topic's sequences of producers and offsets
//! of groups until it is applied; nobody asks for them meanwhile. And decisions about groups rely
//! on no topic whose creation or deletion may still be refused ([`Settled`]).

use std::{ops::Deref, time::Duration};

use super::{
    Catalog, Change,
    groups::{GroupChange, Groups, KnownTopics, Place},
    producers::Producers,
};
use crate::types::{GroupName, TopicId, TopicName};

/// A catalog that has had every change that is durable or queued.
#[derive(Clone, Debug)]
pub(crate) struct Planned(Catalog);

impl Planned {
    /// A copy of the applied catalog, with nothing queued.
    pub(crate) fn of(applied: &Catalog) -> Self {
        Self(Catalog {
            topics: applied.topics.clone(),
            producers: applied.producers.to_plan(),
            erasures: applied.erasures.clone(),
            key_trims: applied.key_trims.clone(),
            groups: applied.groups.to_plan(),
            access_tokens: applied.access_tokens.clone(),
        })
    }

    /// Mutable access to producers: their changes are planned directly, because they are never
    /// taken back.
    pub(crate) fn producers_mut(&mut self) -> &mut Producers {
        &mut self.0.producers
    }

    /// Mutable access to groups: their waits are decided here, where changes are planned.
    pub(crate) fn groups_mut(&mut self) -> &mut Groups {
        &mut self.0.groups
    }

    /// The changes for waits of groups that have ended by now: see [`Groups::on_deadline`].
    pub(crate) fn on_groups_deadline(
        &mut self,
        durable: &dyn Fn(TopicId) -> Option<u32>,
        now: Duration,
    ) -> Vec<(GroupName, GroupChange)> {
        let mut groups = std::mem::take(&mut self.0.groups);
        let topics = Settled {
            planned: self,
            durable,
        };
        let changes = groups.on_deadline(&topics, now);
        self.0.groups = groups;
        changes
    }

    /// The next deadline of producers or groups, on the clock by which the catalog is told the
    /// time.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        let deadlines = [
            self.0.producers.next_deadline(),
            self.0.groups.next_deadline(),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Plans a change that is queued.
    pub(crate) fn plan(&mut self, change: &Change, now: Duration) {
        match change {
            Change::Delete { topic } => {
                if self.0.topics.remove(*topic) {
                    self.0.erasures.complete_topic(*topic);
                    self.0.key_trims.forget_topic(*topic);
                }
            }
            change => self.0.apply(change, now),
        }
    }

    /// Notes that a planned change was applied.
    pub(crate) fn settle(&mut self, change: &Change) {
        if let Change::Delete { topic } = change {
            self.0.producers.forget_topic(*topic);
            self.0.groups.forget_topic(*topic);
        }
    }

    /// Resets after all changes that can be refused were refused; `queued` are the ones still
    /// queued.
    pub(crate) fn take_back<'a>(
        &mut self,
        applied: &Catalog,
        queued: impl IntoIterator<Item = &'a Change>,
        now: Duration,
    ) {
        self.0.topics.clone_from(&applied.topics);
        self.0.erasures.clone_from(&applied.erasures);
        self.0.key_trims.clone_from(&applied.key_trims);
        self.0.access_tokens.clone_from(&applied.access_tokens);
        for change in queued {
            match change {
                Change::OpenProducer { .. }
                | Change::ForgetProducer { .. }
                | Change::Group { .. } => {}
                change => self.plan(change, now),
            }
        }
    }
}

/// The topics that decisions about groups may rely on: durable and not about to be deleted. They
/// stay, whatever is refused later.
pub(crate) struct Settled<'a> {
    pub(crate) planned: &'a Planned,
    /// The number of partitions of a topic, if the topic is durable.
    pub(crate) durable: &'a dyn Fn(TopicId) -> Option<u32>,
}

impl Settled<'_> {
    fn count(&self, topic: TopicId, planned: u32) -> Option<u32> {
        (self.durable)(topic).map(|durable| durable.min(planned))
    }
}

impl KnownTopics for Settled<'_> {
    fn named(&self, name: &TopicName) -> Option<(TopicId, u32)> {
        let (topic, planned) = KnownTopics::named(self.planned.topics(), name)?;
        Some((topic, self.count(topic, planned)?))
    }

    fn with_prefix(&self, prefix: &str, found: &mut dyn FnMut(TopicId, u32)) {
        let topics = self.planned.topics();
        topics.with_prefix(prefix, &mut |topic, planned| {
            if let Some(partitions) = self.count(topic, planned) {
                found(topic, partitions);
            }
        });
    }

    fn has(&self, (topic, partition): Place) -> bool {
        self.planned.topics().has_partition(topic, partition)
            && (self.durable)(topic).is_some_and(|partitions| partition.0 < partitions)
    }
}

impl Deref for Planned {
    type Target = Catalog;

    fn deref(&self) -> &Catalog {
        &self.0
    }
}
