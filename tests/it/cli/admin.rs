//! Administration over the socket in the data directory, also when no connection is free on the
//! port.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{Serve, assert_fails, binary, free_port, run, serve, started, temporary, text};

fn at(path: &Path) -> String {
    format!("unix:{}", path.display())
}

/// A directory whose path is too long for a socket in it.
fn long_directory(dir: &Path) -> PathBuf {
    let long = dir.join("x".repeat(120));
    fs::create_dir(&long).expect("there is room");
    long
}

#[test]
fn an_administrator_gets_in_where_no_place_is_free_on_the_port() {
    let dir = temporary();
    let mut command = serve(dir.path(), &free_port());
    command.env("TAFFRAIL_SERVER_MAX_CONNECTIONS", "1");
    let broker = Serve::spawn(&mut command);
    let address = at(dir.path());
    let administer = |args: &[&str]| {
        let done = run(&[args, &["--server", &address]].concat(), b"one\n");
        assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
    };
    administer(&["topic", "create", "t"]);
    administer(&["produce", "t"]);
    // A client with a call under way keeps its connection.
    let mut follower = binary()
        .args(["consume", "t", "--follow", "--format", "value"])
        .args(["--server", &broker.url])
        .spawn()
        .expect("the binary is there");
    let mut line = String::new();
    // The command ends when its output is closed.
    let mut out = BufReader::new(follower.stdout.take().expect("it is piped"));
    out.read_line(&mut line).expect("it reads");
    assert_eq!(line, "one\n");
    assert_fails(&broker.run(&["topic", "list"]), 5, &["not available"]);
    administer(&["topic", "list"]);
    let socket = at(&dir.path().join("admin.sock"));
    let listed = run(&["topic", "list", "--server", &socket], b"");
    assert_eq!(listed.status.code(), Some(0), "{}", text(&listed.stderr));
    follower.kill().expect("it runs");
    follower.wait().expect("it was started here");
    drop(out);
}

#[test]
fn where_there_is_no_connection_to_a_socket_it_is_said_why() {
    let (dir, broker) = started();
    let address = at(dir.path());
    let list = |address: &str| run(&["topic", "list", "--server", address], b"");
    let nowhere = dir.path().join("nowhere");
    assert_fails(&list(&at(&nowhere)), 5, &["there is no socket", "nowhere"]);
    assert_fails(&list("unix:"), 2, &["the path of the socket is missing"]);

    broker.kill();
    let left = dir.path().join("admin.sock");
    assert_fails(&list(&address), 5, &["nobody listens on", "admin.sock"]);
    assert_fails(&list(&at(&left)), 5, &["nobody listens on", "admin.sock"]);

    let broker = Serve::start(dir.path(), &free_port());
    assert_eq!(
        list(&address).status.code(),
        Some(0),
        "what was left is replaced"
    );
    assert_eq!(broker.stop(), Some(0));
    assert!(!fs::exists(&left).expect("the directory is there"));
    assert_fails(&list(&address), 5, &["there is no socket", "admin.sock"]);

    let long = long_directory(dir.path());
    assert_fails(&list(&at(&long)), 5, &["is too long for a socket"]);
}

#[test]
fn a_broker_whose_directory_cannot_hold_a_socket_says_so_and_serves() {
    let dir = temporary();
    let mut broker = Serve::spawn(
        binary()
            .args([
                "serve",
                "--log-level",
                "warn",
                "--listen",
                &free_port(),
                "--data-dir",
            ])
            .arg(long_directory(dir.path())),
    );
    broker.succeed(&["topic", "create", "t"], b"");
    let errors = broker.process.stderr.take().expect("it is piped");
    assert_eq!(broker.stop(), Some(0));
    let log = std::io::read_to_string(errors).expect("it is text");
    assert!(
        log.contains("there is no socket for administrators"),
        "{log}"
    );
    assert!(log.contains("too long for a socket"), "{log}");
}

#[test]
fn the_status_says_what_there_is_and_what_there_may_be() {
    let (dir, broker) = started();
    broker.succeed(&["topic", "create", "t", "--partitions", "3"], b"");
    broker.succeed(&["produce", "t"], b"one\n");
    let status = run(&["status", "--json", "--server", &at(dir.path())], b"");
    let status: Value = serde_json::from_slice(&status.stdout).expect("it is JSON");
    let absolute = fs::canonicalize(dir.path()).expect("it is there");
    assert_eq!(status["data_dir"], absolute.to_str().expect("UTF-8"));
    assert!(status["failure"].is_null(), "{status}");
    assert_eq!(
        (&status["topics"], &status["partitions"]),
        (&1.into(), &3.into())
    );
    assert_eq!(status["producers"], 1);
    assert_eq!(status["administrators"]["now"], 1);
    assert_eq!(status["administrators"]["limit"], 16);
    assert!(
        status["connections"]["most"].as_u64() >= Some(1),
        "{status}"
    );
    assert_eq!(status["calls"]["now"], 1, "the one that asks");
    let memory = status["memory"].as_array().expect("a list");
    let appends = memory.iter().find(|part| part["name"] == "appends");
    let appends = appends.expect("it is a part of it");
    assert!(appends["most_bytes"].as_u64() > Some(0), "{appends}");
    assert!(
        appends["bound_bytes"].as_u64() > appends["most_bytes"].as_u64(),
        "{appends}"
    );
    assert!(status["disk_free_bytes"].as_u64() > Some(0), "{status}");
    assert_eq!(status["journal_files_limit"], 4);

    let shown = text(&broker.succeed(&["status"], b""));
    for part in [
        "appends",
        "connections",
        "open files",
        "journal files",
        "are kept free",
    ] {
        assert!(shown.contains(part), "{shown}");
    }
}

#[test]
fn the_limits_are_shown_as_they_are_set_with_the_version() {
    let dir = temporary();
    let mut command = serve(dir.path(), "127.0.0.1:0");
    command.env("TAFFRAIL_MEMORY_CATALOG_BYTES", "64MiB");
    let broker = Serve::spawn(command.env("TAFFRAIL_SERVER_MAX_CONNECTIONS", "17"));
    let shown = broker.json(&["status", "--limits"]);
    assert_eq!(shown["version"], env!("CARGO_PKG_VERSION"));
    let limits = shown["limits"].as_array().expect("a list");
    let find = |name: &str| {
        let found = limits.iter().find(|limit| limit["name"] == name);
        found.unwrap_or_else(|| panic!("no {name} in {shown}"))
    };
    let connections = find("connections");
    assert_eq!(connections["most"], 17);
    assert_eq!(connections["setting"], "server.max_connections");
    let groups = find("groups_bytes");
    assert_eq!(groups["most"], 32 << 20);
    assert_eq!(groups["setting"], "memory.catalog_bytes");
    let record = find("record_bytes");
    assert_eq!(
        (&record["most"], &record["unit"]),
        (&(8 << 20).into(), &"bytes".into())
    );
    let text = text(&broker.succeed(&["status", "--limits"], b""));
    assert!(
        text.contains("8,388,608") && text.contains("server.max_connections"),
        "{text}"
    );
}
