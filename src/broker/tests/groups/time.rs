//! How long a group stands still when a member is killed, when the broker restarts, and when a
//! member is busy.

use std::{collections::BTreeMap, time::Duration};

use super::{
    super::world::{env, options},
    world::{JOINING, Member, SESSION, World, credit, join, join_named},
};
use crate::{
    broker::{Broker, groups::JoinGroup},
    catalog::groups::MemberId,
    env::{
        Clock,
        sim::{CrashMode, SimClock, SimDisk, SimRandom},
    },
};

const MOMENT: Duration = Duration::from_secs(1);

/// This many members that share the partitions of `t`.
pub(super) fn members(world: &World, count: usize) -> Vec<Member> {
    let mut members = Vec::new();
    for _ in 0..count {
        members.push(world.try_join(join()).expect("there is room"));
    }
    world.advance(MOMENT);
    let mut all: Vec<&mut Member> = members.iter_mut().collect();
    world.settle(&mut all);
    members
}

fn back(id: MemberId) -> JoinGroup {
    JoinGroup {
        member_id: Some(id),
        ..join()
    }
}

#[test]
fn the_partitions_of_a_killed_member_are_read_again_within_12_seconds() {
    let mut world = World::with_topic("t", 4);
    let mut two = members(&world, 2);
    let mut survivor = two.pop().expect("there are two");
    let killed = two.pop().expect("there are two");
    let mut ids = Vec::new();
    for place in killed.has.keys() {
        ids.extend(world.append("t", place.1.0, 1));
    }
    drop(killed);
    let began = world.clock.elapsed();
    while survivor.ids() != ids {
        world.advance(Duration::from_millis(100));
        let waited = world.clock.elapsed() - began;
        assert!(waited <= Duration::from_secs(12), "nobody reads them");
    }
    assert!(world.clock.elapsed() - began >= SESSION);
}

#[test]
fn a_broker_with_threads_does_what_is_due_when_its_clock_is_moved() {
    let (disk, clock) = (SimDisk::new(1), SimClock::new(1_700_000_000_000));
    let env = env(&disk, &clock, &SimRandom::new(1));
    let broker = Broker::open(env, options()).expect("the disk is empty");
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.expect("it can be built");
    let topic = broker.create_topic("t", 1, &BTreeMap::new());
    runtime
        .block_on(topic.expect("it may be"))
        .expect("nothing fails");
    let join_as = |name| {
        let joined = broker.join_group(join_named(name)).expect("it may");
        Member::new(runtime.block_on(joined).expect("nothing fails"))
    };
    let (lost, mut other) = (join_as("lost"), join_as("other"));
    drop(lost);
    let mut waited = Duration::ZERO;
    loop {
        other.take_all();
        if !other.has.is_empty() {
            break;
        }
        assert!(waited <= SESSION + MOMENT, "nobody has the partition");
        let next = broker.time_to_deadline().expect("somebody is waited for");
        let step = next.max(Duration::from_millis(1));
        clock.advance(step);
        waited += step;
        let met = broker.meet_deadlines().expect("it runs");
        runtime.block_on(met).expect("nothing fails");
    }
    assert!(waited >= SESSION);
    drop(other);
    broker.close().expect("nothing fails");
}

#[test]
fn a_restart_of_the_broker_stops_nobody_for_longer_than_it_takes_to_come_back() {
    for is_clean in [true, false] {
        let mut world = World::with_topic("t", 4);
        let four = members(&world, 4);
        let had: Vec<_> = four
            .iter()
            .map(|member| (member.id, member.partitions()))
            .collect();
        drop(four);
        match is_clean {
            true => world.stop(),
            false => world.kill(CrashMode::LoseUnsynced),
        }
        world.start();
        // Each member rejoins at its own time and continues at once, without waiting for others.
        for (id, partitions) in had {
            let mut member = world.join(back(id));
            member.take_all();
            assert_eq!(member.id, id);
            assert_eq!(member.partitions(), partitions);
            let ids = world.append("t", partitions[0], 1);
            assert_eq!(member.ids(), ids);
            world.advance(Duration::from_millis(100));
            std::mem::forget(member);
        }
    }
}

/// The longest time that clients wait after the broker is back, if it was away for this long.
/// Between attempts they pause for 20 ms, then twice as long each time, or half of that at random.
fn longest_pause(away: Duration) -> Duration {
    let (mut pause, mut tried_at) = (Duration::from_millis(20), Duration::ZERO);
    while tried_at + pause / 2 <= away {
        tried_at += pause / 2;
        pause *= 2;
    }
    pause
}

