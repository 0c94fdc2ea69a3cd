//! `serve`: starting, stopping, and what it refuses to use.

use std::{
    fs, io,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;
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

use super::{
    Serve, assert_does_not_start, assert_fails, binary, free_port, objects, serve, started,
    temporary, text,
};

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
    let name = dir.path().to_str().expect("UTF-8");
    assert_does_not_start(
        &mut serve(dir.path(), "127.0.0.1:0"),
        &[name, "in use by another broker"],
    );
    let other = temporary();
    assert_does_not_start(
        &mut serve(other.path(), broker.listen()),
        &[broker.listen(), "--listen"],
    );
    assert_does_not_start(
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
    assert_does_not_start(
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
        assert_does_not_start(
            serve(other.path(), "127.0.0.1:0")
                .arg("--config")
                .arg(&config),
            &["thesis.txt", says],
        );
    }
    assert_does_not_start(
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
    bytes[8] += 2;
    fs::write(&identity, bytes).expect("there is room");
    assert_does_not_start(
        &mut serve(dir.path(), "127.0.0.1:0"),
        &["format version", "use the broker that wrote it"],
    );
}

/// Longer than anything takes here, and shorter than the life of a connection on which nothing is
/// received.
const PATIENCE: Duration = Duration::from_secs(30);

/// The command for a broker that may have this many files open.
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

/// Appends one record to each partition, this many times.
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

/// Starts a broker that logs JSON.
fn logging(command: &mut Command, level: &str, dir: &Path) -> Serve {
    let command = command
        .args(["serve", "--log-level", level, "--log-format", "json"])
        .args(["--listen", &free_port(), "--data-dir"])
        .arg(dir);
    Serve::spawn(command)
}

/// Stops the broker and returns the lines of its log.
fn log_of(mut broker: Serve) -> Vec<Value> {
    let errors = broker.process.stderr.take().expect("it is piped");
    assert_eq!(broker.stop(), Some(0));
    objects(io::read_to_string(errors).expect("it is text").as_bytes())
}

/// The lines with this message, and their levels.
fn said<'a>(log: &'a [Value], what: &str) -> Vec<(&'a str, &'a str)> {
    let lines = log.iter().map(|line| {
        let text = |name: &str| line[name].as_str().expect("it is text");
        (text("level"), text("message"))
    });
    lines
        .filter(|(_, message)| message.contains(what))
        .collect()
}

#[test]
fn how_descriptors_are_divided_is_said_at_the_start() {
    for (limit, level, says) in [
        (256, "WARN", "only 256 files and sockets open"),
        (16_384, "INFO", "16384 files and sockets open"),
    ] {
        let dir = temporary();
        let mut command = Command::new("sh");
        let script = format!("ulimit -n {limit}; exec \"$0\" \"$@\"");
        command
            .args(["-c", &script, env!("CARGO_BIN_EXE_taffrail")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let log = log_of(logging(&mut command, "info", dir.path()));
        let divided = said(&log, "files and sockets open");
        assert_eq!(divided.len(), 1, "{log:?}");
        assert_eq!(divided[0].0, level);
        assert!(divided[0].1.contains(says), "{divided:?}");
    }
}

#[test]
fn too_little_room_is_said_once_with_what_to_change() {
    let dir = temporary();
    let broker = logging(
        binary().env("TAFFRAIL_DISK_RESERVE_BYTES", "9223372036854775807"),
        "warn",
        dir.path(),
    );
    for _ in 0..3 {
        let refused = broker.run(&["topic", "create", "t"]);
        // A sixteenth more is needed once the disk is known to be full.
        assert_fails(&refused, 4, &["bytes are free", "are needed"]);
        assert_fails(&refused, 4, &["disk.reserve_bytes is 9223372036854775807"]);
    }
    assert_eq!(
        broker.json(&["topic", "list"])["topics"],
        Value::from([(); 0])
    );
    let log = log_of(broker);
    let full = said(&log, "the disk is full");
    assert_eq!(full.len(), 1, "{log:?}");
    assert_eq!(full[0].0, "WARN");
    for part in [
        "bytes are free",
        "are needed",
        "disk.reserve_bytes is 9223372036854775807",
    ] {
        assert!(full[0].1.contains(part), "{full:?}");
    }
}

#[test]
fn a_start_whose_checkpoint_is_lost_says_what_it_has_forgotten() {
    let dir = temporary();
    let mut broker = logging(&mut binary(), "warn", dir.path());
    for value in [b"one\n", b"two\n"] {
        if value == b"one\n" {
            broker.succeed(&["topic", "create", "t"], b"");
        }
        broker.succeed(&["produce", "t"], value);
        let log = log_of(broker);
        assert!(said(&log, "checkpoint").is_empty(), "{log:?}");
        broker = logging(&mut binary(), "warn", dir.path());
    }
    broker.kill();
    for copy in ["checkpoint", "checkpoint.copy"] {
        fs::remove_file(dir.path().join(copy)).expect("it is there");
    }
    // The journal cannot replace the checkpoint, because its first entry is damaged.
    let journal = dir.path().join("journal/1.journal");
    let mut bytes = fs::read(&journal).expect("it is there");
    bytes[4_096 + 40] ^= 1;
    fs::write(&journal, bytes).expect("there is room");

    let log = log_of(logging(&mut binary(), "warn", dir.path()));
    let lost = said(&log, "the checkpoint is lost");
    assert_eq!(lost.len(), 1, "{log:?}");
    assert_eq!(lost[0].0, "WARN");
    assert!(
        lost[0].1.contains("producers and groups is forgotten"),
        "{lost:?}"
    );
    let copies = said(&log, "a copy of the checkpoint is damaged or missing");
    assert_eq!(copies.len(), 2, "{log:?}");

    let log = log_of(logging(&mut binary(), "warn", dir.path()));
    assert!(said(&log, "checkpoint").is_empty(), "{log:?}");
}

/// Whether anything is received on the socket.
async fn heard(socket: &mut TcpStream) -> bool {
    let mut bytes = [0; 1_024];
    socket.read(&mut bytes).await.is_ok_and(|len| len > 0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_the_wait_for_calls_under_way() {
    let dir = temporary();
    let broker = Serve::spawn(serve(dir.path(), &free_port()).env("TAFFRAIL_SERVER_DRAIN", "1h"));
    // A call whose request is sent byte by byte.
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
    let broker = logging(&mut binary(), "warn", dir.path());
    let mut begun = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    // Answers to pings that were never sent.
    for _ in 0..10 {
        begun.extend(frame(PING, ACK, 0, b"whatever"));
    }
    // A data frame on stream 0, which does not exist.
    begun.extend(frame(DATA, 0, 0, b"x"));
    for _ in 0..CONNECTIONS {
        let mut socket = TcpStream::connect(broker.listen())
            .await
            .expect("it listens");
        socket.write_all(&begun).await.expect("it is sent");
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await.ok();
    }
    let log = log_of(broker);
    let counted = log.iter().map(|line| line["count"].as_u64());
    let expected = [Some(1), Some(CONNECTIONS - 1)];
    assert_eq!(counted.collect::<Vec<_>>(), expected, "{log:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_not_served_are_counted_in_the_log_and_said_seldom() {
    const CONNECTIONS: u64 = 20;
    let dir = temporary();
    let broker = logging(&mut binary(), "warn", dir.path());
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
    let log = log_of(broker);
    let said: Vec<u64> = log
        .iter()
        .filter(|line| line.to_string().contains("HTTP/1"))
        .map(|line| line["count"].as_u64().expect("a number"))
        .collect();
    assert_eq!(said.iter().sum::<u64>(), CONNECTIONS, "{log:?}");
    assert_eq!(said[0], 1, "the first is said at once");
    assert!((said.len() as u64) < CONNECTIONS, "{log:?}");
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
        let log = io::read_to_string(errors).expect("it is text");
        assert_eq!(log.contains("told to stop"), is_said, "{level}: {log}");
    }
}

/// Sends bytes on a new connection, and returns everything received until it is closed.
async fn answer_to(broker: &Serve, sent: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(broker.listen())
        .await
        .expect("it listens");
    socket.write_all(sent).await.expect("it is sent");
    let mut answer = Vec::new();
    let closed = timeout(PATIENCE, socket.read_to_end(&mut answer)).await;
    closed.expect("it is closed").expect("it is read");
    answer
}

/// Opens a connection with a call that is under way until the rest of its request is sent.
async fn with_a_call(broker: &Serve) -> TcpStream {
    let mut socket = TcpStream::connect(broker.listen())
        .await
        .expect("it listens");
    let begun = [
        PREFACE,
        &frame(SETTINGS, 0, 0, &[]),
        &frame(
            HEADERS,
            END_HEADERS,
            1,
            &headers_of("/taffrail.v1.Log/Append"),
        ),
        &frame(PING, 0, 0, b"is it on"),
    ];
    socket.write_all(&begun.concat()).await.expect("it is sent");
    frames_until(&mut socket, PING, ACK).await;
    socket
}

#[tokio::test(flavor = "multi_thread")]
async fn why_a_connection_is_not_served_is_in_the_log() {
    let dir = temporary();
    let mut command = binary();
    command
        .env("TAFFRAIL_SERVER_MAX_CONNECTIONS", "16")
        .env("TAFFRAIL_SERVER_HANDSHAKE_TIMEOUT", "100ms");
    let broker = logging(&mut command, "warn", dir.path());
    let mut open = vec![with_a_call(&broker).await];
    let hello = [0x16, 0x03, 0x01, 0x00, 0x05, 0x01, 0x00, 0x00, 0x01, 0x00];
    assert!(
        answer_to(&broker, b"GET / HTTP/1.1\r\n\r\n")
            .await
            .starts_with(b"HTTP/1.1 505")
    );
    assert_eq!(answer_to(&broker, &hello).await.len(), 7, "an alert");
    for silent_or_unknown in [&b"hello"[..], b"", &PREFACE[..10], PREFACE] {
        assert_eq!(answer_to(&broker, silent_or_unknown).await, b"");
    }
    while open.len() < 16 {
        open.push(with_a_call(&broker).await);
    }
    assert_eq!(answer_to(&broker, b"").await, b"");

    let log = log_of(broker);
    for (what, count) in [
        ("their clients spoke HTTP/1", 1),
        ("their clients spoke TLS", 1),
        ("neither HTTP nor TLS", 1),
        ("did not finish HTTP/2's handshake in time", 3),
        ("there are as many already as there may be", 1),
    ] {
        let lines = log.iter().filter(|line| line.to_string().contains(what));
        let counted: u64 = lines
            .clone()
            .map(|line| line["count"].as_u64().expect("a number"))
            .sum();
        assert_eq!(counted, count, "{what}: {log:?}");
        assert!(lines.clone().all(|line| line["level"] == "WARN"), "{log:?}");
        assert!(lines.count() <= 2, "{what}: {log:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_connections_that_have_said_nothing() {
    let dir = temporary();
    let broker = Serve::spawn(
        serve(dir.path(), &free_port())
            .env("TAFFRAIL_SERVER_DRAIN", "1h")
            .env("TAFFRAIL_SERVER_HANDSHAKE_TIMEOUT", "1h"),
    );
    let mut silent = Vec::new();
    for said in [&b""[..], &PREFACE[..8], PREFACE] {
        let mut socket = TcpStream::connect(broker.listen())
            .await
            .expect("it listens");
        socket.write_all(said).await.expect("it is sent");
        silent.push(socket);
    }
    // Connections are accepted in order, so the broker has this one, too.
    drop(with_a_call(&broker).await);
    let stopped = tokio::task::spawn_blocking(move || broker.stop());
    let code = timeout(PATIENCE, stopped).await.expect("it does not wait");
    assert_eq!(code.expect("it does not panic"), Some(0));
}
