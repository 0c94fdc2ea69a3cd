//! `produce`: each line becomes one record, whatever happens meanwhile.

use std::{fs, io::Write, process::Stdio, thread};

use serde_json::Value;

use super::{Serve, assert_fails, binary, high_watermark, objects, started, text};

#[test]
fn lines_come_back_byte_for_byte_whatever_bytes_they_are() {
    let (dir, broker) = started();
    broker.succeed(&["topic", "create", "t"], b"");
    let lines: [&[u8]; 6] = [
        b"plain",
        b"",
        b"\xff\xfe\x00 not UTF-8",
        &[b'x'; 1_000_000],
        b"with \r",
        b"the last",
    ];
    let input = lines.join(&b'\n');
    broker.succeed(&["produce", "t"], &input);
    let mut expected = input;
    expected.push(b'\n');
    assert!(
        broker.succeed(&["consume", "t"], b"") == expected,
        "the bytes have changed"
    );

    let records = broker.succeed(
        &[
            "consume", "t", "--format", "json", "--from", "1", "--max", "2",
        ],
        b"",
    );
    let records: Vec<Value> = text(&records)
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(records.len(), 2);
    assert_eq!(
        (&records[0]["offset"], &records[0]["value"]),
        (&1.into(), &"".into())
    );
    assert_eq!(records[1]["value_base64"], "//4AIG5vdCBVVEYtOA==");
    assert!(records[1].get("value").is_none_or(Value::is_null));

    let empty = dir.path().join("empty");
    fs::write(&empty, b"").expect("there is room");
    broker.succeed(
        &["produce", "t", "--file", empty.to_str().expect("UTF-8")],
        b"",
    );
    assert_eq!(
        text(&broker.succeed(&["consume", "t", "--from", "5"], b"")),
        "the last\n",
        "nothing was added"
    );
    assert_eq!(
        broker.succeed(&["consume", "t", "--from", "latest"], b""),
        b""
    );
}

#[test]
fn fields_of_json_lines_become_key_type_and_time() {
    let (_dir, broker) = started();
    broker.succeed(&["topic", "create", "t"], b"");
    let lines = b"{\"id\":\"a\",\"kind\":\"made\",\"at\":\"2013-01-01T05:17:00Z\"}\n\
          {\"id\":null,\"kind\":\"sold\",\"at\":1357017420005}\n";
    let fields = [
        "produce",
        "t",
        "--key-field",
        "id",
        "--type-field",
        "kind",
        "--time-field",
        "at",
    ];
    broker.succeed(&fields, lines);
    let records = text(&broker.succeed(&["consume", "t", "--json"], b""));
    let records: Vec<Value> = records
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(
        (&records[0]["key"], &records[0]["type"]),
        (&"a".into(), &"made".into())
    );
    assert_eq!(records[0]["timestamp_ms"], 1_357_017_420_000_i64);
    assert!(
        records[1].get("key").is_none_or(Value::is_null),
        "{}",
        records[1]
    );
    assert_eq!(records[1]["timestamp_ms"], 1_357_017_420_005_i64);
    let since = broker.succeed(
        &[
            "consume",
            "t",
            "--from",
            "2013-01-01T05:17:00Z",
            "--max",
            "1",
        ],
        b"",
    );
    assert_eq!(
        text(&since),
        text(lines).lines().next().expect("a line").to_owned() + "\n"
    );
}

