//! Access control with the real binary: tokens, grants that change while the broker runs, the audit
//! log.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use super::{
    Serve, assert_does_not_start, assert_fails, binary, free_port, objects, run, seen, serve,
    temporary, text,
};

/// Longer than any of these tests takes.
const PATIENCE: Duration = Duration::from_secs(60);

const GRANTS: &str = r#"
[[role]]
name = "writers"
principals = ["token:writer"]

[[grant]]
roles = ["writers"]
operations = ["append", "read", "topic-admin"]
topics = ["orders*"]
"#;

/// A broker with a configuration file, whose log goes to a file.
struct World {
    broker: Serve,
    config: PathBuf,
    log: PathBuf,
    dir: TempDir,
}

impl World {
    #[expect(
        clippy::disallowed_types,
        reason = "another process writes its log there"
    )]
    fn start(grants: &str) -> Self {
        let dir = temporary();
        let (config, log) = (dir.path().join("taffrail.toml"), dir.path().join("log"));
        fs::write(&config, grants).expect("there is room");
        let data = dir.path().join("data");
        let mut command = binary();
        command.args(["serve", "--log-format", "json", "--listen", &free_port()]);
        command.arg("--data-dir").arg(&data);
        command.arg("--config").arg(&config);
        command.stderr(fs::File::create(&log).expect("there is room"));
        let broker = Serve::spawn(&mut command);
        Self {
            broker,
            config,
            log,
            dir,
        }
    }

    /// Runs a command as an administrator on this machine.
    fn administer(&self, args: &[&str]) -> Output {
        let socket = format!("unix:{}", self.dir.path().join("data").display());
        let done = run(&[args, &["--server", &socket]].concat(), b"one\n");
        assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
        done
    }

    fn token(&self, name: &str) -> String {
        let created = self.administer(&["token", "create", name, "--expires", "90d"]);
        text(&created.stdout).trim().to_owned()
    }

    /// The lines of the audit log so far.
    fn audited(&self) -> Vec<Value> {
        let log = fs::read(&self.log).expect("it is there");
        let mut lines = objects(&log);
        lines.retain(|line| line["target"] == "audit");
        lines
    }

    fn logged(&self) -> String {
        text(&fs::read(&self.log).expect("it is there"))
    }
}

fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < PATIENCE, "it did not happen that {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_token_gives_what_its_name_is_granted_by_flag_variable_and_file() {
    let world = World::start(GRANTS);
    let token = world.token("writer");
    assert_fails(
        &world.broker.run(&["topic", "create", "orders"]),
        4,
        &["anonymous may not do \"topic-admin\" on topic \"orders\""],
    );
    world
        .broker
        .succeed(&["topic", "create", "orders", "--token", &token], b"");
    let file = world.dir.path().join("token");
    fs::write(&file, format!("{token}\n")).expect("there is room");
    let file = file.to_str().expect("it is text");
    world
        .broker
        .succeed(&["produce", "orders", "--token-file", file], b"one\n");
    let read = binary()
        .args([
            "consume",
            "orders",
            "--format",
            "value",
            "--server",
            &world.broker.url,
        ])
        .env("TAFFRAIL_TOKEN", &token)
        .output()
        .expect("the binary is there");
    assert_eq!(text(&read.stdout), "one\n", "{}", text(&read.stderr));
    let denied = world
        .broker
        .run(&["topic", "create", "payments", "--token", &token]);
    assert_fails(
        &denied,
        4,
        &["token:writer may not do \"topic-admin\" on topic \"payments\""],
    );
    let denied = world.broker.run(&["status", "--token", &token]);
    assert_fails(
        &denied,
        4,
        &["token:writer may not do \"admin\" on the broker"],
    );
    let wrong = world
        .broker
        .run(&["topic", "list", "--token", &format!("{token}0")]);
    assert_fails(
        &wrong,
        4,
        &["`authorization` is not one `Bearer` with a token"],
    );
    assert_fails(
        &world.broker.run(&["topic", "list", "--token", "a b"]),
        2,
        &["no access token"],
    );
    let away = run(
        &[
            "topic",
            "list",
            "--token",
            &token,
            "--server",
            "http://192.0.2.1:1",
        ],
        b"",
    );
    assert_fails(&away, 2, &["without encryption"]);
}

