//! Finds out who makes a call, before its message is looked at.

use std::{
    future::ready,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{HeaderMap, Request, Response, header::AUTHORIZATION};
use tokio::time::sleep;
use tonic::{Status, body::Body};
use tower::{Service, ServiceExt};

use super::{
    Access, Principal,
    access::{Length, UnderWay},
    asks::AppendTo,
    authority::{Authority, Caller},
    cut::{cut, end_with, held_open},
    usage::Begun,
};
use crate::{
    server::{
        notices::{Notice, Notices},
        peer::Peer,
        quotas::StreamPlace,
        status,
        traces::Tracing,
    },
    types::limits::MAX_CALLER_ROLES,
};

/// The way by which a connection reaches the broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::server) enum Entrance {
    /// The port, from another machine.
    Elsewhere,
    /// The port, from this machine; or, in tests, a pipe.
    #[default]
    Local,
    /// The administrators' socket.
    Administrators,
}

impl Entrance {
    /// The entrance for a client at this address. Addresses that are none of a network, such as a
    /// socket's, are on this machine.
    pub(in crate::server) fn from(address: &str) -> Self {
        match address.parse::<SocketAddr>() {
            Ok(address) if !address.ip().to_canonical().is_loopback() => Self::Elsewhere,
            _ => Self::Local,
        }
    }

    pub(super) fn is_local(self) -> bool {
        self != Self::Elsewhere
    }
}

/// Why a caller's token or JWT is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Unauthenticated {
    /// It is not of the form of a token, or there are several.
    Malformed,
    /// No token has this id and secret, or it was revoked.
    Unknown,
    /// The token has expired.
    Expired,
    /// The JWT is not valid yet.
    NotYetValid,
    /// The JWT's signature algorithm is not among those that are accepted.
    Algorithm,
    /// The broker has no such key of the issuer.
    NoKey,
    /// The JWT's signature is wrong.
    Signature,
    /// The JWT is from another issuer.
    Issuer,
    /// The JWT is for another audience.
    Audience,
    /// The JWT has no name for its caller.
    NoName,
    /// The JWT has more roles than are allowed.
    TooManyRoles { roles: usize },
}

impl Unauthenticated {
    /// The reason in `google.rpc.ErrorInfo`, and the text for people.
    fn reason(self) -> (&'static str, &'static str) {
        match self {
            Self::Malformed => (
                "TOKEN_MALFORMED",
                "`authorization` is not one `Bearer` with a token that this broker understands; \
                 leave it out, or send what `taffrail token create` has printed, or a JWT of its \
                 issuer",
            ),
            Self::Unknown => (
                "TOKEN_UNKNOWN",
                "this broker does not know the token, or it was revoked; ask for another one",
            ),
            Self::Expired => (
                "TOKEN_EXPIRED",
                "the token has expired; ask for another one",
            ),
            Self::NotYetValid => (
                "TOKEN_NOT_YET_VALID",
                "the token counts only from a later moment on (nbf); is a clock wrong?",
            ),
            Self::Algorithm => (
                "TOKEN_ALGORITHM",
                "the token is signed with an algorithm that this broker does not take, or not at \
                 all",
            ),
            Self::NoKey => (
                "TOKEN_KEY_UNKNOWN",
                "the token is signed with a key that this broker does not have (kid), or not any \
                 more; ask for another one",
            ),
            Self::Signature => (
                "TOKEN_SIGNATURE",
                "the signature of the token is not that of its issuer",
            ),
            Self::Issuer => (
                "TOKEN_ISSUER",
                "the token is of another issuer than this broker's (iss)",
            ),
            Self::Audience => (
                "TOKEN_AUDIENCE",
                "the token is not for this broker (aud); ask for one that is",
            ),
            Self::NoName => (
                "TOKEN_WITHOUT_NAME",
                "the claim of the token that is to name its owner is missing, or no text of 256 \
                 bytes at most",
            ),
            Self::TooManyRoles { .. } => (
                "TOKEN_TOO_MANY_ROLES",
                "the token gives its owner more roles than are allowed; ask for one with less",
            ),
        }
    }
}

impl From<Unauthenticated> for Status {
    fn from(why: Unauthenticated) -> Self {
        let (reason, text) = why.reason();
        match why {
            Unauthenticated::TooManyRoles { roles } => {
                status::too_many_roles(reason, text, roles, MAX_CALLER_ROLES)
            }
            _ => status::unauthenticated(reason, text),
        }
    }
}

/// Whether the call asks for the broker's health. Everybody may, even with a bad token: a
/// supervisor must not stop the broker because its token has expired. Only `Watch`, which stays
/// open, counts for quotas.
pub(in crate::server) fn is_of_health(path: &str) -> bool {
    path.starts_with("/grpc.health.v1.Health/")
}

/// The services behind the identification: every request that reaches them has an [`Access`].
#[derive(Clone)]
pub(in crate::server) struct Identify<S> {
    services: S,
    authority: Arc<Authority>,
    notices: Arc<Notices>,
}

impl<S> Identify<S> {
    pub(in crate::server) fn new(
        services: S,
        authority: Arc<Authority>,
        notices: Arc<Notices>,
    ) -> Self {
        Self {
            services,
            authority,
            notices,
        }
    }

