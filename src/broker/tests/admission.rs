//! Which requests are admitted to append, and when.

use std::{future::Future, pin::Pin};

use super::world::{env, now, options};
use crate::{
    broker::{Admission, Broker, Error, Flow, Load, Options},
    budget::Name,
    env::sim::{SimClock, SimDisk, SimRandom},
    types::limits::{
        MAX_BYTES_UNDER_WAY, MAX_RECORDS_PER_APPEND, PRICE_OF_BATCH, PRICE_OF_RECORD,
        PRICE_OF_REQUEST,
    },
};

type Waiting<'a> = Pin<Box<dyn Future<Output = Result<Admission, Error>> + 'a>>;

const ROOM: usize = 512 << 10;

/// The connection limit.
const FLOWS: usize = 4;

/// A broker with this much memory for appends.
fn broker(appends: usize) -> Broker {
    let clock = SimClock::new(1_700_000_000_000);
    let memory = options().memory.with(Name::Appends, appends);
    let options = Options {
        memory: memory.for_holders(FLOWS),
        ..options()
    };
    let env = env(&SimDisk::new(1), &clock, &SimRandom::new(1));
    Broker::open_stepped(env, options).expect("nothing fails")
}

/// The record bytes of a request that needs this much memory.
fn bytes_of(memory: usize) -> usize {
    (memory - PRICE_OF_RECORD - PRICE_OF_BATCH - PRICE_OF_REQUEST) / 3 * 2
}

fn ask<'a>(broker: &'a Broker, flow: &'a Flow, bytes: usize) -> Waiting<'a> {
    let load = Load {
        bytes,
        batches: 1,
        records: 1,
    };
    Box::pin(broker.admit(flow, load))
}

fn is_in(waiting: &mut Waiting<'_>) -> Option<Admission> {
    now(waiting).map(|admitted| admitted.expect("there is room"))
}

#[test]
fn requests_of_one_client_wait_in_the_order_they_came() {
    let broker = broker(ROOM);
    let flow = Flow::default();
    let quarter = bytes_of(ROOM / 4);
    let first = is_in(&mut ask(&broker, &flow, quarter)).expect("there is memory");
    let second = is_in(&mut ask(&broker, &flow, quarter)).expect("there is memory");
    let (mut third, mut small) = (ask(&broker, &flow, quarter), ask(&broker, &flow, 1));
    assert!(is_in(&mut third).is_none(), "it has its share");
    assert!(is_in(&mut small).is_none(), "nobody is overtaken");
    drop(first);
    let third = is_in(&mut third).expect("there is memory again");
    assert!(is_in(&mut small).is_none());
    drop(second);
    assert!(is_in(&mut small).is_some());
    drop(third);
}

#[test]
fn a_request_does_not_wait_for_all_large_ones_of_another_client() {
    let broker = broker(ROOM);
    let (greedy, polite) = (Flow::default(), Flow::default());
    let all = ROOM;
    let first = is_in(&mut ask(&broker, &greedy, all)).expect("there is memory");
    let mut large: Vec<_> = (0..100).map(|_| ask(&broker, &greedy, all)).collect();
    assert!(large.iter_mut().all(|waiting| is_in(waiting).is_none()));
    let mut quarter = ask(&broker, &polite, bytes_of(ROOM / 4));
    assert!(is_in(&mut quarter).is_none());
    drop(first);
    let admitted = is_in(&mut quarter).expect("it comes before those behind the first");
    assert!(large.iter_mut().all(|waiting| is_in(waiting).is_none()));
    drop(admitted);
    // All requests are admitted one by one, even if one of them is no longer waiting.
    drop(large.remove(50));
    for waiting in &mut large {
        assert!(is_in(waiting).is_some());
    }
}

#[test]
fn a_small_request_does_not_wait_for_the_memory_of_other_clients() {
    let broker = broker(ROOM);
    let greedy: Vec<Flow> = (0..FLOWS).map(|_| Flow::default()).collect();
    let eighth = bytes_of(ROOM / 8);
    // Each flow asks for more until it has to wait.
    let mut has: Vec<Admission> = Vec::new();
    let mut waiting = Vec::new();
    for flow in &greedy {
        let mut next = ask(&broker, flow, eighth);
        while let Some(admission) = is_in(&mut next) {
            has.push(admission);
            next = ask(&broker, flow, eighth);
        }
        waiting.push(next);
    }
    let polite = Flow::default();
    for _ in 0..10 {
        let admitted = is_in(&mut ask(&broker, &polite, 100));
        assert!(
            admitted.is_some(),
            "{} of {ROOM} are used",
            has.len() * ROOM / 8
        );
    }
    assert!(waiting.iter_mut().all(|waiting| is_in(waiting).is_none()));
}

