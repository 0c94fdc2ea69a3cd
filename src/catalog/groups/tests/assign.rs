//! Assignments are whole, balanced and move little.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::place;
use crate::{
    catalog::groups::{
        MemberId, Place,
        assign::{Holder, Wanted, assign},
    },
    types::TopicId,
};

type Owners = BTreeMap<Place, MemberId>;

/// Topics with these numbers of partitions, each subscribed to by these members.
fn wanted(topics: &[(u32, BTreeSet<u64>)]) -> Wanted {
    let mut wanted = Wanted::default();
    for (topic, (partitions, takers)) in (1..).map(TopicId).zip(topics) {
        let takers: BTreeSet<MemberId> = takers.iter().copied().map(MemberId).collect();
        wanted.members.extend(&takers);
        if !takers.is_empty() {
            wanted.partitions.insert(topic, *partitions);
            wanted.takers.insert(topic, takers);
        }
    }
    wanted
}

fn assigned(wanted: &Wanted, held: &Owners) -> Owners {
    assign(wanted, |place| {
        held.get(&place)
            .map_or(Holder::Nobody, |owner| Holder::Member(*owner))
    })
}

fn counts(owners: &Owners, members: &BTreeSet<MemberId>) -> BTreeMap<MemberId, usize> {
    let mut counts: BTreeMap<_, _> = members.iter().map(|member| (*member, 0)).collect();
    for owner in owners.values() {
        *counts.entry(*owner).or_default() += 1;
    }
    counts
}

/// All pairs of members of which the first could give a partition to the second, directly or by way
/// of others. Naive: looks at every pair.
fn could_give(wanted: &Wanted, owners: &Owners) -> BTreeSet<(MemberId, MemberId)> {
    let mut pairs = BTreeSet::new();
    for ((topic, _), owner) in owners {
        pairs.extend(wanted.takers[topic].iter().map(|taker| (*owner, *taker)));
    }
    for &middle in &wanted.members {
        for &from in &wanted.members {
            for &to in &wanted.members {
                if pairs.contains(&(from, middle)) && pairs.contains(&(middle, to)) {
                    pairs.insert((from, to));
                }
            }
        }
    }
    pairs
}

fn any_topics() -> impl Strategy<Value = Vec<(u32, BTreeSet<u64>)>> {
    let takers = proptest::collection::btree_set(0..7_u64, 0..7);
    proptest::collection::vec((0..12_u32, takers), 1..6)
}

fn moves(before: &Owners, after: &Owners) -> usize {
    let moved = before
        .iter()
        .filter(|(place, owner)| after.get(place) != Some(owner));
    moved.count()
}

/// The fewest moves after which the members' numbers of partitions differ by at most one.
fn fewest_moves(before: &BTreeMap<MemberId, usize>, partitions: usize) -> usize {
    let (each, mut more) = (partitions / before.len(), partitions % before.len());
    let mut counts: Vec<usize> = before.values().copied().collect();
    counts.sort_unstable_by(|one, other| other.cmp(one));
    let mut moves = 0;
    for count in counts {
        let share = each + usize::from(more > 0);
        more = more.saturating_sub(1);
        moves += count.saturating_sub(share);
    }
    moves
}

proptest! {
    #[test]
    fn every_partition_that_is_taken_has_an_owner_who_takes_it(
        topics in any_topics(), former in any_topics(),
    ) {
        let wanted = wanted(&topics);
        let held = assigned(&self::wanted(&former), &Owners::new());
        let owners = assigned(&wanted, &held);
        let all: usize = wanted.partitions.values().map(|partitions| *partitions as usize).sum();
        prop_assert_eq!(owners.len(), all);
        for ((topic, partition), owner) in &owners {
            prop_assert!(wanted.takers[topic].contains(owner));
            prop_assert!(partition.0 < wanted.partitions[topic]);
        }
    }

    #[test]
    fn nobody_has_two_more_than_one_it_could_give_to(topics in any_topics(), former in any_topics()) {
        let wanted = wanted(&topics);
        let held = assigned(&self::wanted(&former), &Owners::new());
        let owners = assigned(&wanted, &held);
        let counts = counts(&owners, &wanted.members);
        for (from, to) in could_give(&wanted, &owners) {
            prop_assert!(counts[&from] <= counts[&to] + 1, "{from:?} {to:?} {counts:?}");
        }
    }

    #[test]
    fn where_all_take_all_no_more_moves_than_that_takes(
        partitions in proptest::collection::vec(0..20_u32, 1..4),
        members in 1..9_u64,
        before in proptest::collection::vec(0..9_u64, 80),
    ) {
        let all: BTreeSet<u64> = (0..members).collect();
        let topics: Vec<_> = partitions.iter().map(|count| (*count, all.clone())).collect();
        let wanted = wanted(&topics);
        let mut held = Owners::new();
        for (topic, partitions) in (1..).zip(&partitions) {
            let places = (0..*partitions).map(|partition| place(topic, partition));
            held.extend(places.zip(before.iter().map(|member| MemberId(member % members))));
        }
        let owners = assigned(&wanted, &held);
        let fewest = fewest_moves(&counts(&held, &wanted.members), held.len());
        prop_assert_eq!(moves(&held, &owners), fewest);
    }

    #[test]
    fn what_is_balanced_stays(topics in any_topics()) {
        let wanted = wanted(&topics);
        let owners = assigned(&wanted, &Owners::new());
        prop_assert_eq!(assigned(&wanted, &owners), owners);
    }
}

#[test]
fn one_that_joins_a_hundred_moves_its_own_share_only() {
    let topics = |members| vec![(1_000, (0..members).collect::<BTreeSet<u64>>())];
    let before = assigned(&wanted(&topics(100)), &Owners::new());
    let after = assigned(&wanted(&topics(101)), &before);
    assert_eq!(
        moves(&before, &after),
        9,
        "1,000 partitions are nine for each of 101, and 91 more"
    );
}

#[test]
fn who_is_away_keeps_what_it_has_and_gets_nothing() {
    let wanted = wanted(&[(6, BTreeSet::from([1, 2]))]);
    let owners = assign(&wanted, |(_, partition)| match partition.0 {
        0 | 1 => Holder::Away,
        _ => Holder::Nobody,
    });
    assert_eq!(owners.len(), 4);
    assert_eq!(
        counts(&owners, &wanted.members)
            .into_values()
            .collect::<Vec<_>>(),
        [2, 2]
    );
}
