//! A group that begins at the end, and partitions that have come since it was made: it reads these
//! from their beginning.

use std::time::Duration;

use super::{
    super::world::create,
    world::{Member, World, end_of, join},
};
use crate::{
    broker::{
        Error, Meant, TopicFilter,
        groups::{JoinGroup, NoOffset},
    },
    env::sim::{
        CrashMode, OpKind,
        fault::{self, Fault},
    },
    types::Position,
};

/// Longer than it takes until groups have looked at new topics.
const MOMENT: Duration = Duration::from_secs(1);

/// Joins at the end, for topics whose names begin with `t`.
fn latest() -> JoinGroup {
    JoinGroup {
        topics: Vec::new(),
        prefixes: vec!["t".to_owned()],
        no_offset: NoOffset::Start(Position::Latest),
        ..join()
    }
}

impl World {
    /// A member that has begun at the end of topic `t`, which has a record in its one partition.
    fn with_member_at_the_end() -> (Self, Member) {
        let mut world = Self::new(1);
        world.create_plain("t", 1);
        world.append("t", 0, 1);
        let mut member = world.join(latest());
        assert!(world.ids_of(&mut member).is_empty());
        assert_eq!(member.has.len(), 1);
        (world, member)
    }

    fn add_partition(&self, topic: &str, count: u32) {
        let added = self.broker().add_partitions(Meant::from(topic), count);
        self.broker().commit_all();
        drop(added.expect("it may be"));
    }

    fn leave(&self, member: Member) {
        let left = member.session.leave();
        self.settled(left).expect("it is a member");
    }

    /// The ids of the records that a member is sent, also behind offsets that it commits itself.
    fn ids_of(&self, member: &mut Member) -> Vec<u64> {
        let mut ids = member.ids();
        self.broker().commit_all();
        ids.extend(member.ids());
        ids.sort_unstable();
        ids
    }
}

#[test]
fn a_partition_that_is_added_is_read_from_its_beginning() {
    let (mut world, mut member) = World::with_member_at_the_end();
    world.add_partition("t", 2);
    let ids = world.append("t", 1, 2);
    world.advance(MOMENT);
    assert_eq!(world.ids_of(&mut member), ids);
    assert_eq!(member.has.len(), 2);
}

#[test]
fn a_topic_that_is_created_is_read_from_its_beginning() {
    let (mut world, mut member) = World::with_member_at_the_end();
    create(world.broker(), "t2", 1);
    let ids = world.append("t2", 0, 2);
    world.advance(MOMENT);
    assert_eq!(world.ids_of(&mut member), ids);
}

#[test]
fn what_comes_while_a_group_has_no_members_is_read_from_its_beginning() {
    let (mut world, member) = World::with_member_at_the_end();
    world.leave(member);
    world.add_partition("t", 2);
    create(world.broker(), "t2", 1);
    let mut ids = world.append("t", 1, 2);
    ids.extend(world.append("t2", 0, 2));
    world.kill(CrashMode::LoseUnsynced);
    world.start();
    let mut member = world.join(latest());
    assert_eq!(world.ids_of(&mut member), ids);
    // Nothing is committed for it, and the next owner begins there too.
    world.leave(member);
    ids.extend(world.append("t2", 0, 1));
    world.stop();
    world.start();
    let mut member = world.join(latest());
    assert_eq!(world.ids_of(&mut member), ids);
}

#[test]
fn a_partition_that_cannot_be_read_for_a_moment_is_not_passed_over() {
    let (mut world, member) = World::with_member_at_the_end();
    world.leave(member);
    world.add_partition("t", 2);
    let ids = world.append("t", 1, 2);
    world.stop();
    world.start();
    world.broker().shared.partitions.segments.let_go();
    for kind in [OpKind::Map, OpKind::Open, OpKind::Read] {
        let fault = Fault::on(kind).in_path(".log").errno(fault::EMFILE);
        world.disk.inject(fault.for_ever());
    }
    let mut member = world.join(latest());
    let error = end_of(&mut member);
    assert!(
        matches!(error, Error::StorageUnavailable { .. }),
        "{error:?}"
    );
    world.disk.clear_faults();
    world.leave(member);
    let mut member = world.join(latest());
    assert_eq!(world.ids_of(&mut member), ids);
}

#[test]
fn a_topic_that_is_created_anew_is_read_from_its_beginning() {
    let (mut world, member) = World::with_member_at_the_end();
    world.leave(member);
    let deleted = world.broker().delete_topic("t");
    world.settled(deleted).expect("it is there");
    create(world.broker(), "t", 1);
    let ids = world.append("t", 0, 3);
    let mut member = world.join(latest());
    assert_eq!(world.ids_of(&mut member), ids);
}

#[test]
fn what_was_there_before_the_group_is_passed_over_whenever_it_is_taken_up() {
    let mut world = World::new(1);
    create(world.broker(), "u", 1);
    world.append("u", 0, 2);
    world.advance(MOMENT);
    world.create_plain("t", 1);
    let member = world.join(latest());
    world.leave(member);
    world.advance(MOMENT);
    world.append("u", 0, 2);
    let mut member = world.join(JoinGroup {
        prefixes: vec!["u".to_owned()],
        ..latest()
    });
    assert!(world.ids_of(&mut member).is_empty());
    let ids = world.append("u", 0, 2);
    assert_eq!(world.ids_of(&mut member), ids);
}

#[test]
fn a_fork_misses_nothing_that_came_after_the_other_group() {
    let (mut world, member) = World::with_member_at_the_end();
    world.leave(member);
    world.add_partition("t", 2);
    let ids = world.append("t", 1, 2);
    world.advance(MOMENT);
    let forked = world
        .broker()
        .fork_group("g", "new", false, &TopicFilter::default());
    world.settled(forked).expect("it may be");
    let mut member = world.join(JoinGroup {
        group: "new".to_owned(),
        ..latest()
    });
    assert_eq!(world.ids_of(&mut member), ids);
}
