//! Sends lines with a producer, and collects the answers.
//!
//! Answers come in the order of the lines. The first failure ends the delivery: lines behind it
//! were not stored, unless their outcome is unknown. When the command is told to stop, the input
//! ends, and the answers to what was sent are waited for; when it is told again, they are not.

use std::time::Duration;

use indicatif::ProgressBar;
use tokio::{sync::mpsc, time::timeout};

use super::{
    Source,
    fixed::Fixed,
    lines::{BadInput, Line},
    summary::{Stored, Summary},
};
use crate::{
    cli::{
        said,
        signals::{Stop, StopSignal},
    },
    client::{Error, Producer, Sent, SentRecord},
};

/// How many chunks of lines may wait for answers: more than the producer's window allows, so that
/// only the window limits.
const CHUNKS_UNDER_WAY: usize = 1_024;

/// If there is no answer for this long, the progress bar says what is waited for.
const SLOW: Duration = Duration::from_secs(2);

/// Why the delivery has ended early.
#[derive(Debug)]
pub(super) enum Stopped {
    /// The input had a bad line. Everything before it is stored.
    BadInput(BadInput),
    /// The command was told to stop. Everything that was sent is stored.
    Told(StopSignal),
    /// The command was told to stop twice, and did not wait for the answers for these lines.
    ToldAgain {
        lines: (u64, u64),
        signal: StopSignal,
    },
    /// The broker refused these lines. Everything before them is stored, and nothing behind them.
    Refused { lines: (u64, u64), error: Error },
    /// The topic was deleted, and its records with it. If another topic has its name now, nothing
    /// was stored there.
    Deleted(Error),
    /// The broker could not be reached again. These lines may be stored or not; nothing behind them
    /// is.
    Lost {
        lines: Option<(u64, u64)>,
        error: Error,
    },
}

/// A line that was sent and has not been answered.
struct Waiting {
    number: u64,
    bytes: u64,
    has_key: bool,
    sent: Sent,
}

/// Delivers all lines of the source. Returns what is stored, and why it ended early if it did.
pub(super) async fn deliver(
    producer: Producer,
    fixed: &Fixed,
    source: Source,
    summary: Summary,
    progress: ProgressBar,
    stop: Stop,
) -> (Summary, Result<(), Stopped>) {
    let (waiting, answers) = mpsc::channel(CHUNKS_UNDER_WAY);
    let collecting = tokio::spawn(collect(answers, summary, progress, stop.clone()));
    let read = send(&producer, fixed, source, waiting, stop.clone()).await;
    let finished = finish(producer, stop).await;
    let (summary, answered) = collecting.await.expect("collecting answers does not panic");
    if let Err(Stopped::Deleted(error)) = finished {
        return (summary, Err(Stopped::Deleted(error)));
    }
    // The first failure in the order of the lines counts.
    (summary, answered.and(read).and(finished))
}

/// Sends lines until the input ends, a line cannot be sent, or an answer is a failure.
async fn send(
    producer: &Producer,
    fixed: &Fixed,
    mut source: Source,
    waiting: mpsc::Sender<Vec<Waiting>>,
    mut stop: Stop,
) -> Result<(), Stopped> {
    loop {
        let lines = tokio::select! {
            biased;
            signal = stop.told() => return Err(Stopped::Told(signal)),
            () = waiting.closed() => return Ok(()),
            lines = source.recv() => lines,
        };
        let lines = match lines {
            None => return Ok(()),
            Some(lines) => lines.map_err(Stopped::BadInput)?,
        };
        let mut under_way = Vec::with_capacity(lines.len());
        let sent = send_lines(producer, fixed, &lines, &mut under_way, &mut stop).await;
        // The answers are not collected any more because one was a failure.
        if waiting.send(under_way).await.is_err() {
            return Ok(());
        }
        sent?;
    }
}

async fn send_lines(
    producer: &Producer,
    fixed: &Fixed,
    lines: &[Line],
    under_way: &mut Vec<Waiting>,
    stop: &mut Stop,
) -> Result<(), Stopped> {
    for line in lines {
        let sent = tokio::select! {
            biased;
            sent = producer.send(line.record(fixed)) => sent,
            signal = stop.told() => return Err(Stopped::Told(signal)),
        };
        match sent {
            Ok(sent) => under_way.push(Waiting {
                number: line.number,
                bytes: line.bytes,
                has_key: fixed.key.is_some() || line.has_key(),
                sent,
            }),
            // The failed answer says why; if there is none, the producer's end does.
            Err(Error::StreamEnded { .. }) => return Ok(()),
            Err(error) => {
                return Err(Stopped::Refused {
                    lines: (line.number, line.number),
                    error,
                });
            }
        }
    }
    Ok(())
}

