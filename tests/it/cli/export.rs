//! `export` and `import`: a topic moves to another broker unchanged.

use std::{fs, io::Write};

use serde_json::Value;

use super::{
    Serve, assert_fails, away::Waiting, binary, free_port, high_watermark, objects, started,
    temporary, text,
};

/// A topic of three partitions with records of all kinds.
fn filled(broker: &Serve, settings: &[&str]) {
    let create = [&["topic", "create", "t", "--partitions", "3"], settings].concat();
    broker.succeed(&create, b"");
    let mut lines = String::new();
    for n in 0..2_000 {
        lines.push_str(&format!("{{\"k\":\"key {}\",\"n\":{n}}}\n", n % 40));
    }
    let produce = ["produce", "t", "--key-field", "k", "--type", "counted"];
    broker.succeed(
        &[&produce[..], &["--header", "from=tests"]].concat(),
        lines.as_bytes(),
    );
    broker.succeed(
        &["produce", "t", "--partition", "1"],
        b"no key\n\xff\xfe no text\n\n",
    );
}

fn export(broker: &Serve) -> Vec<u8> {
    broker.succeed(&["export", "t"], b"")
}

#[test]
fn a_topic_that_is_exported_and_imported_elsewhere_is_exported_the_same_way_again() {
    let (_one, from) = started();
    filled(&from, &["--set", "segment.bytes=64KiB"]);
    from.succeed(&["entity", "erase", "t", "key 7", "--wait"], b"");
    from.succeed(
        &["topic", "trim", "t", "--partition", "0", "--before", "100"],
        b"",
    );
    let exported = export(&from);
    let lines = objects(&exported);
    assert_eq!(lines[0]["partitions"][0]["start"], 100);
    assert_eq!(
        lines.last().expect("it has an end")["end"]["records"],
        lines.len() - 2
    );
    assert!(text(&exported).contains("\"value_base64\":\"//4gbm8gdGV4dA==\""));

    let dir = temporary();
    let to = Serve::start(dir.path(), &free_port());
    let done = to.succeed(&["import", "t", "--create", "--json"], &exported);
    let done: Value = serde_json::from_slice(&done).expect("it is JSON");
    assert_eq!(
        (&done["records"], &done["had"]),
        (&(lines.len() - 2).into(), &0.into())
    );
    assert!(export(&to) == exported, "it is another export");
    // New records get the versions that follow.
    let latest =
        |broker: &Serve| broker.json(&["entity", "latest", "t", "key 3"])["version"].clone();
    assert_eq!((latest(&to), latest(&from)), (50.into(), 50.into()));
    let at_other = to.run_with(
        &["produce", "t", "--key", "key 3", "--expect-version", "49"],
        b"next\n",
    );
    assert_fails(&at_other, 3, &["at version 50"]);
    to.succeed(
        &["produce", "t", "--key", "key 3", "--expect-version", "50"],
        b"next\n",
    );
    let again = to.run_with(&["import", "t"], &exported);
    assert_fails(&again, 4, &["has records, or had some"]);

    // The same after a kill, and the files are sound.
    let listen = to.kill();
    let to = Serve::start(dir.path(), &listen);
    let after = objects(&export(&to));
    assert_eq!(after.len(), lines.len() + 1);
    assert_eq!(to.stop(), Some(0));
    let verified = super::run(
        &[
            "inspect",
            dir.path().to_str().expect("it is text"),
            "--verify",
        ],
        b"",
    );
    assert_eq!(
        verified.status.code(),
        Some(0),
        "{}",
        text(&verified.stdout)
    );
}

