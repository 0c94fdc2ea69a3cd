//! What requests may take while they come in: each message its size, all of them together their
//! part of the memory, and each its time.
//!
//! The flow control of HTTP/2 does not bound this: a call's bytes are taken off the connection as
//! they arrive, to be put together, and a thousand connections with 256 calls each may be sending
//! 16 MiB. So a message is counted with the length that it declares, as soon as that is known,
//! until the broker has admitted the message, which counts it from then on. When there is no room
//! for it, the call is refused before its bytes have come; it does not wait, because the ones that
//! would have to finish first could wait for bytes themselves. One of which too little comes in is
//! refused too: it keeps room from others.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::Request;
use http_body::Frame;
use tokio::time::{Sleep, sleep};
use tonic::{Status, body::Body};

use super::{
    limits,
    notices::{Notice, Notices},
    peer::Peer,
    status,
    unpacking::Unpacker,
};
use crate::{
    broker::Error,
    budget::{Held, Holder, Part},
    codec::Encoding,
};

/// The memory that incoming requests share, and how long they may take.
#[derive(Clone)]
pub(super) struct Intake {
    part: Arc<Part>,
    timeout: Duration,
    notices: Arc<Notices>,
}

/// What a request has of it. Travels with the request, so that it is given back when the request is
/// let go.
#[derive(Clone, Default)]
pub(super) struct Share(Arc<Mutex<Option<Held>>>);

impl Intake {
    pub(super) fn new(part: Arc<Part>, timeout: Duration, notices: Arc<Notices>) -> Self {
        Self {
            part,
            timeout,
            notices,
        }
    }

    /// Counts a request's messages as they come in.
    pub(super) fn meter(&self, mut request: Request<Body>) -> Request<Body> {
        let share = Share::default();
        request.extensions_mut().insert(share.clone());
        let peer = request.extensions().get::<Peer>();
        let holder = peer.map_or_else(|| self.part.holder(), |peer| peer.requests.clone());
        let messages = Messages::new(limits::messages(request.uri().path()));
        let intake = self.clone();
        let late = request.extensions().get::<Late>().cloned();
        let late = late.unwrap_or_default();
        let encoding = request.extensions().get::<Encoding>().copied();
        let unpacker = encoding.map(|encoding| Unpacker::new(encoding, messages.allowed.bytes));
        request.map(|body| {
            Body::new(Metered {
                body,
                intake,
                holder,
                share,
                messages,
                late,
                unpacker,
            })
        })
    }

    /// How long to wait for more of a message when so many bytes have come since the last time.
    pub(super) fn time_after(&self, bytes: usize) -> Duration {
        let ms = bytes as u64 * 1_000 / limits::REQUEST_BYTES_PER_S;
        Duration::from_millis(ms).min(self.timeout)
    }
}

impl Share {
    /// Counts so many bytes instead of those before.
    fn set(&self, holder: &Holder, bytes: usize) -> Result<(), Status> {
        let mut share = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let has = share.as_ref().map_or(0, Held::bytes);
        let taken = match share.as_mut() {
            Some(held) if bytes <= has => {
                held.shrink_to(bytes);
                Ok(())
            }
            Some(held) => held.grow(bytes - has),
            None => holder.take(bytes).map(|held| *share = Some(held)),
        };
        taken.map_err(|_| {
            let retry_after_ms = limits::RETRY_AFTER_MS;
            Error::Overloaded { retry_after_ms }.into()
        })
    }
}

/// The body of a request, its messages counted.
struct Metered {
    body: Body,
    intake: Intake,
    holder: Holder,
    share: Share,
    messages: Messages,
    late: Late,
    /// If they are compressed.
    unpacker: Option<Unpacker>,
}

/// Whether what is awaited of a request should have come. A call that waits for its client to read
/// asks too: it takes no more of its requests meanwhile, and has room that others could use.
#[derive(Clone, Default)]
pub(super) struct Late(Arc<Mutex<Option<Deadline>>>);

/// When a message should have come of which nothing, or too little, comes in.
struct Deadline {
    timer: Pin<Box<Sleep>>,
    /// How much of it had come when the timer was set, and has by now.
    came: (usize, usize),
    intake: Intake,
}

impl Metered {
    fn pass(&mut self, data: &[u8]) -> Result<(), Status> {
        // Whoever asks for more has got all complete messages, and each of them was admitted before
        // the next.
        let kept = self.messages.declared();
        let begun = self.messages.pass(data)?;
        self.count(kept + begun)?;
        match &mut self.unpacker {
            Some(_) => self.unpack(data, kept + begun),
            None => Ok(()),
        }
    }

    fn count(&self, bytes: usize) -> Result<(), Status> {
        let counted = self.share.set(&self.holder, bytes);
        if counted.is_err() {
            self.intake.notices.happened(Notice::RequestRefused);
        }
        counted
    }

    /// Takes compressed messages apart, beside what has come of them.
    fn unpack(&mut self, data: &[u8], compressed: usize) -> Result<(), Status> {
        let Some(mut unpacker) = self.unpacker.take() else {
            return Ok(());
        };
        let taken = unpacker.take(data, |unpacked| self.count(compressed + unpacked));
        self.unpacker = Some(unpacker);
        taken
    }

    /// What is ready of compressed messages.
    fn next_unpacked(&mut self) -> Option<Bytes> {
        self.unpacker.as_mut().and_then(Unpacker::next)
    }

    /// Ready if the message that is awaited does not come in.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<Status> {
        match self.messages.awaited() {
            Some(came) => self.late.await_more(came, &self.intake),
            None => self.late.forget(),
        }
        self.late
            .poll_passed(cx)
            .map(|()| status::request_stalled())
    }
}

