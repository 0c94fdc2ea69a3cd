//! The broker's end: the certificate that it presents, and the client certificates that it accepts.

use std::{
    io,
    sync::{Arc, PoisonError, RwLock},
};

use bytes::Bytes;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig,
    SignatureScheme,
    client::{danger::HandshakeSignatureValid, verify_server_cert_signed_by_trust_anchor},
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms},
    pki_types::{CertificateDer, UnixTime},
    server::{
        NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    version::{TLS12, TLS13},
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    HTTP1, HTTP2, PeerIdentity, Problem, UNSENT_BYTES,
    certificate::{Validity, check_authority},
    pem, provider,
    read_ahead::ReadAhead,
};

/// The broker's end of a connection.
pub(crate) type ServerStream<IO> = TlsStream<ReadAhead<IO>>;

/// The contents of the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Texts {
    /// The broker's certificate, and those of the authorities between it and one that clients
    /// trust.
    pub(crate) certificate: Vec<u8>,
    /// The key of the broker's certificate.
    pub(crate) key: Vec<u8>,
    /// The authorities whose clients are accepted; `None` if clients are not asked for a
    /// certificate.
    pub(crate) client_ca: Option<Vec<u8>>,
}

/// One of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum File {
    Certificate,
    Key,
    ClientCa,
}

/// Why the files cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub(crate) struct Refused {
    /// The file that is most likely the cause.
    pub(crate) file: File,
    pub(crate) problem: Problem,
}

impl Refused {
    fn of(file: File) -> impl Fn(Problem) -> Self {
        move |problem| Self { file, problem }
    }
}

/// Which clients are accepted, if they are asked for a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Clients {
    /// Whether clients must have a certificate.
    pub(crate) required: bool,
    /// Whether certificates are accepted that are for servers only.
    pub(crate) any_usage: bool,
}

/// Files that can be used.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    config: Arc<ServerConfig>,
    /// What is used where HTTP/1.1 is spoken inside.
    http1: Arc<ServerConfig>,
    not_after_ms: i64,
    authorities_not_after_ms: Option<i64>,
}

impl Prepared {
    /// Checks everything that is to be used from this moment on, in milliseconds since 1970.
    pub(crate) fn new(texts: &Texts, clients: Clients, now_ms: i64) -> Result<Self, Refused> {
        let of_certificate = Refused::of(File::Certificate);
        let chain = pem::certificates(&texts.certificate).map_err(&of_certificate)?;
        let mut not_after_ms = i64::MAX;
        for certificate in &chain {
            let validity = Validity::of(certificate).map_err(&of_certificate)?;
            validity.check(now_ms).map_err(&of_certificate)?;
            not_after_ms = not_after_ms.min(validity.not_after_ms());
        }
        let key = pem::key(&texts.key).map_err(Refused::of(File::Key))?;
        let provider = provider();
        let (verifier, authorities_not_after_ms) = match &texts.client_ca {
            Some(text) => {
                let of_client_ca = Refused::of(File::ClientCa);
                let (roots, not_after_ms) = authorities(text, now_ms).map_err(&of_client_ca)?;
                let verifier = verifier(roots, clients, &provider).map_err(of_client_ca)?;
                (verifier, Some(not_after_ms))
            }
            None => (WebPkiClientVerifier::no_client_auth(), None),
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|error| of_certificate(Problem::Other(error.to_string())))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .map_err(unusable)?;
        config.alpn_protocols = vec![HTTP2.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        let mut http1 = config.clone();
        http1.alpn_protocols = vec![HTTP1.to_vec()];
        Ok(Self {
            config: Arc::new(config),
            http1: Arc::new(http1),
            not_after_ms,
            authorities_not_after_ms,
        })
    }
}

/// The meaning of rustls' error for a certificate and key that it refuses.
fn unusable(error: Error) -> Refused {
    match error {
        Error::InconsistentKeys(_) => Refused::of(File::Key)(Problem::Mismatch),
        Error::InvalidCertificate(_) => {
            Refused::of(File::Certificate)(Problem::Malformed(error.to_string()))
        }
        error => Refused::of(File::Key)(Problem::UnusableKey(error.to_string())),
    }
}

/// The authorities of a file, and when the first of them expires. Each is checked: handshakes do
/// not look at what is trusted.
fn authorities(text: &[u8], now_ms: i64) -> Result<(RootCertStore, i64), Problem> {
    let mut roots = RootCertStore::empty();
    let mut not_after_ms = i64::MAX;
    for (number, certificate) in (1..).zip(pem::certificates(text)?) {
        not_after_ms = not_after_ms.min(check_authority(&certificate, number, now_ms)?);
        let added = roots.add(certificate);
        added.map_err(|error| Problem::Malformed(error.to_string()))?;
    }
    Ok((roots, not_after_ms))
}

fn verifier(
    roots: RootCertStore,
    clients: Clients,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, Problem> {
    let roots = Arc::new(roots);
    let mut builder =
        WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(provider));
    if !clients.required {
        builder = builder.allow_unauthenticated();
    }
    let verifier = builder.build();
    let verifier = verifier.map_err(|error| Problem::Other(error.to_string()))?;
    Ok(match clients.any_usage {
        false => verifier,
        true => Arc::new(AnyUsage {
            verifier,
            roots,
            algorithms: provider.signature_verification_algorithms,
        }),
    })
}

/// Accepts certificates of servers as those of clients, because public authorities issue no others
/// any more.
#[derive(Debug)]
struct AnyUsage {
    verifier: Arc<dyn ClientCertVerifier>,
    roots: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for AnyUsage {
    fn client_auth_mandatory(&self) -> bool {
        self.verifier.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.verifier.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self
            .verifier
            .verify_client_cert(end_entity, intermediates, now);
        let Err(Error::InvalidCertificate(
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. },
        )) = verified
        else {
            return verified;
        };
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(end_entity)?,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        )?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

/// Makes handshakes with the files in use.
#[derive(Debug)]
pub(crate) struct Acceptor {
    current: RwLock<Prepared>,
}

impl Acceptor {
    pub(crate) fn new(prepared: Prepared) -> Self {
        Self {
            current: RwLock::new(prepared),
        }
    }

