//! Errors and hints of commands that fail, as text and as JSON.

use std::process::Stdio;

use serde_json::Value;

use super::{assert_fails, binary, free_port, objects, run, serve, started, temporary, text};

/// The single JSON object on standard error.
fn error(output: &std::process::Output) -> Value {
    let said = objects(&output.stderr);
    assert_eq!(said.len(), 1, "{}", text(&output.stderr));
    said[0]["error"].clone()
}

#[test]
fn a_topic_whose_name_is_nearly_right_is_asked_for() {
    let (_dir, broker) = started();
    broker.succeed(&["topic", "create", "orders"], b"");
    for command in [
        &["consume", "ordres"][..],
        &["produce", "ordres"],
        &["topic", "describe", "Orders"],
        &["topic", "delete", "order"],
        &["topic", "trim", "orderss", "--before", "-1d"],
        &["entity", "read", "ordrs", "k"],
        &["entity", "latest", "ordrs", "k"],
        &["group", "reset", "g", "--to", "latest", "--topic", "ordrs"],
        &["consume", "ordrs", "--group", "g"],
    ] {
        let failed = broker.run(command);
        assert_fails(&failed, 4, &["did you mean \"orders\"?"]);
        let said = text(&failed.stderr);
        assert!(!said.contains("create it"), "{said}");
    }
    // A name that is too different is not suggested.
    let produce = broker.run_with(&["produce", "shop"], b"x\n");
    assert_fails(
        &produce,
        4,
        &[
            "\"shop\"",
            "taffrail topic create shop",
            "nothing was stored",
        ],
    );
    let consume = broker.run(&["consume", "shop"]);
    assert_fails(&consume, 4, &["\"shop\"", "taffrail topic list"]);
    assert!(
        !text(&consume.stderr).contains("create"),
        "{}",
        text(&consume.stderr)
    );
}

#[test]
fn only_topics_that_the_caller_may_see_are_asked_for() {
    let dir = temporary();
    let config = dir.path().join("taffrail.toml");
    let grants = "[[grant]]\nprincipals = [\"anonymous\"]\noperations = [\"read\"]\n\
                  topics = [\"orders\"]\n";
    std::fs::write(&config, grants).expect("there is room");
    let data = dir.path().join("data");
    let mut command = serve(&data, &free_port());
    let broker = super::Serve::spawn(command.arg("--config").arg(&config));
    let admin = format!("unix:{}", data.display());
    for topic in ["orders", "secrets"] {
        let created = run(&["topic", "create", topic, "--server", &admin], b"");
        assert_eq!(created.status.code(), Some(0), "{}", text(&created.stderr));
    }
    assert_fails(
        &broker.run(&["consume", "ordres"]),
        4,
        &["did you mean \"orders\"?"],
    );
    let hidden = broker.run(&["consume", "secrest"]);
    assert_fails(&hidden, 4, &["no grant allows it"]);
    assert!(
        !text(&hidden.stderr).contains("did you mean"),
        "{}",
        text(&hidden.stderr)
    );
    let made = broker.run(&["topic", "create", "orders2"]);
    assert_fails(&made, 4, &["no grant allows it"]);
    let said = text(&made.stderr);
    assert!(!said.contains("did you mean"), "{said}");
    let seen = run(&["consume", "secrest", "--server", &admin], b"");
    assert_fails(&seen, 4, &["did you mean \"secrets\"?"]);
}