#[test]
fn an_import_that_was_cut_off_goes_on_and_one_with_a_bad_line_says_which() {
    let (_one, from) = started();
    filled(&from, &[]);
    let exported = export(&from);
    let lines: Vec<&[u8]> = exported.split_inclusive(|byte| *byte == b'\n').collect();
    let dir = temporary();
    let to = Serve::start(dir.path(), &free_port());
    let path = dir.path().join("export");
    let import = |lines: &[&[u8]]| {
        fs::write(&path, lines.concat()).expect("there is room");
        let file = path.to_str().expect("it is text");
        to.run(&["import", "t", "--file", file, "--create"])
    };

    assert_fails(
        &import(&lines[..1_500]),
        1,
        &["line 1501: there is none", "was cut off"],
    );
    let appended = to.run_with(&["produce", "t"], b"x\n");
    assert_fails(
        &appended,
        4,
        &["has not come to its end", "--reset appends"],
    );

    let mut bad = lines.clone();
    bad[1_700] = b"{\"partition\":0,\"offset\":5,\n";
    assert_fails(
        &import(&bad),
        1,
        &["line 1701: it is not a record", "column"],
    );
    bad[1_700] = lines[1_710];
    assert_fails(
        &import(&bad),
        4,
        &["line 17", "is not behind", "goes on from what is"],
    );
    let mut other = lines.clone();
    for line in &mut other {
        if line.starts_with(b"{\"partition\":0") {
            *line = b"{\"partition\":0,\"offset\":0,\"append_time_ms\":1,\"timestamp_ms\":1}\n";
        }
    }
    let text_of_other = import(&other);
    assert_fails(
        &text_of_other,
        1,
        &["of another export", "delete the topic"],
    );

    let listen = to.listen().to_owned();
    assert_eq!(to.stop(), Some(0));
    let to = Serve::start(dir.path(), &listen);
    let finished = to.succeed(&["import", "t", "--json"], &exported);
    let finished: Value = serde_json::from_slice(&finished).expect("it is JSON");
    assert_eq!(finished["records"], 2_003);
    assert!(finished["had"].as_u64() > Some(1_000), "{finished}");
    assert!(export(&to) == exported, "it is another export");
    to.succeed(&["produce", "t"], b"x\n");
}

#[test]
fn what_does_not_fit_is_refused_with_what_to_do() {
    let (dir, broker) = started();
    filled(&broker, &[]);
    let exported = export(&broker);
    let import = |topic: &str, input: &[u8]| broker.run_with(&["import", topic], input);
    assert_fails(
        &import("none", &exported),
        4,
        &["\"none\"", "3 partitions", "--create"],
    );
    broker.succeed(&["topic", "create", "one"], b"");
    assert_fails(
        &import("one", &exported),
        1,
        &["1 partition,", "3 partitions"],
    );
    broker.succeed(
        &[
            "topic",
            "create",
            "plain",
            "--partitions",
            "3",
            "--set",
            "keys=plain",
        ],
        b"",
    );
    assert_fails(
        &import("plain", &exported),
        4,
        &["line 2: ", "keys=versioned"],
    );
    assert_fails(
        &import("one", b""),
        1,
        &["line 1: there is none", "taffrail export"],
    );
    assert_fails(
        &import("one", b"{\"n\":1}\n"),
        1,
        &["line 1: it is not the first line"],
    );
    let later = text(&exported).replacen("\"export\":1", "\"export\":2", 1);
    assert_fails(
        &import("one", later.as_bytes()),
        1,
        &["form 2", "reads form 1"],
    );

    let there = dir.path().join("there");
    fs::write(&there, "").expect("there is room");
    let file = there.to_str().expect("it is text");
    let refused = broker.run(&["export", "t", "--file", file]);
    assert_fails(&refused, 1, &["cannot create", "exists"]);
    let new = dir.path().join("new");
    let file = new.to_str().expect("it is text");
    broker.succeed(&["export", "t", "--file", file], b"");
    assert!(fs::read(&new).expect("it is there") == exported);
}

#[test]
fn an_import_waits_for_the_end_of_one_that_was_stopped() {
    let (_one, from) = started();
    filled(&from, &[]);
    let exported = export(&from);
    let (_two, to) = started();
    let import = ["import", "t", "--create", "--server", &to.url];

    let mut first = Waiting::of(binary().args(import));
    let mut input = first.process.stdin.take().expect("it is piped");
    let but_the_last = exported.len() - 10;
    input
        .write_all(&exported[..but_the_last])
        .expect("it reads");
    let begun = |broker: &Serve| {
        let topics = objects(&broker.succeed(&["topic", "list", "--json"], b""));
        !topics.is_empty() && high_watermark(broker) > 0
    };
    while !begun(&to) {}

    let mut second = Waiting::of(binary().args(import));
    let mut its_input = second.process.stdin.take().expect("it is piped");
    // It reads no further than the first line while it waits.
    its_input.write_all(&exported[..1_000]).expect("it reads");
    second.says("another import into topic \"t\" is under way");
    first.end();
    its_input.write_all(&exported[1_000..]).expect("it reads");
    drop(its_input);
    let ended = second
        .process
        .wait_with_output()
        .expect("it was started here");
    assert!(ended.status.success(), "{}", text(&ended.stdout));
    assert!(export(&to) == exported, "it is another export");
}
