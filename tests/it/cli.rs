//! The binary as scripts use it: real processes, their output, and the codes they end with.

#![expect(
    clippy::disallowed_methods,
    reason = "files of the tests' own, for and from other processes"
)]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{Child, ChildStdout, Command, Output, Stdio},
    sync::atomic::{AtomicU8, Ordering},
    thread,
};

use serde_json::Value;
use tempfile::TempDir;

/// A running broker; killed when it is dropped.
struct Serve {
    process: Child,
    out: BufReader<ChildStdout>,
    url: String,
}

impl Serve {
    /// Starts a broker and waits until it says that it listens.
    fn start(dir: &Path, listen: &str) -> Self {
        let mut process = serve(dir, listen).spawn().expect("the binary is there");
        let mut out = BufReader::new(process.stdout.take().expect("it is piped"));
        let mut line = String::new();
        out.read_line(&mut line).expect("it says where it listens");
        let url = line
            .split_whitespace()
            .find(|word| word.starts_with("http://"))
            .map(str::to_owned);
        let url = url.unwrap_or_else(|| panic!("no address in {line:?}"));
        Self { process, out, url }
    }

    fn listen(&self) -> &str {
        self.url.strip_prefix("http://").expect("it has a scheme")
    }

    fn kill(mut self) -> String {
        self.process.kill().expect("it runs");
        self.process.wait().expect("it was started here");
        self.listen().to_owned()
    }

    /// Asks it to stop, as an operator does, and waits: its exit code.
    fn stop(mut self) -> Option<i32> {
        let id = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("it runs");
        let code = self.process.wait().expect("it was started here").code();
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).expect("it is text");
        assert_eq!(rest, "", "one line is all it prints");
        code
    }

    /// Runs a command on this broker.
    fn run(&self, args: &[&str]) -> Output {
        self.run_with(args, b"")
    }

    /// Runs a command on this broker with something to read.
    fn run_with(&self, args: &[&str], input: &[u8]) -> Output {
        run(&[args, &["--server", &self.url]].concat(), input)
    }

    fn succeed(&self, args: &[&str], input: &[u8]) -> Vec<u8> {
        let output = self.run_with(args, input);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{args:?}: {}",
            text(&output.stderr)
        );
        output.stdout
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_slice(&self.succeed(&[args, &["--json"]].concat(), b""))
            .expect("it is JSON")
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_taffrail"));
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn serve(dir: &Path, listen: &str) -> Command {
    let mut command = binary();
    command
        .args([
            "serve",
            "--listen",
            listen,
            "--log-level",
            "error",
            "--data-dir",
        ])
        .arg(dir)
        .stderr(Stdio::inherit());
    command
}

fn run(args: &[&str], input: &[u8]) -> Output {
    let mut process = binary().args(args).spawn().expect("the binary is there");
    let mut stdin = process.stdin.take().expect("it is piped");
    thread::scope(|scope| {
        // A command that fails does not read all of its input.
        let writing = thread::Builder::new()
            .name("input".into())
            .spawn_scoped(scope, move || stdin.write_all(input));
        let output = process.wait_with_output().expect("it was started here");
        drop(writing.expect("there are threads").join());
        output
    })
}

