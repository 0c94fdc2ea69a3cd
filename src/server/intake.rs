//! Bounds for requests while they come in: the size of each message, the memory of all together,
//! and the time of each.
//!
//! HTTP/2's flow control does not bound this: a call's bytes are taken off the connection as they
//! arrive, to be assembled, and a thousand connections with 256 calls each may be sending 16 MiB.
//! So a message is counted with its declared length as soon as that is known, until the broker has
//! admitted the message and counts it itself. If there is no room for it, the call is refused
//! before its bytes have come. It does not wait, because the calls that would have to finish first
//! could wait for bytes themselves. A message that comes too slowly is refused as well, because it
//! keeps room from others.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Extensions, Request};
use http_body::Frame;
use tokio::time::{Sleep, sleep};
use tonic::{Status, body::Body};

use super::{
    http2::request::Kind,
    incoming::{Aside, Gathered, Gatherer},
    limits,
    notices::{Notice, Notices},
    peer::Peer,
    refusals::Refusals,
    status,
    turns::{Long, LongTurn},
    unpacking,
};
use crate::{
    broker::Error,
    budget::{Held, Holder, Part},
    codec::Encoding,
    proto::{self, Fields},
};

/// The memory that incoming requests share, and how long they may take.
#[derive(Clone)]
pub(super) struct Intake {
    part: Arc<Part>,
    timeout: Duration,
    notices: Arc<Notices>,
}

/// A request's share of that memory. It travels with the request, so that it is given back with it;
/// the share of a call other than an append is kept until the call is answered.
#[derive(Clone, Default)]
pub(super) struct Share(Arc<Mutex<Option<Held>>>);

/// The share that is kept until the call is answered.
pub(super) fn kept(request: &Request<Body>) -> Option<Share> {
    let share = request.extensions().get::<Share>();
    share
        .filter(|_| !limits::is_append(request.uri().path()))
        .cloned()
}

/// The refusals of a request's connection.
pub(super) fn refusals(extensions: &Extensions) -> Arc<Refusals> {
    let peer = extensions.get::<Peer>();
    peer.map_or_else(Arc::default, |peer| Arc::clone(&peer.refusals))
}

impl Intake {
    pub(super) fn new(part: Arc<Part>, timeout: Duration, notices: Arc<Notices>) -> Self {
        Self {
            part,
            timeout,
            notices,
        }
    }

    /// Counts a request's messages as they come in. If there may be many, their service finds them
    /// [aside](Aside).
    pub(super) fn meter(&self, mut request: Request<Body>) -> Request<Body> {
        let share = Share::default();
        request.extensions_mut().insert(share.clone());
        let path = request.uri().path();
        let (messages, takes_many) = (limits::messages(path), limits::requests(path) == Kind::Many);
        // Appends are decoded after the broker has admitted them, and counts them.
        let fields = proto::request_of(path).filter(|_| !limits::is_append(path));
        let body = std::mem::take(request.body_mut());
        let extensions = request.extensions();
        let peer = extensions.get::<Peer>();
        let encoding = extensions.get::<Encoding>().copied();
        let metered = Metered {
            body,
            intake: self.clone(),
            holder: peer.map_or_else(|| self.part.holder(), |peer| peer.requests.clone()),
            refusals: refusals(extensions),
            share,
            messages: Messages::new(messages),
            late: extensions.get::<Late>().cloned().unwrap_or_default(),
            declared: 0,
            gathering: (takes_many || encoding.is_some() || fields.is_some())
                .then(Gatherer::default),
            fields,
            encoding,
            long: peer.map(|peer| peer.long.clone()),
            packed: None,
            turn: None,
            unpacked: 0,
            rest: None,
        };
        if takes_many {
            request.extensions_mut().insert(Aside::new(metered));
        } else {
            *request.body_mut() = Body::new(metered);
        }
        request
    }

    /// Notes that a request was refused because no memory was left, and makes its error.
    pub(super) fn refused(&self) -> Error {
        self.notices.happened(Notice::RequestRefused);
        Error::Overloaded {
            retry_after_ms: limits::RETRY_AFTER_MS,
        }
    }

    /// How long to wait for more of a message, when this many bytes have come since the last time.
    pub(super) fn time_after(&self, bytes: usize) -> Duration {
        let ms = bytes as u64 * 1_000 / limits::REQUEST_BYTES_PER_S;
        Duration::from_millis(ms).min(self.timeout)
    }
}

impl Share {
    /// Counts at most this many bytes.
    fn shrink_to(&self, bytes: usize) {
        let mut share = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = share.as_mut() {
            held.shrink_to(bytes);
        }
    }

