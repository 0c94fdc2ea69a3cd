//! A wall clock that jumps: for a moment, for good, while the broker is stopped.

use std::time::Duration;

use super::{Broker, append, create, env, files, ids, now, options};
use crate::{
    broker::{Read, Step},
    env::sim::{CrashMode, SimClock, SimDisk, SimRandom},
    types::{Offset, RecordView, Records},
};

const HOUR: Duration = Duration::from_secs(3_600);
const HOUR_MS: i64 = 3_600_000;
const YEAR_MS: i64 = 365 * 24 * HOUR_MS;
const START: i64 = 1_700_000_000_000;

/// A machine on which a broker is started again and again with the same disk.
struct Machine {
    disk: SimDisk,
    clock: SimClock,
    broker: Broker,
    lives: u64,
    appended: u64,
}

impl Machine {
    fn new(seed: u64) -> Self {
        let (disk, clock) = (SimDisk::new(seed), SimClock::new(START));
        let broker = Self::start(&disk, &clock, 0);
        create(&broker, "t", 1);
        Self {
            disk,
            clock,
            broker,
            lives: 0,
            appended: 0,
        }
    }

    fn start(disk: &SimDisk, clock: &SimClock, life: u64) -> Broker {
        let env = env(disk, clock, &SimRandom::new(life + 1));
        Broker::open_stepped(env, options()).expect("time is no reason")
    }

    /// Stops the broker or cuts the power, and starts the broker after a pause.
    fn restart(mut self, clean: bool, pause: impl FnOnce(&SimDisk, &mut SimClock)) -> Self {
        if clean {
            self.broker.close().expect("nothing fails");
        }
        self.lives += 1;
        self.disk = self.disk.power_cut(self.lives, CrashMode::LoseUnsynced);
        pause(&self.disk, &mut self.clock);
        self.broker = Self::start(&self.disk, &self.clock, self.lives);
        self
    }

    /// Appends a record; returns its append time.
    fn append(&mut self) -> i64 {
        assert_eq!(
            append(&self.broker, 0, self.appended),
            Ok(Offset(self.appended))
        );
        self.broker.keep_house(false);
        self.appended += 1;
        *append_times(&self.broker).last().expect("one was appended")
    }
}

/// The append times of all records of topic `t`, in order. They are the event times, too, because
/// the records were sent without any.
fn append_times(broker: &Broker) -> Vec<i64> {
    let mut reader = broker
        .read(Read {
            topic: "t".into(),
            ..Read::default()
        })
        .expect("it can be read");
    let mut times = Vec::new();
    while let Step::Batch(batch) = reader.step().expect("nothing is damaged") {
        for records in &batch.records {
            for record in Records::new(records) {
                let record = RecordView::parse(record.expect("a record").1).expect("a record");
                assert_eq!(record.timestamp_ms, record.append_time_ms);
                times.push(record.append_time_ms.expect("the broker's field"));
            }
        }
    }
    times
}

#[test]
fn a_clock_that_jumps_forth_and_back_for_a_moment_leaves_no_trace_in_append_times() {
    let mut machine = Machine::new(1);
    for life in ["cut", "close", "damage", "cut", "close"] {
        for now_ms in [
            START + HOUR_MS,
            START + YEAR_MS,
            START - YEAR_MS,
            START,
            START - HOUR_MS,
        ] {
            machine.clock.set_now_ms(now_ms);
            assert_eq!(machine.append(), START, "{life}");
        }
        assert_eq!(
            ids(&machine.broker, 0),
            (0..machine.appended).collect::<Vec<_>>()
        );
        machine = machine.restart(life != "cut", |disk, clock| {
            clock.set_now_ms(START + YEAR_MS);
            if life == "damage" {
                // Without a checkpoint the newest append time is known from the segments only.
                for copy in ["/data/checkpoint", "/data/checkpoint.copy"] {
                    disk.flip_bit(copy, 40, 1).expect("it is that long");
                }
            }
        });
    }
    machine.clock.set_now_ms(START);
    machine.clock.advance(HOUR);
    assert_eq!(machine.append(), START + HOUR_MS);
}

