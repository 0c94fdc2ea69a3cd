//! Creating and revoking access tokens.

use std::time::Duration;

use super::{
    Client, Error, Link,
    status::{AtStake, answer},
};
use crate::proto::{self, revoke_token_request::Which, tokens_client::TokensClient};

/// Creates, lists and revokes access tokens; see [`Client::tokens`].
#[derive(Clone, Debug)]
pub struct Tokens {
    calls: TokensClient<Link>,
    timeout: Duration,
}

/// An access token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessToken {
    /// Its id.
    pub id: u64,
    /// The name of its principal, without the prefix `token:`.
    pub name: String,
    /// When it was created, in milliseconds since 1970.
    pub created_ms: i64,
    /// When it expires, in milliseconds since 1970.
    pub expires_ms: i64,
}

impl Client {
    /// Creates, lists and revokes access tokens.
    #[must_use]
    pub fn tokens(&self) -> Tokens {
        Tokens {
            calls: self.tokens.clone(),
            timeout: self.request_timeout,
        }
    }
}

impl Tokens {
    /// Creates a token that expires after `life`. Only this answer has the text that callers send.
    ///
    /// # Errors
    ///
    /// `MALFORMED_REQUEST` for an invalid name or life, `TOO_MANY_TOKENS`.
    pub async fn create(
        &self,
        name: &str,
        expires_in: Duration,
    ) -> Result<(String, AccessToken), Error> {
        let request = proto::CreateTokenRequest {
            name: name.to_owned(),
            expires_in_ms: u64::try_from(expires_in.as_millis()).unwrap_or(u64::MAX),
        };
        let mut calls = self.calls.clone();
        let created = answer(self.timeout, AtStake::Change, calls.create(request)).await?;
        Ok((created.text, created.token.unwrap_or_default().into()))
    }

    /// All tokens, by id.
    ///
    /// # Errors
    ///
    /// If the broker is not available.
    pub async fn list(&self) -> Result<Vec<AccessToken>, Error> {
        let mut calls = self.calls.clone();
        let call = calls.list(proto::ListTokensRequest {});
        let listed = answer(self.timeout, AtStake::Nothing, call).await?;
        Ok(listed.tokens.into_iter().map(Into::into).collect())
    }

    /// Revokes all tokens with a name. Returns the revoked ones.
    ///
    /// # Errors
    ///
    /// `UNKNOWN_TOKEN`.
    pub async fn revoke(&self, name: &str) -> Result<Vec<AccessToken>, Error> {
        self.revoke_which(Which::Name(name.to_owned())).await
    }

    /// Revokes one token.
    ///
    /// # Errors
    ///
    /// `UNKNOWN_TOKEN`.
    pub async fn revoke_id(&self, id: u64) -> Result<Vec<AccessToken>, Error> {
        self.revoke_which(Which::Id(id)).await
    }

    async fn revoke_which(&self, which: Which) -> Result<Vec<AccessToken>, Error> {
        let request = proto::RevokeTokenRequest { which: Some(which) };
        let mut calls = self.calls.clone();
        let revoked = answer(self.timeout, AtStake::Change, calls.revoke(request)).await?;
        Ok(revoked.revoked.into_iter().map(Into::into).collect())
    }
}

impl From<proto::AccessToken> for AccessToken {
    fn from(token: proto::AccessToken) -> Self {
        Self {
            id: token.id,
            name: token.name,
            created_ms: token.created_ms,
            expires_ms: token.expires_ms,
        }
    }
}
