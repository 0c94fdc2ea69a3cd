//! `taffrail produce`: lines of a file or of standard input, each stored exactly once.
//!
//! A thread of its own reads lines (`lines.rs`, `fields.rs`). The client's producer delivers them
//! (`delivery.rs`): it is what makes requests of them, sends them again when the connection is
//! lost, and keeps their order. With a condition on the entity's version they are a single append
//! instead (`conditional.rs`).

mod conditional;
mod delivery;
mod fields;
mod lines;
mod summary;

#[cfg(test)]
mod tests;

use std::{
    io::{self, IsTerminal, Read},
    path::Path,
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::sync::mpsc;

use super::{Failure, connection::Server, flags::ProduceFlags, output};
use crate::{
    client::{Client, Producer},
    env::Env,
    types::{PartitionId, Version},
};
use conditional::Conditional;
use delivery::{Stopped, deliver};
use fields::Fields;
use lines::{BadLine, Line, Lines};
use summary::Summary;

/// Chunks of lines that are read before those before them are taken.
const CHUNKS_AHEAD: usize = 4;

/// The producer gives up when nothing is answered for so long, however short a time it is told: a
/// broker that works may take this long.
const LEAST_PATIENCE: Duration = Duration::from_secs(1);

/// Lines, until the input ends or has a bad one.
type Source = mpsc::Receiver<Result<Vec<Line>, BadLine>>;

pub(super) async fn run(flags: ProduceFlags, env: Env) -> Result<(), Failure> {
    let server = Server::new(&flags.connection).retrying(&flags.retry_for)?;
    let fields = Fields {
        key: flags.key_field.clone(),
        event_type: flags.type_field.clone(),
        time: flags.time_field.clone(),
    };
    // The file is opened first: a name that is mistyped should not need a broker to be noticed.
    let input = Input::open(flags.file.as_deref()).await?;
    let progress = progress(input.len);
    let client = server.connect().await?;
    let json = flags.connection.json;

    if let (Some(key), Some(expected)) = (&flags.key, flags.expect_version) {
        let conditional = Conditional {
            topic: flags.topic,
            key: key.clone(),
            expected: Version(expected),
        };
        let source = read_lines(Lines::new(input.bytes, &input.name, fields));
        let appended = conditional
            .append(
                &server,
                client,
                source,
                env.random.next_u64(),
                Summary::new(env.clock),
                json,
            )
            .await;
        progress.finish_and_clear();
        return appended;
    }

    let producer = open(&client, &flags, &server).await?;
    let source = read_lines(Lines::new(input.bytes, &input.name, fields));
    let key = flags.key.as_ref().map(|key| key.as_encoded_bytes());
    let (summary, outcome) = deliver(
        producer,
        key,
        source,
        Summary::new(env.clock),
        progress.clone(),
    )
    .await;
    progress.finish_and_clear();
    if json {
        output::json(&summary.json(&flags.topic))?;
    } else {
        summary.print(&flags.topic)?;
    }
    outcome.map_err(|stopped| stopped.into_failure(&summary))
}

async fn open(client: &Client, flags: &ProduceFlags, server: &Server) -> Result<Producer, Failure> {
    let mut producer = client
        .producer(&flags.topic)
        .give_up_after(server.retry_for().max(LEAST_PATIENCE));
    if let Some(partition) = flags.partition {
        producer = producer.partition(PartitionId(partition));
    }
    Ok(producer.open().await?)
}

/// Reads on a thread of its own, which may wait for input.
fn read_lines(mut lines: Lines<impl Read + Send + 'static>) -> Source {
    let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
    tokio::task::spawn_blocking(move || {
        while let Some(lines) = lines.next().transpose() {
            // Nobody receives when the command has already failed.
            if sender.blocking_send(lines).is_err() {
                break;
            }
        }
    });
    receiver
}

/// Where lines come from.
struct Input {
    bytes: Box<dyn Read + Send>,
    name: String,
    /// How many bytes there will be, where that is known.
    len: Option<u64>,
}

impl Input {
    async fn open(file: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = file else {
            return Ok(Self {
                bytes: Box::new(io::stdin()),
                name: "standard input".to_owned(),
                len: None,
            });
        };
        let problem =
            |error: io::Error| Failure::General(format!("cannot read {}: {error}", path.display()));
        #[expect(
            clippy::disallowed_types,
            reason = "the input is the user's, not the broker's, and may be a pipe"
        )]
        let file = tokio::fs::File::open(path).await.map_err(problem)?;
        let metadata = file.metadata().await.map_err(problem)?;
        if metadata.is_dir() {
            return Err(problem(io::ErrorKind::IsADirectory.into()));
        }
        let len = metadata.is_file().then_some(metadata.len());
        Ok(Self {
            bytes: Box::new(file.into_std().await),
            name: path.display().to_string(),
            len,
        })
    }
}

/// A bar over the input's bytes, or a count where their number is not known; only on a terminal.
fn progress(len: Option<u64>) -> ProgressBar {
    let template = match len {
        Some(_) => "{bar:40} {percent}% {bytes}/{total_bytes} {bytes_per_sec} {msg}",
        None => "{spinner} {bytes} {bytes_per_sec} {msg}",
    };
    let bar = len.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    bar.set_style(ProgressStyle::with_template(template).expect("the template is well-formed"));
    if !io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

impl Stopped {
    /// Says how far it came, so that it can be gone on from there.
    fn into_failure(self, summary: &Summary) -> Failure {
        let stored = summary.stored();
        match self {
            Self::BadLine(bad) => Failure::General(format!("{bad}; {stored}")),
            Self::Refused { lines, error } => {
                let (lines, were) = match lines {
                    (first, last) if first == last => (format!("line {first}"), "was"),
                    (first, last) => (format!("lines {first} to {last}"), "were"),
                };
                Failure::CallIn {
                    message: format!("{lines} {were} refused: {error}; {stored}"),
                    source: error,
                }
            }
            Self::Lost {
                lines: Some((first, last)),
                error,
            } => {
                let lines = if first == last {
                    format!("line {first} is")
                } else {
                    format!("lines {first} to {last} are")
                };
                let before = if summary.is_empty() {
                    String::new()
                } else {
                    format!("; {stored}")
                };
                let message = format!("it is not known whether {lines} stored: {error}{before}");
                Failure::CallIn {
                    message,
                    source: error,
                }
            }
            Self::Lost { lines: None, error } => Failure::CallIn {
                message: format!("{error}; {stored}"),
                source: error,
            },
        }
    }
}
