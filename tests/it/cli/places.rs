//! `consume`: where it starts and stops, which records it prints, and in which format.

use std::io::Read as _;

use super::{Serve, assert_fails, binary, objects, started, text};

/// Three partitions, with the records a0 to a3, b0 to b3 and c0 to c3; those of `a` are from 2001
/// to 2004, the others from 2011 on and from 2021 on.
fn three_partitions() -> (tempfile::TempDir, Serve) {
    let (dir, broker) = started();
    let create = [
        "topic",
        "create",
        "t",
        "--partitions",
        "3",
        "--set",
        "keys=plain",
    ];
    broker.succeed(&create, b"");
    for (partition, (letter, year)) in [("a", 2001), ("b", 2011), ("c", 2021)].iter().enumerate() {
        let mut lines = String::new();
        for number in 0..4 {
            let year = year + number;
            let kind = if number == 1 { "odd" } else { "even" };
            lines.push_str(&format!(
                "{{\"id\":\"{letter}{number}\",\"at\":\"{year}-01-01\",\"kind\":\"{kind}\"}}\n"
            ));
        }
        let partition = partition.to_string();
        let produce = ["produce", "t", "--partition", &partition];
        let fields = [
            "--key-field",
            "id",
            "--type-field",
            "kind",
            "--time-field",
            "at",
        ];
        broker.succeed(&[&produce[..], &fields].concat(), lines.as_bytes());
    }
    (dir, broker)
}

/// The keys that are printed, by partition and offset.
fn keys(broker: &Serve, args: &[&str]) -> Vec<String> {
    let consume = ["consume", "t", "--format", "%k\\n"];
    let printed = text(&broker.succeed(&[&consume[..], args].concat(), b""));
    let mut keys: Vec<String> = printed.lines().map(str::to_owned).collect();
    keys.sort();
    keys
}

#[test]
fn a_read_starts_and_stops_where_it_is_told() {
    let (_dir, broker) = three_partitions();
    for (args, expected) in [
        (&["--from", "3"][..], "a3 b3 c3"),
        (&["--from", "2013-01-01", "--max", "9"], "b2 b3 c0 c1 c2 c3"),
        (&["--from", "-1ms"], ""),
        (&["--from", "latest"], ""),
        (&["--from", "0:2,2:2023-01-01"], "a2 a3 c2 c3"),
        (
            &["--from", "0:latest", "--from", "2:3", "--from", "2"],
            "b2 b3 c3",
        ),
        (&["--from", "1:3", "--partition", "0,1"], "a0 a1 a2 a3 b3"),
        (&["--partition", "0,2", "--from", "3"], "a3 c3"),
        (&["--until", "1"], "a0 b0 c0"),
        (&["--until", "0"], ""),
        (&["--until", "0:1,1:2"], "a0 b0 b1 c0 c1 c2 c3"),
        (&["--until", "0:1", "--until", "2"], "a0 b0 b1 c0 c1"),
        (&["--until", "99"], "a0 a1 a2 a3 b0 b1 b2 b3 c0 c1 c2 c3"),
        (&["--until", "2013-01-01"], "a0 a1 a2 a3 b0 b1"),
        (&["--until", "end", "--from", "3"], "a3 b3 c3"),
        (&["--until", "2", "--from", "1"], "a1 b1 c1"),
        (&["--until", "2", "--from", "3"], ""),
        (&["--until", "-1h", "--partition", "1"], "b0 b1 b2 b3"),
        (&["--last", "1"], "a3 b3 c3"),
        (&["--last", "99", "--partition", "1"], "b0 b1 b2 b3"),
        (&["--last", "0"], ""),
        (&["--last", "2", "--until", "3"], "a1 a2 b1 b2 c1 c2"),
        (&["--last", "1", "--type", "odd"], "a1 b1 c1"),
        (&["--key", "a1", "--key", "c3"], "a1 c3"),
        (&["--type", "odd", "--key", "a1", "--key", "a2"], "a1"),
        (
            &["--type", "odd", "--max", "2", "--partition", "0,1"],
            "a1 b1",
        ),
        (&["--type", "other"], ""),
        (&["--follow", "--until", "2"], "a0 a1 b0 b1 c0 c1"),
        (&["--follow", "--until", "0:2,1:1,2:0"], "a0 a1 b0"),
        (&["--follow", "--until", "end", "--last", "1"], "a3 b3 c3"),
    ] {
        let expected: Vec<&str> = expected.split_whitespace().collect();
        assert_eq!(keys(&broker, args), expected, "{args:?}");
    }
}

