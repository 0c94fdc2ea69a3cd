//! What is there over plain HTTP: `/metrics`, whether the broker lives and is ready, and calls of
//! clients without gRPC, below `/v1`.
//!
//! It is there before the data directory has been recovered, which may take a while, so that
//! whoever started the process sees that it lives, and until the process ends. Whoever looks keeps
//! nobody waiting: there are few connections, a client that finds none takes the place of one
//! that waits or does not read, and one page of metrics is made at a time. Calls have places of
//! their own beside these, and the same services answer them as answer calls over gRPC (`v1/`).
//!
//! Reading order: this page, the connections; `paths.rs`, what is answered; `readiness.rs`, how the
//! broker is; `scrape.rs`, whose turn it is; `figures.rs`, what the metrics are; `v1/`, calls.

mod answer;
mod client;
mod figures;
mod paths;
mod pieces;
mod readiness;
pub(super) mod scrape;
mod secure;
mod stalling;
pub(super) mod v1;

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinSet,
    time::{interval, timeout},
};
use tokio_stream::Stream;
use tracing::debug;

pub(super) use self::figures::Sources;
use self::{client::Client, readiness::Readiness, scrape::Scrapes, stalling::Stalling, v1::Api};
use super::{
    connections::Door,
    limits::{
        HTTP_CONNECTIONS, HTTP_HEADER_TIMEOUT, HTTP_HEADERS, HTTP_HEADERS_BYTES,
        HTTP_STALL_TIMEOUT, HttpApi, NOTICE_PERIOD,
    },
    notices::{Notice, Notices},
    peer::Origin,
    places::{Place, Places},
    tally::Tally,
};
use crate::{env::Clock, tls::Acceptor};

/// How long clients are waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Until the header of a request is complete.
    pub(super) header: Duration,
    /// While a client takes nothing of its response.
    pub(super) stall: Duration,
}

/// Serves everything over HTTP. Clones share one state.
#[derive(Clone)]
pub(crate) struct Http {
    pub(super) patience: Patience,
    readiness: Arc<Readiness>,
    scrapes: Arc<Scrapes>,
    tally: Arc<Tally>,
    clock: Arc<dyn Clock>,
    /// Which web pages and host names may call.
    rules: Arc<HttpApi>,
    /// The TLS to speak, if TLS is spoken.
    tls: Option<Arc<Acceptor>>,
}

impl Http {
    /// Serves a broker that is still starting; the rules are for its calls later on.
    pub(crate) fn new(clock: Arc<dyn Clock>, rules: HttpApi) -> Self {
        Self {
            patience: Patience {
                header: HTTP_HEADER_TIMEOUT,
                stall: HTTP_STALL_TIMEOUT,
            },
            readiness: Arc::default(),
            scrapes: Arc::new(Scrapes::new(Arc::clone(&clock))),
            tally: Arc::default(),
            clock,
            rules: Arc::new(rules),
            tls: None,
        }
    }

    /// Speaks TLS and nothing else, if `tls` is given.
    pub(crate) fn with_tls(self, tls: Option<Arc<Acceptor>>) -> Self {
        Self { tls, ..self }
    }

    /// Takes calls from now on: the broker is open.
    pub(super) fn serves(&self, sources: Sources, api: Api) {
        self.readiness.serves(sources, api);
    }

    /// Lets go of a broker whose power was cut; the next one is about to be opened.
    pub(crate) fn starts_again(&self) {
        self.readiness.starts_again();
    }

    /// Resolves when the calls that were under way have ended. There will be no more once the
    /// broker has been told to stop.
    pub(super) async fn ended(&self) {
        if let Some(api) = self.readiness.api() {
            api.ended().await;
        }
    }

    /// Cuts off the calls that are still under way, and lets go of the broker, so that it can be
    /// closed.
    pub(crate) fn let_go(&self) {
        self.readiness.let_go();
    }

    /// Reports from now on that the broker takes no more calls, because it has been told to stop.
    pub(super) fn stops(&self) {
        self.readiness.stops();
    }

    /// Serves connections until `incoming` ends.
    pub(crate) async fn serve<IO>(
        self,
        incoming: impl Stream<Item = io::Result<IO>> + Send + 'static,
    ) where
        IO: AsyncRead + AsyncWrite + Origin + Unpin + Send + 'static,
    {
        let clock = Arc::clone(&self.clock);
        let (idle, memory) = (Duration::ZERO, None);
        let places = Places::new(HTTP_CONNECTIONS + self.rules.calls, idle, memory, clock);
        let notices = Arc::new(Notices::default());
        let mut door = Door::new(incoming, places, Arc::clone(&notices));
        let mut connections = JoinSet::new();
        let mut period = interval(NOTICE_PERIOD);
        // The first tick of an interval comes at once, and is not wanted.
        period.reset();
        loop {
            tokio::select! {
                next = door.next() => match next {
                    Some((io, place)) => {
                        let notices = Arc::clone(&notices);
                        connections.spawn(self.clone().connection(io, place, notices));
                    }
                    None => break,
                },
                Some(_) = connections.join_next() => {}
                _ = period.tick() => notices.period_over(),
            }
        }
        while connections.join_next().await.is_some() {}
    }

    async fn connection<IO>(self, io: IO, place: Place, notices: Arc<Notices>)
    where
        IO: AsyncRead + AsyncWrite + Origin + Unpin + Send + 'static,
    {
        let _counted = self.tally.count();
        let address = io.address();
        debug!(%address, "a client has connected over HTTP");
        let wanted = place.wanted();
        let client = Client::new(&io, place, self.patience.stall);
        let io = Stalling::new(io, client.patience.clone());
        let patience = self.patience.header;
        let served = async {
            // Boxed, so that a connection does not pay for its handshake afterwards.
            let opened = secure::open(io, self.tls.as_deref(), &client, &notices);
            match timeout(patience, Box::pin(opened)).await {
                Ok(Ok(Some(io))) => self.clone().serve_requests(io, client).await,
                Ok(Ok(None)) => {}
                Ok(Err(error)) => debug!(%error, "a connection over HTTP has broken"),
                Err(_) => notices.happened(Notice::HandshakeTooSlow),
            }
        };
        tokio::select! {
            () = served => {}
            () = wanted => {}
        }
        debug!(%address, "a connection over HTTP has ended");
    }

    async fn serve_requests<IO>(self, io: IO, client: Arc<Client>)
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let patience = self.patience.header;
        let service = service_fn(move |request: http::Request<Incoming>| {
            let (http, client) = (self.clone(), Arc::clone(&client));
            async move {
                client.place.served();
                // While no request is being answered, the connection may give up its place to a new
                // one; so may one that does not read its response. See `scrape.rs`.
                client.place.idle();
                Ok::<_, Infallible>(http.answer(request, &client).await)
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(patience)
            .max_headers(HTTP_HEADERS)
            .max_buf_size(HTTP_HEADERS_BYTES)
            .serve_connection(TokioIo::new(io), service);
        if let Err(error) = connection.await {
            debug!(%error, "a connection over HTTP has broken");
        }
    }
}