#[test]
fn tokens_are_listed_without_their_texts_and_revoked_by_name_or_id() {
    let world = World::start(GRANTS);
    let (one, other) = (world.token("writer"), world.token("writer"));
    assert_ne!(one, other);
    let listed = text(&world.administer(&["token", "list", "--json"]).stdout);
    let tokens: Value = serde_json::from_str(&listed).expect("JSON");
    assert_eq!(tokens["tokens"].as_array().map(Vec::len), Some(2));
    let secret = |token: &str| {
        token
            .rsplit('_')
            .next()
            .map(str::to_owned)
            .expect("a secret")
    };
    assert!(!listed.contains(&secret(&one)) && !world.logged().contains(&secret(&one)));
    let id = one.split('_').nth(1).expect("it has an id");
    world.administer(&["token", "revoke", id, "--yes"]);
    let list = |token: &str| world.broker.run(&["topic", "list", "--token", token]);
    assert_fails(
        &list(&one),
        4,
        &["does not know the token, or it was revoked"],
    );
    assert_eq!(list(&other).status.code(), Some(0));
    world.administer(&["token", "revoke", "writer", "--yes"]);
    assert_fails(
        &list(&other),
        4,
        &["does not know the token, or it was revoked"],
    );
    let socket = format!("unix:{}", world.dir.path().join("data").display());
    let absent = run(
        &["token", "revoke", "writer", "--yes", "--server", &socket],
        b"",
    );
    assert_fails(
        &absent,
        4,
        &["there is no token with the name or the id \"writer\""],
    );
}

#[test]
fn a_change_of_the_file_counts_and_one_that_is_wrong_is_told_with_its_line() {
    let world = World::start(GRANTS);
    let token = world.token("writer");
    world.administer(&["topic", "create", "orders"]);
    world.administer(&["produce", "orders"]);
    let mut follower = binary()
        .args([
            "consume",
            "orders",
            "--follow",
            "--retry-for",
            "1s",
            "--token",
            &token,
        ])
        .args(["--server", &world.broker.url])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary is there");
    let describe = || {
        let args = ["topic", "describe", "orders", "--token", &token];
        world.broker.run(&args).status.code()
    };
    assert_eq!(describe(), Some(0));
    let wrong = GRANTS.replace("topic-admin", "topicadmin");
    fs::write(&world.config, wrong).expect("there is room");
    wait_until("the wrong file is refused", || {
        let said = "taffrail.toml, line 8: there is no operation";
        world.logged().contains(said)
    });
    assert_eq!(describe(), Some(0), "what was granted before counts");
    let others = GRANTS.replace("token:writer", "token:other");
    fs::write(&world.config, others).expect("there is room");
    wait_until("the change counts", || describe() == Some(4));
    let since = Instant::now();
    let ended = follower.wait().expect("it was started here");
    assert_eq!(ended.code(), Some(4), "the stream was ended");
    assert!(since.elapsed() < PATIENCE);
}

