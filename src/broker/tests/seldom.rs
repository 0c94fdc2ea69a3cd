//! Messages that are logged seldom.

use std::{sync::Arc, time::Duration};

use crate::{broker::seldom::Seldom, env::sim::SimClock};

#[test]
fn each_thing_is_said_at_once_and_then_once_a_minute_with_how_often() {
    let clock = SimClock::default();
    let seldom = Seldom::new(Arc::new(clock.clone()));
    assert_eq!(seldom.happened("a"), Some(1));
    assert_eq!(seldom.happened("a"), None);
    assert_eq!(seldom.happened("b"), Some(1));
    clock.advance(Duration::from_secs(59));
    assert_eq!(seldom.happened("a"), None);
    clock.advance(Duration::from_secs(1));
    assert_eq!(seldom.happened("a"), Some(3));
    assert_eq!(seldom.happened("a"), None);
}

#[test]
fn no_number_of_things_takes_more_memory_or_more_lines_than_some() {
    let clock = SimClock::default();
    let seldom = Seldom::new(Arc::new(clock.clone()));
    let said = |things: std::ops::Range<u64>| {
        let said = things.filter(|thing| seldom.happened(*thing).is_some());
        said.count()
    };
    assert_eq!(said(0..100_000), 1_025);
    clock.advance(Duration::from_secs(60));
    assert_eq!(said(200_000..200_100), 100, "what is over makes room");
}
