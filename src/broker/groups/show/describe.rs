//! Describes one group, page by page.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{GroupState, Known};
use crate::{
    broker::{
        Broker, Error, Shared, TopicFilter,
        groups::{calls::unknown, fetch::first_behind, under_way::Credit},
    },
    catalog::groups::{Committed, Generation, Instance, Member, MemberId, Place},
    types::{GroupName, Offset, PartitionId, TopicName},
};

/// Which group to describe, and which of its partitions.
#[derive(Clone, Debug)]
pub(crate) struct DescribeGroup {
    pub(crate) group: String,
    /// Only partitions that sort behind this one, by topic name and number.
    pub(crate) after: Option<(String, PartitionId)>,
    /// At most so many partitions.
    pub(crate) most: usize,
    /// Only those of topics that the caller may see.
    pub(crate) among: TopicFilter,
}

/// A group as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DescribedGroup {
    pub(crate) name: GroupName,
    pub(crate) state: GroupState,
    /// Why it is in this state, as text.
    pub(crate) reason: String,
    /// Since when it is in this state, in milliseconds since 1970.
    pub(crate) since_ms: i64,
    pub(crate) generation: Generation,
    pub(crate) is_ephemeral: bool,
    pub(crate) members: Vec<DescribedMember>,
    /// By topic name and partition.
    pub(crate) partitions: Vec<DescribedPartition>,
    /// Whether partitions follow behind these.
    pub(crate) more: bool,
}

/// A member as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DescribedMember {
    pub(crate) id: MemberId,
    pub(crate) instance: Instance,
    pub(crate) name: Arc<str>,
    pub(crate) client: Arc<str>,
    pub(crate) partitions: usize,
    /// `None` while its stream is broken.
    pub(crate) live: Option<DescribedLive>,
}

/// A member's stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DescribedLive {
    pub(crate) address: String,
    pub(crate) credit_left: Credit,
    /// When it last sent something, in milliseconds since 1970.
    pub(crate) heard_ms: i64,
}

/// The member that owns a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) id: MemberId,
    pub(crate) instance: Instance,
    /// Empty if it has no name.
    pub(crate) name: Arc<str>,
}

/// A partition that a group reads or has read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DescribedPartition {
    pub(crate) topic: TopicName,
    pub(crate) place: Place,
    pub(crate) owner: Option<Owner>,
    pub(crate) generation: Option<Generation>,
    pub(crate) is_draining: bool,
    pub(crate) is_paused: bool,
    pub(crate) committed: Option<Committed>,
    pub(crate) high_watermark: Offset,
    pub(crate) earliest: Offset,
    pub(crate) lag: u64,
    pub(crate) lag_exact: bool,
    pub(crate) lag_ms: u64,
    /// Since when it makes no progress, in milliseconds since 1970, if that is too long.
    pub(crate) stalled_since_ms: Option<i64>,
    /// In how many milliseconds, at the earliest, retention removes the next record to read.
    pub(crate) lost_in_ms: Option<u64>,
    /// Why it cannot be read on, as text; empty if nothing is known to be in the way.
    pub(crate) error: Arc<str>,
}

impl Broker {
    /// A page of a group: the group with all of its members, and its partitions in these topics,
    /// by topic name and number. May read files.
    pub(crate) fn describe_group(&self, request: &DescribeGroup) -> Result<DescribedGroup, Error> {
        let group = GroupName::new(&request.group)?;
        let shared = &self.shared;
        let known = shared.known_group(&group);
        let known = known.ok_or_else(|| unknown(&group))?;
        let now = shared.env.clock.elapsed();
        let (state, reason, since) = shared.state_of(&known, &request.among);
        let mut members = Vec::with_capacity(known.state.members.len());
        let have = known.partitions_of_members();
        for member in known.state.members.values() {
            let partitions = have.get(&member.id).copied().unwrap_or_default();
            members.push(shared.describe_member(&known, member, partitions, now));
        }
        let (page, more) = shared.page_of(&known, request);
        let mut partitions = Vec::with_capacity(page.len());
        let (_, failed) = shared.waits_of(&known);
        for place in page {
            let described = shared.describe_partition(&known, place, now);
            partitions.extend(described.map(|described| DescribedPartition {
                error: shared.error_of(&known, place, failed.as_ref()),
                ..described
            }));
        }
        Ok(DescribedGroup {
            name: group,
            state,
            reason,
            since_ms: shared.wall_ms(since),
            generation: known.state.generation,
            is_ephemeral: known.state.is_ephemeral,
            members,
            partitions,
            more,
        })
    }
}

impl Known {
    /// How many partitions each member has.
    fn partitions_of_members(&self) -> BTreeMap<MemberId, usize> {
        let mut have = BTreeMap::new();
        for owned in self.state.owned.values() {
            *have.entry(owned.owner).or_default() += 1;
        }
        have
    }

    fn owner(&self, place: Place) -> Option<Owner> {
        let id = self.state.owned.get(&place)?.owner;
        let member = self.state.members.get(&id)?;
        Some(Owner {
            id,
            instance: member.instance,
            name: Arc::clone(&member.name),
        })
    }
}

impl Shared {
    /// The partitions of a page, and whether there are more.
    fn page_of(&self, known: &Known, request: &DescribeGroup) -> (Vec<Place>, bool) {
        let places = self.places(known, &request.among);
        let applied = self.sequencer.applied();
        let mut page = Vec::with_capacity(places.len().min(request.most));
        for topic in applied.topics().iter() {
            let Some(first) = first_behind(request.after.as_ref(), &topic.name) else {
                continue;
            };
            for place in places.range((topic.id, first)..=(topic.id, PartitionId(u32::MAX))) {
                if page.len() >= request.most {
                    return (page, true);
                }
                page.push(*place);
            }
        }
        (page, false)
    }

    fn describe_member(
        &self,
        known: &Known,
        member: &Member,
        partitions: usize,
        now: Duration,
    ) -> DescribedMember {
        let live = self.sessions.get(&known.name, member.id, now);
        let live = live.map(|live| DescribedLive {
            address: live.address,
            credit_left: live.credit_left,
            heard_ms: self.wall_ms(now.saturating_sub(live.heard)),
        });
        DescribedMember {
            id: member.id,
            instance: member.instance,
            name: Arc::clone(&member.name),
            client: Arc::clone(&member.client),
            partitions,
            live,
        }
    }

    /// Describes a partition, unless its topic is gone.
    fn describe_partition(
        &self,
        known: &Known,
        place: Place,
        now: Duration,
    ) -> Option<DescribedPartition> {
        let behind = self.lag(known, place)?;
        let owned = known.state.owned.get(&place);
        let is_paused = self.is_paused(known, place);
        let stalled = self.stalled_since(known, place, &behind, now);
        let age = self.age(&behind);
        Some(DescribedPartition {
            topic: behind.at.topic.name.clone(),
            place,
            owner: known.owner(place),
            generation: owned.map(|owned| owned.since),
            is_draining: owned.is_some_and(|owned| owned.is_draining),
            is_paused,
            committed: known.state.offsets.get(&place).cloned(),
            high_watermark: behind.high_watermark,
            earliest: behind.earliest,
            lag: behind.records(),
            lag_exact: age.is_some() && behind.count.is_exact,
            lag_ms: age.map_or(0, |age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
            lost_in_ms: self.lost_in_ms(&behind.at, behind.next),
            stalled_since_ms: stalled.filter(|_| !is_paused).map(|at| self.wall_ms(at)),
            error: Arc::default(),
        })
    }
}
