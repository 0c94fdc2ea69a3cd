//! Clients that race on their own threads, beside the broker's threads. This tests interleavings
//! that one thread cannot make, such as a look-up in files while a merge replaces them. Whatever
//! the order, the history must be accepted.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use super::{
    super::world::{env, options},
    clients::{Client, Met, Scene, TOPICS, ends_of},
    history::Accepted,
    recorder::Recorder,
};
use crate::{
    broker::{Broker, Options, lock},
    budget::Name,
    env::sim::{CrashMode, SimClock, SimDisk, SimRandom},
};

/// The clients of a race, and how often each of them acts.
const CLIENTS: u32 = 24;
const ACTS: u32 = 150;

/// Options with which tables are written all the time.
fn small_tables() -> Options {
    Options {
        memory: options().memory.with(Name::KeyIndex, 32 << 10),
        ..options()
    }
}

#[test]
fn what_clients_on_threads_are_told_is_linearizable() {
    let (mut appended, mut conflicts, mut unknown) = (0, 0, 0);
    for seed in 0..8 {
        let accepted = race(seed);
        appended += accepted.appended;
        conflicts += accepted.conflicts;
        unknown += accepted.unknown_happened + accepted.unknown_never;
    }
    assert!(
        appended > 100 && conflicts > 100 && unknown > 0,
        "{appended}, {conflicts}, {unknown}"
    );
}

/// Runs a race. Half of the races end with a power failure.
fn race(seed: u64) -> Accepted {
    let disk = SimDisk::new(seed);
    let clock = SimClock::new(1_700_000_000_000);
    let environment = env(&disk, &clock, &SimRandom::new(seed + 1));
    let broker = Broker::open(environment, small_tables()).expect("nothing fails");
    let wait = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    for (topic, partitions) in TOPICS {
        let settings = BTreeMap::from([("segment.bytes".to_owned(), "64KiB".to_owned())]);
        let created = broker
            .create_topic(topic, partitions, &settings)
            .expect("it is a good name");
        wait.block_on(created).expect("nothing fails");
    }
    if seed % 2 == 1 {
        disk.crash_within(disk.operations() + 150 + 40 * seed);
    }
    let recorder = Arc::new(Mutex::new(Recorder::default()));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (broker, recorder, clock) =
                (Arc::clone(&broker), Arc::clone(&recorder), clock.clone());
            let chance = SimRandom::new(seed * 1_000 + u64::from(number));
            std::thread::Builder::new()
                .name(format!("client {number}"))
                .spawn(move || act(number, &broker, &recorder, &chance, &clock))
                .expect("there is room for a thread")
        })
        .collect();
    clients
        .into_iter()
        .for_each(|client| client.join().expect("no client has failed"));
    if disk.is_on() {
        broker.close().expect("nothing fails with the power on");
    } else {
        broker.abandon();
    }
    drop(broker);
    lock(&*recorder).crashed();
    let disk = disk.power_cut(
        seed,
        if seed % 2 == 1 {
            CrashMode::RandomSubset
        } else {
            CrashMode::LoseUnsynced
        },
    );
    let broker = Broker::open_stepped(
        env(&disk, &clock, &SimRandom::new(seed + 2)),
        small_tables(),
    );
    let ends = ends_of(&broker.expect("it can be opened"));
    let history = lock(&*recorder).clone().finish(ends);
    history
        .check()
        .unwrap_or_else(|fault| panic!("seed {seed}, which does not decide all of it: {fault}"))
}

/// Makes calls and takes each answer, until the power fails.
fn act(
    number: u32,
    broker: &Broker,
    recorder: &Mutex<Recorder>,
    chance: &SimRandom,
    clock: &SimClock,
) {
    let mut client = Client::default();
    let mut met = Met::default();
    let mut acts = 0;
    while (acts < ACTS || !client.is_idle()) && !broker.shared.health.has_failed() {
        acts += u32::from(client.is_idle());
        client.act(
            number,
            &mut Scene {
                broker,
                chance,
                recorder,
                met: &mut met,
            },
        );
        clock.advance(std::time::Duration::from_millis(1));
        std::thread::yield_now();
    }
}
