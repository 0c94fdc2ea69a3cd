//! The binary as scripts use it: real processes, their output, and their exit codes. There is a
//! file for each subcommand, and for what subcommands have in common; this one has what the tests
//! share.

#![expect(
    clippy::disallowed_methods,
    reason = "files of the tests' own, for and from other processes"
)]

mod admin;
mod auth;
mod away;
mod backup;
mod clock;
mod consume;
mod dashboard;
mod entity;
mod ephemeral;
mod export;
mod failures;
mod group;
mod hints;
mod http;
mod input;
mod jwt;
mod logs;
mod manual;
mod places;
mod produce;
mod producer;
mod quotas;
mod seen;
mod serve;
mod stopped;
mod tls;
mod topic;
mod traces;
mod typed;

use std::{
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
    /// The line that announced its address.
    started: String,
    url: String,
}

impl Serve {
    /// Starts a broker and waits until it says that it listens.
    fn start(dir: &Path, listen: &str) -> Self {
        Self::spawn(&mut serve(dir, listen))
    }

    /// Starts a broker with this command and waits until it says that it listens.
    fn spawn(command: &mut Command) -> Self {
        let mut process = command.spawn().expect("the binary is there");
        let mut out = BufReader::new(process.stdout.take().expect("it is piped"));
        let mut line = String::new();
        out.read_line(&mut line).expect("it says where it listens");
        let url = url_in(&line).unwrap_or_else(|| panic!("no address in {line:?}"));
        Self {
            process,
            out,
            started: line,
            url,
        }
    }

    fn listen(&self) -> &str {
        self.url.split_once("://").expect("it has a scheme").1
    }

    fn kill(mut self) -> String {
        self.process.kill().expect("it runs");
        self.process.wait().expect("it was started here");
        self.listen().to_owned()
    }

    /// Tells the broker to stop, as an operator would, and waits; returns its exit code.
    fn stop(self) -> Option<i32> {
        self.ask_to_stop();
        self.ended()
    }

    fn ask_to_stop(&self) {
        let id = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("it runs");
    }

    /// Waits until it has ended; returns its exit code.
    fn ended(mut self) -> Option<i32> {
        let code = self.process.wait().expect("it was started here").code();
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).expect("it is text");
        assert_eq!(rest, "", "one line is all it prints");
        code
    }

    /// Runs a command against this broker.
    fn run(&self, args: &[&str]) -> Output {
        self.run_with(args, b"")
    }

    /// Runs a command against this broker, with this as standard input.
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

/// The broker's URL in the line that announces it, which is text or a JSON object.
fn url_in(line: &str) -> Option<String> {
    if let Ok(started) = serde_json::from_str::<Value>(line) {
        return started["url"].as_str().map(str::to_owned);
    }
    let mut words = line.split_whitespace();
    words
        .find(|word| word.starts_with("http://") || word.starts_with("https://"))
        .map(str::to_owned)
}

impl Drop for Serve {
    fn drop(&mut self) {
        // It may have ended already.
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
    // What is set where the tests run is not meant for this command.
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"TAFFRAIL_") {
            command.env_remove(name);
        }
    }
    command
}

fn serve(dir: &Path, listen: &str) -> Command {
    logging(dir, listen, "error")
}

/// The command for a broker with this log level.
fn logging(dir: &Path, listen: &str, level: &str) -> Command {
    let mut command = binary();
    command
        .args([
            "serve",
            "--with-parent",
            "--listen",
            listen,
            "--log-level",
            level,
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
        // A command that fails may not read all of its input.
        let writing = thread::Builder::new()
            .name("input".into())
            .spawn_scoped(scope, move || stdin.write_all(input));
        let output = process.wait_with_output().expect("it was started here");
        drop(writing.expect("there are threads").join());
        output
    })
}

/// Asserts that a command failed with this exit code and mentions these texts.
fn assert_fails(output: &Output, code: i32, says: &[&str]) {
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{message}");
    for said in says {
        assert!(message.contains(said), "{message:?} does not say {said:?}");
    }
}

/// Asserts that a broker does not start and mentions these texts.
fn assert_does_not_start(command: &mut Command, says: &[&str]) {
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().expect("the binary is there");
    let mut line = String::new();
    let mut out = BufReader::new(process.stdout.take().expect("it is piped"));
    out.read_line(&mut line).expect("it is text");
    if !line.is_empty() {
        process.kill().expect("it runs");
    }
    let output = process.wait_with_output().expect("it was started here");
    assert_eq!(line, "", "it does not say that it listens");
    assert_fails(&output, 78, says);
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn temporary() -> TempDir {
    tempfile::tempdir().expect("there is room for a directory")
}

/// An address with a free port, on a loopback address of its own. A broker that is killed and
/// started again must find its port still free: no other test uses this address, and no client that
/// connects gets a port there, because those are on 127.0.0.1.
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

fn high_watermark(broker: &Serve) -> u64 {
    broker.json(&["topic", "describe", "t"])["partition_list"][0]["high_watermark"]
        .as_u64()
        .expect("a number")
}

/// Parses lines of JSON.
fn objects(output: &[u8]) -> Vec<Value> {
    text(output)
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}
