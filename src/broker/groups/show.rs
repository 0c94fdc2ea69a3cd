//! What users are shown of groups: owners, the lag of each partition, and since when partitions
//! make no progress.

mod describe;
mod measure;

pub(crate) use describe::{DescribeGroup, DescribedGroup, DescribedMember, DescribedPartition};

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::lag::Lag;
use crate::{
    broker::{Broker, Shared, TopicFilter},
    catalog::groups::{
        Failed, Groups, KnownTopics as _, MemberId, Owned, Place, Standing, State, Waiting,
    },
    types::{GroupName, PartitionId, TopicId, TopicName},
};

/// How often partitions are checked for progress, for the log.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Most missing topics and prefixes that a group's reason names.
const MISSING_NAMES_TOLD: usize = 10;

/// The state of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GroupState {
    /// It has no members.
    Empty,
    /// All members have their partitions.
    Stable,
    /// Partitions are being handed over.
    Moving,
    /// A member's stream has broken, and it may come back.
    Waiting,
}

/// A group in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListedGroup {
    pub(crate) name: GroupName,
    pub(crate) state: GroupState,
    pub(crate) members: usize,
    pub(crate) partitions: usize,
    /// The lag of all partitions, in records.
    pub(crate) lag: u64,
    /// How many partitions make no progress.
    pub(crate) stalled: usize,
    pub(crate) is_ephemeral: bool,
}

/// What is known of a group at one moment.
pub(super) struct Known {
    pub(super) name: GroupName,
    pub(super) state: State,
    standing: BTreeMap<Place, Standing>,
    changed_at: Duration,
}

/// Which stalled partitions were logged.
#[derive(Default)]
pub(in crate::broker) struct Watch {
    looked_at: Duration,
    said: BTreeSet<(GroupName, Place)>,
    /// How many times a partition has stalled.
    pub(in crate::broker) count: u64,
}

impl Broker {
    /// At most `most` groups whose names start with `prefix` and sort behind `after`, of those that
    /// the caller may see; and whether there are more. Only these topics count. May read files.
    pub(crate) fn list_groups(
        &self,
        prefix: &str,
        after: &str,
        most: usize,
        is_seen: impl Fn(&str) -> bool,
        topics: &TopicFilter,
    ) -> (Vec<ListedGroup>, bool) {
        let applied = self.shared.sequencer.applied();
        let groups = applied.groups().iter();
        let mut names = groups
            .map(|(name, _)| name)
            .filter(|name| name.as_str() > after && name.as_str().starts_with(prefix))
            .filter(|name| is_seen(name.as_str()));
        let page: Vec<GroupName> = names.by_ref().take(most).cloned().collect();
        let are_more = names.next().is_some();
        drop(names);
        drop(applied);
        let known = page.iter().filter_map(|name| self.shared.known_group(name));
        (
            known
                .map(|known| self.shared.list(&known, topics))
                .collect(),
            are_more,
        )
    }
}

impl Known {
    fn name_of(&self, member: MemberId) -> Arc<str> {
        let known = self.state.members.get(&member);
        known
            .map(|known| Arc::clone(&known.name))
            .unwrap_or_default()
    }
}

impl Shared {
    fn known_group(&self, name: &GroupName) -> Option<Known> {
        let applied = self.sequencer.applied();
        let group = applied.groups().get(name)?;
        Some(Known {
            name: name.clone(),
            state: group.state().clone(),
            standing: group.standing().clone(),
            changed_at: group.changed_at(),
        })
    }

    /// The partitions that a group has an owner or an offset for, or replays, and all other
    /// partitions of the topics that it reads; in these topics.
    fn places(&self, known: &Known, among: &TopicFilter) -> BTreeSet<Place> {
        let Known { state, .. } = known;
        let mut places: BTreeSet<Place> = state.owned.keys().copied().collect();
        places.extend(state.offsets.keys().chain(state.replay_until.keys()));
        let mut topics: BTreeSet<TopicId> = state.offsets.keys().map(|place| place.0).collect();
        topics.extend(state.taken(self.sequencer.applied().topics()).keys());
        for topic in topics {
            let partitions = self.durable_partitions(topic).unwrap_or_default();
            places.extend((0..partitions).map(|partition| (topic, PartitionId(partition))));
        }
        if !among.is_all() {
            places.retain(|place| among.has(&self.topic_name(*place)));
        }
        places
    }

    /// How many partitions of subscribed topics have no owner.
    fn without_owner(&self, known: &Known) -> usize {
        let taken = known.state.taken(self.sequencer.applied().topics());
        let mut count = 0;
        for (topic, partitions) in taken {
            let all = (0..partitions).map(|partition| (topic, PartitionId(partition)));
            let owned = &known.state.owned;
            count += all.filter(|place| !owned.contains_key(place)).count();
        }
        count
    }

