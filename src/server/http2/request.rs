//! The body of a request: filled by the connection's task as bytes come in, emptied by the call.
//!
//! What waits in between is part of the client's window, which opens again as the call takes it.
//! Small pieces are put together, so that what they cost is what they hold.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::{Bytes, BytesMut};
use h2::{FlowControl, RecvStream};
use http_body::Frame;
use tonic::Status;

use super::socket::Traffic;
use crate::server::limits::{JOINED_BYTES, SHORT_REQUEST_BYTES, SMALL_PIECE_BYTES};

/// What a call does with its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Kind {
    /// There is one, and nothing is done before it is whole.
    One,
    /// It answers each.
    Many,
    /// It answers each for as long as they come, and nothing is lost when they do not. They end when
    /// the server is to stop.
    Watching,
}

/// The two ends of a request's body.
pub(super) fn body(
    mut stream: RecvStream,
    kind: Kind,
    traffic: Arc<Traffic>,
) -> (Feed, RequestBody) {
    let window = stream.flow_control().clone();
    let waiting = Arc::new(Mutex::default());
    let feed = Feed {
        stream,
        waiting: Arc::clone(&waiting),
        traffic: Arc::clone(&traffic),
        kind,
        short: None,
    };
    let body = RequestBody {
        waiting,
        window,
        traffic,
    };
    (feed, body)
}

/// What has come in and was not taken yet.
#[derive(Default)]
pub(in crate::server) struct Waiting {
    pieces: VecDeque<Bytes>,
    /// Small pieces behind those.
    joined: BytesMut,
    end: Option<Result<(), Status>>,
    reader: Option<Waker>,
    /// Nobody will take anything any more.
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

    /// Forgets everything, and returns how many bytes that was.
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

/// The connection's end.
pub(super) struct Feed {
    stream: RecvStream,
    waiting: Arc<Mutex<Waiting>>,
    traffic: Arc<Traffic>,
    kind: Kind,
    short: Option<Short>,
}

/// A short call, as long as its request is not large.
struct Short {
    number: usize,
    came: usize,
}

impl Feed {
    /// Whether the call has not begun, because its client has not sent the whole request.
    pub(super) fn has_not_begun(&self) -> bool {
        self.kind == Kind::One
    }

    /// It is the request of the short call with this number.
    pub(super) fn belongs_to(&mut self, number: usize) {
        self.short = Some(Short { number, came: 0 });
    }

    /// The number of its call, once, when the request has turned out to be large.
    pub(super) fn take_large(&mut self) -> Option<usize> {
        let is_large = |short: &mut Short| short.came > SHORT_REQUEST_BYTES;
        self.short.take_if(is_large).map(|short| short.number)
    }

    /// The server is to stop.
    pub(super) fn stop(&mut self) {
        if self.kind == Kind::Watching {
            let mut waiting = lock(&self.waiting);
            waiting.end.get_or_insert(Ok(()));
            let reader = waiting.reader.take();
            drop(waiting);
            if let Some(reader) = reader {
                reader.wake();
            }
        }
    }

    /// Passes on all that has come in; false when nothing more is to be.
    pub(super) fn pass_on(&mut self, cx: &mut Context<'_>) -> bool {
        let mut waiting = lock(&self.waiting);
        if waiting.abandoned {
            return false;
        }
        let mut any = false;
        while waiting.end.is_none() {
            match self.stream.poll_data(cx) {
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

/// The call's end.
pub(super) struct RequestBody {
    waiting: Arc<Mutex<Waiting>>,
    window: FlowControl,
    traffic: Arc<Traffic>,
}

impl RequestBody {
    fn open_window(&mut self, bytes: usize) {
        self.traffic.add_taken(bytes);
        // It fails if the connection has, and then there is no window.
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
            // Asked again behind the error, it is over.
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
        let bytes = lock(&self.waiting).abandon();
        self.open_window(bytes);
    }
}
