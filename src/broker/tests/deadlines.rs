//! What is due when time has passed, in a broker with threads and in one that a test steps.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::world::{append_of, encode_proto, encode_record, env, now, options};
use crate::{
    broker::{Broker, Options, Pending},
    env::{
        Env,
        sim::{Fault, OpKind, SimClock, SimDisk, SimRandom},
    },
    types::ProducerId,
};

const HOUR: Duration = Duration::from_secs(3_600);

/// A broker, and how it is run.
enum Driven {
    /// Stepped by the test's thread.
    Stepped(Arc<Broker>),
    Threads(Arc<Broker>),
}

impl Driven {
    fn broker(&self) -> &Broker {
        match self {
            Self::Stepped(broker) => broker,
            Self::Threads(broker) => broker,
        }
    }

    fn answer<T>(&self, pending: Pending<T>) -> T {
        if let Self::Stepped(broker) = self {
            broker.commit_all();
        }
        let wait = tokio::runtime::Builder::new_current_thread().build();
        let answer = wait.expect("it can be built").block_on(pending);
        answer.unwrap_or_else(|error| panic!("nothing fails: {error}"))
    }

    /// Lets the broker do all pending work before time passes.
    fn work(&self) {
        match self {
            Self::Stepped(broker) => {
                broker.commit_all();
                (0..2).for_each(|_| broker.keep_house(true));
            }
            Self::Threads(broker) => {
                broker.shared.maintenance.housekeeping.want_checkpoint();
                broker.shared.maintenance.indexing.want_checkpoint();
            }
        }
    }

    /// Prepares work that is due after an hour: a producer to be forgotten, a segment to be sealed,
    /// and an erasure that could not be completed.
    fn prepare(&self, disk: &SimDisk) -> (ProducerId, u64) {
        let broker = self.broker();
        let settings = BTreeMap::from([("segment.ms".to_owned(), HOUR.as_millis().to_string())]);
        for topic in ["sealed", "erased", "another"] {
            self.answer(broker.create_topic(topic, 1, &settings).expect("a name"));
        }
        let producer = self.answer(broker.open_producer("idle", None).expect("a name"));
        let record = encode_proto(&crate::proto::Record {
            key: Some("secret".into()),
            ..Default::default()
        });
        for (topic, record) in [("sealed", encode_record(1, 100)), ("erased", record)] {
            let append = append_of(topic, None, &[record]);
            let admission = now(broker.admit_alone(200)).expect("there is memory");
            let admission = admission.expect("nothing fails");
            self.answer(broker.append(append, admission).expect("it is good"));
        }
        disk.inject(
            Fault::on(OpKind::Create)
                .in_path(".log.new")
                .error(std::io::ErrorKind::StorageFull)
                .for_ever(),
        );
        let erasure = self.answer(broker.erase_key("erased", b"secret").expect("a key"));
        self.work();
        let erasure = broker.describe_erasure(erasure.id).expect("it is known");
        assert!(erasure.problem.is_some(), "the disk is full");
        disk.clear_faults();
        (producer.id, erasure.id)
    }

    fn is_known(&self, producer: ProducerId) -> bool {
        let planned = self.broker().shared.sequencer.planned();
        planned.producers.with_id(producer).is_some()
    }
}

fn forgetful() -> Options {
    Options {
        producer_idle: HOUR,
        ..options()
    }
}

/// The order in which a broker did its work, by the operations of its disk.
fn order(disk: &SimDisk) -> Vec<&'static str> {
    let mut order = Vec::new();
    for line in disk.trace() {
        let is_of = |what: &str| line.contains(what);
        let step = match () {
            () if is_of(".log.new") => "a segment is written anew",
            () if is_of(".index") => "a segment is sealed",
            () if is_of("checkpoint") => "a checkpoint",
            () => continue,
        };
        if !order.contains(&step) {
            order.push(step);
        }
    }
    order
}

#[test]
fn what_is_due_is_done_in_the_same_order_with_threads_and_without() {
    let open = |threads: bool| {
        let (disk, clock) = (SimDisk::new(1), SimClock::new(1_700_000_000_000));
        let world: Env = env(&disk, &clock, &SimRandom::new(1));
        let driven = match threads {
            true => Driven::Threads(Broker::open(world, forgetful()).expect("it can be opened")),
            false => Driven::Stepped(
                Broker::open_stepped(world, forgetful())
                    .expect("it can be opened")
                    .into(),
            ),
        };
        (driven, disk, clock)
    };
    let mut orders = Vec::new();
    for threads in [false, true] {
        let (driven, disk, clock) = open(threads);
        let (producer, erasure) = driven.prepare(&disk);
        let broker = driven.broker();
        // A record, so that a checkpoint has something to cover.
        let admission = now(broker.admit_alone(200)).expect("there is memory");
        let append = append_of("another", None, &[encode_record(2, 100)]);
        let admission = admission.expect("nothing fails");
        driven.answer(broker.append(append, admission).expect("it is good"));
        assert!(driven.is_known(producer));
        disk.record_trace();
        match &driven {
            Driven::Stepped(broker) => {
                clock.advance(HOUR);
                broker.step();
                broker.commit_all();
            }
            Driven::Threads(broker) => {
                let hold = disk.hold(OpKind::Create);
                clock.advance(HOUR);
                hold.wait_for(1);
                assert!(
                    !driven.is_known(producer),
                    "the catalog comes before housekeeping"
                );
                drop(hold);
                // Waits for the round that is under way, and for the work that it has triggered.
                broker.shared.maintenance.housekeeping.want_checkpoint();
                broker.shared.maintenance.indexing.want_checkpoint();
            }
        }
        assert!(!driven.is_known(producer));
        let barrier = broker.shared.sequencer.queue_barrier(|| Ok(()));
        driven.answer(barrier.expect("it runs"));
        let erased = broker.describe_erasure(erasure).expect("it is known");
        assert!(erased.complete, "{:?}", erased.problem);
        orders.push(order(&disk));
        broker.close().expect("nothing fails");
    }
    let expected = [
        "a segment is sealed",
        "a checkpoint",
        "a segment is written anew",
    ];
    assert_eq!(orders, [expected, expected]);
}

#[test]
fn a_broker_that_is_started_again_counts_no_idle_time_from_before() {
    let (disk, clock) = (SimDisk::new(2), SimClock::new(1_700_000_000_000));
    let open = |disk: &SimDisk, seed| {
        let world = env(disk, &clock, &SimRandom::new(seed));
        Broker::open_stepped(world, forgetful()).expect("it can be opened")
    };
    let driven = Driven::Stepped(Arc::new(open(&disk, 1)));
    let opened = driven.broker().open_producer("idle", None).expect("a name");
    let producer = driven.answer(opened);
    clock.advance(HOUR / 2);
    driven.work();
    driven.broker().close().expect("nothing fails");
    clock.advance(100 * HOUR);

    let driven = Driven::Stepped(Arc::new(open(&disk.fork(), 2)));
    driven.work();
    assert!(driven.is_known(producer.id));
    clock.advance(HOUR / 2 - Duration::from_secs(1));
    driven.work();
    assert!(driven.is_known(producer.id));
    clock.advance(Duration::from_secs(1));
    driven.work();
    assert!(!driven.is_known(producer.id));
}
