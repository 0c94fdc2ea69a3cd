//! Access tokens, and which of them survive a crash.

use std::{path::PathBuf, sync::Arc, time::Duration};

use crate::{
    broker::{Broker, Error, Options, WhichTokens},
    catalog::{AccessToken, access_tokens},
    env::{
        Env,
        sim::{CrashMode, SimClock, SimDisk, SimRandom},
    },
    types::limits,
};

const HOUR: Duration = Duration::from_secs(3_600);

fn open(disk: &SimDisk, clock: &SimClock, seed: u64) -> Arc<Broker> {
    let env = Env {
        files: Arc::new(disk.clone()),
        clock: Arc::new(clock.clone()),
        random: Arc::new(SimRandom::new(seed)),
    };
    let options = Options {
        disk_reserve_bytes: 0,
        ..Options::new(PathBuf::from("/data"))
    };
    Broker::open(env, options).expect("nothing fails")
}

async fn create(broker: &Broker, name: &str) -> (String, AccessToken) {
    let created = broker.create_access_token(name, HOUR);
    created.expect("it is queued").await.expect("there is room")
}

async fn revoke(broker: &Broker, which: WhichTokens) -> Result<usize, Error> {
    let revoked = broker.revoke_access_tokens(&which).expect("it is queued");
    revoked.await.map(|revoked| revoked.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_durable_of_tokens_outlives_a_crash_and_a_stop() {
    let (disk, clock) = (SimDisk::new(1), SimClock::new(1_700_000_000_000));
    let broker = open(&disk, &clock, 1);
    let (text, kept) = create(&broker, "kept").await;
    create(&broker, "gone").await;
    let gone = WhichTokens::Name("gone".to_owned());
    assert_eq!(revoke(&broker, gone.clone()).await, Ok(1));
    assert!(kept.is(&text) && access_tokens::id_in(&text) == Some(kept.id));
    let survived = disk.power_cut(1, CrashMode::LoseUnsynced);
    // Closing fails, as the broker's disk is gone.
    tokio::task::block_in_place(|| broker.close()).ok();
    let disk = survived;
    // The token comes from the journal, then from a checkpoint, then from a checkpoint's delta.
    let mut expected = vec![kept];
    for seed in 2..6 {
        let broker = open(&disk, &clock, seed);
        assert_eq!(broker.list_access_tokens(), expected);
        let watched = Vec::from_iter(broker.watch_access_tokens().borrow().iter().cloned());
        assert_eq!(watched, expected, "who asks for them is told");
        assert_eq!(
            revoke(&broker, gone.clone()).await,
            Err(Error::UnknownToken {
                token: "gone".to_owned()
            })
        );
        expected.push(create(&broker, "more").await.1);
        expected.sort_by_key(|token| token.id);
        tokio::task::block_in_place(|| broker.close()).expect("nothing fails");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_no_more_tokens_than_may_be_and_those_that_have_expired_make_room() {
    let (disk, clock) = (SimDisk::new(1), SimClock::new(1_700_000_000_000));
    let broker = open(&disk, &clock, 1);
    for _ in 0..limits::MAX_ACCESS_TOKENS {
        create(&broker, "one").await;
    }
    let one_more = broker
        .create_access_token("two", HOUR)
        .expect("it is queued");
    assert_eq!(one_more.await.map(drop), Err(Error::TooManyTokens));
    let id = broker.list_access_tokens()[0].id;
    assert_eq!(revoke(&broker, WhichTokens::Id(id)).await, Ok(1));
    create(&broker, "two").await;
    clock.advance(HOUR * 2);
    let (_, token) = create(&broker, "three").await;
    assert_eq!(
        broker.list_access_tokens(),
        [token],
        "the others have expired"
    );
    tokio::task::block_in_place(|| broker.close()).expect("nothing fails");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_times_that_cannot_be_are_refused() {
    let (disk, clock) = (SimDisk::new(1), SimClock::new(1_700_000_000_000));
    let broker = open(&disk, &clock, 1);
    let long = "x".repeat(limits::MAX_ACCESS_TOKEN_NAME_BYTES + 1);
    for name in ["", "a b", "a*", "a/b", "\u{e4}", &long] {
        let refused = broker.create_access_token(name, HOUR).map(drop);
        assert!(
            matches!(refused, Err(Error::MalformedRequest { .. })),
            "{name:?}"
        );
    }
    for life in [
        Duration::ZERO,
        Duration::from_millis(999),
        HOUR * 24 * 3_651,
    ] {
        let refused = broker.create_access_token("a", life).map(drop);
        assert!(
            matches!(refused, Err(Error::MalformedRequest { .. })),
            "{life:?}"
        );
    }
    tokio::task::block_in_place(|| broker.close()).expect("nothing fails");
}
