//! Answers that are made while they are sent.
//!
//! tonic encodes what a service's stream gives it, keeps the buffer for the next message, and knows
//! nothing of its reader. Records are sent past it: the service answers with an empty stream, and
//! with the [`Source`] of the messages among the response's extensions, where the connection
//! (`http2/sending.rs`) finds it.

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
    auth::Cut,
    reads::{Admitted, Reads, Shares},
    tally::Counted,
};
use crate::{
    broker::Error,
    codec::Encoding,
    types::{Offset, PartitionId},
};

/// What tonic is given instead of the messages.
pub(super) type Elsewhere<T> = tokio_stream::Empty<Result<T, Status>>;

/// Where a call's messages come from. A message is some slices, one behind the other.
pub(super) trait Source: Send {
    /// Takes what the client says meanwhile, if it says something. Called whether or not it takes
    /// what it is sent.
    fn take_requests(&mut self, _: &mut Context<'_>) {}

    /// The next message; none behind the last.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Vec<Bytes>>, Status>>;

    /// Whether the next message is made at once, as far as that is known: it needs no file, and is
    /// small.
    fn is_light(&self) -> bool;

    /// Whether no message follows, as far as that is known without reading.
    fn is_complete(&self) -> bool;

    /// The last message once more. If what it was made of has changed, it is another.
    fn again(&mut self) -> Result<Vec<Bytes>, Error>;

    /// A part of the last message once more, these bytes of it, as it lies in files now: whoever
    /// asks knows what it was. None where all of it has to be read.
    fn part_again(&mut self, _: Range<usize>) -> Option<Vec<Bytes>> {
        None
    }

    /// The bytes that it holds on to.
    fn memory(&self) -> usize;

    /// Lets go of what it can read again.
    fn let_go(&mut self);

    /// Where to go on behind the messages before the last one.
    fn next_offsets(&self) -> Vec<(PartitionId, Offset)>;

    /// Whether it may be ended for others when its client takes nothing for long.
    fn may_be_ended(&self) -> bool {
        true
    }
}

/// A part of a message that begins with this head; `read` reads a part of what follows it.
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

/// A call's answers, on the way from its service to its connection.
#[derive(Clone)]
pub(super) struct Answers(Arc<Mutex<Option<Parts>>>);

/// What they consist of.
pub(super) struct Parts {
    pub(super) source: Box<dyn Source>,
    pub(super) reads: Reads,
    /// Whose memory they use.
    pub(super) shares: Shares,
    /// What the source is counted with.
    pub(super) counted: Admitted,
    /// Resolves with how they end when their caller may not go on.
    pub(super) cut: Option<Cut>,
    /// When the time is over that the client gave the call.
    pub(super) deadline: Option<Pin<Box<Sleep>>>,
    /// The call, which counts as long as they are sent.
    pub(super) call: Option<Counted>,
    /// How its messages are compressed, if they are.
    pub(super) encoding: Option<Encoding>,
}

/// Answers with what comes from this source, if there is room for one more read.
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
    /// Counts their call for as long as they are sent, and ends them when the time is over that its
    /// client gave it.
    pub(super) fn belong_to(&self, call: Counted, deadline: Option<Pin<Box<Sleep>>>) {
        if let Some(parts) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            parts.call = Some(call);
            parts.deadline = deadline;
        }
    }

    /// Lets them end with that.
    pub(super) fn end_with(&self, cut: Cut) {
        if let Some(parts) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            parts.cut = Some(cut);
        }
    }

    /// Has their messages compressed.
    pub(super) fn compress(&self, encoding: Encoding) {
        if let Some(parts) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            parts.encoding = Some(encoding);
        }
    }

    /// Takes them; none if somebody has.
    pub(super) fn take(&self) -> Option<Parts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