#[test]
fn denials_and_what_administrators_do_are_in_the_audit_log() {
    let world = World::start(GRANTS);
    let token = world.token("writer");
    world.administer(&["topic", "create", "payments"]);
    let denied = world
        .broker
        .run(&["produce", "payments", "--token", &token]);
    assert_eq!(denied.status.code(), Some(4));
    world
        .broker
        .run(&["topic", "create", "orders", "--token", &token]);
    world
        .broker
        .run(&["topic", "create", "orders", "--token", &token]);
    world.administer(&["token", "revoke", "writer", "--yes"]);
    let audited = world.audited();
    let told = |fields: &[(&str, &str)]| {
        let is_told = |line: &&Value| fields.iter().all(|(name, value)| line[*name] == *value);
        let found = audited.iter().find(is_told);
        assert!(found.is_some(), "no {fields:?} in {audited:#?}");
    };
    let admin = ("principal", "local-admin");
    let writer = ("principal", "token:writer");
    told(&[
        admin,
        ("operation", "create a token"),
        ("resource", "token \"writer\""),
    ]);
    told(&[admin, ("operation", "create a topic"), ("outcome", "done")]);
    told(&[
        writer,
        ("operation", "read"),
        ("resource", "topic \"payments\""),
        ("outcome", "denied"),
    ]);
    told(&[writer, ("operation", "create a topic"), ("outcome", "done")]);
    told(&[
        writer,
        ("operation", "create a topic"),
        ("outcome", "failed"),
    ]);
    told(&[admin, ("operation", "revoke tokens"), ("outcome", "done")]);
    let has_address = |line: &Value| line["address"].as_str().is_some_and(|at| !at.is_empty());
    assert!(audited.iter().all(has_address), "{audited:#?}");
}

#[test]
fn the_audit_log_is_in_a_topic_that_nobody_but_the_broker_appends_to() {
    let world = World::start(&format!("[audit]\ntopic = 'audit'\n{GRANTS}"));
    let token = world.token("writer");
    let denied = world
        .broker
        .run(&["topic", "create", "payments", "--token", &token]);
    assert_eq!(denied.status.code(), Some(4));
    let socket = format!("unix:{}", world.dir.path().join("data").display());
    let forged = run(&["produce", "audit", "--server", &socket], b"{}\n");
    assert_fails(
        &forged,
        4,
        &["local-admin may not do \"append\" on topic \"audit\""],
    );
    let read = || {
        let args = ["consume", "audit", "--format", "value", "--server", &socket];
        let read = run(&args, b"");
        let error = text(&read.stderr);
        // The broker creates it beside what it does for callers.
        let is_there = read.status.code() == Some(0);
        assert!(is_there || error.contains("there is no topic"), "{error}");
        objects(&read.stdout)
    };
    let is_there = |principal: &str, operation: &str, resource: &str, outcome: &str| {
        let records = read();
        let mut records = records.iter();
        records.any(|record| {
            record["principal"] == principal
                && record["operation"] == operation
                && record["resource"] == resource
                && record["outcome"] == outcome
                && record["time_ms"].is_i64()
        })
    };
    wait_until("all of it is there", || {
        is_there("local-admin", "create a token", "token \"writer\"", "done")
            && is_there(
                "token:writer",
                "topic-admin",
                "topic \"payments\"",
                "denied",
            )
            && is_there("local-admin", "append", "topic \"audit\"", "denied")
    });
    // Deleting the topic is an act, which is recorded in the topic when it was created again.
    world.administer(&["topic", "delete", "audit", "--yes"]);
    wait_until("it is made again", || {
        let args = ["topic", "describe", "audit", "--server", &socket];
        run(&args, b"").status.code() == Some(0)
            && is_there("local-admin", "delete a topic", "topic \"audit\"", "done")
    });
    let (_, metrics) = seen::get(&seen::address(&world.broker), "/metrics", "*/*");
    for line in [
        "taffrail_audit_lost_records_total 0",
        "taffrail_call_refusals_total{reason=\"PERMISSION_DENIED\"}",
    ] {
        assert!(metrics.contains(line), "no {line} in {metrics}");
    }
}

#[test]
fn a_broker_does_not_start_with_rules_that_are_wrong() {
    let dir = temporary();
    let config = dir.path().join("taffrail.toml");
    let start = |grants: &str| {
        fs::write(&config, grants).expect("there is room");
        let mut command = serve(Path::new("data"), &free_port());
        command.current_dir(dir.path()).arg("--config").arg(&config);
        command
    };
    let wrong = GRANTS.replace("append", "apend");
    assert_does_not_start(
        &mut start(&wrong),
        &["taffrail.toml, line 8", "there is no operation \"apend\""],
    );
    let wrong = GRANTS.replace("writers\"]", "wrters\"]");
    assert_does_not_start(
        &mut start(&wrong),
        &["line 7", "there is no role \"wrters\""],
    );
}
