//! The broker's clock alone: time never goes back, whatever the wall clock does.

use std::time::Duration;

use super::world::below;
use crate::{
    broker::clock::{Notice, Origin, Rule, Steady},
    env::sim::SimRandom,
};

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const RULE: Rule = Rule {
    jump: Duration::from_secs(600),
    settle: Duration::from_secs(3_600),
};
const START: i64 = 1_700_000_000_000;

/// A clock, and the time that has passed.
struct Run {
    steady: Steady,
    passed_ms: i64,
}

impl Run {
    fn new(last_ms: Option<i64>, wall_ms: i64) -> Self {
        Self {
            steady: Steady::new(RULE, last_ms, wall_ms, Duration::ZERO),
            passed_ms: 0,
        }
    }

    /// Lets time pass. The wall clock is `off_ms` away from the time counted since its start.
    fn pass(&mut self, ms: i64, off_ms: i64) -> Option<Notice> {
        self.passed_ms += ms;
        let wall_ms = START + self.passed_ms + off_ms;
        self.steady.advance(wall_ms, elapsed(self.passed_ms))
    }

    /// How far the clock is from the time counted since its start.
    fn off(&self) -> i64 {
        self.steady.now_ms() - START - self.passed_ms
    }
}

fn elapsed(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).expect("time passes forward"))
}

#[test]
fn what_comes_later_has_a_later_time_and_the_wall_clock_catches_up() {
    let mut run = Run::new(None, START);
    let before = run.steady.now_ms();
    run.steady.pass(before);
    assert_eq!(run.steady.now_ms(), before + 1);
    run.steady.pass(before);
    assert_eq!(run.steady.now_ms(), before + 1, "it is later already");
    assert_eq!(run.pass(1, 0), None);
    assert!(run.steady.now_ms() > before);
    assert_eq!(run.pass(10, 0), None);
    assert_eq!(run.off(), 0);
}

#[test]
fn a_wall_clock_that_is_far_ahead_for_a_moment_leaves_no_trace() {
    for ahead in [11 * MINUTE_MS, HOUR_MS, 365 * 24 * HOUR_MS] {
        let mut run = Run::new(None, START);
        assert_eq!(run.pass(1_000, 0), None);
        assert_eq!(
            run.pass(1_000, ahead),
            Some(Notice::Away { ahead_ms: ahead })
        );
        assert_eq!(run.off(), 0);
        for _ in 0..30 {
            assert_eq!(run.pass(MINUTE_MS, ahead), None);
            assert_eq!(run.off(), 0, "time goes on by the monotonic clock");
        }
        assert_eq!(run.pass(1_000, 0), Some(Notice::Near));
        assert_eq!(run.off(), 0);
    }
}

#[test]
fn a_wall_clock_that_is_near_is_followed_and_one_that_has_stood() {
    let mut run = Run::new(None, START);
    assert_eq!(run.pass(1_000, 9 * MINUTE_MS), None);
    assert_eq!(run.off(), 9 * MINUTE_MS);
    let away = 9 * MINUTE_MS + HOUR_MS;
    assert_eq!(
        run.pass(1_000, away),
        Some(Notice::Away { ahead_ms: HOUR_MS })
    );
    assert_eq!(run.pass(HOUR_MS - 1, away), None);
    assert_eq!(run.off(), 9 * MINUTE_MS);
    assert_eq!(
        run.pass(1, away),
        Some(Notice::Followed { ahead_ms: HOUR_MS })
    );
    assert_eq!(run.off(), away);
}

#[test]
fn one_that_jumps_once_more_has_to_stand_from_then_on() {
    let mut run = Run::new(None, START);
    run.pass(1, HOUR_MS);
    run.pass(HOUR_MS - 1, HOUR_MS);
    let further = Notice::Away {
        ahead_ms: 2 * HOUR_MS,
    };
    assert_eq!(run.pass(1, 2 * HOUR_MS), Some(further));
    assert_eq!(run.steady.followed_in(), Some(RULE.settle));
    assert_eq!(run.pass(HOUR_MS - 1, 2 * HOUR_MS), None);
    assert_eq!(run.off(), 0);
    run.pass(1, 2 * HOUR_MS);
    assert_eq!(run.off(), 2 * HOUR_MS);
}

#[test]
fn one_that_is_behind_is_waited_for_at_half_the_speed() {
    let mut run = Run::new(None, START);
    run.pass(1_000, 0);
    let (before, mut last) = (run.steady.now_ms(), 0);
    for _ in 0..600 {
        assert_eq!(run.pass(1_000, -5 * MINUTE_MS), None);
        let now = run.steady.now_ms();
        assert!(now > last, "time stands still");
        last = now;
    }
    assert_eq!(run.off(), -5 * MINUTE_MS, "the wall clock has caught up");
    assert_eq!(last - before, 5 * MINUTE_MS);
}

