//! TLS as both ends of a connection speak it: the broker, and the client that Rust users import.
//!
//! rustls is used here and nowhere else. Certificates and keys come as the text of their files, so
//! that nothing here reads files, and what is wrong with them is told as a [`Problem`]. TLS 1.2 and
//! 1.3 only, and HTTP/2 only, but where the broker listens for HTTP/1.1. Sessions are not resumed:
//! connections of gRPC are few and long, and so no client gets in by a certificate that authorities
//! have signed which have been replaced since.
//!
//! Reading order: this page; `pem.rs` and `certificate.rs`, what files hold; `server.rs` and
//! `client.rs`, the two ends; `in_place.rs`, the client's bytes; `read_ahead.rs`, how the broker
//! reads encrypted ones.

#[cfg(feature = "broker")]
mod certificate;
mod client;
mod in_place;
mod pem;
#[cfg(feature = "broker")]
mod read_ahead;
#[cfg(feature = "broker")]
mod server;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;

use rustls::{
    CipherSuite, SupportedCipherSuite,
    crypto::{CryptoProvider, ring},
};

pub(crate) use self::client::{ClientStream, Connector, Trust};
#[cfg(feature = "broker")]
pub(crate) use self::{
    certificate::PeerIdentity,
    read_ahead::ReadAhead,
    server::{Acceptor, Clients, File, Prepared, Refused, ServerStream, Texts},
};

/// What a connection takes beside what it takes without TLS: encrypted bytes that were read ahead,
/// a record that is being put together and one that is decrypted, what waits to be sent, and the
/// state of the session.
#[cfg(feature = "broker")]
pub(crate) const CONNECTION_BYTES: usize =
    read_ahead::BYTES + 2 * RECORD_BYTES + UNSENT_BYTES + (8 << 10);

/// The largest record of TLS.
const RECORD_BYTES: usize = 18 << 10;

/// Most encrypted bytes that wait to be sent.
#[cfg(feature = "broker")]
const UNSENT_BYTES: usize = 32 << 10;

/// What TLS calls the protocol that is spoken inside: on the port for calls, and on that for HTTP.
const HTTP2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// What is wrong with a certificate, a key, or the two together. The text goes behind the file's
/// name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Problem {
    #[error("it is not PEM: {0}")]
    NotPem(String),
    #[error("there is no certificate in it; it should have -----BEGIN CERTIFICATE----- in a line")]
    NoCertificate,
    #[error("there is no private key in it; it should have -----BEGIN PRIVATE KEY----- in a line")]
    NoKey,
    #[error(
        "its key is encrypted; write it without a passphrase, as `openssl pkey -in FILE -out NEW` \
         does, and let nobody else read it"
    )]
    EncryptedKey,
    #[error("its certificate cannot be understood: {0}")]
    Malformed(String),
    #[error("its key cannot be used: {0}; RSA of 2048 to 8192 bits, ECDSA (P-256, P-384), Ed25519")]
    UnusableKey(String),
    #[error("it is not the key of the certificate; take the key that the certificate was made for")]
    Mismatch,
    #[error("it has expired at {0}; have a new one made")]
    Expired(String),
    #[error("it is not valid before {0}; is the clock of this machine right?")]
    NotYetValid(String),
    #[error(
        "it is not of an authority (CA:TRUE, and keyCertSign where there is a key usage); put the \
         certificate of the authority there that signs those of clients"
    )]
    NoAuthority,
    #[error("certificate {which}: {problem}")]
    OfAuthority {
        /// Its number in the file, and its subject.
        which: String,
        problem: Box<Problem>,
    },
    #[error("{0}")]
    Other(String),
}

/// The cryptography: AES with 128 bits first where the machine has instructions for it, which
/// costs a third less time than with 256.
fn provider() -> Arc<CryptoProvider> {
    let mut provider = ring::default_provider();
    if has_aes() {
        provider
            .cipher_suites
            .sort_by_key(|suite| !is_aes_128(*suite));
    }
    Arc::new(provider)
}

fn is_aes_128(suite: SupportedCipherSuite) -> bool {
    suite.suite() == CipherSuite::TLS13_AES_128_GCM_SHA256
}

#[cfg(target_arch = "x86_64")]
fn has_aes() -> bool {
    std::arch::is_x86_feature_detected!("aes")
}

#[cfg(target_arch = "aarch64")]
fn has_aes() -> bool {
    std::arch::is_aarch64_feature_detected!("aes")
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn has_aes() -> bool {
    false
}