/// Asserts that a command ends with this code and says these things.
fn assert_fails(output: &Output, code: i32, says: &[&str]) {
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{message}");
    for said in says {
        assert!(message.contains(said), "{message:?} does not say {said:?}");
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn temporary() -> TempDir {
    tempfile::tempdir().expect("there is room for a directory")
}

/// A free port of a loopback address of its own: a broker that is killed and started again must
/// find its port still free, and neither another test nor a client that tries to connect, which
/// takes ports of 127.0.0.1, may get it meanwhile.
fn free_port() -> String {
    static NEXT: AtomicU8 = AtomicU8::new(2);
    format!("127.0.0.{}:0", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A broker on a directory of its own.
fn started() -> (TempDir, Serve) {
    let dir = temporary();
    let broker = Serve::start(dir.path(), &free_port());
    (dir, broker)
}

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
    let lines =
        b"{\"id\":\"a\",\"kind\":\"made\",\"at\":\"2013-01-01T05:17:00Z\"}\n{\"id\":null,\"kind\":\"sold\",\"at\":5}\n";
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
    assert_eq!(records[1]["timestamp_ms"], 5);
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

fn high_watermark(broker: &Serve) -> u64 {
    broker.json(&["topic", "describe", "t"])["partition_list"][0]["high_watermark"]
        .as_u64()
        .expect("a number")
}

#[test]
fn what_was_produced_is_there_after_a_kill_and_after_a_clean_stop() {
    let (dir, broker) = started();
    broker.succeed(&["topic", "create", "t", "--partitions", "2"], b"");
    broker.succeed(&["produce", "t", "--partition", "0"], b"one\n");
    let listen = broker.kill();
    let broker = Serve::start(dir.path(), &listen);
    broker.succeed(&["produce", "t", "--partition", "0"], b"two\n");
    assert_eq!(broker.stop(), Some(0));
    let broker = Serve::start(dir.path(), &free_port());
    assert_eq!(text(&broker.succeed(&["consume", "t"], b"")), "one\ntwo\n");
}

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

    assert_fails(
        &broker.run_with(&["produce", "nowhere"], b"x\n"),
        4,
        &["nowhere", "create it first"],
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
        &["offset 7", "0 up to"],
    );
    let long = [b'x'; 2_000];
    assert_fails(
        &broker.run_with(&["produce", "t", "--partition", "0"], &long),
        4,
        &["max.record.bytes is 1024"],
    );
    assert_eq!(
        high_watermark(&broker),
        2,
        "of what was refused nothing is stored"
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
}

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
        assert_fails(&output, 6, &["offsets 1 up to 2", "partition 0", "\"t\""]);
        assert_eq!(text(&output.stdout), "one\nthree\n");
        assert_eq!(broker.stop(), Some(0));
    }
}

/// Lines of JSON.
fn objects(output: &[u8]) -> Vec<Value> {
    text(output)
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

#[test]
fn an_entity_is_read_looked_at_and_erased_by_its_key() {
    let (_dir, broker) = started();
    broker.succeed(&["topic", "create", "t", "--partitions", "3"], b"");
    let lines = b"{\"k\":\"a\",\"n\":1}\n{\"k\":\"b\",\"n\":1}\n{\"k\":\"a\",\"n\":2}\n{\"k\":\"a\",\"n\":3}\n";
    broker.succeed(&["produce", "t", "--key-field", "k"], lines);

    let versions = |args: &[&str]| -> Vec<u64> {
        let records = objects(&broker.succeed(
            &[&["entity", "read", "t", "a", "--json"], args].concat(),
            b"",
        ));
        assert!(
            records
                .iter()
                .all(|record| record["key"] == "a" && record["erased"] == false),
            "{records:?}"
        );
        records
            .iter()
            .map(|record| record["version"].as_u64().expect("a number"))
            .collect()
    };
    assert_eq!(versions(&[]), [1, 2, 3]);
    assert_eq!(versions(&["--from-version", "2"]), [2, 3]);
    assert_eq!(versions(&["--backward", "--max", "2"]), [3, 2]);
    assert!(versions(&["--max", "0"]).is_empty());
    let printed = text(&broker.succeed(&["entity", "read", "t", "b"], b""));
    assert!(
        printed.starts_with("1  ") && printed.ends_with("  {\"k\":\"b\",\"n\":1}\n"),
        "{printed}"
    );
    let nobody = broker.run(&["entity", "read", "t", "nobody"]);
    assert_eq!(
        (nobody.status.code(), text(&nobody.stdout)),
        (Some(0), String::new())
    );
    assert!(
        text(&nobody.stderr).contains("\"nobody\" of topic \"t\" has no records"),
        "{}",
        text(&nobody.stderr)
    );

    let latest = objects(&broker.succeed(
        &["entity", "latest", "t", "b", "nobody", "a", "--json"],
        b"",
    ));
    let latest: Vec<_> = latest
        .iter()
        .map(|entry| (&entry["key"], &entry["version"], &entry["record"]))
        .collect();
    assert_eq!(latest[1], (&"nobody".into(), &0.into(), &Value::Null));
    assert_eq!(
        (latest[0].0, latest[0].1, &latest[2].2["value"]),
        (&"b".into(), &1.into(), &"{\"k\":\"a\",\"n\":3}".into())
    );
    assert!(
        text(&broker.succeed(&["entity", "latest", "t", "a"], b""))
            .contains("{\"k\":\"a\",\"n\":3}")
    );

    let erased = broker.json(&["entity", "erase", "t", "a", "--wait"]);
    assert_eq!(
        (&erased["complete"], &erased["through_version"]),
        (&true.into(), &3.into()),
        "{erased}"
    );
    let consumed = broker.run(&["consume", "t"]);
    assert_eq!(text(&consumed.stdout), "{\"k\":\"b\",\"n\":1}\n");
    assert!(
        text(&consumed.stderr).contains("3 erased records"),
        "{}",
        text(&consumed.stderr)
    );
    let left = objects(&broker.succeed(&["consume", "t", "--json"], b""));
    let marked = left
        .iter()
        .filter(|record| record["erased"] == true && record["key"].is_null());
    assert_eq!((left.len(), marked.count()), (4, 3));
    let again = text(&broker.succeed(&["entity", "erase", "t", "a"], b""));
    assert!(
        again.contains("up to version 3"),
        "to erase again is harmless: {again}"
    );
    assert!(
        text(&broker.succeed(&["entity", "erase", "t", "nobody"], b""))
            .contains("nothing was erased")
    );
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

    let more_than_a_request = vec![b'\n'; 262_145];
    assert_fails(
        &broker.run_with(&at("4"), &more_than_a_request),
        1,
        &["262144 records", "nothing was stored"],
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

/// The one file below a directory with this ending.
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
fn serve_ends_with_its_own_code_when_it_cannot_use_what_it_is_given() {
    let (dir, broker) = started();
    let refused = |command: &mut Command, says: &[&str]| {
        let output = command
            .stderr(Stdio::piped())
            .output()
            .expect("the binary is there");
        assert_fails(&output, 78, says);
        assert_eq!(text(&output.stdout), "", "it does not say that it listens");
    };
    let name = dir.path().to_str().expect("UTF-8");
    refused(
        &mut serve(dir.path(), "127.0.0.1:0"),
        &[name, "in use by another broker"],
    );
    let other = temporary();
    refused(
        &mut serve(other.path(), broker.listen()),
        &[broker.listen(), "--listen"],
    );
    refused(
        &mut serve(other.path(), "0.0.0.0:0"),
        &["0.0.0.0", "--insecure"],
    );
    assert_eq!(
        fs::read_dir(other.path()).expect("it is there").count(),
        0,
        "nothing was written"
    );

    fs::write(other.path().join("thesis.txt"), b"mine").expect("there is room");
    let name = other.path().to_str().expect("UTF-8");
    refused(
        &mut serve(other.path(), "127.0.0.1:0"),
        &[name, "not a taffrail data directory"],
    );
    assert_eq!(
        fs::read_dir(other.path()).expect("it is there").count(),
        1,
        "nothing was written"
    );

    let config = other.path().join("thesis.txt");
    for (setting, says) in [
        ("segment_size = 1\n", "segment_size"),
        ("[memory]\nbytes = \"lots\"\n", "memory.bytes"),
    ] {
        fs::write(&config, setting).expect("there is room");
        refused(
            serve(other.path(), "127.0.0.1:0")
                .arg("--config")
                .arg(&config),
            &["thesis.txt", says],
        );
    }
    refused(
        serve(other.path(), "127.0.0.1:0").args(["--config", "/nowhere.toml"]),
        &["/nowhere.toml"],
    );

    assert_eq!(broker.stop(), Some(0));
    let identity = dir.path().join("taffrail");
    let mut bytes = fs::read(&identity).expect("it is there");
    bytes[8] += 1;
    fs::write(&identity, bytes).expect("there is room");
    refused(
        &mut serve(dir.path(), "127.0.0.1:0"),
        &["format version", "use the broker that wrote it"],
    );
}
