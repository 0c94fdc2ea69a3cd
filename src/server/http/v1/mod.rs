//! Calls from clients without gRPC: curl, and web pages in a browser.
//!
//! Nothing here knows topics or records. A request is converted into the message of a gRPC call,
//! and goes to the same services: they decide who calls and what is allowed, what memory requests
//! and reads may take, whose turn it is, and what is counted. Responses are written as JSON, errors
//! as `application/problem+json`.
//!
//! Reading order: this page, which limits calls; `gate.rs`, which web pages may call; `routes.rs`,
//! the paths; `call.rs`, one call; `problem.rs`, errors. Then `append.rs` and `json.rs`, records
//! that come in; `records.rs`, `reading.rs` and `rendering.rs`, records that go out, and
//! `events.rs`, where events are resumed.

mod append;
mod call;
mod events;
mod gate;
mod json;
mod problem;
mod query;
mod reading;
mod records;
mod rendering;
mod routes;
#[cfg(test)]
mod tests;
mod topics;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Status, service::Routes};

use self::call::overloaded;
use super::{answer::Answer, client::Client, readiness::Readiness};
use crate::{
    broker::Error,
    budget::Held,
    server::{
        auth::Identify,
        calls::Calls,
        intake::Intake,
        limits::{HttpApi, Options, http_call_bytes},
        peer::{Peer, Peers},
        stop::{self, Stop, Stopping},
    },
};

pub(super) use self::{gate::may_be_named, routes::is_call};

/// The gRPC services, behind the identification of callers.
type Services = Calls<Identify<Routes>>;

/// The number for the next broker in this process.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Everything behind `/v1`, while the broker is open.
pub(in crate::server) struct Api {
    services: Services,
    /// Identifies callers before the body of a request is received.
    identify: Identify<Routes>,
    peers: Peers,
    intake: Intake,
    rules: HttpApi,
    /// The places for calls: as many as there may be at a time.
    places: Arc<Semaphore>,
    /// The memory that a call takes.
    call_bytes: usize,
    /// How long a client may take nothing of a response.
    patience: Duration,
    /// Tells when the broker is to stop.
    stopping: Stopping,
    /// Cuts off the calls under way.
    cut: Stop,
    /// By which calls learn that they are cut off.
    is_cut: Stopping,
    /// The number of the broker in this process, see [`NEXT`].
    number: u64,
}

/// A call, from its beginning until its response is sent.
pub(super) struct UnderWay {
    client: Arc<Client>,
    _held: Held,
    _place: OwnedSemaphorePermit,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.client.end_call();
    }
}

impl Api {
    pub(in crate::server) fn new(
        (services, identify): (Services, Identify<Routes>),
        peers: Peers,
        intake: Intake,
        options: &Options,
        stopping: &Stopping,
    ) -> Self {
        let (cut, is_cut) = stop::channel();
        Self {
            services,
            identify,
            peers,
            intake,
            rules: options.http_api.clone(),
            places: Arc::new(Semaphore::new(options.http_api.calls)),
            call_bytes: http_call_bytes(options.tls),
            patience: options.stalled_read,
            stopping: stopping.clone(),
            cut,
            is_cut,
            number: NEXT.fetch_add(1, Relaxed),
        }
    }

    /// The number of the broker in this process: an ephemeral one gets a new number after each
    /// power cut.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Registers a client at this address.
    pub(super) fn connected(&self, address: &str) -> Peer {
        self.peers.connected(address)
    }

    /// Resolves when no call is under way any more.
    pub(super) async fn ended(&self) {
        let all = u32::try_from(self.rules.calls).unwrap_or(u32::MAX);
        drop(self.places.acquire_many(all).await);
    }

    /// Cuts off the calls that are still under way.
    pub(super) fn cut(&self) {
        self.cut.give();
    }

    /// Begins a call of a client; fails if there are too many.
    fn begin(&self, client: &Arc<Client>) -> Result<Arc<UnderWay>, Status> {
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| overloaded())?;
        let held = client.peer(self).calls.take(self.call_bytes);
        let held = held.map_err(|_| overloaded())?;
        client.begin_call(self.patience);
        Ok(Arc::new(UnderWay {
            client: Arc::clone(client),
            _held: held,
            _place: place,
        }))
    }
}

/// Answers a request below `/v1`, which came in with TLS if that is secure.
pub(super) async fn answer(
    readiness: &Readiness,
    (rules, is_secure): (&HttpApi, bool),
    request: Request<Incoming>,
    client: &Arc<Client>,
) -> Response<Answer> {
    let gate = match gate::pass(rules, &request, client.local, is_secure) {
        Ok(gate) => gate,
        Err(refused) => return refused.into_response(),
    };
    if let Some(preflight) = gate.preflight(&request) {
        return preflight;
    }
    let takes_events = records::accepts_events(request.headers());
    let answered = match readiness.api() {
        _ if readiness.is_stopping() => Err(Status::from(Error::ShuttingDown).into()),
        Some(api) => served(&api, request, client).await,
        None => Err(problem::starting()),
    };
    let mut response = answered.unwrap_or_else(|problem| match takes_events {
        true => problem.into_events(),
        false => problem.into_response(),
    });
    gate.let_out(response.headers_mut());
    response
}

async fn served(
    api: &Arc<Api>,
    request: Request<Incoming>,
    client: &Arc<Client>,
) -> Result<Response<Answer>, problem::Problem> {
    let route = routes::route(request.method(), request.uri().path())?;
    let mut is_cut = api.is_cut.stopped();
    tokio::select! {
        biased;
        answered = routes::serve(api, route, request, client) => answered,
        () = &mut is_cut => Err(Status::from(Error::ShuttingDown).into()),
    }
}