    /// The reason to show if partitions of subscribed topics have no owner.
    fn lacks_owners(&self, known: &Known) -> Option<String> {
        let count = match self.without_owner(known) {
            0 => return None,
            1 => "1 partition has no owner".to_owned(),
            count => format!("{count} partitions have no owner"),
        };
        let has_room = self.sequencer.planned().groups().have_room_for_partitions();
        Some(match has_room {
            true => format!("{count}, and members are about to get them"),
            false => format!(
                "{count}: groups have no room for more; delete some or their offsets, or raise \
                 memory.catalog_bytes"
            ),
        })
    }

    /// A moment of the monotonic clock, in milliseconds since 1970.
    fn wall_ms(&self, at: Duration) -> i64 {
        self.clock.ms_of(at)
    }

    /// The state of a group, the reason, and since when.
    fn state_of(&self, known: &Known, among: &TopicFilter) -> (GroupState, String, Duration) {
        let members = known.state.members.len();
        let (waiting, mut failed) = self.waits_of(known);
        if let Some(failed) = &mut failed
            && !among.is_all()
        {
            // Its text may name any topic.
            failed.error = "an error that members are told".to_owned();
        }
        if members == 0 {
            let none = "it has no members";
            let reason = match failed {
                Some(failed) => format!("{none}; {}", ended(&failed)),
                None => none.to_owned(),
            };
            return (GroupState::Empty, reason, known.changed_at);
        }
        if let Some(Waiting { member, since }) = waiting {
            let name = known.name_of(member);
            let reason = match failed.filter(|failed| failed.member == member) {
                Some(failed) => {
                    format!("{}; its partitions are kept for its name", ended(&failed))
                }
                None => format!(
                    "the stream of member {member} {name:?} is broken, and it may come back"
                ),
            };
            return (GroupState::Waiting, reason, since);
        }
        let mut owned = known.state.owned.iter();
        if let Some((place, draining)) = owned.find(|(_, owned)| owned.is_draining) {
            let (topic, partition) = (self.topic_name(*place), place.1);
            let (id, name) = (draining.owner, known.name_of(draining.owner));
            let reason = match among.has(&topic) {
                true => format!(
                    "member {id} {name:?} is to hand over partition {partition} of topic {topic:?}"
                ),
                false => format!("member {id} {name:?} is to hand over a partition"),
            };
            return (GroupState::Moving, reason, known.changed_at);
        }
        if let Some(reason) = self.lacks_owners(known) {
            return (GroupState::Moving, reason, known.changed_at);
        }
        let mut reason = match members {
            1 => "its member has all of its partitions".to_owned(),
            _ => format!("its {members} members have their partitions"),
        };
        let missing = [
            self.missing_topics(known, among),
            self.empty_prefixes(known),
        ];
        for missing in missing.into_iter().flatten() {
            reason = format!("{reason}; {missing}");
        }
        (GroupState::Stable, reason, known.changed_at)
    }

    /// The member that the group waits for, and a member that was ended with an error that stops
    /// the group.
    fn waits_of(&self, known: &Known) -> (Option<Waiting>, Option<Failed>) {
        let planned = self.sequencer.planned();
        match planned.groups().get(&known.name) {
            Some(group) => (group.waiting(), group.failed().cloned()),
            None => (None, None),
        }
    }

    /// The subscribed topics that do not exist, as text.
    fn missing_topics(&self, known: &Known, among: &TopicFilter) -> Option<String> {
        let members = known.state.members.values();
        let names: BTreeSet<&TopicName> = members.flat_map(|member| &member.topics).collect();
        let topics = self.partitions.topics();
        let mut missing: Vec<String> = Vec::new();
        for name in names {
            if among.has(name.as_str()) && topics.find(name.as_str()).is_err() {
                missing.push(format!("{:?}", name.as_str()));
            }
        }
        let told = listed(&missing)?;
        match missing.len() {
            1 => Some(format!("there is no topic {told}")),
            _ => Some(format!("there are no topics {told}")),
        }
    }

    /// The subscribed prefixes that no topic's name begins with, as text.
    fn empty_prefixes(&self, known: &Known) -> Option<String> {
        let members = known.state.members.values();
        let prefixes: BTreeSet<&Arc<str>> = members.flat_map(|member| &member.prefixes).collect();
        let mut empty: Vec<String> = Vec::new();
        let applied = self.sequencer.applied();
        for prefix in prefixes {
            let mut is_any = false;
            let topics = applied.topics();
            topics.with_prefix(prefix, &mut |_, _| is_any = true);
            if !is_any {
                empty.push(format!("{:?}", &**prefix));
            }
        }
        let told = listed(&empty)?;
        Some(format!("no topic's name begins with {told}"))
    }

