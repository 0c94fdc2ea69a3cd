//! One connection: HTTP/2, as h2 implements it, and its calls.
//!
//! tonic's transport leaves the bytes of requests in h2 until a call reads them, and h2 ends a
//! connection with many small unread frames, because each costs it more than it holds. But a client
//! that sends small requests ahead of their responses produces just that. So this task takes every
//! frame out of h2 in the turn in which it came, and joins small ones (`request.rs`). The client's
//! window opens again as the call takes the bytes, so that flow control alone bounds what a client
//! may send ahead.
//!
//! Reading order: this page; `rest.rs`, when the task is woken; `request.rs`, requests that come
//! in; `home.rs`, which task polls a call; `short_calls.rs`, the order in which calls are polled;
//! `whole_turns.rs`, the order in which connections are; `call.rs`, responses that go out;
//! `alive.rs`, how much of them is not written yet; `sending.rs` and `message.rs`, records that go
//! out; `window.rs`, how much a client may send ahead; `socket.rs` and `frames.rs`, the bytes that
//! pass.

pub(super) mod alive;
pub(super) mod call;
pub(super) mod frames;
mod home;
pub(super) mod message;
pub(super) mod request;
mod rest;
pub(super) mod sending;
mod short_calls;
pub(super) mod socket;
pub(super) mod whole_turns;
pub(super) mod window;

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::Bytes;
use h2::{Ping, PingPong, Reason, RecvStream, server::SendResponse};
use http::{Request, Response};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinSet,
    time::{Sleep, sleep},
};
use tonic::{Status, body::Body};
use tower::Service;
use tracing::debug;

use self::{
    call::{Active, Open, Unread, answer},
    home::{Call, Home},
    request::Feed,
    rest::Rest,
    short_calls::ShortCalls,
    socket::{Socket, Traffic},
    whole_turns::Standing,
    window::Window,
};
use super::{
    limits,
    notices::{Notice, Notices},
    peer::{Peer, Pulse},
    places::Place,
    stop::{Stopped, Stopping},
};

/// A connection whose client speaks HTTP/2.
pub(super) struct Opened<IO> {
    http2: h2::server::Connection<Socket<IO>, Bytes>,
    traffic: Arc<Traffic>,
}

/// Opens a connection. `opening` are the bytes that were already read from it.
pub(super) async fn open<IO>(io: IO, opening: Bytes) -> Result<Opened<IO>, h2::Error>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let traffic = Arc::new(Traffic::new());
    let socket = Socket::new(io, opening, Arc::clone(&traffic));
    let http2 = settings().handshake(socket).await?;
    Ok(Opened { http2, traffic })
}

/// Refuses with this status the calls of a connection that come in one turn.
pub(super) async fn refuse<IO>(io: IO, opening: Bytes, status: Status) -> Result<(), h2::Error>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Opened { mut http2, traffic } = open(io, opening).await?;
    traffic.begin_turn(limits::TURN_BYTES);
    while let Some(accepted) = http2.accept().await {
        let (_, mut respond) = accepted?;
        let refused = status.clone().into_http::<Body>().map(drop);
        respond.send_response(refused, true)?;
        http2.graceful_shutdown();
    }
    Ok(())
}

impl<IO> Opened<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    /// Serves the connection until its client closes it. If told to stop or to leave its place,
    /// serves until no call makes progress any more.
    ///
    /// Dropping the future ends the connection and its calls at once.
    #[expect(clippy::boxed_local, reason = "an async caller would keep the box")]
    pub(super) fn serve<S>(
        self: Box<Self>,
        service: S,
        held: (Peer, Place, Unread),
        stopping: &Stopping,
        notices: &Notices,
    ) -> impl Future<Output = ()> + Send
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
        S: Clone + Send + 'static,
        S::Future: Send,
    {
        // Boxed, because an async function may hold its variables twice. This is not an async
        // function for the same reason: it would hold the empty other box until its end.
        let stopped = stopping.stopped();
        let mut connection = Box::new(Connection::new(*self, service, held, stopped, notices));
        async move {
            if let Err(error) = poll_fn(|cx| connection.poll(cx)).await {
                report(&error, &connection.traffic, notices);
            }
        }
    }
}

