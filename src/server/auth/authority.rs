//! What callers are checked against: grants, tokens, keys of JWTs, and the time.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;

use super::{
    Auth, Grants, Principal, Unauthenticated,
    jwt::{self, Issuer, Key},
};
use crate::{
    broker::Broker,
    catalog::{AccessTokens, access_tokens},
    env::Clock,
};

type Now = Box<dyn Fn() -> i64 + Send + Sync>;

/// Finds out who a caller is, and what it may do.
pub(in crate::server) struct Authority {
    pub(super) auth: Arc<Auth>,
    pub(super) tokens: watch::Receiver<Arc<AccessTokens>>,
    /// The broker's time, in milliseconds since 1970.
    pub(super) now_ms: Now,
    /// The clock by which quotas are measured.
    pub(super) clock: Arc<dyn Clock>,
}

/// Who makes a call, with which roles, and what this was proved by.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) principal: Principal,
    /// The roles that the caller's JWT names.
    pub(super) roles: Arc<[Principal]>,
    pub(super) proof: Proof,
}

/// What a caller proved its identity by.
#[derive(Clone, Debug)]
pub(super) enum Proof {
    /// A certificate, or nothing: neither changes while the connection is open.
    Nothing,
    /// The token with this id.
    Token { id: u64, expires_ms: i64 },
    /// A JWT that was verified with this key.
    Jwt { key: Arc<Key>, expires_ms: i64 },
}

/// The last JWT that came by a connection, by its fingerprint, and its caller: a JWT that comes
/// again is not verified again.
#[derive(Debug, Default)]
pub(in crate::server) struct Verified(Mutex<Option<([u8; 32], Caller)>>);

impl Authority {
    pub(in crate::server) fn new(auth: Arc<Auth>, broker: Arc<Broker>) -> Self {
        Self {
            auth,
            tokens: broker.watch_access_tokens(),
            clock: broker.system_clock(),
            now_ms: Box::new(move || broker.now_ms()),
        }
    }

    pub(super) fn grants(&self) -> Arc<Grants> {
        Arc::clone(&self.auth.grants.borrow())
    }

    /// Finds out who makes a call with this `authorization`. `known` is the JWT that the connection
    /// has had verified already.
    pub(super) fn caller(
        &self,
        authorization: &[u8],
        known: Option<&Verified>,
    ) -> Result<Caller, Unauthenticated> {
        let text = bearer(authorization).ok_or(Unauthenticated::Malformed)?;
        if let Some(issuer) = &self.auth.issuer
            && jwt::looks_like_one(text)
        {
            return self.with_jwt(issuer, text, known);
        }
        let id = access_tokens::id_in(text).ok_or(Unauthenticated::Malformed)?;
        let tokens = self.tokens.borrow();
        let token = tokens.get(id).filter(|token| token.is(text));
        let token = token.ok_or(Unauthenticated::Unknown)?;
        if token.is_expired((self.now_ms)()) {
            return Err(Unauthenticated::Expired);
        }
        Ok(Caller {
            principal: Principal::token(&token.name),
            roles: Arc::default(),
            proof: Proof::Token {
                id,
                expires_ms: token.expires_ms,
            },
        })
    }

    fn with_jwt(
        &self,
        issuer: &Issuer,
        text: &str,
        known: Option<&Verified>,
    ) -> Result<Caller, Unauthenticated> {
        let fingerprint = jwt::fingerprint(text);
        if let Some(caller) = known.and_then(|known| known.caller(&fingerprint)) {
            return self.still_knows(&caller).map(|()| caller);
        }
        let verified = issuer.verify(text, (self.now_ms)())?;
        let caller = Caller {
            principal: verified.principal,
            roles: verified.roles,
            proof: Proof::Jwt {
                key: verified.key,
                expires_ms: verified.expires_ms,
            },
        };
        if let Some(known) = known {
            known.keep(fingerprint, &caller);
        }
        Ok(caller)
    }

    /// Fails if the caller's token was revoked or has expired, or its key is gone.
    pub(super) fn still_knows(&self, caller: &Caller) -> Result<(), Unauthenticated> {
        match &caller.proof {
            Proof::Nothing => return Ok(()),
            Proof::Token { id, .. } if self.tokens.borrow().get(*id).is_none() => {
                return Err(Unauthenticated::Unknown);
            }
            Proof::Jwt { key, .. } if !self.still_has(key) => return Err(Unauthenticated::NoKey),
            Proof::Token { .. } | Proof::Jwt { .. } => {}
        }
        let is_expired = |expires_ms| expires_ms <= (self.now_ms)();
        match caller.expires_ms().is_some_and(is_expired) {
            true => Err(Unauthenticated::Expired),
            false => Ok(()),
        }
    }

    fn still_has(&self, key: &Key) -> bool {
        let issuer = self.auth.issuer.as_ref();
        issuer.is_some_and(|issuer| issuer.still_has(key))
    }
}

/// The token in an `authorization` header with the scheme `Bearer`.
fn bearer(authorization: &[u8]) -> Option<&str> {
    let (scheme, token) = std::str::from_utf8(authorization).ok()?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
}

impl Verified {
    fn caller(&self, fingerprint: &[u8; 32]) -> Option<Caller> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (of, caller) = known.as_ref()?;
        (of == fingerprint).then(|| caller.clone())
    }

    fn keep(&self, fingerprint: [u8; 32], caller: &Caller) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Some((fingerprint, caller.clone()));
    }
}

impl Caller {
    /// A caller without a token, who is known by the connection alone.
    pub(super) fn unproven(principal: Principal) -> Self {
        Self {
            principal,
            roles: Arc::default(),
            proof: Proof::Nothing,
        }
    }

    /// When its token or JWT expires, in milliseconds since 1970.
    pub(super) fn expires_ms(&self) -> Option<i64> {
        match self.proof {
            Proof::Nothing => None,
            Proof::Token { expires_ms, .. } | Proof::Jwt { expires_ms, .. } => Some(expires_ms),
        }
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.auth.fmt(f)
    }
}
