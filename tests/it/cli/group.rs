//! `group`, and `consume --group`.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
};

use serde_json::Value;
use taffrail::proto::{CommitOutcome, CommitRequest, GroupOffset, groups_client::GroupsClient};
use tonic::transport::Channel;

use super::{Serve, assert_fails, binary, started, text};

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

    broker.succeed(&["group", "fork", "g", "--as", "again", "--replay"], b"");
    let again = json_lines(&told(&broker, &["group", "describe", "again", "--json"]));
    assert_eq!(
        (&again[0]["lag"], &again[0]["committed"]),
        (&3.into(), &Value::Null)
    );

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

#[test]
fn a_topic_that_does_not_exist_is_told_with_a_group_as_without_one() {
    let (_dir, broker) = started();
    let without = broker.run(&["consume", "typo"]);
    let with = broker.run(&["consume", "typo", "--group", "g"]);
    assert_fails(&with, 4, &["there is no topic", "typo"]);
    assert_eq!(with.status.code(), without.status.code());

    let args = ["consume", "typo", "--group", "g", "--follow"];
    let mut waiting = binary()
        .args(args)
        .args(["--server", &broker.url])
        .spawn()
        .expect("the binary is there");
    let mut said = BufReader::new(waiting.stderr.take().expect("it is piped"));
    let mut line = String::new();
    said.read_line(&mut line).expect("it is text");
    assert!(line.contains("there is no topic \"typo\""), "{line}");
    // It reports the missing topic before it joins.
    let described = loop {
        let described = broker.run(&["group", "describe", "g"]);
        if described.status.code() == Some(0) {
            break text(&described.stdout);
        }
    };
    assert!(
        described.contains("there is no topic \"typo\""),
        "{described}"
    );
    broker.succeed(&["topic", "create", "typo"], b"");
    broker.succeed(&["produce", "typo"], b"one\n");
    let mut records = BufReader::new(waiting.stdout.take().expect("it is piped"));
    line.clear();
    records.read_line(&mut line).expect("it is text");
    assert_eq!(line, "one\n", "it was waited for");
    waiting.kill().expect("it runs");
    waiting.wait().expect("it was started here");
}

#[test]
fn a_member_for_which_nothing_is_left_says_so_and_ends() {
    let (_dir, broker) = started();
    broker.succeed(&["topic", "create", "t"], b"");
    broker.succeed(&["produce", "t"], b"one\n");
    let args = ["consume", "t", "--group", "g", "--follow"];
    let mut first = binary()
        .args(args)
        .args(["--server", &broker.url])
        .spawn()
        .expect("the binary is there");
    let mut records = BufReader::new(first.stdout.take().expect("it is piped"));
    let mut line = String::new();
    records.read_line(&mut line).expect("it is text");
    assert_eq!(line, "one\n");

    let second = broker.run(&args[..4]);
    assert_eq!(second.status.code(), Some(0), "{}", text(&second.stderr));
    assert_eq!(text(&second.stdout), "");
    let said = text(&second.stderr);
    assert!(said.contains("other members of group \"g\""), "{said}");
    first.kill().expect("it runs");
    first.wait().expect("it was started here");
    let mut rest = String::new();
    records.read_to_string(&mut rest).expect("it is text");
    assert_eq!(rest, "");
}

#[test]
fn a_member_whose_broker_stays_away_says_how_far_it_came() {
    let (_dir, broker) = started();
    broker.succeed(&["topic", "create", "t"], b"");
    broker.succeed(&["produce", "t"], b"one\ntwo\n");
    let mut member = binary()
        .args(["consume", "t", "--group", "g", "--follow"])
        .args(["--retry-for", "100ms", "--server", &broker.url])
        .spawn()
        .expect("the binary is there");
    let mut records = BufReader::new(member.stdout.take().expect("it is piped"));
    let mut lines = String::new();
    for _ in 0..2 {
        records.read_line(&mut lines).expect("it is text");
    }
    assert_eq!(lines, "one\ntwo\n");
    broker.kill();
    let ended = member.wait_with_output().expect("it was started here");
    assert_fails(&ended, 5, &["2 records written out", "group describe g"]);
}

