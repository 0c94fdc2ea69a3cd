//! Setting the offsets of a group: to a position in the logs, by a distance, to another group's
//! offsets, or to given ones. All are set or none, and every offset must be within its log.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    calls::{GroupOffset, check_offsets, out_of_range, refused, unknown},
    texts::Asked,
};
use crate::{
    broker::{
        Broker, Error, Pending, Shared, TopicFilter,
        state::{PartitionRef, Topic},
    },
    catalog::{
        Planned,
        groups::{Committed, Fence, KnownTopics, Place, SetTo, State},
    },
    types::{GroupName, Offset, PartitionId, Position, TopicId, TopicName},
};

/// A request to set offsets.
#[derive(Clone, Debug)]
pub(crate) struct ResetGroup {
    /// The group; it is created if it does not exist.
    pub(crate) group: String,
    pub(crate) to: ResetTo,
    /// The topics whose offsets are set; each must have some to set. Empty for all that the group
    /// reads or has read.
    pub(crate) topics: Vec<String>,
    /// The partitions, if exactly one topic is named; empty for all.
    pub(crate) partitions: Vec<PartitionId>,
    /// Where no topics are named, only these count.
    pub(crate) among: TopicFilter,
    /// Whether only to report what would be set.
    pub(crate) dry_run: bool,
}

/// What offsets are set to.
#[derive(Clone, Debug)]
pub(crate) enum ResetTo {
    Position(Position),
    /// This many records behind the committed offset; before it if negative.
    Shift(i64),
    /// The offsets of another group.
    Group(String),
    /// These offsets.
    Offsets(Vec<GroupOffset>),
}

/// The partitions whose offsets are set, and the new offsets.
type Targets = Vec<(PartitionRef, SetTo)>;

/// An offset that is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResetOffset {
    pub(crate) topic: TopicName,
    pub(crate) place: Place,
    pub(crate) before: Option<Offset>,
    pub(crate) next: Offset,
}

impl Broker {
    /// Sets offsets of a group, lower ones too, even while it has members: these begin again at the
    /// new offsets, and their commits of records they had before are fenced. Looking for a time
    /// reads files.
    pub(crate) fn reset_group(
        &self,
        reset: ResetGroup,
    ) -> Result<Pending<Vec<ResetOffset>>, Error> {
        self.shared.set_offsets(self.shared.look_up(reset)?)
    }
}

/// A reset, with what was looked up for it.
pub(in crate::broker) struct LookedUp {
    group: GroupName,
    reset: ResetGroup,
    /// The offset of the time in each partition. Looking it up reads files, so it is done without a
    /// lock.
    at_time: Vec<(PartitionRef, Offset)>,
}

impl Shared {
    pub(in crate::broker) fn look_up(&self, reset: ResetGroup) -> Result<LookedUp, Error> {
        let group = GroupName::new(&reset.group)?;
        reset.check()?;
        self.health.check_running()?;
        let mut at_time = Vec::new();
        if let ResetTo::Position(position @ Position::Timestamp(_)) = reset.to {
            let chosen = self.chosen(&self.sequencer.planned(), &group, &reset)?;
            for at in chosen {
                let found = self.partitions.find_offset(&at, position);
                let next = at.topic.unless_deleted(found)?.offset;
                at_time.push((at, next));
            }
        }
        Ok(LookedUp {
            group,
            reset,
            at_time,
        })
    }

