//! What is known of callers: the grants, the tokens, and what time it is.

use std::{fmt, sync::Arc};

use tokio::sync::watch;

use super::{Auth, Grants, Principal, Unauthenticated};
use crate::{
    broker::Broker,
    catalog::{AccessTokens, access_tokens},
};

type Now = Box<dyn Fn() -> i64 + Send + Sync>;

/// Knows callers by what they show, and what they may do.
pub(in crate::server) struct Authority {
    pub(super) auth: Arc<Auth>,
    pub(super) tokens: watch::Receiver<Arc<AccessTokens>>,
    /// The broker's time, in milliseconds since 1970.
    pub(super) now_ms: Now,
}

/// A caller, and for how long it is known as such.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) principal: Principal,
    pub(super) proof: Proof,
}

/// What a caller has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// Nothing that could lose its value while the connection is open: a certificate counts from
    /// its beginning to its end.
    Nothing,
    /// The token with this id.
    Token { id: u64, expires_ms: i64 },
}

impl Authority {
    pub(in crate::server) fn new(auth: Arc<Auth>, broker: Arc<Broker>) -> Self {
        Self {
            auth,
            tokens: broker.watch_access_tokens(),
            now_ms: Box::new(move || broker.now_ms()),
        }
    }

    pub(super) fn grants(&self) -> Arc<Grants> {
        Arc::clone(&self.auth.grants.borrow())
    }

    /// Who sends this as `authorization`.
    pub(super) fn caller(&self, authorization: &[u8]) -> Result<Caller, Unauthenticated> {
        let text = bearer(authorization).ok_or(Unauthenticated::Malformed)?;
        let id = access_tokens::id_in(text).ok_or(Unauthenticated::Malformed)?;
        let tokens = self.tokens.borrow();
        let token = tokens.get(id).filter(|token| token.is(text));
        let token = token.ok_or(Unauthenticated::Unknown)?;
        if token.is_expired((self.now_ms)()) {
            return Err(Unauthenticated::Expired);
        }
        Ok(Caller {
            principal: Principal::token(&token.name),
            proof: Proof::Token {
                id,
                expires_ms: token.expires_ms,
            },
        })
    }

    /// Whether a caller is still known as such.
    pub(super) fn still_knows(&self, caller: &Caller) -> Result<(), Unauthenticated> {
        match caller.proof {
            Proof::Nothing => Ok(()),
            Proof::Token { id, .. } if self.tokens.borrow().get(id).is_none() => {
                Err(Unauthenticated::Unknown)
            }
            Proof::Token { expires_ms, .. } if expires_ms <= (self.now_ms)() => {
                Err(Unauthenticated::Expired)
            }
            Proof::Token { .. } => Ok(()),
        }
    }
}

/// The token of an `authorization` with the scheme `Bearer`.
fn bearer(authorization: &[u8]) -> Option<&str> {
    let (scheme, token) = std::str::from_utf8(authorization).ok()?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
}

impl Caller {
    /// One who has shown nothing in this call.
    pub(super) fn unproven(principal: Principal) -> Self {
        Self {
            principal,
            proof: Proof::Nothing,
        }
    }

    /// When it is not known any more, in milliseconds since 1970.
    pub(super) fn expires_ms(&self) -> Option<i64> {
        match self.proof {
            Proof::Nothing => None,
            Proof::Token { expires_ms, .. } => Some(expires_ms),
        }
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.auth.fmt(f)
    }
}