#[test]
fn what_is_accepted_is_followed_at_once_either_way() {
    for off in [-HOUR_MS, 0, MINUTE_MS, HOUR_MS] {
        let mut run = Run::new(None, START);
        run.pass(1_000, off);
        let wall_ms = START + run.passed_ms + off;
        let notice = run.steady.accept(wall_ms, elapsed(run.passed_ms));
        let far = off.abs() == HOUR_MS;
        assert_eq!(notice, far.then_some(Notice::Followed { ahead_ms: off }));
        assert_eq!((run.off(), run.steady.followed_in()), (off, None));
    }
}

#[test]
fn a_start_compares_the_wall_clock_with_the_time_of_before() {
    let cases = [
        // No last time is known; a short pause; a pause that was long, unless the wall clock is
        // wrong.
        (None, START),
        (Some(START - MINUTE_MS), START),
        (Some(START - HOUR_MS), START - HOUR_MS),
        // The wall clock is behind, by a little and by a lot.
        (Some(START + MINUTE_MS), START + MINUTE_MS),
        (Some(START + HOUR_MS), START + HOUR_MS),
    ];
    for (last_ms, expected) in cases {
        let mut run = Run::new(last_ms, START);
        run.pass(0, 0);
        assert_eq!(run.steady.now_ms(), expected, "{last_ms:?}");
    }
}

#[test]
fn it_is_told_again_every_hour() {
    let rule = Rule {
        settle: Duration::from_secs(24 * 3_600),
        ..RULE
    };
    let mut steady = Steady::new(rule, None, START, Duration::ZERO);
    let mut told = Vec::new();
    for minute in 1..=24 * 60 + 1 {
        let passed_ms = minute * MINUTE_MS;
        if let Some(notice) = steady.advance(START + passed_ms + HOUR_MS, elapsed(passed_ms)) {
            told.push((minute, notice));
        }
    }
    let away = Notice::Away { ahead_ms: HOUR_MS };
    let followed = Notice::Followed { ahead_ms: HOUR_MS };
    let mut expected: Vec<_> = (0..24).map(|hour| (1 + 60 * hour, away)).collect();
    expected.push((24 * 60 + 1, followed));
    assert_eq!(told, expected);
}

#[test]
fn time_goes_on_as_fast_as_it_may_whatever_the_wall_clock_does() {
    for seed in 0..200 {
        let chance = SimRandom::new(seed);
        let mut run = Run::new(None, START);
        let (mut off, mut followed) = (0, 0);
        for _ in 0..500 {
            let far = i64::try_from(below(&chance, 100 * HOUR_MS as u64)).expect("it is small");
            match below(&chance, 20) {
                0 => off = 0,
                1 => off = far,
                2 => off = -far,
                3 => off += far / 1_000,
                4 => off -= far / 1_000,
                _ => {}
            }
            let passed = i64::try_from(below(&chance, 10 * MINUTE_MS as u64)).expect("small");
            let before = run.steady.now_ms();
            let notice = run.pass(passed, off);
            let went = run.steady.now_ms() - before;
            if let Some(Notice::Followed { ahead_ms }) = notice {
                followed += 1;
                assert_eq!(run.off(), off);
                assert!(ahead_ms.abs() > 10 * MINUTE_MS);
                continue;
            }
            assert!(went >= passed / 2 - 1, "{went} ms of {passed} ms");
            assert!(
                went <= passed + 10 * MINUTE_MS + 1,
                "{went} ms of {passed} ms"
            );
            let away = (run.off() - off).abs() > 10 * MINUTE_MS;
            if away {
                assert!((went - passed).abs() <= 1, "by the monotonic clock alone");
            }
            assert_eq!(away, run.steady.followed_in().is_some());
        }
        assert!(seed != 0 || followed > 0);
    }
}

#[test]
fn moments_are_shown_the_same_again_while_the_readings_of_two_clocks_waver() {
    let mut origin = Origin::default();
    let begin = origin.follow(START + 70, elapsed(70));
    assert_eq!(begin, START);
    for (now_ms, passed_ms) in [(81, 80), (90, 90), (99, 100), (1_001, 1_000)] {
        assert_eq!(origin.follow(START + now_ms, elapsed(passed_ms)), START);
    }
    assert_eq!(origin.follow(START + 5_000, elapsed(2_000)), START + 3_000);
}
