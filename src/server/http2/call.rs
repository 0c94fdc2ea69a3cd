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
use http::{HeaderValue, Request, Response, header::HeaderName, request::Parts};
use http_body::{Body as _, Frame};
use tonic::{Status, body::Body};
use tower::{Service, ServiceExt};
use tracing::debug;

use super::sending;
use crate::{
    broker::Error,
    budget::Held,
    server::{
        answers::Answers,
        limits::{CALL_BYTES, HEADER_ENTRY_BYTES, RETRY_AFTER_MS},
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

/// Answers a call, unless its client cancels it before.
pub(super) async fn answer<S>(
    service: S,
    request: Request<Body>,
    mut respond: SendResponse<Bytes>,
    (active, _held): (Entered, Held),
) where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    let mut response = pin!(service.oneshot(request));
    let response = poll_fn(|cx| {
        if respond.poll_reset(cx).is_ready() {
            return Poll::Ready(None);
        }
        response.as_mut().poll(cx).map(Some)
    });
    let sent = match response.await {
        Some(Ok(response)) => send(response, &mut respond, &active).await,
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
                if !data.is_empty() {
                    let _waiting = active.wait();
                    room(&mut stream).await?;
                }
                stream.send_data(data, false)?;
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

/// Waits until the client takes more. One byte is asked for: h2 keeps the rest of what is sent, and
/// no call that waits holds on to room that another could use.
async fn room(stream: &mut SendStream<Bytes>) -> Result<(), h2::Error> {
    stream.reserve_capacity(1);
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
