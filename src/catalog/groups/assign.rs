//! Who is to have which partition: balanced, and with as few moves as that takes.
//!
//! A member that has a partition keeps it, unless that would leave others with less. So who joins
//! gets its whole share at once, and nothing moves but that share. All partitions of a topic may be
//! had by the same members, so what is looked at grows with topics and members, and not with their
//! product with partitions.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{MemberId, Place};
use crate::types::{PartitionId, TopicId};

/// What is to be had, and who may have it.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    /// The topics that at least one member takes, with their numbers of partitions.
    pub(super) partitions: BTreeMap<TopicId, u32>,
    /// The members that take a topic.
    pub(super) takers: BTreeMap<TopicId, BTreeSet<MemberId>>,
    /// All members, also those that take nothing.
    pub(super) members: BTreeSet<MemberId>,
}

/// Who has a partition now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    Nobody,
    /// One that is not there, and keeps it for now.
    Away,
    Member(MemberId),
}

/// Gives every partition of the topics to a member that takes its topic, but for those that are
/// kept by members that are away.
pub(super) fn assign(
    wanted: &Wanted,
    holder: impl Fn(Place) -> Holder,
) -> BTreeMap<Place, MemberId> {
    let mut shares = Shares::new(wanted);
    let mut open = Vec::new();
    for (&topic, &partitions) in &wanted.partitions {
        for partition in (0..partitions).map(PartitionId) {
            match holder((topic, partition)) {
                Holder::Away => {}
                Holder::Member(owner) if wanted.takes(owner, topic) => {
                    shares.give(owner, topic, partition);
                }
                Holder::Member(_) | Holder::Nobody => open.push((topic, partition)),
            }
        }
    }
    // Those that few can have go first: others can make up for them.
    open.sort_by_key(|(topic, partition)| (wanted.number_of_takers(*topic), *topic, *partition));
    for (topic, partition) in open {
        if let Some(least) = shares.least_of(topic) {
            shares.give(least, topic, partition);
        }
    }
    shares.balance();
    shares.by_place()
}

impl Wanted {
    fn takes(&self, member: MemberId, topic: TopicId) -> bool {
        let takers = self.takers.get(&topic);
        takers.is_some_and(|takers| takers.contains(&member))
    }

    fn number_of_takers(&self, topic: TopicId) -> usize {
        self.takers.get(&topic).map_or(0, BTreeSet::len)
    }
}

/// What each member is to have.
struct Shares<'a> {
    wanted: &'a Wanted,
    has: BTreeMap<MemberId, BTreeMap<TopicId, BTreeSet<PartitionId>>>,
    /// How many partitions each has.
    counts: BTreeMap<MemberId, usize>,
    /// The same, by their number.
    by_count: BTreeSet<(usize, MemberId)>,
}

/// A partition of this topic goes from one member to another.
#[derive(Clone, Copy)]
struct Move {
    from: MemberId,
    topic: TopicId,
    to: MemberId,
}

impl<'a> Shares<'a> {
    fn new(wanted: &'a Wanted) -> Self {
        let members = &wanted.members;
        Self {
            wanted,
            has: members.iter().map(|id| (*id, BTreeMap::new())).collect(),
            counts: members.iter().map(|id| (*id, 0)).collect(),
            by_count: members.iter().map(|id| (0, *id)).collect(),
        }
    }

    fn count(&self, member: MemberId) -> usize {
        self.counts.get(&member).copied().unwrap_or_default()
    }

    fn set_count(&mut self, member: MemberId, count: usize) {
        let before = self.counts.insert(member, count).unwrap_or_default();
        self.by_count.remove(&(before, member));
        self.by_count.insert((count, member));
    }

    fn give(&mut self, member: MemberId, topic: TopicId, partition: PartitionId) {
        let topics = self.has.entry(member).or_default();
        topics.entry(topic).or_default().insert(partition);
        self.set_count(member, self.count(member) + 1);
    }

    /// Takes the last partition of the topic that the member has.
    fn take(&mut self, member: MemberId, topic: TopicId) -> Option<PartitionId> {
        let topics = self.has.get_mut(&member)?;
        let partitions = topics.get_mut(&topic)?;
        let last = partitions.pop_last()?;
        if partitions.is_empty() {
            topics.remove(&topic);
        }
        self.set_count(member, self.count(member) - 1);
        Some(last)
    }

    /// The member with the fewest partitions of those that take the topic.
    fn least_of(&self, topic: TopicId) -> Option<MemberId> {
        let takers = self.wanted.takers.get(&topic)?;
        let all = self.by_count.iter().map(|(_, member)| *member);
        all.into_iter().find(|member| takers.contains(member))
    }

    /// Moves partitions until nobody could have one less for another that has two less.
    fn balance(&mut self) {
        while self.balance_once() {}
    }

    /// Moves partitions from those who have most on. A move may make room for one that was looked
    /// for before, so this is done until it moves nothing. Returns whether it has.
    fn balance_once(&mut self) -> bool {
        let mut has_moved = false;
        let mut settled = BTreeSet::new();
        loop {
            let mut most = self.by_count.iter().rev();
            let Some(&(count, member)) = most.find(|place| !settled.contains(*place)) else {
                return has_moved;
            };
            match self.shortest_way_from(member) {
                Some(moves) => {
                    self.make(&moves);
                    has_moved = true;
                }
                None => drop(settled.insert((count, member))),
            }
        }
    }

    /// The fewest moves by which this member has one less, and another with two less one more.
    fn shortest_way_from(&self, member: MemberId) -> Option<Vec<Move>> {
        let enough = self.count(member).checked_sub(2)?;
        let mut came_by: BTreeMap<MemberId, Move> = BTreeMap::new();
        let mut seen_topics = BTreeSet::new();
        let mut next = VecDeque::from([member]);
        while let Some(from) = next.pop_front() {
            let topics = self.has.get(&from).into_iter().flat_map(BTreeMap::keys);
            for &topic in topics {
                if !seen_topics.insert(topic) {
                    continue;
                }
                let least = self.least_of(topic).filter(|to| *to != member);
                if let Some(to) = least.filter(|to| self.count(*to) <= enough) {
                    let last = Move { from, topic, to };
                    return Some(way_to(&came_by, last));
                }
                for &to in self.wanted.takers.get(&topic).into_iter().flatten() {
                    if to != member && !came_by.contains_key(&to) {
                        came_by.insert(to, Move { from, topic, to });
                        next.push_back(to);
                    }
                }
            }
        }
        None
    }

    fn make(&mut self, moves: &[Move]) {
        for &Move { from, topic, to } in moves {
            if let Some(partition) = self.take(from, topic) {
                self.give(to, topic, partition);
            }
        }
    }

    fn by_place(&self) -> BTreeMap<Place, MemberId> {
        let mut owners = BTreeMap::new();
        for (&member, topics) in &self.has {
            for (&topic, partitions) in topics {
                owners.extend(partitions.iter().map(|at| ((topic, *at), member)));
            }
        }
        owners
    }
}

/// The moves that lead to the last one, from the back: who gives on has one more by then only if
/// the move before is made, so that nobody gives what it does not have.
fn way_to(came_by: &BTreeMap<MemberId, Move>, last: Move) -> Vec<Move> {
    let mut moves = vec![last];
    let mut at = last.from;
    while let Some(&before) = came_by.get(&at) {
        moves.push(before);
        at = before.from;
    }
    moves
}
