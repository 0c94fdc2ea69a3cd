//! What a broker shows without gRPC: its first line of output, its log, and pages over HTTP.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::net::UnixDatagram,
    process::Stdio,
};

use serde_json::Value;

use super::{Serve, assert_does_not_start, free_port, logging, run, serve, temporary, text};

/// The header and the body of the response to a GET.
pub(super) fn get(address: &str, path: &str, accept: &str) -> (String, String) {
    let mut io = TcpStream::connect(address).expect("it listens");
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
    );
    io.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    io.read_to_string(&mut answer).expect("it is text");
    let (header, body) = answer.split_once("\r\n\r\n").expect("it has a header");
    (header.to_owned(), body.to_owned())
}

/// The address for HTTP in the line that announces a broker.
fn address_of_metrics(line: &str) -> &str {
    let behind = line.split_once("(metrics on http://");
    let address = behind.and_then(|(_, rest)| rest.split_once(')'));
    address
        .unwrap_or_else(|| panic!("no address of metrics in {line:?}"))
        .0
}

/// The address for HTTP of a running broker.
pub(super) fn address(broker: &Serve) -> String {
    match serde_json::from_str::<Value>(&broker.started) {
        Ok(started) => {
            let url = started["http_url"].as_str().expect("it is there");
            url.trim_start_matches("http://").to_owned()
        }
        Err(_) => address_of_metrics(&broker.started).to_owned(),
    }
}

fn parsed(line: &str) -> Value {
    let value: Value =
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
    assert!(value.is_object(), "{line}");
    value
}

#[test]
fn the_start_line_has_both_addresses_and_metrics_are_at_the_second() {
    let dir = temporary();
    let mut process = serve(dir.path(), &free_port())
        .spawn()
        .expect("it is there");
    let mut out = BufReader::new(process.stdout.take().expect("it is piped"));
    let mut line = String::new();
    out.read_line(&mut line).expect("it is text");
    let address = address_of_metrics(&line);
    assert!(
        get(address, "/livez", "*/*")
            .0
            .starts_with("HTTP/1.1 200 OK")
    );
    assert!(
        get(address, "/readyz", "*/*")
            .0
            .starts_with("HTTP/1.1 200 OK")
    );
    let (header, body) = get(address, "/metrics", "*/*");
    assert!(
        header.contains("\r\ncontent-type: text/plain; version=0.0.4; charset=utf-8"),
        "{header}"
    );
    assert!(
        body.contains("\ntaffrail_partitions_limit 20000\n"),
        "{body}"
    );
    let (header, body) = get(address, "/metrics", "application/openmetrics-text");
    assert!(
        header.contains(
            "\r\ncontent-type: application/openmetrics-text; version=1.0.0; charset=utf-8"
        ),
        "{header}"
    );
    assert!(body.ends_with("\n# EOF\n"), "{body}");
    process.kill().expect("it runs");
    process.wait().expect("it was started here");
}

#[test]
fn every_line_is_json_where_that_is_asked_for() {
    let dir = temporary();
    let mut command = logging(dir.path(), &free_port(), "info");
    command
        .args(["--log-format", "json"])
        .stderr(Stdio::piped());
    let mut process = command.spawn().expect("it is there");
    let mut out = BufReader::new(process.stdout.take().expect("it is piped"));
    let mut line = String::new();
    out.read_line(&mut line).expect("it is text");
    let started = parsed(&line);
    let data_dir = started["data_dir"].as_str().expect("it is there");
    assert_eq!(data_dir, dir.path().to_str().expect("UTF-8"));
    let url = started["url"].as_str().expect("it is there");
    assert!(url.starts_with("http://127.0.0."), "{url}");
    let http = started["http_url"].as_str().expect("it is there");
    let http = http.strip_prefix("http://").expect("it has a scheme");
    assert!(get(http, "/livez", "*/*").0.starts_with("HTTP/1.1 200 OK"));

    // A second broker on the same directory ends, and its error is JSON, too.
    let other = serve(dir.path(), &free_port())
        .args(["--log-format", "json"])
        .stderr(Stdio::piped())
        .output()
        .expect("it is there");
    assert_eq!(other.status.code(), Some(78));
    let said: Vec<Value> = text(&other.stderr).lines().map(parsed).collect();
    let last = said.last().expect("it says why");
    assert_eq!(last["level"], "ERROR");
    let message = last["message"].as_str().expect("it is text");
    assert!(message.contains("in use by another broker"), "{message}");

    let id = rustix::process::Pid::from_child(&process);
    rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("it runs");
    let output = process.wait_with_output().expect("it was started here");
    assert_eq!(output.status.code(), Some(0));
    text(&output.stderr)
        .lines()
        .for_each(|line| drop(parsed(line)));
}

#[test]
fn a_port_that_is_taken_is_a_warning_where_it_is_derived_and_an_error_where_it_is_set() {
    let dir = temporary();
    let host = free_port();
    let host = host.trim_end_matches(":0");
    let held = TcpListener::bind((host, 0)).expect("there is a free port");
    let taken = held.local_addr().expect("it is bound");
    let listen = format!("{host}:{}", taken.port() - 1);
    let mut command = logging(dir.path(), &listen, "warn");
    command.stderr(Stdio::piped());
    let mut process = command.spawn().expect("it is there");
    let mut out = BufReader::new(process.stdout.take().expect("it is piped"));
    let mut line = String::new();
    out.read_line(&mut line).expect("it is text");
    assert!(
        line.contains(&format!("listening on http://{listen} with")),
        "{line}"
    );
    process.kill().expect("it runs");
    let output = process.wait_with_output().expect("it was started here");
    let said = text(&output.stderr);
    let warnings = said.lines().filter(|line| line.contains("--http-listen"));
    assert_eq!(warnings.count(), 1, "{said}");

    let set = taken.to_string();
    assert_does_not_start(
        serve(dir.path(), &free_port()).args(["--http-listen", &set]),
        &[&set, "--http-listen"],
    );
    assert_does_not_start(
        serve(dir.path(), &free_port()).args(["--http-listen", "0.0.0.0:0"]),
        &["0.0.0.0", "--insecure"],
    );
}

