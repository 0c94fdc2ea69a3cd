//! A session that cannot continue with a partition, and which of its other work is kept.

use std::path::PathBuf;

use super::{
    super::world::now,
    world::{DRAIN, Member, World, credit, end_of, join},
};
use crate::{
    broker::groups::{CommitOutcome, JoinGroup, NoOffset},
    env::{FileSystem as _, Open},
    types::{Offset, PartitionId},
};

/// A topic with two partitions, offsets 4 to 7 of the first being damaged. Returns the ids of the
/// readable records of each.
pub(super) fn damaged() -> (World, Vec<u64>, Vec<u64>) {
    let mut world = World::with_topic("t", 2);
    let first = world.append("t", 0, 4);
    world.stop();
    let length = |world: &World, path: &PathBuf| {
        let content = world.disk.content(path);
        content.map_or(0, |content| content.len())
    };
    let is_segment = |path: &PathBuf| path.to_string_lossy().ends_with(".log");
    let segments = world.disk.files().into_iter().filter(is_segment);
    let segment = segments.max_by_key(|path| length(&world, path));
    let segment = segment.expect("the records are in one");
    let older = length(&world, &segment);
    world.start();
    world.append("t", 0, 4);
    world.stop();
    let file = world.disk.open(&segment, Open::Write);
    let cut = file.and_then(|file| file.set_len(older as u64));
    cut.expect("it can be written");
    world.start();
    let second = world.append("t", 1, 3);
    (world, first, second)
}

impl World {
    fn trim_first(&self, before: u64) {
        let trimmed = self.broker().trim("t", PartitionId(0), Offset(before));
        drop(trimmed.expect("there is so much"));
        self.broker().commit_all();
    }
}

fn commit_all(world: &World, member: &mut Member) {
    for place in member.has.keys().copied().collect::<Vec<_>>() {
        assert_eq!(member.commit(world, place), CommitOutcome::Done);
    }
}

fn leave_with_error(world: &World, member: &mut Member) -> &'static str {
    let error = end_of(member);
    let left = member.session.fail(&error).expect("it is out");
    world.broker().commit_all();
    assert_eq!(now(left), Some(Ok(())));
    error.reason()
}

#[test]
fn what_was_sent_before_damage_is_committed_before_the_session_ends() {
    let (mut world, first, second) = damaged();
    let mut member = world.join(join());
    assert_eq!(member.ids(), [first, second].concat());
    assert_eq!(member.caught_up, 0);
    commit_all(&world, &mut member);
    assert_eq!(leave_with_error(&world, &mut member), "DAMAGED_RECORDS");

    // No record comes twice, and new records of the other partition are read.
    let more = world.append("t", 1, 2);
    let mut member = world.join(join());
    assert_eq!(member.ids(), more);
    let place = world.place("t", 1);
    assert_eq!(member.commit(&world, place), CommitOutcome::Done);
    assert_eq!(leave_with_error(&world, &mut member), "DAMAGED_RECORDS");
    let mut member = world.join(join());
    assert_eq!(leave_with_error(&world, &mut member), "DAMAGED_RECORDS");
    assert_eq!(member.got, []);
}

#[test]
fn a_session_that_is_to_end_sends_no_more_than_there_was_and_waits_no_longer_than_to_hand_over() {
    for commits in [true, false] {
        let (mut world, first, second) = damaged();
        let mut member = world.join(join());
        assert_eq!(member.ids(), [first, second].concat());
        world.append("t", 1, 1);
        assert!(member.ids().is_empty());
        if commits {
            let place = world.place("t", 1);
            assert_eq!(member.commit(&world, place), CommitOutcome::Done);
        }
        let moment = std::time::Duration::from_millis(1);
        world.advance(DRAIN - moment);
        assert_eq!(member.take_all(), 0);
        world.advance(moment);
        assert_eq!(end_of(&mut member).reason(), "DAMAGED_RECORDS");
    }
}

#[test]
fn other_partitions_are_read_up_to_what_they_hold_before_the_session_ends() {
    let (world, first, second) = damaged();
    let mut member = world.join(JoinGroup {
        credit: credit(4),
        partition_credit: Some(credit(4)),
        ..join()
    });
    assert_eq!(member.ids(), first);
    let place = world.place("t", 0);
    assert_eq!(member.commit(&world, place), CommitOutcome::Done);
    member.session.credit(credit(2));
    assert_eq!(member.ids(), second[..2]);
    member.session.credit(credit(2));
    assert_eq!(member.ids(), second[2..]);
    let place = world.place("t", 1);
    assert_eq!(member.commit(&world, place), CommitOutcome::Done);
    assert_eq!(end_of(&mut member).reason(), "DAMAGED_RECORDS");
}

#[test]
fn a_partition_without_an_offset_keeps_nobody_from_the_others() {
    let mut world = World::with_topic("t", 2);
    let ids = world.append("t", 0, 3);
    world.append("t", 1, 3);
    world.reset(world.place("t", 0), Offset(0));
    let mut member = world.join(JoinGroup {
        no_offset: NoOffset::Fail,
        ..join()
    });
    assert_eq!(member.ids(), ids);
    assert_eq!(member.partitions(), [0]);
    assert_eq!(member.caught_up, 0);
    let place = world.place("t", 0);
    assert_eq!(member.commit(&world, place), CommitOutcome::Done);
    assert_eq!(leave_with_error(&world, &mut member), "NO_OFFSET");
    assert_eq!(world.state("g").offsets[&place].next, Offset(3));
}

#[test]
fn a_reset_of_the_partition_mends_a_session_that_is_to_end() {
    let mut world = World::with_topic("t", 2);
    let ids = world.append("t", 0, 8);
    let mut member = world.join(JoinGroup {
        partition_credit: Some(credit(2)),
        ..join()
    });
    assert_eq!(member.ids(), ids[..2]);
    world.trim_first(6);
    let place = world.place("t", 0);
    let others = world.append("t", 1, 2);
    assert_eq!(member.ids(), others);
    assert_eq!(member.commit(&world, place), CommitOutcome::Done);
    // Only now the session finds that its next records are gone; it still waits for the other
    // partition.
    assert_eq!(member.take_all(), 0);
    world.reset(place, Offset(6));
    assert_eq!(member.ids(), ids[6..]);
    world.advance(2 * DRAIN);
    commit_all(&world, &mut member);
    let more = world.append("t", 1, 1);
    assert_eq!(member.ids(), more);
}
