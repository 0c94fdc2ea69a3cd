//! The lag that is shown of a group behind records that entity trims have hidden.

use std::time::Duration;

use super::{
    super::world::{append_of, describe_all, encode_keyed, key_in, send},
    world::{World, join},
};
use crate::{
    broker::groups::{CommitOutcome, DescribedPartition},
    types::{Offset, PartitionId, Version},
};

const MINUTE: Duration = Duration::from_secs(60);

/// The topic's partition.
fn partition(world: &World) -> DescribedPartition {
    let group = world
        .broker()
        .describe_group(&describe_all("g"))
        .expect("it is there");
    let first = |partition: &DescribedPartition| partition.place.1 == PartitionId(0);
    group
        .partitions
        .into_iter()
        .find(first)
        .expect("it is read")
}

fn stalled(world: &World) -> usize {
    world
        .broker()
        .list_groups("", "", 10, |_| true, &Default::default())
        .0[0]
        .stalled
}

impl World {
    /// Appends this many records of one entity.
    fn append_keyed(&self, count: u64) {
        let records: Vec<Vec<u8>> = (0..count).map(|_| encode_keyed(1, 40, 0, 1)).collect();
        send(self.broker(), append_of("t", Some(0), &records)).expect("nothing fails");
    }

    fn trim_entity(&self, before: u64) {
        let key = key_in(1, 0, 1);
        let trimmed = self.broker().trim_key("t", &key, Version(before));
        self.broker().commit_all();
        drop(trimmed.expect("it may be"));
    }
}

#[test]
fn lag_counts_nothing_that_is_trimmed_of_its_entity() {
    let mut world = World::with_topic("t", 1);
    world.append("t", 0, 2);
    world.append_keyed(4);
    world.trim_entity(4);
    let place = world.place("t", 0);
    for (committed, lag) in [(0, 3), (1, 2), (2, 1), (5, 1), (6, 0)] {
        world.reset(place, Offset(committed));
        let behind = partition(&world);
        assert_eq!(
            (behind.lag, behind.lag_exact),
            (lag, true),
            "at {committed}"
        );
    }
    assert_eq!(
        world
            .broker()
            .list_groups("", "", 10, |_| true, &Default::default())
            .0[0]
            .lag,
        0
    );
}

#[test]
fn a_partition_of_which_all_that_is_left_is_trimmed_of_its_entity_is_not_stalled() {
    let mut world = World::with_topic("t", 1);
    world.append("t", 0, 2);
    let mut member = world.join(join());
    member.take_all();
    let place = world.place("t", 0);
    assert_eq!(member.commit(&world, place), CommitOutcome::Done);
    world.append_keyed(3);
    world.trim_entity(4);
    member.take_all();
    world.advance(3 * MINUTE);
    let behind = partition(&world);
    assert_eq!((behind.lag, behind.lag_exact, behind.lag_ms), (0, true, 0));
    assert_eq!(behind.stalled_since_ms, None);
    assert_eq!(stalled(&world), 0);
    world.append_keyed(1);
    assert_eq!(partition(&world).lag, 1);
    world.advance(MINUTE);
    assert_eq!(stalled(&world), 1, "that one is to be read");
}
