//! One session: its records, its credit, its end.

use std::time::Duration;

use super::{
    super::world::{create, describe_all, now},
    world::{Member, SESSION, World, credit, end_of, join, join_named},
};
use crate::{
    broker::{
        Error, Pending,
        groups::{CommitOutcome, Credit, Event, JoinGroup, NoOffset, Session, SessionStep},
    },
    catalog::groups::MemberId,
};

#[test]
fn a_member_is_sent_all_records_and_told_when_it_has_caught_up() {
    let mut world = World::with_topic("t", 2);
    let mut ids = world.append("t", 0, 3);
    ids.extend(world.append("t", 1, 2));
    let mut member = world.join(join());
    assert!(matches!(member.take(), Ok(Some(Event::Assigned(_)))));
    assert_eq!(member.ids(), ids);
    assert_eq!(member.caught_up, 1);
    let more = world.append("t", 1, 1);
    assert_eq!(member.ids(), more);
    assert_eq!(member.caught_up, 2);
}

#[test]
fn a_member_is_told_of_many_partitions_in_parts() {
    const PARTITIONS: usize = 2_400;
    let name = "t".repeat(249);
    let world = World::with_topic(&name, u32::try_from(PARTITIONS).expect("few"));
    let join = || JoinGroup {
        topics: vec![name.clone()],
        ..join()
    };
    let mut member = world.join(join());
    let mut assigned = Vec::new();
    while let Ok(Some(Event::Assigned(partitions))) = member.take() {
        assigned.push(partitions.len());
    }
    assert_eq!(assigned.iter().sum::<usize>(), PARTITIONS);
    assert!(assigned.iter().all(|part| *part < 1_000), "{assigned:?}");

    let _other = world.join(join());
    let mut revoked = Vec::new();
    while let Ok(Some(event)) = member.take() {
        if let Event::Revoked { partitions, .. } = event {
            revoked.push(partitions.len());
        }
    }
    assert_eq!(revoked.iter().sum::<usize>(), PARTITIONS / 2);
    assert!(revoked.iter().all(|part| *part < 1_000), "{revoked:?}");
}

#[test]
fn a_wait_ends_when_records_come_or_partitions_do() {
    let mut world = World::with_topic("t", 1);
    let mut member = world.join(join());
    member.take_all();
    let Ok(SessionStep::Wait(wait)) = member.session.step() else {
        panic!("there is nothing to send");
    };
    world.append("t", 0, 1);
    assert_eq!(now(wait), Some(()));
    member.take_all();
    let Ok(SessionStep::Wait(wait)) = member.session.step() else {
        panic!("there is nothing to send");
    };
    let mut other = world.join(join());
    other.take_all();
    world.advance(Duration::from_secs(1));
    drop(other.session.leave().expect("it is a member"));
    world.broker().commit_all();
    assert_eq!(now(wait), Some(()), "there is another generation");
}

#[test]
fn a_commit_wakes_a_session_only_where_that_lets_it_go_on() {
    let mut world = World::with_topic("t", 2);
    let mut member = world.join(JoinGroup {
        partition_credit: Some(credit(2)),
        ..join()
    });
    let (part, all) = (world.place("t", 0), world.place("t", 1));
    world.append("t", 0, 1);
    world.append("t", 1, 3);
    member.take_all();
    let wait = |member: &mut Member| match member.session.step() {
        Ok(SessionStep::Wait(wait)) => wait,
        _ => panic!("there is nothing to send"),
    };
    let waiting = wait(&mut member);
    assert_eq!(member.commit(&world, part), CommitOutcome::Done);
    assert_eq!(now(waiting), None, "there is nothing more to send");
    let waiting = wait(&mut member);
    assert_eq!(member.commit(&world, all), CommitOutcome::Done);
    assert_eq!(now(waiting), Some(()), "there is room again");
    assert_eq!(member.ids().len(), 4, "the last one too");
}