    /// Counts this many bytes instead of those before.
    fn set(&self, holder: &Holder, bytes: usize) -> Result<(), Status> {
        let mut share = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let has = share.as_ref().map_or(0, Held::bytes);
        let taken = match share.as_mut() {
            Some(held) if bytes <= has => {
                held.shrink_to(bytes);
                Ok(())
            }
            Some(held) => held.grow(bytes - has),
            None if bytes == 0 => Ok(()),
            None => holder.take(bytes).map(|held| *share = Some(held)),
        };
        taken.map_err(|_| {
            let retry_after_ms = limits::RETRY_AFTER_MS;
            Error::Overloaded { retry_after_ms }.into()
        })
    }
}

/// The body of a request, whose messages are counted.
pub(super) struct Metered {
    body: Body,
    intake: Intake,
    holder: Holder,
    refusals: Arc<Refusals>,
    share: Share,
    messages: Messages,
    late: Late,
    /// The declared length of the messages that have come last.
    declared: usize,
    /// Set if whole messages are assembled here.
    gathering: Option<Gatherer>,
    /// The fields of messages that take memory when they are decoded.
    fields: Option<&'static Fields>,
    /// The encoding, if messages may be compressed.
    encoding: Option<Encoding>,
    /// The long calls of its connection.
    long: Option<Long>,
    /// A compressed message that must be decompressed.
    packed: Option<Bytes>,
    /// Set while it waits for its turn.
    turn: Option<Pin<Box<dyn Future<Output = LongTurn> + Send>>>,
    /// How many bytes were decompressed without a turn since other calls had theirs.
    unpacked: usize,
    /// What follows the header of a message that was passed on.
    rest: Option<Bytes>,
}

/// Whether the awaited part of a request is overdue. A call that waits for its client to read
/// checks this too: it takes no more of its requests meanwhile, but has room that others could use.
#[derive(Clone, Default)]
pub(super) struct Late(Arc<Mutex<Option<Deadline>>>);

/// When a message is overdue of which nothing, or too little, comes in.
struct Deadline {
    timer: Pin<Box<Sleep>>,
    /// How much of it had come when the timer was set, and how much by now.
    came: (usize, usize),
    intake: Intake,
}