#[test]
fn a_committed_offset_that_is_trimmed_is_marked() {
    let (_dir, broker) = started();
    broker.succeed(&["topic", "create", "t"], b"");
    broker.succeed(&["produce", "t"], b"one\ntwo\nthree\n");
    broker.succeed(&["consume", "t", "--group", "g", "--max", "1"], b"");
    let described = told(&broker, &["group", "describe", "g"]);
    for heading in ["LOG START", "COMMITTED", "LAST COMMIT"] {
        assert!(described.contains(heading), "{described}");
    }
    assert!(!described.contains("TRIMMED"), "{described}");
    let trim = ["topic", "trim", "t", "--partition", "0", "--before", "3"];
    broker.succeed(&trim, b"");
    let described = told(&broker, &["group", "describe", "g"]);
    assert!(
        described.contains("COMMITTED OFFSET IS TRIMMED"),
        "{described}"
    );
    let rows = json_lines(&told(&broker, &["group", "describe", "g", "--json"]));
    assert_eq!(rows[0]["offset_gone"], true);
    assert_eq!(rows[0]["earliest"], 3);
    assert!(rows[0]["committed_at"].is_string());
}

#[test]
fn a_member_s_name_that_would_steer_a_terminal_is_refused() {
    let (_dir, broker) = started();
    broker.succeed(&["topic", "create", "t"], b"");
    let member = ["consume", "t", "--group", "g", "--member", "\u{1b}[2J"];
    let refused = broker.run(&member);
    assert_fails(&refused, 4, &["name", "control characters"]);
    assert!(!text(&refused.stderr).contains('\u{1b}'));
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

#[test]
fn a_member_whose_reader_has_had_enough_leaves_and_commits_nothing_that_was_not_read() {
    let (_dir, broker) = started();
    broker.succeed(&["topic", "create", "t"], b"");
    broker.succeed(&["produce", "t"], b"one\n");
    let mut member = binary()
        .args(["consume", "t", "--group", "g", "--follow"])
        .args(["--server", &broker.url])
        .spawn()
        .expect("the binary is there");
    let mut records = BufReader::new(member.stdout.take().expect("it is piped"));
    let mut line = String::new();
    records.read_line(&mut line).expect("it is text");
    assert_eq!(line, "one\n");
    drop(records);
    broker.succeed(&["produce", "t"], b"two\n");
    assert_eq!(member.wait().expect("it was started here").code(), Some(0));
    let described = told(&broker, &["group", "describe", "g"]);
    assert!(described.starts_with("group g is empty"), "{described}");
    assert_eq!(told(&broker, &["consume", "t", "--group", "g"]), "two\n");
}

#[test]
fn a_member_whose_reader_is_gone_leaves_although_nothing_more_comes() {
    let (_dir, broker) = started();
    broker.succeed(&["topic", "create", "t"], b"");
    broker.succeed(&["produce", "t"], b"one\n");
    for args in [
        &["consume", "t", "--group", "g", "--follow"][..],
        &["consume", "t", "--follow"],
    ] {
        let reading = binary().args(args).args(["--server", &broker.url]).spawn();
        let mut reading = reading.expect("the binary is there");
        let mut records = BufReader::new(reading.stdout.take().expect("it is piped"));
        let mut line = String::new();
        records.read_line(&mut line).expect("it is text");
        assert_eq!(line, "one\n");
        drop(records);
        assert_eq!(ended(reading), Some(0), "{args:?}");
    }
    let described = told(&broker, &["group", "describe", "g"]);
    assert!(described.starts_with("group g is empty"), "{described}");
}

/// Waits for a command that must end by itself; returns its exit code.
fn ended(mut command: std::process::Child) -> Option<i32> {
    const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);
    let id = rustix::process::Pid::from_child(&command);
    let (tell, told) = std::sync::mpsc::channel();
    let waiting = std::thread::spawn(move || {
        let status = command.wait().expect("it was started here");
        // If it took too long, nobody receives this any more.
        let _ = tell.send(());
        status.code()
    });
    if told.recv_timeout(PATIENCE).is_err() {
        rustix::process::kill_process(id, rustix::process::Signal::KILL).expect("it runs");
    }
    waiting.join().expect("nobody panics")
}

