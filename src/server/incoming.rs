//! Messages, put together from the bytes that come in.
//!
//! tonic does that for calls that take one message. Where a call takes many, it would keep the
//! buffer in which it puts them together for as long as the call is open, as large as the largest
//! of them was, and nobody would count it. So these requests are taken past tonic: it is given an
//! empty body, and the service finds its messages among the request's extensions. Each is put
//! together in memory of its own, which goes when the message goes.

use std::{
    marker::PhantomData,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use tokio_stream::Stream;
use tonic::{Code, Extensions, Status};

use super::intake::{HEADER_BYTES, Metered};
use crate::proto::codec::{self, Decoded};

/// Among the extensions of a request: its messages, until its service takes them.
#[derive(Clone)]
pub(super) struct Aside(Arc<Mutex<Option<Metered>>>);

impl Aside {
    pub(super) fn new(messages: Metered) -> Self {
        Self(Arc::new(Mutex::new(Some(messages))))
    }

    pub(super) fn take(&self) -> Option<Metered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The messages of a call that takes many.
pub(super) struct Incoming<T> {
    /// None when there are no more.
    messages: Option<Metered>,
    of: PhantomData<fn() -> T>,
}

impl<T> Incoming<T> {
    /// Those of the request with these extensions.
    pub(super) fn of(extensions: &Extensions) -> Self {
        Self {
            messages: extensions.get().and_then(Aside::take),
            of: PhantomData,
        }
    }
}

impl<T: Decoded> Stream for Incoming<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(messages) = &mut self.messages else {
            return Poll::Ready(None);
        };
        let next = match ready!(messages.poll_message(cx)) {
            Some(Ok(message)) => Some(codec::decode(message)),
            // The client has ended the call.
            Some(Err(status)) if status.code() == Code::Cancelled => None,
            Some(Err(status)) => Some(Err(status)),
            None => None,
        };
        if !matches!(next, Some(Ok(_))) {
            self.messages = None;
        }
        Poll::Ready(next)
    }
}

/// Puts messages together.
#[derive(Default)]
pub(super) struct Gatherer {
    /// What has come and is not part of a message yet.
    came: Bytes,
    header: [u8; HEADER_BYTES],
    header_len: usize,
    /// What has come of the current message.
    message: Vec<u8>,
}

/// A message as it came.
pub(super) struct Gathered {
    /// gRPC's: 1 if it is compressed.
    pub(super) flag: u8,
    pub(super) bytes: Bytes,
}

impl Gatherer {
    /// Takes what comes next; all that came before has been put together.
    pub(super) fn add(&mut self, came: Bytes) {
        self.came = came;
    }

    /// Whether a message has begun, and is not complete.
    pub(super) fn is_in_message(&self) -> bool {
        self.header_len > 0
    }

    /// The next message, if all of it has come.
    pub(super) fn next(&mut self) -> Option<Gathered> {
        if self.header_len < HEADER_BYTES {
            let bytes = self.came.len().min(HEADER_BYTES - self.header_len);
            let part = &mut self.header[self.header_len..][..bytes];
            self.came.copy_to_slice(part);
            self.header_len += bytes;
            if self.header_len < HEADER_BYTES {
                return self.wait();
            }
            self.message = Vec::with_capacity(self.len());
        }
        let missing = self.len() - self.message.len();
        let part = self.came.split_to(missing.min(self.came.len()));
        self.message.extend_from_slice(&part);
        if part.len() < missing {
            return self.wait();
        }
        self.header_len = 0;
        Some(Gathered {
            flag: self.header[0],
            bytes: std::mem::take(&mut self.message).into(),
        })
    }

    /// More has to come. What has, empty as it is, would keep what it was a part of.
    fn wait(&mut self) -> Option<Gathered> {
        self.came = Bytes::new();
        None
    }

    /// The current message's length.
    fn len(&self) -> usize {
        let [_, length @ ..] = self.header;
        u32::from_be_bytes(length) as usize
    }
}
