//! Lines of the log that stand for many events.

use std::time::Duration;

use crate::env::Tally;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn what_happens_often_is_said_at_once_and_then_once_in_ten_seconds_with_how_often() {
    let mut tally = Tally::default();
    assert_eq!(tally.take_due(SECOND), None, "nothing has happened");
    assert_eq!(tally.happened(SECOND), Some(1));
    for _ in 0..1_000 {
        assert_eq!(tally.happened(SECOND * 10), None);
    }
    assert_eq!(tally.happened(SECOND * 11), Some(1_001));
    assert_eq!(tally.take_due(SECOND * 30), None, "all was said");
}

#[test]
fn what_was_not_said_is_said_when_it_is_due_though_nothing_more_happens() {
    let mut tally = Tally::default();
    tally.add(3);
    assert_eq!(tally.take_due(SECOND), Some(3));
    tally.add(4);
    assert_eq!(tally.take_due(SECOND * 2), None);
    assert_eq!(tally.take_due(SECOND * 11), Some(4));
}
