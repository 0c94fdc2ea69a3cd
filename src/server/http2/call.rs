//! One call: sends the service's response to a request as fast as the client takes it.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::Bytes;
use h2::{Reason, SendStream, server::SendResponse};
use http::{HeaderMap, HeaderValue, Request, Response, Uri, header::HeaderName, request::Parts};
use http_body::{Body as _, Frame};
use tokio::time::timeout;
use tonic::{Status, body::Body};
use tower::{Service, ServiceExt};
use tracing::{debug, error};

use super::{
    alive::{self, Alive},
    home::Home,
    sending,
    socket::Traffic,
};
use crate::{
    broker::Error,
    budget::{Held, Holder, Short},
    server::{
        answers::Answers,
        intake::Late,
        limits::{
            CALL_BYTES, HEADER_ENTRY_BYTES, REFLECTION, REFLECTION_BYTES, RETRY_AFTER_MS,
            SMALL_ANSWER_BYTES, SMALL_PIECES_BYTES, is_append,
        },
        notices::{Notice, Notices},
        status,
        turns::Unencoded,
    },
};

/// The number of a connection's calls that make progress, that is, do not wait for their client to
/// read.
#[derive(Clone, Debug, Default)]
pub(in crate::server) struct Active(Arc<AtomicUsize>);

impl Active {
    pub(super) fn count(&self) -> usize {
        self.0.load(Relaxed)
    }

    pub(in crate::server) fn enter(&self) -> Entered {
        self.0.fetch_add(1, Relaxed);
        Entered(self.clone())
    }
}

/// Counts a call as active until this is dropped.
pub(in crate::server) struct Entered(Active);

impl Entered {
    /// Takes the call out of the count until the result is dropped.
    pub(super) fn wait(&self) -> Waiting<'_> {
        self.0.0.fetch_sub(1, Relaxed);
        Waiting(&self.0)
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Relaxed);
    }
}

/// A call that waits for its client.
pub(super) struct Waiting<'a>(&'a Active);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, Relaxed);
    }
}

/// The limits of a response that its client does not read, other than those of reads.
#[derive(Clone)]
pub(in crate::server) struct Unread {
    /// The memory in which it is counted.
    pub(in crate::server) memory: Holder,
    /// For how long the client may take nothing of it.
    pub(in crate::server) patience: Duration,
    pub(in crate::server) notices: Arc<Notices>,
}

/// An open call.
pub(in crate::server) struct Open {
    pub(super) active: Entered,
    /// The memory in which the call is counted.
    held: Arc<Held>,
    /// The bytes of the response that are not written yet.
    pub(super) alive: Alive,
    /// The traffic of the call's connection.
    traffic: Arc<Traffic>,
    /// The task that polls the call.
    pub(super) home: Home,
    /// Kept by a call for which its connection keeps its place.
    _working: Option<Entered>,
}

/// A status until h2 has taken it into its connection's buffer. From then on its call counts until
/// the status is written, because the buffer grows by it.
struct StatusValue {
    value: Bytes,
    held: Arc<Held>,
    traffic: Arc<Traffic>,
    _alive: alive::Counted,
}

impl AsRef<[u8]> for StatusValue {
    fn as_ref(&self) -> &[u8] {
        &self.value
    }
}

impl Drop for StatusValue {
    fn drop(&mut self) {
        self.traffic.until_written(Arc::clone(&self.held));
    }
}

impl Open {
    pub(in crate::server) fn new(
        (active, working): (Entered, Option<Entered>),
        held: Held,
        traffic: Arc<Traffic>,
    ) -> Self {
        Self {
            active,
            held: Arc::new(held),
            alive: Alive::default(),
            traffic,
            home: Home::default(),
            _working: working,
        }
    }

    /// Sets which task polls it.
    pub(super) fn polled_in(self, home: Home) -> Self {
        Self { home, ..self }
    }

