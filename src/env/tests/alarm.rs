//! Waiting for a moment.

use std::{sync::Arc, thread, time::Duration};

use crate::env::{Alarm, Clock, sim::SimClock};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_thread_waits_until_a_simulated_clock_has_been_moved_to_its_moment() {
    let clock = SimClock::default();
    let alarm = Alarm::new(Arc::new(clock.clone()));
    thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            // Each move of the clock wakes the waiting thread, so that it can choose another
            // deadline.
            while clock.elapsed() < 10 * SECOND {
                assert!(alarm.wait_until(Some(10 * SECOND)));
            }
            clock.elapsed()
        });
        (0..10).for_each(|_| clock.advance(SECOND));
        assert_eq!(waiting.join().expect("it does not panic"), 10 * SECOND);
    });
}

#[test]
fn what_wakes_a_thread_before_it_waits_is_not_lost() {
    let alarm = Alarm::new(Arc::new(SimClock::default()));
    alarm.wake_by(5 * SECOND);
    assert!(alarm.wait_until(Some(10 * SECOND)));
    alarm.wake();
    assert!(alarm.wait_until(None));
    alarm.close();
    assert!(!alarm.wait_until(Some(Duration::ZERO)));
}

#[test]
fn a_moment_that_is_over_is_not_waited_for() {
    let clock = SimClock::default();
    clock.advance(2 * SECOND);
    let alarm = Alarm::new(Arc::new(clock));
    assert!(alarm.wait_until(Some(2 * SECOND)));
    assert!(alarm.wait_until(Some(SECOND)));
}
