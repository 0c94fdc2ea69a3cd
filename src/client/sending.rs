//! The body of an append stream.
//!
//! tonic would copy each request into a buffer of its own before it is sent. Here a large batch is
//! sent from the memory in which its records were encoded; small ones are gathered as tonic does.
//! tonic makes the call with an empty body, and [`Link`](super::link::Link) puts this one in its
//! place.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use http_body::Frame;
use tonic::body::Body;

use crate::proto::wire::AppendRequest;

/// A batch of at least this many bytes is not copied. A part of its own costs about as much as
/// copying so much.
const LARGE_BYTES: usize = 16 << 10;

/// Ready requests are gathered up to this before they are sent.
const GATHER_BYTES: usize = 64 << 10;

/// A request's body, among its extensions until the link takes it.
#[derive(Clone)]
pub(super) struct Aside(Arc<Mutex<Option<Body>>>);

impl Aside {
    /// A body of these requests.
    pub(super) fn new(
        requests: impl Stream<Item = AppendRequest> + Unpin + Send + 'static,
    ) -> Self {
        let body = Body::new(Messages {
            requests,
            buffer: BytesMut::new(),
            parts: VecDeque::new(),
        });
        Self(Arc::new(Mutex::new(Some(body))))
    }

    pub(super) fn take(&self) -> Option<Body> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Requests as the messages of a body.
pub(super) struct Messages<S> {
    requests: S,
    /// Encoded bytes that belong behind the parts.
    buffer: BytesMut,
    /// Parts of the body that are ready to be sent.
    parts: VecDeque<Bytes>,
}

impl<S: Stream<Item = AppendRequest> + Unpin> Messages<S> {
    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            if let Some(part) = self.parts.pop_front() {
                return Poll::Ready(Some(part));
            }
            if self.buffer.len() >= GATHER_BYTES {
                return Poll::Ready(Some(self.buffer.split().freeze()));
            }
            match Pin::new(&mut self.requests).poll_next(cx) {
                Poll::Ready(Some(request)) => {
                    request.encode_in_parts(&mut self.buffer, LARGE_BYTES, &mut self.parts);
                }
                Poll::Pending if self.buffer.is_empty() => return Poll::Pending,
                Poll::Ready(None) if self.buffer.is_empty() => return Poll::Ready(None),
                _ => return Poll::Ready(Some(self.buffer.split().freeze())),
            }
        }
    }
}

impl<S: Stream<Item = AppendRequest> + Unpin> http_body::Body for Messages<S> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let part = self.poll_part(cx);
        part.map(|part| part.map(|part| Ok(Frame::data(part))))
    }
}
