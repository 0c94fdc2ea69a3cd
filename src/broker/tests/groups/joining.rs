//! A member joins a large group: which partitions move, and what the other members notice.

use std::collections::BTreeMap;

use super::{
    super::world::create,
    time::members,
    world::{JOINING, Member, World, join, join_named},
};
use crate::{
    broker::groups::{Event, JoinGroup},
    catalog::groups::Place,
};

const PARTITIONS: u32 = 1000;
const MEMBERS: usize = 100;

/// The fewest partitions for the newcomer: then each of the 101 members has 9 or 10.
const LEAST_MOVES: usize = 9;

/// What a member noticed.
#[derive(Default)]
struct Noticed {
    assigned: Vec<Place>,
    revoked: Vec<Place>,
    records_of: Vec<Place>,
}

impl Noticed {
    /// Takes everything that the member is told and sent now.
    fn take(&mut self, member: &mut Member) {
        while let Some(event) = member.take().expect("the session goes on") {
            match event {
                Event::Assigned(assigned) => {
                    let places = assigned.iter().map(|to| (to.topic_id, to.partition));
                    self.assigned.extend(places);
                }
                Event::Revoked { partitions, .. } => {
                    self.revoked
                        .extend(partitions.into_iter().map(|(_, place)| place));
                }
                Event::Records(records) => {
                    let place = (records.topic_id, records.batch.partition);
                    self.records_of.push(place);
                }
                Event::CaughtUp | Event::Failed(_) => {}
            }
        }
    }
}

#[test]
fn one_more_in_a_group_of_a_hundred_gets_its_share_and_nobody_else_notices() {
    let mut world = World::with_topic("t", PARTITIONS);
    let mut hundred = members(&world, MEMBERS);
    let before: BTreeMap<Place, _> = world.state("g").owned;
    let mut newcomer = world.try_join(join()).expect("there is room");
    for partition in 0..PARTITIONS {
        world.append("t", partition, 1);
    }

    // Before any member has handed over a partition.
    let mut noticed = Noticed::default();
    for member in &mut hundred {
        noticed.take(member);
    }
    assert_eq!(noticed.revoked.len(), LEAST_MOVES);
    assert_eq!(
        noticed.assigned,
        Vec::new(),
        "what stays is not assigned anew"
    );
    let mut moved = noticed.revoked.clone();
    moved.sort_unstable();
    let mut staying: Vec<Place> = before.keys().copied().collect();
    staying.retain(|place| !moved.contains(place));
    noticed.records_of.sort_unstable();
    assert_eq!(
        noticed.records_of, staying,
        "the records of what stays flow"
    );

    let mut noticed = Noticed::default();
    for member in &mut hundred {
        member.hand_over();
    }
    world.broker().commit_all();
    for member in &mut hundred {
        noticed.take(member);
    }
    assert!(noticed.revoked.is_empty() && noticed.assigned.is_empty());
    noticed.take(&mut newcomer);
    noticed.assigned.sort_unstable();
    noticed.records_of.sort_unstable();
    assert_eq!(
        (noticed.assigned, noticed.records_of),
        (moved.clone(), moved)
    );
    for (place, owned) in world.state("g").owned {
        let is_same = owned.since == before[&place].since;
        assert_eq!(is_same, staying.contains(&place), "{place:?}");
    }
}

#[test]
fn one_that_comes_back_for_another_topic_is_sent_nothing_of_the_former_one() {
    let mut world = World::with_topic("t", 2);
    create(world.broker(), "u", 1);
    world.append("t", 0, 3);
    let former = world.try_join(join_named("n")).expect("it may");
    let mut back = world
        .try_join(JoinGroup {
            topics: vec!["u".to_owned()],
            ..join_named("n")
        })
        .expect("it may");
    assert!(back.ids().is_empty());
    assert_eq!(back.has.len(), 0);
    world.broker().commit_all();
    world.advance(JOINING);
    let ids = world.append("u", 0, 2);
    assert_eq!(back.ids(), ids);
    drop(former);
}
