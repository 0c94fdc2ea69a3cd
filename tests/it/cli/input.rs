//! How `produce` handles its input: which lines become records, with which fields, and what it says
//! about the others.

use std::{io::Write, process::Child};

use serde_json::Value;

use super::{Serve, assert_fails, binary, high_watermark, objects, started, text};

/// A `produce` that is waiting for input from the test.
fn producing(broker: &Serve, args: &[&str]) -> Child {
    binary()
        .args(["produce", "t", "--server", &broker.url])
        .args(args)
        .spawn()
        .expect("the binary is there")
}

fn with_topic() -> (tempfile::TempDir, Serve) {
    let (dir, broker) = started();
    broker.succeed(&["topic", "create", "t"], b"");
    (dir, broker)
}

fn records(broker: &Serve) -> Vec<Value> {
    objects(&broker.succeed(&["consume", "t", "--json"], b""))
}

#[test]
fn a_line_without_the_field_is_named_and_neither_it_nor_what_follows_is_stored() {
    let (_dir, broker) = with_topic();
    let lines = b"{\"k\":\"a\"}\n{\"key\":\"b\"}\n{\"k\":\"c\"}\n";
    for (flag, optional) in [
        ("--key-field", "--key-optional"),
        ("--type-field", "--type-optional"),
        ("--time-field", "--time-optional"),
    ] {
        let before = high_watermark(&broker);
        let of = |field: &'static str| ["produce", "t", flag, field];
        let typo = broker.run_with(&of("kay"), lines);
        assert_fails(
            &typo,
            1,
            &["line 1", "\"kay\"", "nothing was stored", optional],
        );
        if flag != "--time-field" {
            let missing = broker.run_with(&of("k"), lines);
            let says = ["line 2", "\"k\"", "line 1 is stored", "--skip 1"];
            assert_fails(&missing, 1, &says);
            assert_eq!(high_watermark(&broker), before + 1, "{flag}");
        }
        let all = broker.succeed(&[&of("kay")[..], &[optional]].concat(), lines);
        assert!(text(&all).contains("3 without a key"), "{}", text(&all));
    }
    let null = b"{\"k\":null}\n{\"k\":\"d\"}\n";
    let stored = broker.succeed(&["produce", "t", "--key-field", "k", "--json"], null);
    assert_eq!(objects(&stored)[0]["without_key"], 1);
    let plain = broker.succeed(&["produce", "t", "--key", "k"], b"x\ny\n");
    assert!(text(&plain).contains("0 without a key"), "{}", text(&plain));
}

#[test]
fn a_dotted_name_is_a_field_of_a_field_unless_there_is_one_of_that_very_name() {
    let (_dir, broker) = with_topic();
    let lines = [
        r#"{"order":{"id":"inner","when":{"at":"2013-01-01"}},"kind":{"of":"made"}}"#,
        r#"{"order":{"id":"inner","when.at":"2013-01-01"},"order.id":"whole","kind":{"of":"sold"}}"#,
    ];
    let fields = [
        "produce",
        "t",
        "--key-field",
        "order.id",
        "--type-field",
        "kind.of",
    ];
    let time = ["--time-field", "order.when.at"];
    broker.succeed(&[&fields[..], &time].concat(), lines.join("\n").as_bytes());
    let records = records(&broker);
    let keys: Vec<_> = records.iter().map(|record| &record["key"]).collect();
    assert_eq!(keys, ["inner", "whole"]);
    let types: Vec<_> = records.iter().map(|record| &record["type"]).collect();
    assert_eq!(types, ["made", "sold"]);
    assert!(
        records
            .iter()
            .all(|record| record["timestamp_ms"] == 1_356_998_400_000_i64)
    );

    for line in [
        r#"{"order":{}}"#,
        r#"{"order":null}"#,
        r#"{"order":"x"}"#,
        r#"{"order":[1]}"#,
    ] {
        let missing = broker.run_with(
            &["produce", "t", "--key-field", "order.id"],
            line.as_bytes(),
        );
        assert_fails(
            &missing,
            1,
            &["line 1", "\"order.id\"", "nothing was stored"],
        );
    }
}

