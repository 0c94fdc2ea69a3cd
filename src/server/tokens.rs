//! `taffrail.v1.Tokens`.

use std::{sync::Arc, time::Duration};

use tonic::{Request, Response, Status, async_trait};

use super::auth::permit;
use crate::{
    broker::{Broker, Error, WhichTokens},
    catalog,
    proto::{
        AccessToken, CreateTokenRequest, CreateTokenResponse, ListTokensRequest,
        ListTokensResponse, RevokeTokenRequest, RevokeTokenResponse, revoke_token_request::Which,
        tokens_server::Tokens,
    },
};

pub(super) struct TokensService {
    broker: Arc<Broker>,
}

impl TokensService {
    pub(super) fn new(broker: Arc<Broker>) -> Self {
        Self { broker }
    }
}

#[async_trait]
impl Tokens for TokensService {
    async fn create(
        &self,
        request: Request<CreateTokenRequest>,
    ) -> Result<Response<CreateTokenResponse>, Status> {
        permit(&request)?;
        let CreateTokenRequest {
            name,
            expires_in_ms,
        } = request.into_inner();
        let life = Duration::from_millis(expires_in_ms);
        let (text, created) = self.broker.create_access_token(&name, life)?.await?;
        Ok(Response::new(CreateTokenResponse {
            text,
            token: Some(token(created)),
        }))
    }

    async fn list(
        &self,
        request: Request<ListTokensRequest>,
    ) -> Result<Response<ListTokensResponse>, Status> {
        permit(&request)?;
        let tokens = self.broker.list_access_tokens().into_iter();
        Ok(Response::new(ListTokensResponse {
            tokens: tokens.map(token).collect(),
        }))
    }

    async fn revoke(
        &self,
        request: Request<RevokeTokenRequest>,
    ) -> Result<Response<RevokeTokenResponse>, Status> {
        permit(&request)?;
        let which = which(request.into_inner().which)?;
        let revoked = self.broker.revoke_access_tokens(&which)?.await?;
        Ok(Response::new(RevokeTokenResponse {
            revoked: revoked.into_iter().map(token).collect(),
        }))
    }
}

fn which(asked: Option<Which>) -> Result<WhichTokens, Error> {
    match asked {
        Some(Which::Id(id)) => Ok(WhichTokens::Id(id)),
        Some(Which::Name(name)) if !name.is_empty() => Ok(WhichTokens::Name(name)),
        _ => Err(Error::MalformedRequest {
            reason: "it names no token: give its name or its id".to_owned(),
        }),
    }
}

fn token(token: catalog::AccessToken) -> AccessToken {
    AccessToken {
        id: token.id,
        name: token.name,
        created_ms: token.created_ms,
        expires_ms: token.expires_ms,
    }
}
