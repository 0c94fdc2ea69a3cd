//! Calls of clients without gRPC: curl, and pages in a browser.
//!
//! Nothing here knows topics or records. A request is made into that of a call, which goes to the
//! services as every call does: who calls and what they may do, what requests and reads may take of
//! the memory, whose turn it is and what is counted is decided there, once. What comes back is
//! written as JSON, and errors as `application/problem+json`.
//!
//! Reading order: this page, who is let in; `gate.rs`, which web pages are; `routes.rs`, what there
//! is; `call.rs`, one call; `problem.rs`, errors. Then `append.rs` and `json.rs`, records that come
//! in; `records.rs`, `reading.rs` and `rendering.rs`, records that go out, and `events.rs`, where
//! they go on.

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

/// What calls go to.
type Services = Calls<Identify<Routes>>;

/// The number of the next broker of this process.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// What is behind `/v1`, while the broker is open.
pub(in crate::server) struct Api {
    services: Services,
    /// Knows who calls before a request is there.
    identify: Identify<Routes>,
    peers: Peers,
    intake: Intake,
    rules: HttpApi,
    /// One for each call that there may be.
    places: Arc<Semaphore>,
    /// What a call takes of the memory.
    call_bytes: usize,
    /// How long a client may take nothing of what it has asked for.
    patience: Duration,
    /// The broker is to stop.
    stopping: Stopping,
    /// Cuts off the calls that are under way.
    cut: Stop,
    /// They hear of it here.
    is_cut: Stopping,
    /// Which broker of this process it is.
    number: u64,
}

/// A call, until nothing of it is left.
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

    /// Which broker of this process it is.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Another client, from this address.
    pub(super) fn connected(&self, address: &str) -> Peer {
        self.peers.connected(address)
    }

    /// Resolves when no call is under way.
    pub(super) async fn ended(&self) {
        let all = u32::try_from(self.rules.calls).unwrap_or(u32::MAX);
        drop(self.places.acquire_many(all).await);
    }

    /// Cuts off the calls that are still under way.
    pub(super) fn cut(&self) {
        self.cut.give();
    }

    /// A client has a call.
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

/// Answers a call.
pub(super) async fn answer(
    readiness: &Readiness,
    rules: &HttpApi,
    request: Request<Incoming>,
    client: &Arc<Client>,
) -> Response<Answer> {
    let gate = match gate::pass(rules, &request, client.local) {
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
