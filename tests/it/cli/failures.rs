//! The error messages and exit codes of commands that fail.

use super::{assert_fails, high_watermark, run, started, text};

#[test]
fn a_command_says_with_its_code_what_kind_of_failure_it_was_and_names_the_thing() {
    let (dir, broker) = started();
    broker.succeed(
        &["topic", "create", "t", "--set", "max.record.bytes=1KiB"],
        b"",
    );
    broker.succeed(&["produce", "t"], b"one\n");

    let missing = dir.path().join("missing.ndjson");
    let missing = missing.to_str().expect("UTF-8");
    assert_fails(
        &broker.run(&["produce", "t", "--file", missing]),
        1,
        &["missing.ndjson"],
    );
    let bad = broker.run_with(
        &["produce", "t", "--key-field", "id"],
        b"{\"id\":1}\nnonsense\n",
    );
    assert_fails(&bad, 1, &["line 2"]);

    assert_fails(&broker.run(&["produce"]), 2, &["TOPIC"]);
    assert_fails(
        &broker.run(&["consume", "t", "--from", "sometime"]),
        2,
        &["sometime"],
    );
    assert_fails(
        &broker.run(&["topic", "create", "u", "--set", "segment.ms"]),
        2,
        &["segment.ms", "KEY=VALUE"],
    );

    let url = broker.url.clone();
    broker.kill();
    assert_fails(
        &run(&["topic", "list", "--server", &url], b""),
        5,
        &[&url, "taffrail serve"],
    );
    let impatient = ["consume", "t", "--server", &url, "--retry-for", "0ms"];
    assert_fails(&run(&impatient, b""), 5, &[&url]);
    assert_fails(
        &run(&["inspect", missing], b""),
        78,
        &[missing, "not there"],
    );
}

#[test]
fn lines_that_a_full_partition_refuses_to_the_end_fail_with_its_reason() {
    let (_dir, broker) = started();
    let settings = ["retention.bytes=256KiB", "limit.policy=refuse"];
    let full = [
        "topic",
        "create",
        "t",
        "--set",
        settings[0],
        "--set",
        settings[1],
    ];
    broker.succeed(&full, b"");
    let lines = [&[b'x'; 200_000][..], b"\n"].concat();
    broker.succeed(&["produce", "t"], &lines);
    let again = ["produce", "t", "--retry-for", "1s", "--json"];
    let refused = broker.run_with(&again, &lines);
    let says = [
        "PARTITION_FULL",
        "retention.bytes",
        "gave up",
        "nothing was stored",
    ];
    assert_fails(&refused, 4, &says);
    assert!(!text(&refused.stderr).contains("is away"), "{refused:?}");
    assert_eq!(high_watermark(&broker), 1);
}

#[test]
fn what_the_broker_refuses_is_named_and_of_it_nothing_is_stored() {
    let (_dir, broker) = started();
    broker.succeed(
        &["topic", "create", "t", "--set", "max.record.bytes=1KiB"],
        b"",
    );
    broker.succeed(&["produce", "t"], b"one\n");

    assert_fails(
        &broker.run_with(&["produce", "nowhere"], b"x\n"),
        4,
        &["nowhere", "topic create nowhere", "nothing was stored"],
    );
    assert_fails(&broker.run(&["consume", "nowhere"]), 4, &["nowhere"]);
    assert_fails(
        &broker.run(&["consume", "t", "--partition", "7"]),
        4,
        &["no partition 7", "it has 1"],
    );
    assert_fails(
        &broker.run(&["entity", "read", "nowhere", "k"]),
        4,
        &["nowhere"],
    );
    assert_fails(
        &broker.run(&["topic", "alter", "t", "--set", "keys=plain"]),
        4,
        &["keys"],
    );
    assert_fails(
        &broker.run(&["topic", "delete", "nowhere"]),
        4,
        &["nowhere"],
    );
    assert_fails(&broker.run(&["topic", "create", "t"]), 4, &["\"t\" exists"]);
    assert_fails(&broker.run(&["topic", "create", "a b"]), 4, &["a b"]);
    assert_fails(
        &broker.run(&["topic", "create", "u", "--set", "segment.ms=soon"]),
        4,
        &["segment.ms", "soon"],
    );
    assert_fails(
        &broker.run(&["topic", "trim", "t", "--partition", "9", "--before", "0"]),
        4,
        &["partition 9"],
    );
    assert_fails(
        &broker.run(&["consume", "t", "--from", "7"]),
        4,
        &["offset 7", "holds 0 to 0"],
    );
    let long = [b'x'; 2_000];
    assert_fails(
        &broker.run_with(&["produce", "t", "--partition", "0"], &long),
        4,
        &["max.record.bytes is 1024"],
    );
    assert_eq!(
        high_watermark(&broker),
        1,
        "of what was refused nothing is stored"
    );
}
