//! Groups that are too large for the journal, or for the memory that groups may take.

use super::{
    super::world::{create, now},
    world::{JOINING, World, join},
};
use crate::{
    broker::{
        Error, Pending, TopicFilter,
        groups::{GroupOffset, JoinGroup, ResetGroup, ResetTo},
    },
    budget::Name,
    catalog::groups::{Generation, GroupChange, Many, MemberId, Owned},
    storage::format::entry::{self, Item},
    types::{
        GroupName, Offset, PartitionId, Position, TopicId,
        limits::{GROUPS_SHARE_OF_CATALOG, JOURNAL_FILE_BYTES, MAX_GROUP_MEMBERS, MAX_PARTITIONS},
    },
};

/// So many partitions that giving each an owner does not fit in a journal file of 96 KiB.
const MANY: u32 = 3_000;

impl World {
    pub(super) fn settled<T>(&self, pending: Result<Pending<T>, Error>) -> Result<T, Error> {
        let pending = pending?;
        self.broker().commit_all();
        now(pending).expect("what was committed is answered")
    }

    fn groups(&self) -> usize {
        self.broker()
            .list_groups("", "", 10, |_| true, &Default::default())
            .0
            .len()
    }

    /// Asserts that the journal still works, with a commit for another group.
    fn goes_on(&self) {
        let offset = GroupOffset {
            topic: "t".to_owned(),
            topic_id: None,
            partition: PartitionId(0),
            next_offset: Offset(0),
            metadata: Vec::new().into(),
            generation: None,
            member: None,
        };
        let committed = self.broker().commit_offsets("other", vec![offset], false);
        self.settled(committed).expect("the journal goes on");
        let deleted = self.broker().delete_group("other");
        self.settled(deleted).expect("the journal goes on");
    }
}

fn join_by_prefix() -> JoinGroup {
    JoinGroup {
        topics: Vec::new(),
        prefixes: vec!["m".to_owned()],
        ..join()
    }
}

/// A topic `t` with one partition, and a topic `many` with so many that giving each an owner does
/// not fit in a journal file.
fn world() -> World {
    let world = World::with_topic("t", 1);
    create(world.broker(), "many", MANY);
    world
}

#[test]
fn what_a_journal_file_does_not_hold_is_refused_and_nothing_stored() {
    let world = world();
    let joined = world.settled(world.broker().join_group(join_by_prefix()));
    let refused = joined.err().expect("it does not fit");
    assert_eq!(refused.reason(), "REQUEST_TOO_LARGE");
    let reset = ResetGroup {
        group: "g".to_owned(),
        to: ResetTo::Position(Position::Earliest),
        topics: vec!["many".to_owned()],
        among: TopicFilter::default(),
        partitions: Vec::new(),
        dry_run: false,
    };
    let reset = world.settled(world.broker().reset_group(reset));
    let refused = reset.expect_err("it does not fit");
    assert_eq!(refused.reason(), "REQUEST_TOO_LARGE");
    assert_eq!(world.groups(), 0);
    world.goes_on();
}

#[test]
fn partitions_that_a_journal_file_does_not_hold_do_not_end_the_broker_when_they_are_given() {
    let mut world = world();
    let mut first = world.try_join(join()).expect("it has one partition");
    first.take_all();
    // The member is given its partitions only after others have had time to join as well.
    let _second = world
        .try_join(join_by_prefix())
        .expect("it has nothing yet");
    world.advance(2 * JOINING);
    world.goes_on();
    let id = world.append("t", 0, 1);
    assert_eq!(first.ids(), id);
}

#[test]
fn what_time_and_topics_bring_fits_in_the_smallest_journal_file() {
    let group = GroupName::new(&"g".repeat(255)).expect("it may be");
    let owned = |partition| {
        let owned = Owned {
            owner: MemberId(7),
            since: Generation(7),
            is_draining: true,
        };
        ((TopicId(7), PartitionId(partition)), Some(owned))
    };
    let partitions = u32::try_from(MAX_PARTITIONS).expect("it fits");
    let change = GroupChange {
        left: vec![MemberId(7); MAX_GROUP_MEMBERS],
        owned: (0..partitions).map(owned).collect(),
        ..GroupChange::default()
    };
    let change = crate::catalog::Change::Group { group, change };
    let bytes = entry::encoded_len(&[Item::Change(change)]) as u64;
    assert!(bytes < JOURNAL_FILE_BYTES / 2, "{bytes}");
}

#[test]
fn what_groups_take_up_counts_in_the_catalogs_memory_and_is_bounded_by_half_of_it() {
    let mut world = World::with_topic("t", 3);
    let catalog = |world: &World| world.broker().budget().part(Name::Catalog).used();
    let before = catalog(&world);
    let mut member = world.join(join());
    member.take_all();
    let joined = catalog(&world);
    assert!(joined > before, "{before} and {joined}");
    world.stop();
    world.start();
    assert_eq!(catalog(&world), joined, "after a start");
    let left = world.join(join_named_again(&member)).session.leave();
    world.settled(left).expect("it may");
    let deleted = world.broker().delete_group("g");
    world.settled(deleted).expect("nobody is in it");
    assert_eq!(catalog(&world), before);

    // Each member takes as much as fits in one of the small journal files.
    let most = world.broker().budget().part(Name::Catalog).bound() / GROUPS_SHARE_OF_CATALOG;
    let mut members = Vec::new();
    let refused = loop {
        let topics = (0..300).map(|at| format!("{at:0>249}")).collect();
        let joined = world.try_join(JoinGroup { topics, ..join() });
        match joined {
            Ok(member) => members.push(member),
            Err(refused) => break refused,
        }
    };
    let Error::TooManyForGroups {
        what,
        count,
        most: limit,
        ..
    } = refused
    else {
        panic!("{refused}");
    };
    assert_eq!((what, limit), (Many::Bytes, most));
    assert!(count > most);
    assert!(catalog(&world) - before <= most);
    assert!(members.len() > 100, "{}", members.len());
}

fn join_named_again(member: &super::world::Member) -> JoinGroup {
    JoinGroup {
        member_id: Some(member.id),
        ..join()
    }
}
