//! Quotas with the real binary. They are so low that no test lasts long enough for a used-up rate
//! to recover.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use taffrail::client::{Batch, Client, Error, NewTopic, Options, Record, Refusal, Token};
use tempfile::TempDir;

use super::{Serve, assert_does_not_start, free_port, run, seen, serve, temporary, text};

/// Longer than any of these tests takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A value so large that it uses a byte a second for more than a day.
const VALUE: &[u8] = &[b'x'; 100_000];

const QUOTAS: &str = r#"
[[role]]
name = "slow"
principals = ["token:appender", "token:streamer"]

[[quota]]
roles = ["slow"]
append_bytes = 1

[[quota]]
principals = ["token:reader"]
read_bytes = 1

[[quota]]
principals = ["token:caller"]
requests = 1

[[quota]]
principals = ["token:creator"]
topics = 2
streams = 1
connections = 1
"#;

struct World {
    broker: Serve,
    config: PathBuf,
    dir: TempDir,
}

impl World {
    fn start() -> Self {
        let dir = temporary();
        let config = dir.path().join("taffrail.toml");
        fs::write(&config, QUOTAS).expect("there is room");
        let mut command = serve(&dir.path().join("data"), &free_port());
        let broker = Serve::spawn(command.arg("--config").arg(&config));
        Self {
            broker,
            config,
            dir,
        }
    }

    async fn client(&self, name: &str) -> Client {
        let socket = format!("unix:{}", self.dir.path().join("data").display());
        let args = [
            "token",
            "create",
            name,
            "--expires",
            "1d",
            "--server",
            &socket,
        ];
        let created = run(&args, b"");
        let token = Token::new(text(&created.stdout).trim()).expect("it is one");
        self.connect(&token).await
    }

    async fn connect(&self, token: &Token) -> Client {
        let options = Options {
            token: Some(token.clone()),
            ..Options::default()
        };
        options.connect(&self.broker.url).await.expect("it listens")
    }

    async fn anybody(&self) -> Client {
        Client::connect(&self.broker.url).await.expect("it listens")
    }
}

/// The refusal of a call.
fn refused<T: std::fmt::Debug>(answer: Result<T, Error>) -> Refusal {
    match answer.expect_err("it is above a quota") {
        Error::Refused(refusal) => *refusal,
        error => panic!("{error}"),
    }
}

fn assert_exceeded(refusal: &Refusal, principal: &str, quota: &str, limit: &str) {
    assert_eq!(
        (&*refusal.code, &*refusal.reason),
        ("ResourceExhausted", "QUOTA_EXCEEDED")
    );
    for (name, expected) in [("principal", principal), ("quota", quota), ("limit", limit)] {
        assert_eq!(refusal.metadata[name], expected, "{refusal}");
    }
    assert!(
        refusal.message.contains(principal) && refusal.message.contains(quota),
        "{refusal}"
    );
}

fn batch() -> Batch {
    Batch::of("t", [Record::new().value(VALUE)])
}

#[tokio::test]
async fn bytes_that_are_appended_and_read_are_bounded_for_their_principal_alone() {
    let world = World::start();
    let anybody = world.anybody().await;
    anybody
        .topics()
        .create(&NewTopic::new("t"))
        .await
        .expect("it is new");
    let appender = world.client("appender").await;
    appender
        .append(batch())
        .await
        .expect("nothing was used before");
    let refusal = refused(appender.append(batch()).await);
    assert_exceeded(&refusal, "token:appender", "append_bytes", "1");
    assert!(
        refusal.retry_after > Some(Duration::from_secs(1_000)),
        "{refusal:?}"
    );
    let streamer = world.client("streamer").await;
    streamer
        .append(batch())
        .await
        .expect("it is another principal");
    anybody.append(batch()).await.expect("no rule is for it");

    let reader = world.client("reader").await;
    let mut reading = reader
        .read("t")
        .max_records(1)
        .open()
        .await
        .expect("it is the first");
    reading
        .next_record()
        .await
        .expect("it is sent")
        .expect("there is one");
    let again = async { reader.read("t").open().await?.next_record().await };
    assert_exceeded(&refused(again.await), "token:reader", "read_bytes", "1");
    let (_, metrics) = seen::get(&seen::address(&world.broker), "/metrics", "*/*");
    for line in [
        "taffrail_quota_refusals_total{quota=\"append_bytes\"} 1",
        "taffrail_quota_refusals_total{quota=\"read_bytes\"} 1",
        "taffrail_append_refusals_total{reason=\"QUOTA_EXCEEDED\"} 1",
        "taffrail_quota_principals 3",
    ] {
        assert!(
            metrics.lines().any(|one| one == line),
            "no {line} in {metrics}"
        );
    }

    // Without the rules, everything is allowed again.
    fs::write(&world.config, "").expect("there is room");
    let since = Instant::now();
    while appender.append(batch()).await.is_err() {
        assert!(since.elapsed() < PATIENCE, "the file is not taken over");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn of_many_calls_at_once_few_are_carried_out() {
    let world = World::start();
    let caller = world.client("caller").await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let topics = caller.topics();
        calls.spawn(async move { topics.list().await });
    }
    let (mut done, mut last) = (0, None);
    while let Some(answer) = calls.join_next().await {
        match answer.expect("nobody panics") {
            Ok(_) => done += 1,
            answer => last = Some(refused(answer)),
        }
    }
    assert!(done > 0, "what waits is carried out");
    let refusal = last.expect("some would have to wait for too long");
    assert_exceeded(&refusal, "token:caller", "requests", "1");
    assert!(
        refusal.retry_after > Some(Duration::from_secs(5)),
        "{refusal:?}"
    );
}

#[tokio::test]
async fn topics_streams_and_connections_are_bounded() {
    let world = World::start();
    let creator = world.client("creator").await;
    for name in ["t", "u"] {
        creator
            .topics()
            .create(&NewTopic::new(name))
            .await
            .expect("there may be two");
    }
    let refusal = refused(creator.topics().create(&NewTopic::new("v")).await);
    assert_exceeded(&refusal, "token:creator", "topics", "2");
    assert_eq!(refusal.retry_after, None, "time changes nothing");
    creator.topics().delete("u").await.expect("it is there");
    creator
        .topics()
        .create(&NewTopic::new("v"))
        .await
        .expect("there is one less");

    let followed = creator
        .read("t")
        .follow()
        .open()
        .await
        .expect("it is the first");
    let another = async { creator.read("t").open().await?.next_record().await };
    let refusal = refused(another.await);
    assert_exceeded(&refusal, "token:creator", "streams", "1");
    drop(followed);
    let since = Instant::now();
    loop {
        let again = async { creator.read("t").open().await?.next_record().await };
        if again.await.is_ok() {
            break;
        }
        assert!(since.elapsed() < PATIENCE, "its place is not free");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    let second = world.client("creator").await;
    let refusal = refused(second.topics().list().await);
    assert_exceeded(&refusal, "token:creator", "connections", "1");
    drop(creator);
    let since = Instant::now();
    while second.topics().list().await.is_err() {
        assert!(since.elapsed() < PATIENCE, "its place is not free");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[test]
fn a_quota_of_zero_is_refused_with_its_line() {
    let dir = temporary();
    let config = dir.path().join("taffrail.toml");
    let wrong = QUOTAS.replace("read_bytes = 1", "read_bytes = 0");
    fs::write(&config, wrong).expect("there is room");
    let mut command = serve(&dir.path().join("data"), &free_port());
    assert_does_not_start(
        command.arg("--config").arg(&config),
        &["taffrail.toml, line 12: read_bytes is 0", "leave it out"],
    );
}
