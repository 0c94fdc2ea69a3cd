//! `consume`: the records that are printed, and the remarks.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
};

use serde_json::Value;

use super::{Serve, assert_fails, binary, free_port, run, started, text};

#[test]
fn damaged_records_are_told_and_all_others_are_printed() {
    let (dir, broker) = started();
    broker.succeed(&["topic", "create", "t"], b"");
    for line in ["one\n", "damage me\n", "three\n"] {
        broker.succeed(&["produce", "t"], line.as_bytes());
    }
    assert_eq!(broker.stop(), Some(0));
    let segment = find(dir.path(), ".log");
    let mut bytes = fs::read(&segment).expect("it is there");
    let at = bytes
        .windows(9)
        .position(|window| window == b"damage me")
        .expect("it is in there");
    bytes[at] ^= 1;
    fs::write(&segment, bytes).expect("there is room");

    let verified = run(
        &["inspect", dir.path().to_str().expect("UTF-8"), "--verify"],
        b"",
    );
    assert_eq!(
        verified.status.code(),
        Some(6),
        "{}",
        text(&verified.stderr)
    );
    for _ in 0..2 {
        let broker = Serve::start(dir.path(), &free_port());
        let output = broker.run(&["consume", "t"]);
        assert_fails(&output, 6, &["offsets 1 to 1", "partition 0", "\"t\""]);
        assert_eq!(text(&output.stdout), "one\nthree\n");
        assert_eq!(broker.stop(), Some(0));
    }

    // A group commits the records before the damage, and continues behind it after a reset.
    let broker = Serve::start(dir.path(), &free_port());
    let consume = ["consume", "t", "--group", "g"];
    let go_on = [
        "group",
        "reset",
        "g",
        "--topic",
        "t",
        "--partition",
        "0",
        "--to",
        "2",
    ];
    let says = format!("`taffrail {}`", go_on.join(" "));
    for printed in ["one\n", ""] {
        let output = broker.run(&consume);
        assert_fails(&output, 6, &["offsets 1 to 1", &says]);
        assert_eq!(text(&output.stdout), printed);
    }
    broker.succeed(&go_on, b"");
    let output = broker.run(&consume);
    assert_eq!(text(&output.stdout), "three\n", "{}", text(&output.stderr));
    assert_eq!(broker.stop(), Some(0));
}

#[test]
fn a_member_of_a_group_takes_all_records_and_is_told_what_to_do() {
    let (_dir, broker) = started();
    broker.succeed(&["topic", "create", "t"], b"");
    for flag in ["--key", "--type", "--partition"] {
        let refused = broker.run(&["consume", "t", "--group", "g", flag, "0"]);
        assert_fails(&refused, 2, &[flag, "leave --group out"]);
    }
    assert_eq!(
        broker.json(&["group", "list"])["groups"],
        Value::from([(); 0])
    );
}

#[test]
fn a_consumer_that_comes_back_to_another_topic_of_the_name_says_so_and_ends() {
    let (dir, broker) = started();
    broker.succeed(&["topic", "create", "t"], b"");
    broker.succeed(&["produce", "t"], b"one\n");
    let mut following = binary()
        .args(["consume", "t", "--follow", "--server", &broker.url])
        .spawn()
        .expect("the binary is there");
    let mut records = BufReader::new(following.stdout.take().expect("it is piped"));
    let mut line = String::new();
    records
        .read_line(&mut line)
        .expect("it prints what is there");
    assert_eq!(line, "one\n");

    // At another address, so that the consumer notices nothing of this.
    let listen = broker.kill();
    let elsewhere = Serve::start(dir.path(), &free_port());
    elsewhere.succeed(&["topic", "delete", "t"], b"");
    elsewhere.succeed(&["topic", "create", "t"], b"");
    elsewhere.succeed(&["produce", "t"], b"another\nand more\n");
    assert_eq!(elsewhere.stop(), Some(0));
    let _broker = Serve::start(dir.path(), &listen);

    line.clear();
    records.read_line(&mut line).expect("it is text");
    assert_eq!(line, "", "it went on in the other topic");
    let output = following.wait_with_output().expect("it was started here");
    assert_fails(&output, 4, &["\"t\"", "created anew"]);
}

/// The only file below a directory whose name ends with this.
fn find(dir: &Path, ending: &str) -> std::path::PathBuf {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).expect("it is there") {
            let path = entry.expect("it can be read").path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(path);
            }
        }
    }
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

#[test]
fn a_consumer_that_follows_is_told_of_an_erasure() {
    let (_dir, broker) = started();
    broker.succeed(&["topic", "create", "t"], b"");
    broker.succeed(&["produce", "t", "--key-field", "k"], b"{\"k\":\"a\"}\n");
    let mut following = binary()
        .args([
            "consume",
            "t",
            "--follow",
            "--json",
            "--server",
            &broker.url,
        ])
        .spawn()
        .expect("the binary is there");
    let mut records = BufReader::new(following.stdout.take().expect("it is piped"));
    let mut notices = BufReader::new(following.stderr.take().expect("it is piped"));
    let mut line = String::new();
    records
        .read_line(&mut line)
        .expect("it prints what is there");
    broker.succeed(&["entity", "erase", "t", "a"], b"");
    line.clear();
    notices
        .read_line(&mut line)
        .expect("it tells of the erasure");
    let notice: Value =
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line:?} is not JSON"));
    let sha256_of_a = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb";
    assert_eq!(notice["erased"]["key_sha256"], sha256_of_a);
    assert_eq!(
        (
            &notice["erased"]["through_version"],
            &notice["erased"]["end_offset"]
        ),
        (&1.into(), &1.into())
    );
    following.kill().expect("it runs");
    following.wait().expect("it was started here");
}
