//! How a connection is made.

use std::{net::IpAddr, time::Duration};

use tonic::transport::{Endpoint, Uri};

use super::{Client, Error, Tls, Token, link::Link, secure, socket};

/// The largest window of HTTP/2.
const MAX_WINDOW_BYTES: u32 = (1 << 31) - 1;

/// The scheme of a broker that uses TLS.
const HTTPS: &str = "https";

/// The URL for connections through a socket; nothing looks the host up.
const SOCKET_URL: &str = "http://localhost";

/// How a [`Client`] connects. The defaults suit a broker on the same machine or in the same
/// network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// How long to wait for a connection.
    pub connect_timeout: Duration,
    /// How long to wait for the answer to a call. Reads and append streams, which go on, are not
    /// limited by it.
    pub request_timeout: Duration,
    /// How many bytes the broker may send ahead of what a reader has taken, for each read.
    ///
    /// HTTP/2's default window of 64 KiB and its frames of 16 KiB limit a connection to 0.6 GB/s on
    /// loopback; with these defaults it reaches 1.9 GB/s.
    pub stream_window_bytes: u32,
    /// How many bytes the broker may send ahead of what readers have taken, for all reads of the
    /// connection together. By default it does not limit them further, so that a reader that pauses
    /// does not hold up the others, nor the answers to appends. The HTTP/2 library also closes a
    /// connection on which small unread messages, counted as 256 bytes each, take more than half of
    /// this.
    pub connection_window_bytes: u32,
    /// The largest HTTP/2 frame to accept: 16 KiB up to 16 MiB less one byte.
    pub max_frame_bytes: u32,
    /// How often to ask an idle connection whether the broker is still there; it is closed after as
    /// much time again without an answer.
    pub keep_alive: Duration,
    /// Whether to compress what is appended and read. It takes CPU time, and is for connections
    /// that are slow. Default: no.
    #[cfg(feature = "compression")]
    pub gzip: bool,
    /// Which brokers to trust, and which certificate to show, at an `https://` URL.
    pub tls: Tls,
    /// The access token that every call sends. Default: none.
    pub token: Option<Token>,
    /// Whether the token may be sent to another machine without encryption, where everybody on the
    /// way can read and use it. Default: no; connecting is refused.
    pub token_without_encryption: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            stream_window_bytes: 8 << 20,
            connection_window_bytes: MAX_WINDOW_BYTES,
            max_frame_bytes: 1 << 20,
            keep_alive: Duration::from_secs(10),
            #[cfg(feature = "compression")]
            gzip: false,
            tls: Tls::default(),
            token: None,
            token_without_encryption: false,
        }
    }
}

impl Options {
    /// Connects to a broker, at a URL such as `http://127.0.0.1:9640` or through a socket,
    /// `unix:PATH`: see [`Client::connect`].
    ///
    /// # Errors
    ///
    /// [`Error::InvalidServer`] if the address or its port is malformed; [`Error::InvalidTls`] if a
    /// certificate or key of [`tls`](Self::tls) cannot be used; [`Error::Unavailable`] if nothing
    /// answers there, or client and broker do not trust each other.
    pub async fn connect(&self, server: &str) -> Result<Client, Error> {
        let connected = match socket::path_of(server) {
            Some(path) if path.as_os_str().is_empty() => {
                return Err(Error::InvalidServer {
                    server: server.to_owned(),
                    reason: "the path of the socket is missing".to_owned(),
                });
            }
            Some(path) => socket::connect(&self.endpoint(SOCKET_URL)?, path).await,
            None => {
                let endpoint = self.endpoint(server)?;
                if let Some(secured) = secured(server) {
                    return Ok(self.client(self.tls.connect(&secured, &endpoint).await?));
                }
                endpoint.connect().await
            }
        };
        let channel = connected.map_err(|error| Error::connect(server, &error))?;
        Ok(self.client(channel))
    }

    /// A client over a connection that was made from this [`endpoint`](Self::endpoint) in another
    /// way.
    pub(crate) fn client(&self, channel: tonic::transport::Channel) -> Client {
        let link = Link::new(channel, self.token.clone());
        let client = Client::new(link, self.request_timeout);
        #[cfg(feature = "compression")]
        if self.gzip {
            return client.compressing();
        }
        client
    }

    /// The address and the options, in tonic's form.
    pub(crate) fn endpoint(&self, server: &str) -> Result<Endpoint, Error> {
        let invalid = |reason: String| Error::InvalidServer {
            server: server.to_owned(),
            reason,
        };
        let endpoint =
            Endpoint::from_shared(server.to_owned()).map_err(|error| invalid(error.to_string()))?;
        match endpoint.uri().scheme_str() {
            Some("http" | HTTPS) => {}
            Some(scheme) => return Err(invalid(format!("{scheme}:// is not supported"))),
            None => return Err(invalid("the scheme is missing".to_owned())),
        }
        if self.token.is_some() && !self.token_without_encryption && is_exposed(endpoint.uri()) {
            return Err(invalid(
                "the token would go to another machine without encryption; use https://, or allow \
                it \
                 with `token_without_encryption`"
                    .to_owned(),
            ));
        }
        if let Some(port) = malformed_port(endpoint.uri()) {
            return Err(invalid(format!(
                "{port:?} is no port; those are 1 to 65535"
            )));
        }
        let endpoint = match secured(server) {
            Some(server) => secure::endpoint(server),
            None => endpoint,
        };
        Ok(endpoint
            .connect_timeout(self.connect_timeout)
            .initial_stream_window_size(self.stream_window_bytes)
            .initial_connection_window_size(self.connection_window_bytes)
            .max_frame_size(self.max_frame_bytes)
            .http2_keep_alive_interval(self.keep_alive)
            .keep_alive_timeout(self.keep_alive)
            .keep_alive_while_idle(true)
            .tcp_nodelay(true))
    }
}

/// The address of a server that is reached with TLS; `None` for any other.
fn secured(server: &str) -> Option<Uri> {
    let server: Uri = server.parse().ok()?;
    (server.scheme_str() == Some(HTTPS)).then_some(server)
}

/// Whether others can read what is sent to this server.
fn is_exposed(server: &Uri) -> bool {
    let host = server.host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let is_loopback = match host.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => host == "localhost",
    };
    server.scheme_str() == Some("http") && !is_loopback
}

/// The text in place of a port, if it is no valid port. It would be ignored, and port 80 used.
fn malformed_port(server: &Uri) -> Option<&str> {
    let (_, port) = server.authority()?.as_str().rsplit_once(':')?;
    // An IPv6 address has colons itself.
    let is_there = !port.is_empty() && !port.ends_with(']');
    let is_port = server.port_u16().is_some_and(|port| port != 0);
    (is_there && !is_port).then_some(port)
}