#[test]
fn a_read_that_follows_ends_when_every_partition_has_come_to_the_place() {
    let (_dir, broker) = three_partitions();
    let consume = ["consume", "t", "--partition", "0,1", "--format", "%k "];
    let place = ["--follow", "--last", "1", "--until", "2030-01-01"];
    let mut following = binary()
        .args(consume)
        .args(place)
        .args(["--server", &broker.url])
        .spawn()
        .expect("the binary is there");
    let mut stdout = following.stdout.take().expect("it is piped");
    // By then it has decided where to begin.
    let mut printed = vec![0; "a3 b3 ".len()];
    stdout.read_exact(&mut printed).expect("it goes on");
    let lines = b"{\"id\":\"x\",\"at\":\"2029-12-31\"}\n{\"id\":\"y\",\"at\":\"2030-01-01\"}\n";
    for partition in ["0", "1"] {
        let produce = ["produce", "t", "--partition", partition];
        let fields = ["--key-field", "id", "--time-field", "at"];
        broker.succeed(&[&produce[..], &fields].concat(), lines);
    }
    stdout.read_to_end(&mut printed).expect("it ends");
    let output = following.wait_with_output().expect("it was started here");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let mut keys: Vec<String> = text(&printed)
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    keys.sort();
    assert_eq!(keys, ["a3", "b3", "x", "x"]);
}

#[test]
fn the_last_records_are_found_behind_gaps() {
    let (_dir, broker) = started();
    let create = ["topic", "create", "t", "--set", "cleanup.policy=compact"];
    broker.succeed(&create, b"");
    broker.succeed(&["produce", "t", "--key", "a"], b"1\n");
    broker.succeed(&["produce", "t", "--key", "b"], b"2\n");
    broker.succeed(&["produce", "t", "--key", "c"], &b"3\n".repeat(500));
    broker.succeed(&["topic", "compact", "t", "--wait"], b"");
    for (last, printed) in [("1", "3\n"), ("2", "2\n3\n"), ("9", "1\n2\n3\n")] {
        let found = broker.succeed(&["consume", "t", "--last", last], b"");
        assert_eq!(text(&found), printed, "{last}");
    }
}

#[test]
fn a_template_says_what_records_look_like() {
    let (_dir, broker) = started();
    broker.succeed(&["topic", "create", "t"], b"");
    broker.succeed(
        &["produce", "t", "--key", "k", "--type", "made"],
        b"one\ntwo\n",
    );
    broker.succeed(&["produce", "t"], b"three\n");
    let all = r"%t/%p/%o %k(%K) %e v%V: %s(%S)%%\n";
    let printed = text(&broker.succeed(&["consume", "t", "--format", all], b""));
    let expected = "t/0/0 k(1) made v1: one(3)%\nt/0/1 k(1) made v2: two(3)%\nt/0/2 (-1)  v: \
                    three(5)%\n";
    assert_eq!(printed, expected);
    let times = text(&broker.succeed(&["consume", "t", "--format", r"%T\t"], b""));
    let records = objects(&broker.succeed(&["consume", "t", "--json"], b""));
    for (time, record) in times.split('\t').zip(&records) {
        assert_eq!(time, record["timestamp_ms"].to_string());
    }
    let group = ["consume", "t", "--group", "g", "--format", "%o,"];
    assert_eq!(text(&broker.succeed(&group, b"")), "0,1,2,");
    let value = broker.succeed(&["consume", "t", "--json", "--format", "value"], b"");
    assert_eq!(text(&value), "one\ntwo\nthree\n");
}

#[test]
fn places_and_formats_that_there_are_not_are_refused() {
    let (_dir, broker) = started();
    broker.succeed(&["topic", "create", "t"], b"");
    for (args, says) in [
        (&["--format", "xml"][..], "neither value, json"),
        (&["--format", "%q"], "%q stands for nothing"),
        (&["--from", "-1"], "-12h"),
        (&["--from", "1", "--from", "2"], "two places"),
        (&["--from", "0:"], "no place is given for partition 0"),
        (
            &["--from", "0:0", "--partition", "1"],
            "which --partition leaves out",
        ),
        (
            &["--until", "1:2", "--partition", "0"],
            "partition 1 is not read",
        ),
        (&["--until", "earliest"], "nothing lies before"),
        (&["--last", "1", "--from", "2"], "--from"),
        (&["--group", "g", "--until", "1"], "--until"),
        (&["--group", "g", "--key", "k"], "--key"),
        (&["--group", "g", "--last", "1"], "--last"),
        (&["--group", "g", "--from", "0:1"], "--from"),
    ] {
        let refused = broker.run(&[&["consume", "t"][..], args].concat());
        assert_fails(&refused, 2, &[says]);
    }
    let missing = broker.run(&["consume", "t", "--from", "0:0,7:0"]);
    assert_fails(&missing, 4, &["no partition 7", "it has 1"]);
}
