//! Command lines: values that look like flags, invalid flags, and numbers that were meant as
//! something else.

use std::process::Stdio;

use super::{
    assert_does_not_start, assert_fails, binary, objects, run, serve, started, temporary, text,
};

#[test]
fn a_value_may_begin_with_a_dash() {
    let (_dir, broker) = started();
    broker.succeed(&["topic", "create", "t"], b"");
    let keys = ["-1", "-aB", "--", "-", "--key", "-hB"];
    for key in keys {
        broker.succeed(&["produce", "t", "--key", key], b"x\n");
        broker.succeed(&["produce", "t", &format!("--key={key}")], b"y\n");
    }
    for key in ["-1", "-aB", "-", "--kay", "-hB"] {
        let records = objects(&broker.succeed(&["entity", "read", "t", key, "--json"], b""));
        assert_eq!(records.len(), if key == "--kay" { 0 } else { 2 }, "{key}");
    }
    let on = ["entity", "read", "t", "--json", "--server", &broker.url];
    let escaped = run(&[&on[..], &["--", "--key"]].concat(), b"");
    assert_eq!(
        objects(&escaped.stdout).len(),
        2,
        "{}",
        text(&escaped.stderr)
    );
    let latest = broker.succeed(&["entity", "latest", "t", "-1", "-aB", "--json"], b"");
    let versions: Vec<_> = objects(&latest)
        .iter()
        .map(|entry| entry["version"].clone())
        .collect();
    assert_eq!(versions, [2, 2]);
    let on = [
        "entity",
        "--json",
        "latest",
        "--server",
        &broker.url,
        "t",
        "-",
    ];
    let escaped = run(&[&on[..], &["--", "--key", "--json"]].concat(), b"");
    let found = objects(&escaped.stdout);
    for (entry, (key, version)) in found.iter().zip([("-", 2), ("--key", 2), ("--json", 0)]) {
        assert_eq!(
            (&entry["key"], &entry["version"]),
            (&key.into(), &version.into())
        );
    }
    assert_eq!(found.len(), 3);
    let erased = broker.json(&["entity", "erase", "t", "-aB", "--wait"]);
    assert_eq!(
        (&erased["key"], &erased["through_version"]),
        (&"-aB".into(), &2.into())
    );

    let line = b"{\"-k\":\"-v\"}\n";
    broker.succeed(&["produce", "t", "--key-field", "-k", "--file", "-"], line);
    let found = broker.succeed(&["entity", "read", "t", "-v", "--json"], b"");
    assert_eq!(objects(&found).len(), 1);
    // A misspelt flag is still reported as such.
    assert_fails(
        &broker.run(&["entity", "read", "t", "k", "--bakward"]),
        2,
        &["--bakward"],
    );
    assert_fails(&broker.run(&["consume", "t", "--folow"]), 2, &["--folow"]);
    assert_fails(
        &broker.run(&["consume", "t", "--from", "-1"]),
        2,
        &["-1", "-12h"],
    );
}

#[test]
fn numbers_and_settings_that_cannot_be_meant_are_refused() {
    let (_dir, broker) = started();
    let create = ["topic", "create", "t"];
    let created = |more: &[&str]| broker.run(&[&create[..], more].concat());
    assert_fails(&created(&["--partitions", "0"]), 2, &["--partitions"]);
    let twice = [
        "--set",
        "segment.ms=1h",
        "--set",
        "keys=plain",
        "--set",
        "segment.ms=2h",
    ];
    assert_fails(&created(&twice), 2, &["segment.ms", "twice"]);
    assert_fails(
        &created(&["--set", "keys=versoined"]),
        4,
        &["versioned", "plain"],
    );
    broker.succeed(&create, b"");
    let altered = |more: &[&str]| broker.run(&[&["topic", "alter", "t"], more].concat());
    let both = ["--set", "segment.ms=1h", "--reset", "segment.ms"];
    assert_fails(&altered(&both), 2, &["segment.ms", "twice"]);
    let reset = ["--reset", "segment.ms", "--reset", "segment.ms"];
    assert_fails(&altered(&reset), 2, &["segment.ms", "twice"]);
    assert_fails(&altered(&twice), 2, &["segment.ms", "twice"]);
    let bench = [
        "bench",
        "append",
        "--set",
        "durability=os",
        "--set",
        "durability=sync",
    ];
    assert_fails(&broker.run(&bench), 2, &["durability", "twice"]);
}