#[test]
fn a_step_is_light_where_it_reads_no_file_and_little_of_what_is_in_memory() {
    let mut world = World::with_topic("t", 2);
    let mut member = world.join(JoinGroup {
        credit: credit(3),
        partition_credit: Some(credit(2)),
        ..join()
    });
    assert!(!member.session.is_light(1_000), "it looks where to begin");
    member.take_all();
    assert!(member.session.is_light(0), "there is nothing");
    world.append("t", 1, 3);
    assert!(!member.session.is_light(100) && member.session.is_light(1_000));
    world.broker().checkpoint_now().expect("nothing fails");
    assert!(!member.session.is_light(1_000), "it is in a file");
    member.take_all();
    assert!(member.session.is_light(0), "no more of it may be sent");
    let place = world.place("t", 1);
    assert_eq!(member.commit(&world, place), CommitOutcome::Done);
    assert!(!member.session.is_light(1_000), "one more is sent");
    member.take_all();
    world.append("t", 0, 1);
    assert!(member.session.is_light(0), "no credit is left");
    member.session.credit(credit(1));
    assert!(!member.session.is_light(0) && member.session.is_light(1_000));
}

#[test]
fn no_more_is_sent_than_there_is_credit_for() {
    let mut world = World::with_topic("t", 1);
    let ids = world.append("t", 0, 10);
    let mut member = world.join(JoinGroup {
        credit: credit(4),
        ..join()
    });
    assert_eq!(member.ids(), ids[..4]);
    assert_eq!(member.caught_up, 0);
    // Records of the partition that are under way use credit until they are committed.
    member.session.credit(credit(4));
    assert!(member.ids().is_empty());
    let place = world.place("t", 0);
    assert_eq!(member.commit(&world, place), CommitOutcome::Done);
    assert_eq!(member.ids(), ids[4..8]);
}

#[test]
fn one_record_is_sent_for_the_last_byte_of_credit_and_the_rest_is_owed() {
    let mut world = World::with_topic("t", 1);
    world.append("t", 0, 3);
    let bytes = |bytes| Credit {
        records: 100,
        bytes,
    };
    let mut member = world.join(JoinGroup {
        credit: bytes(1),
        partition_credit: Some(bytes(1_000)),
        ..join()
    });
    assert_eq!(member.ids().len(), 1);
    member.session.credit(bytes(10));
    assert!(member.ids().is_empty(), "the record was larger than that");
    member.session.credit(bytes(100));
    assert_eq!(member.ids().len(), 1);
}

#[test]
fn a_partition_that_takes_long_does_not_hold_up_the_others_of_its_member() {
    let mut world = World::with_topic("t", 2);
    let slow = world.append("t", 0, 10);
    let mut member = world.join(JoinGroup {
        partition_credit: Some(credit(3)),
        ..join()
    });
    assert_eq!(member.ids(), slow[..3]);
    let place = world.place("t", 1);
    for _ in 0..5 {
        let fast = world.append("t", 1, 3);
        assert_eq!(member.ids(), fast);
        assert_eq!(member.commit(&world, place), CommitOutcome::Done);
    }
}

#[test]
fn a_session_that_nobody_reads_holds_on_to_no_more_than_its_credit() {
    let mut world = World::with_topic("t", 2);
    for _ in 0..40 {
        world.append("t", 0, 200);
        world.append("t", 1, 200);
    }
    let mut member = world.join(JoinGroup {
        credit: Credit {
            records: 1_000,
            bytes: 8 << 10,
        },
        ..join()
    });
    let mut sent = 0;
    while let Some(event) = member.take().expect("the session goes on") {
        if let Event::Records(records) = event {
            sent += records.cost.bytes;
        }
    }
    assert!((8 << 10..9 << 10).contains(&sent), "{sent} bytes were sent");
    let held = member.session.memory();
    assert!(held < 32 << 10, "{held} bytes are held on to");
    // The member is not removed for that.
    world.advance(10 * SESSION);
    assert!(world.state("g").members.contains_key(&member.id));
}