    fn access(&self, request: &Request<Body>) -> Result<Access, Unauthenticated> {
        let peer = request.extensions().get::<Peer>();
        let entrance = peer.map_or_else(Entrance::default, |peer| peer.entrance);
        let caller = self.caller(request.headers(), entrance, peer)?;
        Ok(self.access_of(caller, request))
    }

    fn access_of(&self, caller: Caller, request: &Request<Body>) -> Access {
        let peer = request.extensions().get::<Peer>();
        let entrance = peer.map_or_else(Entrance::default, |peer| peer.entrance);
        let address = peer.map_or_else(Arc::default, Peer::address);
        let length = Length::of(request.uri().path());
        let tracing = request.extensions().get::<Tracing>();
        if let Some(tracing) = tracing {
            tracing.called_by(caller.principal.as_str());
        }
        let at = (entrance, address);
        Access::new(&self.authority, caller, at, length, tracing.cloned())
    }

    /// Refuses an append to a topic by its headers alone, before its body is received, if the caller
    /// is not known, may not append, or has used up a quota.
    pub(in crate::server) fn permit_append(
        &self,
        headers: &HeaderMap,
        peer: &Peer,
        topic: &str,
    ) -> Result<(), Status> {
        let caller = self.caller(headers, peer.entrance, Some(peer));
        let caller = caller.inspect_err(|_| self.notices.happened(Notice::Unauthenticated))?;
        let at = (peer.entrance, peer.address());
        let access = Access::new(&self.authority, caller, at, Length::Short, None);
        access.permit(&AppendTo(topic))?;
        access.expect_append(peer.slot())
    }

    /// Finds out who calls: a token counts, if there is one, and the connection's certificate
    /// otherwise.
    fn caller(
        &self,
        headers: &HeaderMap,
        entrance: Entrance,
        peer: Option<&Peer>,
    ) -> Result<Caller, Unauthenticated> {
        if entrance == Entrance::Administrators {
            return Ok(Caller::unproven(Principal::local_admin()));
        }
        let mut shown = headers.get_all(AUTHORIZATION).iter();
        let Some(authorization) = shown.next() else {
            let names = &self.authority.auth.certificates;
            let certified = peer.and_then(|peer| peer.certified(names));
            return Ok(Caller::unproven(
                certified.unwrap_or_else(Principal::anonymous),
            ));
        };
        if shown.next().is_some() {
            return Err(Unauthenticated::Malformed);
        }
        let known = peer.map(Peer::verified);
        self.authority.caller(authorization.as_bytes(), known)
    }
}

type Answering<E> = Pin<Box<dyn Future<Output = Result<Response<Body>, E>> + Send>>;

impl<S> Identify<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    /// Answers a call that asks for the broker's health.
    fn of_health(&mut self, request: Request<Body>) -> Answering<S::Error> {
        if Length::of(request.uri().path()) == Length::Short {
            return Box::pin(self.services.call(request));
        }
        let access = self.access(&request).unwrap_or_else(|_| {
            let caller = Caller::unproven(Principal::anonymous());
            self.access_of(caller, &request)
        });
        let peer = request.extensions().get::<Peer>();
        let place = match access.begin_watch(peer.map(Peer::slot)) {
            Ok(place) => place,
            Err(status) => return Box::pin(ready(Ok(status.into_http()))),
        };
        let answer = self.services.call(request);
        Box::pin(async move { Ok(end_with(held_open(place), access, answer.await?)) })
    }
}

impl<S> Service<Request<Body>> for Identify<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Answering<S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.services.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if is_of_health(request.uri().path()) {
            return self.of_health(request);
        }
        let access = match self.access(&request) {
            Ok(access) => access,
            Err(why) => {
                self.notices.happened(Notice::Unauthenticated);
                return Box::pin(ready(Ok(Status::from(why).into_http())));
            }
        };
        let peer = request.extensions().get::<Peer>();
        let Begun { wait, place } = match access.begin(peer.map(Peer::slot)) {
            Ok(begun) => begun,
            Err(status) => return Box::pin(ready(Ok(status.into_http()))),
        };
        request.extensions_mut().insert(access.clone());
        if wait.is_zero() {
            return answered(access, place, self.services.call(request));
        }
        let services = self.services.clone();
        answered(access, place, async move {
            sleep(wait).await;
            services.oneshot(request).await
        })
    }
}

/// The response to a call, which keeps its place among its caller's streams.
fn answered<E: Send + 'static>(
    access: Access,
    place: Option<StreamPlace>,
    answer: impl Future<Output = Result<Response<Body>, E>> + Send + 'static,
) -> Answering<E> {
    match access.length() {
        Length::Short => Box::pin(async move {
            let under_way = UnderWay::new(access);
            let response = answer.await?;
            under_way.answered(&response);
            Ok(response)
        }),
        Length::Stream | Length::Appends => Box::pin(async move {
            let mut cut = cut(access.clone(), place);
            tokio::select! {
                biased;
                response = answer => Ok(end_with(cut, access, response?)),
                status = &mut cut => Ok(status.into_http()),
            }
        }),
    }
}
