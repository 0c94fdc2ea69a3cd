//! Carries out the commands of the conformance kit with the Rust client.
//!
//! One command a line on standard input, one answer a line on standard output: `../../README.md`
//! says which there are. What is here is a command for each call of the client (`calls.rs`), and
//! the values of both ends (`values.rs`).

#![expect(clippy::print_stdout, reason = "answers go to standard output")]

mod calls;
mod values;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::{Value, json};
use taffrail::client::Error;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    task::AbortHandle,
};

use calls::Named;

/// Why a command could not be carried out.
pub(crate) enum Failure {
    /// The client's error.
    Client(Error),
    /// The client does not have this feature.
    Unsupported,
    /// The command is malformed, or names an object that does not exist.
    Command(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Client(error)
    }
}

impl Failure {
    pub(crate) fn command(what: impl Into<String>) -> Self {
        Self::Command(what.into())
    }

    fn to_wire(&self) -> Value {
        match self {
            Self::Client(error) => values::described(error),
            Self::Unsupported => json!({"kind": "unsupported"}),
            Self::Command(message) => json!({"kind": "bug", "message": message}),
        }
    }
}

type Tasks = Mutex<HashMap<u64, AbortHandle>>;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let (named, tasks) = (Arc::new(Named::default()), Arc::new(Tasks::default()));
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let command: Value = serde_json::from_str(&line)?;
        if command["do"] == "cancel" {
            cancel(&tasks, &command);
            continue;
        }
        let id = command["id"].as_u64().unwrap_or_default();
        let named = Arc::clone(&named);
        let task = tokio::spawn(async move { calls::carry_out(&named, &command).await });
        let mut under_way = tasks.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.insert(id, task.abort_handle());
        drop(under_way);
        tokio::spawn(async move {
            let answer = match task.await {
                Ok(Ok(ok)) => json!({"id": id, "ok": ok}),
                Ok(Err(failure)) => json!({"id": id, "error": failure.to_wire()}),
                Err(error) if error.is_cancelled() => {
                    json!({"id": id, "error": {"kind": "cancelled"}})
                }
                Err(error) => {
                    let bug = json!({"kind": "bug", "message": error.to_string()});
                    json!({"id": id, "error": bug})
                }
            };
            println!("{answer}");
        });
    }
    Ok(())
}

/// Cancels another command: its future is dropped.
fn cancel(tasks: &Tasks, command: &Value) {
    let under_way = tasks.lock().unwrap_or_else(PoisonError::into_inner);
    let what = command["what"].as_u64().unwrap_or_default();
    if let Some(task) = under_way.get(&what) {
        task.abort();
    }
    println!("{}", json!({"id": command["id"], "ok": {}}));
}