#[test]
fn errors_are_objects_with_the_reasons_of_the_api_where_json_is_asked_for() {
    let (dir, broker) = started();
    broker.succeed(&["topic", "create", "orders"], b"");
    broker.succeed(&["produce", "orders", "--key", "k"], b"x\n");
    for (command, reason, code) in [
        (&["consume", "ordres"][..], "UNKNOWN_TOPIC", 4),
        (&["topic", "create", "orders"], "TOPIC_EXISTS", 4),
        (
            &["consume", "orders", "--from", "7"],
            "OFFSET_OUT_OF_RANGE",
            4,
        ),
        (
            &["consume", "orders", "--partition", "7"],
            "UNKNOWN_PARTITION",
            4,
        ),
        (&["consume", "orders", "--from", "soon"], "USAGE", 2),
        (&["consume", "orders", "--folow"], "USAGE", 2),
        (&["consume"], "USAGE", 2),
        (&["nonsense"], "USAGE", 2),
        (&["produce", "orders", "--file", "/missing"], "FAILED", 1),
        (
            &["produce", "orders", "--key", "k", "--expect-version", "7"],
            "CONFLICT",
            3,
        ),
        (
            &["producer", "forget", "nobody", "--yes"],
            "UNKNOWN_PRODUCER",
            4,
        ),
    ] {
        let failed = broker.run_with(&[command, &["--json"]].concat(), b"y\n");
        let error = error(&failed);
        assert_eq!(failed.status.code(), Some(code), "{command:?}: {error}");
        assert_eq!(
            (&error["reason"], &error["exit_code"]),
            (&reason.into(), &code.into()),
            "{command:?}"
        );
        assert!(
            !error["message"].as_str().expect("text").is_empty(),
            "{error}"
        );
    }
    let unknown = error(&broker.run(&["consume", "ordres", "--json"]));
    assert_eq!(unknown["metadata"]["topic"], "ordres", "{unknown}");
    assert_eq!(unknown["code"], "NotFound", "{unknown}");
    assert_eq!(unknown["did_you_mean"], "orders", "{unknown}");

    // A remark, which is no error, is an object, too.
    let remarked = broker.run(&["entity", "read", "orders", "nobody", "--json"]);
    let remark = objects(&remarked.stderr).remove(0);
    assert!(
        remark["remark"]
            .as_str()
            .expect("text")
            .contains("no records"),
        "{remark}"
    );

    let url = broker.url.clone();
    broker.kill();
    let away = run(&["topic", "list", "--json", "--server", &url], b"");
    assert_eq!(away.status.code(), Some(5));
    assert_eq!(error(&away)["reason"], "UNAVAILABLE");
    let inspected = run(
        &[
            "inspect",
            "--json",
            dir.path().join("none").to_str().expect("UTF-8"),
        ],
        b"",
    );
    assert_eq!(error(&inspected)["reason"], "UNUSABLE");
}

#[test]
fn how_to_go_on_fits_the_command() {
    let (_dir, broker) = started();
    let usage = broker.run(&["topic", "trim", "t", "--before", "soon"]);
    assert_fails(&usage, 2, &["see: taffrail topic trim --help"]);
    let usage = broker.run(&["consume", "t", "--from", "soon"]);
    assert_fails(&usage, 2, &["see: taffrail consume --help"]);

    let elsewhere = run(&["topic", "list", "--server", "http://127.0.0.9:1"], b"");
    assert_fails(&elsewhere, 5, &["taffrail serve --listen 127.0.0.9:1"]);
    let far = run(
        &["topic", "list", "--server", "http://taffrail.invalid:9640"],
        b"",
    );
    assert_fails(&far, 5, &["is the address right?"]);
    assert!(
        !text(&far.stderr).contains("taffrail serve"),
        "{}",
        text(&far.stderr)
    );
}

