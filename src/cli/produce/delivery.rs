//! Sends requests, many at a time, until each is stored.

use std::{
    collections::{BTreeMap, VecDeque},
    future::poll_fn,
    pin::Pin,
    time::Duration,
};

use indicatif::ProgressBar;
use tokio::sync::mpsc;

use super::{
    recovery,
    requests::{BadLine, Request},
    summary::Summary,
};
use crate::{
    cli::{Failure, connection::Server},
    client::{AppendHandle, AppendWindow, Appended, Appender, Client, Error, Topic},
    types::{Offset, PartitionId, Position},
};

/// How many requests are under way: of 1 MiB, as many as a connection takes without waiting for a slow sync.
const UNDER_WAY: usize = 32;

/// Waited before a request that the broker had no room for is sent again, if the broker does not say.
const OVERLOAD_PAUSE: Duration = Duration::from_millis(100);

/// Why not all was delivered.
#[derive(Debug)]
pub(super) enum Stopped {
    /// The input ended at a bad line. Everything before it is stored.
    BadLine(BadLine),
    /// The broker refused these lines. Everything before them is stored, and nothing behind.
    Refused { lines: (u64, u64), error: Error },
    /// The broker did not come back. These lines are stored, or not; nothing behind them is.
    Lost { lines: Option<(u64, u64)>, error: Error },
}

/// The way of requests to a topic.
pub(super) struct Delivery {
    server: Server,
    client: Client,
    topic: Topic,
    progress: ProgressBar,
    summary: Summary,
    /// Sent or to be sent again, in order, and not known to be stored.
    under_way: VecDeque<UnderWay>,
    /// By partition, an offset that everything under way lies behind, if it is stored.
    behind: BTreeMap<PartitionId, Offset>,
}

struct UnderWay {
    request: Request,
    /// The answer to come, if it has been sent on this connection.
    answer: Option<AppendHandle>,
}

type Source = mpsc::Receiver<Result<Request, BadLine>>;

/// How a connection's use ended.
enum End {
    /// All that could be read is stored.
    Complete,
    /// The same, and the input ended at a bad line.
    BadLine(BadLine),
}

impl Delivery {
    /// Looks where the topic ends now: everything that is delivered will be behind.
    pub(super) async fn start(
        server: Server,
        client: Client,
        topic: Topic,
        progress: ProgressBar,
        summary: Summary,
    ) -> Result<Self, Failure> {
        let ends = client.list_offsets(&topic.name, Position::Latest).await?;
        let behind = ends.iter().map(|end| (end.partition, end.high_watermark)).collect();
        let under_way = VecDeque::new();
        Ok(Self { server, client, topic, progress, summary, under_way, behind })
    }

    pub(super) fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Delivers everything the source has.
    pub(super) async fn deliver(&mut self, mut source: Source) -> Result<(), Stopped> {
        loop {
            let error = match self.use_connection(&mut source).await {
                Ok(End::Complete) => return Ok(()),
                Ok(End::BadLine(bad)) => return Err(Stopped::BadLine(bad)),
                Err(error) => error,
            };
            match error {
                Error::Unavailable { .. } | Error::OutcomeUnknown { .. } | Error::StreamEnded { .. } => {
                    self.progress.set_message("connection lost, trying again");
                    self.recover().await?;
                    self.progress.set_message("");
                }
                Error::Refused(refusal) if refusal.reason == "OVERLOADED" => {
                    tokio::time::sleep(refusal.retry_after.unwrap_or(OVERLOAD_PAUSE)).await;
                }
                error => return Err(self.refused(error)),
            }
        }
    }

