//! `serve --ephemeral`: a broker for tests.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    process::Stdio,
    time::Duration,
};

use serde_json::Value;
use taffrail::{
    client::{Batch, Client, NewTopic, Record},
    proto::{AdvanceRequest, CrashRequest, admin_client::AdminClient},
};
use tonic::{
    Code,
    transport::{Channel, Endpoint},
};

use super::{Serve, assert_fails, binary, free_port, high_watermark, run, started, temporary};
use crate::raw::info;

const HOUR: Duration = Duration::from_secs(3_600);

fn ephemeral() -> Serve {
    Serve::spawn(
        binary()
            .args(["serve", "--ephemeral"])
            .stderr(Stdio::inherit()),
    )
}

async fn admin(broker: &Serve) -> AdminClient<Channel> {
    let endpoint = Endpoint::from_shared(broker.url.clone()).expect("it is an address");
    AdminClient::new(endpoint.connect().await.expect("it listens"))
}

async fn advance(broker: &Serve, by: Duration) {
    let by_ms = u64::try_from(by.as_millis()).expect("it is short");
    let advanced = admin(broker).await.advance(AdvanceRequest { by_ms }).await;
    advanced.expect("its clock can be moved");
}

/// The values of all records in a topic.
async fn values(client: &Client, topic: &str) -> Vec<String> {
    let mut reading = client.read(topic).open().await.expect("it is there");
    let mut values = Vec::new();
    while let Some(record) = reading.next_record().await.expect("it can be read") {
        let value = record.value.expect("it has one");
        values.push(String::from_utf8_lossy(&value).into_owned());
    }
    values
}

#[test]
fn an_ephemeral_broker_says_where_it_is_in_json_and_leaves_nothing_on_disk() {
    let dir = temporary();
    let mut command = binary();
    command.args(["serve", "--ephemeral"]);
    let broker = Serve::spawn(command.current_dir(dir.path()).stderr(Stdio::inherit()));
    let said: Value = serde_json::from_str(&broker.started).expect("it is JSON");
    assert_eq!(said["address"], broker.listen());
    assert!(said["http_url"].is_string(), "{said}");
    broker.succeed(&["topic", "create", "t"], b"");
    broker.succeed(&["produce", "t"], b"one\ntwo\n");
    assert_eq!(broker.stop(), Some(0));
    let left = fs::read_dir(dir.path()).expect("it is there").count();
    assert_eq!(left, 0);
}