#[test]
fn the_server_is_named_before_the_command_or_behind_it() {
    let (_dir, broker) = started();
    broker.succeed(&["topic", "create", "t"], b"");
    let server = ["--server", &broker.url];
    for words in [
        [&server[..], &["topic", "list", "--json"]].concat(),
        [&["--json"], &server[..], &["topic", "list"]].concat(),
        [&["topic"], &server[..], &["--json", "list"]].concat(),
        [&["topic", "list"], &server[..], &["--json"]].concat(),
        // If the flag is given twice, the one behind the command counts.
        [
            &["--server", "http://127.0.0.9:1", "--json", "topic", "list"][..],
            &server,
        ]
        .concat(),
    ] {
        let listed = run(&words, b"");
        assert_eq!(
            listed.status.code(),
            Some(0),
            "{words:?}: {}",
            text(&listed.stderr)
        );
        assert_eq!(
            objects(&listed.stdout)[0]["topics"][0]["name"],
            "t",
            "{words:?}"
        );
    }
    let latest = [
        &server[..],
        &["--json", "entity", "latest", "t", "-a", "--server"],
    ]
    .concat();
    let latest = run(&[&latest[..], &[&*broker.url]].concat(), b"");
    assert_eq!(
        objects(&latest.stdout)[0]["key"],
        "-a",
        "{}",
        text(&latest.stderr)
    );
    let dashboard = run(&[&server[..], &["dashboard"]].concat(), b"");
    assert_fails(
        &dashboard,
        2,
        &["--server is for commands that ask a broker", "dashboard"],
    );
    let version = run(&["--json", "version"], b"");
    assert_eq!(
        objects(&version.stdout)[0]["version"],
        env!("CARGO_PKG_VERSION")
    );
}

#[test]
fn every_help_says_which_codes_there_are() {
    for words in [
        &["--help"][..],
        &["-h"],
        &["serve", "--help"],
        &["topic", "--help"],
        &["topic", "create", "--help"],
        &["group", "reset", "-h"],
        &["bench", "append", "--help"],
        &["dashboard", "--help"],
    ] {
        let help = text(&run(words, b"").stdout);
        assert!(
            help.contains("Exit codes:\n  0   done"),
            "{words:?}: {help}"
        );
    }
}

#[test]
fn a_broker_whose_log_is_json_says_so_of_flags_that_are_wrong() {
    let log = ["serve", "--log-format", "json"];
    let mistyped = run(&[&log[..], &["--lisen", "x"]].concat(), b"");
    let line = objects(&mistyped.stderr).remove(0);
    assert_eq!(mistyped.status.code(), Some(2), "{line}");
    assert_eq!(line["level"], "ERROR", "{line}");
    assert!(
        line["message"].as_str().expect("text").contains("--lisen"),
        "{line}"
    );
    assert!(line["timestamp"].is_string() && line["target"].is_string());
    let mut command = binary();
    command.args(["serve", "--lisen", "x"]).stdin(Stdio::null());
    command.env("TAFFRAIL_LOG_FORMAT", "json");
    let mistyped = command.output().expect("the binary is there");
    assert_eq!(objects(&mistyped.stderr)[0]["level"], "ERROR");
    let dir = temporary();
    let [wrong, json] = ["wrong.toml", "json.toml"].map(|name| dir.path().join(name));
    std::fs::write(&wrong, "nonsense = 1\n").expect("there is room");
    std::fs::write(&json, "nonsense = 1\n[log]\nformat = \"json\"\n").expect("there is room");
    let no_such = dir.path().join("no-such.toml");
    for (variable, config, is_json) in [
        ("json", &wrong, true),
        ("json", &no_such, true),
        ("", &json, true),
        ("text", &json, false),
        ("", &wrong, false),
    ] {
        let mut command = binary();
        command
            .args(["serve", "--config"])
            .arg(config)
            .stdin(Stdio::null());
        if !variable.is_empty() {
            command.env("TAFFRAIL_LOG_FORMAT", variable);
        }
        let failed = command.output().expect("the binary is there");
        assert_eq!(failed.status.code(), Some(78), "{}", text(&failed.stderr));
        let line: Option<Value> = serde_json::from_slice(&failed.stderr).ok();
        assert_eq!(line.is_some(), is_json, "{}", text(&failed.stderr));
        assert!(line.is_none_or(|line| line["level"] == "ERROR"));
    }
}

