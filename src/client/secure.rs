//! Connections with TLS, to an `https://` URL.

use std::{fmt, io};

use http::uri::Scheme;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint, Uri};

use super::Error;
use crate::tls::{Connector, Trust};

/// The port of an `https://` URL without one.
const HTTPS_PORT: u16 = 443;

/// Which brokers to trust at an `https://` URL, and which client certificate to present. All of it
/// is given as the text of PEM files.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Tls {
    authorities: Option<Vec<u8>>,
    identity: Option<Identity>,
}

#[derive(Clone, PartialEq, Eq)]
struct Identity {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Tls {
    /// Trusts the operating system's authorities, and presents no certificate.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts the authorities with these certificates, and no others.
    #[must_use]
    pub fn authorities(self, pem: impl Into<Vec<u8>>) -> Self {
        Self {
            authorities: Some(pem.into()),
            ..self
        }
    }

    /// Presents this certificate to brokers that ask for one; `key` is its private key.
    #[must_use]
    pub fn identity(self, certificate: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        Self {
            identity: Some(Identity {
                certificate: certificate.into(),
                key: key.into(),
            }),
            ..self
        }
    }

    fn connector(&self, server: &Uri) -> Result<Connector, Error> {
        let trust = match &self.authorities {
            Some(pem) => Trust::Pem(pem),
            None => Trust::System,
        };
        let identity = self
            .identity
            .as_ref()
            .map(|identity| (&identity.certificate[..], &identity.key[..]));
        let connector = Connector::new(trust, identity, server.host().unwrap_or_default());
        connector.map_err(|problem| Error::InvalidTls {
            reason: problem.to_string(),
        })
    }

    /// Connects to a broker by its [`endpoint`], and again whenever the connection is lost.
    pub(super) async fn connect(
        &self,
        server: &Uri,
        endpoint: &Endpoint,
    ) -> Result<Channel, Error> {
        let connector = self.connector(server)?;
        let to = server.clone();
        let connecting = endpoint.connect_with_connector(tower::service_fn(move |_| {
            let (connector, server) = (connector.clone(), to.clone());
            async move { open(&connector, &server).await.map(TokioIo::new) }
        }));
        let connected = connecting.await;
        connected.map_err(|error| Error::connect(&server.to_string(), &error))
    }
}

/// The endpoint of a server with an `https://` URL, for [`Tls::connect`]. Where tonic's own TLS is
/// compiled in, be it for another crate, tonic refuses such a URL over any connector but its own. So
/// it is given the URL without TLS, and calls name the real one.
pub(super) fn endpoint(server: Uri) -> Endpoint {
    let mut plain = server.clone().into_parts();
    plain.scheme = Some(Scheme::HTTP);
    let plain = Uri::from_parts(plain).expect("only the scheme is another");
    Endpoint::from(plain).origin(server)
}

async fn open(
    connector: &Connector,
    server: &Uri,
) -> io::Result<crate::tls::ClientStream<TcpStream>> {
    let host = server.host().unwrap_or_default();
    // An IPv6 address is in brackets in a URL.
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let socket = TcpStream::connect((host, server.port_u16().unwrap_or(HTTPS_PORT))).await?;
    socket.set_nodelay(true)?;
    connector.connect(socket).await
}

/// Does not show the private key.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("has_authorities", &self.authorities.is_some())
            .field("has_identity", &self.identity.is_some())
            .finish()
    }
}
