//! One call: the service's answer to a request, sent as the client takes it.

use std::{
    convert::Infallible,
    future::poll_fn,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Poll, ready},
};

use bytes::Bytes;
use h2::{Reason, SendStream, server::SendResponse};
use http::{HeaderMap, HeaderValue, Request, Response, header::HeaderName, request::Parts};
use http_body::{Body as _, Frame};
use tonic::{Status, body::Body};
use tower::{Service, ServiceExt};
use tracing::debug;

use super::sending;
use crate::{
    broker::Error,
    budget::{Held, Holder},
    server::{
        answers::Answers,
        limits::{CALL_BYTES, HEADER_ENTRY_BYTES, PIECE_BYTES, RETRY_AFTER_MS, SMALL_PIECE_BYTES},
    },
};

/// How many calls of a connection are under way and do not wait for their client to read.
#[derive(Clone, Debug, Default)]
pub(super) struct Active(Arc<AtomicUsize>);

impl Active {
    pub(super) fn count(&self) -> usize {
        self.0.load(Relaxed)
    }

    pub(super) fn enter(&self) -> Entered {
        self.0.fetch_add(1, Relaxed);
        Entered(self.clone())
    }
}

/// Counts as active until it is dropped.
pub(super) struct Entered(Active);

impl Entered {
    /// Does not count until this is dropped.
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

/// What an open call costs, without what it waits for: see [`CALL_BYTES`].
pub(super) fn bytes(request: &Parts) -> usize {
    let header = |(name, value): (&HeaderName, &HeaderValue)| {
        name.as_str().len() + value.len() + HEADER_ENTRY_BYTES
    };
    let headers: usize = request.headers.iter().map(header).sum();
    CALL_BYTES + headers + request.uri.path().len()
}

/// Refuses a call at once, because too many are open.
pub(super) fn refuse(respond: &mut SendResponse<Bytes>) {
    let status = Status::from(Error::Overloaded {
        retry_after_ms: RETRY_AFTER_MS,
    });
    let refused = status.into_http::<Body>().map(drop);
    // It fails if the client has cancelled the call meanwhile.
    respond.send_response(refused, true).ok();
}

/// Calls whose answer tells what was stored.
const APPENDS: &str = "/taffrail.v1.Log/Append";

/// Answers a call, unless its client cancels it before.
pub(super) async fn answer<S>(
    service: S,
    request: Request<Body>,
    mut respond: SendResponse<Bytes>,
    (active, _held): (Entered, Held),
    unsent: Holder,
) where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    let is_append = request.uri().path().starts_with(APPENDS);
    let mut response = pin!(service.oneshot(request));
    let response = poll_fn(|cx| {
        if respond.poll_reset(cx).is_ready() {
            return Poll::Ready(None);
        }
        response.as_mut().poll(cx).map(Some)
    });
    let sent = match response.await {
        Some(Ok(response)) => {
            let no_room = match is_append {
                true => Error::OutcomeUnknown,
                false => Error::Overloaded {
                    retry_after_ms: RETRY_AFTER_MS,
                },
            };
            send(response, &mut respond, &active, (&unsent, no_room)).await
        }
        None => Ok(()),
    };
    if let Err(error) = sent {
        debug!(%error, "a call has ended before its answer");
    }
}

async fn send(
    response: Response<Body>,
    respond: &mut SendResponse<Bytes>,
    active: &Entered,
    (unsent, no_room): (&Holder, Error),
) -> Result<(), h2::Error> {
    let (mut parts, mut body) = response.into_parts();
    let answers: Option<Answers> = parts.extensions.remove();
    if let Some(answers) = answers.and_then(|answers| answers.take()) {
        drop(body);
        let stream = respond.send_response(Response::from_parts(parts, ()), false)?;
        return sending::send(answers, stream, active).await;
    }
    let ends = body.is_end_stream();
    let mut stream = respond.send_response(Response::from_parts(parts, ()), ends)?;
    if ends {
        return Ok(());
    }
    while let Some(frame) = next(&mut body, &mut stream).await? {
        match frame.into_data() {
            Ok(data) => {
                // A small one is a part of what an open call costs.
                let held = (data.len() > SMALL_PIECE_BYTES).then(|| unsent.take(data.len()));
                let Ok(_held) = held.transpose() else {
                    return end(&mut stream, no_room);
                };
                let _waiting = active.wait();
                send_data(&mut stream, data).await?;
            }
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    return stream.send_trailers(trailers);
                }
            }
        }
    }
    stream.send_data(Bytes::new(), true)
}

/// Ends an answer that there is no memory to keep until its client reads it.
fn end(stream: &mut SendStream<Bytes>, error: Error) -> Result<(), h2::Error> {
    let mut trailers = HeaderMap::new();
    if Status::from(error).add_header(&mut trailers).is_err() {
        stream.send_reset(Reason::INTERNAL_ERROR);
        return Ok(());
    }
    stream.send_trailers(trailers)
}

/// Sends this as the client takes it. A small answer goes to h2 as a whole, a large one in pieces.
async fn send_data(stream: &mut SendStream<Bytes>, mut data: Bytes) -> Result<(), h2::Error> {
    while data.len() > SMALL_PIECE_BYTES {
        room(stream, data.len().min(PIECE_BYTES)).await?;
        let piece = data.split_to(stream.capacity().min(data.len()));
        stream.send_data(piece, false)?;
    }
    if !data.is_empty() {
        room(stream, 1).await?;
        stream.send_data(data, false)?;
    }
    Ok(())
}

/// The next frame of an answer; an error if the client has cancelled the call.
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

/// Waits until the client takes more; so many bytes are asked for. Where that is one, h2 keeps the
/// rest of what is sent, and no call that waits holds on to room that another could use.
async fn room(stream: &mut SendStream<Bytes>, bytes: usize) -> Result<(), h2::Error> {
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