    /// Sends what is under way, then what the source has, until all is stored or something fails.
    async fn use_connection(&mut self, source: &mut Source) -> Result<End, Error> {
        let window = AppendWindow { requests: UNDER_WAY, ..AppendWindow::default() };
        let appender = self.client.append_stream_with(window);
        for waiting in &mut self.under_way {
            waiting.answer = None;
        }
        let mut unsent = 0;
        let mut end = None;
        loop {
            // A request that cannot be sent stays without an answer, and the stream's end says why.
            if let Some(waiting) = self.under_way.get_mut(unsent) {
                match appender.append(waiting.request.append.clone()).await {
                    Ok(answer) => waiting.answer = Some(answer),
                    Err(_) => return Err(self.why_it_ended(appender).await),
                }
                unsent += 1;
                continue;
            }
            if self.under_way.is_empty() && end.is_some() {
                break;
            }
            tokio::select! {
                answered = first_answer(&mut self.under_way), if !self.under_way.is_empty() => {
                    self.stored(&answered?);
                    unsent -= 1;
                }
                next = source.recv(), if self.under_way.len() < UNDER_WAY && end.is_none() => match next {
                    Some(Ok(request)) => self.under_way.push_back(UnderWay { request, answer: None }),
                    Some(Err(bad)) => end = Some(End::BadLine(bad)),
                    None => end = Some(End::Complete),
                },
            }
        }
        // Everything has been answered, so that there is nothing left to fail.
        let _ = appender.finish().await;
        Ok(end.unwrap_or(End::Complete))
    }

    /// The first answer under way that is a failure, or else what the stream itself says.
    async fn why_it_ended(&mut self, appender: Appender) -> Error {
        while self.under_way.front().is_some_and(|first| first.answer.is_some()) {
            match first_answer(&mut self.under_way).await {
                Ok(appended) => self.stored(&appended),
                Err(error) => return error,
            }
        }
        let ended = appender.finish().await.err();
        ended.unwrap_or_else(|| Error::Unavailable { message: "the broker ended the stream".to_owned() })
    }

    /// The first request under way is stored.
    fn stored(&mut self, appended: &Appended) {
        let Some(UnderWay { request, .. }) = self.under_way.pop_front() else { return };
        for range in appended.ranges() {
            self.behind.insert(range.partition, range.end());
        }
        self.progress.inc(request.bytes);
        self.summary.add(&request, appended.ranges().map(|range| (range.partition, u64::from(range.count))));
    }

    /// Connects again and takes out of what is under way all that the log holds.
    async fn recover(&mut self) -> Result<(), Stopped> {
        loop {
            let lost = |this: &Self, error| Err(Stopped::Lost { lines: this.lines_under_way(), error });
            match self.server.reconnect().await {
                Ok(again) => {
                    self.client = again.client;
                    if !again.was_gone && !self.under_way.is_empty() {
                        tokio::time::sleep(recovery::SETTLING).await;
                    }
                }
                Err(error) => return lost(self, error),
            }
            let markers = self.under_way.iter().map(|waiting| waiting.request.marker).collect();
            match recovery::find(&self.client, &self.topic, &self.behind, markers).await {
                Ok(found) => {
                    self.take_found(found);
                    return Ok(());
                }
                Err(Error::Unavailable { .. }) => {}
                Err(error) => return lost(self, error),
            }
        }
    }

    fn take_found(&mut self, found: recovery::Found) {
        self.behind.extend(found.behind);
        let (progress, summary) = (&self.progress, &mut self.summary);
        self.under_way.retain(|UnderWay { request, .. }| {
            let Some(keyless_in) = found.stored.get(&request.marker) else { return true };
            let keyed = request.keyed.iter().map(|(partition, records)| (*partition, *records));
            progress.inc(request.bytes);
            summary.add(request, keyed.chain(keyless_in.map(|partition| (partition, request.keyless))));
            false
        });
    }

    fn refused(&self, error: Error) -> Stopped {
        match self.under_way.front() {
            Some(first) => Stopped::Refused { lines: first.request.lines, error },
            None => Stopped::Lost { lines: None, error },
        }
    }

    fn lines_under_way(&self) -> Option<(u64, u64)> {
        let (first, last) = (self.under_way.front()?, self.under_way.back()?);
        Some((first.request.lines.0, last.request.lines.1))
    }
}

/// Waits for the answer to the first request under way. May be dropped and called again.
async fn first_answer(under_way: &mut VecDeque<UnderWay>) -> Result<Appended, Error> {
    let first = under_way.front_mut().and_then(|first| first.answer.as_mut());
    let answer = first.expect("the first request has been sent");
    poll_fn(|context| Pin::new(&mut *answer).poll(context)).await
}
