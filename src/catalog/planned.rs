//! The catalog with what is queued.
//!
//! Where the journal has no room for long, changes that nothing queued behind them counts on are
//! refused, all at once. Then what is planned goes back to what is applied, and what is still
//! queued is planned again.
//!
//! Producers and groups are left out of that. Their changes are never refused, because appends and
//! commits that are queued behind them count on them; so there is nothing to take back, and 100,000
//! producers with what connections hold of them need not be copied for every refusal. It also is
//! why the deletion of a topic, which may be refused, leaves the sequences of producers and the
//! offsets of groups for it until it is applied: nobody asks about them meanwhile. For the same
//! reason decisions about groups count on no topic whose creation or deletion may be refused
//! ([`Settled`]).

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
    /// With nothing queued.
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

    /// What appends say of producers goes straight to them: nothing takes it back.
    pub(crate) fn producers_mut(&mut self) -> &mut Producers {
        &mut self.0.producers
    }

    /// What groups wait for is decided about where changes are.
    pub(crate) fn groups_mut(&mut self) -> &mut Groups {
        &mut self.0.groups
    }

    /// What comes of waits of groups that are over by now: see [`Groups::on_deadline`].
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

    /// When something is over next, on the clock whose time the catalog is told: for producers and
    /// for groups.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        let deadlines = [
            self.0.producers.next_deadline(),
            self.0.groups.next_deadline(),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// A change is queued.
    pub(crate) fn plan(&mut self, change: &Change, now: Duration) {
        match change {
            Change::Delete { topic } => {
                if self.0.topics.remove(*topic) {
                    self.0.erasures.forget_topic(*topic);
                    self.0.key_trims.forget_topic(*topic);
                }
            }
            change => self.0.apply(change, now),
        }
    }

    /// A change that was planned is applied.
    pub(crate) fn settle(&mut self, change: &Change) {
        if let Change::Delete { topic } = change {
            self.0.producers.forget_topic(*topic);
            self.0.groups.forget_topic(*topic);
        }
    }

    /// All changes that can be refused have been; these are still queued.
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

/// The topics that a decision about groups may count on: durable, and not about to be deleted.
/// Whatever is refused later, it leaves these.
pub(crate) struct Settled<'a> {
    pub(crate) planned: &'a Planned,
    /// How many partitions a topic has that is durable.
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
