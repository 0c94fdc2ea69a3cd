//! How often an append reads the clock, which it does while others wait for its locks.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::world::{append_of, create, encode_record, env, now, options};
use crate::{
    broker::{Append, Broker, Producer},
    env::{
        Alarm, BootId, Clock, Env,
        sim::{SimClock, SimDisk, SimRandom},
    },
};

/// A clock that counts the readings of its monotonic time.
struct Counting {
    clock: SimClock,
    readings: AtomicUsize,
}

impl Clock for Counting {
    fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    fn elapsed(&self) -> Duration {
        self.readings.fetch_add(1, Ordering::Relaxed);
        self.clock.elapsed()
    }

    fn since_boot(&self) -> Duration {
        self.clock.since_boot()
    }

    fn boot(&self) -> Option<BootId> {
        self.clock.boot()
    }

    fn time_until(&self, moment: Duration) -> Option<Duration> {
        self.clock.time_until(moment)
    }

    fn wake_when_moved(&self, alarm: &Arc<Alarm>) {
        self.clock.wake_when_moved(alarm);
    }
}

/// How often the clock is read until an append is queued.
fn readings(broker: &Broker, clock: &Counting, append: Append) -> usize {
    let admission = now(broker.admit_alone(100)).expect("there is memory");
    let admission = admission.expect("nothing fails");
    let before = clock.readings.load(Ordering::Relaxed);
    let pending = broker.append(append, admission).expect("it is taken");
    let readings = clock.readings.load(Ordering::Relaxed) - before;
    broker.commit_all();
    now(pending).expect("an answer").expect("nothing fails");
    readings
}

#[test]
fn an_append_of_a_producer_reads_the_clock_once_and_another_does_not() {
    let clock = Arc::new(Counting {
        clock: SimClock::new(1_700_000_000_000),
        readings: AtomicUsize::new(0),
    });
    let env = Env {
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        ..env(&SimDisk::new(1), &clock.clock, &SimRandom::new(1))
    };
    let broker = Broker::open_stepped(env, options()).expect("it can be opened");
    create(&broker, "t", 1);
    let opened = broker.open_producer("p", None).expect("its name is good");
    broker.commit_all();
    let producer: Producer = now(opened).expect("an answer").expect("nothing fails");
    let records = [encode_record(1, 10)];
    for sequence in 0..3 {
        let mut append = append_of("t", Some(0), &records);
        append.batches[0].sequence = Some(sequence);
        append.producer = Some(producer);
        assert_eq!(readings(&broker, &clock, append), 1);
        let append = append_of("t", Some(0), &records);
        assert_eq!(readings(&broker, &clock, append), 0);
    }
}