#[test]
fn a_group_and_a_setting_whose_names_are_nearly_right_are_asked_for() {
    let (_dir, broker) = started();
    broker.succeed(&["topic", "create", "orders"], b"");
    broker.succeed(&["produce", "orders"], b"x\n");
    broker.succeed(&["consume", "orders", "--group", "billing"], b"");
    for command in [
        &["group", "describe", "biling"][..],
        &["group", "fork", "biling", "--as", "other"],
        &["group", "reset", "biling", "--to", "earliest"],
    ] {
        assert_fails(&broker.run(command), 4, &["did you mean \"billing\"?"]);
    }
    let unread = broker.run(&["group", "reset", "shipping", "--to", "earliest"]);
    assert_fails(&unread, 4, &["with --topic NAME"]);
    let said = text(&unread.stderr);
    assert!(!said.contains("malformed"), "{said}");
    for command in [&["topic", "alter", "orders"][..], &["topic", "create", "t"]] {
        let mistyped = broker.run(&[command, &["--set", "limit.polcy=refuse"]].concat());
        assert_fails(&mistyped, 4, &["did you mean \"limit.policy\"?"]);
        let too_small = broker.run(&[command, &["--set", "retention.ms=30"]].concat());
        assert_fails(&too_small, 4, &["cannot be 30ms; it is between 1s and "]);
        let said = text(&too_small.stderr);
        assert!(!said.contains("did you mean"), "{said}");
    }
}

#[test]
fn flags_and_commands_of_other_programs_get_a_hint_that_can_be_followed() {
    for (command, says) in [
        (&["consume", "-t", "part"][..], "taffrail consume TOPIC"),
        (&["consume", "--topic", "part"], "taffrail consume TOPIC"),
        (&["topic", "create", "new", "-p", "3"], "--partitions"),
        (
            &["produce", "t", "--key", "k", "--expect-version", "-1"],
            "it is below 0",
        ),
        (&["consume", "t", "--last", "-1"], "it is below 0"),
        (&["topic", "create", "t", "--partitions", "0"], "1..=10000"),
        (
            &["consume", "t", "--form", "json"],
            "did you mean --format?",
        ),
        (&["produce", "t", "--kye", "k"], "did you mean --key?"),
        (&["topic", "rm", "t"], "did you mean taffrail topic delete?"),
        (
            &["topic", "info", "t"],
            "did you mean taffrail topic describe?",
        ),
        (&["topics", "list"], "did you mean taffrail topic?"),
        (&["ls"], "did you mean taffrail topic list?"),
        (&["pub", "t"], "did you mean taffrail produce?"),
    ] {
        let failed = run(command, b"");
        assert_fails(&failed, 2, &[says]);
        let said = text(&failed.stderr);
        assert!(!said.contains("as a value"), "{said}");
        let json = error(&run(&[&["--json"], command].concat(), b""));
        let message = json["message"].as_str().expect("text");
        assert!(
            message.contains(says) && !message.contains('\n'),
            "{message}"
        );
    }
    let bogus = run(&["consume", "t", "--bogus"], b"");
    assert_fails(&bogus, 2, &["unexpected argument '--bogus'"]);
    assert!(
        !text(&bogus.stderr).contains("tip"),
        "{}",
        text(&bogus.stderr)
    );
}

#[test]
fn addresses_and_tokens_that_there_are_not_are_named_with_what_gave_them() {
    for (server, says) in [
        (":9640", "names no host"),
        ("ftp://x", "begins with ftp://"),
        ("", "is empty"),
    ] {
        let failed = run(&["topic", "list", "--server", server], b"");
        assert_fails(&failed, 2, &["--server", says]);
    }
    let (_dir, broker) = started();
    let ignored = broker.run(&["topic", "list", "--tls-ca", "/no/such"]);
    assert_fails(
        &ignored,
        2,
        &["--tls-ca is for a URL that begins with https://"],
    );
    let unknown = broker.run(&["topic", "list", "--token", "abc"]);
    assert_fails(&unknown, 4, &["the token is that of --token"]);

    let dir = temporary();
    let other = super::Serve::start(&dir.path().join("data"), &free_port());
    let (_, http) = other.started.split_once("metrics on ").expect("it has one");
    let http = http.split(')').next().expect("it ends");
    let metrics = run(&["topic", "list", "--server", http], b"");
    assert_fails(&metrics, 5, &["if that is the port for HTTP"]);
}
