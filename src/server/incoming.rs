//! Messages, assembled from incoming bytes.
//!
//! tonic does this for calls that take one message. For a call that takes many, it would keep its
//! assembly buffer while the call is open, as large as the largest message, and uncounted. So such
//! requests bypass tonic: tonic gets an empty body, and the service finds its messages among the
//! request's extensions. Each message is assembled in its own memory, which is freed with the
//! message.

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

/// A request's messages, among its extensions until its service takes them.
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
    /// `None` when there are no more.
    messages: Option<Metered>,
    of: PhantomData<fn() -> T>,
}

impl<T> Incoming<T> {
    /// The messages of the request with these extensions.
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

/// Assembles messages.
#[derive(Default)]
pub(super) struct Gatherer {
    /// Bytes that have come and are not part of a message yet.
    came: Bytes,
    header: [u8; HEADER_BYTES],
    header_len: usize,
    /// The bytes of the current message that have come.
    message: Vec<u8>,
}

/// An assembled message.
pub(super) struct Gathered {
    /// gRPC's flag: 1 if the message is compressed.
    pub(super) flag: u8,
    pub(super) bytes: Bytes,
}

impl Gatherer {
    /// Adds the next bytes; all earlier ones must have been used.
    pub(super) fn add(&mut self, came: Bytes) {
        self.came = came;
    }

    /// Whether a message has begun and is not complete.
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

    /// Waits for more bytes. Drops the empty slice, which would keep the buffer that it was a part
    /// of.
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
