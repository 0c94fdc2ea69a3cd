//! Connections: how many are admitted, their handshake, and their end.

use std::{
    convert::Infallible,
    future::poll_fn,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    task::JoinSet,
    time::{Sleep, Timeout, interval, sleep, timeout},
};
use tokio_stream::Stream;
use tonic::{body::Body, transport::server::TcpIncoming};
use tower::Service;
use tracing::debug;

use super::{
    greeting::{self, Greeting},
    http2::{self, call::Unread},
    limits::{
        ACCEPT_PAUSE, ADMIN_CONNECTIONS, NOTICE_PERIOD, Options, REFUSE_TIMEOUT, ROOM_TIMEOUT,
    },
    link::Link,
    notices::{Notice, Notices},
    peer::{Origin, Peers},
    places::{Place, Places},
    status,
    stop::Stopping,
};
use crate::{
    budget::{Holder, Name},
    env::{Clock, SpareDescriptor},
    tls::{Acceptor, PeerIdentity, ReadAhead},
};

/// The connections of a TCP listener, without Nagle's delay.
pub(crate) fn tcp(listener: TcpListener) -> TcpIncoming {
    TcpIncoming::from(listener).with_nodelay(Some(true))
}

/// Admits connections up to the connection limit. When all places are taken, a new connection waits
/// for the place of one that can be spared; if there is none, it is closed without a byte: clients
/// take any byte as a sign that the server is well, and reconnect at once.
pub(super) struct Door<IO> {
    incoming: Pin<Box<dyn Stream<Item = io::Result<IO>> + Send>>,
    places: Arc<Places>,
    /// The new connection for which another one makes room; no other is admitted before it.
    waiting: Option<(IO, Waiting)>,
    notices: Arc<Notices>,
    /// Closed to accept and close a connection when no descriptors are left.
    spare: Option<SpareDescriptor>,
    pause: Option<Pin<Box<Sleep>>>,
}

type Waiting = Pin<Box<Timeout<Pin<Box<dyn Future<Output = Option<Place>> + Send>>>>>;

impl<IO> Door<IO> {
    pub(super) fn new(
        incoming: impl Stream<Item = io::Result<IO>> + Send + 'static,
        places: Places,
        notices: Arc<Notices>,
    ) -> Self {
        Self {
            incoming: Box::pin(incoming),
            places: Arc::new(places),
            waiting: None,
            notices,
            spare: SpareDescriptor::take().ok(),
            pause: None,
        }
    }

    /// The next connection, with its place; `None` when no more will come.
    pub(super) async fn next(&mut self) -> Option<(IO, Place)> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<(IO, Place)>> {
        loop {
            if let Some(placed) = ready!(self.poll_waiting(cx)) {
                return Poll::Ready(Some(placed));
            }
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            match ready!(self.incoming.as_mut().poll_next(cx)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => self.accept_failed(&error),
                Some(Ok(io)) => {
                    if let Some(placed) = self.let_in(io) {
                        return Poll::Ready(Some(placed));
                    }
                }
            }
        }
    }

    /// Ready when no new connection waits for a place: with the connection that waited and now has
    /// its place, if there is one.
    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<Option<(IO, Place)>> {
        let Some((_, place)) = &mut self.waiting else {
            return Poll::Ready(None);
        };
        let place = ready!(place.as_mut().poll(cx)).ok().flatten();
        let waited = self.waiting.take();
        if place.is_none() {
            self.notices.happened(Notice::TooManyConnections);
        }
        Poll::Ready(waited.and_then(|(io, _)| Some((io, place?))))
    }

    fn let_in(&mut self, io: IO) -> Option<(IO, Place)> {
        if self.spare.is_none() {
            self.spare = SpareDescriptor::take().ok();
        }
        if self.spare.is_none() {
            drop(io);
            self.spare = SpareDescriptor::take().ok();
            self.notices.happened(Notice::NoDescriptor);
            return None;
        }
        if let Some(place) = self.places.try_take() {
            return Some((io, place));
        }
        let made = self.places.make_room();
        if made.is_some() {
            let place: Pin<Box<dyn Future<Output = Option<Place>> + Send>> =
                Box::pin(Arc::clone(&self.places).take());
            self.waiting = Some((io, Box::pin(timeout(ROOM_TIMEOUT, place))));
        }
        self.notices
            .happened(made.unwrap_or(Notice::TooManyConnections));
        None
    }