#[test]
fn a_number_is_a_time_in_the_unit_that_is_named_and_only_if_it_can_be_one() {
    let (_dir, broker) = with_topic();
    let produce = |unit: &'static str, number: &str| {
        let line = format!("{{\"at\":{number}}}\n");
        let args = ["produce", "t", "--time-field", "at", "--time-unit", unit];
        broker.run_with(&args, line.as_bytes())
    };
    for (unit, number) in [
        ("s", "1767225600"),
        ("s", "1767225600.0009"),
        ("ms", "1767225600000"),
        ("us", "1767225600000000"),
        ("ns", "1767225600000000000"),
    ] {
        let stored = produce(unit, number);
        assert_eq!(
            stored.status.code(),
            Some(0),
            "{number} {unit}: {}",
            text(&stored.stderr)
        );
    }
    let found = records(&broker);
    assert!(
        found
            .iter()
            .all(|record| record["timestamp_ms"] == 1_767_225_600_000_i64)
    );
    assert_eq!(found.len(), 5);

    let line = b"{\"at\":1767225600}\n";
    let seconds = broker.run_with(&["produce", "t", "--time-field", "at"], line);
    assert_fails(
        &seconds,
        1,
        &[
            "line 1",
            "1970-01-21",
            "--time-unit s",
            "2026-01-01T00:00:00",
        ],
    );
    for (unit, number, hint) in [
        ("s", "1767225600000", "--time-unit ms"),
        ("ms", "631151999999", "1989-12-31"),
        ("s", "631151999", "1989-12-31"),
        ("s", "0", "1970"),
        ("s", "-1", "1969"),
        ("ms", "99999999999999999999999", "no date"),
    ] {
        assert_fails(
            &produce(unit, number),
            1,
            &["line 1", hint, "nothing was stored"],
        );
    }
    assert_fails(&produce("minutes", "29453760"), 2, &["minutes"]);
    assert_eq!(
        high_watermark(&broker),
        5,
        "of what was refused nothing is stored"
    );
}

#[test]
fn a_byte_order_mark_and_empty_lines_are_passed_over_where_lines_are_json() {
    let (_dir, broker) = with_topic();
    let lines = b"\xef\xbb\xbf{\"k\":\"a\"}\n\n \t\r\n{\"k\":\"b\"}\n\n";
    let said = broker.run_with(&["produce", "t", "--key-field", "k"], lines);
    assert_eq!(said.status.code(), Some(0), "{}", text(&said.stderr));
    assert!(
        text(&said.stderr).contains("3 empty lines"),
        "{}",
        text(&said.stderr)
    );
    let found = records(&broker);
    let found: Vec<_> = found
        .iter()
        .map(|record| (&record["key"], &record["value"]))
        .collect();
    let expected = ["a", "b"].map(|key| (key.into(), format!("{{\"k\":\"{key}\"}}").into()));
    assert_eq!(
        found,
        [
            (&expected[0].0, &expected[0].1),
            (&expected[1].0, &expected[1].1)
        ]
    );

    let late = broker.run_with(
        &["produce", "t", "--key-field", "k"],
        b"\n{\"k\":\"c\"}\n\nx\n",
    );
    assert_fails(&late, 1, &["line 4", "lines 1 to 2 are stored", "--skip 2"]);
    let wide = broker.run_with(&["produce", "t", "--key-field", "k"], b"\xff\xfe{\0");
    assert_fails(&wide, 1, &["line 1", "UTF-16"]);
}

#[test]
fn lines_that_are_whole_are_stored_while_a_part_of_the_next_one_is_there() {
    let (_dir, broker) = with_topic();
    let mut producing = producing(&broker, &[]);
    let mut stdin = producing.stdin.take().expect("it is piped");
    stdin.write_all(b"one\ntwo\nthr").expect("it reads");
    while high_watermark(&broker) < 2 {
        std::thread::yield_now();
    }
    stdin.write_all(b"ee\n").expect("it reads");
    drop(stdin);
    let output = producing.wait_with_output().expect("it was started here");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(
        text(&broker.succeed(&["consume", "t"], b"")),
        "one\ntwo\nthree\n"
    );
}

#[test]
fn lines_that_are_skipped_count_and_are_not_looked_at() {
    let (_dir, broker) = with_topic();
    let lines = b"nonsense\n\n{\"k\":\"a\"}\n{\"k\":\"b\"}\n{}\n";
    let from = |skip: &'static str| ["produce", "t", "--key-field", "k", "--skip", skip];
    let stopped = broker.run_with(&from("2"), lines);
    assert_fails(
        &stopped,
        1,
        &["line 5", "lines 3 to 4 are stored", "--skip 4"],
    );
    assert_fails(
        &broker.run_with(&from("4"), lines),
        1,
        &["nothing was stored", "--skip 4"],
    );
    broker.succeed(&from("5"), lines);
    assert_fails(
        &broker.run_with(&from("6"), lines),
        1,
        &["5 lines", "--skip 6"],
    );
    broker.succeed(
        &["produce", "t", "--skip", "1"],
        b"no\nyes, without a newline",
    );
    let values = text(&broker.succeed(&["consume", "t"], b""));
    assert_eq!(
        values,
        "{\"k\":\"a\"}\n{\"k\":\"b\"}\nyes, without a newline\n"
    );
}
