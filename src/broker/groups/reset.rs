//! Setting the offsets of a group: to a place in the logs, by a distance, to where another group
//! is, or as they are given. All of them or none: nothing is moved to where the log does not reach.

use std::{collections::BTreeSet, sync::Arc};

use super::calls::{GroupOffset, check_offsets, check_once, refused, unknown};
use crate::{
    broker::{
        Broker, Error, Pending, Shared,
        state::{PartitionRef, Topic},
    },
    catalog::groups::{Fence, KnownTopics, Place, State},
    types::{GroupName, Offset, PartitionId, Position, TopicId, TopicName},
};

/// A request to set offsets.
#[derive(Clone, Debug)]
pub(crate) struct ResetGroup {
    /// It is made if there is none.
    pub(crate) group: String,
    pub(crate) to: ResetTo,
    /// Which topics; none named: those that the group has read or reads.
    pub(crate) topics: Vec<String>,
    /// Which partitions of the one topic that is named then; none named: all.
    pub(crate) partitions: Vec<PartitionId>,
    /// Whether only to say what would be set.
    pub(crate) dry_run: bool,
}

/// Where offsets are set.
#[derive(Clone, Debug)]
pub(crate) enum ResetTo {
    Position(Position),
    /// So far behind what is committed; before that if it is negative.
    Shift(i64),
    /// Where another group is.
    Group(String),
    /// Each of these.
    Offsets(Vec<GroupOffset>),
}

/// An offset that is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResetOffset {
    pub(crate) topic: TopicName,
    pub(crate) place: Place,
    pub(crate) before: Option<Offset>,
    pub(crate) next: Offset,
}

impl Broker {
    /// Sets offsets of a group, lower ones too, also while it has members: they begin anew there,
    /// and what they commit of what they have read before is fenced. Looking for a time reads
    /// files.
    pub(crate) fn reset_group(
        &self,
        reset: ResetGroup,
    ) -> Result<Pending<Vec<ResetOffset>>, Error> {
        let group = GroupName::new(&reset.group)?;
        reset.check()?;
        let shared = &self.shared;
        shared.health.check_running()?;
        let targets = shared.targets(&group, &reset)?;
        let mut planned = shared.sequencer.planned();
        let state = planned.groups().get(&group).map(|found| found.state());
        let mut set = Vec::with_capacity(targets.len());
        for (at, next) in targets {
            let place = (at.topic.id, at.partition().id);
            let is_settled = |topics: &dyn KnownTopics| topics.has(place);
            if !shared.decide_on_groups(&planned, |_, topics| is_settled(topics)) {
                let topic = at.topic.name.to_string();
                return shared
                    .sequencer
                    .refuse_durably(Error::UnknownTopic { topic });
            }
            let before = state.and_then(|state| state.offsets.get(&place));
            set.push(ResetOffset {
                topic: at.topic.name.clone(),
                place,
                before: before.map(|committed| committed.next),
                next,
            });
        }
        if reset.dry_run || set.is_empty() {
            return shared.sequencer.queue_barrier(move || Ok(set));
        }
        let offsets = set.iter().map(|set| (set.place, set.next)).collect();
        let at_ms = shared.clock.now_ms();
        match planned.groups().decide_reset(&group, offsets, at_ms) {
            Ok(change) => shared.plan_group(&mut planned, &group, change, move || Ok(set)),
            Err(error) => shared.sequencer.refuse_durably(refused(&group, error)),
        }
    }
}

impl Shared {
    /// The partitions whose offsets are set, and to what: each within its log.
    fn targets(
        &self,
        group: &GroupName,
        reset: &ResetGroup,
    ) -> Result<Vec<(PartitionRef, Offset)>, Error> {
        match &reset.to {
            ResetTo::Position(position) => {
                let mut targets = Vec::new();
                for at in self.chosen(group, reset)? {
                    let found = self.partitions.find_offset(&at, *position);
                    let next = at.topic.unless_deleted(found)?.offset;
                    targets.push((at, next));
                }
                Ok(targets)
            }
            ResetTo::Shift(by) => self.shifted(group, reset, *by),
            ResetTo::Group(other) => self.of_group(&GroupName::new(other)?, reset),
            ResetTo::Offsets(offsets) => self.as_given(offsets, reset),
        }
    }

    /// All partitions that a request names, or that the group has to do with.
    fn chosen(&self, group: &GroupName, reset: &ResetGroup) -> Result<Vec<PartitionRef>, Error> {
        let mut chosen = Vec::new();
        for topic in self.topics_of(group, reset)? {
            let all: Vec<PartitionId> = match reset.partitions.is_empty() {
                true => (0..topic.partition_count()).map(PartitionId).collect(),
                false => reset.partitions.clone(),
            };
            for partition in all {
                chosen.push(topic.partition(partition)?);
            }
        }
        Ok(chosen)
    }

