//! A connection's share of the room for producers, and who is forgotten when room runs short.

use std::time::Duration;

use super::{P0, TOPIC, id};
use crate::{
    catalog::producers::{
        Decision, Excess, HolderId, Kind, Producers, Refused, Room, room::IN_USE,
    },
    types::{PartitionId, ProducerId, TopicId},
};

const MINUTE: Duration = Duration::from_secs(60);
const ROOM: Room = Room {
    producers: 64,
    sequences: 128,
    name_bytes: 256,
};
const A: HolderId = HolderId(1);
const B: HolderId = HolderId(2);

/// Opens a producer as a broker does: forgets other producers if that makes the room needed.
fn open(
    producers: &mut Producers,
    number: u64,
    name: &str,
    holder: HolderId,
) -> Result<Vec<ProducerId>, Excess> {
    let mut forgotten = Vec::new();
    if producers
        .decide_open(name, id(number), Some(holder))
        .is_err()
    {
        let made = producers.make_room(Room::of_new(name), Some(holder), None);
        forgotten = made.unwrap_or_default();
        forgotten.iter().for_each(|&id| producers.apply_forget(id));
    }
    let opened = producers.decide_open(name, id(number), Some(holder))?;
    producers.apply_open(opened.id, opened.epoch, name);
    producers.hold(opened.id, holder);
    Ok(forgotten)
}

/// Appends the first batch of a producer to a partition, making room in the same way.
fn append(
    producers: &mut Producers,
    number: u64,
    partition: u32,
    holder: HolderId,
) -> Result<Vec<ProducerId>, Refused> {
    let (by, batches) = (id(number), [(TOPIC, PartitionId(partition), 0)]);
    let mut forgotten = Vec::new();
    let decided = producers.decide_append(by, 1, &batches, Some(holder));
    if matches!(decided, Err(Refused::TooMany(_))) {
        let needed = producers.room_for(by, &batches);
        let made = producers.make_room(needed, Some(holder), Some(by));
        forgotten = made.unwrap_or_default();
        forgotten.iter().for_each(|&id| producers.apply_forget(id));
    }
    producers.decide_append(by, 1, &batches, Some(holder))?;
    producers.hold(by, holder);
    producers.apply_batch(by, 1, TOPIC, PartitionId(partition), 0);
    Ok(forgotten)
}

fn count(producers: &Producers) -> usize {
    producers.used().producers
}

#[test]
fn one_connection_that_opens_producers_without_end_forgets_its_own_and_leaves_half() {
    let mut producers = Producers::new(ROOM);
    open(&mut producers, 1, "orders", B).expect("there is room");
    append(&mut producers, 1, 0, B).expect("there is room");
    for number in 2..1_000 {
        let forgotten = open(&mut producers, number, "", A).expect("its own make room");
        assert!(!forgotten.contains(&id(1)));
    }
    assert!(
        count(&producers) <= 25,
        "half of three quarters, and one: {}",
        count(&producers)
    );
    assert!(producers.is_known(id(1), 1) && producers.is_known(id(999), 1));
}

#[test]
fn what_many_connections_have_opened_and_left_makes_room_for_one_that_comes() {
    let mut producers = Producers::new(ROOM);
    for number in 2..1_000 {
        let holder = HolderId(number);
        open(&mut producers, number, "", holder).expect("who opens nothing else has a place");
        producers.let_go(holder);
    }
    for number in 1_000..1_004 {
        open(&mut producers, number, "", A).expect("there is room for some more");
        append(&mut producers, number, 0, A).expect("there is room");
    }
    assert!(count(&producers) <= ROOM.producers);
}

