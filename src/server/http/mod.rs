//! What can be seen of the broker over plain HTTP: `/metrics`, and whether it lives and is ready.
//!
//! It is there before the data directory has been recovered, which may take a while, so that
//! whoever started the process sees that it lives, and until the process ends. Nothing that comes
//! in here changes anything or keeps others waiting: there are few connections, who finds none
//! takes the place of whoever waits or does not read, and one page of metrics is made at a time.
//!
//! Reading order: this page, the connections; `paths.rs`, what is answered; `readiness.rs`, how the
//! broker is; `scrape.rs`, whose turn it is; `figures.rs`, what the metrics are.

mod figures;
mod paths;
mod pieces;
mod readiness;
pub(super) mod scrape;
mod stalling;

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinSet,
    time::interval,
};
use tokio_stream::Stream;
use tracing::debug;

pub(super) use self::figures::Sources;
use self::{readiness::Readiness, scrape::Scrapes, stalling::Stalling};
use super::{
    connections::Door,
    limits::{
        HTTP_CONNECTIONS, HTTP_HEADER_TIMEOUT, HTTP_HEADERS, HTTP_HEADERS_BYTES,
        HTTP_STALL_TIMEOUT, NOTICE_PERIOD,
    },
    notices::Notices,
    places::{Place, Places},
    tally::Tally,
};
use crate::env::Clock;

/// How long a client is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// For the header of a request.
    pub(super) header: Duration,
    /// While it takes nothing of its answer.
    pub(super) stall: Duration,
}

/// What is seen over HTTP. Clones are the same.
#[derive(Clone)]
pub(crate) struct Http {
    pub(super) patience: Patience,
    readiness: Arc<Readiness>,
    scrapes: Arc<Scrapes>,
    tally: Arc<Tally>,
    clock: Arc<dyn Clock>,
}

impl Http {
    /// Of a broker that is starting.
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            patience: Patience {
                header: HTTP_HEADER_TIMEOUT,
                stall: HTTP_STALL_TIMEOUT,
            },
            readiness: Arc::default(),
            scrapes: Arc::new(Scrapes::new(Arc::clone(&clock))),
            tally: Arc::default(),
            clock,
        }
    }

    /// The broker takes calls from now on, and these know its figures.
    pub(super) fn serves(&self, sources: Sources) {
        self.readiness.serves(sources);
    }

    /// Lets go of a broker whose power was cut; the next one is about to be opened.
    pub(crate) fn starts_again(&self) {
        self.readiness.starts_again();
    }

    /// Lets go of the broker, so that it can be closed.
    pub(crate) fn let_go(&self) {
        self.readiness.let_go();
    }

    /// The broker takes no more calls: it has been told to stop.
    pub(super) fn stops(&self) {
        self.readiness.stops();
    }

    /// Serves the connections that come in, as long as there may be more.
    pub(crate) async fn serve<IO>(
        self,
        incoming: impl Stream<Item = io::Result<IO>> + Send + 'static,
    ) where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let clock = Arc::clone(&self.clock);
        let (idle, memory) = (Duration::ZERO, None);
        let places = Places::new(HTTP_CONNECTIONS, idle, memory, clock);
        let notices = Arc::new(Notices::default());
        let mut door = Door::new(incoming, places, Arc::clone(&notices));
        let mut connections = JoinSet::new();
        let mut period = interval(NOTICE_PERIOD);
        // It would be over at once.
        period.reset();
        loop {
            tokio::select! {
                next = door.next() => match next {
                    Some((io, place)) => {
                        connections.spawn(self.clone().connection(io, place));
                    }
                    None => break,
                },
                Some(_) = connections.join_next() => {}
                _ = period.tick() => notices.period_over(),
            }
        }
        while connections.join_next().await.is_some() {}
    }

    async fn connection<IO>(self, io: IO, place: Place)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let _counted = self.tally.count();
        let Patience { header, stall } = self.patience;
        let place = Arc::new(place);
        let wanted = place.wanted();
        let service = service_fn(move |request: http::Request<Incoming>| {
            let (http, place) = (self.clone(), Arc::clone(&place));
            async move {
                place.served();
                // Whoever waits, or does not read its answer, may be replaced; see `scrape.rs`.
                place.idle();
                Ok::<_, Infallible>(http.answer(&request, &place).await)
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(header)
            .max_headers(HTTP_HEADERS)
            .max_buf_size(HTTP_HEADERS_BYTES)
            .serve_connection(TokioIo::new(Stalling::new(io, stall)), service);
        tokio::select! {
            ended = connection => {
                if let Err(error) = ended {
                    debug!(%error, "a connection over HTTP has broken");
                }
            }
            () = wanted => {}
        }
    }
}
