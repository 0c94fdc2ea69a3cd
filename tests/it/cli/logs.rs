//! The log of `serve`, by level.

use std::{fs, path::Path};

use serde_json::Value;

use super::{Serve, logging, run, seen, temporary, text};

/// A broker that logs JSON to a file.
fn logged(dir: &Path, level: &str) -> Serve {
    logged_with(dir, level, "off")
}

/// A broker that logs JSON to a file, with HTTP at this address.
fn logged_with(dir: &Path, level: &str, http: &str) -> Serve {
    let log = dir.join("log");
    #[expect(
        clippy::disallowed_types,
        reason = "the file is the test's, for another process"
    )]
    let log = fs::File::options().create(true).append(true).open(log);
    let mut command = logging(&dir.join("data"), "127.0.0.1:0", level);
    command.args(["--log-format", "json", "--http-listen", http]);
    Serve::spawn(command.stderr(log.expect("there is room")))
}

fn lines(dir: &Path) -> Vec<Value> {
    let log = fs::read(dir.join("log")).expect("it is there");
    super::objects(&log)
}

/// The lines whose message begins with this.
fn with<'a>(lines: &'a [Value], message: &str) -> Vec<&'a Value> {
    let begins = |line: &&Value| {
        let said = line["message"].as_str().expect("every line has a message");
        said.starts_with(message)
    };
    lines.iter().filter(begins).collect()
}

#[test]
fn at_info_the_log_has_the_start_and_who_has_changed_what() {
    let dir = temporary();
    let broker = logged(dir.path(), "info");
    broker.succeed(&["topic", "create", "t", "--partitions", "3"], b"");
    broker.succeed(&["topic", "alter", "t", "--set", "segment.ms=1h"], b"");
    broker.succeed(&["produce", "t", "--key", "k"], b"x\n");
    broker.succeed(&["entity", "erase", "t", "k"], b"");
    broker.succeed(&["topic", "create", "u"], b"");
    let data = dir.path().join("data");
    let admin = format!("unix:{}", data.display());
    let deleted = run(&["topic", "delete", "u", "--server", &admin], b"");
    assert_eq!(deleted.status.code(), Some(0), "{}", text(&deleted.stderr));
    broker.kill();
    // How many entries are not covered depends on when the last checkpoint was written.
    let inspected = run(&["inspect", &data.display().to_string(), "--json"], b"");
    let left = &super::objects(&inspected.stdout)[0];
    let end = left["journal"]["end"].as_u64().expect("a number");
    let applied = left["checkpoint"]["applied"].as_u64().expect("a number");
    assert_eq!(logged(dir.path(), "info").stop(), Some(0));

    let lines = lines(dir.path());
    let starts = with(&lines, concat!("taffrail ", env!("CARGO_PKG_VERSION")));
    assert_eq!(starts.len(), 2);
    let said = starts[0]["message"].as_str().expect("text");
    assert!(said.ends_with(&data.display().to_string()), "{said}");
    let recovered = with(&lines, "the data directory is recovered");
    assert_eq!(
        with(&lines, "the data directory has no topics yet").len(),
        1
    );
    assert_eq!(recovered.len(), 1, "the first start found nothing");
    assert_eq!(
        (&recovered[0]["topics"], &recovered[0]["partitions"]),
        (&1.into(), &3.into())
    );
    assert_eq!(recovered[0]["journal_entries"], end - applied);
    let acts = with(&lines, "a caller has acted");
    assert_eq!(acts[1]["details"], "segment.ms=1h", "{}", acts[1]);
    let mut done = Vec::new();
    for act in acts {
        let word = |name: &str| act[name].as_str().expect("text").to_owned();
        assert_eq!(
            (&*word("outcome"), &*word("level")),
            ("done", "INFO"),
            "{act}"
        );
        done.push([word("principal"), word("operation"), word("resource")].join(" "));
    }
    assert_eq!(
        done,
        [
            "anonymous create a topic topic \"t\"",
            "anonymous alter a topic topic \"t\"",
            "anonymous erase an entity topic \"t\"",
            "anonymous create a topic topic \"u\"",
            "local-admin delete a topic topic \"u\"",
        ]
    );
    assert!(
        with(&lines, "a call has ended").is_empty(),
        "that is for debug"
    );
}

#[test]
fn at_debug_the_log_has_connections_and_calls_with_their_status_and_time() {
    let dir = temporary();
    let broker = logged(dir.path(), "debug");
    broker.succeed(&["topic", "create", "t"], b"");
    let again = broker.run(&["topic", "create", "t"]);
    assert_eq!(again.status.code(), Some(4));
    broker.succeed(&["consume", "t"], b"");
    assert_eq!(broker.stop(), Some(0));

    let lines = lines(dir.path());
    assert_eq!(with(&lines, "a client has connected").len(), 3);
    assert_eq!(with(&lines, "a connection has ended").len(), 3);
    let mut calls = Vec::new();
    for call in with(&lines, "a call has ended") {
        assert!(call["microseconds"].is_u64(), "{call}");
        assert!(
            call["address"].as_str().expect("text").starts_with("127."),
            "{call}"
        );
        calls.push((
            call["path"].as_str().expect("text"),
            call["code"].as_str().expect("text"),
        ));
    }
    let created = "/taffrail.v1.Topics/Create";
    assert!(calls.contains(&(created, "OK")), "{calls:?}");
    assert!(calls.contains(&(created, "ALREADY_EXISTS")), "{calls:?}");
    assert!(
        calls.contains(&("/taffrail.v1.Log/ListOffsets", "OK")),
        "{calls:?}"
    );
}

#[test]
fn at_debug_the_log_has_connections_and_calls_over_http() {
    let dir = temporary();
    let broker = logged_with(dir.path(), "debug", "127.0.0.1:0");
    let address = seen::address(&broker);
    for path in ["/readyz", "/v1/topics"] {
        let (header, _) = seen::get(&address, path, "*/*");
        assert!(header.starts_with("HTTP/1.1 200"), "{header}");
    }
    assert_eq!(broker.stop(), Some(0));

    let lines = lines(dir.path());
    assert_eq!(with(&lines, "a client has connected over HTTP").len(), 2);
    let ended = with(&lines, "a connection over HTTP has ended");
    assert_eq!(ended.len(), 2);
    for line in ended {
        let address = line["address"].as_str().expect("text");
        assert!(address.starts_with("127."), "{line}");
    }
    let calls = with(&lines, "a call has ended");
    assert_eq!(calls.len(), 1, "{calls:?}");
    assert_eq!(calls[0]["path"], "/taffrail.v1.Topics/List");
    assert_eq!(calls[0]["code"], "OK");
}