    /// Makes the call count until its status is written. An OK status behind a message that is not
    /// written yet takes only a few bytes and is not counted.
    pub(super) fn count_status(&self, headers: &mut HeaderMap) {
        let Some(status) = headers.get_mut("grpc-status") else {
            return;
        };
        if status == "0" && self.alive.bytes() > 0 {
            return;
        }
        let value = Bytes::copy_from_slice(status.as_bytes());
        let value = Bytes::from_owner(StatusValue {
            held: Arc::clone(&self.held),
            traffic: Arc::clone(&self.traffic),
            _alive: self.alive.count(value.len()),
            value,
        });
        if let Ok(mut value) = HeaderValue::from_maybe_shared(value) {
            // Otherwise HPACK would keep it for the headers of other calls.
            value.set_sensitive(true);
            *status = value;
        }
    }

    /// Waits until h2 has written the rest of the response. If the client takes nothing for long,
    /// the response is dropped: no status could be sent behind the unread bytes.
    async fn until_written(self, unread: &Unread, respond: &mut SendResponse<Bytes>) {
        let _waiting = self.active.wait();
        let mut left = self.alive.bytes();
        let written = || poll_fn(|cx| self.alive.poll_at_most(0, cx));
        while timeout(unread.patience, written()).await.is_err() {
            if self.alive.bytes() == left {
                unread.notices.happened(Notice::AnswerStalled);
                respond.send_reset(Reason::CANCEL);
                self.traffic.until_written(Arc::clone(&self.held));
                return;
            }
            left = self.alive.bytes();
        }
    }
}

/// A piece of a response, until h2 has written all of it.
struct Piece {
    bytes: Bytes,
    _held: Arc<Held>,
    _alive: alive::Counted,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The memory of an open call, without what it waits for: see [`CALL_BYTES`].
pub(super) fn bytes(request: &Parts) -> usize {
    let path = request.uri.path();
    let header = |(name, value): (&HeaderName, &HeaderValue)| {
        name.as_str().len() + value.len() + HEADER_ENTRY_BYTES
    };
    let headers: usize = request.headers.iter().map(header).sum();
    let kept = match path.starts_with(REFLECTION) {
        true => REFLECTION_BYTES,
        false => 0,
    };
    CALL_BYTES + headers + path.len() + kept
}

/// Refuses a call at once, because too many are open.
pub(super) fn refuse(respond: &mut SendResponse<Bytes>) {
    let status = Status::from(Error::Overloaded {
        retry_after_ms: RETRY_AFTER_MS,
    });
    let refused = status.into_http::<Body>().map(drop);
    // Sending fails if the client has cancelled the call meanwhile.
    respond.send_response(refused, true).ok();
}

/// Responds to a call, unless its client cancels it before.
pub(super) async fn answer<S>(
    service: S,
    mut request: Request<Body>,
    mut respond: SendResponse<Bytes>,
    open: Open,
    unread: Unread,
) where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    let is_append = is_append(request.uri().path());
    let late = Late::default();
    request.extensions_mut().insert(late.clone());
    let uri = request.uri().clone();
    let mut response = pin!(service.oneshot(request));
    let response = poll_fn(|cx| {
        if respond.poll_reset(cx).is_ready() {
            return Poll::Ready(None);
        }
        poll_alone(response.as_mut(), cx, &uri).map(Some)
    });
    let sent = match response.await {
        Some(Ok(Ok(response))) => {
            let sender = Sender {
                open: &open,
                unread: &unread,
                late: &late,
                is_append,
            };
            let sent = {
                let mut sending = pin!(sender.send(response, &mut respond));
                poll_fn(|cx| poll_alone(sending.as_mut(), cx, &uri)).await
            };
            sent.unwrap_or_else(|Panicked| {
                respond.send_reset(Reason::INTERNAL_ERROR);
                Ok(())
            })
        }
        Some(Err(Panicked)) => {
            let failed = status::internal().into_http::<Body>().map(drop);
            respond.send_response(failed, true).map(drop)
        }
        None => Ok(()),
    };
    match sent {
        Ok(()) => open.until_written(&unread, &mut respond).await,
        Err(error) => debug!(%error, "a call has ended before its answer"),
    }
}

