//! Lines of the log.

use std::{process::Command, thread};

use serde_json::Value;

use crate::{cli::logging, config::Config};

#[test]
#[ignore = "it sets up the log of the whole process: the test below starts it in one of its own"]
fn a_thread_panics_where_the_log_is_json() {
    let given = [("log.format", "json".to_owned())];
    let loaded = Config::default().load(None, std::iter::empty(), &given);
    let loaded = loaded.expect("it is a setting");
    logging::start(&loaded.config).expect("it is the first here");
    let unlucky = thread::Builder::new().name("unlucky".to_owned());
    let panicked = unlucky.spawn(|| panic!("on purpose"));
    panicked
        .expect("there are threads")
        .join()
        .expect_err("it panics");
}

#[test]
fn a_panic_is_a_line_of_the_log() {
    let this = std::env::current_exe().expect("it has a name");
    let test = "cli::tests::logging::a_thread_panics_where_the_log_is_json";
    let mut command = Command::new(this);
    command.args(["--ignored", "--exact", "--nocapture", test]);
    let output = command.output().expect("it can be started");
    let said = String::from_utf8(output.stderr).expect("it is text");
    let mut lines = Vec::new();
    for line in said.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{said}"));
        lines.push(line);
    }
    assert_eq!(lines.len(), 1, "{said}");
    assert_eq!(lines[0]["level"], "ERROR", "{said}");
    let message = lines[0]["message"].as_str().expect("it has a message");
    assert!(message.contains("on purpose"), "{message}");
}