    fn list(&self, known: &Known, among: &TopicFilter) -> ListedGroup {
        let now = self.env.clock.elapsed();
        let places = self.places(known, among);
        let (mut lag, mut stalled) = (0, 0);
        for place in &places {
            let Some(behind) = self.lag(known, *place) else {
                continue;
            };
            lag += behind.records();
            let since = self.stalled_since(known, *place, &behind, now);
            let is_stalled = since.is_some() && !self.is_paused(known, *place);
            stalled += usize::from(is_stalled);
        }
        ListedGroup {
            name: known.name.clone(),
            state: self.state_of(known, among).0,
            members: known.state.members.len(),
            partitions: places.len(),
            lag,
            stalled,
            is_ephemeral: known.state.is_ephemeral,
        }
    }

    fn is_paused(&self, known: &Known, place: Place) -> bool {
        let owned = known.state.owned.get(&place);
        owned
            .is_some_and(|Owned { owner, .. }| self.sessions.has_paused(&known.name, *owner, place))
    }

    /// Since when a partition with an owner and lag makes no progress, if that is too long. Paused
    /// time does not count.
    fn stalled_since(
        &self,
        known: &Known,
        place: Place,
        lag: &Lag,
        now: Duration,
    ) -> Option<Duration> {
        let standing = known.standing.get(&place)?;
        if lag.records() == 0 || !self.has_stood_long(standing, now) {
            return None;
        }
        // There was nothing to do before the record came.
        let came = now.saturating_sub(self.age(lag).unwrap_or(now));
        let since = standing.since(came, now);
        (now.saturating_sub(since) >= self.options.group_stalled).then_some(since)
    }

    /// Whether a partition would count as stalled if it had always had something to read.
    fn has_stood_long(&self, standing: &Standing, now: Duration) -> bool {
        let since = standing.since(Duration::ZERO, now);
        now.saturating_sub(since) >= self.options.group_stalled
    }

    /// Logs the partitions that have stalled since the last check.
    pub(in crate::broker) fn watch_groups(&self, watch: &mut Watch) {
        let now = self.env.clock.elapsed();
        if now.saturating_sub(watch.looked_at) < LOOK_EVERY {
            return;
        }
        watch.looked_at = now;
        let names: Vec<GroupName> = with_owners(self.sequencer.applied().groups());
        let mut stalled = BTreeSet::new();
        for known in names.iter().filter_map(|name| self.known_group(name)) {
            for (place, owned) in &known.state.owned {
                // The lag of other partitions is not needed, and finding it may read files.
                let standing = known.standing.get(place);
                if !standing.is_some_and(|standing| self.has_stood_long(standing, now)) {
                    continue;
                }
                let Some(lag) = self.lag(&known, *place) else {
                    continue;
                };
                let since = self.stalled_since(&known, *place, &lag, now);
                if since.is_none() || self.is_paused(&known, *place) {
                    continue;
                }
                let of = (known.name.clone(), *place);
                if !watch.said.contains(&of) {
                    watch.count += 1;
                    tracing::warn!(
                        group = %known.name,
                        topic = %lag.at.topic.name,
                        partition = place.1.0,
                        member = %owned.owner,
                        lag = lag.records(),
                        count = watch.count,
                        "a partition has records to read and an owner, and makes no progress"
                    );
                }
                stalled.insert(of);
            }
        }
        watch.said = stalled;
    }
}

/// How a member's stream has ended, as text.
fn ended(failed: &Failed) -> String {
    let Failed {
        member,
        name,
        error,
        ..
    } = failed;
    match name.is_empty() {
        true => format!("member {member} was ended with {error}"),
        false => format!("member {member} {name:?} was ended with {error}"),
    }
}

/// Some of these names, as text; `None` if there are none.
fn listed(names: &[String]) -> Option<String> {
    let more = names.len().saturating_sub(MISSING_NAMES_TOLD);
    let told = names[..names.len() - more].join(", ");
    match (names.is_empty(), more) {
        (true, _) => None,
        (_, 0) => Some(told),
        (_, more) => Some(format!("{told} and {more} more")),
    }
}

/// The groups with partitions that have owners.
fn with_owners(groups: &Groups) -> Vec<GroupName> {
    let mut names = Vec::new();
    for (name, group) in groups.iter() {
        if !group.state().owned.is_empty() {
            names.push(name.clone());
        }
    }
    names
}
