//! Scrubbing: sealed segments are verified, no faster than allowed, and damage is reported.

use std::time::Duration;

use super::compaction::world::{DAY, HOUR, SECOND, World, try_read};
use crate::{
    broker::{Error, Options, Scrubbed, scrub::DamagedRange},
    env::sim::{Fault, OpKind, fault::EMFILE},
    types::Offset,
};

const RATE: u64 = 64 << 10;

fn world(rate: u64) -> World {
    let options = Options {
        scrub_rate: rate,
        ..super::world::options()
    };
    World::with_options(&[("cleanup.policy", "delete")], options)
}

/// Appends this many records of 4,000 bytes, nearly all of which are then in sealed segments.
fn fill(world: &World, records: u8) {
    for nth in 0..records {
        world.put("a", &[nth; 4_000]);
    }
    world.broker.keep_house(true);
    world.broker.commit_all();
}

fn scrubbed(world: &World) -> Scrubbed {
    world.described().scrubbed.expect("it is switched on")
}

/// Takes all scrubbing steps that are due within this time; returns their number.
fn step_for(world: &World, time: Duration) -> u64 {
    let shared = &world.broker.shared;
    let end = shared.env.clock.elapsed() + time;
    let mut steps = 0;
    loop {
        let next = shared.next_scrub().expect("it is switched on");
        let now = shared.env.clock.elapsed();
        if next > end {
            world.clock.advance(end - now);
            return steps;
        }
        world.clock.advance(next.saturating_sub(now));
        world.broker.scrub();
        steps += 1;
        assert!(steps < 10_000, "a round does not end");
    }
}

#[test]
fn what_is_sealed_is_verified_in_a_day_again_and_no_faster_than_it_may_be() {
    let world = world(RATE);
    fill(&world, 100);
    let sealed = world.sealed_end();
    assert!(sealed > 50, "{sealed}");
    step_for(&world, Duration::ZERO);
    assert!(scrubbed(&world).to > Offset::ZERO, "it begins at once");
    assert_eq!(scrubbed(&world).complete_ms, None);
    // About 400,000 bytes are in sealed segments.
    step_for(&world, 4 * SECOND);
    assert_eq!(
        scrubbed(&world).complete_ms,
        None,
        "that is faster than it may be"
    );
    step_for(&world, 4 * SECOND);
    let Scrubbed {
        to,
        complete_ms,
        damaged,
    } = scrubbed(&world);
    assert_eq!((to, damaged), (Offset(sealed), vec![]));
    let complete_ms = complete_ms.expect("all of it is verified");
    assert_eq!(
        step_for(&world, 23 * HOUR),
        0,
        "nothing is due before a day has passed"
    );
    step_for(&world, HOUR);
    step_for(&world, 8 * SECOND);
    assert!(scrubbed(&world).complete_ms > Some(complete_ms + 86_000_000));
}

#[test]
fn damage_is_told_and_everything_else_is_verified() {
    let mut world = world(1 << 30);
    fill(&world, 100);
    world.restart(true);
    let first = world.dir().join("00000000000000000000.log");
    world
        .disk
        .zero(&first, 10_000..10_010)
        .expect("it is there");
    step_for(&world, HOUR);
    let found = scrubbed(&world);
    assert_eq!(found.to.0, world.sealed_end());
    // The same damage that a read reports.
    let read = try_read(&world.broker, 0);
    let Err(Error::DamagedRecords { from, to, .. }) = read else {
        panic!("{read:?}");
    };
    let expected = DamagedRange { from, to };
    assert_eq!(found.damaged, std::slice::from_ref(&expected));
    step_for(&world, 2 * DAY);
    assert_eq!(scrubbed(&world).damaged, [expected], "it is told once");
}

#[test]
fn an_error_that_passes_is_no_damage_and_is_tried_again() {
    let mut world = world(1 << 30);
    fill(&world, 100);
    world.restart(true);
    for kind in [OpKind::Map, OpKind::Open] {
        let fault = Fault::on(kind).in_path(".log").errno(EMFILE);
        world.disk.inject(fault.for_ever());
    }
    step_for(&world, 5 * SECOND);
    assert_eq!(scrubbed(&world).to, Offset::ZERO);
    world.disk.clear_faults();
    step_for(&world, HOUR);
    let found = scrubbed(&world);
    assert_eq!((found.to.0, found.damaged), (world.sealed_end(), vec![]));
}

#[test]
fn a_rate_of_0_switches_it_off() {
    let world = world(0);
    fill(&world, 100);
    world.settle();
    assert_eq!(world.broker.shared.next_scrub(), None);
    assert_eq!(world.described().scrubbed, None);
}
