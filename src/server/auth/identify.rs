//! Who makes a call, found out before anything of it is looked at.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use tonic::body::Body;
use tower::Service;

use super::{Access, Auth, Principal};
use crate::server::peer::Peer;

/// Where a connection comes in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::server) enum Entrance {
    /// The port, from another machine.
    Elsewhere,
    /// The port, from this machine, or the pipe of a test.
    #[default]
    Local,
    /// The administrators' socket.
    Administrators,
}

impl Entrance {
    /// That of a client at this address. What is no address of a network is on this machine.
    pub(in crate::server) fn from(address: &str) -> Self {
        match address.parse::<SocketAddr>() {
            Ok(address) if !address.ip().to_canonical().is_loopback() => Self::Elsewhere,
            _ => Self::Local,
        }
    }

    pub(super) fn is_local(&self) -> bool {
        *self != Self::Elsewhere
    }
}

/// Whether it is asked for the broker's health, which everybody may: what looks after it has no
/// secrets.
fn is_of_health(path: &str) -> bool {
    path.starts_with("/grpc.health.v1.Health/")
}

/// The services, which are told who calls.
#[derive(Clone)]
pub(in crate::server) struct Identify<S> {
    services: S,
    auth: Arc<Auth>,
}

impl<S> Identify<S> {
    pub(in crate::server) fn new(services: S, auth: Arc<Auth>) -> Self {
        Self { services, auth }
    }

    fn principal(entrance: &Entrance) -> Principal {
        match entrance {
            Entrance::Administrators => Principal::local_admin(),
            Entrance::Local | Entrance::Elsewhere => Principal::anonymous(),
        }
    }
}

impl<S> Service<Request<Body>> for Identify<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.services.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if !is_of_health(request.uri().path()) {
            let peer = request.extensions().get::<Peer>();
            let entrance = peer.map(|peer| peer.entrance.clone()).unwrap_or_default();
            let principal = Self::principal(&entrance);
            let access = Access::new(&self.auth, principal, &entrance);
            request.extensions_mut().insert(access);
        }
        Box::pin(self.services.call(request))
    }
}
