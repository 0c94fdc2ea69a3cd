//! `topic`: topics are created, listed, described, changed and deleted.

use super::{Serve, assert_fails, binary, objects, started, text};

#[test]
fn topics_are_created_listed_described_altered_trimmed_and_deleted() {
    let (_dir, broker) = started();
    let created = broker.json(&[
        "topic",
        "create",
        "orders",
        "--partitions",
        "3",
        "--set",
        "segment.bytes=64KiB",
    ]);
    assert_eq!(
        (&created["name"], &created["partitions"]),
        (&"orders".into(), &3.into())
    );
    broker.succeed(&["topic", "create", "plain"], b"");
    let listed = broker.json(&["topic", "list"]);
    let names: Vec<_> = listed["topics"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|topic| &topic["name"])
        .collect();
    assert_eq!(names, ["orders", "plain"]);

    broker.succeed(&["produce", "orders", "--partition", "1"], b"a\nb\nc\n");
    assert_eq!(
        broker.json(&[
            "topic",
            "trim",
            "orders",
            "--partition",
            "1",
            "--before",
            "2"
        ])["earliest"],
        2
    );
    let described = broker.json(&["topic", "describe", "orders"]);
    assert_eq!(described["settings"]["segment.bytes"], "65536");
    let partition = &described["partition_list"][1];
    assert_eq!(
        (&partition["earliest"], &partition["high_watermark"]),
        (&2.into(), &3.into())
    );

    let altered = broker.json(&[
        "topic",
        "alter",
        "orders",
        "--set",
        "segment.ms=1h",
        "--reset",
        "segment.bytes",
    ]);
    assert_eq!(altered["settings"]["segment.ms"], "3600000");
    assert_eq!(
        altered["settings"]["segment.bytes"],
        (256 << 20).to_string()
    );

    broker.succeed(&["topic", "delete", "orders"], b"");
    assert_fails(
        &broker.run(&["topic", "describe", "orders"]),
        4,
        &["orders"],
    );
    assert_eq!(broker.stop(), Some(0), "asked to stop, it ends well");
}

#[test]
fn nobody_is_asked_about_a_topic_that_there_is_not() {
    let (_dir, broker) = started();
    broker.succeed(&["topic", "create", "t"], b"");
    let on_terminal = |args: &[&str]| {
        let mut command = binary();
        #[expect(clippy::disallowed_types, reason = "a terminal is no file of a broker")]
        let terminal = std::fs::File::options()
            .read(true)
            .write(true)
            .open("/dev/ptmx");
        command
            .args(args)
            .args(["--server", &broker.url])
            .stdin(terminal.expect("there are terminals"));
        command.output().expect("the binary is there")
    };
    for (there_is, there_is_not) in [
        (
            &["topic", "delete", "t"][..],
            &["topic", "delete", "nope"][..],
        ),
        (
            &["entity", "erase", "t", "k"],
            &["entity", "erase", "nope", "k"],
        ),
    ] {
        // The command would ask, but its question could not be seen.
        assert_fails(&on_terminal(there_is), 2, &["--yes"]);
        assert_fails(&on_terminal(there_is_not), 4, &["no topic", "nope"]);
    }
}

