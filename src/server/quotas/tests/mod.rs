//! Quotas, at times that the tests choose.

use std::{num::NonZeroU64, time::Duration};

use super::{
    Limits, MOST_METERS, Quota, Quotas, Rule, Rules,
    meter::{Exceeded, Meter},
};
use crate::server::auth::{NamePattern, Principal};

fn limit(number: u64) -> NonZeroU64 {
    NonZeroU64::new(number).expect("it is not 0")
}

fn limits(of: &[(Quota, u64)]) -> Limits {
    let mut limits = Limits::default();
    for (quota, number) in of {
        limits.set(*quota, limit(*number));
    }
    limits
}

fn rule(principal: &str, of: &[(Quota, u64)]) -> Rule {
    Rule {
        principals: vec![NamePattern::parse(principal).expect("it is a pattern")],
        limits: limits(of),
    }
}

fn meter(of: &[(Quota, u64)]) -> std::sync::Arc<Meter> {
    let meter = Meter::default();
    meter.bound_by(limits(of));
    meter.into()
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// An arbitrary time on the clock.
const START: u64 = 1_000_000;

#[test]
fn what_a_second_allows_goes_at_once_and_what_is_above_waits_in_its_order() {
    let meter = meter(&[(Quota::AppendBytes, 1_000)]);
    let mut now = ms(START);
    let admit = |amount, now| meter.admit(Quota::AppendBytes, amount, now);
    assert_eq!(admit(600, now), Ok(ms(0)));
    assert_eq!(admit(400, now), Ok(ms(0)));
    // The bucket is empty; what is taken now has to be paid back.
    assert_eq!(admit(2_000, now), Ok(ms(0)));
    assert_eq!(admit(500, now), Ok(ms(2_000)));
    assert_eq!(admit(1, now), Ok(ms(2_500)));
    now += ms(2_501);
    assert_eq!(admit(1, now), Ok(ms(0)));
    now += ms(60_000);
    assert_eq!(
        admit(1_001, now),
        Ok(ms(0)),
        "no more than a second is saved up"
    );
    assert_eq!(admit(1, now), Ok(ms(1)));
    assert_eq!(
        meter.admit(Quota::ReadBytes, u64::MAX, now),
        Ok(ms(0)),
        "nothing bounds it"
    );
}

#[test]
fn what_would_wait_for_too_long_is_refused_and_uses_nothing_up() {
    let meter = meter(&[(Quota::Requests, 1)]);
    let admit = |now| meter.admit(Quota::Requests, 1, now);
    let waits: Vec<_> = (0..7).map(|_| admit(ms(START))).collect();
    let seconds = [0, 0, 1, 2, 3, 4, 5].map(|seconds| Ok(ms(1_000 * seconds)));
    assert_eq!(waits, seconds);
    let refused = Exceeded {
        quota: Quota::Requests,
        limit: limit(1),
        retry_after: Some(ms(6_000)),
    };
    assert_eq!(admit(ms(START)), Err(refused));
    assert_eq!(admit(ms(START)), Err(refused));
    assert_eq!(admit(ms(START + 1_000)), Ok(ms(5_000)));
}

#[test]
fn what_was_read_is_known_afterwards_and_puts_off_what_comes_next() {
    let meter = meter(&[(Quota::ReadBytes, 1_000)]);
    meter.note(Quota::ReadBytes, 5_000, ms(START));
    assert_eq!(meter.wait(Quota::ReadBytes, ms(START)), ms(4_000));
    assert_eq!(meter.wait(Quota::ReadBytes, ms(START + 4_000)), ms(0));
}

#[test]
fn connections_streams_and_topics_have_places_until_they_are_let_go() {
    let meter = meter(&[
        (Quota::Connections, 1),
        (Quota::Streams, 2),
        (Quota::Topics, 3),
    ]);
    let connection = meter.connection().expect("it is the first");
    assert_eq!(
        meter.connection().err().map(|refused| refused.quota),
        Some(Quota::Connections)
    );
    drop(connection);
    meter.connection().expect("its place is free");
    let streams = [meter.stream(), meter.stream()];
    let refused = meter.stream().expect_err("there are two");
    assert_eq!(
        (refused.limit, refused.retry_after),
        (limit(2), Some(ms(1_000)))
    );
    drop(streams);
    meter.stream().expect("their places are free");
    let creating = meter.create(limit(3), 2).expect("it is the third");
    let refused = meter.create(limit(3), 2).expect_err("another is created");
    assert_eq!((refused.quota, refused.retry_after), (Quota::Topics, None));
    drop(creating);
    meter.create(limit(3), 2).expect("that one has failed");
}

#[test]
fn the_lowest_bound_of_all_rules_for_a_principal_or_its_roles_counts() {
    let quotas = Quotas::new(Rules(vec![
        rule("token:*", &[(Quota::Requests, 7), (Quota::Streams, 1)]),
        rule("token:a", &[(Quota::Requests, 9), (Quota::Streams, 3)]),
        rule("jwt-role:slow", &[(Quota::Requests, 1)]),
    ]));
    let now = ms(START);
    let requests = |principal: &Principal, roles: &[Principal]| {
        let meter = quotas.meter(principal, roles, now)?;
        let mut admitted = 0;
        while meter.admit(Quota::Requests, 1, now) == Ok(ms(0)) {
            admitted += 1;
        }
        Some(admitted)
    };
    // A second's worth, and one more that leaves a debt.
    assert_eq!(requests(&Principal::token("a"), &[]), Some(8));
    let slow = [Principal::role("slow")];
    assert_eq!(requests(&Principal::jwt("b"), &slow), Some(2));
    assert_eq!(requests(&Principal::jwt("c"), &[]), None);
    assert_eq!(requests(&Principal::local_admin(), &[]), None);
    assert_eq!(quotas.principals(), 2);
}

#[test]
fn other_rules_count_for_what_is_counted_already() {
    let one = || Rules(vec![rule("*", &[(Quota::Requests, 1)])]);
    let quotas = Quotas::new(one());
    assert!(!quotas.replace(one()));
    let caller = Principal::token("a");
    let meter = quotas
        .meter(&caller, &[], ms(START))
        .expect("a rule is for it");
    while meter.admit(Quota::Requests, 1, ms(START)).is_ok() {}
    let before = quotas.generation();
    assert!(quotas.replace(Rules::default()));
    assert_ne!(quotas.generation(), before);
    assert!(quotas.meter(&caller, &[], ms(START)).is_none());
    meter
        .admit(Quota::Requests, 1, ms(START))
        .expect("nothing bounds it any more");
    assert_eq!(Quotas::default().generation(), 0);
}

#[test]
fn meters_are_as_many_as_there_may_be_and_those_that_nobody_needs_make_room() {
    let quotas = Quotas::new(Rules(vec![rule("*", &[(Quota::Requests, 1)])]));
    let busy = Principal::token("busy");
    let of = |principal: &Principal, now| {
        let meter = quotas.meter(principal, &[], now);
        meter.expect("a rule is for everybody")
    };
    let start = ms(START);
    let held = of(&busy, start);
    for n in 1..MOST_METERS {
        let meter = of(&Principal::token(&n.to_string()), start);
        meter
            .admit(Quota::Requests, 1, start)
            .expect("it is its first");
    }
    let (late, later) = (Principal::token("late"), Principal::token("later"));
    let shared = of(&late, start);
    assert_eq!(quotas.principals(), MOST_METERS);
    assert!(std::sync::Arc::ptr_eq(&shared, &of(&later, start)));
    shared
        .admit(Quota::Requests, 1, start)
        .expect("it is bounded, but there is room");
    let own = of(&late, start + ms(2_000));
    assert!(!std::sync::Arc::ptr_eq(&shared, &own));
    assert_eq!(quotas.principals(), 2, "the others have used nothing up");
    assert!(
        std::sync::Arc::ptr_eq(&held, &of(&busy, start)),
        "somebody holds it"
    );
}