#[test]
fn a_measured_group_has_a_partition_for_every_member() {
    let (_dir, broker) = started();
    let bench = |more: &[&str]| broker.run(&[&["bench", "consume"], more].concat());
    let too_many = ["--members", "3", "--partitions", "2"];
    assert_fails(&bench(&too_many), 2, &["--members", "--partitions", "2"]);
    assert_fails(&bench(&["--members", "0"]), 2, &["--members", "at least 1"]);
    let both = ["--members", "1", "--consumers", "1"];
    assert_fails(&bench(&both), 2, &["--members", "--consumers"]);
}

#[test]
fn an_offset_that_looks_like_a_time_is_told_so() {
    let (_dir, broker) = started();
    broker.succeed(&["topic", "create", "t"], b"");
    for number in ["1700000000", "1700000000000", "1700000000000000000"] {
        let refused = broker.run(&["consume", "t", "--from", number]);
        assert_fails(&refused, 4, &["time", "2023-11-14T22:13:20"]);
        let trim = ["topic", "trim", "t", "--partition", "0", "--before", number];
        assert_fails(&broker.run(&trim), 4, &["time", "2023-11-14T22:13:20"]);
    }
    let small = text(&broker.run(&["consume", "t", "--from", "7"]).stderr);
    assert!(!small.contains("time"), "{small}");
}

#[test]
fn a_server_without_a_port_has_that_of_a_broker() {
    for server in [
        "127.0.0.9",
        "http://127.0.0.9",
        "http://127.0.0.9/",
        "127.0.0.9:",
    ] {
        let failed = run(&["topic", "list", "--server", server], b"");
        assert_fails(&failed, 5, &["http://127.0.0.9:9640", "no port"]);
    }
    let failed = run(&["topic", "list", "--server", "127.0.0.9:80"], b"");
    assert_fails(&failed, 5, &["http://127.0.0.9:80"]);
    assert!(
        !text(&failed.stderr).contains("9640"),
        "{}",
        text(&failed.stderr)
    );
}

#[test]
fn a_server_whose_port_is_none_is_not_taken_for_another() {
    for (server, port) in [
        ("http://127.0.0.9:99999", "\"99999\""),
        ("127.0.0.9:65536", "\"65536\""),
        ("http://127.0.0.9:0", "\"0\""),
        ("[::1]:70000", "\"70000\""),
    ] {
        let failed = run(&["topic", "list", "--server", server], b"");
        assert_fails(&failed, 2, &[port, "65535"]);
    }
    let failed = run(&["topic", "list", "--server", "127.0.0.9:96x"], b"");
    assert_fails(&failed, 2, &["96x"]);
    let failed = run(&["topic", "list", "--server", ""], b"");
    assert_fails(&failed, 2, &["--server is empty", "http://127.0.0.1:9640"]);
    for command in [&["topic", "list"][..], &["bench", "append"]] {
        let mut command_line = binary();
        command_line.args(command).stdin(Stdio::null());
        let failed = command_line.env("TAFFRAIL_SERVER", "").output();
        let failed = failed.expect("the binary is there");
        assert_fails(&failed, 2, &["TAFFRAIL_SERVER is empty", "http://"]);
    }
}

#[test]
fn a_log_level_that_there_is_not_is_refused_with_those_that_there_are() {
    let dir = temporary();
    for level in [
        "warning",
        "err",
        "loud",
        "inof",
        "",
        ",",
        "info,taffrail::server=verbose",
        "7",
    ] {
        let mut command = binary();
        command
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(["--log-level", level, "--data-dir"])
            .arg(dir.path().join("data"));
        let says = ["log.level", "error, warn, info, debug", "command line"];
        assert_does_not_start(&mut command, &says);
    }
    let mut command = serve(&dir.path().join("data"), "127.0.0.1:0");
    let says = ["log.format", "text", "json"];
    assert_does_not_start(command.args(["--log-format", "jsn"]), &says);
}