    fn accept_failed(&mut self, error: &io::Error) {
        use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
        // These errors concern the one connection, all others concern the listener.
        if matches!(
            error.kind(),
            ConnectionAborted | ConnectionReset | Interrupted
        ) {
            return;
        }
        // With the spare descriptor free, the next connection can be accepted, and closed.
        if SpareDescriptor::is_needed_after(error) && self.spare.take().is_some() {
            return;
        }
        self.notices.happened_by(Notice::AcceptFailed, error);
        self.pause = Some(Box::pin(sleep(ACCEPT_PAUSE)));
    }
}

/// The connections that are served.
pub(super) struct Connections<S> {
    service: S,
    max_connections: usize,
    idle: Duration,
    handshake_timeout: Duration,
    stalled_read: Duration,
    notices: Arc<Notices>,
    peers: Peers,
    clock: Arc<dyn Clock>,
    /// The memory in which connections count, and the bytes of each; `None` if they have their own
    /// memory.
    memory: Option<(Holder, usize)>,
    /// `None` if TLS is not spoken.
    tls: Option<Arc<Acceptor>>,
    stopping: Stopping,
    tasks: JoinSet<()>,
}

impl<S> Connections<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    pub(super) fn new(
        service: S,
        peers: Peers,
        clock: Arc<dyn Clock>,
        options: &Options,
        notices: Arc<Notices>,
        stopping: Stopping,
    ) -> Self {
        let windows = peers.budget().part(Name::Windows);
        Self {
            service,
            max_connections: options.max_connections.min(peers.most()),
            memory: Some((windows.holder(), options.connection_bytes())),
            tls: None,
            idle: options.idle,
            handshake_timeout: options.handshake_timeout,
            stalled_read: options.stalled_read,
            notices,
            peers,
            clock,
            stopping,
            tasks: JoinSet::new(),
        }
    }

    /// The connections of the administrators' socket, which has its own connection limit.
    pub(super) fn of_administrators(
        service: S,
        peers: Peers,
        clock: Arc<dyn Clock>,
        options: &Options,
        stopping: Stopping,
    ) -> Self {
        let notices = Arc::new(Notices::default());
        Self {
            max_connections: ADMIN_CONNECTIONS,
            memory: None,
            ..Self::new(service, peers, clock, options, notices, stopping)
        }
    }

    /// Speaks TLS only, if there is an acceptor.
    pub(super) fn with_tls(self, tls: Option<Arc<Acceptor>>) -> Self {
        Self { tls, ..self }
    }

    /// Serves incoming connections until told to stop; then no more are accepted.
    pub(super) async fn take<IO>(
        &mut self,
        incoming: impl Stream<Item = io::Result<IO>> + Send + 'static,
    ) where
        IO: AsyncRead + AsyncWrite + Origin + Unpin + Send + 'static,
    {
        let places = Places::new(
            self.max_connections,
            self.idle,
            self.memory.clone(),
            Arc::clone(&self.clock),
        );
        let mut door = Door::new(incoming, places, Arc::clone(&self.notices));
        let mut stopped = self.stopping.stopped();
        let mut period = interval(NOTICE_PERIOD);
        // The first tick would come at once.
        period.reset();
        loop {
            tokio::select! {
                () = &mut stopped => return,
                next = door.next() => match next {
                    Some((io, place)) => self.serve(io, place),
                    None => return stopped.await,
                },
                Some(_) = self.tasks.join_next() => {}
                _ = period.tick() => self.notices.period_over(),
            }
        }
    }

    /// Resolves when all connections have ended. Each ends by itself when nothing is under way on
    /// it. Dropping `self` ends them at once.
    pub(super) async fn ended(&mut self) {
        while self.tasks.join_next().await.is_some() {}
        self.notices.period_over();
    }

    fn serve<IO>(&mut self, io: IO, place: Place)
    where
        IO: AsyncRead + AsyncWrite + Origin + Unpin + Send + 'static,
    {
        let (service, stopping) = (self.service.clone(), self.stopping.clone());
        let address = io.address();
        let peer = self.peers.connected(&address);
        let (notices, handshake_timeout) = (Arc::clone(&self.notices), self.handshake_timeout);
        let tls = self.tls.clone();
        let unread = Unread {
            memory: peer.reads.clone(),
            patience: self.stalled_read,
            notices: Arc::clone(&notices),
        };
        self.tasks.spawn(async move {
            debug!(%address, "a client has connected");
            // Boxed, so that a connection does not pay for its handshake afterwards.
            let begun = tokio::select! {
                begun = Box::pin(timeout(handshake_timeout, begin(io, tls))) => begun,
                () = place.wanted() => return,
                () = stopping.stopped() => return,
            };
            match begun {
                Ok(Ok(Begun::Http2(http2, identity))) => {
                    let held = (peer.known_by(identity), place, unread);
                    http2.serve(service, held, &stopping, &notices).await;
                    debug!(%address, "a connection has ended");
                }
                Ok(Ok(Begun::Other(io, wrong))) => refuse(io, wrong, &notices).await,
                Ok(Ok(Begun::TlsFailed(error, io))) => {
                    notices.happened_by(Notice::TlsFailed, &error);
                    timeout(REFUSE_TIMEOUT, greeting::leave(io)).await.ok();
                }
                Ok(Err(error)) => debug!(%error, "a connection has broken"),
                Err(_) => notices.happened(Notice::HandshakeTooSlow),
            }
        });
    }
}

