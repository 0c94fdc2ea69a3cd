//! `group`, and `consume --group`.

use std::fs;

use serde_json::Value;
use taffrail::proto::{CommitOutcome, CommitRequest, GroupOffset, groups_client::GroupsClient};
use tonic::transport::Channel;

use super::{Serve, assert_fails, started, text};

fn told(broker: &Serve, args: &[&str]) -> String {
    text(&broker.succeed(args, b""))
}

fn json_lines(printed: &str) -> Vec<Value> {
    let lines = printed.lines().map(serde_json::from_str);
    lines.map(|line| line.expect("it is JSON")).collect()
}

#[test]
fn a_group_goes_on_where_it_has_written_out() {
    let (_dir, broker) = started();
    broker.succeed(&["topic", "create", "t"], b"");
    broker.succeed(&["produce", "t"], b"one\ntwo\nthree\n");
    let consume = ["consume", "t", "--group", "g", "--max", "2"];
    assert_eq!(told(&broker, &consume), "one\ntwo\n");
    assert_eq!(told(&broker, &consume[..4]), "three\n");
    assert_eq!(told(&broker, &consume[..4]), "");

    let listed = broker.json(&["group", "list"]);
    assert_eq!(listed["groups"][0]["group"], "g");
    assert_eq!(listed["groups"][0]["state"], "empty");
    assert_eq!(listed["groups"][0]["lag"], 0);
    let offset = ["consume", "t", "--group", "g", "--from", "1"];
    assert_fails(&broker.run(&offset), 2, &["--from", "offset"]);
}

#[test]
fn a_group_is_set_back_forked_and_deleted() {
    let (dir, broker) = started();
    broker.succeed(&["topic", "create", "t"], b"");
    broker.succeed(&["produce", "t"], b"one\ntwo\nthree\n");
    broker.succeed(&["consume", "t", "--group", "g"], b"");
    let described = told(&broker, &["group", "describe", "g", "--json"]);
    let rows = json_lines(&described);
    assert_eq!(rows.len(), 1);
    for (field, expected) in [
        ("topic", Value::from("t")),
        ("partition", 0.into()),
        ("member", Value::Null),
        ("committed", 3.into()),
        ("high_watermark", 3.into()),
        ("lag", 0.into()),
        ("lag_seconds", 0.into()),
        ("stalled", false.into()),
    ] {
        assert_eq!(rows[0][field], expected, "{field}");
    }

    let dry = ["group", "reset", "g", "--shift", "-2", "--dry-run"];
    assert!(told(&broker, &dry).contains("nothing was set"));
    broker.succeed(&dry[..5], b"");
    broker.succeed(&["group", "fork", "g", "--as", "h"], b"");
    for group in ["g", "h"] {
        let consume = ["consume", "t", "--group", group];
        assert_eq!(told(&broker, &consume), "two\nthree\n", "{group}");
    }

    let file = dir.path().join("described");
    fs::write(
        &file,
        described.replace("\"committed\":3", "\"committed\":1"),
    )
    .expect("room");
    let file = file.to_str().expect("UTF-8");
    broker.succeed(&["group", "reset", "new", "--from-file", file], b"");
    broker.succeed(&["group", "reset", "g", "--from-group", "new"], b"");
    broker.succeed(&["group", "reset", "g", "--to", "earliest"], b"");
    let beyond = ["group", "reset", "g", "--to", "99"];
    assert_fails(&broker.run(&beyond), 4, &["99", "partition 0"]);
    let consume = ["consume", "t", "--group", "g"];
    assert_eq!(told(&broker, &consume), "one\ntwo\nthree\n");

    broker.succeed(&["group", "delete", "h", "--yes"], b"");
    assert_fails(&broker.run(&["group", "describe", "h"]), 4, &["\"h\""]);
}

#[test]
fn a_plain_topic_gets_more_partitions() {
    let (_dir, broker) = started();
    broker.succeed(&["topic", "create", "t", "--set", "keys=plain"], b"");
    let grown = told(&broker, &["topic", "add-partitions", "t", "--to", "3"]);
    assert_eq!(grown, "topic t has 3 partitions now\n");
    broker.succeed(&["topic", "create", "versioned"], b"");
    let refused = broker.run(&["topic", "add-partitions", "versioned", "--to", "3"]);
    assert_fails(&refused, 4, &["versioned"]);
}

#[tokio::test]
async fn what_a_commit_has_stored_is_in_its_answer() {
    let (_dir, broker) = started();
    broker.succeed(&["topic", "create", "t"], b"");
    broker.succeed(&["produce", "t"], b"one\ntwo\nthree\n");
    let endpoint = Channel::from_shared(broker.url.clone()).expect("it is a URL");
    let channel = endpoint.connect().await.expect("it listens");
    let mut groups = GroupsClient::new(channel);
    for (next_offset, outcome) in [(2, CommitOutcome::Done), (1, CommitOutcome::Unchanged)] {
        let offset = GroupOffset {
            topic: "t".to_owned(),
            next_offset,
            ..GroupOffset::default()
        };
        let request = CommitRequest {
            group: "g".to_owned(),
            offsets: vec![offset],
            force: false,
        };
        let answer = groups.commit(request).await.expect("it is answered");
        let results = answer.into_inner().results;
        assert_eq!(results[0].outcome(), outcome);
        assert_eq!(results[0].committed_offset, 2, "{outcome:?}");
    }
}
