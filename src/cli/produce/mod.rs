//! `taffrail produce`: stores lines of files or of standard input, each exactly once.
//!
//! A separate thread reads the lines (`lines.rs`, `fields.rs`); the flags give fields that all of
//! them have (`fixed.rs`). The client's producer delivers them (`delivery.rs`): it makes requests
//! of them, sends them again if the connection is lost, and keeps their order. With a condition on
//! the entity's version all lines are one append instead (`conditional.rs`).

mod conditional;
mod delivery;
mod fields;
mod fixed;
mod lines;
mod summary;

#[cfg(test)]
mod tests;

use std::{
    io::{self, IsTerminal, Read},
    path::{Path, PathBuf},
    sync::atomic::Ordering,
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::sync::mpsc;

use super::{Failure, connection::Server, flags::ProduceFlags, output, said, signals::Stop};
use crate::{
    client::{Error, Producer},
    env::Env,
    types::{PartitionId, Version},
};
use conditional::Conditional;
use delivery::{Stopped, deliver};
use fields::{Field, Fields};
use fixed::Fixed;
use lines::{BadInput, Line, Lines};
use summary::Summary;

/// How many chunks of lines are read ahead.
const CHUNKS_AHEAD: usize = 4;

/// The shortest time without any answer after which the producer gives up, even if `--retry-for` is
/// shorter: a working broker may take this long.
const LEAST_PATIENCE: Duration = Duration::from_secs(1);

/// How long a line waits for others, to be sent together.
const LINGER: Duration = Duration::from_millis(5);

/// Chunks of lines, until the input ends or has a bad line.
type Source = mpsc::Receiver<Result<Vec<Line>, BadInput>>;

pub(super) async fn run(flags: ProduceFlags, env: Env) -> Result<(), Failure> {
    let server = Server::new(&flags.connection)?.retrying(flags.retry_for.as_deref(), true)?;
    let fixed = Fixed::parse(&flags)?;
    // Files are opened first, so that a misspelt name is noticed without a broker.
    let inputs = Input::open_all(&flags.file).await?;
    let progress = progress(inputs.iter().map(|input| input.len).sum());
    let mut inputs = inputs.into_iter();
    let first = inputs.next().unwrap_or_else(Input::standard);
    let mut lines = Lines::new(first.bytes, &first.name, fields(&flags), flags.skip);
    for input in inputs {
        lines = lines.and(input.bytes, &input.name);
    }
    let empty_lines = lines.empty_lines();
    let produced = match (&flags.key, flags.expect_version) {
        (Some(key), Some(expected)) => {
            let conditional = Conditional {
                topic: flags.topic.clone(),
                key: key.clone(),
                expected: Version(expected),
            };
            conditional.run(&flags, &server, lines, env).await
        }
        _ => deliver_lines(&flags, &fixed, &server, lines, &progress, env).await,
    };
    progress.finish_and_clear();
    let empty = empty_lines.load(Ordering::Relaxed);
    if empty > 0 {
        let empty = output::counted(empty, "empty line");
        said::remark(format_args!("{empty} passed over"));
    }
    produced
}

fn fields(flags: &ProduceFlags) -> Fields {
    let field = |name: &Option<String>, is_optional| {
        let name = name.clone()?;
        Some(Field { name, is_optional })
    };
    Fields {
        key: field(&flags.key_field, flags.key_optional),
        event_type: field(&flags.type_field, flags.type_optional),
        time: field(&flags.time_field, flags.time_optional),
        time_unit: flags.time_unit,
    }
}

async fn deliver_lines(
    flags: &ProduceFlags,
    fixed: &Fixed,
    server: &Server,
    lines: Lines<impl Read + Send + 'static>,
    progress: &ProgressBar,
    env: Env,
) -> Result<(), Failure> {
    let producer = open(flags, server).await.map_err(nothing_stored)?;
    let stop = Stop::on_signals()?;
    let summary = Summary::new(env.clock, flags.skip);
    let source = read_lines(lines);
    let (summary, outcome) =
        deliver(producer, fixed, source, summary, progress.clone(), stop).await;
    progress.finish_and_clear();
    let printed = if flags.connection.json {
        output::json(&summary.json(&flags.topic))
    } else {
        summary.print(&flags.topic)
    };
    // How many lines are stored matters more than that it could not be printed.
    outcome.map_err(|stopped| stopped.into_failure(&summary, server))?;
    printed.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::Output(error),
        _ => Failure::General(format!(
            "cannot write the output: {error}; {}",
            summary.stored()
        )),
    })
}