/// What a connection turned out to be.
enum Begun<IO> {
    Http2(Box<http2::Opened<Link<IO>>>, Option<PeerIdentity>),
    Other(Link<IO>, Wrong),
    TlsFailed(io::Error, ReadAhead<IO>),
}

/// A connection whose protocol is not spoken here.
struct Wrong {
    greeting: Greeting,
    /// The bytes that were read from it.
    opening: Bytes,
    /// Whether this port speaks TLS, and whether the client does.
    tls_here: bool,
    in_tls: bool,
}

async fn begin<IO>(mut io: IO, tls: Option<Arc<Acceptor>>) -> io::Result<Begun<IO>>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (greeting, opening) = greeting::read(&mut io).await?;
    let Some(tls) = tls else {
        return match greeting {
            Greeting::Http2 => open(Link::Plain(io), opening, None).await,
            greeting => Ok(Begun::other(
                Link::Plain(io),
                (greeting, opening),
                false,
                false,
            )),
        };
    };
    if greeting != Greeting::Tls {
        return Ok(Begun::other(
            Link::Plain(io),
            (greeting, opening),
            true,
            false,
        ));
    }
    let (stream, identity) = match tls.accept(io, &opening).await {
        Ok(accepted) => accepted,
        // The client has gone, so nobody has reported a mistake.
        Err((error, _)) if error.kind() != io::ErrorKind::InvalidData => return Err(error),
        Err((error, io)) => return Ok(Begun::TlsFailed(error, io)),
    };
    let mut link = Link::Tls(Box::new(stream));
    let (greeting, opening) = greeting::read(&mut link).await?;
    match greeting {
        Greeting::Http2 => open(link, opening, identity).await,
        greeting => Ok(Begun::other(link, (greeting, opening), true, true)),
    }
}

async fn open<IO>(
    link: Link<IO>,
    opening: Bytes,
    identity: Option<PeerIdentity>,
) -> io::Result<Begun<IO>>
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let opened = http2::open(link, opening).await.map_err(io::Error::other)?;
    Ok(Begun::Http2(Box::new(opened), identity))
}

impl<IO> Begun<IO> {
    fn other(
        link: Link<IO>,
        (greeting, opening): (Greeting, Bytes),
        tls_here: bool,
        in_tls: bool,
    ) -> Self {
        let wrong = Wrong {
            greeting,
            opening,
            tls_here,
            in_tls,
        };
        Self::Other(link, wrong)
    }
}

async fn refuse<IO>(io: Link<IO>, wrong: Wrong, notices: &Notices)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let lacks_tls = wrong.tls_here && !wrong.in_tls;
    notices.happened(match wrong.greeting {
        Greeting::Closed => return,
        Greeting::Http1 | Greeting::Http2 if lacks_tls => Notice::NoTls,
        Greeting::Http1 => Notice::Http1,
        Greeting::Tls => Notice::Tls,
        Greeting::Http2 | Greeting::Unknown => Notice::UnknownProtocol,
    });
    if wrong.greeting == Greeting::Http2 {
        let refused = http2::refuse(io, wrong.opening, status::needs_tls());
        timeout(REFUSE_TIMEOUT, refused).await.ok();
        return;
    }
    // It does not matter whether the client has read the response.
    let refused = wrong.greeting.refuse(io, wrong.tls_here);
    timeout(REFUSE_TIMEOUT, refused).await.ok();
}
