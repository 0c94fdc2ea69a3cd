//! `top` computes rates from two looks.

use std::{collections::BTreeMap, time::Duration};

use crate::cli::top::{Seen, compare};

fn seen(name: &str, id: &str, end: u64) -> Seen {
    Seen {
        name: name.to_owned(),
        id: id.to_owned(),
        partitions: 1,
        end,
        bytes: 0,
    }
}

#[test]
fn a_rate_is_told_of_a_topic_that_was_there_before_and_is_the_same() {
    let mut before = BTreeMap::new();
    let s = Duration::from_secs;
    let first = compare(
        &mut before,
        vec![seen("a", "1", 10), seen("b", "2", 5)],
        s(1),
    );
    assert!(first.iter().all(|moved| moved.rate.is_none()));
    // Another topic has the name since.
    let second = compare(
        &mut before,
        vec![seen("a", "1", 30), seen("b", "3", 9)],
        s(2),
    );
    assert_eq!(second[0].rate, Some(10.0));
    assert_eq!(second[1].rate, None);
}