impl Metered {
    /// The next message, whole and decompressed. The caller has taken all earlier ones, and if
    /// there may be many, each of these was admitted.
    pub(super) fn poll_message(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Status>>> {
        loop {
            if self.packed.is_some() {
                return self.poll_unpacked(cx).map(Some);
            }
            let gathering = self.gathering.get_or_insert_default();
            match gathering.next() {
                Some(Gathered { flag: 0, bytes }) => {
                    return Poll::Ready(Some(self.counted_decoded(bytes, 0)));
                }
                Some(Gathered { flag: 1, bytes }) if self.encoding.is_some() => {
                    self.packed = Some(bytes);
                    continue;
                }
                Some(Gathered { flag, .. }) => {
                    let reason = format!(
                        "a message has the flag {flag}, and the call does not say how its \
                        messages are compressed"
                    );
                    return Poll::Ready(Some(Err(Error::MalformedRequest { reason }.into())));
                }
                None => {}
            }
            let is_in_message = gathering.is_in_message();
            if self.messages.allowed.many {
                self.share.shrink_to(self.messages.declared());
            }
            match ready!(self.poll_counted(cx)?) {
                Some(frame) => {
                    // There may be trailers behind the messages, which have no meaning.
                    let came = frame.into_data().unwrap_or_default();
                    self.gathering.get_or_insert_default().add(came);
                }
                None if is_in_message => {
                    let reason = "the request ends within a message".to_owned();
                    return Poll::Ready(Some(Err(Error::MalformedRequest { reason }.into())));
                }
                None => return Poll::Ready(None),
            }
        }
    }

    /// Decompresses the message. Its uncompressed size is counted before.
    fn poll_unpacked(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Status>> {
        let (Some(packed), Some(encoding)) = (&self.packed, self.encoding) else {
            return Poll::Pending;
        };
        let (packed, most) = (packed.clone(), self.messages.allowed.bytes);
        let within = unpacking::bound(encoding, &packed)?.min(most);
        self.count(self.declared + HEADER_BYTES + within)?;
        let is_large = within > unpacking::LARGE_BYTES;
        let _turn = match is_large {
            true => ready!(self.poll_turn(cx)),
            false if self.unpacked > unpacking::LARGE_BYTES => {
                self.unpacked = 0;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            false => None,
        };
        self.packed = None;
        let message = unpacking::unpack(encoding, &packed, most)?;
        if !is_large {
            self.unpacked += message.len();
        }
        let unpacked = HEADER_BYTES + message.len();
        Poll::Ready(self.counted_decoded(message, unpacked))
    }

    /// The message, after counting its decoded size and its uncompressed size.
    fn counted_decoded(&self, message: Bytes, unpacked: usize) -> Result<Bytes, Status> {
        let decoded = self
            .fields
            .map_or(0, |fields| fields.decoded_bytes(&message));
        self.count(self.declared + unpacked + decoded)?;
        Ok(message)
    }

    /// Ready when it may keep its thread for a while.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Option<LongTurn>> {
        let Some(long) = &self.long else {
            return Poll::Ready(None);
        };
        let turn = self.turn.get_or_insert_with(|| {
            let long = long.clone();
            Box::pin(async move { long.turn().await })
        });
        let turn = ready!(turn.as_mut().poll(cx));
        self.turn = None;
        Poll::Ready(Some(turn))
    }

    /// The next bytes that come in, counted.
    fn poll_counted(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Frame<Bytes>>, Status>> {
        let frame = match http_body::Body::poll_frame(Pin::new(&mut self.body), cx)? {
            Poll::Ready(frame) => frame,
            Poll::Pending => return self.poll_late(cx).map(Err),
        };
        if let Some(data) = frame.as_ref().and_then(Frame::data_ref) {
            let before = self.messages.count();
            self.pass(data)?;
            if self.messages.count() != before {
                // The next message has its own time.
                self.late.forget();
                self.refusals.taken();
            }
        }
        Poll::Ready(Ok(frame))
    }

    fn pass(&mut self, data: &[u8]) -> Result<(), Status> {
        // The caller has taken all complete messages, and each was admitted before the next one.
        let kept = self.messages.declared();
        let begun = self.messages.pass(data)?;
        self.declared = kept + begun;
        self.count(self.declared)
    }

    fn count(&self, bytes: usize) -> Result<(), Status> {
        let counted = self.share.set(&self.holder, bytes);
        if counted.is_err() {
            self.intake.notices.happened(Notice::RequestRefused);
            self.refusals.refused();
        }
        counted
    }

    /// Ready if the awaited message is overdue.
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
    /// Ready when the deadline has passed.
    pub(super) async fn passed(&self) {
        poll_fn(|cx| self.poll_passed(cx)).await;
    }

    fn poll_passed(&self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut *self.lock() {
            Some(deadline) => deadline.poll(cx),
            None => Poll::Pending,
        }
    }

    /// Restarts the time, because the call does something other than taking what comes in.
    pub(super) fn put_off(&self) {
        if let Some(deadline) = &mut *self.lock() {
            let time = deadline.intake.timeout;
            deadline.timer.set(sleep(time));
        }
    }

    /// Waits for more of a message, of which `came` bytes have come.
    pub(super) fn await_more(&self, came: usize, intake: &Intake) {
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
        if self.gathering.is_none() {
            return self.poll_counted(cx).map(Result::transpose);
        }
        if let Some(rest) = self.rest.take() {
            return Poll::Ready(Some(Ok(Frame::data(rest))));
        }
        let message = match ready!(self.poll_message(cx)) {
            Some(Ok(message)) => message,
            Some(Err(status)) => return Poll::Ready(Some(Err(status))),
            None => return Poll::Ready(None),
        };
        let mut header = [0; HEADER_BYTES];
        let len = u32::try_from(message.len()).expect("no more than a call allows");
        header[1..].copy_from_slice(&len.to_be_bytes());
        self.rest = Some(message).filter(|message| !message.is_empty());
        Poll::Ready(Some(Ok(Frame::data(Bytes::copy_from_slice(&header)))))
    }

    fn is_end_stream(&self) -> bool {
        self.gathering.is_none() && http_body::Body::is_end_stream(&self.body)
    }
}

/// A message's frame in gRPC: a flag, its length in four bytes, and that many bytes.
pub(super) const HEADER_BYTES: usize = 5;

/// The messages that a call takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Allowed {
    /// The largest encoded message in bytes.
    pub(super) bytes: usize,
    /// Whether there may be any number of messages, or one only.
    pub(super) many: bool,
    /// Whether the first message must come at once. Later ones may begin at any time.
    pub(super) first_at_once: bool,
}

impl Allowed {
    /// One message of at most this many bytes.
    pub(super) fn one(bytes: usize) -> Self {
        Self {
            bytes,
            many: false,
            first_at_once: true,
        }
    }

    /// Any number of messages, which may come at any time.
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
    /// How many messages are complete.
    count: u64,
    header: [u8; HEADER_BYTES],
    /// The bytes of the current message that have passed, with its header.
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

    /// How many messages are complete.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The length of the incomplete message, with its header, once it is known.
    pub(super) fn declared(&self) -> usize {
        if self.passed < HEADER_BYTES {
            0
        } else {
            self.len()
        }
    }

    /// How many bytes have come of the message that must come; `None` if none must.
    fn awaited(&self) -> Option<usize> {
        match self.passed {
            0 if self.count > 0 || !self.allowed.first_at_once => None,
            passed => Some(passed),
        }
    }

    /// Goes over the next bytes. Returns the declared lengths of the messages that begin in them,
    /// with their headers, in sum.
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
