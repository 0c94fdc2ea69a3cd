//! A connection, and the access token that every call on it sends.

use std::{
    fmt,
    task::{Context, Poll},
};

use http::{HeaderValue, Request, header::AUTHORIZATION};
use tonic::{body::Body, transport::Channel};
use tower::Service;

use super::{Error, sending::Aside};

/// An access token, as `taffrail token create` prints it. Its `Debug` output does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(HeaderValue);

impl Token {
    /// A token from its text; spaces and newlines around it are ignored.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidToken`] if it is empty, or has characters that no token has.
    pub fn new(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        let has_others = text.contains(|c: char| !c.is_ascii_graphic());
        let value = HeaderValue::from_str(&format!("Bearer {text}"));
        match value {
            Ok(mut value) if !text.is_empty() && !has_others => {
                value.set_sensitive(true);
                Ok(Self(value))
            }
            _ => Err(Error::InvalidToken),
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Makes the calls of a client.
#[derive(Clone, Debug)]
pub(super) struct Link {
    channel: Channel,
    token: Option<Token>,
}

impl Link {
    pub(super) fn new(channel: Channel, token: Option<Token>) -> Self {
        Self { channel, token }
    }
}

impl Service<Request<Body>> for Link {
    type Response = <Channel as Service<Request<Body>>>::Response;
    type Error = <Channel as Service<Request<Body>>>::Error;
    type Future = <Channel as Service<Request<Body>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::<Request<Body>>::poll_ready(&mut self.channel, cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if let Some(Token(value)) = &self.token {
            request.headers_mut().insert(AUTHORIZATION, value.clone());
        }
        let aside = request.extensions_mut().remove::<Aside>();
        if let Some(body) = aside.and_then(|aside| aside.take()) {
            *request.body_mut() = body;
        }
        self.channel.call(request)
    }
}