/// The call has panicked. It is not polled again.
struct Panicked;

/// Polls a part of a call. A panic, which is a bug, ends only that call: the task may be that of
/// its connection, which has other calls.
fn poll_alone<F: Future>(
    call: Pin<&mut F>,
    cx: &mut Context<'_>,
    uri: &Uri,
) -> Poll<Result<F::Output, Panicked>> {
    match catch_unwind(AssertUnwindSafe(|| call.poll(cx))) {
        Ok(polled) => polled.map(Ok),
        Err(_) => {
            error!(
                path = uri.path(),
                "a call has panicked; this is a mistake in the broker"
            );
            Poll::Ready(Err(Panicked))
        }
    }
}

/// Sends the response of a call.
struct Sender<'a> {
    open: &'a Open,
    unread: &'a Unread,
    /// Whether the rest of the request is overdue.
    late: &'a Late,
    is_append: bool,
}

impl Sender<'_> {
    async fn send(
        &self,
        response: Response<Body>,
        respond: &mut SendResponse<Bytes>,
    ) -> Result<(), h2::Error> {
        let (mut parts, mut body) = response.into_parts();
        let answers: Option<Answers> = parts.extensions.remove();
        if let Some(answers) = answers.and_then(|answers| answers.take()) {
            drop(body);
            let stream = respond.send_response(Response::from_parts(parts, ()), false)?;
            return sending::send(answers, stream, self.open).await;
        }
        let ends = body.is_end_stream();
        if ends {
            self.open.count_status(&mut parts.headers);
        }
        let mut unencoded: Option<Unencoded> = parts.extensions.remove();
        let mut stream = respond.send_response(Response::from_parts(parts, ()), ends)?;
        if ends {
            return Ok(());
        }
        while let Some(frame) = next(&mut body, &mut stream).await? {
            match frame.into_data() {
                Ok(data) => {
                    drop(unencoded.take());
                    if let Err(status) = self.send_message(&mut stream, data).await? {
                        return self.end(&mut stream, status);
                    }
                }
                Err(frame) => {
                    if let Ok(mut trailers) = frame.into_trailers() {
                        self.open.count_status(&mut trailers);
                        return stream.send_trailers(trailers);
                    }
                }
            }
        }
        stream.send_data(Bytes::new(), true)
    }

    /// Sends a message as the client takes it, or returns how the call ends. h2 gets no more than
    /// the client has room for, so that every byte the client takes is noticed.
    async fn send_message(
        &self,
        stream: &mut SendStream<Bytes>,
        mut message: Bytes,
    ) -> Result<Result<(), Status>, h2::Error> {
        let Some(held) = self.count(&message) else {
            return Ok(Err(self.no_room().into()));
        };
        let whole = message.len();
        let _waiting = self.open.active.wait();
        while !message.is_empty() {
            let wanted = message.len().min(SMALL_PIECES_BYTES);
            let room = tokio::select! {
                biased;
                room = timeout(self.unread.patience, room(stream, wanted)) => room,
                // A client that takes nothing must not keep memory that its next request has
                // reserved.
                () = self.late.passed() => return Ok(Err(self.stalled())),
            };
            let Ok(room) = room else {
                self.unread.notices.happened(Notice::AnswerStalled);
                return Ok(Err(self.stalled()));
            };
            room?;
            self.late.put_off();
            let piece = message.split_to(stream.capacity().min(wanted));
            let is_whole = piece.len() == whole;
            stream.send_data(self.piece(piece, is_whole, &held), false)?;
        }
        Ok(Ok(()))
    }

    /// A piece of a message counted in `held`. One of several pieces is a copy, because a slice
    /// would keep the whole message while h2 writes it.
    fn piece(&self, bytes: Bytes, is_whole: bool, held: &Arc<Held>) -> Bytes {
        let _alive = self.open.alive.count(bytes.len());
        let (bytes, _held) = match is_whole {
            true => (bytes, Arc::clone(held)),
            false => {
                let held = self.unread.memory.count(bytes.len());
                (Bytes::copy_from_slice(&bytes), Arc::new(held))
            }
        };
        Bytes::from_owner(Piece {
            bytes,
            _held,
            _alive,
        })
    }

    /// Counts a message; a small one is part of the cost of its call. `None` if there is no memory.
    fn count(&self, message: &Bytes) -> Option<Arc<Held>> {
        match message.len() > SMALL_ANSWER_BYTES {
            true => Some(Arc::new(self.take(message.len()).ok()?)),
            false => Some(Arc::clone(&self.open.held)),
        }
    }

    /// Takes memory for a response. An append's response may exceed the share of its connection,
    /// because it reports what was stored.
    fn take(&self, bytes: usize) -> Result<Held, Short> {
        let memory = &self.unread.memory;
        match (memory.take(bytes), self.is_append) {
            (Err(_), true) => memory.take_beyond_share(bytes),
            (taken, _) => taken,
        }
    }

    /// The error if there is no memory to keep the response until its client reads it.
    fn no_room(&self) -> Error {
        match self.is_append {
            true => Error::OutcomeUnknown,
            false => Error::Overloaded {
                retry_after_ms: RETRY_AFTER_MS,
            },
        }
    }

    fn stalled(&self) -> Status {
        match self.is_append {
            true => Error::OutcomeUnknown.into(),
            false => status::answer_stalled(),
        }
    }

    /// Ends a response early with this status.
    fn end(&self, stream: &mut SendStream<Bytes>, status: Status) -> Result<(), h2::Error> {
        let mut trailers = HeaderMap::new();
        if status.add_header(&mut trailers).is_err() {
            stream.send_reset(Reason::INTERNAL_ERROR);
            return Ok(());
        }
        self.open.count_status(&mut trailers);
        stream.send_trailers(trailers)
    }
}

