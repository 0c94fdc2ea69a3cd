//! A member that wants to be told of partitions that cannot be read on, and keeps its others.

use std::time::Duration;

use super::{
    super::world::describe_all,
    ending::damaged,
    world::{DRAIN, Member, World, join},
};
use crate::{
    broker::{
        DescribedPartition,
        groups::{CommitOutcome, JoinGroup, NoOffset},
    },
    types::{Offset, PartitionId},
};

fn join_and_be_told() -> JoinGroup {
    JoinGroup {
        tells_failed: true,
        ..join()
    }
}

impl World {
    /// How the partitions of the group are shown.
    fn shown(&self) -> Vec<DescribedPartition> {
        let described = self.broker().describe_group(&describe_all("g"));
        described.expect("it is there").partitions
    }
}

impl Member {
    /// The partitions and reasons that it was told since the last call.
    fn told(&mut self) -> Vec<(u32, &'static str)> {
        self.take_all();
        let told = self.failed.drain(..);
        told.map(|failed| (failed.partition.0, failed.error.reason()))
            .collect()
    }
}

#[test]
fn a_damaged_partition_is_told_and_the_others_are_read_on() {
    let (mut world, first, second) = damaged();
    let mut member = world.join(join_and_be_told());
    assert_eq!(member.ids(), [first, second].concat());
    let [failed] = &member.failed[..] else {
        panic!("it was told {:?}", member.failed);
    };
    assert_eq!(failed.topic.as_str(), "t");
    assert_eq!(failed.error.reason(), "DAMAGED_RECORDS");
    let generation = world.state("g").owned[&world.place("t", 0)].since;
    assert_eq!(
        (failed.partition, failed.generation),
        (PartitionId(0), generation)
    );
    assert_eq!(
        (failed.earliest, failed.high_watermark),
        (Offset(0), Offset(8))
    );
    assert_eq!(member.caught_up, 1);

    // What was sent of it is committed, and the other one goes on for as long as it likes.
    for place in [world.place("t", 0), world.place("t", 1)] {
        assert_eq!(member.commit(&world, place), CommitOutcome::Done);
    }
    world.advance(2 * DRAIN);
    let more = world.append("t", 1, 2);
    assert_eq!(member.ids(), more);
    assert_eq!(member.failed.len(), 1, "it is told once");
    assert_eq!(member.partitions(), [0, 1]);
}

#[test]
fn a_partition_that_cannot_be_read_on_is_shown_with_the_error_and_as_stalled() {
    let (world, ..) = damaged();
    let mut member = world.join(join_and_be_told());
    assert_eq!(member.told(), [(0, "DAMAGED_RECORDS")]);
    assert_eq!(
        member.commit(&world, world.place("t", 1)),
        CommitOutcome::Done
    );
    world.advance(Duration::from_secs(61));
    let shown = world.shown();
    let error = &shown[0].error;
    assert!(error.starts_with("DAMAGED_RECORDS: "), "{error}");
    assert!(shown[0].stalled_since_ms.is_some());
    assert_eq!((&*shown[1].error, shown[1].stalled_since_ms), ("", None));

    // A reset behind the damage mends it.
    world.reset(world.place("t", 0), Offset(8));
    assert!(member.told().is_empty());
    assert_eq!(&*world.shown()[0].error, "");
}

#[test]
fn a_partition_without_an_offset_is_told_and_read_once_it_is_reset() {
    let mut world = World::with_topic("t", 2);
    let first = world.append("t", 0, 3);
    let second = world.append("t", 1, 3);
    world.reset(world.place("t", 0), Offset(0));
    let mut member = world.join(JoinGroup {
        no_offset: NoOffset::Fail,
        ..join_and_be_told()
    });
    assert_eq!(member.ids(), first);
    assert_eq!(member.told(), [(1, "NO_OFFSET")]);
    assert_eq!(
        member.partitions(),
        [0],
        "it was never assigned the other one"
    );
    assert_eq!(member.caught_up, 1);
    world.reset(world.place("t", 1), Offset(1));
    assert_eq!(member.ids(), second[1..]);
    assert!(member.told().is_empty());
}

#[test]
fn each_owner_is_told_of_a_partition_that_cannot_be_read_on_and_nobody_else_stops() {
    let mut world = World::with_topic("t", 2);
    world.append("t", 0, 3);
    world.reset(world.place("t", 0), Offset(9));
    let mut one = world.join(join_and_be_told());
    assert_eq!(one.told(), [(0, "OFFSET_OUT_OF_RANGE")]);
    assert_eq!(one.partitions(), [1]);
    let mut two = world.join(join_and_be_told());
    world.settle(&mut [&mut one, &mut two]);
    let left = one.session.leave();
    world.settled(left).expect("it is a member");
    assert_eq!(two.told(), [(0, "OFFSET_OUT_OF_RANGE")]);
    assert_eq!(two.partitions(), [1]);
    let ids = world.append("t", 1, 2);
    assert_eq!(two.ids(), ids);
}

#[test]
fn the_error_that_ended_a_member_is_shown_with_the_partition_too() {
    let (world, ..) = damaged();
    let mut member = world.join(join());
    member.take_all();
    for place in [world.place("t", 0), world.place("t", 1)] {
        assert_eq!(member.commit(&world, place), CommitOutcome::Done);
    }
    let error = super::world::end_of(&mut member);
    let left = member.session.fail(&error).expect("it is out");
    world.settled(Ok(left)).expect("nothing fails");
    let shown = world.shown();
    assert!(shown[0].error.starts_with("DAMAGED_RECORDS: "));
    assert_eq!(&*shown[1].error, "");
}