#[test]
fn those_that_stored_nothing_go_first_then_those_idle_the_longest_and_none_in_use() {
    let mut producers = Producers::new(ROOM);
    for number in 1..=64 {
        producers.apply_open(id(number), 1, "");
        producers.hold(id(number), HolderId(number));
        if number > 8 {
            producers.apply_batch(id(number), 1, TOPIC, P0, 0);
        }
        producers.tick(Duration::from_secs(10));
    }
    // Producer 9 is used again, on a living connection. Producer 10 is used again too, but nobody
    // holds it any more.
    producers.apply_batch(id(9), 1, TOPIC, P0, 1);
    producers.let_go(HolderId(10));
    let forgotten = open(&mut producers, 100, "", A).expect("there are idle ones");
    let first: Vec<ProducerId> = [1, 2].map(id).into();
    assert_eq!(forgotten, first, "one is needed, and one is spare");
    // Connection A's own producers that stored nothing are not candidates, because they are the
    // newest.
    let mut forgotten = Vec::new();
    for number in 101..106 {
        let more = open(&mut producers, number, "", HolderId(number)).expect("there are some");
        producers.apply_batch(id(number), 1, TOPIC, P0, 0);
        forgotten.extend(more);
    }
    assert!(forgotten.contains(&id(3)), "{forgotten:?}");
    assert!(!forgotten.contains(&id(9)), "{forgotten:?}");

    producers.tick(MINUTE);
    for number in 200..230 {
        producers.tick(Duration::from_secs(1));
        let more = open(&mut producers, number, "", HolderId(number)).expect("there are some");
        producers.apply_batch(id(number), 1, TOPIC, P0, 0);
        forgotten.extend(more);
    }
    let stored: Vec<ProducerId> = forgotten
        .iter()
        .copied()
        .filter(|&one| one > id(8) && one != id(100))
        .collect();
    assert!(stored.is_sorted(), "the longest idle first: {stored:?}");
    assert_eq!(stored.first(), Some(&id(10)));
    assert!(!forgotten.contains(&id(9)), "it is in use: {forgotten:?}");
}

#[test]
fn where_all_are_in_use_a_new_one_is_refused_until_some_are_idle() {
    let mut producers = Producers::new(ROOM);
    for number in 1..=64 {
        producers.apply_open(id(number), 1, "");
        producers.apply_batch(id(number), 1, TOPIC, P0, 0);
        producers.hold(id(number), HolderId(number + 100));
    }
    let full = Excess {
        kind: Kind::Producers,
        count: 65,
        most: 64,
        is_share: false,
    };
    assert_eq!(open(&mut producers, 65, "", A), Err(full));
    producers.tick(IN_USE);
    producers.apply_batch(id(1), 1, TOPIC, P0, 1);
    open(&mut producers, 65, "", A).expect("63 are idle");
    assert!(producers.is_known(id(1), 1));
}

#[test]
fn producers_in_use_that_no_connection_holds_are_the_last_to_go() {
    let mut producers = Producers::new(ROOM);
    for number in 1..=64 {
        producers.apply_open(id(number), 1, "");
        producers.apply_batch(id(number), 1, TOPIC, P0, 0);
        if number <= 60 {
            producers.hold(id(number), HolderId(number + 100));
        }
    }
    let forgotten = open(&mut producers, 65, "", A).expect("nobody holds four of them");
    assert_eq!(
        forgotten,
        [61, 62].map(id),
        "one is needed, and one is spare"
    );
}

#[test]
fn a_connection_gets_its_share_of_sequences_and_no_more() {
    let mut producers = Producers::new(ROOM);
    open(&mut producers, 1, "", A).expect("there is room");
    let mut appended = 0;
    while append(&mut producers, 1, appended, A).is_ok() {
        appended += 1;
    }
    assert_eq!(appended, 48, "as many as it leaves of three quarters");
    producers.tick(Duration::from_secs(1));
    open(&mut producers, 2, "", B).expect("there is room");
    let mut appended = 0;
    while append(&mut producers, 2, appended, B).is_ok() {
        appended += 1;
    }
    assert_eq!(appended, 24, "as many as it leaves of what A does");
    assert!(producers.is_known(id(1), 1) && producers.is_known(id(2), 1));
}

