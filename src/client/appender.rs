//! An append stream: many requests under way on one call, answered in order.
//!
//! Requests wait in a queue until the transport takes them. At that moment, under one lock, a
//! request joins the list of sent requests; answers come in the order of that list. When the stream
//! ends, every request on the list gets the outcome that the end implies, and every request in the
//! queue was never sent.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_core::Stream;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    task::JoinHandle,
    time::{Sleep, sleep},
};
use tonic::{Request, Status};

use super::{Append, Appended, Client, Error, link::Link, sending::Aside, status::AtStake};
use crate::proto::{
    self, AppendStreamResponse, append_stream_response::Outcome, log_client::LogClient,
    wire::AppendRequest,
};

/// How much an append stream has under way before [`Appender::append`] waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendWindow {
    /// Requests, at least 1.
    pub requests: usize,
    /// Bytes; a larger request goes alone.
    pub bytes: usize,
}

impl Default for AppendWindow {
    /// 64 requests, 16 MiB: enough to keep a disk busy that takes a millisecond to sync.
    fn default() -> Self {
        Self {
            requests: 64,
            bytes: 16 << 20,
        }
    }
}

/// Appends requests in order, without waiting for one to be durable before the next is sent.
///
/// Every request is one atomic commit with an answer of its own: after a request that is refused,
/// or whose conditions do not hold, the stream continues. Conditions can make a later request
/// depend on an earlier one. If the appender is dropped, queued requests are still sent.
#[derive(Debug)]
pub struct Appender {
    queue: mpsc::Sender<Queued>,
    requests: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    window: AppendWindow,
    sent: Arc<Mutex<Sent>>,
    driver: JoinHandle<Result<(), Error>>,
}

/// The answer to one request, as a future.
#[derive(Debug)]
#[must_use = "the append is sent without waiting for it, but only this says whether it was stored"]
pub struct AppendHandle {
    answer: oneshot::Receiver<Result<Appended, Error>>,
    sent: Arc<Mutex<Sent>>,
}

#[derive(Debug)]
struct Queued {
    request: AppendRequest,
    pending: Pending,
}

/// A request that has no answer yet; dropping it makes room in the window.
#[derive(Debug)]
struct Pending {
    answer: oneshot::Sender<Result<Appended, Error>>,
    _room: [OwnedSemaphorePermit; 2],
}

#[derive(Debug, Default)]
struct Sent {
    pending: VecDeque<Pending>,
    ended: Option<Error>,
}

impl Client {
    /// Opens an append stream with the default window.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn append_stream(&self) -> Appender {
        self.append_stream_with(AppendWindow::default())
    }

    /// Opens an append stream. If the broker cannot be reached, the first append fails.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn append_stream_with(&self, window: AppendWindow) -> Appender {
        Appender::open(self.log.clone(), window, None)
    }
}

impl Appender {
    /// Opens a stream. With `idle`, it ends when nothing was queued for roughly that time.
    pub(super) fn open(log: LogClient<Link>, window: AppendWindow, idle: Option<Duration>) -> Self {
        let window = AppendWindow {
            requests: window.requests.clamp(1, Semaphore::MAX_PERMITS),
            bytes: window.bytes.clamp(1, u32::MAX as usize),
        };
        let (queue, waiting) = mpsc::channel(window.requests);
        let sent = Arc::new(Mutex::new(Sent::default()));
        let outgoing = Outgoing {
            queue: waiting,
            sent: sent.clone(),
            idle: idle.map(Idle::new),
        };
        Self {
            queue,
            requests: Arc::new(Semaphore::new(window.requests)),
            bytes: Arc::new(Semaphore::new(window.bytes)),
            window,
            driver: tokio::spawn(drive(log, outgoing, sent.clone())),
            sent,
        }
    }

    /// Queues an append as soon as there is room in the window. Await the handle to know that it is
    /// durable.
    ///
    /// # Errors
    ///
    /// [`Error::StreamEnded`]: nothing of this append was stored; [`finish`](Self::finish) or an
    /// earlier handle says why.
    pub async fn append(&self, append: impl Into<Append>) -> Result<AppendHandle, Error> {
        let append = append.into();
        let bytes = u32::try_from(append.bytes().min(self.window.bytes))
            .expect("the window has at most 2^32 bytes");
        let (requests_room, bytes_room) = (self.requests.clone(), self.bytes.clone());
        let room = [
            requests_room
                .acquire_owned()
                .await
                .expect("the window is never closed"),
            bytes_room
                .acquire_many_owned(bytes)
                .await
                .expect("the window is never closed"),
        ];

        let (answer, receiver) = oneshot::channel();
        let queued = Queued {
            request: append.into_request(),
            pending: Pending {
                answer,
                _room: room,
            },
        };
        match self.queue.try_send(queued) {
            Ok(()) => Ok(AppendHandle {
                answer: receiver,
                sent: self.sent.clone(),
            }),
            Err(_) => Err(lock(&self.sent).not_sent()),
        }
    }

    /// How the stream has ended, if it has.
    pub(super) fn ended(&self) -> Option<Error> {
        lock(&self.sent).ended.clone()
    }

    /// Ends the call at once, without waiting for answers or sending queued requests.
    pub(super) fn abandon(self) {
        self.driver.abort();
    }

    /// Sends what is queued and waits until everything is answered.
    ///
    /// # Errors
    ///
    /// What ended the stream, if it ended before that.
    pub async fn finish(self) -> Result<(), Error> {
        drop(self.queue);
        self.driver
            .await
            .unwrap_or_else(|_| Err(lock(&self.sent).not_sent()))
    }
}

