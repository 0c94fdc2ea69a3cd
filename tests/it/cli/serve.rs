//! `serve`: starting, stopping, and what it refuses to use.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use taffrail::{
    client::{Batch, Client, NewTopic, Record},
    types::PartitionId,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::http2::{
    ACK, DATA, END_HEADERS, GOAWAY, HEADERS, PING, PREFACE, SETTINGS, frame, frames_until,
    headers_of,
};

use super::{Serve, assert_fails, binary, free_port, serve, started, temporary, text};

#[test]
fn what_was_produced_is_there_after_a_kill_and_after_a_clean_stop() {
    let (dir, broker) = started();
    broker.succeed(&["topic", "create", "t", "--partitions", "2"], b"");
    broker.succeed(&["produce", "t", "--partition", "0"], b"one\n");
    let listen = broker.kill();
    let broker = Serve::start(dir.path(), &listen);
    broker.succeed(&["produce", "t", "--partition", "0"], b"two\n");
    assert_eq!(broker.stop(), Some(0));
    let broker = Serve::start(dir.path(), &free_port());
    assert_eq!(text(&broker.succeed(&["consume", "t"], b"")), "one\ntwo\n");
}

#[test]
fn serve_ends_with_its_own_code_when_it_cannot_use_what_it_is_given() {
    let (dir, broker) = started();
    let refused = |command: &mut Command, says: &[&str]| {
        let output = command
            .stderr(Stdio::piped())
            .output()
            .expect("the binary is there");
        assert_fails(&output, 78, says);
        assert_eq!(text(&output.stdout), "", "it does not say that it listens");
    };
    let name = dir.path().to_str().expect("UTF-8");
    refused(
        &mut serve(dir.path(), "127.0.0.1:0"),
        &[name, "in use by another broker"],
    );
    let other = temporary();
    refused(
        &mut serve(other.path(), broker.listen()),
        &[broker.listen(), "--listen"],
    );
    refused(
        &mut serve(other.path(), "0.0.0.0:0"),
        &["0.0.0.0", "--insecure"],
    );
    assert_eq!(
        fs::read_dir(other.path()).expect("it is there").count(),
        0,
        "nothing was written"
    );

    fs::write(other.path().join("thesis.txt"), b"mine").expect("there is room");
    let name = other.path().to_str().expect("UTF-8");
    refused(
        &mut serve(other.path(), "127.0.0.1:0"),
        &[name, "not a taffrail data directory"],
    );
    assert_eq!(
        fs::read_dir(other.path()).expect("it is there").count(),
        1,
        "nothing was written"
    );

    let config = other.path().join("thesis.txt");
    for (setting, says) in [
        ("segment_size = 1\n", "segment_size"),
        ("[memory]\nbytes = \"lots\"\n", "memory.bytes"),
    ] {
        fs::write(&config, setting).expect("there is room");
        refused(
            serve(other.path(), "127.0.0.1:0")
                .arg("--config")
                .arg(&config),
            &["thesis.txt", says],
        );
    }
    refused(
        serve(other.path(), "127.0.0.1:0").args(["--config", "/nowhere.toml"]),
        &["/nowhere.toml"],
    );

    assert_eq!(broker.stop(), Some(0));
    let identity = dir.path().join("taffrail");
    let mut bytes = fs::read(&identity).expect("it is there");
    fs::remove_file(&identity).expect("it is there");
    let broker = Serve::start(dir.path(), "127.0.0.1:0");
    assert_eq!(broker.stop(), Some(0), "other files say what it is");
    assert_eq!(fs::read(&identity).expect("it is made anew"), bytes);
    bytes[8] += 1;
    fs::write(&identity, bytes).expect("there is room");
    refused(
        &mut serve(dir.path(), "127.0.0.1:0"),
        &["format version", "use the broker that wrote it"],
    );
}

/// Long enough for anything that is going to happen, and shorter than what a connection lives on
/// which nothing is heard.
const PATIENCE: Duration = Duration::from_secs(30);