#[test]
fn every_line_is_stored_exactly_once_in_order_although_the_broker_is_killed_again_and_again() {
    let (dir, first) = started();
    first.succeed(&["topic", "create", "t"], b"");
    let mut producing = binary()
        .args(["produce", "t", "--server", &first.url, "--json"])
        .stderr(Stdio::inherit())
        .spawn()
        .expect("the binary is there");
    let mut stdin = producing.stdin.take().expect("it is piped");
    let mut broker = Some(first);
    let lines = 400_000;
    let expected: String = (0..lines)
        .map(|line| format!("{{\"line\":{line:06},\"padding\":\"0123456789\"}}\n"))
        .collect();
    thread::scope(|scope| {
        let input = expected.as_bytes();
        let writing = thread::Builder::new()
            .name("input".into())
            .spawn_scoped(scope, move || stdin.write_all(input));
        for _ in 0..3 {
            let watermark =
                |broker: &Option<Serve>| high_watermark(broker.as_ref().expect("it runs"));
            let stored = watermark(&broker);
            while watermark(&broker) == stored {
                thread::yield_now();
            }
            assert!(
                watermark(&broker) < lines,
                "it was not killed in the middle"
            );
            let listen = std::mem::take(&mut broker).expect("it runs").kill();
            broker = Some(Serve::start(dir.path(), &listen));
        }
        writing
            .expect("there are threads")
            .join()
            .expect("it does not panic")
            .expect("all of it is read");
    });
    let output = producing.wait_with_output().expect("it was started here");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    let broker = broker.expect("it runs");
    let found = broker.succeed(&["consume", "t"], b"");
    assert!(
        found == expected.as_bytes(),
        "{} bytes instead of {}, or others",
        found.len(),
        expected.len()
    );
    assert_eq!(broker.stop(), Some(0));
}

#[test]
fn lines_are_appended_to_an_entity_only_at_the_version_that_is_expected() {
    let (_dir, broker) = started();
    broker.succeed(&["topic", "create", "t", "--partitions", "3"], b"");
    let at = |version: &'static str| ["produce", "t", "--key", "a", "--expect-version", version];
    let printed = text(&broker.succeed(&at("0"), b"one\ntwo\n"));
    assert!(
        printed.contains("2 records") && printed.contains("entity \"a\" is at version 2"),
        "{printed}"
    );
    assert_fails(
        &broker.run_with(&at("0"), b"three\n"),
        3,
        &["\"a\" of topic \"t\" is at version 2, not 0"],
    );

    let conflict = broker.run_with(&[&at("7")[..], &["--json"]].concat(), b"three\n");
    assert_fails(&conflict, 3, &["version 2, not 7"]);
    let conflict: Value = serde_json::from_slice(&conflict.stdout).expect("it is an object");
    let conflict = &conflict["conflict"];
    assert_eq!(
        (&conflict["topic"], &conflict["key"]),
        (&"t".into(), &"a".into())
    );
    assert_eq!(
        (&conflict["expected_version"], &conflict["actual_version"]),
        (&7.into(), &2.into())
    );

    let stored = broker.succeed(&[&at("2")[..], &["--json"]].concat(), b"three\n");
    let stored: Value = serde_json::from_slice(&stored).expect("it is an object");
    assert_eq!(
        (&stored["records"], &stored["entity"]["version"]),
        (&1.into(), &3.into())
    );
    broker.succeed(&["produce", "t", "--key", "a"], b"four\n");
    let records = objects(&broker.succeed(&["entity", "read", "t", "a", "--json"], b""));
    let values: Vec<_> = records
        .iter()
        .map(|record| record["value"].as_str().expect("text"))
        .collect();
    assert_eq!(values, ["one", "two", "three", "four"]);

    let more_than_a_request = vec![b'\n'; 65_537];
    assert_fails(
        &broker.run_with(&at("4"), &more_than_a_request),
        1,
        &["65536 records", "nothing was stored"],
    );
    assert_fails(
        &broker.run(&["produce", "t", "--expect-version", "4"]),
        2,
        &["--key"],
    );
    broker.succeed(&["topic", "create", "plain", "--set", "keys=plain"], b"");
    assert_fails(
        &broker.run_with(
            &["produce", "plain", "--key", "a", "--expect-version", "0"],
            b"x\n",
        ),
        4,
        &["plain"],
    );
    assert_eq!(
        broker.json(&["entity", "latest", "t", "a"])["version"],
        4,
        "of what was refused nothing is stored"
    );
}

/// Produces `lines` one by one, and calls `between` after the first.
fn interrupted(broker: &Serve, lines: [&str; 2], between: impl FnOnce()) -> std::process::Output {
    let mut produce = binary();
    produce.args(["produce", "t", "--key-field", "k", "--server", &broker.url]);
    let mut process = produce.spawn().expect("the binary is there");
    let mut input = process.stdin.take().expect("it is piped");
    input.write_all(lines[0].as_bytes()).expect("it reads");
    while broker.succeed(&["consume", "t"], b"").is_empty() {
        thread::yield_now();
    }
    between();
    input.write_all(lines[1].as_bytes()).expect("it reads");
    drop(input);
    process.wait_with_output().expect("it was started here")
}

