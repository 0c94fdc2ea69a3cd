//! Responses that are made while they are sent.
//!
//! tonic encodes the messages of a service's stream, keeps the buffer for the next message, and
//! does not know how fast its client reads. So records are sent without tonic: the service responds
//! with an empty stream, and puts the [`Source`] of the messages among the response's extensions,
//! where the connection (`http2/sending.rs`) finds it.

use std::{
    ops::Range,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use tokio::time::Sleep;
use tonic::{Response, Status};

use super::{
    auth::{Cut, Pace},
    reads::{Admitted, Reads, Shares},
    tally::Counted,
};
use crate::{
    broker::Error,
    codec::Encoding,
    types::{Offset, PartitionId},
};

/// The empty stream that tonic gets instead of the messages.
pub(super) type Elsewhere<T> = tokio_stream::Empty<Result<T, Status>>;

/// The source of a call's messages. A message consists of slices, one behind the other.
pub(super) trait Source: Send {
    /// Takes the client's next requests, if there are any. Called whether or not the client reads
    /// its responses.
    fn take_requests(&mut self, _: &mut Context<'_>) {}

    /// The next message; `None` after the last.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Vec<Bytes>>, Status>>;

    /// Whether the next message can be made at once, as far as is known: it is small and needs no
    /// file.
    fn is_light(&self) -> bool;

    /// Whether no message follows, as far as is known without reading.
    fn is_complete(&self) -> bool;

    /// Makes the last message again. The result differs if its content has changed.
    fn again(&mut self) -> Result<Vec<Bytes>, Error>;

    /// Makes these bytes of the last message again, as they are in files now; the caller compares
    /// them with the original. `None` if the whole message must be made again.
    fn part_again(&mut self, _: Range<usize>) -> Option<Vec<Bytes>> {
        None
    }

    /// The memory it holds, in bytes.
    fn memory(&self) -> usize;

    /// Frees everything that it can read again.
    fn let_go(&mut self);

    /// The offsets at which to continue behind the messages before the last one.
    fn next_offsets(&self) -> Vec<(PartitionId, Offset)>;

    /// Whether it may be ended in favour of others when its client takes nothing for long.
    fn may_be_ended(&self) -> bool {
        true
    }
}

/// A part of a message that begins with this head; `read` reads a part of what follows the head.
pub(super) fn part_of(
    head: &Bytes,
    part: Range<usize>,
    read: impl FnOnce(Range<usize>) -> Option<Vec<Bytes>>,
) -> Option<Vec<Bytes>> {
    let len = head.len();
    let mut slices = vec![head.slice(part.start.min(len)..part.end.min(len))];
    let behind = part.start.saturating_sub(len)..part.end.saturating_sub(len);
    if !behind.is_empty() {
        slices.extend(read(behind)?);
    }
    Some(slices)
}

/// A call's responses, on their way from its service to its connection.
#[derive(Clone)]
pub(super) struct Answers(Arc<Mutex<Option<Parts>>>);

/// The parts of a call's responses.
pub(super) struct Parts {
    pub(super) source: Box<dyn Source>,
    pub(super) reads: Reads,
    /// The connection's shares of the memory of reads.
    pub(super) shares: Shares,
    /// The memory in which the source is counted.
    pub(super) counted: Admitted,
    /// Resolves with the final status when the caller must not continue.
    pub(super) cut: Option<Cut>,
    /// Slows the messages down to the caller's quota; `None` without one.
    pub(super) pace: Option<Pace>,
    /// Resolves at the deadline that the client gave the call.
    pub(super) deadline: Option<Pin<Box<Sleep>>>,
    /// The call, which is counted as long as its responses are sent.
    pub(super) call: Option<Counted>,
    /// The compression of the messages, if any.
    pub(super) encoding: Option<Encoding>,
}

/// Responds with the messages of this source, if there is room for one more read.
pub(super) fn respond<T>(
    source: impl Source + 'static,
    reads: &Reads,
    shares: Shares,
) -> Result<Response<Elsewhere<T>>, Error> {
    let parts = Parts {
        counted: reads.admit(&shares, source.memory())?,
        shares,
        source: Box::new(source),
        reads: reads.clone(),
        cut: None,
        pace: None,
        deadline: None,
        call: None,
        encoding: None,
    };
    let mut response = Response::new(tokio_stream::empty());
    let answers = Answers(Arc::new(Mutex::new(Some(parts))));
    response.extensions_mut().insert(answers);
    Ok(response)
}

impl Answers {
    /// Counts the call as long as its responses are sent, and ends them at the deadline.
    pub(super) fn belong_to(&self, call: Counted, deadline: Option<Pin<Box<Sleep>>>) {
        if let Some(parts) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            parts.call = Some(call);
            parts.deadline = deadline;
        }
    }

    /// Ends the messages when `cut` resolves, and slows them down to the caller's quota.
    pub(super) fn end_with(&self, cut: Cut, pace: Pace) {
        if let Some(parts) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            parts.cut = Some(cut);
            parts.pace = Some(pace);
        }
    }

    /// Makes the messages be compressed.
    pub(super) fn compress(&self, encoding: Encoding) {
        if let Some(parts) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            parts.encoding = Some(encoding);
        }
    }

    /// Takes the parts; `None` if they were taken before.
    pub(super) fn take(&self) -> Option<Parts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
