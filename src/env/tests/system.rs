//! The real clock and random numbers.

use std::time::Duration;

use crate::env::{
    Clock, Env, Random,
    sim::{SimClock, SimRandom},
};

#[test]
fn the_real_clock_is_past_the_year_2020_and_does_not_go_back() {
    let clock = Env::system().clock;
    assert!(clock.now_ms() > 1_577_836_800_000);
    let before = clock.elapsed();
    assert!(clock.elapsed() >= before);
}

#[test]
fn real_random_numbers_differ() {
    let random = Env::system().random;
    assert_ne!(random.next_u64(), random.next_u64());
}

#[test]
fn a_simulated_clock_stands_still_until_it_is_told_to_move() {
    let clock = SimClock::new(1000);
    assert_eq!((clock.now_ms(), clock.elapsed()), (1000, Duration::ZERO));
    clock.advance(Duration::from_millis(5));
    assert_eq!(
        (clock.now_ms(), clock.elapsed()),
        (1005, Duration::from_millis(5))
    );
    clock.set_now_ms(3);
    assert_eq!(
        (clock.now_ms(), clock.elapsed()),
        (3, Duration::from_millis(5))
    );
}

#[test]
fn a_seed_decides_the_random_numbers_of_every_later_version() {
    let numbers = |seed| {
        let random = SimRandom::new(seed);
        [random.next_u64(), random.next_u64()]
    };
    // The published test vector of SplitMix64.
    assert_eq!(
        numbers(1_234_567),
        [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]
    );
    assert_ne!(numbers(1), numbers(2));
}
