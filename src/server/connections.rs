//! Connections: how many there may be, what they must say first, and how they end.

use std::{
    convert::Infallible,
    future::poll_fn,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{Request, Response};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{Sleep, sleep, timeout},
};
use tokio_stream::Stream;
use tonic::{body::Body, transport::server::TcpIncoming};
use tower::Service;
use tracing::{debug, warn};

use super::{
    greeting::{self, Greeting},
    http2,
    limits::{ACCEPT_PAUSE, ADMIN_CONNECTIONS, NOTICE_PERIOD, Options, REFUSE_TIMEOUT},
    notices::{Notices, Refused},
    peer::Peer,
    stop::Stopping,
};
use crate::{broker::Broker, env::SpareDescriptor};

/// The connections of a TCP listener, without Nagle's delay.
pub(crate) fn tcp(listener: TcpListener) -> TcpIncoming {
    TcpIncoming::from(listener).with_nodelay(Some(true))
}

/// A connection that has a place among those that there may be.
type Placed<IO> = (IO, OwnedSemaphorePermit);

/// Lets in as many connections at a time as there may be. The others are closed without a byte:
/// clients take anything that they read for a sign that the server is well, and come back at once.
pub(super) struct Door<IO> {
    incoming: Pin<Box<dyn Stream<Item = io::Result<IO>> + Send>>,
    places: Arc<Semaphore>,
    notices: Arc<Notices>,
    /// Given up to take a connection off the queue and close it where there are no descriptors.
    spare: Option<SpareDescriptor>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl<IO> Door<IO> {
    pub(super) fn new(
        incoming: impl Stream<Item = io::Result<IO>> + Send + 'static,
        max_connections: usize,
        notices: Arc<Notices>,
    ) -> Self {
        Self {
            incoming: Box::pin(incoming),
            places: Arc::new(Semaphore::new(max_connections)),
            notices,
            spare: SpareDescriptor::take().ok(),
            pause: None,
        }
    }

    /// The next connection; none when there will be no more.
    pub(super) async fn next(&mut self) -> Option<Placed<IO>> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Placed<IO>>> {
        loop {
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

    fn let_in(&mut self, io: IO) -> Option<Placed<IO>> {
        if self.spare.is_none() {
            self.spare = SpareDescriptor::take().ok();
        }
        if self.spare.is_none() {
            drop(io);
            self.spare = SpareDescriptor::take().ok();
            self.notices.refused(Refused::NoDescriptor);
            return None;
        }
        match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => Some((io, place)),
            Err(_) => {
                self.notices.refused(Refused::TooMany);
                None
            }
        }
    }

    fn accept_failed(&mut self, error: &io::Error) {
        use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
        // These are about the one connection, the rest about all.
        if matches!(
            error.kind(),
            ConnectionAborted | ConnectionReset | Interrupted
        ) {
            return;
        }
        // With the spare descriptor the next connection can be taken, and closed.
        if SpareDescriptor::is_needed_after(error) && self.spare.take().is_some() {
            return;
        }
        warn!(%error, "cannot accept connections; trying again");
        self.pause = Some(Box::pin(sleep(ACCEPT_PAUSE)));
    }
}

/// The connections that are served.
pub(super) struct Connections<S> {
    service: S,
    max_connections: usize,
    handshake_timeout: Duration,
    notices: Arc<Notices>,
    broker: Arc<Broker>,
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
        broker: Arc<Broker>,
        options: &Options,
        stopping: Stopping,
    ) -> Self {
        Self {
            service,
            max_connections: options.max_connections,
            handshake_timeout: options.handshake_timeout,
            notices: Arc::new(Notices::new(options.max_connections)),
            broker,
            stopping,
            tasks: JoinSet::new(),
        }
    }

    /// Those of the administrators' socket: it has places of its own.
    pub(super) fn of_administrators(
        service: S,
        broker: Arc<Broker>,
        options: &Options,
        stopping: Stopping,
    ) -> Self {
        let notices = Notices::of_administrators(ADMIN_CONNECTIONS);
        Self {
            max_connections: ADMIN_CONNECTIONS,
            notices: Arc::new(notices),
            ..Self::new(service, broker, options, stopping)
        }
    }

    /// Serves what comes in until told to stop; then no more connections are taken.
    pub(super) async fn take<IO>(
        &mut self,
        incoming: impl Stream<Item = io::Result<IO>> + Send + 'static,
    ) where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut door = Door::new(incoming, self.max_connections, Arc::clone(&self.notices));
        let mut stopped = self.stopping.stopped();
        let mut period = tokio::time::interval(NOTICE_PERIOD);
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

    /// Resolves when all connections have ended, which they do by themselves when there is nothing
    /// under way on them. Dropping `self` ends them at once.
    pub(super) async fn ended(&mut self) {
        while self.tasks.join_next().await.is_some() {}
        self.notices.period_over();
    }

    fn serve<IO>(&mut self, mut io: IO, place: OwnedSemaphorePermit)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (service, stopping) = (self.service.clone(), self.stopping.clone());
        let peer = Peer::new(self.broker.budget());
        let (notices, handshake_timeout) = (Arc::clone(&self.notices), self.handshake_timeout);
        self.tasks.spawn(async move {
            let _place = place;
            let greeted = tokio::select! {
                greeted = timeout(handshake_timeout, greeting::read(&mut io)) => greeted,
                () = stopping.stopped() => return,
            };
            match greeted {
                Ok(Ok((Greeting::Http2, opening))) => {
                    http2::serve(io, opening, service, peer, &stopping).await;
                }
                Ok(Ok((Greeting::Closed, _))) => {}
                Ok(Ok((greeting, _))) => refuse(io, greeting, &notices).await,
                Ok(Err(error)) => debug!(%error, "a connection has broken"),
                Err(_) => notices.refused(Refused::Silent),
            }
        });
    }
}

async fn refuse<IO>(io: IO, greeting: Greeting, notices: &Notices)
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    notices.refused(match greeting {
        Greeting::Http1 => Refused::Http1,
        Greeting::Tls => Refused::Tls,
        Greeting::Http2 | Greeting::Unknown | Greeting::Closed => Refused::Unknown,
    });
    // Whether it has heard the answer is the client's business.
    timeout(REFUSE_TIMEOUT, greeting.refuse(io)).await.ok();
}
