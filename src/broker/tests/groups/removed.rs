//! A member that an administrator removes.

use std::time::Duration;

use super::world::{Member, World, end_of, join, join_named};
use crate::{
    broker::{Error, groups::JoinGroup},
    catalog::groups::{Instance, MemberId},
};

fn remove(world: &World, member: MemberId, instance: Instance) -> Result<(), Error> {
    let removed = world.broker().remove_member("g", member, instance)?;
    world.broker().commit_all();
    super::super::world::now(removed).expect("an answer")
}

/// Joins with a name, and may be away for an hour.
fn patient(world: &World) -> Member {
    let mut member = world.join(JoinGroup {
        session: Duration::from_secs(3600),
        ..join_named("patient")
    });
    member.take_all();
    member
}

#[test]
fn the_partitions_of_one_that_is_gone_are_with_others_at_once() {
    let world = World::with_topic("t", 4);
    let gone = patient(&world);
    let (id, instance) = (gone.id, Instance::first_of(gone.id));
    drop(gone);
    let mut other = world.join(join());
    world.advance(Duration::from_secs(60));
    other.take_all();
    assert!(other.partitions().is_empty(), "its session's time runs");
    remove(&world, id, instance).expect("it is a member");
    world.advance(Duration::from_secs(1));
    other.take_all();
    assert_eq!(other.partitions(), [0, 1, 2, 3]);
    let again = remove(&world, id, instance);
    let is_unknown = Error::UnknownMember {
        group: "g".to_owned(),
        member: id,
    };
    assert_eq!(again, Err(is_unknown));
}

#[test]
fn one_that_is_there_after_all_is_fenced() {
    let world = World::with_topic("t", 1);
    let mut member = patient(&world);
    remove(&world, member.id, Instance::first_of(member.id)).expect("it is a member");
    let ended = end_of(&mut member);
    assert!(matches!(ended, Error::MemberFenced { .. }), "{ended:?}");
}

#[test]
fn a_newcomer_with_its_name_is_not_meant() {
    let world = World::with_topic("t", 1);
    let former = patient(&world);
    let id = former.id;
    drop(former);
    let mut newcomer = patient(&world);
    assert_eq!(newcomer.id, id);
    let removed = remove(&world, id, Instance::first_of(id));
    assert!(matches!(removed, Err(Error::UnknownMember { .. })));
    newcomer.take_all();
    assert_eq!(newcomer.partitions(), [0]);
}