#[test]
fn a_paused_partition_is_sent_nothing_and_stays_with_its_member() {
    let mut world = World::with_topic("t", 2);
    let mut member = world.join(join());
    member.take_all();
    let place = world.place("t", 0);
    member.session.pause(&[place]);
    let paused = world.append("t", 0, 2);
    let others = world.append("t", 1, 2);
    assert_eq!(member.ids(), others);
    let live = &world.broker().shared.sessions;
    let group = crate::types::GroupName::new("g").expect("it is valid");
    assert!(live.has_paused(&group, member.id, place));
    assert!(!live.has_paused(&group, member.id, world.place("t", 1)));
    assert_eq!(member.partitions(), [0, 1]);
    member.session.resume(&[place]);
    assert_eq!(member.ids(), paused);
}

#[test]
fn who_joins_with_the_same_name_has_its_partitions_and_the_old_stream_ends_with_fenced() {
    let mut world = World::with_topic("t", 2);
    world.append("t", 0, 2);
    let mut old = world.join(join_named("a"));
    old.take_all();
    let place = world.place("t", 0);
    let has = old.has[&place].clone();
    let mut new = world.join(join_named("a"));
    assert_eq!(new.id, old.id);
    // The old stream is refused at once, whether it has been told or not.
    assert!(matches!(
        old.commit_at(&world, place, &has),
        Err(Error::MemberFenced { .. })
    ));
    assert!(matches!(end_of(&mut old), Error::MemberFenced { .. }));
    new.take_all();
    assert_eq!(new.partitions(), [0, 1]);
    assert_eq!(new.commit(&world, place), CommitOutcome::Done);
    // The end of the old session does not take anything from the new one either.
    let leaves = old.session.leave();
    assert!(matches!(leaves, Err(Error::MemberFenced { .. })));
    world.advance(3 * SESSION);
    assert!(world.state("g").members.contains_key(&new.id));
    assert_eq!(new.take_all(), 0);
}

#[test]
fn a_client_that_was_cut_off_does_not_throw_out_the_one_that_has_taken_its_name() {
    let mut world = World::with_topic("t", 1);
    let back_as = |member: &Member| JoinGroup {
        member_id: Some(member.id),
        instance: Some(member.session.instance()),
        ..join_named("a")
    };
    let old = world.join(join_named("a"));
    let old_again = back_as(&old);
    drop(old);
    let mut new = world.join(join_named("a"));
    let is_fenced = |world: &World| {
        let joined = world.try_join(old_again.clone());
        matches!(joined, Err(Error::MemberFenced { .. }))
    };
    assert!(is_fenced(&world));
    let ids = world.append("t", 0, 2);
    assert_eq!(new.ids(), ids);
    let new_again = back_as(&new);
    drop(new);
    world.stop();
    world.start();
    assert!(is_fenced(&world));
    assert_eq!(world.join(new_again).ids(), ids);
}

#[test]
fn a_fenced_session_is_told_nothing_of_what_the_later_one_has() {
    let world = World::with_topic("t", 2);
    let mut old = world.join(join_named("a"));
    old.take_all();
    // The join is queued, and other joins are applied together with it.
    let first = world.broker().join_group(join_named("a"));
    let second = world.broker().join_group(join_named("a"));
    world.broker().commit_all();
    let session =
        |pending: Pending<Session>| now(pending).expect("an answer").expect("it has joined");
    let mut first = Member::new(session(first.expect("it may")));
    let mut second = Member::new(session(second.expect("it may")));
    assert!(matches!(old.take(), Err(Error::MemberFenced { .. })));
    assert!(matches!(first.take(), Err(Error::MemberFenced { .. })));
    second.take_all();
    assert_eq!(second.partitions(), [0, 1]);
}

#[test]
fn a_member_comes_back_by_its_id_within_its_sessions_time() {
    let world = World::with_topic("t", 2);
    let mut member = world.join(join());
    member.take_all();
    let id = member.id;
    drop(member);
    world.advance(SESSION - Duration::from_millis(1));
    let back = JoinGroup {
        member_id: Some(id),
        ..join()
    };
    let mut member = world.join(back.clone());
    assert_eq!(member.id, id);
    member.take_all();
    assert_eq!(member.partitions(), [0, 1]);
    drop(member);
    world.advance(SESSION);
    assert_eq!(world.state("g").members.len(), 0);
    assert_ne!(world.join(back).id, id, "it is another member");
}

