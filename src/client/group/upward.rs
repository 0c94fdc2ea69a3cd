//! What a member sends to the broker: the requests of its stream, with heartbeats between them.
//!
//! The connection asks for requests independently of the program, so heartbeats are sent even while
//! the program works on a record for long.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_core::Stream;
use tokio::time::{Sleep, sleep};

use crate::proto::{ConsumeRequest, Credit, StillWorking, consume_request::Message};

/// The queue of requests to the broker, which outlives single streams.
#[derive(Clone, Debug, Default)]
pub(super) struct Upward(Arc<Mutex<Queue>>);

#[derive(Debug, Default)]
struct Queue {
    /// The number of the current stream.
    stream: u64,
    waiting: VecDeque<Message>,
    is_closed: bool,
    waker: Option<Waker>,
}

/// The requests of one stream.
#[derive(Debug)]
pub(super) struct Requests {
    upward: Upward,
    stream: u64,
    heartbeat: Pin<Box<Sleep>>,
    interval: Duration,
}

impl Upward {
    /// Begins another stream, and drops what waited for the one before.
    pub(super) fn begin(&self, first: Message, heartbeat: Duration) -> Requests {
        let mut queue = self.lock();
        queue.stream += 1;
        queue.waiting = VecDeque::from([first]);
        Requests {
            upward: self.clone(),
            stream: queue.stream,
            heartbeat: Box::pin(sleep(heartbeat)),
            interval: heartbeat,
        }
    }

    pub(super) fn send(&self, message: Message) {
        let mut queue = self.lock();
        match (queue.waiting.back_mut(), message) {
            (Some(Message::Credit(before)), Message::Credit(more)) => add(before, more),
            (_, message) => queue.waiting.push_back(message),
        }
        queue.wake();
    }

    /// Ends the member's side of the stream once everything queued is sent: the member leaves.
    pub(super) fn close(&self) {
        let mut queue = self.lock();
        queue.is_closed = true;
        queue.wake();
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn add(credit: &mut Credit, more: Credit) {
    credit.records = credit.records.saturating_add(more.records);
    credit.bytes = credit.bytes.saturating_add(more.bytes);
}

impl Queue {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Stream for Requests {
    type Item = ConsumeRequest;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<ConsumeRequest>> {
        let this = &mut *self;
        let mut queue = this.upward.lock();
        if queue.stream != this.stream {
            // Ending this side would mean that the member leaves. The stream ends when the broker
            // ends it.
            return Poll::Pending;
        }
        if let Some(message) = queue.waiting.pop_front() {
            this.heartbeat.set(sleep(this.interval));
            return Poll::Ready(Some(message.into()));
        }
        if queue.is_closed {
            return Poll::Ready(None);
        }
        queue.waker = Some(cx.waker().clone());
        drop(queue);
        if this.heartbeat.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        this.heartbeat.set(sleep(this.interval));
        let heartbeat = Message::StillWorking(StillWorking::default());
        Poll::Ready(Some(heartbeat.into()))
    }
}

impl From<Message> for ConsumeRequest {
    fn from(message: Message) -> Self {
        Self {
            message: Some(message),
        }
    }
}

/// Three heartbeats in a session's time.
pub(super) fn heartbeat_interval(session_ms: u64) -> Duration {
    /// The session time if the join says 0.
    const DEFAULT_MS: u64 = 10_000;
    let session_ms = match session_ms {
        0 => DEFAULT_MS,
        session_ms => session_ms,
    };
    Duration::from_millis(session_ms / 3)
}