/// The next frame of a response; an error if the client has cancelled the call.
async fn next(
    body: &mut Body,
    stream: &mut SendStream<Bytes>,
) -> Result<Option<Frame<Bytes>>, h2::Error> {
    poll_fn(|cx| -> Poll<Result<Option<Frame<Bytes>>, h2::Error>> {
        if let Poll::Ready(reason) = stream.poll_reset(cx)? {
            return Poll::Ready(Err(reason.into()));
        }
        let frame = ready!(Pin::new(&mut *body).poll_frame(cx));
        Poll::Ready(frame.transpose().map_err(|status| {
            debug!(%status, "an answer cannot be made");
            stream.send_reset(Reason::INTERNAL_ERROR);
            Reason::INTERNAL_ERROR.into()
        }))
    })
    .await
}

/// The reason for which the client has reset the stream, if it has. When h2 is asked for room and
/// has some, it wakes the task that waits for a reset; afterwards no task waits for it.
pub(super) fn reset_before_room(
    stream: &mut SendStream<Bytes>,
) -> Result<Option<Reason>, h2::Error> {
    let reset = stream.poll_reset(&mut Context::from_waker(Waker::noop()));
    match reset? {
        Poll::Ready(reason) => Ok(Some(reason)),
        Poll::Pending => Ok(None),
    }
}

/// Waits until the client can take more, having asked for room for this many bytes.
async fn room(stream: &mut SendStream<Bytes>, bytes: usize) -> Result<(), h2::Error> {
    if let Some(reason) = reset_before_room(stream)? {
        return Err(reason.into());
    }
    stream.reserve_capacity(bytes);
    poll_fn(|cx| -> Poll<Result<(), h2::Error>> {
        if let Poll::Ready(reason) = stream.poll_reset(cx)? {
            return Poll::Ready(Err(reason.into()));
        }
        while stream.capacity() == 0 {
            match ready!(stream.poll_capacity(cx)) {
                Some(granted) => granted.map(drop)?,
                None => return Poll::Ready(Err(Reason::CANCEL.into())),
            }
        }
        Poll::Ready(Ok(()))
    })
    .await
}