#[test]
fn sequences_are_not_made_room_for_by_forgetting_those_that_have_none() {
    let mut producers = Producers::new(ROOM);
    for number in 1..=32 {
        producers.apply_open(id(number), 1, "");
        if number % 2 == 0 {
            (0..8).for_each(|at| producers.apply_batch(id(number), 1, TOPIC, PartitionId(at), 0));
        }
    }
    producers.tick(IN_USE);
    open(&mut producers, 40, "", A).expect("there is room");
    let forgotten = append(&mut producers, 40, 0, A).expect("all are idle");
    assert_eq!(forgotten, [id(2)]);
}

#[test]
fn a_producer_that_asks_is_not_forgotten_for_itself() {
    let mut producers = Producers::new(ROOM);
    producers.apply_open(id(1), 1, "");
    let partitions = 0..128;
    partitions.for_each(|at| producers.apply_batch(id(1), 1, TOPIC, PartitionId(at), 0));
    producers.tick(IN_USE);
    let full = Excess {
        kind: Kind::Sequences,
        count: 129,
        most: 128,
        is_share: false,
    };
    let refused = append(&mut producers, 1, 200, A);
    assert_eq!(refused, Err(Refused::TooMany(full)));
    assert!(producers.is_known(id(1), 1));
}

#[test]
fn names_take_up_room_too() {
    let mut producers = Producers::new(ROOM);
    let name = |number: u64| format!("{number:0>64}");
    for number in 1..100 {
        open(&mut producers, number, &name(number), A).expect("its own make room");
        assert!(producers.used().name_bytes <= 96, "half of three quarters");
    }
    assert_eq!(count(&producers), 1, "of 64 bytes");
    open(&mut producers, 200, "", A).expect("one without a name needs none");
}

#[test]
fn what_is_forgotten_is_given_back_whatever_the_way() {
    let mut producers = Producers::new(ROOM);
    let other = TopicId(8);
    open(&mut producers, 1, "orders", A).expect("there is room");
    producers.apply_batch(id(1), 1, TOPIC, P0, 0);
    producers.apply_batch(id(1), 1, other, P0, 0);
    producers.forget_topic(other);
    assert_eq!(producers.used().sequences, 1);
    producers.apply_batch(id(1), 2, other, P0, 0);
    assert_eq!(
        producers.used().sequences,
        1,
        "the epoch before has none any more"
    );
    producers.hold(id(1), B);
    producers.apply_open(id(1), 3, "orders");
    assert_eq!(producers.used().sequences, 0);
    producers.hold(id(1), B);
    producers.apply_forget(id(1));
    assert_eq!(producers.used(), Room::NONE);
    let share = Room {
        producers: 24,
        sequences: 48,
        name_bytes: 96,
    };
    for holder in [A, B] {
        let checked = producers.check_room(share, Some(holder));
        assert_eq!(checked, Ok(()), "it holds nothing");
    }
}

#[test]
fn what_a_forgotten_producer_sends_again_is_refused_and_not_stored_twice() {
    let mut producers = Producers::new(ROOM);
    open(&mut producers, 1, "", A).expect("there is room");
    append(&mut producers, 1, 0, A).expect("there is room");
    let again = [(TOPIC, P0, 0)];
    let decided = producers.decide_append(id(1), 1, &again, Some(A));
    assert_eq!(decided, Ok(Decision::Duplicate));
    producers.let_go(A);
    producers.tick(IN_USE);
    for number in 2..200 {
        open(&mut producers, number, "", HolderId(number)).expect("there is room");
        producers.apply_batch(id(number), 1, TOPIC, P0, 0);
        producers.let_go(HolderId(number));
    }
    let decided = producers.decide_append(id(1), 1, &again, Some(B));
    assert_eq!(decided, Err(Refused::Unknown));
}