#[test]
fn a_member_that_promised_heartbeats_and_sends_none_is_gone_and_is_told_why() {
    let world = World::with_topic("t", 1);
    let mut silent = world.join(JoinGroup {
        heartbeat: true,
        ..join()
    });
    silent.take_all();
    world.advance(SESSION / 2);
    silent.session.heard();
    world.advance(SESSION - Duration::from_millis(1));
    assert_eq!(silent.take_all(), 0);
    world.advance(Duration::from_millis(1));
    assert_eq!(world.state("g").members.len(), 0);
    assert!(matches!(silent.take(), Err(Error::SessionEnded { .. })));
    let commit = silent.session.commit(Vec::new());
    assert!(matches!(commit, Err(Error::SessionEnded { .. })));
}

#[test]
fn a_partition_without_progress_goes_to_another_member_where_that_was_asked_for() {
    let mut world = World::with_topic("t", 1);
    let progress = Duration::from_secs(5);
    let with_progress = || JoinGroup {
        progress: Some(progress),
        ..join()
    };
    let ids = world.append("t", 0, 2);
    let mut stuck = world.join(with_progress());
    let mut other = world.join(with_progress());
    world.advance(Duration::from_secs(1));
    assert_eq!(stuck.ids(), ids);
    other.take_all();
    world.advance(progress - Duration::from_secs(1));
    let place = world.place("t", 0);
    stuck.session.still_working(&[place]);
    world.advance(progress - Duration::from_millis(1));
    assert_eq!(stuck.take_all(), 0);
    world.advance(Duration::from_millis(1));
    stuck.take_all();
    assert!(stuck.partitions().is_empty());
    assert_eq!(other.ids(), ids);
    assert_eq!(other.commit(&world, place), CommitOutcome::Done);
    // The member has no uncommitted records.
    world.advance(10 * progress);
    assert_eq!(other.partitions(), [0]);
}

#[test]
fn an_ephemeral_group_ends_with_its_last_member_and_keeps_nothing() {
    let mut world = World::with_topic("t", 1);
    let ids = world.append("t", 0, 2);
    let ephemeral = || JoinGroup {
        is_ephemeral: true,
        ..join()
    };
    let mut member = world.join(ephemeral());
    member.take_all();
    let place = world.place("t", 0);
    assert_eq!(member.commit(&world, place), CommitOutcome::Done);
    assert!(
        world.try_join(join()).is_err(),
        "the group is of another kind"
    );
    drop(member.session.leave().expect("it is a member"));
    world.broker().commit_all();
    assert_eq!(world.join(ephemeral()).ids(), ids);
}

#[test]
fn a_topic_that_is_deleted_is_revoked_and_one_with_its_name_begins_at_its_start() {
    let mut world = World::with_topic("t", 1);
    world.append("t", 0, 5);
    let mut member = world.join(join());
    assert_eq!(member.ids().len(), 5);
    let place = world.place("t", 0);
    assert_eq!(member.commit(&world, place), CommitOutcome::Done);
    drop(world.broker().delete_topic("t"));
    world.broker().commit_all();
    member.take_all();
    assert!(member.partitions().is_empty());
    create(world.broker(), "t", 1);
    let ids = world.append("t", 0, 3);
    world.advance(Duration::from_secs(1));
    assert_eq!(member.ids(), ids);
    assert_ne!(world.place("t", 0), place);
}