async fn open(flags: &ProduceFlags, server: &Server) -> Result<Producer, Failure> {
    let mut producer = server
        .connect()
        .await?
        .producer(&flags.topic)
        .linger(LINGER)
        .on_outage(server.outage_teller())
        .give_up_after(server.retry_for().max(LEAST_PATIENCE));
    if let Some(partition) = flags.partition {
        producer = producer.partition(PartitionId(partition));
    }
    Ok(producer.open().await?)
}

/// The failure, with the remark that nothing was stored.
fn nothing_stored(failure: Failure) -> Failure {
    let message = format!("{failure}; nothing was stored");
    match failure {
        Failure::Call(source) | Failure::CallIn { source, .. } => {
            Failure::CallIn { message, source }
        }
        failure => failure,
    }
}

/// Reads lines on a thread of its own, because reading may block.
fn read_lines(mut lines: Lines<impl Read + Send + 'static>) -> Source {
    let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
    tokio::task::spawn_blocking(move || {
        while let Some(lines) = lines.next().transpose() {
            // The receiver is gone if the command has failed.
            if sender.blocking_send(lines).is_err() {
                break;
            }
        }
    });
    receiver
}

/// A file or standard input.
struct Input {
    bytes: Box<dyn Read + Send>,
    name: String,
    /// The size in bytes, if it is known.
    len: Option<u64>,
}

impl Input {
    fn standard() -> Self {
        Self {
            bytes: Box::new(io::stdin()),
            name: "standard input".to_owned(),
            len: None,
        }
    }

    async fn open_all(files: &[PathBuf]) -> Result<Vec<Self>, Failure> {
        let mut inputs = Vec::new();
        let mut is_standard_taken = false;
        for path in files {
            if path.as_os_str() != "-" {
                inputs.push(Self::open(path).await?);
                continue;
            }
            if is_standard_taken {
                let problem = "--file: standard input (-) can be read only once";
                return Err(Failure::Usage(problem.to_owned()));
            }
            is_standard_taken = true;
            inputs.push(Self::standard());
        }
        Ok(inputs)
    }

    async fn open(path: &Path) -> Result<Self, Failure> {
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

/// A progress bar over the bytes of the input, or a counter if their number is unknown; on a
/// terminal only.
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
    /// Explains the failure, with how many lines are stored and how to continue.
    fn into_failure(self, summary: &Summary, server: &Server) -> Failure {
        let so_far = format!("{}; {}", summary.stored(), summary.go_on());
        match self {
            Self::BadInput(bad @ BadInput::TooShort { .. }) => {
                Failure::General(format!("{bad}; nothing was stored"))
            }
            Self::BadInput(bad) => Failure::General(format!("{bad}; {so_far}")),
            Self::Told(signal) => Failure::Stopped {
                message: format!("interrupted; {so_far}"),
                signal,
            },
            Self::ToldAgain { lines, signal } => Failure::Stopped {
                message: format!("interrupted; {}", in_doubt(lines, summary)),
                signal,
            },
            Self::Refused { lines, error } => {
                let (lines, were) = match lines {
                    (first, last) if first == last => (format!("line {first}"), "was"),
                    (first, last) => (format!("lines {first} to {last}"), "were"),
                };
                Failure::CallIn {
                    message: format!("{lines} {were} refused: {error}; {so_far}"),
                    source: error,
                }
            }
            Self::Deleted(error) => Failure::CallIn {
                message: format!("{error}; {}", summary.gone()),
                source: error,
            },
            Self::Lost {
                lines: Some(lines),
                error,
            } => Failure::CallIn {
                message: format!("{}; {}", gave_up(&error, server), in_doubt(lines, summary)),
                source: error,
            },
            Self::Lost { lines: None, error } => Failure::CallIn {
                message: format!("{}; {so_far}", gave_up(&error, server)),
                source: error,
            },
        }
    }
}

/// That the broker could not be reached in time.
fn gave_up(error: &Error, server: &Server) -> String {
    let seconds = server.retry_for().max(LEAST_PATIENCE).as_secs_f64();
    match error {
        Error::Unavailable { .. } | Error::OutcomeUnknown { .. } | Error::StreamEnded { .. } => {
            format!("{}; gave up after {seconds} s", server.why_away(error))
        }
        _ => error.to_string(),
    }
}

/// Says of which lines it is unknown whether they are stored, and how many before them are.
fn in_doubt((first, last): (u64, u64), summary: &Summary) -> String {
    let before = summary.last_line();
    let lines = if first == last {
        format!("line {first} is")
    } else {
        format!("lines {first} to {last} are")
    };
    let stored = if before < first && before > summary.skipped() {
        format!("{}; ", summary.stored())
    } else {
        String::new()
    };
    format!(
        "{stored}it is not known whether {lines} stored; look there, then go on with --skip \
         {before}, which sends them again, or --skip {last}, which leaves them out"
    )
}