#[test]
fn lines_in_a_topic_that_is_deleted_meanwhile_are_not_said_to_be_stored() {
    let (_dir, broker) = started();
    let create = || broker.succeed(&["topic", "create", "t", "--partitions", "8"], b"");
    let delete = || broker.succeed(&["topic", "delete", "t", "--yes"], b"");
    // The two lines are in the same partition, or in two.
    for (first, second) in [("a", "a"), ("a", "b"), ("a", "c")] {
        for is_created_anew in [true, false] {
            create();
            let lines = [first, second].map(|key| format!("{{\"k\":\"{key}\"}}\n"));
            let lines = [&*lines[0], &*lines[1]];
            let ended = interrupted(&broker, lines, || {
                delete();
                if is_created_anew {
                    create();
                }
            });
            let says = [
                "line 1 was stored in the topic that was deleted",
                "from line 1",
            ];
            assert_fails(&ended, 4, &says);
            let message = text(&ended.stderr);
            assert!(!message.contains("--skip"), "{message}");
            assert_eq!(
                message.contains("created anew"),
                is_created_anew,
                "{message}"
            );
            if is_created_anew {
                assert_eq!(broker.succeed(&["consume", "t"], b""), b"");
                delete();
            }
        }
    }
}

#[test]
fn lines_of_all_files_have_the_key_type_and_headers_that_are_given() {
    let (dir, broker) = started();
    broker.succeed(&["topic", "create", "t"], b"");
    let [first, second] = ["first", "second"].map(|name| dir.path().join(name));
    fs::write(&first, b"one\ntwo").expect("there is room");
    fs::write(&second, b"four\n").expect("there is room");
    let [first, second] = [&first, &second].map(|path| path.to_str().expect("UTF-8"));
    let files = ["--file", first, "--file", "-", "--file", second];
    let given = [
        "--key", "k", "--type", "made", "--header", "a=1", "--header", "a=x=y",
    ];
    let produce = |more: &[&str]| {
        let args = [&["produce", "t"][..], &files, more].concat();
        broker.run_with(&args, b"three\n")
    };
    let produced = produce(&given);
    assert_eq!(
        produced.status.code(),
        Some(0),
        "{}",
        text(&produced.stderr)
    );
    let records = objects(&broker.succeed(&["consume", "t", "--json"], b""));
    let values: Vec<_> = records.iter().map(|record| &record["value"]).collect();
    assert_eq!(values, ["one", "two", "three", "four"]);
    for record in &records {
        assert_eq!(
            (&record["key"], &record["type"]),
            (&"k".into(), &"made".into())
        );
        let headers = record["headers"].to_string();
        let expected = r#"[{"name":"a","value":"1"},{"name":"a","value":"x=y"}]"#;
        assert_eq!(headers, expected);
    }
    let conditional = [&given[..], &["--expect-version", "4"]].concat();
    let produced = produce(&conditional);
    assert_eq!(
        produced.status.code(),
        Some(0),
        "{}",
        text(&produced.stderr)
    );
    let records = objects(&broker.succeed(&["consume", "t", "--json", "--last", "1"], b""));
    assert_eq!(
        (&records[0]["version"], &records[0]["type"]),
        (&8.into(), &"made".into())
    );
    assert_eq!(records[0]["headers"][1]["value"], "x=y");

    let bad = broker.run_with(
        &[
            "produce",
            "t",
            "--file",
            "-",
            "--file",
            second,
            "--key-field",
            "k",
        ],
        b"{\"k\":1}\n",
    );
    let says = ["second, line 1 (2 of all)", "line 1 is stored", "--skip 1"];
    assert_fails(&bad, 1, &says);
    for (wrong, says) in [
        (&["--header", "a"][..], "NAME=VALUE"),
        (&["--header", "=a"], "no name"),
        (&["--type", "a", "--type-field", "b"], "--type-field"),
        (&["--file", "-", "--file", "-"], "only once"),
    ] {
        assert_fails(
            &broker.run(&[&["produce", "t"][..], wrong].concat()),
            2,
            &[says],
        );
    }
}