#[test]
fn joins_that_cannot_be_meant_are_refused_and_nothing_is_stored() {
    let world = World::with_topic("t", 1);
    let nothing = Credit::default();
    let bad = [
        JoinGroup {
            group: "x".repeat(256),
            ..join()
        },
        join_named(&"x".repeat(256)),
        JoinGroup {
            credit: nothing,
            ..join()
        },
        JoinGroup {
            partition_credit: Some(nothing),
            ..join()
        },
        JoinGroup {
            topics: Vec::new(),
            ..join()
        },
        JoinGroup {
            topics: vec!["?".to_owned()],
            ..join()
        },
        JoinGroup {
            topics: vec!["t".to_owned(), "t".to_owned()],
            ..join()
        },
        JoinGroup {
            prefixes: vec!["t".to_owned(), "t".to_owned()],
            ..join()
        },
        join_named("left\u{202e}thgir"),
        join_named("two\u{2028}lines"),
        JoinGroup {
            session: Duration::from_millis(999),
            ..join()
        },
        JoinGroup {
            topics: (0..1_001).map(|nth| format!("t{nth}")).collect(),
            ..join()
        },
    ];
    for join in bad {
        let group = join.group.clone();
        assert!(world.try_join(join).is_err());
        if group == "g" {
            assert_eq!(world.state(&group).generation, Default::default());
        }
    }
    let unknown = JoinGroup {
        member_id: Some(MemberId(7)),
        ..join()
    };
    assert_ne!(world.join(unknown).id, MemberId(7));
}

#[test]
fn a_prefix_that_no_topic_s_name_begins_with_is_told_as_it_was_sent() {
    let world = World::with_topic("t", 1);
    let refused = world.try_join(JoinGroup {
        prefixes: vec!["a/b c".to_owned()],
        ..join()
    });
    let refused = refused.err().expect("it may not be");
    assert_eq!(refused.reason(), "INVALID_TOPIC_NAME");
    assert!(refused.to_string().contains("\"a/b c\""), "{refused}");
}

#[test]
fn a_member_that_is_ended_with_an_error_gives_up_its_partitions_at_once() {
    let mut world = World::with_topic("t", 2);
    let ids = world.append("t", 0, 2);
    let mut failing = world.join(JoinGroup {
        no_offset: NoOffset::Fail,
        ..join()
    });
    let error = end_of(&mut failing);
    assert_eq!(error.reason(), "NO_OFFSET");
    let left = failing.session.fail(&error).expect("it is out");
    world.broker().commit_all();
    assert_eq!(now(left), Some(Ok(())));
    assert_eq!(world.state("g").members.len(), 0);
    drop(failing);
    let group = world
        .broker()
        .describe_group(&describe_all("g"))
        .expect("it is there");
    let says = format!("was ended with NO_OFFSET: {error}");
    assert!(group.reason.ends_with(&says), "{}", group.reason);

    // Another member may succeed with these records.
    let mut other = world.join(join());
    assert_eq!(other.ids(), ids);
    assert_eq!(other.partitions(), [0, 1]);
    drop(other.session.leave());
    world.broker().commit_all();
    let group = world
        .broker()
        .describe_group(&describe_all("g"))
        .expect("it is there");
    assert_eq!(group.reason, "it has no members");
}

#[test]
fn the_partitions_of_a_named_member_are_kept_for_its_name_and_the_group_says_with_which_error() {
    let world = World::with_topic("t", 1);
    let failing = || JoinGroup {
        no_offset: NoOffset::Fail,
        ..join_named("one")
    };
    let reason = |world: &World| {
        world.broker().shared.keep_groups();
        let group = world.broker().describe_group(&describe_all("g"));
        group.expect("it is there").reason
    };
    let mut member = world.join(failing());
    let mut waiting = world.join(join());
    waiting.take_all();
    let error = end_of(&mut member);
    assert!(member.session.fail(&error).is_none());
    drop(member);
    let told = reason(&world);
    for says in ["\"one\"", "NO_OFFSET", "kept for its name"] {
        assert!(told.contains(says), "{told}");
    }
    world.advance(SESSION - Duration::from_millis(1));
    waiting.take_all();
    assert!(waiting.partitions().is_empty());
    world.advance(Duration::from_millis(1));
    waiting.take_all();
    assert_eq!(waiting.partitions(), [0]);

    // An error that may go away is waited out.
    let passing = Error::ShuttingDown;
    assert!(waiting.session.fail(&passing).is_none());
    assert_eq!(world.state("g").members.len(), 1);
    assert!(!reason(&world).contains("ended"));
}