impl Late {
    /// Ready when it should have come.
    pub(super) async fn passed(&self) {
        poll_fn(|cx| self.poll_passed(cx)).await;
    }

    fn poll_passed(&self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut *self.lock() {
            Some(deadline) => deadline.poll(cx),
            None => Poll::Pending,
        }
    }

    /// The call does something else than to take what comes in.
    pub(super) fn put_off(&self) {
        if let Some(deadline) = &mut *self.lock() {
            let time = deadline.intake.timeout;
            deadline.timer.set(sleep(time));
        }
    }

    /// More is awaited of a message of which so many bytes have come.
    fn await_more(&self, came: usize, intake: &Intake) {
        let mut deadline = self.lock();
        let deadline = deadline.get_or_insert_with(|| Deadline {
            timer: Box::pin(sleep(intake.timeout)),
            came: (came, came),
            intake: intake.clone(),
        });
        deadline.came.1 = came;
    }

    fn forget(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Deadline>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Deadline {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.timer.as_mut().poll(cx).is_ready() {
            let (before, now) = self.came;
            let time = self.intake.time_after(now - before);
            if time.is_zero() {
                self.intake.notices.happened(Notice::RequestStalled);
                return Poll::Ready(());
            }
            self.came.0 = now;
            self.timer.set(sleep(time));
        }
        Poll::Pending
    }
}

impl http_body::Body for Metered {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        loop {
            if let Some(bytes) = self.next_unpacked() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            let frame = match http_body::Body::poll_frame(Pin::new(&mut self.body), cx)? {
                Poll::Ready(frame) => frame,
                Poll::Pending => return self.poll_late(cx).map(|status| Some(Err(status))),
            };
            if let Some(data) = frame.as_ref().and_then(Frame::data_ref) {
                let before = self.messages.count();
                self.pass(data)?;
                if self.messages.count() != before {
                    // The next message has a time of its own.
                    self.late.forget();
                }
                if self.unpacker.is_some() {
                    continue;
                }
            }
            if frame.is_none() && self.unpacker.as_ref().is_some_and(Unpacker::is_in_message) {
                let reason = "the request ends within a message".to_owned();
                return Poll::Ready(Some(Err(Error::MalformedRequest { reason }.into())));
            }
            return Poll::Ready(frame.map(Ok));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.unpacker.is_none() && http_body::Body::is_end_stream(&self.body)
    }
}

/// A message's frame in gRPC: a flag, its length in four bytes, and that many bytes.
pub(super) const HEADER_BYTES: usize = 5;

/// Which messages a call takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Allowed {
    /// The most bytes of one, encoded.
    pub(super) bytes: usize,
    /// Any number of them, instead of one.
    pub(super) many: bool,
    /// Whether the first one has to come at once. Those behind it may take any time to begin.
    pub(super) first_at_once: bool,
}

impl Allowed {
    /// One message of at most so many bytes.
    pub(super) fn one(bytes: usize) -> Self {
        Self {
            bytes,
            many: false,
            first_at_once: true,
        }
    }

    /// Any number of them, which may come at any time.
    pub(super) fn many(bytes: usize) -> Self {
        Self {
            bytes,
            many: true,
            first_at_once: false,
        }
    }
}

/// Follows the messages in a stream of bytes.
pub(super) struct Messages {
    allowed: Allowed,
    /// How many are complete.
    count: u64,
    header: [u8; HEADER_BYTES],
    /// Bytes of the current message that have passed, with its header.
    passed: usize,
}

impl Messages {
    pub(super) fn new(allowed: Allowed) -> Self {
        Self {
            allowed,
            count: 0,
            header: [0; HEADER_BYTES],
            passed: 0,
        }
    }

    /// How many are complete.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The length with its header of a message that is not complete, once that is known.
    pub(super) fn declared(&self) -> usize {
        if self.passed < HEADER_BYTES {
            0
        } else {
            self.len()
        }
    }

    /// How many bytes have come of the message that is to come; none if none has to come.
    fn awaited(&self) -> Option<usize> {
        match self.passed {
            0 if self.count > 0 || !self.allowed.first_at_once => None,
            passed => Some(passed),
        }
    }

    /// Goes over the next bytes. Returns what the messages that begin in them declare together,
    /// with their headers.
    pub(super) fn pass(&mut self, mut data: &[u8]) -> Result<usize, Status> {
        let mut begun = 0;
        while !data.is_empty() {
            if self.count > 0 && !self.allowed.many {
                let reason = "the call takes one message, and there are more".to_owned();
                return Err(Error::MalformedRequest { reason }.into());
            }
            let in_header = self.passed < HEADER_BYTES;
            let step = if in_header {
                let step = data.len().min(HEADER_BYTES - self.passed);
                self.header[self.passed..self.passed + step].copy_from_slice(&data[..step]);
                step
            } else {
                data.len().min(self.len() - self.passed)
            };
            self.passed += step;
            data = &data[step..];
            if self.passed >= HEADER_BYTES {
                if in_header {
                    begun += self.len();
                }
                self.check_header()?;
            }
        }
        Ok(begun)
    }

    /// The current message's length with its header, once that is known.
    fn len(&self) -> usize {
        let [_, length @ ..] = self.header;
        HEADER_BYTES + u32::from_be_bytes(length) as usize
    }

    fn check_header(&mut self) -> Result<(), Status> {
        let len = self.len();
        if len - HEADER_BYTES > self.allowed.bytes {
            return Err(status::too_large(len - HEADER_BYTES, self.allowed.bytes));
        }
        if self.passed == len {
            self.passed = 0;
            self.count += 1;
        }
        Ok(())
    }
}
