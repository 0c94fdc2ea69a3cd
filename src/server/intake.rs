//! What requests may take while they come in: each message its size, and all of them together their
//! memory.
//!
//! The flow control of HTTP/2 does not bound this: a call's bytes are taken off the connection as
//! they arrive, to be put together, and a thousand connections with 256 calls each may be sending
//! 16 MiB. So every byte of an incomplete message is counted, until the broker has admitted the
//! message, which counts it from then on. When too many are there, the call is refused; it does not
//! wait, because the ones that would have to finish first could wait for bytes themselves.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::Request;
use http_body::Frame;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Status, body::Body};

use super::{limits, status};
use crate::broker::Error;

/// The memory that incoming requests share.
#[derive(Clone)]
pub(super) struct Intake {
    room: Arc<Semaphore>,
}

/// What a request has of it. Travels with the request, so that it is given back when the request is
/// let go.
#[derive(Clone, Default)]
pub(super) struct Share(Arc<Mutex<Option<OwnedSemaphorePermit>>>);

impl Intake {
    pub(super) fn new(bytes: usize) -> Self {
        Self {
            room: Arc::new(Semaphore::new(bytes)),
        }
    }

    /// Counts a request's bytes as they come in.
    pub(super) fn meter(&self, mut request: Request<Body>) -> Request<Body> {
        let share = Share::default();
        request.extensions_mut().insert(share.clone());
        let messages = Messages::new(limits::messages(request.uri().path()));
        let intake = self.clone();
        request.map(|body| {
            Body::new(Metered {
                body,
                intake,
                share,
                messages,
            })
        })
    }
}

impl Share {
    /// Counts `more` bytes, and from those before only the last `keep`, the rest having been
    /// admitted.
    fn extend(&self, intake: &Intake, keep: usize, more: usize) -> Result<(), Status> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = held.take().and_then(|mut permit| permit.split(keep));
        let overloaded = || {
            Status::from(Error::Overloaded {
                retry_after_ms: limits::RETRY_AFTER_MS,
            })
        };
        let more = u32::try_from(more).map_err(|_| overloaded())?;
        let mut permit = Arc::clone(&intake.room)
            .try_acquire_many_owned(more)
            .map_err(|_| overloaded())?;
        if let Some(kept) = kept {
            permit.merge(kept);
        }
        *held = Some(permit);
        Ok(())
    }
}

/// The body of a request, its bytes counted.
struct Metered {
    body: Body,
    intake: Intake,
    share: Share,
    messages: Messages,
}

impl http_body::Body for Metered {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(http_body::Body::poll_frame(Pin::new(&mut self.body), cx)?);
        if let Some(data) = frame.as_ref().and_then(Frame::data_ref) {
            // Whoever asks for more has got all complete messages, and each of them was admitted
            // before the next.
            let incomplete = self.messages.incomplete();
            self.messages.pass(data)?;
            self.share.extend(&self.intake, incomplete, data.len())?;
        }
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        http_body::Body::is_end_stream(&self.body)
    }
}

/// A message's frame in gRPC: a flag, its length in four bytes, and that many bytes.
const HEADER_BYTES: usize = 5;

/// Which messages a call takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Allowed {
    /// The most bytes of one, encoded.
    pub(super) bytes: usize,
    /// Any number of them, instead of one.
    pub(super) many: bool,
}

/// Follows the messages in a stream of bytes.
pub(super) struct Messages {
    allowed: Allowed,
    /// A message is complete.
    any_complete: bool,
    header: [u8; HEADER_BYTES],
    /// Bytes of the current message that have passed, with its header.
    passed: usize,
}

impl Messages {
    pub(super) fn new(allowed: Allowed) -> Self {
        Self {
            allowed,
            any_complete: false,
            header: [0; HEADER_BYTES],
            passed: 0,
        }
    }

    /// How many bytes have passed of a message that is not complete.
    pub(super) fn incomplete(&self) -> usize {
        self.passed
    }

    /// Goes over the next bytes.
    pub(super) fn pass(&mut self, mut data: &[u8]) -> Result<(), Status> {
        while !data.is_empty() {
            if self.any_complete && !self.allowed.many {
                let reason = "the call takes one message, and there are more".to_owned();
                return Err(Error::MalformedRequest { reason }.into());
            }
            let step = if self.passed < HEADER_BYTES {
                let step = data.len().min(HEADER_BYTES - self.passed);
                self.header[self.passed..self.passed + step].copy_from_slice(&data[..step]);
                step
            } else {
                data.len().min(self.len() - self.passed)
            };
            self.passed += step;
            data = &data[step..];
            if self.passed >= HEADER_BYTES {
                self.check_header()?;
            }
        }
        Ok(())
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
            self.any_complete = true;
        }
        Ok(())
    }
}