/// Waits until everything sent is answered. After the first signal to stop, it says how to end the
/// wait.
async fn finish(producer: Producer, mut stop: Stop) -> Result<(), Stopped> {
    let mut told_slowly = stop.clone();
    let slow = async {
        told_slowly.told().await;
        tokio::time::sleep(SLOW).await;
        said::remark("waiting for the broker's answers; the same signal once more ends this");
        std::future::pending::<()>().await;
    };
    tokio::select! {
        finished = producer.finish() => {
            finished.map_err(|error| match error.reason() {
                Some("TOPIC_RECREATED" | "UNKNOWN_TOPIC") => Stopped::Deleted(error),
                _ => Stopped::Lost { lines: None, error },
            })
        }
        // What was not answered is reported by the collector.
        _ = stop.told_again() => Ok(()),
        () = slow => unreachable!("it does not end"),
    }
}

/// Collects the answers in order. After a failure it only looks at those that are left.
async fn collect(
    mut answers: mpsc::Receiver<Vec<Waiting>>,
    mut summary: Summary,
    progress: ProgressBar,
    mut stop: Stop,
) -> (Summary, Result<(), Stopped>) {
    let mut failed = Failed::default();
    while let Some(chunk) = answers.recv().await {
        let mut stored = 0;
        for waiting in chunk {
            let (number, bytes, has_key) = (waiting.number, waiting.bytes, waiting.has_key);
            let Some(answer) = failed
                .wait(number, waiting.sent, &progress, &mut stop)
                .await
            else {
                continue;
            };
            match answer {
                Ok(SentRecord { partition, .. }) => {
                    summary.add(&Stored {
                        last_line: number,
                        bytes,
                        partition,
                        records: 1,
                        without_key: u64::from(!has_key),
                    });
                    stored += bytes;
                }
                Err(error) => {
                    answers.close();
                    failed.add(number, error);
                }
            }
        }
        progress.inc(stored);
    }
    (summary, failed.outcome())
}

/// Lines that are not stored, or whose outcome is unknown.
#[derive(Debug, Default)]
struct Failed {
    refused: Option<((u64, u64), Error)>,
    unknown: Option<((u64, u64), Error)>,
    given_up: Option<((u64, u64), StopSignal)>,
}

impl Failed {
    /// Waits for the answer to a line. `None` if the command was told to stop again; then all
    /// further lines are given up, too.
    async fn wait(
        &mut self,
        number: u64,
        sent: Sent,
        progress: &ProgressBar,
        stop: &mut Stop,
    ) -> Option<<Sent as Future>::Output> {
        let signal = match self.given_up {
            Some((_, signal)) => signal,
            None => tokio::select! {
                biased;
                answer = answer(sent, progress) => return Some(answer),
                signal = stop.told_again() => signal,
            },
        };
        self.given_up.get_or_insert(((number, number), signal)).0.1 = number;
        None
    }

    fn add(&mut self, number: u64, error: Error) {
        let kind = match error {
            // The line was never sent.
            Error::StreamEnded { .. } => return,
            Error::OutcomeUnknown { .. } => &mut self.unknown,
            _ => &mut self.refused,
        };
        kind.get_or_insert(((number, number), error)).0.1 = number;
    }

    fn outcome(self) -> Result<(), Stopped> {
        if let Some((lines, signal)) = self.given_up {
            return Err(Stopped::ToldAgain { lines, signal });
        }
        match (self.unknown, self.refused) {
            (Some((lines, error)), _) => Err(Stopped::Lost {
                lines: Some(lines),
                error,
            }),
            // All lines that were sent are answered.
            (None, Some((_, error @ Error::Unavailable { .. }))) => {
                Err(Stopped::Lost { lines: None, error })
            }
            (None, Some((lines, error))) => Err(Stopped::Refused { lines, error }),
            (None, None) => Ok(()),
        }
    }
}

async fn answer(mut sent: Sent, progress: &ProgressBar) -> <Sent as Future>::Output {
    if let Ok(answer) = timeout(SLOW, &mut sent).await {
        return answer;
    }
    progress.set_message("waiting for the broker");
    let answer = sent.await;
    progress.set_message("");
    answer
}
