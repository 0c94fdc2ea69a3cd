//! The client's end: the authorities it trusts, and the certificate it presents.

use std::{
    fmt, io,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use rustls::{
    AlertDescription, CertificateError, ClientConfig, Error, InvalidMessage, RootCertStore,
    client::Resumption,
    pki_types::ServerName,
    version::{TLS12, TLS13},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{HTTP2, Problem, in_place::InPlace, pem, provider};

/// The authorities that a client trusts to identify a broker.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trust<'a> {
    /// The authorities that the operating system trusts.
    System,
    /// The authorities in the text of this PEM file.
    Pem(&'a [u8]),
}

/// Makes TLS handshakes with the broker of one host name.
#[derive(Clone)]
pub(crate) struct Connector {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Connector {
    /// A connector that trusts these authorities, and presents this certificate to brokers that ask
    /// for one.
    pub(crate) fn new(
        trust: Trust<'_>,
        identity: Option<(&[u8], &[u8])>,
        host: &str,
    ) -> Result<Self, Problem> {
        let other = |error: Error| Problem::Other(error.to_string());
        let config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(other)?
            .with_root_certificates(roots(trust)?);
        let mut config = match identity {
            None => config.with_no_client_auth(),
            Some((certificate, key)) => config
                .with_client_auth_cert(pem::certificates(certificate)?, pem::key(key)?)
                .map_err(|error| match error {
                    Error::InconsistentKeys(_) => Problem::Mismatch,
                    error => Problem::UnusableKey(error.to_string()),
                })?,
        };
        config.alpn_protocols = vec![HTTP2.to_vec()];
        config.resumption = Resumption::disabled();
        let name = name_of(host)?;
        let config = Arc::new(config);
        Ok(Self { config, name })
    }

    pub(crate) async fn connect<IO>(&self, io: IO) -> io::Result<ClientStream<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let config = Arc::clone(&self.config);
        let stream = InPlace::connect(io, config, self.name.clone()).await;
        let stream = stream.map_err(explain)?;
        Ok(ClientStream(Box::new(stream)))
    }
}

fn name_of(host: &str) -> Result<ServerName<'static>, Problem> {
    // In a URL, an IPv6 address is in brackets.
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(ServerName::IpAddress(address.into()));
    }
    ServerName::try_from(host.to_owned())
        .map_err(|_| Problem::Other(format!("{host:?} is no name that a certificate can be for")))
}

fn roots(trust: Trust<'_>) -> Result<RootCertStore, Problem> {
    let mut roots = RootCertStore::empty();
    match trust {
        Trust::Pem(text) => {
            for certificate in pem::certificates(text)? {
                let added = roots.add(certificate);
                added.map_err(|error| Problem::Malformed(error.to_string()))?;
            }
        }
        Trust::System => {
            let found = rustls_native_certs::load_native_certs();
            // Some unreadable certificates are common, and no reason to trust none.
            let (added, _) = roots.add_parsable_certificates(found.certs);
            if added == 0 {
                return Err(Problem::Other(
                    "this system has no certificates of authorities; name a file with some".into(),
                ));
            }
        }
    }
    Ok(roots)
}

/// A client's end of a connection, whose errors say what to do.
pub(crate) struct ClientStream<IO>(Box<InPlace<IO>>);

impl<IO> fmt::Debug for ClientStream<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientStream").finish_non_exhaustive()
    }
}

/// Adds what an error of TLS means here.
fn explain(error: io::Error) -> io::Error {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    let Some(cause) = cause else {
        return error;
    };
    let text = match meaning(cause) {
        Some(meaning) => format!("{meaning} ({cause})"),
        None => format!("TLS: {cause}"),
    };
    io::Error::new(error.kind(), text)
}

fn meaning(error: &Error) -> Option<&'static str> {
    use AlertDescription as Alert;
    Some(match error {
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "what answers there does not speak TLS: use http:// for a broker without it"
        }
        Error::AlertReceived(Alert::ProtocolVersion) => {
            "it does not speak TLS on this port, or only old versions of it: use http:// for a \
            broker \
             without TLS"
        }
        Error::AlertReceived(Alert::CertificateRequired) => {
            "the broker takes only clients that have a certificate: give one with its key"
        }
        Error::AlertReceived(
            Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateExpired
            | Alert::CertificateRevoked
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            // Such as when another authority with the same name has signed the certificate.
            | Alert::DecryptError,
        ) => "the broker does not take the certificate of this client",
        Error::AlertReceived(Alert::NoApplicationProtocol) | Error::NoApplicationProtocol => {
            "what answers there does not speak HTTP/2"
        }
        Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => {
            "the broker's certificate is of no authority that this client trusts: name the file \
            with \
             the one that signed it"
        }
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "the broker's certificate is for other names than the one in the URL",
        Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => "the broker's certificate has expired",
        _ => return None,
    })
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for ClientStream<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.0).poll_read(cx, buf);
        read.map_err(explain)
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ClientStream<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.0).poll_write(cx, buf);
        written.map_err(explain)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx).map_err(explain)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx).map_err(explain)
    }
}