    /// Sets offsets according to the planned state, under its lock: nothing is committed or trimmed
    /// between the decision and the change.
    pub(in crate::broker) fn set_offsets(
        &self,
        looked_up: LookedUp,
    ) -> Result<Pending<Vec<ResetOffset>>, Error> {
        let LookedUp {
            group,
            reset,
            at_time,
        } = looked_up;
        let mut planned = self.sequencer.planned();
        let targets = self.targets(&planned, &group, &reset, at_time)?;
        let state = planned.groups().get(&group).map(|found| found.state());
        let mut set = Vec::with_capacity(targets.len());
        let mut offsets = Vec::with_capacity(targets.len());
        for (at, to) in targets {
            let place = (at.topic.id, at.partition().id);
            let is_settled = |topics: &dyn KnownTopics| topics.has(place);
            if !self.decide_on_groups(&planned, |_, topics| is_settled(topics)) {
                let topic = at.topic.name.to_string();
                let unknown = Error::UnknownTopic { topic };
                return self.sequencer.refuse_durably(unknown);
            }
            let before = state.and_then(|state| state.offsets.get(&place));
            set.push(ResetOffset {
                topic: at.topic.name.clone(),
                place,
                before: before.map(|committed| committed.next),
                next: to.next,
            });
            offsets.push((place, to));
        }
        if reset.dry_run {
            return self.sequencer.queue_barrier(move || Ok(set));
        }
        let at_ms = self.clock.now_ms();
        match planned.groups().decide_reset(&group, offsets, at_ms) {
            Ok(change) => self.plan_group(&mut planned, &group, change, move || Ok(set)),
            Err(error) => self.sequencer.refuse_durably(refused(&group, error)),
        }
    }

    /// The partitions whose offsets are set, and the new offsets, each within its log.
    fn targets(
        &self,
        planned: &Planned,
        group: &GroupName,
        reset: &ResetGroup,
        at_time: Vec<(PartitionRef, Offset)>,
    ) -> Result<Targets, Error> {
        let mut targets = Vec::new();
        match &reset.to {
            ResetTo::Position(Position::Timestamp(_)) => {
                for (at, found) in at_time {
                    // The record may have been trimmed since it was found.
                    let next = found.max(range(planned, &at).0);
                    targets.push((at, next.into()));
                }
            }
            ResetTo::Position(position) => {
                for at in self.chosen(planned, group, reset)? {
                    let (earliest, high_watermark) = range(planned, &at);
                    let next = match position {
                        Position::Earliest => earliest,
                        Position::Offset(offset) => *offset,
                        _ => high_watermark,
                    };
                    targets.push(within(planned, group, at, next)?);
                }
            }
            ResetTo::Shift(by) => return self.shifted(planned, group, reset, *by),
            ResetTo::Group(other) => {
                return self.of_group(planned, group, &GroupName::new(other)?, reset);
            }
            ResetTo::Offsets(offsets) => return self.as_given(planned, group, offsets, reset),
        }
        Ok(targets)
    }