#[test]
fn a_clock_that_stays_where_it_has_jumped_to_is_followed_after_an_hour() {
    let mut machine = Machine::new(2);
    machine.clock.set_now_ms(START + YEAR_MS);
    assert_eq!(machine.append(), START);
    machine.clock.advance(HOUR / 2);
    assert_eq!(machine.append(), START + HOUR_MS / 2);
    let clock = machine.broker.clock();
    assert_eq!(clock.followed_in, Some(HOUR / 2));
    assert_eq!(
        (clock.now_ms, clock.wall_ms),
        (START + HOUR_MS / 2, START + YEAR_MS + HOUR_MS / 2)
    );
    machine.clock.advance(HOUR / 2);
    assert_eq!(machine.append(), START + YEAR_MS + HOUR_MS);
    assert_eq!(machine.broker.clock().followed_in, None);
}

#[test]
fn a_clock_that_is_accepted_is_followed_at_once_and_behind_the_next_start() {
    let mut machine = Machine::new(3);
    machine.append();
    machine.clock.set_now_ms(START + YEAR_MS);
    assert_eq!(machine.append(), START);
    assert_eq!(machine.broker.accept_clock().now_ms, START + YEAR_MS);
    assert_eq!(machine.append(), START + YEAR_MS);
    let mut machine = machine.restart(false, |_, _| {});
    assert_eq!(machine.append(), START + YEAR_MS);
    // The jump was a mistake and is corrected. The stored times stay in order.
    machine.clock.set_now_ms(START);
    assert_eq!(machine.broker.accept_clock().now_ms, START);
    assert_eq!(machine.append(), START + YEAR_MS);
    create(&machine.broker, "u", 1);
    assert_eq!(machine.broker.clock().now_ms, START);
}

#[test]
fn an_idle_broker_is_not_taken_for_one_whose_clock_has_jumped() {
    for (clean, started_anew) in [(true, false), (false, false), (true, true), (false, true)] {
        let mut machine = Machine::new(4);
        machine.append();
        for _ in 0..60 {
            machine.clock.advance(Duration::from_secs(60));
            machine.broker.keep_house(false);
        }
        let mut machine = machine.restart(clean, |_, clock| {
            if started_anew {
                *clock = SimClock::new(START + HOUR_MS);
            }
        });
        assert_eq!(machine.append(), START + HOUR_MS);
        assert_eq!(machine.broker.clock().followed_in, None);
    }
}

#[test]
fn a_pause_is_as_long_as_the_machine_says_unless_it_was_started_anew() {
    for (started_anew, expected) in [(false, START + 48 * HOUR_MS), (true, START)] {
        let mut machine = Machine::new(5);
        machine.append();
        let mut machine = machine.restart(true, |_, clock| match started_anew {
            false => clock.advance(48 * HOUR),
            true => *clock = SimClock::new(START + 48 * HOUR_MS),
        });
        assert_eq!(machine.append(), expected);
        let followed_in = started_anew.then_some(HOUR);
        assert_eq!(machine.broker.clock().followed_in, followed_in);
        machine.broker.accept_clock();
        assert_eq!(machine.append(), START + 48 * HOUR_MS);
    }
}

#[test]
fn a_clock_that_jumps_for_a_moment_makes_nothing_old() {
    let mut machine = Machine::new(6);
    machine.append();
    machine.broker.keep_house(true);
    machine.clock.set_now_ms(START + YEAR_MS);
    machine.clock.advance(HOUR / 60);
    machine.broker.keep_house(false);
    let sealed = |machine: &Machine| files(&machine.disk, ".index").len();
    assert_eq!(sealed(&machine), 0, "a segment may be a week old");
    let erased = machine.broker.erase_key("t", b"somebody");
    machine.broker.commit_all();
    let erased = now(erased.expect("it is taken")).expect("an answer");
    let erasure = erased.expect("nothing fails");
    assert_eq!(erasure.requested_ms, START + HOUR_MS / 60);

    machine.clock.set_now_ms(START);
    machine.clock.advance(8 * 24 * HOUR);
    machine.broker.keep_house(false);
    assert_eq!(sealed(&machine), 1);
}
