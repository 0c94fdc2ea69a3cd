//! Which broker to talk to.

use std::time::Duration;

use super::{Failure, flags::ConnectionFlags};
use crate::{
    client::{self, Client},
    config,
    types::parse_millis,
};

/// How long to wait before the first attempt to connect again, and the longest wait between two.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// A broker's address, and how long to look for it when it has gone away.
#[derive(Clone, Debug)]
pub(super) struct Server {
    url: String,
    retry_for: Duration,
}

impl Server {
    /// The broker that the flags name, or the environment, or the default one.
    pub(super) fn new(flags: &ConnectionFlags) -> Self {
        let url = flags.server.clone().or_else(config::server_variable);
        let url = url.unwrap_or_else(|| "http://127.0.0.1:9640".to_owned());
        if url.contains("://") {
            Self::at(&url)
        } else {
            Self::at(&format!("http://{url}"))
        }
    }

    /// The broker at this address.
    pub(super) fn at(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            retry_for: Duration::ZERO,
        }
    }

    /// Looks for a lost broker for as long as a flag says.
    pub(super) fn retrying(self, retry_for: &str) -> Result<Self, Failure> {
        let millis = parse_millis(retry_for)
            .map_err(|error| Failure::Usage(format!("--retry-for: {error}")))?;
        Ok(Self {
            retry_for: Duration::from_millis(millis),
            ..self
        })
    }

    /// Connects once: a first connection that fails is most likely a wrong address.
    pub(super) async fn connect(&self) -> Result<Client, Failure> {
        Client::connect(&self.url).await.map_err(|source| {
            let hint = match &source {
                client::Error::Unavailable { .. } => {
                    "; is it running? start one with: taffrail serve"
                }
                _ => "",
            };
            Failure::CallIn {
                message: format!("{source}{hint}"),
                source,
            }
        })
    }

    /// How long to look for a broker that has gone away.
    pub(super) fn retry_for(&self) -> Duration {
        self.retry_for
    }

    /// Connects again, for as long as it takes or is allowed.
    pub(super) async fn reconnect(&self) -> Result<Client, client::Error> {
        let (mut wait, longest) = BACKOFF;
        let attempts = async {
            loop {
                tokio::time::sleep(wait).await;
                if let Ok(client) = Client::connect(&self.url).await {
                    return client;
                }
                wait = (wait * 2).min(longest);
            }
        };
        tokio::time::timeout(self.retry_for, attempts)
            .await
            .map_err(|_| client::Error::Unavailable {
                message: format!("{} could not be reached for {:?}", self.url, self.retry_for),
            })
    }
}