    /// The partitions that the request names, or that the group reads or has read.
    fn chosen(
        &self,
        planned: &Planned,
        group: &GroupName,
        reset: &ResetGroup,
    ) -> Result<Vec<PartitionRef>, Error> {
        let mut chosen = Vec::new();
        for topic in self.topics_of(planned, group, reset)? {
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

    fn topics_of(
        &self,
        planned: &Planned,
        group: &GroupName,
        reset: &ResetGroup,
    ) -> Result<Vec<Arc<Topic>>, Error> {
        let topics = self.partitions.topics();
        if !reset.topics.is_empty() {
            let names: BTreeSet<&String> = reset.topics.iter().collect();
            return names.into_iter().map(|name| topics.find(name)).collect();
        }
        let mut ids: BTreeSet<TopicId> = BTreeSet::new();
        if let Some(found) = planned.groups().get(group) {
            let offsets = found.state().offsets.keys();
            let read = offsets.chain(found.state().owned.keys());
            let places = read.chain(found.state().replay_until.keys());
            ids.extend(places.map(|place| place.0));
        }
        let mut found: Vec<Arc<Topic>> = Vec::new();
        for id in &ids {
            found.extend(topics.find_by_id(*id).cloned());
        }
        found.retain(|topic| reset.among.has(topic.name.as_str()));
        if found.is_empty() {
            let group = group.as_str();
            let reason = format!(
                "group {group:?} has read no topic yet; name the topics that it is to read"
            );
            return Err(Error::MalformedRequest { reason });
        }
        Ok(found)
    }

    fn shifted(
        &self,
        planned: &Planned,
        group: &GroupName,
        reset: &ResetGroup,
        by: i64,
    ) -> Result<Targets, Error> {
        let state = state(planned, group)?;
        let mut committed = Named::of(group, reset);
        let mut targets = Vec::new();
        for at in self.chosen(planned, group, reset)? {
            if let Some(committed) = committed.take(state, &at)? {
                targets.push(shift(planned, at, committed.next, by)?);
            }
        }
        committed.check()?;
        Ok(targets)
    }

    fn of_group(
        &self,
        planned: &Planned,
        group: &GroupName,
        other: &GroupName,
        reset: &ResetGroup,
    ) -> Result<Targets, Error> {
        let state = state(planned, other)?;
        let all = match reset.topics.is_empty() {
            true => self.all_committed(state, &reset.among),
            false => self.chosen(planned, group, reset)?,
        };
        let mut committed = Named::of(other, reset);
        let mut targets = Vec::new();
        for at in all {
            if let Some(Committed { next, metadata, .. }) = committed.take(state, &at)?.cloned() {
                targets.push(within(planned, group, at, SetTo { next, metadata })?);
            }
        }
        committed.check()?;
        Ok(targets)
    }

    /// The partitions of these topics in which a group has committed offsets.
    fn all_committed(&self, state: &State, among: &TopicFilter) -> Vec<PartitionRef> {
        let mut all = Vec::with_capacity(state.offsets.len());
        for place in state.offsets.keys() {
            all.extend(self.partitions.find_partition(place.0, place.1));
        }
        all.retain(|at| among.has(at.topic.name.as_str()));
        all
    }

    fn as_given(
        &self,
        planned: &Planned,
        group: &GroupName,
        offsets: &[GroupOffset],
        reset: &ResetGroup,
    ) -> Result<Targets, Error> {
        check_offsets(offsets)?;
        self.check_given(offsets, reset)?;
        let mut commits = Vec::with_capacity(offsets.len());
        for offset in offsets {
            commits.push(self.commit_of(offset.clone(), Fence::Forced)?);
        }
        self.check_once(&commits)?;
        let mut targets = Vec::with_capacity(commits.len());
        for commit in commits {
            let place = commit.place;
            if let Some(at) = self.partitions.find_partition(place.0, place.1) {
                let to = SetTo {
                    next: commit.next,
                    metadata: commit.metadata,
                };
                targets.push(within(planned, group, at, to)?);
            }
        }
        Ok(targets)
    }

    /// Checks that all given offsets are in the named topics and partitions, and that each of these
    /// has one.
    fn check_given(&self, offsets: &[GroupOffset], reset: &ResetGroup) -> Result<(), Error> {
        let malformed = |reason: String| Err(Error::MalformedRequest { reason });
        if offsets.is_empty() {
            return malformed("the reset has no offset to set".to_owned());
        }
        for name in &reset.topics {
            self.partitions.topics().find(name)?;
        }
        for offset in offsets {
            if !reset.names(&offset.topic, offset.partition) {
                let GroupOffset {
                    topic, partition, ..
                } = offset;
                return malformed(format!(
                    "partition {partition} of topic {topic:?} is not among the `topics` and `partitions` that are \
                     named: leave its offset out, or name it"
                ));
            }
        }
        for name in &reset.topics {
            if offsets.iter().all(|offset| offset.topic != *name) {
                return malformed(format!(
                    "no offset of topic {name:?} is given, which is named"
                ));
            }
        }
        for partition in &reset.partitions {
            if offsets.iter().all(|offset| offset.partition != *partition) {
                return malformed(format!(
                    "no offset of partition {partition} is given, which is named"
                ));
            }
        }
        Ok(())
    }
}

/// Selects a group's committed offsets for a reset. Each named topic and partition must have one.
struct Named<'a> {
    group: &'a GroupName,
    reset: &'a ResetGroup,
    /// The topics so far, and whether the group has committed an offset there.
    topics: BTreeMap<TopicName, bool>,
}

impl<'a> Named<'a> {
    fn of(group: &'a GroupName, reset: &'a ResetGroup) -> Self {
        Self {
            group,
            reset,
            topics: BTreeMap::new(),
        }
    }

