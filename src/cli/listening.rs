//! The ports of `taffrail serve`, and the line that announces them.

use std::{io, net::SocketAddr, os::fd::AsFd, path::PathBuf};

use serde_json::json;
use tokio::net::TcpListener;
use tracing::{info, warn};

use super::{Failure, output};
use crate::config::{Config, HttpAddress, LogFormat};

/// The open ports.
pub(super) struct Listeners {
    /// The port for calls.
    pub(super) calls: TcpListener,
    /// The port for metrics, health and calls over HTTP; `None` if it is off.
    pub(super) http: Option<TcpListener>,
}

impl Listeners {
    /// Opens the configured ports.
    pub(super) async fn bind(config: &Config) -> Result<Self, Failure> {
        let calls = bind(config.listen_address()?, "--listen").await?;
        let address = calls.local_addr().map_err(unusable)?;
        let http = match config.http_address(address)? {
            HttpAddress::Off => None,
            HttpAddress::Set(address) => Some(bind(address, "--http-listen").await?),
            HttpAddress::Derived(address) => TcpListener::bind(address)
                .await
                .inspect_err(|error| warn_of_no_http(&format!("{address}: {error}")))
                .ok(),
            HttpAddress::NoneLeft => {
                warn_of_no_http("there is no port above that for calls");
                None
            }
        };
        Ok(Self { calls, http })
    }

    /// The addresses of the ports.
    pub(super) fn addresses(&self) -> Result<Addresses, Failure> {
        let http = self.http.as_ref().map(TcpListener::local_addr);
        Ok(Addresses {
            calls: self.calls.local_addr().map_err(unusable)?,
            http: http.transpose().map_err(unusable)?,
        })
    }
}

/// The addresses of the ports.
pub(super) struct Addresses {
    calls: SocketAddr,
    pub(super) http: Option<SocketAddr>,
}

impl Addresses {
    /// Announces them as JSON on standard output, for the parent process, which waits for that.
    pub(super) fn announce_ephemeral(&self, config: &Config) -> Result<(), Failure> {
        let told = output::json(&json!({
            "message": "taffrail is listening",
            "url": self.url(config),
            "address": self.calls.to_string(),
            "http_url": self.http_url(config),
            "data_dir": null,
        }));
        Ok(told?)
    }

    fn url(&self, config: &Config) -> String {
        let scheme = if config.speaks_tls() { "https" } else { "http" };
        format!("{scheme}://{}", self.calls)
    }

    fn http_url(&self, config: &Config) -> Option<String> {
        let address = self.http?;
        let tls = config.speaks_tls_at(address);
        let scheme = if tls { "https" } else { "http" };
        Some(format!("{scheme}://{address}"))
    }

    /// Announces them in one line on standard output, which a parent process can wait for. If
    /// nobody reads it, the broker serves nevertheless.
    pub(super) fn announce(&self, config: &Config) {
        let (url, http_url) = (self.url(config), self.http_url(config));
        info!("listening on {url}");
        if let Some(http_url) = &http_url {
            info!("metrics and health are at {http_url}");
        }
        let data_dir: PathBuf =
            std::path::absolute(&config.data_dir).unwrap_or_else(|_| config.data_dir.clone());
        let data_dir = data_dir.display();
        let _ = match config.log_format {
            LogFormat::Json => output::json(&json!({
                "message": "taffrail is listening",
                "url": url,
                "address": self.calls.to_string(),
                "http_url": http_url,
                "data_dir": data_dir.to_string(),
            })),
            LogFormat::Text => {
                let seen = http_url.map(|url| format!(" (metrics on {url})"));
                let seen = seen.unwrap_or_default();
                output::line(format_args!(
                    "taffrail is listening on {url}{seen} with its data in {data_dir}"
                ))
            }
        };
    }
}

/// A second handle for a port, which stays open until both are closed.
pub(super) fn twin(listener: &TcpListener) -> Result<TcpListener, Failure> {
    let twin = listener.as_fd().try_clone_to_owned();
    let twin = twin.and_then(|fd| TcpListener::from_std(fd.into()));
    twin.map_err(|error| Failure::Unusable(format!("the port cannot be kept open: {error}")))
}

async fn bind(address: SocketAddr, flag: &str) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::Unusable(format!(
            "cannot listen on {address}: {error}; stop what does, or choose another port with \
            {flag}"
        ))
    })
}

fn unusable(error: io::Error) -> Failure {
    Failure::Unusable(format!("the address of a port is not known: {error}"))
}

fn warn_of_no_http(why: &str) {
    warn!(
        "metrics and health cannot be seen over HTTP: {why}; choose an address with \
        --http-listen, or \"off\""
    );
}
