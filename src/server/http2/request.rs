//! The body of a request: the connection's task fills it as bytes come in, and the call empties it.
//!
//! The bytes between are part of the client's window, which opens again as the call takes them.
//! Small pieces are joined, so that they cost no more than they hold.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use bytes::{Bytes, BytesMut};
use h2::{FlowControl, RecvStream};
use http_body::Frame;
use tonic::Status;

use super::{rest::Rest, socket::Traffic};
use crate::server::limits::{JOINED_BYTES, SHORT_REQUEST_BYTES, SMALL_PIECE_BYTES};

/// How a call uses its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Kind {
    /// There is one request, and the call does nothing before it is complete.
    One,
    /// The call responds to each request.
    Many,
    /// The call responds to each request as long as requests come; nothing is lost if they end.
    /// They end when the server stops.
    Watching,
}

/// The two ends of a request's body.
pub(super) fn body(
    mut stream: RecvStream,
    kind: Kind,
    traffic: Arc<Traffic>,
    arrivals: &Rest,
) -> (Feed, RequestBody) {
    let window = stream.flow_control().clone();
    let waiting = Arc::new(Mutex::default());
    let arrival = Arrival::of_request(arrivals);
    let feed = Feed {
        stream,
        waiting: Arc::clone(&waiting),
        traffic: Arc::clone(&traffic),
        kind,
        short: None,
        waker: Waker::from(Arc::clone(&arrival)),
        arrival: Arc::clone(&arrival),
    };
    let body = RequestBody {
        waiting,
        window,
        traffic,
        arrival,
    };
    (feed, body)
}

/// Whether anything has come in for one request, or its call has ended.
pub(super) struct Arrival {
    has_come: AtomicBool,
    arrivals: Rest,
}

impl Arrival {
    /// The arrival of a new request, some of which may have come already.
    fn of_request(arrivals: &Rest) -> Arc<Self> {
        let arrival = Arc::new(Self {
            has_come: AtomicBool::new(false),
            arrivals: arrivals.clone(),
        });
        arrival.wake_by_ref();
        arrival
    }
}

impl Wake for Arrival {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.has_come.swap(true, Ordering::AcqRel) {
            self.arrivals.note();
        }
    }
}

/// The bytes that have come in and were not taken yet.
#[derive(Default)]
pub(in crate::server) struct Waiting {
    pieces: VecDeque<Bytes>,
    /// Small pieces behind those, joined.
    joined: BytesMut,
    end: Option<Result<(), Status>>,
    reader: Option<Waker>,
    /// Whether nothing will be taken any more.
    abandoned: bool,
}

impl Waiting {
    pub(in crate::server) fn push(&mut self, piece: Bytes) {
        if piece.len() < SMALL_PIECE_BYTES {
            self.joined.extend_from_slice(&piece);
        }
        if piece.len() >= SMALL_PIECE_BYTES || self.joined.len() >= JOINED_BYTES {
            self.close_joined();
        }
        if piece.len() >= SMALL_PIECE_BYTES {
            self.pieces.push_back(piece);
        }
    }

    fn close_joined(&mut self) {
        if !self.joined.is_empty() {
            self.pieces.push_back(self.joined.split().freeze());
        }
    }

    pub(in crate::server) fn pop(&mut self) -> Option<Bytes> {
        if self.pieces.is_empty() {
            self.close_joined();
        }
        self.pieces.pop_front()
    }

    /// Drops everything, and returns how many bytes that was.
    pub(in crate::server) fn abandon(&mut self) -> usize {
        self.abandoned = true;
        let pieces = self.pieces.drain(..).map(|piece| piece.len());
        let bytes = pieces.sum::<usize>() + self.joined.len();
        self.joined = BytesMut::new();
        bytes
    }
}

fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The connection's end of a request's body.
pub(super) struct Feed {
    stream: RecvStream,
    waiting: Arc<Mutex<Waiting>>,
    traffic: Arc<Traffic>,
    kind: Kind,
    short: Option<Short>,
    arrival: Arc<Arrival>,
    /// The arrival, as a waker for h2.
    waker: Waker,
}

/// The short call of a request, as long as the request is not large.
struct Short {
    number: usize,
    came: usize,
}

impl Feed {
    /// Whether the call has not begun, because its client has not sent the whole request.
    pub(super) fn has_not_begun(&self) -> bool {
        self.kind == Kind::One
    }

    /// Sets the number of the short call whose request this is.
    pub(super) fn belongs_to(&mut self, number: usize) {
        self.short = Some(Short { number, came: 0 });
    }

    /// The number of its call, returned once, when the request has turned out to be large.
    pub(super) fn take_large(&mut self) -> Option<usize> {
        let is_large = |short: &mut Short| short.came > SHORT_REQUEST_BYTES;
        self.short.take_if(is_large).map(|short| short.number)
    }

    /// Tells the request that the server stops.
    pub(super) fn stop(&mut self) {
        if self.kind == Kind::Watching {
            let mut waiting = lock(&self.waiting);
            waiting.end.get_or_insert(Ok(()));
            let reader = waiting.reader.take();
            drop(waiting);
            if let Some(reader) = reader {
                reader.wake();
            }
            self.arrival.wake_by_ref();
        }
    }

    /// Passes on everything that has come in. Returns false when nothing more will come.
    pub(super) fn pass_on(&mut self) -> bool {
        if !self.arrival.has_come.swap(false, Ordering::AcqRel) {
            return true;
        }
        let mut waiting = lock(&self.waiting);
        if waiting.abandoned {
            return false;
        }
        let mut any = false;
        while waiting.end.is_none() {
            match self.stream.poll_data(&mut Context::from_waker(&self.waker)) {
                Poll::Pending => break,
                Poll::Ready(Some(Ok(piece))) => {
                    self.traffic.add_came(piece.len());
                    if let Some(short) = &mut self.short {
                        short.came += piece.len();
                    }
                    waiting.push(piece);
                }
                Poll::Ready(Some(Err(_))) => {
                    waiting.end = Some(Err(Status::cancelled("the client has ended the call")));
                }
                Poll::Ready(None) => waiting.end = Some(Ok(())),
            }
            any = true;
        }
        if any {
            self.traffic.progress();
        }
        let open = waiting.end.is_none();
        let reader = if any { waiting.reader.take() } else { None };
        drop(waiting);
        if let Some(reader) = reader {
            reader.wake();
        }
        open
    }
}

/// The call's end of a request's body.
pub(super) struct RequestBody {
    waiting: Arc<Mutex<Waiting>>,
    window: FlowControl,
    traffic: Arc<Traffic>,
    arrival: Arc<Arrival>,
}

impl RequestBody {
    fn open_window(&mut self, bytes: usize) {
        self.traffic.add_taken(bytes);
        // This fails if the connection has failed; then there is no window either.
        self.window.release_capacity(bytes).ok();
    }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut waiting = lock(&self.waiting);
        if let Some(piece) = waiting.pop() {
            drop(waiting);
            self.open_window(piece.len());
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        match &mut waiting.end {
            // Polled again after the error, the body has ended.
            Some(end) => Poll::Ready(std::mem::replace(end, Ok(())).err().map(Err)),
            None => {
                waiting.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let waiting = lock(&self.waiting);
        let empty = waiting.pieces.is_empty() && waiting.joined.is_empty();
        empty && matches!(waiting.end, Some(Ok(())))
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let mut waiting = lock(&self.waiting);
        let is_open = waiting.end.is_none();
        let bytes = waiting.abandon();
        drop(waiting);
        self.open_window(bytes);
        if is_open {
            self.arrival.wake_by_ref();
        }
    }
}