    /// The committed offset in a partition, if there is one.
    fn take<'s>(
        &mut self,
        state: &'s State,
        at: &PartitionRef,
    ) -> Result<Option<&'s Committed>, Error> {
        let (topic, partition) = (&at.topic.name, at.partition().id);
        let found = state.offsets.get(&(at.topic.id, partition));
        if found.is_none() && !self.reset.partitions.is_empty() {
            return Err(nothing(self.group, Some(topic), Some(partition)));
        }
        *self.topics.entry(topic.clone()).or_default() |= found.is_some();
        Ok(found)
    }

    fn check(&self) -> Result<(), Error> {
        let empty = self.topics.iter().find(|(_, is_any)| !**is_any);
        match empty {
            Some((topic, _)) if !self.reset.topics.is_empty() => {
                Err(nothing(self.group, Some(topic), None))
            }
            _ if self.topics.values().any(|is_any| *is_any) => Ok(()),
            _ => Err(nothing(self.group, None, None)),
        }
    }
}

fn nothing(group: &GroupName, topic: Option<&TopicName>, partition: Option<PartitionId>) -> Error {
    Error::NothingCommitted {
        group: group.to_string(),
        topic: topic.map(TopicName::to_string),
        partition,
    }
}

impl ResetGroup {
    /// Refuses requests that may reach more partitions than their sender expects.
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

    /// Whether the request names a partition.
    fn names(&self, topic: &str, partition: PartitionId) -> bool {
        (self.topics.is_empty() || self.topics.iter().any(|name| name == topic))
            && (self.partitions.is_empty() || self.partitions.contains(&partition))
    }
}

/// The planned state of a group: durable or queued.
fn state<'a>(planned: &'a Planned, group: &GroupName) -> Result<&'a State, Error> {
    let found = planned.groups().get(group);
    Ok(found.ok_or_else(|| unknown(group))?.state())
}

/// The range of a log, without what is about to be trimmed.
fn range(planned: &Planned, at: &PartitionRef) -> (Offset, Offset) {
    let (earliest, high_watermark) = at.range();
    let start = planned.topics().start(at.topic.id, at.partition().id);
    (earliest.max(start), high_watermark)
}

/// An offset, checked to be within its log.
fn within(
    planned: &Planned,
    group: &GroupName,
    at: PartitionRef,
    to: impl Into<SetTo>,
) -> Result<(PartitionRef, SetTo), Error> {
    let (to, range) = (to.into(), range(planned, &at));
    match (range.0..=range.1).contains(&to.next) {
        true => Ok((at, to)),
        false => Err(out_of_range(group, &at, to.next, range, Asked::Set)),
    }
}

/// The offset `by` records behind `from`, or before it, checked to be within its log.
fn shift(
    planned: &Planned,
    at: PartitionRef,
    from: Offset,
    by: i64,
) -> Result<(PartitionRef, SetTo), Error> {
    let (earliest, high_watermark) = range(planned, &at);
    let to = i128::from(from.0) + i128::from(by);
    if let Ok(offset) = u64::try_from(to)
        && (earliest.0..=high_watermark.0).contains(&offset)
    {
        return Ok((at, Offset(offset).into()));
    }
    Err(Error::ShiftOutOfRange {
        topic: at.topic.name.to_string(),
        partition: at.partition().id,
        by,
        from,
        earliest,
        high_watermark,
    })
}
