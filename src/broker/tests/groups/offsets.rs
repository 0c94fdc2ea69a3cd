//! Where a group begins in a partition, and where it continues.

use std::{path::PathBuf, time::Duration};

use super::{
    super::world::{append_of, create, describe_all, encode_keyed, key_in, send},
    world::{Has, Member, SESSION, World, end_of, join},
};
use crate::{
    broker::{
        Error, Meant, TopicFilter,
        groups::{
            Asked, CommitOutcome, GroupOffset, GroupOffsetOutOfRange, JoinGroup, NoOffset,
            OffsetGone,
        },
    },
    catalog::groups::Generation,
    env::{FileSystem as _, Open},
    types::{Offset, PartitionId, Position, Version},
};

impl World {
    fn trim(&self, before: u64) {
        let trimmed = self.broker().trim("t", PartitionId(0), Offset(before));
        drop(trimmed.expect("there is so much"));
        self.broker().commit_all();
    }
}

fn beginning(no_offset: NoOffset) -> JoinGroup {
    JoinGroup {
        no_offset,
        ..join()
    }
}

fn going_on(offset_gone: OffsetGone) -> JoinGroup {
    JoinGroup {
        offset_gone,
        ..join()
    }
}

/// The error with which a member's session ends; the member then leaves.
fn end_for(world: &World, join: JoinGroup) -> Error {
    let mut member = world.join(join);
    let error = end_of(&mut member);
    drop(member.session.leave().expect("it is a member"));
    world.broker().commit_all();
    error
}

#[test]
fn a_group_goes_on_where_it_has_committed() {
    let mut world = World::with_topic("t", 1);
    world.append("t", 0, 3);
    let mut member = world.join(join());
    member.take_all();
    let place = world.place("t", 0);
    assert_eq!(member.commit(&world, place), CommitOutcome::Done);
    drop(member.session.leave());
    let ids = world.append("t", 0, 2);
    assert_eq!(world.join(join()).ids(), ids);
}

#[test]
fn committed_offsets_do_not_expire_however_long_nobody_commits_or_is_there() {
    let mut world = World::with_topic("t", 2);
    let ids = [world.append("t", 0, 2), world.append("t", 1, 2)].concat();
    let mut member = world.join(join());
    assert_eq!(member.ids(), ids);
    for partition in 0..2 {
        member.commit(&world, world.place("t", partition));
    }
    let committed = world.state("g").offsets;
    let year = Duration::from_secs(365 * 86_400);
    // For a year nobody commits, while the member is there.
    world.advance(year);
    let id = world.append("t", 1, 1);
    assert_eq!(member.ids(), id);
    assert_eq!(world.state("g").offsets, committed);
    let left = member.session.leave();
    world.settled(left).expect("it is a member");
    // For another year nobody is there.
    world.advance(year);
    world.stop();
    world.start();
    assert_eq!(world.state("g").offsets, committed);
    assert_eq!(world.join(join()).ids(), id);
}

#[test]
fn the_end_at_which_a_group_begins_is_kept_for_the_next_owner() {
    let mut world = World::with_topic("t", 1);
    world.append("t", 0, 3);
    let latest = || beginning(NoOffset::Start(Position::Latest));
    let mut member = world.join(latest());
    member.take_all();
    world.broker().commit_all();
    assert!(member.ids().is_empty());
    assert_eq!(member.partitions(), [0]);
    // The session commits nothing by itself, so new records are not lost when it ends.
    let ids = world.append("t", 0, 2);
    drop(member.session.leave());
    assert_eq!(world.join(latest()).ids(), ids);
}

#[test]
fn a_group_that_is_not_to_begin_by_itself_says_so() {
    let world = World::with_topic("t", 1);
    let error = end_for(&world, beginning(NoOffset::Fail));
    assert!(matches!(error, Error::NoOffset { .. }), "{error:?}");
}

#[test]
fn a_committed_offset_that_is_trimmed_is_an_error_that_names_the_earliest() {
    let mut world = World::with_topic("t", 1);
    let ids = world.append("t", 0, 10);
    world.reset(world.place("t", 0), Offset(2));
    world.trim(5);
    let error = end_for(&world, going_on(OffsetGone::Fail));
    let expected = GroupOffsetOutOfRange {
        group: "g".to_owned(),
        topic: "t".to_owned(),
        partition: PartitionId(0),
        offset: Offset(2),
        earliest: Offset(5),
        high_watermark: Offset(10),
        asked: Asked::GoOn,
    };
    assert_eq!(error, Error::GroupOffsetOutOfRange(expected));
    let earliest = || going_on(OffsetGone::Earliest);
    let mut member = world.join(earliest());
    assert_eq!(member.ids(), ids[5..]);
    drop(member.session.leave());
    assert!(world.join(going_on(OffsetGone::Latest)).ids().is_empty());
}