#[test]
fn appends_are_counted_and_those_that_are_not_stored_by_their_reasons() {
    let dir = temporary();
    let broker = Serve::start(dir.path(), &free_port());
    broker.succeed(&["topic", "create", "t"], b"");
    let compacted = ["topic", "create", "c", "--set", "cleanup.policy=compact"];
    broker.succeed(&compacted, b"");
    broker.succeed(&["produce", "t", "--key", "k"], b"one\ntwo\nthree\n");
    let conflict = ["produce", "t", "--key", "k", "--expect-version", "7"];
    assert_eq!(broker.run_with(&conflict, b"four\n").status.code(), Some(3));
    let refused = broker.run_with(&["produce", "c"], b"without a key\n");
    assert_eq!(refused.status.code(), Some(4));
    let unknown = broker.run(&["topic", "describe", "nothing"]);
    assert_eq!(unknown.status.code(), Some(4));
    let page = get(address_of_metrics(&broker.started), "/metrics", "*/*").1;
    for line in [
        "taffrail_calls_total{code=\"NOT_FOUND\"} 1",
        "taffrail_calls_total{code=\"DATA_LOSS\"} 0",
        "taffrail_append_records_total 3",
        "taffrail_append_conflicts_total 1",
        "taffrail_append_refusals_total{reason=\"KEY_REQUIRED\"} 1",
        "taffrail_append_refusals_total{reason=\"OVERLOADED\"} 0",
    ] {
        assert!(page.lines().any(|one| one == line), "{line} in:\n{page}");
    }
    let value = |name: &str| {
        let line = page.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("{name} in:\n{page}"))
            .trim()
            .to_owned()
    };
    let appends = value("taffrail_appends_total ");
    for part in ["duration", "wait", "queue"] {
        let name = format!("taffrail_append_{part}_seconds_count ");
        assert_eq!(value(&name), appends);
    }
}

#[test]
fn a_check_of_the_status_says_by_its_code_whether_the_broker_takes_calls() {
    let dir = temporary();
    let broker = Serve::start(dir.path(), &free_port());
    assert_eq!(
        text(&broker.succeed(&["status", "--check"], b"")),
        "it takes calls\n"
    );
    let by_socket = format!("unix:{}", dir.path().display());
    let check = ["status", "--check", "--server", &by_socket];
    assert_eq!(run(&check, b"").status.code(), Some(0));
    assert_eq!(broker.stop(), Some(0));
    assert_eq!(run(&check, b"").status.code(), Some(5));
}

#[test]
fn top_shows_topics_and_groups_so_often_as_it_is_told() {
    let dir = temporary();
    let broker = Serve::start(dir.path(), &free_port());
    broker.succeed(&["topic", "create", "t", "--partitions", "2"], b"");
    broker.succeed(&["produce", "t"], b"one\ntwo\nthree\n");
    broker.succeed(&["consume", "t", "--group", "g", "--max", "1"], b"");
    let shown = broker.succeed(
        &["top", "--count", "2", "--interval", "100ms", "--json"],
        b"",
    );
    let looks: Vec<Value> = text(&shown).lines().map(parsed).collect();
    assert_eq!(looks.len(), 2);
    let topic = &looks[1]["topics"][0];
    assert_eq!((&topic["topic"], &topic["end"]), (&"t".into(), &3.into()));
    assert_eq!(looks[0]["topics"][0]["records_per_s"], Value::Null);
    assert_eq!(topic["records_per_s"], 0.0);
    assert_eq!(looks[1]["groups"][0]["group"], "g");
    let plain = text(&broker.succeed(&["top", "--count", "1"], b""));
    assert!(plain.starts_with("TOPIC "), "{plain}");
    assert!(!plain.contains('\u{1b}'), "{plain:?}");
}

#[test]
fn a_supervisor_is_told_that_the_broker_is_ready_lives_and_stops() {
    let dir = temporary();
    let ears = dir.path().join("ears");
    let socket = UnixDatagram::bind(&ears).expect("sockets can be here");
    let data = dir.path().join("data");
    let mut command = serve(&data, &free_port());
    command
        .env("NOTIFY_SOCKET", &ears)
        .env("WATCHDOG_USEC", "20000");
    let mut process = command.spawn().expect("it is there");
    let hear = || {
        let mut heard = [0; 256];
        let length = socket.recv(&mut heard).expect("something is said");
        text(&heard[..length])
    };
    assert_eq!(hear(), "READY=1\nSTATUS=it takes calls");
    for _ in 0..3 {
        assert_eq!(hear(), "WATCHDOG=1");
    }
    let id = rustix::process::Pid::from_child(&process);
    rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("it runs");
    let last = loop {
        let heard = hear();
        if heard != "WATCHDOG=1" {
            break heard;
        }
    };
    assert!(last.starts_with("STOPPING=1\n"), "{last}");
    assert_eq!(process.wait().expect("it was started here").code(), Some(0));
}