    fn topics_of(&self, group: &GroupName, reset: &ResetGroup) -> Result<Vec<Arc<Topic>>, Error> {
        if !reset.topics.is_empty() {
            let topics = self.partitions.topics();
            let names: BTreeSet<&String> = reset.topics.iter().collect();
            return names.into_iter().map(|name| topics.find(name)).collect();
        }
        let ids = self.with_state(group, |state| {
            let offsets = state.offsets.keys();
            let places = offsets.chain(state.owned.keys());
            let ids: BTreeSet<TopicId> = places.map(|place| place.0).collect();
            ids
        })?;
        let topics = self.partitions.topics();
        let found = ids.iter().filter_map(|id| topics.find_by_id(*id));
        Ok(found.cloned().collect())
    }

    fn with_state<T>(&self, group: &GroupName, of: impl FnOnce(&State) -> T) -> Result<T, Error> {
        let planned = self.sequencer.planned();
        let found = planned.groups().get(group);
        Ok(of(found.ok_or_else(|| unknown(group))?.state()))
    }

    fn shifted(
        &self,
        group: &GroupName,
        reset: &ResetGroup,
        by: i64,
    ) -> Result<Vec<(PartitionRef, Offset)>, Error> {
        let chosen = self.chosen(group, reset)?;
        let are_named = !reset.partitions.is_empty();
        let mut targets = Vec::with_capacity(chosen.len());
        for at in chosen {
            let place = (at.topic.id, at.partition().id);
            let committed = self.with_state(group, |state| {
                state.offsets.get(&place).map(|committed| committed.next)
            })?;
            let Some(committed) = committed else {
                if are_named {
                    return Err(Error::NoOffset {
                        group: group.to_string(),
                        topic: at.topic.name.to_string(),
                        partition: place.1,
                    });
                }
                continue;
            };
            // Beyond either end of the numbers is beyond the log as well.
            let next = Offset(committed.0.saturating_add_signed(by));
            let is_exact = i128::from(next.0) == i128::from(committed.0) + i128::from(by);
            targets.push(within(at, next, is_exact)?);
        }
        Ok(targets)
    }

    fn of_group(
        &self,
        other: &GroupName,
        reset: &ResetGroup,
    ) -> Result<Vec<(PartitionRef, Offset)>, Error> {
        let committed: Vec<(Place, Offset)> = self.with_state(other, |state| {
            let offsets = state.offsets.iter();
            offsets.map(|(place, at)| (*place, at.next)).collect()
        })?;
        for name in &reset.topics {
            self.partitions.topics().find(name)?;
        }
        let mut targets = Vec::new();
        for (place, next) in committed {
            let Some(at) = self.partitions.find_partition(place.0, place.1) else {
                continue;
            };
            if reset.takes(&at) {
                targets.push(within(at, next, true)?);
            }
        }
        Ok(targets)
    }

    fn as_given(
        &self,
        offsets: &[GroupOffset],
        reset: &ResetGroup,
    ) -> Result<Vec<(PartitionRef, Offset)>, Error> {
        check_offsets(offsets)?;
        let mut commits = Vec::with_capacity(offsets.len());
        for offset in offsets {
            commits.push(self.commit_of(offset.clone(), Fence::Forced)?);
        }
        check_once(&commits)?;
        let mut targets = Vec::with_capacity(commits.len());
        for commit in commits {
            let Some(at) = self
                .partitions
                .find_partition(commit.place.0, commit.place.1)
            else {
                continue;
            };
            if reset.takes(&at) {
                targets.push(within(at, commit.next, true)?);
            }
        }
        Ok(targets)
    }
}

impl ResetGroup {
    /// Refuses what may mean more partitions than its sender thinks of.
    fn check(&self) -> Result<(), Error> {
        let malformed = |reason: String| Err(Error::MalformedRequest { reason });
        if !self.partitions.is_empty() && self.topics.len() != 1 {
            let topics = self.topics.len();
            return malformed(format!(
                "`partitions` are those of one topic, and `topics` names {topics}"
            ));
        }
        let mut seen = BTreeSet::new();
        for partition in &self.partitions {
            if !seen.insert(partition) {
                return malformed(format!("partition {partition} is named twice"));
            }
        }
        if let ResetTo::Offsets(offsets) = &self.to
            && offsets.iter().any(|offset| offset.generation.is_some())
        {
            return malformed("the offsets of a reset name no generation".to_owned());
        }
        Ok(())
    }

    /// Whether a partition is among those that are named.
    fn takes(&self, at: &PartitionRef) -> bool {
        let mut names = self.topics.iter();
        (self.topics.is_empty() || names.any(|name| name == at.topic.name.as_str()))
            && (self.partitions.is_empty() || self.partitions.contains(&at.partition().id))
    }
}

/// An offset that must be within its log, and that is as it was asked for.
fn within(
    at: PartitionRef,
    offset: Offset,
    is_exact: bool,
) -> Result<(PartitionRef, Offset), Error> {
    let (earliest, high_watermark) = at.range();
    if is_exact && (earliest..=high_watermark).contains(&offset) {
        return Ok((at, offset));
    }
    Err(Error::OffsetOutOfRange {
        topic: at.topic.name.to_string(),
        partition: at.partition().id,
        offset,
        earliest,
        high_watermark,
    })
}