/// Reports why a connection was ended, if its client's mistakes are the reason.
fn report(error: &h2::Error, traffic: &Traffic, notices: &Notices) {
    if error.is_library() && error.reason() == Some(Reason::ENHANCE_YOUR_CALM) {
        let flood = traffic.flood().unwrap_or(Notice::ResetFlood);
        notices.happened_by(flood, error);
    } else if error.is_library() || is_invalid(error) {
        notices.happened_by(Notice::ProtocolError, error);
    } else {
        debug!(%error, "a connection has broken");
    }
}

/// Whether the client announced a frame that is not allowed.
fn is_invalid(error: &h2::Error) -> bool {
    error
        .get_io()
        .is_some_and(|error| error.kind() == io::ErrorKind::InvalidData)
}

fn settings() -> h2::server::Builder {
    let mut settings = h2::server::Builder::new();
    settings
        .initial_window_size(stream_window(limits::FIRST_WINDOW_BYTES))
        .max_frame_size(limits::MAX_FRAME_BYTES)
        .max_concurrent_streams(limits::MAX_STREAMS)
        .max_concurrent_reset_streams(limits::MAX_ENDED)
        .reset_stream_duration(limits::ENDED_TIME)
        .max_pending_accept_reset_streams(limits::MAX_CANCELLED)
        .max_local_error_reset_streams(Some(limits::MAX_ERROR_RESETS))
        .max_header_list_size(limits::MAX_HEADER_BYTES)
        .data_frame_budget(limits::SMALL_FRAMES_BUDGET);
    settings
}

/// The window of each stream on a connection with this window.
fn stream_window(connection: usize) -> u32 {
    u32::try_from(connection / 2).unwrap_or(u32::MAX)
}

struct Connection<'a, IO, S> {
    notices: &'a Notices,
    http2: h2::server::Connection<Socket<IO>, Bytes>,
    traffic: Arc<Traffic>,
    service: S,
    peer: Peer,
    /// The limits of its unread responses.
    unread: Unread,
    window: Window,
    /// The stream window that the client was told.
    stream_window: u32,
    /// Requests that have not come in completely.
    feeds: Vec<Feed>,
    /// Whether anything has come in for them.
    arrivals: Rest,
    /// Whether h2 has something to do, and its waker, which notes that here.
    http2_work: Rest,
    http2_waker: Waker,
    short_calls: ShortCalls,
    /// All other calls, each of which is its own task. It returns its call when this task is to
    /// poll it.
    calls: JoinSet<Option<Call>>,
    active: Active,
    /// The calls for which the connection keeps its place.
    working: Active,
    keep_alive: KeepAlive,
    /// Its place among connections that use up their turns.
    standing: Standing,
    /// Set while the client has the most calls open that it may have: their number, and until when
    /// nothing is read from the connection.
    full: Option<(usize, Pin<Box<Sleep>>)>,
    /// How many turns in a row had to refuse calls.
    refusing_turns: u32,
    has_refused: bool,
    /// When the connection ends unless its client has taken the end of its last call.
    unread_until: Option<Pin<Box<Sleep>>>,
    stopped: Stopped,
    place: Place,
    /// Resolves when another connection needs the place.
    wanted: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// Whether it was told to end because of that.
    is_wanted: bool,
    is_idle: bool,
    /// Set once told to stop: when to check next whether anything still makes progress.
    draining: Option<Pin<Box<Sleep>>>,
}

