//! Which broker to talk to.

use std::{
    io::{self, Write},
    net::Ipv6Addr,
    time::Duration,
};

use super::{Failure, flags::ConnectionFlags};
use crate::{
    client::{self, Client},
    config,
    types::parse_millis,
};

/// How long to wait before the first attempt to connect again, and the longest wait between two.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Where a broker listens unless it is told otherwise.
const DEFAULT_PORT: u16 = 9640;

/// A broker's address, and how long to look for it when it has gone away.
#[derive(Clone, Debug)]
pub(super) struct Server {
    url: String,
    retry_for: Duration,
}

impl Server {
    /// The broker that the flags name, or the environment, or the default one. Where it has no
    /// port, it says on standard error which one is taken.
    pub(super) fn new(flags: &ConnectionFlags) -> Result<Self, Failure> {
        let flag = flags.server.clone().map(|given| ("--server", given));
        let variable = || config::server_variable().map(|given| ("TAFFRAIL_SERVER", given));
        let Some((by, given)) = flag.or_else(variable) else {
            return Ok(Self::at(&format!("http://127.0.0.1:{DEFAULT_PORT}")));
        };
        if given.trim().is_empty() {
            // Most likely something that was meant to be filled in.
            return Err(Failure::Usage(format!(
                "{by} is empty; name a broker, such as http://127.0.0.1:{DEFAULT_PORT} or unix:DIR, or leave it out"
            )));
        }
        let (url, has_port) = with_port(&given);
        if !has_port {
            // A remark that nobody reads is no failure.
            let _ = writeln!(io::stderr(), "{given:?} has no port; taking {url}");
        }
        Ok(Self::at(&url))
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
                // What is missing there is said already.
                client::Error::Unavailable { .. } if !is_socket(&self.url) => {
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

    pub(super) fn url(&self) -> &str {
        &self.url
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

/// A URL with the port of a broker if it has none of its own, and whether it has. The path of a
/// socket needs none.
pub(super) fn with_port(given: &str) -> (String, bool) {
    if is_socket(given) {
        return (given.to_owned(), true);
    }
    let (scheme, rest) = given.split_once("://").unwrap_or(("http", given));
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    // An IPv6 address has colons of its own, and is in brackets where a port follows.
    if host.parse::<Ipv6Addr>().is_ok() {
        return (format!("{scheme}://[{host}]:{DEFAULT_PORT}{path}"), false);
    }
    match host.rsplit_once(':') {
        Some((name, "")) => (format!("{scheme}://{name}:{DEFAULT_PORT}{path}"), false),
        Some((_, port)) if !port.ends_with(']') => (format!("{scheme}://{host}{path}"), true),
        _ => (format!("{scheme}://{host}:{DEFAULT_PORT}{path}"), false),
    }
}

/// Whether it is the address of a socket, `unix:PATH`.
fn is_socket(given: &str) -> bool {
    given.starts_with("unix:")
}