/// A broker that may have so many files open.
fn serve_with_open_files(limit: u32, dir: &Path) -> Command {
    let mut command = Command::new("sh");
    let script = format!("ulimit -n {limit}; exec \"$0\" \"$@\"");
    command
        .args(["-c", &script, env!("CARGO_BIN_EXE_taffrail")])
        .args([
            "serve",
            "--log-level",
            "error",
            "--listen",
            &free_port(),
            "--data-dir",
        ])
        .arg(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command
}

/// One record to each partition, as often as this.
async fn append_everywhere(client: &Client, partitions: u32) {
    for from in (0..partitions).step_by(500) {
        let batches = (from..partitions.min(from + 500)).map(|partition| {
            let mut batch = Batch::to_partition("t", PartitionId(partition));
            batch.push(&Record::new().value("x"));
            batch
        });
        client
            .append(batches.collect::<Vec<_>>())
            .await
            .expect("it is stored");
    }
}

async fn count_records(client: &Client) -> usize {
    let mut reading = client
        .read("t")
        .open()
        .await
        .expect("there is such a topic");
    let mut records = 0;
    while let Some(batch) = reading.next_batch().await.expect("all can be read") {
        records += batch.records().count();
    }
    records
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_and_idle_connections_share_few_descriptors() {
    const PARTITIONS: u32 = 1_133;
    let dir = temporary();
    for (round, limit) in [1_024, 1_024, 256, 100].into_iter().enumerate() {
        let broker = Serve::spawn(&mut serve_with_open_files(limit, dir.path()));
        let client = Client::connect(&broker.url).await.expect("it listens");
        if round == 0 {
            let topic = NewTopic::new("t").partitions(PARTITIONS);
            client.topics().create(&topic).await.expect("it is new");
        }
        let mut idle = Vec::new();
        for _ in 0..150 {
            idle.push(
                TcpStream::connect(broker.listen())
                    .await
                    .expect("it listens"),
            );
        }
        append_everywhere(&client, PARTITIONS).await;
        assert_eq!(
            count_records(&client).await,
            (round + 1) * PARTITIONS as usize
        );
        drop(client);
        assert_eq!(broker.stop(), Some(0), "with {limit} descriptors");
    }
}

/// Whether anything comes.
async fn heard(socket: &mut TcpStream) -> bool {
    let mut bytes = [0; 1_024];
    socket.read(&mut bytes).await.is_ok_and(|len| len > 0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_the_wait_for_calls_under_way() {
    let dir = temporary();
    let broker = Serve::spawn(serve(dir.path(), &free_port()).env("TAFFRAIL_SERVER_DRAIN", "1h"));
    // A call whose request comes in byte by byte.
    let mut socket = TcpStream::connect(broker.listen())
        .await
        .expect("it listens");
    let call = headers_of("/taffrail.v1.Log/Append");
    let begun = [
        PREFACE,
        &frame(SETTINGS, 0, 0, &[]),
        &frame(HEADERS, END_HEADERS, 1, &call),
        &frame(DATA, 0, 1, &[0, 0, 0x10, 0, 0]),
        &frame(PING, 0, 0, b"is it on"),
    ];
    socket.write_all(&begun.concat()).await.expect("it is sent");
    frames_until(&mut socket, PING, ACK).await;

    broker.ask_to_stop();
    frames_until(&mut socket, GOAWAY, 0).await;
    let sending = tokio::spawn(async move {
        let more = [frame(DATA, 0, 1, b"x"), frame(PING, 0, 0, b"still on")].concat();
        while socket.write_all(&more).await.is_ok() && heard(&mut socket).await {}
    });
    let stopped = tokio::task::spawn_blocking(move || broker.stop());
    let code = timeout(PATIENCE, stopped)
        .await
        .expect("it does not wait on");
    assert_eq!(code.expect("it does not panic"), Some(0));
    sending.await.expect("it does not panic");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_does_wrong_again_and_again_is_counted_in_the_log() {
    const CONNECTIONS: u64 = 20;
    let dir = temporary();
    let mut broker = Serve::spawn(
        binary()
            .args(["serve", "--log-level", "warn", "--log-format", "json"])
            .args(["--listen", &free_port(), "--data-dir"])
            .arg(dir.path()),
    );
    let mut begun = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    // Answers to what was never asked.
    for _ in 0..10 {
        begun.extend(frame(PING, ACK, 0, b"whatever"));
    }
    // No stream has this number.
    begun.extend(frame(DATA, 0, 0, b"x"));
    for _ in 0..CONNECTIONS {
        let mut socket = TcpStream::connect(broker.listen())
            .await
            .expect("it listens");
        socket.write_all(&begun).await.expect("it is sent");
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await.ok();
    }
    let errors = broker.process.stderr.take().expect("it is piped");
    assert_eq!(broker.stop(), Some(0));
    let log = std::io::read_to_string(errors).expect("it is text");
    let counted: Vec<u64> = log
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("it is JSON"))
        .map(|line| line["count"].as_u64().expect("a number"))
        .collect();
    assert_eq!(counted, [1, CONNECTIONS - 1], "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_not_served_are_counted_in_the_log_and_said_seldom() {
    const CONNECTIONS: u64 = 20;
    let dir = temporary();
    let mut broker = Serve::spawn(
        binary()
            .args(["serve", "--log-level", "warn", "--log-format", "json"])
            .args(["--listen", &free_port(), "--data-dir"])
            .arg(dir.path()),
    );
    for _ in 0..CONNECTIONS {
        let mut socket = TcpStream::connect(broker.listen())
            .await
            .expect("it listens");
        socket
            .write_all(b"GET / HTTP/1.1\r\n\r\n")
            .await
            .expect("it is sent");
        let mut answer = Vec::new();
        socket
            .read_to_end(&mut answer)
            .await
            .expect("it is answered");
    }
    let errors = broker.process.stderr.take().expect("it is piped");
    assert_eq!(broker.stop(), Some(0));
    let log = std::io::read_to_string(errors).expect("it is text");
    let said: Vec<u64> = log
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("it is JSON"))
        .filter(|line| line.to_string().contains("HTTP/1"))
        .map(|line| line["count"].as_u64().expect("a number"))
        .collect();
    assert_eq!(said.iter().sum::<u64>(), CONNECTIONS, "{log}");
    assert_eq!(said[0], 1, "the first is said at once");
    assert!((said.len() as u64) < CONNECTIONS, "{log}");
}

#[test]
fn a_log_level_for_one_module_leaves_the_others_at_the_default() {
    for (level, is_said) in [
        ("taffrial=debug", true),
        ("h2=debug", true),
        ("[append]=debug", true),
        ("taffrail::nowhere=off", true),
        ("error,taffrial=debug", false),
        ("taffrial=debug,error", false),
        ("off", false),
        ("WARN", false),
    ] {
        let dir = temporary();
        let mut broker = Serve::spawn(
            binary()
                .args(["serve", "--log-level", level])
                .args(["--listen", &free_port(), "--data-dir"])
                .arg(dir.path()),
        );
        let errors = broker.process.stderr.take().expect("it is piped");
        assert_eq!(broker.stop(), Some(0));
        let log = std::io::read_to_string(errors).expect("it is text");
        assert_eq!(log.contains("told to stop"), is_said, "{level}: {log}");
    }
}