impl<'a, IO, S> Connection<'a, IO, S>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    fn new(
        opened: Opened<IO>,
        service: S,
        (peer, place, unread): (Peer, Place, Unread),
        stopped: Stopped,
        notices: &'a Notices,
    ) -> Self {
        let Opened { mut http2, traffic } = opened;
        place.served();
        place.idle();
        let wanted = Box::pin(place.wanted());
        let pings = http2.ping_pong().expect("nobody has taken it before");
        let pulse = peer.pulse.clone();
        let http2_work = Rest::default();
        Self {
            notices,
            http2,
            traffic,
            service,
            window: Window::new(peer.windows.clone(), place.now()),
            stream_window: stream_window(limits::FIRST_WINDOW_BYTES),
            standing: peer.whole_turns.standing(),
            peer,
            unread,
            feeds: Vec::new(),
            arrivals: Rest::default(),
            http2_waker: http2_work.waker(),
            http2_work,
            short_calls: ShortCalls::default(),
            calls: JoinSet::new(),
            active: Active::default(),
            working: Active::default(),
            keep_alive: KeepAlive::new(pings, pulse),
            full: None,
            refusing_turns: 0,
            has_refused: false,
            unread_until: None,
            stopped,
            place,
            wanted,
            is_wanted: false,
            is_idle: true,
            draining: None,
        }
    }

    /// Ready when the connection has ended.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        ready!(self.standing.poll_turn(cx));
        let mut is_busy = false;
        let polled = self.take_turn(cx, &mut is_busy);
        self.standing.end(is_busy);
        polled
    }

    /// Takes one turn, and says whether it was used up. Ready when the connection has ended.
    fn take_turn(
        &mut self,
        cx: &mut Context<'_>,
        is_busy: &mut bool,
    ) -> Poll<Result<(), h2::Error>> {
        let bytes = self.turn_bytes(cx);
        self.traffic.begin_turn(bytes);
        self.arrivals.begin_turn();
        self.http2_work.begin_turn();
        if self.draining.is_none() && self.is_told_to_end(cx) {
            self.http2.graceful_shutdown();
            for feed in &mut self.feeds {
                feed.stop();
            }
            self.draining = Some(Box::pin(sleep(limits::STALLED)));
        }
        let mut turns = limits::POLLS_IN_TURN;
        self.short_calls.poll(&mut turns);
        // Now the responses are written, among other things.
        self.http2_work.take();
        let waker = self.http2_waker.clone();
        while let Poll::Ready(accepted) = self.http2.poll_accept(&mut Context::from_waker(&waker)) {
            match accepted {
                Some(Ok((request, respond))) => self.begin(request, respond),
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => return Poll::Ready(Ok(())),
            }
        }
        self.pass_on();
        self.short_calls.poll(&mut turns);
        let has_read_all = bytes > 0 && self.traffic.turn_is_over();
        *is_busy = has_read_all || turns == 0;
        if self.traffic.left_in_turn() < bytes {
            let refused = std::mem::take(&mut self.has_refused);
            self.refusing_turns = if refused { self.refusing_turns + 1 } else { 0 };
        }
        match has_read_all {
            true => cx.waker().wake_by_ref(),
            // Otherwise calls need not wake the task.
            false => self.short_calls.wait(cx),
        }
        self.move_calls(cx);
        self.look_for_calls();
        self.resize_window(cx);
        if self.keep_alive.poll(cx, &self.traffic).is_ready() {
            debug!("a connection does not answer any more; it is closed");
            return Poll::Ready(Ok(()));
        }
        if self.poll_unread(cx).is_ready() {
            debug!("a client takes nothing, and has no call; its connection is closed");
            return Poll::Ready(Ok(()));
        }
        self.arrivals.end_turn(cx.waker());
        self.http2_work.end_turn(cx.waker());
        self.poll_stalled(cx).map(Ok)
    }

    /// Gives calls that need one a task of their own, and takes back those that do not any more.
    fn move_calls(&mut self, cx: &mut Context<'_>) {
        for call in self.short_calls.take_leaving() {
            self.calls.spawn(call.alone());
        }
        while let Poll::Ready(Some(done)) = self.calls.poll_join_next(cx) {
            if let Ok(Some(call)) = done {
                self.short_calls.add(call);
            }
        }
    }

    /// Ready if the client has no open call, and has not taken the end of one for long.
    fn poll_unread(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.open_calls() > 0 || !self.traffic.has_unwritten_ends() {
            self.unread_until = None;
            return Poll::Pending;
        }
        let patience = self.unread.patience;
        let until = self
            .unread_until
            .get_or_insert_with(|| Box::pin(sleep(patience)));
        until.as_mut().poll(cx)
    }

    /// How many bytes may be read in this turn. Returns 0 for a moment while the client has the
    /// most calls open that it may have: a call that waits in the socket costs less than a refused
    /// one.
    fn turn_bytes(&mut self, cx: &mut Context<'_>) -> usize {
        let calls = &self.peer.calls;
        if calls.may_take(limits::CALLS_IN_TURN * limits::CALL_BYTES) {
            self.full = None;
            return limits::TURN_BYTES;
        }
        let open = self.open_calls();
        let calls = &self.peer.calls;
        let has_room = calls.may_take(limits::CALL_BYTES);
        let Some((before, waited)) = &mut self.full else {
            if !has_room && open > 0 {
                let mut waited = Box::pin(sleep(limits::full_time(self.refusing_turns)));
                // The timer wakes this task later.
                if waited.as_mut().poll(cx).is_pending() {
                    self.full = Some((open, waited));
                    return 0;
                }
            }
            return limits::FEW_BYTES;
        };
        // Waits until several calls have ended, so that one new call does not take the room of one
        // that just ended.
        let some_ended = has_room && open <= *before - before.div_ceil(8);
        if some_ended || waited.as_mut().poll(cx).is_ready() {
            self.full = None;
            return limits::FEW_BYTES;
        }
        0
    }

    fn is_told_to_end(&mut self, cx: &mut Context<'_>) -> bool {
        let is_stopped = self.stopped.as_mut().poll(cx).is_ready();
        self.is_wanted = !is_stopped && self.wanted.as_mut().poll(cx).is_ready();
        is_stopped || self.is_wanted
    }

    fn open_calls(&self) -> usize {
        self.short_calls.len() + self.calls.len()
    }

    /// Passes on what has come in for requests. A call whose request turns out to be large becomes
    /// its own task.
    fn pass_on(&mut self) {
        if !self.arrivals.take() {
            return;
        }
        let Self {
            feeds,
            short_calls,
            calls,
            ..
        } = self;
        feeds.retain_mut(|feed| {
            let is_open = feed.pass_on();
            if let Some(call) = feed
                .take_large()
                .and_then(|number| short_calls.remove(number))
            {
                calls.spawn(call.alone());
            }
            is_open
        });
    }

    /// Marks whether the connection is idle: another one may take the place of a connection that
    /// was idle for long.
    fn look_for_calls(&mut self) {
        if self.is_idle != (self.working.count() == 0) {
            self.is_idle = !self.is_idle;
            match self.is_idle {
                true => self.place.idle(),
                false => self.place.busy(),
            }
        }
    }

    /// Grants the client the window that it should have.
    fn resize_window(&mut self, cx: &Context<'_>) {
        let (came, taken) = (self.traffic.came(), self.traffic.taken());
        let mut is_to_send = false;
        if self.window.came(came, taken, self.place.now()) {
            let bytes = u32::try_from(self.window.bytes()).unwrap_or(u32::MAX);
            self.http2.set_target_window_size(bytes);
            is_to_send = true;
        }
        self.traffic.grant(self.window.granted());
        let bytes = stream_window(self.window.bytes());
        // This fails while the client has not confirmed the previous size.
        if bytes != self.stream_window && self.http2.set_initial_window_size(bytes).is_ok() {
            self.stream_window = bytes;
            is_to_send = true;
        }
        if is_to_send {
            cx.waker().wake_by_ref();
        }
    }

    fn begin(&mut self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        let (mut parts, stream) = request.into_parts();
        let Ok(held) = self.peer.calls.take(call::bytes(&parts)) else {
            self.notices.happened(Notice::CallRefused);
            self.has_refused = true;
            return call::refuse(&mut respond);
        };
        parts.extensions.insert(self.peer.clone());
        let path = parts.uri.path();
        let (kind, is_short) = (limits::requests(path), limits::is_short(path));
        let keeps_place = limits::keeps_place(path);
        let home = match limits::is_of_member(path) {
            true => Home::that_moves(),
            false => Home::default(),
        };
        let (mut feed, body) =
            request::body(stream, kind, Arc::clone(&self.traffic), &self.arrivals);
        if self.draining.is_some() {
            feed.stop();
        }
        let request = Request::from_parts(parts, Body::new(body));
        let service = self.service.clone();
        // Counted from here on, so that a call counts before its first turn.
        let working = keeps_place.then(|| self.working.enter());
        let entered = (self.active.enter(), working);
        let open = Open::new(entered, held, Arc::clone(&self.traffic)).polled_in(home.clone());
        let unread = self.unread.clone();
        let call = Call::new(answer(service, request, respond, open, unread), home);
        if is_short {
            feed.belongs_to(self.short_calls.add(call));
        } else {
            self.calls.spawn(call.alone());
        }
        self.feeds.push(feed);
    }

    /// Ready if the connection is to end, and all that is left of it waits for a client that
    /// neither reads its responses nor sends the rest of its requests.
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
            let progressed = self.traffic.has_progressed();
            let has_no_work = self.is_wanted && self.working.count() == 0;
            if (self.active.count() <= not_begun || has_no_work) && !progressed {
                debug!("a client that does nothing is not waited for");
                return Poll::Ready(());
            }
            look.set(sleep(limits::STALLED));
        }
        Poll::Pending
    }
}