#[test]
fn a_group_without_partitions_is_shown_to_scripts_too() {
    let (dir, broker) = started();
    broker.succeed(&["topic", "create", "t"], b"");
    broker.succeed(&["consume", "t", "--group", "g"], b"");
    let described = told(&broker, &["group", "describe", "g", "--json"]);
    let rows = json_lines(&described);
    assert_eq!(rows.len(), 1, "{described}");
    for (field, expected) in [
        ("group", Value::from("g")),
        ("state", "empty".into()),
        ("reason", "it has no members".into()),
        ("members", 0.into()),
        ("topic", Value::Null),
        ("partition", Value::Null),
    ] {
        assert_eq!(rows[0].get(field), Some(&expected), "{field}");
    }
    let file = dir.path().join("described");
    fs::write(&file, described).expect("room");
    let file = file.to_str().expect("UTF-8");
    let reset = broker.run(&["group", "reset", "new", "--from-file", file]);
    assert_fails(&reset, 1, &["no committed offset"]);
}

#[test]
fn a_partition_s_line_tells_the_member_s_name_from_its_id_and_what_the_group_does() {
    let (_dir, broker) = started();
    broker.succeed(&["topic", "create", "t"], b"");
    broker.succeed(&["produce", "t"], b"one\n");
    let args = ["consume", "t", "--group", "g", "--follow", "--member", "me"];
    let member = binary().args(args).args(["--server", &broker.url]).spawn();
    let mut member = member.expect("the binary is there");
    let mut records = BufReader::new(member.stdout.take().expect("it is piped"));
    let mut line = String::new();
    records.read_line(&mut line).expect("it is text");
    let rows = json_lines(&told(&broker, &["group", "describe", "g", "--json"]));
    member.kill().expect("it runs");
    member.wait().expect("it was started here");
    assert_eq!(rows[0]["member"], "me");
    assert_eq!(rows[0]["member_name"], "me");
    let id = rows[0]["member_id"].as_str().expect("it is text");
    assert_eq!(id.len(), 16, "{id}");
    assert_eq!(rows[0]["state"], "stable");
    assert_eq!(rows[0]["members"], 1);
}

#[test]
fn a_member_that_was_killed_is_removed_by_its_name_or_its_id() {
    let (_dir, broker) = started();
    broker.succeed(&["topic", "create", "t"], b"");
    broker.succeed(&["produce", "t"], b"one\n");
    for by_name in [true, false] {
        let args = ["consume", "t", "--group", "g", "--follow", "--member", "me"];
        let member = binary().args(args).args(["--server", &broker.url]).spawn();
        let mut member = member.expect("the binary is there");
        let id = loop {
            let described = broker.run(&["group", "describe", "g", "--json"]);
            let rows = json_lines(&text(&described.stdout));
            let of_first = rows.first().and_then(|row| row["member_id"].as_str());
            if let Some(id) = of_first.filter(|id| !id.is_empty()) {
                break id.to_owned();
            }
        };
        member.kill().expect("it runs");
        member.wait().expect("it was started here");
        let which: &str = if by_name { "me" } else { &id };
        let said = told(&broker, &["group", "remove-member", "g", which]);
        assert_eq!(said, format!("removed member {which} from group g\n"));
        let rows = json_lines(&told(&broker, &["group", "describe", "g", "--json"]));
        assert_eq!(rows[0]["members"], 0);
        let again = broker.run(&["group", "remove-member", "g", &id]);
        assert_fails(&again, 4, &["no member with the id"]);
    }
    let no_id = broker.run(&["group", "remove-member", "g", "somebody"]);
    assert_fails(&no_id, 4, &["\"somebody\" is no id of a member"]);
}

#[test]
fn a_reset_from_a_file_tells_which_partitions_it_leaves_as_they_are() {
    let (dir, broker) = started();
    broker.succeed(&["topic", "create", "t", "--partitions", "2"], b"");
    let file = dir.path().join("described");
    let rows = "{\"topic\":\"t\",\"partition\":0,\"committed\":0}\n\
                {\"topic\":\"t\",\"partition\":1,\"committed\":null}\n";
    fs::write(&file, rows).expect("room");
    let file = file.to_str().expect("UTF-8");
    let reset = ["group", "reset", "g", "--from-file", file];
    let said = told(&broker, &reset);
    let left = "partition 1 of topic t: nothing is committed in the file, left as it is\n";
    assert!(said.ends_with(left), "{said}");
    let json = told(&broker, &[&reset[..], &["--json"]].concat());
    let left = &json_lines(&json)[0]["left_as_is"];
    assert_eq!(left[0]["partition"], Value::from(1));
}