    /// Uses other files for handshakes that begin from now on. Existing connections continue.
    pub(crate) fn replace(&self, prepared: Prepared) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = prepared;
    }

    /// When the first of the broker's certificates expires, in milliseconds since 1970.
    pub(crate) fn not_after_ms(&self) -> i64 {
        self.current().not_after_ms
    }

    /// When the first of the clients' authorities expires, in milliseconds since 1970; `None` if
    /// clients are not asked for a certificate.
    pub(crate) fn authorities_not_after_ms(&self) -> Option<i64> {
        self.current().authorities_not_after_ms
    }

    fn current(&self) -> Prepared {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.clone()
    }

    /// Makes the handshake with a client, from which `opening` was read already.
    ///
    /// # Errors
    ///
    /// If they do not agree: the client has been told why, and the connection is returned so that
    /// the client can read that.
    pub(crate) async fn accept<IO>(
        &self,
        io: IO,
        opening: &Bytes,
    ) -> Result<(ServerStream<IO>, Option<PeerIdentity>), (io::Error, ReadAhead<IO>)>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        shake_hands(self.current().config, io, opening).await
    }

    /// Makes the handshake with a client that speaks HTTP/1.1 inside.
    pub(crate) async fn accept_http1<IO>(
        &self,
        io: IO,
        opening: &Bytes,
    ) -> Result<(ServerStream<IO>, Option<PeerIdentity>), (io::Error, ReadAhead<IO>)>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        shake_hands(self.current().http1, io, opening).await
    }
}

async fn shake_hands<IO>(
    config: Arc<ServerConfig>,
    io: IO,
    opening: &Bytes,
) -> Result<(ServerStream<IO>, Option<PeerIdentity>), (io::Error, ReadAhead<IO>)>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let accepting = TlsAcceptor::from(config).accept_with(ReadAhead::new(io, opening), |session| {
        session.set_buffer_limit(Some(UNSENT_BYTES));
    });
    let stream = accepting.into_fallible().await?;
    let (_, session) = stream.get_ref();
    let Some([certificate, ..]) = session.peer_certificates() else {
        return Ok((stream, None));
    };
    match PeerIdentity::of(certificate) {
        Ok(identity) => Ok((stream, Some(identity))),
        Err(problem) => {
            let error = io::Error::new(io::ErrorKind::InvalidData, problem.to_string());
            Err((error, stream.into_inner().0))
        }
    }
}