#[test]
fn a_data_directory_is_nothing_for_an_ephemeral_broker() {
    let refused = run(&["serve", "--ephemeral", "--data-dir", "d"], b"");
    assert_fails(&refused, 2, &["--ephemeral", "--data-dir"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_there_after_a_crash_at_the_same_address() {
    let broker = ephemeral();
    let client = Client::connect(&broker.url).await.expect("it listens");
    let created = client.topics().create(&NewTopic::new("t")).await;
    created.expect("it is new");
    let mut all = Vec::new();
    for number in 0..3 {
        let value = number.to_string();
        let record = Record::new().key("k").value(&value);
        client
            .append(Batch::of("t", [record]))
            .await
            .expect("synced");
        all.push(value);

        // A read that does not reconnect.
        let follow = client.read("t").follow().retry_for(Duration::ZERO);
        let mut follow = follow.open().await.expect("it is there");
        for _ in 0..all.len() {
            let next = follow.next_record().await.expect("nothing has broken");
            next.expect("a follow does not end");
        }
        let crashed = admin(&broker).await.crash(CrashRequest {}).await;
        let status = crashed.expect_err("its connection breaks");
        // A status from the broker itself would have details.
        assert!(status.details().is_empty(), "{status:?}");
        follow
            .next_record()
            .await
            .expect_err("all connections break");
        let client = Client::connect(&broker.url)
            .await
            .expect("it listens again");
        assert_eq!(values(&client, "t").await, all);
    }
    assert_eq!(broker.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn time_passes_for_an_ephemeral_broker_when_it_is_told_to() {
    let broker = ephemeral();
    let client = Client::connect(&broker.url).await.expect("it listens");
    let created = client.topics().create(&NewTopic::new("t")).await;
    created.expect("it is new");
    let opened = client.producer("t").name("p").open().await;
    opened.expect("there is room");
    let before = client.clock().await.expect("it is asked").now_ms;

    advance(&broker, HOUR).await;
    let after = client.clock().await.expect("it is asked");
    assert!(after.now_ms - before >= 3_600_000, "{before} to {after:?}");
    assert_eq!(after.followed_in, None);
    let known = async || broker.json(&["producer", "list"]).to_string();
    assert!(known().await.contains("\"p\""));

    // More than the default of `producers.idle`.
    advance(&broker, 8 * 24 * HOUR).await;
    assert!(!known().await.contains("\"p\""));

    let by_ms = u64::MAX;
    let refused = admin(&broker).await.advance(AdvanceRequest { by_ms }).await;
    let status = refused.expect_err("nobody lives for so long");
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_keeps_its_data_neither_crashes_nor_moves_its_clock() {
    let (_dir, broker) = started();
    let mut admin = admin(&broker).await;
    let crashed = admin.crash(CrashRequest {}).await;
    let advanced = admin.advance(AdvanceRequest { by_ms: 1 }).await;
    for status in [
        crashed.expect_err("it keeps its data"),
        advanced.expect_err("its clock is the machine's"),
    ] {
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert_eq!(info(&status).reason, "NOT_EPHEMERAL");
        assert!(status.message().contains("--ephemeral"), "{status}");
    }
}

/// Starts a broker by a shell, calls `while_there` with where it listens, kills the shell, and waits
/// for the end of the broker.
fn with_a_shell_that_is_killed(flags: &[&str], while_there: impl FnOnce(&str)) {
    let mut command = std::process::Command::new("sh");
    command
        .args(["-c", "\"$0\" serve --log-format json \"$@\" & wait"])
        .arg(env!("CARGO_BIN_EXE_taffrail"))
        .args(flags)
        .stdout(Stdio::piped());
    let mut shell = command.spawn().expect("there is a shell");
    let mut out = BufReader::new(shell.stdout.take().expect("it is piped"));
    let mut line = String::new();
    out.read_line(&mut line).expect("it says where it listens");
    let said: Value = serde_json::from_str(&line).expect("it is JSON");
    while_there(said["address"].as_str().expect("it is text"));
    shell.kill().expect("it runs");
    shell.wait().expect("it was started here");
    // The broker inherited this pipe, so the pipe's end shows that the broker has ended.
    out.read_to_string(&mut line).expect("it is text");
}

#[test]
fn an_ephemeral_broker_ends_with_the_process_that_started_it() {
    with_a_shell_that_is_killed(&["--ephemeral"], |_| ());
}

#[test]
fn a_broker_on_a_disk_ends_in_good_order_with_the_process_that_started_it_if_it_is_told_to() {
    let dir = temporary();
    let data = dir.path().to_str().expect("it is text");
    let flags = [
        "--with-parent",
        "--data-dir",
        data,
        "--listen",
        "127.0.0.1:0",
    ];
    with_a_shell_that_is_killed(&flags, |address| {
        let server = ["--server", &format!("http://{address}")];
        let create = [&["topic", "create", "t"][..], &server].concat();
        assert_eq!(run(&create, b"").status.code(), Some(0));
        let produce = [&["produce", "t"][..], &server].concat();
        assert_eq!(run(&produce, b"one\n").status.code(), Some(0));
    });
    // It has let go of its directory.
    let again = Serve::start(dir.path(), &free_port());
    assert_eq!(high_watermark(&again), 1);
    assert_eq!(again.stop(), Some(0));
}
