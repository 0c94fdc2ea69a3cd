//! Whether there is another try.

use std::time::Duration;

use crate::client::{
    Error,
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

#[test]
fn what_would_fail_again_is_not_tried_again_nor_anything_without_a_budget() {
    let mut retries = Retries::new(BUDGET);
    assert_eq!(retries.pause(&Error::InvalidToken, now()), None);
    let mut none = Retries::new(Duration::ZERO);
    assert_eq!(none.pause(&away(), now()), None);
}
