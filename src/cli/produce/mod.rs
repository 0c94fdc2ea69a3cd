//! `taffrail produce`: lines of a file or of standard input, each stored exactly once.
//!
//! A thread of its own reads lines and makes requests of them (`requests.rs`, `fields.rs`); the command sends them with
//! many under way (`delivery.rs`). When the connection is lost, nobody knows which of the requests under way are
//! stored. The broker keeps each of them whole or not at all, and each is marked (`marker.rs`), so that after
//! connecting again the log itself says which are there (`recovery.rs`), and only the others are sent again. Order is
//! kept: a stream's requests are stored in the order they are sent, up to the first that is not.
//!
//! What could still store a line twice is a broker that goes on working on a lost connection while its log is being
//! read: that is why, unless the broker is seen to be gone in between, it is left alone for a moment first.

mod delivery;
mod fields;
mod marker;
mod recovery;
mod requests;
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

use super::{Failure, connection::Server, flags::ProduceFlags};
use crate::{env::Env, types::PartitionId};
use delivery::{Delivery, Stopped};
use fields::Fields;
use marker::Marker;
use requests::{BadLine, Request, Requests, Target};
use summary::Summary;

/// Requests that are made before the connection has taken those before them.
const REQUESTS_AHEAD: usize = 4;

pub(super) async fn run(flags: ProduceFlags, env: Env) -> Result<(), Failure> {
    let server = Server::new(&flags.connection).retrying(&flags.retry_for)?;
    let fields =
        Fields { key: flags.key_field.clone(), event_type: flags.type_field.clone(), time: flags.time_field.clone() };
    // The file is opened first: a name that is mistyped should not need a broker to be noticed.
    let input = Input::open(flags.file.as_deref()).await?;
    let progress = progress(input.len);

    let client = server.connect().await?;
    let (topic, _) = client.topics().describe(&flags.topic).await?;
    let partition = flags.partition.map(PartitionId);
    let target = Target { topic: flags.topic.clone(), partitions: topic.partitions, partition };
    let marker = Marker::before_first(env.random.next_u64());
    let requests = read_requests(Requests::new(input.bytes, &input.name, fields, target, marker));

    let mut delivery = Delivery::start(server, client, topic, progress.clone(), Summary::new(env.clock)).await?;
    let outcome = delivery.deliver(requests).await;
    progress.finish_and_clear();
    delivery.summary().print(&flags.topic, flags.connection.json)?;
    outcome.map_err(|stopped| stopped.into_failure(delivery.summary()))
}

/// Makes requests on a thread of its own, which may wait for input.
fn read_requests(mut requests: Requests<impl Read + Send + 'static>) -> mpsc::Receiver<Result<Request, BadLine>> {
    let (sender, receiver) = mpsc::channel(REQUESTS_AHEAD);
    tokio::task::spawn_blocking(move || {
        while let Some(request) = requests.next().transpose() {
            // Nobody receives when the command has already failed.
            if sender.blocking_send(request).is_err() {
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
            return Ok(Self { bytes: Box::new(io::stdin()), name: "standard input".to_owned(), len: None });
        };
        let problem = |error: io::Error| Failure::General(format!("cannot read {}: {error}", path.display()));
        #[expect(clippy::disallowed_types, reason = "the input is the user's, not the broker's, and may be a pipe")]
        let file = tokio::fs::File::open(path).await.map_err(problem)?;
        let metadata = file.metadata().await.map_err(problem)?;
        if metadata.is_dir() {
            return Err(problem(io::ErrorKind::IsADirectory.into()));
        }
        let len = metadata.is_file().then_some(metadata.len());
        Ok(Self { bytes: Box::new(file.into_std().await), name: path.display().to_string(), len })
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
            Self::Refused { lines: (first, last), error } => Failure::CallIn {
                message: format!("lines {first} to {last} were refused: {error}; {stored}"),
                source: error,
            },
            Self::Lost { lines: Some((first, last)), error } => Failure::CallIn {
                message: format!("it is not known whether lines {first} to {last} are stored: {error}; {stored}"),
                source: error,
            },
            Self::Lost { lines: None, error } => {
                Failure::CallIn { message: format!("{error}; {stored}"), source: error }
            }
        }
    }
}