#[test]
fn a_committed_offset_above_the_end_is_an_error_and_no_silent_wait() {
    let mut world = World::with_topic("t", 1);
    world.append("t", 0, 3);
    // As when the data was restored from an older backup.
    world.reset(world.place("t", 0), Offset(8));
    for policy in [OffsetGone::Fail, OffsetGone::Earliest] {
        let error = end_for(&world, going_on(policy));
        assert_eq!(error.reason(), "OFFSET_OUT_OF_RANGE");
        assert!(error.to_string().contains("group \"g\""), "{error}");
    }
    assert!(world.join(going_on(OffsetGone::Latest)).ids().is_empty());
}

#[test]
fn records_that_a_restored_partition_lacks_are_an_error_and_no_silent_wait() {
    let mut world = World::with_topic("t", 1);
    world.append("t", 0, 4);
    world.stop();
    let is_segment = |path: &PathBuf| path.to_string_lossy().ends_with(".log");
    let segment = world.disk.files().into_iter().find(is_segment);
    let segment = segment.expect("the records are in one");
    let older = world.disk.content(&segment).expect("it is there").len();
    world.start();
    let ids = world.append("t", 0, 4);
    world.reset(world.place("t", 0), Offset(6));
    world.stop();
    // The file as it was in an older backup of the directory.
    let file = world.disk.open(&segment, Open::Write);
    let cut = file.and_then(|file| file.set_len(older as u64));
    cut.expect("it can be written");
    world.start();
    let mut member = world.join(join());
    let error = end_of(&mut member);
    assert_eq!(error.reason(), "DAMAGED_RECORDS");
    let says = "offsets 6 to 7 of partition 0 of topic \"t\"";
    assert!(error.to_string().contains(says), "{error}");
    drop(member);
    world.advance(SESSION);
    // The session reports the offset where it continues.
    world.reset(world.place("t", 0), Offset(8));
    let more = world.append("t", 0, 1);
    assert_eq!(world.join(join()).ids(), more);
    assert_ne!(ids, more);
}

#[test]
fn records_that_are_trimmed_under_a_member_end_its_session_or_are_passed_over() {
    for is_read_ahead in [false, true] {
        let mut world = World::with_topic("t", 1);
        let ids = world.append("t", 0, 10);
        let mut ended = reading_two(&world, OffsetGone::Fail);
        let mut going_on = reading_two(&world, OffsetGone::Earliest);
        assert_eq!(ended.ids(), ids[..2]);
        assert_eq!(going_on.ids(), ids[..2]);
        world.trim(6);
        for member in [&mut ended, &mut going_on] {
            if !is_read_ahead {
                member.session.let_go();
            }
            member.session.credit(super::world::credit(100));
        }
        assert_eq!(ended.take_all(), 0, "what it was sent is not committed");
        let place = world.place("t", 0);
        assert_eq!(ended.commit(&world, place), CommitOutcome::Done);
        assert_eq!(end_of(&mut ended).reason(), "OFFSET_OUT_OF_RANGE");
        assert_eq!(going_on.ids(), ids[6..]);
    }
}

/// A member of its own group that has taken two records, of more that are there.
fn reading_two(world: &World, policy: OffsetGone) -> Member {
    world.join(JoinGroup {
        group: format!("{policy:?}"),
        credit: super::world::credit(2),
        partition_credit: Some(super::world::credit(100)),
        ..going_on(policy)
    })
}

#[test]
fn what_is_to_be_replayed_begins_at_the_earliest_record_whatever_a_member_says() {
    for no_offset in [
        NoOffset::Start(Position::Earliest),
        NoOffset::Start(Position::Latest),
        NoOffset::Fail,
    ] {
        let mut world = World::with_topic("t", 3);
        let ids = world.append("t", 0, 3);
        world.reset(world.place("t", 0), Offset(2));
        // The new group has committed nothing for this partition.
        let others = world.append("t", 1, 2);
        let forked = world
            .broker()
            .fork_group("g", "new", true, &TopicFilter::default());
        world.broker().commit_all();
        drop(forked.expect("it may be"));
        let mut member = world.join(JoinGroup {
            group: "new".to_owned(),
            ..beginning(no_offset)
        });
        assert_eq!(member.ids(), [ids, others].concat(), "{no_offset:?}");
        assert_eq!(member.partitions(), [0, 1, 2]);
    }
}

#[test]
fn a_reset_moves_members_that_run_and_refuses_what_they_commit_of_before() {
    let mut world = World::with_topic("t", 2);
    let ids = world.append("t", 0, 4);
    world.append("t", 1, 4);
    let mut member = world.join(join());
    assert_eq!(member.ids().len(), 8);
    let place = world.place("t", 0);
    assert_eq!(member.commit(&world, place), CommitOutcome::Done);
    let before: Has = member.has[&place].clone();
    world.reset(world.place("t", 0), Offset(1));
    assert_eq!(member.ids(), ids[1..], "the other partition goes on");
    let late = member.commit_at(&world, place, &before);
    assert!(matches!(late, Ok(CommitOutcome::Fenced { .. })), "{late:?}");
    assert_eq!(world.state("g").offsets[&place].next, Offset(1));
    assert_eq!(member.commit(&world, place), CommitOutcome::Done);
}

