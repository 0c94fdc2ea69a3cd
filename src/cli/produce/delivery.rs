//! Hands lines to a producer, and collects what became of them.
//!
//! Answers come in the order of the lines. The first failure ends it: what comes behind it was not
//! stored, unless the producer says that it does not know.

use std::time::Duration;

use indicatif::ProgressBar;
use tokio::{sync::mpsc, time::timeout};

use super::{
    Source,
    lines::{BadLine, Line},
    summary::Summary,
};
use crate::client::{Error, Producer, Sent};

/// Chunks of lines that wait for their answers. More than fit the producer's window: the window is
/// what limits.
const CHUNKS_UNDER_WAY: usize = 1_024;

/// When nothing is answered for so long, the progress says what is waited for.
const SLOW: Duration = Duration::from_secs(2);

/// Why not all was delivered.
#[derive(Debug)]
pub(super) enum Stopped {
    /// The input ended at a bad line. Everything before it is stored.
    BadLine(BadLine),
    /// These lines were refused. Everything before them is stored, and nothing behind.
    Refused { lines: (u64, u64), error: Error },
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
    sent: Sent,
}

/// Delivers everything the source has, with this key, if one is given. Answers what is stored, and
/// why not all.
pub(super) async fn deliver(
    producer: Producer,
    key: Option<&[u8]>,
    source: Source,
    summary: Summary,
    progress: ProgressBar,
) -> (Summary, Result<(), Stopped>) {
    let (waiting, answers) = mpsc::channel(CHUNKS_UNDER_WAY);
    let collecting = tokio::spawn(collect(answers, summary, progress));
    let read = send(&producer, key, source, waiting).await;
    let finished = producer
        .finish()
        .await
        .map_err(|error| Stopped::Lost { lines: None, error });
    let (summary, answered) = collecting.await.expect("collecting answers does not panic");
    // In the order of the lines that they are about.
    (summary, answered.and(read).and(finished))
}

/// Sends until the source has no more, a line cannot be sent, or an answer is a failure.
async fn send(
    producer: &Producer,
    key: Option<&[u8]>,
    mut source: Source,
    waiting: mpsc::Sender<Vec<Waiting>>,
) -> Result<(), Stopped> {
    loop {
        let lines = tokio::select! {
            lines = source.recv() => lines,
            () = waiting.closed() => return Ok(()),
        };
        let lines = match lines {
            None => return Ok(()),
            Some(lines) => lines.map_err(Stopped::BadLine)?,
        };
        let mut under_way = Vec::with_capacity(lines.len());
        let sent = send_lines(producer, key, &lines, &mut under_way).await;
        // When nobody waits any more, an answer was a failure.
        if waiting.send(under_way).await.is_err() {
            return Ok(());
        }
        sent?;
    }
}

async fn send_lines(
    producer: &Producer,
    key: Option<&[u8]>,
    lines: &[Line],
    under_way: &mut Vec<Waiting>,
) -> Result<(), Stopped> {
    for line in lines {
        match producer.send(line.record(key)).await {
            Ok(sent) => under_way.push(Waiting {
                number: line.number,
                bytes: line.bytes,
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

/// Waits for the answers, in order. After a failure it takes no more, and looks at what is left.
async fn collect(
    mut answers: mpsc::Receiver<Vec<Waiting>>,
    mut summary: Summary,
    progress: ProgressBar,
) -> (Summary, Result<(), Stopped>) {
    let mut failed = Failed::default();
    while let Some(chunk) = answers.recv().await {
        let mut stored = 0;
        for Waiting {
            number,
            bytes,
            sent,
        } in chunk
        {
            match answer(sent, &progress).await {
                Ok(place) => {
                    summary.add(number, bytes, place.partition, 1);
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

async fn answer(mut sent: Sent, progress: &ProgressBar) -> <Sent as Future>::Output {
    if let Ok(answer) = timeout(SLOW, &mut sent).await {
        return answer;
    }
    progress.set_message("waiting for the broker");
    let answer = sent.await;
    progress.set_message("");
    answer
}

/// The lines that are not stored, or not known to be.
#[derive(Debug, Default)]
struct Failed {
    refused: Option<((u64, u64), Error)>,
    unknown: Option<((u64, u64), Error)>,
}

impl Failed {
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
