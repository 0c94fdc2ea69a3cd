//! Access tokens: creating, listing and revoking them, and publishing the current ones.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use super::{Broker, Error, Pending, Shared};
use crate::{
    catalog::{AccessToken, AccessTokens, Change, access_tokens},
    types::limits,
};

/// A new token: its text, which is shown only once, and what the broker keeps of it.
pub(crate) type NewAccessToken = (String, AccessToken);

/// Which tokens to revoke: all with a name, or one by its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WhichTokens {
    Name(String),
    Id(u64),
}

impl Broker {
    /// Creates a token with this life for the principal of this name.
    pub(crate) fn create_access_token(
        &self,
        name: &str,
        life: Duration,
    ) -> Result<Pending<NewAccessToken>, Error> {
        check_name(name)?;
        let life_ms = check_life(life)?;
        let shared = &self.shared;
        shared.health.check_room()?;
        let random = || shared.env.random.next_u64();
        let id = random();
        let text = access_tokens::text(id, [random(), random(), random(), random()]);
        let now_ms = shared.clock.now_ms();
        let token = AccessToken {
            id,
            name: name.to_owned(),
            hash: access_tokens::hash(&text),
            created_ms: now_ms,
            expires_ms: now_ms.saturating_add(life_ms),
        };
        let mut planned = shared.sequencer.planned();
        if planned.decide_create_token(now_ms).is_err() {
            return shared.sequencer.refuse_durably(Error::TooManyTokens);
        }
        let change = Change::CreateToken {
            token: token.clone(),
        };
        let answer = move || Ok((text, token));
        shared
            .sequencer
            .plan_refusable(&mut planned, change, answer)
    }

    /// Revokes tokens. Returns the revoked ones.
    pub(crate) fn revoke_access_tokens(
        &self,
        which: &WhichTokens,
    ) -> Result<Pending<Vec<AccessToken>>, Error> {
        let shared = &self.shared;
        shared.health.check_running()?;
        let mut planned = shared.sequencer.planned();
        let mut revoked = Vec::new();
        for token in planned.access_tokens().iter() {
            let is_meant = match which {
                WhichTokens::Name(name) => token.name == *name,
                WhichTokens::Id(id) => token.id == *id,
            };
            if is_meant {
                revoked.push(token.clone());
            }
        }
        if revoked.is_empty() {
            return shared.sequencer.refuse_durably(which.unknown());
        }
        let change = |token: &AccessToken| Change::RevokeToken { id: token.id };
        let changes = revoked.iter().map(change).collect();
        let answer = move || Ok(revoked);
        shared
            .sequencer
            .plan_together(&mut planned, changes, answer)
    }

    /// All tokens, including expired ones that are not forgotten yet.
    pub(crate) fn list_access_tokens(&self) -> Vec<AccessToken> {
        let applied = self.shared.sequencer.applied();
        applied.access_tokens().iter().cloned().collect()
    }

    /// The current tokens, updated whenever they change.
    pub(crate) fn watch_access_tokens(&self) -> watch::Receiver<Arc<AccessTokens>> {
        self.shared.access_tokens.subscribe()
    }

    /// The broker's time, in milliseconds since 1970.
    pub(crate) fn now_ms(&self) -> i64 {
        self.shared.clock.now_ms()
    }
}

impl Shared {
    /// Publishes the current tokens.
    pub(super) fn note_access_tokens(&self) {
        let tokens = self.sequencer.applied().access_tokens().clone();
        self.access_tokens.send_replace(Arc::new(tokens));
    }
}

impl WhichTokens {
    fn unknown(&self) -> Error {
        Error::UnknownToken {
            token: match self {
                Self::Name(name) => name.clone(),
                Self::Id(id) => format!("{id:016x}"),
            },
        }
    }
}

fn check_name(name: &str) -> Result<(), Error> {
    let most = limits::MAX_ACCESS_TOKEN_NAME_BYTES;
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if (1..=most).contains(&name.len()) && name.bytes().all(is_known) {
        return Ok(());
    }
    let reason = format!(
        "{name:?} cannot be the name of a token; it has 1 to {most} of A-Z, a-z, 0-9, '.', '_' \
        and '-'"
    );
    Err(Error::MalformedRequest { reason })
}

/// A token's life in milliseconds, if it is within bounds.
fn check_life(life: Duration) -> Result<i64, Error> {
    let most = limits::MAX_ACCESS_TOKEN_LIFE_MS;
    let ms = u64::try_from(life.as_millis()).unwrap_or(u64::MAX);
    let is_right = (1_000..=most).contains(&ms);
    let ms = i64::try_from(ms).ok().filter(|_| is_right);
    ms.ok_or_else(|| Error::MalformedRequest {
        reason: format!("a token expires after 1 s to 10 years, 1000 to {most} ms"),
    })
}
