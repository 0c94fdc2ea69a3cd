//! Hands lines to a producer, and collects what became of them.
//!
//! Answers come in the order of the lines. The first failure ends it: what comes behind it was not
//! stored, unless the producer says that it does not know. Whoever tells it to stop ends the input,
//! and what was sent is still waited for; told again, it waits no more.

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

/// Chunks of lines that wait for their answers. More than fit the producer's window: the window is
/// what limits.
const CHUNKS_UNDER_WAY: usize = 1_024;

/// When nothing is answered for so long, the progress says what is waited for.
const SLOW: Duration = Duration::from_secs(2);

/// Why not all was delivered.
#[derive(Debug)]
pub(super) enum Stopped {
    /// The input ended at a bad line. Everything before it is stored.
    BadInput(BadInput),
    /// It was told to stop. Everything that was sent is stored.
    Told(StopSignal),
    /// It was told again, and did not wait for what becomes of these lines.
    ToldAgain {
        lines: (u64, u64),
        signal: StopSignal,
    },
    /// These lines were refused. Everything before them is stored, and nothing behind.
    Refused { lines: (u64, u64), error: Error },
    /// The topic was deleted, and what was stored in it is gone. Another one of its name has nothing.
    Deleted(Error),
    /// The broker did not come back. These lines are stored, or not; nothing behind them is.
    Lost {
        lines: Option<(u64, u64)>,
        error: Error,
    },
}

/// A line on its way.
struct Waiting {
    number: u64,
    bytes: u64,
    has_key: bool,
    sent: Sent,
}

/// Delivers everything the source has. Answers what is stored, and why not all.
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
    // In the order of the lines that they are about.
    (summary, answered.and(read).and(finished))
}

/// Sends until the source has no more, a line cannot be sent, or an answer is a failure.
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
        // When nobody waits any more, an answer was a failure.
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
            // The answer that ended it says why, or else the producer's end does.
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

/// Waits for all that was sent. Whoever told it to stop and waits for this learns how to end it.
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
        // What was not answered is told of where answers are collected.
        _ = stop.told_again() => Ok(()),
        () = slow => unreachable!("it does not end"),
    }
}

/// Waits for the answers, in order. After a failure it takes no more, and looks at what is left.
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

/// The lines that are not stored, or not known to be.
#[derive(Debug, Default)]
struct Failed {
    refused: Option<((u64, u64), Error)>,
    unknown: Option<((u64, u64), Error)>,
    given_up: Option<((u64, u64), StopSignal)>,
}

impl Failed {
    /// Waits for the answer for a line. None if whoever waits has had enough; then all lines behind
    /// it are given up as well.
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
            // It was never sent.
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
            // Everything that was ever sent was answered.
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