#[test]
fn a_topic_is_compacted_on_command_and_described_as_such() {
    let (dir, broker) = started();
    broker.succeed(&["topic", "create", "t"], b"");
    for wait in [&[][..], &["--wait"]] {
        let none = broker.succeed(&[&["topic", "compact", "t"], wait].concat(), b"");
        let said = text(&none);
        assert!(
            said.contains("nothing to remove") && said.contains("cleanup.policy"),
            "{said}"
        );
    }
    let policy = ["topic", "alter", "t", "--set", "cleanup.policy=compact"];
    broker.succeed(&policy, b"");
    broker.succeed(&["produce", "t", "--key", "a"], b"one\ntwo\nthree\n");
    let keyless = broker.run_with(&["produce", "t"], b"of no entity\n");
    assert_fails(&keyless, 4, &["has no key"]);

    let compacted = broker.json(&["topic", "compact", "t", "--wait"]);
    let partition = &compacted["partition_list"][0];
    assert_eq!(partition["compaction"]["clean_up_to"], 3);
    assert_eq!(partition["compaction"]["problem"], serde_json::Value::Null);
    assert!(partition["compaction"]["last_ms"].is_i64(), "{partition}");
    let left = broker.succeed(&["consume", "t"], b"");
    assert_eq!(text(&left), "three\n");
    let described = text(&broker.succeed(&["topic", "describe", "t"], b""));
    assert!(described.contains("CLEAN UP TO"), "{described}");
    let asked = text(&broker.succeed(&["topic", "compact", "t"], b""));
    assert_eq!(asked, "topic t is being compacted\n");

    let settings = ["cleanup.policy=compact", "min.compaction.lag.ms=1h"];
    let young = [
        "topic",
        "create",
        "young",
        "--set",
        settings[0],
        "--set",
        settings[1],
    ];
    broker.succeed(&young, b"");
    broker.succeed(&["produce", "young", "--key", "a"], b"one\ntwo\n");
    let left = text(&broker.succeed(&["topic", "compact", "young", "--wait"], b""));
    for said in [
        "nothing of topic young was compacted\n",
        "younger than min.compaction.lag.ms (1h): records of partition 0 from offset 0 on\n",
        "never",
    ] {
        assert!(left.contains(said), "{left}");
    }
    assert_eq!(broker.stop(), Some(0));
    let dir = dir.path().to_str().expect("UTF-8");
    let inspected = super::run(&["inspect", dir, "--verify"], b"");
    assert_eq!(inspected.status.code(), Some(0), "{inspected:?}");
}

/// The earliest offset of each partition.
fn earliest(broker: &Serve) -> Vec<u64> {
    let described = broker.json(&["topic", "describe", "t"]);
    let partitions = described["partition_list"].as_array().expect("a list");
    let mut earliest = Vec::new();
    for partition in partitions {
        earliest.push(partition["earliest"].as_u64().expect("a number"));
    }
    earliest
}

#[test]
fn all_partitions_are_trimmed_before_a_time() {
    let (_dir, broker) = started();
    let create = ["topic", "create", "t", "--partitions", "3"];
    broker.succeed(&create, b"");
    let lines = b"{\"at\":\"2001-01-01\"}\n{\"at\":\"2011-01-01\"}\n{\"at\":\"2021-01-01\"}\n";
    for partition in ["0", "1"] {
        let produce = [
            "produce",
            "t",
            "--partition",
            partition,
            "--time-field",
            "at",
        ];
        broker.succeed(&produce, lines);
    }
    broker.succeed(&["produce", "t", "--partition", "2"], b"now\n");

    let trim = |more: &[&str]| broker.run(&[&["topic", "trim", "t"], more].concat());
    let preview = trim(&["--before", "2013-01-01", "--dry-run", "--json"]);
    let preview = objects(&preview.stdout).remove(0);
    let mut shown = Vec::new();
    for removal in preview["would_remove"].as_array().expect("a list") {
        shown.push((removal["earliest"].clone(), removal["records"].clone()));
    }
    let expected =
        [(2, 2), (2, 2), (0, 0)].map(|(earliest, records)| (earliest.into(), records.into()));
    assert_eq!(shown, expected, "{preview}");
    assert_eq!(earliest(&broker), [0, 0, 0], "nothing was trimmed");

    let trimmed = trim(&["--before", "2013-01-01", "--partition", "1"]);
    assert_eq!(
        text(&trimmed.stdout),
        "partition 1 of topic t starts at offset 2\n"
    );
    assert_eq!(earliest(&broker), [0, 2, 0]);
    let trimmed = trim(&["--before", "-7d", "--json"]);
    let trimmed = objects(&trimmed.stdout).remove(0);
    assert_eq!(trimmed["partitions"][0]["earliest"], 3, "{trimmed}");
    assert_eq!(earliest(&broker), [3, 3, 0]);
    let table = text(&trim(&["--before", "latest"]).stdout);
    assert!(table.contains("LOG START"), "{table}");
    assert_eq!(earliest(&broker), [3, 3, 1]);

    assert_fails(&trim(&["--before", "1"]), 2, &["--partition", "-7d"]);
    assert_fails(
        &trim(&["--before", "earliest"]),
        2,
        &["nothing lies before"],
    );
    assert_fails(&trim(&["--before", "soon"]), 2, &["--before", "soon"]);
    let missing = trim(&["--before", "latest", "--partition", "9"]);
    assert_fails(&missing, 4, &["no partition 9", "it has 3"]);
}
