//! One connection: HTTP/2 as h2 speaks it, and the calls on it.
//!
//! The transport that comes with tonic leaves bytes of requests in h2 until somebody reads them, and
//! h2 ends a connection that has many small frames unread, because each costs it more than it holds.
//! A client that sends small requests ahead of their answers does nothing else. So this task takes
//! every frame out of h2 in the turn that brought it in, and puts small ones together
//! (`request.rs`); the client's window opens again as the call takes them, so that what a client may
//! send ahead is bounded by flow control alone.
//!
//! Reading order: this page; `request.rs`, what comes in; `call.rs`, what goes out; `socket.rs`.

mod call;
pub(super) mod request;
mod socket;

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use h2::{Ping, PingPong, RecvStream, server::SendResponse};
use http::{Request, Response};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinSet,
    time::{Sleep, sleep},
};
use tonic::body::Body;
use tower::Service;
use tracing::debug;

use self::{
    call::{Active, answer},
    request::Feed,
    socket::{Socket, Traffic},
};
use super::{
    limits,
    peer::Peer,
    stop::{Stopped, Stopping},
};

/// Serves a connection until its client closes it, or, told to stop, until no call on it makes
/// progress any more. `opening` are the bytes that were read of it already.
///
/// Dropping the future ends the connection and its calls at once.
pub(super) async fn serve<IO, S>(
    io: IO,
    opening: Bytes,
    service: S,
    peer: Peer,
    stopping: &Stopping,
) where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    let traffic = Arc::new(Traffic::default());
    let socket = Socket::new(io, opening, Arc::clone(&traffic));
    let ended = match settings().handshake(socket).await {
        Ok(http2) => {
            let mut connection = Connection::new(http2, traffic, service, peer, stopping.stopped());
            poll_fn(|cx| connection.poll(cx)).await
        }
        Err(error) => Err(error),
    };
    if let Err(error) = ended {
        debug!(%error, "a connection has broken");
    }
}

fn settings() -> h2::server::Builder {
    let mut settings = h2::server::Builder::new();
    settings
        .initial_window_size(limits::STREAM_WINDOW_BYTES)
        .initial_connection_window_size(limits::CONNECTION_WINDOW_BYTES)
        .max_frame_size(limits::MAX_FRAME_BYTES)
        .max_concurrent_streams(limits::MAX_STREAMS)
        .max_concurrent_reset_streams(limits::MAX_ENDED)
        .max_pending_accept_reset_streams(limits::MAX_CANCELLED)
        .max_local_error_reset_streams(Some(limits::MAX_ERROR_RESETS))
        .max_header_list_size(limits::MAX_HEADER_BYTES)
        .data_frame_budget(limits::SMALL_FRAMES_BUDGET);
    settings
}

struct Connection<IO, S> {
    http2: h2::server::Connection<Socket<IO>, Bytes>,
    traffic: Arc<Traffic>,
    service: S,
    peer: Peer,
    /// Requests whose end has not come in.
    feeds: Vec<Feed>,
    calls: JoinSet<()>,
    active: Active,
    keep_alive: KeepAlive,
    stopped: Stopped,
    /// Told to stop: when to look next whether anything still makes progress.
    draining: Option<Pin<Box<Sleep>>>,
}

impl<IO, S> Connection<IO, S>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    fn new(
        mut http2: h2::server::Connection<Socket<IO>, Bytes>,
        traffic: Arc<Traffic>,
        service: S,
        peer: Peer,
        stopped: Stopped,
    ) -> Self {
        let pings = http2.ping_pong().expect("nobody has taken it before");
        Self {
            http2,
            traffic,
            service,
            peer,
            feeds: Vec::new(),
            calls: JoinSet::new(),
            active: Active::default(),
            keep_alive: KeepAlive::new(pings),
            stopped,
            draining: None,
        }
    }

    /// One turn; ready when the connection has ended.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        self.traffic.begin_turn();
        if self.draining.is_none() && self.stopped.as_mut().poll(cx).is_ready() {
            self.http2.graceful_shutdown();
            for feed in &mut self.feeds {
                feed.stop();
            }
            self.draining = Some(Box::pin(sleep(limits::STALLED)));
        }
        while let Poll::Ready(accepted) = self.http2.poll_accept(cx) {
            match accepted {
                Some(Ok((request, respond))) => self.begin(request, respond),
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => return Poll::Ready(Ok(())),
            }
        }
        self.feeds.retain_mut(|feed| feed.pass_on(cx));
        while let Poll::Ready(Some(_)) = self.calls.poll_join_next(cx) {}
        if self.keep_alive.poll(cx, &self.traffic).is_ready() {
            debug!("a connection does not answer any more; it is closed");
            return Poll::Ready(Ok(()));
        }
        self.poll_stalled(cx).map(Ok)
    }

    fn begin(&mut self, request: Request<RecvStream>, respond: SendResponse<Bytes>) {
        let (mut parts, stream) = request.into_parts();
        parts.extensions.insert(self.peer.clone());
        let (mut feed, body) = request::body(stream, limits::requests(parts.uri.path()));
        if self.draining.is_some() {
            feed.stop();
        }
        self.feeds.push(feed);
        let request = Request::from_parts(parts, Body::new(body));
        let service = self.service.clone();
        // Counted from here on, so that no call is overlooked that has not had its first turn.
        let active = self.active.enter();
        self.calls.spawn(answer(service, request, respond, active));
    }

    /// Ready if the connection is to end and all that is left of it waits for a client that neither
    /// reads its answers nor sends the rest of its requests.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(look) = &mut self.draining else {
            return Poll::Pending;
        };
        while look.as_mut().poll(cx).is_ready() {
            let not_begun = self
                .feeds
                .iter()
                .filter(|feed| feed.has_not_begun())
                .count();
            let moved = self.traffic.has_moved();
            if self.active.count() <= not_begun && !moved {
                debug!("a client that does nothing is not waited for");
                return Poll::Ready(());
            }
            look.set(sleep(limits::STALLED));
        }
        Poll::Pending
    }
}

/// Asks a client that is silent whether it is still there.
struct KeepAlive {
    pings: PingPong,
    timer: Pin<Box<Sleep>>,
    asked: bool,
}

impl KeepAlive {
    fn new(pings: PingPong) -> Self {
        Self {
            pings,
            timer: Box::pin(sleep(limits::KEEPALIVE_INTERVAL)),
            asked: false,
        }
    }

    /// Ready when the client has been asked and has not answered.
    fn poll(&mut self, cx: &mut Context<'_>, traffic: &Traffic) -> Poll<()> {
        while self.timer.as_mut().poll(cx).is_ready() {
            if traffic.has_read() {
                self.asked = false;
                self.timer.set(sleep(limits::KEEPALIVE_INTERVAL));
            } else if self.asked {
                return Poll::Ready(());
            } else {
                // It fails if the connection has, which is noticed elsewhere.
                self.pings.send_ping(Ping::opaque()).ok();
                self.asked = true;
                self.timer.set(sleep(limits::KEEPALIVE_TIMEOUT));
            }
        }
        if self.asked {
            // Any byte counts as the answer; the pong is taken so that the next ping can be sent.
            let _ = self.pings.poll_pong(cx);
        }
        Poll::Pending
    }
}
