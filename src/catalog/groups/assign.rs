//! Assigns partitions to members: evenly, and with as few moves as that takes.
//!
//! A member keeps its partitions unless others would have fewer. So a new member gets its whole
//! share at once, and only this share moves. All partitions of a topic may go to the same members,
//! so the work grows with the number of topics and members, not with the number of members times
//! partitions.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{MemberId, Place};
use crate::types::{PartitionId, TopicId};

/// The partitions to assign, and the members that may have them.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    /// The topics that at least one member subscribes to, with their numbers of partitions.
    pub(super) partitions: BTreeMap<TopicId, u32>,
    /// The members that subscribe to each topic.
    pub(super) takers: BTreeMap<TopicId, BTreeSet<MemberId>>,
    /// All members, even those without a topic.
    pub(super) members: BTreeSet<MemberId>,
}

/// Who has a partition now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    Nobody,
    /// A member that is away, and keeps the partition for now.
    Away,
    Member(MemberId),
}

/// Gives each partition to a member that subscribes to its topic. Partitions of members that are
/// away are left out.
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
    // Partitions that few members may have come first; the others can even out the counts
    // afterwards.
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

/// The partitions that each member will have.
struct Shares<'a> {
    wanted: &'a Wanted,
    has: BTreeMap<MemberId, BTreeMap<TopicId, BTreeSet<PartitionId>>>,
    /// How many partitions each member has.
    counts: BTreeMap<MemberId, usize>,
    /// The members by how many partitions they have.
    by_count: BTreeSet<(usize, MemberId)>,
}

/// A move of some partition of a topic from one member to another.
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

    /// The member with the fewest partitions among those that subscribe to the topic.
    fn least_of(&self, topic: TopicId) -> Option<MemberId> {
        let takers = self.wanted.takers.get(&topic)?;
        let all = self.by_count.iter().map(|(_, member)| *member);
        all.into_iter().find(|member| takers.contains(member))
    }

    /// Moves partitions until no member can give one to a member that has at least two fewer.
    fn balance(&mut self) {
        while self.balance_once() {}
    }

    /// Moves partitions, beginning at the members with the most. A move may make another one
    /// possible that was not possible before, so the caller repeats this until it returns false:
    /// nothing was moved.
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

    /// The shortest chain of moves that takes a partition from this member and gives one to a
    /// member with at least two fewer.
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

/// The chain of moves that ends with `last`, last one first. In this order every member gives a
/// partition that it has, before it gets another.
fn way_to(came_by: &BTreeMap<MemberId, Move>, last: Move) -> Vec<Move> {
    let mut moves = vec![last];
    let mut at = last.from;
    while let Some(&before) = came_by.get(&at) {
        moves.push(before);
        at = before.from;
    }
    moves
}
