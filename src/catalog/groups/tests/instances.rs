//! Which client instance has a member when one instance takes it from another.

use super::{World, group_name, join, text};
use crate::catalog::groups::{Groups, Join, MemberId, Refused};

#[test]
fn a_client_whose_member_another_one_has_taken_does_not_get_it_back() {
    let mut world = World::new(&[("t", 2)]);
    let named = |id| Join {
        name: text("n"),
        ..join(id, &["t"])
    };
    let instance = |world: &World| {
        let members = world.state().members;
        members.into_values().next().expect("there is one").instance
    };
    let member = world.join(named(1));
    let old = Some(instance(&world));
    world.lose(1);
    assert_eq!(world.join(named(2)), member, "a newcomer, by the name");
    let new = Some(instance(&world));
    assert_ne!(old, new);
    let back = |as_member, instance| Join {
        back: Some(as_member),
        instance,
        ..named(3)
    };
    let refused = |world: &World, join| {
        let joined = world
            .groups
            .decide_join(&group_name(), join, &world.topics, world.now);
        joined.err()
    };
    // The displaced client may give its instance or none, with its name or without it.
    let nameless = Join {
        name: text(""),
        ..back(member, old)
    };
    for join in [back(member, old), back(member, None), nameless] {
        assert_eq!(refused(&world, join), Some(Refused::Fenced));
    }
    assert_eq!(
        world.join(back(member, new)),
        member,
        "it may lose its stream"
    );
    world.leave(1);

    // The same after the member has left and a new member has joined under its name.
    let later = world.join(named(4));
    assert_ne!(later, member);
    assert_eq!(refused(&world, back(member, new)), Some(Refused::Fenced));
    let newest = Some(instance(&world));
    world.leave(later.0);
    let again = world.join(back(later, newest));
    assert_ne!(again, later, "nobody has the name");
    // The client was not told its new instance, because its stream broke before.
    assert_eq!(world.join(back(later, newest)), again);
}

#[test]
fn the_client_that_has_a_member_is_known_after_a_start() {
    let mut world = World::new(&[("t", 1)]);
    for id in [1, 2] {
        world.join(Join {
            name: text("n"),
            ..join(id, &["t"])
        });
    }
    let before = world.state();
    world.groups = Groups::restore(world.groups.snapshot(), world.now);
    assert_eq!(world.state().members, before.members);
    let old = Join {
        back: Some(MemberId(1)),
        ..join(3, &["t"])
    };
    let refused = world
        .groups
        .decide_join(&group_name(), old, &world.topics, world.now);
    assert_eq!(refused, Err(Refused::Fenced));
}
