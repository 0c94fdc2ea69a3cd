//! The broker's clock, as clients ask for it.

use std::{sync::Arc, time::Duration};

use tonic::Request;

use crate::{
    broker::{self, Broker},
    budget::Name,
    env::{
        Env,
        sim::{SimClock, SimDisk, SimRandom},
    },
    proto::{AcceptClockRequest, GetClockRequest, broker_server::Broker as _},
    server::{
        Options,
        auth::tests::access_of_everybody,
        bounds::Configured,
        broker::{Backups, BrokerService},
        reads::Reads,
        stop,
        tally::Tallies,
    },
};

const START: i64 = 1_700_000_000_000;
const HOUR_MS: u64 = 3_600_000;
const YEAR_MS: i64 = 365 * 24 * HOUR_MS as i64;

fn permitted<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.extensions_mut().insert(access_of_everybody());
    request
}

#[tokio::test]
async fn a_jump_that_is_accepted_is_followed_at_once() {
    let clock = SimClock::new(START);
    let env = Env {
        files: Arc::new(SimDisk::new(1)),
        clock: Arc::new(clock.clone()),
        random: Arc::new(SimRandom::new(1)),
    };
    let broker =
        Broker::open(env, broker::Options::new("/data".into())).expect("the disk is empty");
    let configured = Configured::of(&Options::default(), 1, broker.producer_limits(), 0);
    let part = broker.budget().part(Name::Reads);
    let backups = Backups {
        reads: Reads::new(part, Arc::default(), Duration::ZERO),
        stopping: stop::channel().1,
        rate: 0,
    };
    let service = BrokerService::new(Arc::clone(&broker), Tallies::new(), &configured, backups);
    clock.set_now_ms(START + YEAR_MS);

    let got = service.get_clock(permitted(GetClockRequest {})).await;
    let before = got.expect("it is known").into_inner().clock;
    let before = before.expect("a clock");
    assert_eq!((before.now_ms, before.wall_ms), (START, START + YEAR_MS));
    assert_eq!(before.followed_in_ms, Some(HOUR_MS));

    let accepted = service.accept_clock(permitted(AcceptClockRequest {}));
    let after = accepted.await.expect("it is followed").into_inner().clock;
    let after = after.expect("a clock");
    assert_eq!(
        (after.now_ms, after.followed_in_ms),
        (START + YEAR_MS, None)
    );
    broker.close().expect("nothing fails");
}
