//! `serve` on a disk that fails.

use std::{net::TcpListener, sync::Arc};

use crate::{
    broker::Broker,
    cli::serve::{serve, stopped},
    client::{Batch, Client, Error, NewTopic, Record},
    config::Config,
    env::{
        Env,
        sim::{CrashMode, Fault, OpKind, SimClock, SimDisk, SimRandom},
    },
};

fn env(disk: &SimDisk) -> Env {
    Env {
        files: Arc::new(disk.clone()),
        clock: Arc::new(SimClock::new(1_700_000_000_000)),
        random: Arc::new(SimRandom::new(1)),
    }
}

/// A configuration with a free port, and its URL. Its address is not 127.0.0.1, where clients'
/// ports might be in the way.
fn configuration() -> (Config, String) {
    let free = TcpListener::bind("127.0.0.200:0").expect("a free port");
    let listen = free.local_addr().expect("it is bound").to_string();
    let flags = [("data_dir", "/data".to_owned()), ("listen", listen.clone())];
    let loaded = Config::default()
        .load(None, std::iter::empty(), &flags)
        .expect("the flags are right");
    (loaded.config, format!("http://{listen}"))
}

async fn connect(url: &str) -> Client {
    loop {
        match Client::connect(url).await {
            Ok(client) => return client,
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_ends_the_process_with_its_own_code_and_without_an_acknowledgement() {
    for kind in [OpKind::SyncData, OpKind::Write] {
        let disk = SimDisk::new(7);
        let (config, url) = configuration();
        let serving = tokio::spawn(serve(config, env(&disk), Arc::default(), None, None));
        let client = connect(&url).await;
        client
            .topics()
            .create(&NewTopic::new("t"))
            .await
            .expect("nothing fails yet");
        client
            .append(Batch::of("t", [Record::new().value("kept")]))
            .await
            .expect("nothing fails yet");

        disk.inject(Fault::on(kind).in_path("journal").for_ever());
        let answer = client
            .append(Batch::of("t", [Record::new().value("unknown")]))
            .await;
        assert!(
            matches!(answer, Err(Error::OutcomeUnknown { .. })),
            "{kind:?}: {answer:?}"
        );
        let ended = serving.await.expect("it does not panic");
        assert_eq!(
            ended.expect_err("storage has failed").code(),
            74,
            "{kind:?}"
        );

        let survived = disk.power_cut(1, CrashMode::LoseUnsynced);
        let (config, url) = configuration();
        let serving = tokio::spawn(serve(config, env(&survived), Arc::default(), None, None));
        let client = connect(&url).await;
        let mut reading = client.read("t").open().await.expect("the topic is there");
        let first = reading
            .next_record()
            .await
            .expect("it can be read")
            .expect("what was acknowledged is there");
        assert_eq!(first.value.as_deref(), Some(&b"kept"[..]));
        serving.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_cannot_be_used_ends_the_process_with_its_own_code() {
    let disk = SimDisk::new(7);
    disk.set_read_only(true);
    let (config, _) = configuration();
    let failure = serve(config, env(&disk), Arc::default(), None, None)
        .await
        .expect_err("nothing can be written");
    assert_eq!(failure.code(), 78);
    assert!(failure.to_string().contains("/data"), "{failure}");
}

/// A stop on a full disk is no failure, and nothing is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_on_a_full_disk_is_a_stop() {
    let disk = SimDisk::new(7);
    let (config, _) = configuration();
    let broker = Broker::open(env(&disk), config.broker()).expect("nothing fails yet");
    let created = broker.create_topic("t", 1, &[].into());
    created
        .expect("it is a good name")
        .await
        .expect("nothing fails yet");
    disk.set_capacity(0);
    let stopped = stopped(broker.close());
    assert!(stopped.is_ok(), "{stopped:?}");

    disk.set_capacity(1 << 40);
    let broker = Broker::open(env(&disk), config.broker()).expect("there is room again");
    assert_eq!(
        broker.list_topics("", "", 10, |_| true).0.len(),
        1,
        "it is read from the journal"
    );
    stopped_cleanly(&broker);
}

fn stopped_cleanly(broker: &Broker) {
    stopped(broker.close()).expect("nothing fails");
}
