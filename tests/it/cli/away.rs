//! What commands say while their broker is away, and when it is back.

use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{Child, ChildStderr, Command},
    time::{Duration, Instant},
};

use super::{Serve, assert_fails, binary, free_port, run, started, temporary, text};

/// An address at which no broker listens.
const NOBODY: &str = "http://127.0.0.9:1";

/// A command that is running, and what it writes to standard error.
pub(super) struct Waiting {
    pub(super) process: Child,
    said: BufReader<ChildStderr>,
}

impl Waiting {
    fn start(broker: &Serve, args: &[&str]) -> Self {
        let mut command = binary();
        Self::of(command.args(args).args(["--server", &broker.url]))
    }

    pub(super) fn of(command: &mut Command) -> Self {
        let mut process = command.spawn().expect("the binary is there");
        let said = process.stderr.take().expect("it is piped");
        Self {
            process,
            said: BufReader::new(said),
        }
    }

    pub(super) fn says(&mut self, wanted: &str) {
        let mut line = String::new();
        self.said.read_line(&mut line).expect("it is text");
        assert!(line.contains(wanted), "{line:?} does not say {wanted:?}");
    }

    fn prints(&mut self, line: &str) {
        let out = self.process.stdout.as_mut().expect("it is piped");
        let mut bytes = vec![0; line.len()];
        out.read_exact(&mut bytes).expect("it prints");
        assert_eq!(text(&bytes), line);
    }

    pub(super) fn end(mut self) {
        self.process.kill().expect("it runs");
        self.process.wait().expect("it was started here");
    }
}

#[test]
fn a_consumer_says_when_the_broker_is_away_and_when_it_is_back() {
    for group in [&[][..], &["--group", "g"]] {
        let (dir, broker) = started();
        broker.succeed(&["topic", "create", "t"], b"");
        broker.succeed(&["produce", "t"], b"one\n");
        let follow = [&["consume", "t", "--follow"], group].concat();
        let mut consumer = Waiting::start(&broker, &follow);
        consumer.prints("one\n");
        let listen = broker.kill();
        consumer.says(&format!("the broker at http://{listen} is away ("));
        let broker = Serve::start(dir.path(), &listen);
        consumer.says("the broker is back");
        broker.succeed(&["produce", "t"], b"two\n");
        if group.is_empty() {
            consumer.prints("two\n");
        }
        consumer.end();
    }
}

#[test]
fn a_producer_says_when_the_broker_is_away_and_when_it_is_back() {
    let (dir, broker) = started();
    broker.succeed(&["topic", "create", "t"], b"");
    let mut producer = Waiting::start(&broker, &["produce", "t", "--json"]);
    let mut input = producer.process.stdin.take().expect("it is piped");
    input.write_all(b"one\n").expect("it reads");
    while broker.succeed(&["consume", "t"], b"").is_empty() {
        std::thread::yield_now();
    }
    let listen = broker.kill();
    input.write_all(b"two\n").expect("it reads");
    producer.says("{\"remark\":");
    let broker = Serve::start(dir.path(), &listen);
    producer.says("the broker is back");
    drop(input);
    let ended = producer.process.wait().expect("it was started here");
    assert_eq!(ended.code(), Some(0));
    assert_eq!(text(&broker.succeed(&["consume", "t"], b"")), "one\ntwo\n");
}

#[test]
fn a_broker_that_is_away_at_the_start_is_looked_for_and_that_is_said_at_once() {
    let dir = temporary();
    let broker = Serve::start(dir.path(), &free_port());
    broker.succeed(&["topic", "create", "t"], b"");
    for command in [
        &["produce", "t"][..],
        &["produce", "t", "--key", "k", "--expect-version", "0"],
        &["consume", "t", "--follow"],
        &["consume", "t", "--retry-for", "1m"],
        &["consume", "t", "--group", "g", "--retry-for", "1m"],
    ] {
        let mut process = binary();
        process.args(command).args(["--server", NOBODY]);
        let mut waiting = Waiting::of(&mut process);
        waiting.says(&format!(
            "the broker at {NOBODY} is away (connection refused); trying again"
        ));
        waiting.end();
    }
    let url = broker.url.clone();
    let listen = broker.kill();
    let mut producer = binary();
    producer.args(["produce", "t", "--server", &url]);
    let mut producer = Waiting::of(&mut producer);
    producer.says("is away (connection refused)");
    let broker = Serve::start(dir.path(), &listen);
    producer.says("the broker is back");
    let mut input = producer.process.stdin.take().expect("it is piped");
    input.write_all(b"one\n").expect("it reads");
    drop(input);
    assert_eq!(
        producer.process.wait().expect("it was started here").code(),
        Some(0)
    );
    assert_eq!(text(&broker.succeed(&["consume", "t"], b"")), "one\n");

    let impatient = run(
        &["produce", "t", "--retry-for", "0s", "--server", NOBODY],
        b"",
    );
    assert_fails(&impatient, 5, &["127.0.0.9:1", "nothing was stored"]);
    let reading = run(&["consume", "t", "--server", NOBODY], b"");
    assert_fails(&reading, 5, &["127.0.0.9:1"]);
    assert!(!text(&reading.stderr).contains("trying again"));
}

#[test]
fn every_command_waits_a_moment_for_a_broker_that_was_started_just_before() {
    let begun = Instant::now();
    let nobody = run(&["topic", "list", "--server", NOBODY], b"");
    assert_fails(&nobody, 5, &["127.0.0.9:1"]);
    assert!(!text(&nobody.stderr).contains("trying again"));
    assert!(
        begun.elapsed() >= Duration::from_secs(1),
        "it has not waited"
    );

    let (dir, mut broker) = started();
    // The broker may take longer to start than the command waits, but not each time.
    for _ in 0..20 {
        let url = broker.url.clone();
        let listen = broker.kill();
        let list = ["topic", "list", "--server", &url];
        let early = binary().args(list).spawn().expect("the binary is there");
        broker = Serve::start(dir.path(), &listen);
        let early = early.wait_with_output().expect("it was started here");
        if early.status.success() {
            return;
        }
        assert_fails(&early, 5, &[&url]);
    }
    panic!("no broker was waited for");
}
