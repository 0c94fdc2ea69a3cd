//! Whether there is another try.

use std::{collections::BTreeMap, time::Duration};

use crate::client::{
    Error, Refusal,
    retries::{Retries, now},
};

const BUDGET: Duration = Duration::from_secs(10);

fn away() -> Error {
    Error::Unavailable {
        message: "away".to_owned(),
    }
}

#[test]
fn the_budget_counts_from_the_first_failure_and_is_whole_again_when_something_has_worked() {
    let (mut retries, mut at) = (Retries::new(BUDGET), now());
    for _ in 0..2 {
        // A program may take its time over what it was given.
        at += 2 * BUDGET;
        retries.pause(&away(), at).expect("the budget is whole");
        at += BUDGET - Duration::from_millis(1);
        retries.pause(&away(), at).expect("there is some left");
        retries.progress();
    }
    retries.pause(&away(), at).expect("the budget is whole");
    at += BUDGET;
    assert_eq!(retries.pause(&away(), at), None, "it is spent");
    let anew = retries.pause(&away(), at);
    anew.expect("the next one who asks has a whole one");
}

fn refused(reason: &str, retry_after: Option<Duration>) -> Error {
    Error::Refused(Box::new(Refusal {
        code: "ResourceExhausted".to_owned(),
        reason: reason.to_owned(),
        message: "no".to_owned(),
        metadata: BTreeMap::new(),
        retry_after,
    }))
}

#[test]
fn a_refusal_that_says_when_it_will_have_passed_is_waited_for_if_there_is_time() {
    let (mut retries, at) = (Retries::new(BUDGET), now());
    let quota = |seconds| refused("QUOTA_EXCEEDED", Some(Duration::from_secs(seconds)));
    assert_eq!(retries.pause(&quota(7), at), Some(Duration::from_secs(7)));
    assert_eq!(
        retries.pause(&quota(11), at),
        None,
        "there is no time for it"
    );
    let for_good = refused("QUOTA_EXCEEDED", None);
    assert_eq!(retries.pause(&for_good, at), None);
}

#[test]
fn what_would_fail_again_is_not_tried_again_nor_anything_without_a_budget() {
    let mut retries = Retries::new(BUDGET);
    assert_eq!(retries.pause(&Error::InvalidToken, now()), None);
    let mut none = Retries::new(Duration::ZERO);
    assert_eq!(none.pause(&away(), now()), None);
}