#[test]
fn who_has_little_is_not_held_up_by_one_that_needs_more_room_than_there_is() {
    let broker = broker(ROOM);
    let (greedy, other, polite) = (Flow::default(), Flow::default(), Flow::default());
    let _has = is_in(&mut ask(&broker, &greedy, ROOM)).expect("there is memory");
    let mut quarter = ask(&broker, &other, bytes_of(ROOM / 4));
    assert!(is_in(&mut quarter).is_none());
    // More requests than it takes for the waiting request's turn to come.
    for nth in 0..2 * ROOM / PRICE_OF_REQUEST {
        assert!(is_in(&mut ask(&broker, &polite, 1)).is_some(), "{nth}");
    }
}

#[test]
fn a_client_with_more_than_its_share_is_passed_over() {
    let broker = broker(ROOM);
    let (greedy, other) = (Flow::default(), Flow::default());
    let quarter = bytes_of(ROOM / 4);
    let _has =
        [(); 2].map(|()| is_in(&mut ask(&broker, &greedy, quarter)).expect("there is memory"));
    let mut next = ask(&broker, &greedy, 1);
    assert!(is_in(&mut next).is_none(), "it has half of the memory");
    assert!(
        is_in(&mut ask(&broker, &other, quarter)).is_some(),
        "there is as much left for another"
    );
    assert!(is_in(&mut next).is_none());
}

#[test]
fn appends_wait_when_so_many_bytes_are_on_their_way_and_memory_is_left() {
    let broker = broker(4 * MAX_BYTES_UNDER_WAY);
    let flow = Flow::default();
    let one = bytes_of(MAX_BYTES_UNDER_WAY);
    let first = is_in(&mut ask(&broker, &flow, one - 3)).expect("nothing is under way");
    let second = is_in(&mut ask(&broker, &flow, one)).expect("there is a little room");
    let mut third = ask(&broker, &flow, 1);
    assert!(is_in(&mut third).is_none());
    drop(second);
    assert!(is_in(&mut third).is_some());
    drop(first);
}

#[test]
fn who_has_little_does_not_wait_for_what_others_have_on_their_way() {
    let broker = broker(4 * MAX_BYTES_UNDER_WAY);
    let (greedy, polite) = (Flow::default(), Flow::default());
    let all = bytes_of(2 * MAX_BYTES_UNDER_WAY);
    let _has = is_in(&mut ask(&broker, &greedy, all)).expect("nothing is under way");
    assert!(is_in(&mut ask(&broker, &greedy, 1)).is_none());
    let basic = MAX_BYTES_UNDER_WAY / FLOWS;
    let mut little = ask(&broker, &polite, bytes_of(basic - 3));
    let _little = is_in(&mut little).expect("it has its basic share");
    assert!(is_in(&mut ask(&broker, &polite, 1)).is_none());
}

#[test]
fn a_request_of_very_many_tiny_records_counts_with_what_they_become() {
    let broker = broker(4 * MAX_BYTES_UNDER_WAY);
    let tiny = Load {
        // Each record takes two bytes: its tag and its length.
        bytes: 2 * MAX_RECORDS_PER_APPEND,
        batches: 1,
        records: MAX_RECORDS_PER_APPEND,
    };
    let flow = Flow::default();
    let ask_for_tiny = || -> Waiting<'_> { Box::pin(broker.admit(&flow, tiny)) };
    let first = is_in(&mut ask_for_tiny()).expect("nothing is under way");
    let used = broker.budget().part(Name::Appends).used();
    // The fields that the broker adds to a record take up to 37 bytes, and the record's length
    // field may grow.
    assert!(used >= 40 * MAX_RECORDS_PER_APPEND, "{used} bytes");
    let mut second = ask_for_tiny();
    assert!(
        is_in(&mut second).is_none(),
        "that is as much as may be under way"
    );
    drop(first);
    assert!(is_in(&mut second).is_some());
}