#[test]
fn a_clean_restart_of_the_broker_stops_a_group_for_at_most_two_seconds() {
    // Tries several times of absence.
    for away in [0, 10, 300, 700].map(Duration::from_millis) {
        let mut world = World::with_topic("t", 4);
        let four = members(&world, 4);
        let had: Vec<_> = four
            .iter()
            .map(|member| (member.id, member.partitions()))
            .collect();
        let began = world.clock.elapsed();
        drop(four);
        world.stop();
        world.clock.advance(away);
        world.start();
        let mut ids = Vec::new();
        for (_, partitions) in &had {
            ids.push(world.append("t", partitions[0], 1));
        }
        world.advance(longest_pause(away));
        let mut back_again = Vec::new();
        for ((id, partitions), ids) in had.into_iter().zip(ids) {
            let mut member = world.try_join(back(id)).expect("there is room");
            assert_eq!(member.ids(), ids);
            assert_eq!(member.partitions(), partitions);
            back_again.push(member);
        }
        let stood = world.clock.elapsed() - began;
        assert!(stood <= Duration::from_secs(2), "{stood:?}");
    }
}

#[test]
fn a_restart_with_a_hundred_members_moves_no_partition() {
    let mut world = World::with_topic("t", 120);
    let hundred = members(&world, 100);
    let owners = |world: &World| {
        let owned = world.state("g").owned;
        let owners = owned.into_iter().map(|(place, owned)| (place, owned.owner));
        owners.collect::<Vec<_>>()
    };
    let before = owners(&world);
    assert_eq!(before.len(), 120);
    let generations = world.state("g").generation.0;
    assert!(
        generations < 20,
        "{generations} generations for a hundred members"
    );
    let ids: Vec<MemberId> = hundred.iter().map(|member| member.id).collect();
    drop(hundred);
    world.kill(CrashMode::LoseUnsynced);
    world.start();
    let mut back_again = Vec::new();
    for id in ids {
        let mut member = world.try_join(back(id)).expect("there is room");
        member.take_all();
        back_again.push(member);
        // All members come back within their sessions' time, counted from the start.
        world.advance(SESSION / 101);
    }
    world.advance(3 * SESSION);
    assert!(owners(&world) == before, "partitions have moved");
    for member in &mut back_again {
        assert_eq!(member.take_all(), 0, "nobody is told anything more");
    }
}

#[test]
fn who_does_not_come_back_after_a_restart_has_the_sessions_time_from_then() {
    let mut world = World::with_topic("t", 2);
    let two = members(&world, 2);
    let id = two[0].id;
    drop(two);
    world.kill(CrashMode::LoseUnsynced);
    world.clock.advance(10 * SESSION);
    world.start();
    let mut member = world.join(back(id));
    member.take_all();
    assert_eq!(member.partitions().len(), 1);
    world.advance(SESSION - MOMENT);
    assert_eq!(member.take_all(), 0);
    world.advance(MOMENT);
    member.take_all();
    assert_eq!(member.partitions().len(), 2);
}

#[test]
fn a_busy_member_stops_nobody_else_while_a_third_one_joins() {
    let mut world = World::with_topic("t", 6);
    let mut two = members(&world, 2);
    let mut other = two.pop().expect("there are two");
    // From here on the member sends nothing and takes nothing.
    let _busy = two.pop().expect("there are two");
    let mut third = world.join(join_named("third"));
    world.advance(MOMENT);
    world.settle(&mut [&mut other, &mut third]);
    assert_eq!(other.partitions().len(), 2);
    assert_eq!(third.partitions().len(), 1);
    for _ in 0..60 {
        for partition in other.partitions() {
            let ids = world.append("t", partition, 1);
            assert_eq!(other.ids(), ids);
        }
        world.advance(Duration::from_millis(500));
    }
    // The partition that the busy member did not hand over is taken from it in the end.
    world.advance(MOMENT);
    third.take_all();
    assert_eq!(third.partitions().len(), 2);
}

#[test]
fn a_member_that_works_again_gets_its_share_anew() {
    let mut world = World::with_topic("t", 4);
    let progress = Some(Duration::from_secs(1));
    let joining = || JoinGroup { progress, ..join() };
    let mut slow = world.join(joining());
    let mut other = world.join(joining());
    world.settle(&mut [&mut slow, &mut other]);
    assert_eq!((slow.has.len(), other.has.len()), (2, 2));
    for partition in slow.partitions() {
        world.append("t", partition, 1);
    }
    slow.take_all();
    world.advance(Duration::from_secs(2));
    world.settle(&mut [&mut slow, &mut other]);
    assert_eq!((slow.has.len(), other.has.len()), (0, 4));
    for place in other.has.keys().copied().collect::<Vec<_>>() {
        other.commit(&world, place);
    }
    slow.session.credit(credit(2));
    for _ in 0..3 {
        world.advance(JOINING);
        world.settle(&mut [&mut slow, &mut other]);
    }
    assert_eq!((slow.has.len(), other.has.len()), (2, 2));
}