#[test]
fn a_commit_never_lowers_an_offset_and_none_is_above_the_end() {
    let mut world = World::with_topic("t", 1);
    world.append("t", 0, 4);
    let mut member = world.join(join());
    member.take_all();
    let place = world.place("t", 0);
    assert_eq!(member.commit(&world, place), CommitOutcome::Done);
    let has = member.has[&place].clone();
    for (next, expected) in [
        (
            2,
            CommitOutcome::Unchanged {
                committed: Offset(4),
            },
        ),
        (5, CommitOutcome::BeyondEnd { end: Offset(4) }),
    ] {
        let has = Has {
            next: Offset(next),
            ..has.clone()
        };
        assert_eq!(member.commit_at(&world, place, &has), Ok(expected));
    }
    let nameless = super::world::offset(place, &has);
    let nameless = GroupOffset {
        generation: None,
        ..nameless
    };
    let refused = member.session.commit(vec![nameless]);
    assert!(matches!(refused, Err(Error::MalformedRequest { .. })));
    assert!(has.generation > Generation(0));
}

#[test]
fn a_time_at_which_a_group_begins_is_looked_up_in_each_partition() {
    let mut world = World::with_topic("t", 2);
    create(world.broker(), "u", 1);
    world.append("t", 0, 2);
    world.clock.advance(Duration::from_secs(60));
    let middle = 1_700_000_000_000 + 30_000;
    let ids = world.append("t", 1, 2);
    let mut member = world.join(beginning(NoOffset::Start(Position::Timestamp(middle))));
    member.take_all();
    world.broker().commit_all();
    assert_eq!(member.ids(), ids);
}

#[test]
fn the_end_at_which_a_group_goes_on_is_kept_for_the_next_owner() {
    let mut world = World::with_topic("t", 1);
    world.append("t", 0, 6);
    world.reset(world.place("t", 0), Offset(2));
    world.trim(4);
    let latest = || going_on(OffsetGone::Latest);
    let mut member = world.join(latest());
    member.take_all();
    world.broker().commit_all();
    assert!(member.ids().is_empty());
    assert_eq!(member.partitions(), [0]);
    // The session commits nothing by itself, so new records are not lost when it ends.
    let ids = world.append("t", 0, 2);
    drop(member.session.leave());
    assert_eq!(world.join(latest()).ids(), ids);
}

#[test]
fn the_end_at_which_a_member_goes_on_is_kept_for_the_next_owner() {
    let mut world = World::with_topic("t", 1);
    let ids = world.append("t", 0, 6);
    let mut member = reading_two(&world, OffsetGone::Latest);
    assert_eq!(member.ids(), ids[..2]);
    world.trim(4);
    member.session.let_go();
    member.session.credit(super::world::credit(100));
    assert!(member.ids().is_empty());
    world.broker().commit_all();
    let ids = world.append("t", 0, 2);
    drop(member.session.leave());
    assert_eq!(reading_two(&world, OffsetGone::Latest).ids(), ids);
}

#[test]
fn a_member_is_told_where_it_is_behind_records_that_are_gone() {
    let mut world = World::new(1);
    create(world.broker(), "t", 1);
    let ids = world.append("t", 0, 2);
    let mut member = world.join(join());
    assert_eq!(member.ids(), ids);
    let key = key_in(1, 0, 1);
    let gone: Vec<Vec<u8>> = (0..3).map(|_| encode_keyed(1, 40, 0, 1)).collect();
    send(world.broker(), append_of("t", Some(0), &gone)).expect("nothing fails");
    let trimmed = world.broker().trim_key("t", &key, Version(4));
    world.broker().commit_all();
    drop(trimmed.expect("it may be"));
    assert!(member.ids().is_empty());
    let place = world.place("t", 0);
    assert_eq!(member.has[&place].next, Offset(5));
    assert_eq!(member.commit(&world, place), CommitOutcome::Done);
    let group = world
        .broker()
        .describe_group(&describe_all("g"))
        .expect("it is there");
    assert_eq!(group.partitions[0].lag, 0);
}

#[test]
fn a_partition_that_comes_behind_a_fork_with_replay_is_read_from_its_beginning() {
    let mut world = World::new(1);
    world.create_plain("t", 1);
    let mut ids = world.append("t", 0, 3);
    world.reset(world.place("t", 0), Offset(2));
    let forked = world
        .broker()
        .fork_group("g", "new", true, &TopicFilter::default());
    world.broker().commit_all();
    drop(forked.expect("it may be"));
    let added = world.broker().add_partitions(Meant::from("t"), 2);
    world.broker().commit_all();
    drop(added.expect("it may be"));
    ids.extend(world.append("t", 1, 2));
    let mut member = world.join(JoinGroup {
        group: "new".to_owned(),
        ..beginning(NoOffset::Start(Position::Latest))
    });
    assert_eq!(member.ids(), ids);
}