impl Future for AppendHandle {
    type Output = Result<Appended, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.answer).poll(context));
        Poll::Ready(answer.unwrap_or_else(|_| Err(lock(&self.sent).not_sent())))
    }
}

/// The requests on their way into the call.
struct Outgoing {
    queue: mpsc::Receiver<Queued>,
    sent: Arc<Mutex<Sent>>,
    idle: Option<Idle>,
}

/// Notices when nothing was queued for some time.
struct Idle {
    after: Duration,
    timer: Pin<Box<Sleep>>,
    /// Whether something was queued since the timer was set.
    was_used: bool,
}

impl Idle {
    fn new(after: Duration) -> Self {
        Self {
            after,
            timer: Box::pin(sleep(after)),
            was_used: false,
        }
    }

    /// Ready between once and twice `after` from the last use, because the timer is not set again
    /// for each use.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.timer.as_mut().poll(context));
            if !std::mem::take(&mut self.was_used) {
                return Poll::Ready(());
            }
            let next = self.timer.deadline() + self.after;
            self.timer.as_mut().reset(next);
        }
    }
}

impl Outgoing {
    fn poll_queue(&mut self, context: &mut Context<'_>) -> Poll<Option<Queued>> {
        let Some(idle) = &mut self.idle else {
            return self.queue.poll_recv(context);
        };
        match self.queue.poll_recv(context) {
            Poll::Ready(queued) => {
                idle.was_used = true;
                Poll::Ready(queued)
            }
            Poll::Pending => {
                ready!(idle.poll(context));
                // Requests that come later fail as not sent. Those already in the queue are still
                // sent.
                self.queue.close();
                self.queue.poll_recv(context)
            }
        }
    }
}

impl Stream for Outgoing {
    type Item = AppendRequest;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<AppendRequest>> {
        let Some(Queued { request, pending }) = ready!(self.poll_queue(context)) else {
            return Poll::Ready(None);
        };
        let mut sent = lock(&self.sent);
        if sent.ended.is_some() {
            return Poll::Ready(None);
        }
        sent.pending.push_back(pending);
        Poll::Ready(Some(request))
    }
}

async fn drive(
    mut log: LogClient<Link>,
    outgoing: Outgoing,
    sent: Arc<Mutex<Sent>>,
) -> Result<(), Error> {
    // The requests are not among the stream that tonic encodes, but beside it.
    let mut call = Request::new(tokio_stream::empty());
    call.extensions_mut().insert(Aside::new(outgoing));
    let end = match log.append_stream(call).await {
        Ok(response) => {
            let mut answers = response.into_inner();
            loop {
                match answers.message().await {
                    Ok(Some(answer)) => lock(&sent).answered(outcome(answer)),
                    Ok(None) => break None,
                    Err(status) => break Some(status),
                }
            }
        }
        Err(status) => Some(status),
    };
    lock(&sent).end(end.as_ref())
}

/// The outcome that an answer gives its request.
fn outcome(answer: AppendStreamResponse) -> Result<Appended, Error> {
    match answer.outcome {
        Some(Outcome::Appended(appended)) => Ok(appended.into()),
        Some(Outcome::Conflict(conflict)) => {
            Err(Error::conflict(conflict.message.clone(), &conflict))
        }
        Some(Outcome::Refused(refused)) => Err(Error::from_status(
            &proto::status_of_refused(&refused),
            AtStake::Change,
        )),
        None => Err(Error::OutcomeUnknown {
            message: "the broker's answer says nothing that this client knows".to_owned(),
        }),
    }
}

impl Sent {
    fn answered(&mut self, outcome: Result<Appended, Error>) {
        // If the broker answers more requests than were sent, the extra answers are ignored.
        if let Some(pending) = self.pending.pop_front() {
            // The caller may have dropped the handle.
            let _ = pending.answer.send(outcome);
        }
    }

    /// Tells all requests under way how the stream ended.
    fn end(&mut self, status: Option<&Status>) -> Result<(), Error> {
        let error = match status {
            Some(status) => Error::from_status(status, AtStake::Change),
            None => Error::OutcomeUnknown {
                message: "the broker ended the stream without an answer".to_owned(),
            },
        };
        let clean = status.is_none() && self.pending.is_empty();
        self.ended = Some(error.clone());

        let mut pending = std::mem::take(&mut self.pending).into_iter();
        if let Some(first) = pending.next() {
            let _ = first.answer.send(Err(error.clone()));
        }
        for later in pending {
            let later_error = match &error {
                // The broker has refused the first of them, so it has stored none of the later
                // ones.
                Error::Refused(_) | Error::Conflict { .. } => self.not_sent(),
                other => other.clone(),
            };
            let _ = later.answer.send(Err(later_error));
        }
        if clean { Ok(()) } else { Err(error) }
    }

    fn not_sent(&self) -> Error {
        let cause = self
            .ended
            .as_ref()
            .map_or_else(|| "the connection was lost".to_owned(), Error::to_string);
        Error::StreamEnded { cause }
    }
}

/// Locks the list. Nothing panics while it is locked, and if something did, the list would still be
/// consistent.
fn lock(sent: &Mutex<Sent>) -> MutexGuard<'_, Sent> {
    sent.lock().unwrap_or_else(PoisonError::into_inner)
}