/// Asks a silent client whether it is still there.
struct KeepAlive {
    pings: PingPong,
    pulse: Pulse,
    interval: Duration,
    timer: Pin<Box<Sleep>>,
    /// Whether anything has come since the timer was set.
    heard: bool,
    asked: bool,
    /// Whether a ping has not been answered. The next one cannot be sent before.
    pong_missing: bool,
}

impl KeepAlive {
    fn new(pings: PingPong, pulse: Pulse) -> Self {
        Self {
            pings,
            pulse,
            interval: limits::KEEPALIVE_INTERVAL,
            timer: Box::pin(sleep(limits::KEEPALIVE_INTERVAL)),
            heard: false,
            asked: false,
            pong_missing: false,
        }
    }

    /// Ready when the client was asked and did not answer.
    fn poll(&mut self, cx: &mut Context<'_>, traffic: &Traffic) -> Poll<()> {
        if traffic.has_read() {
            self.pulse.beat();
            self.heard = true;
        }
        // Any byte counts as an answer.
        if self.asked && self.heard {
            self.restart();
        }
        let wanted = self.pulse.interval();
        if wanted < self.interval {
            self.interval = wanted;
            self.restart();
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            if self.heard {
                self.restart();
            } else if self.asked {
                return Poll::Ready(());
            } else {
                // This fails if the connection has failed, which is noticed elsewhere.
                self.pings.send_ping(Ping::opaque()).ok();
                (self.asked, self.pong_missing) = (true, true);
                self.timer.set(sleep(limits::KEEPALIVE_TIMEOUT));
            }
        }
        if self.pong_missing && self.pings.poll_pong(cx).is_ready() {
            self.pong_missing = false;
        }
        Poll::Pending
    }

    fn restart(&mut self) {
        self.asked = false;
        self.heard = false;
        self.timer.set(sleep(self.interval));
    }
}
