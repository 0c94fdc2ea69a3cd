//! Reads certificates and keys from the text of PEM files.

use rustls::pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{Error, PemObject},
};

use super::Problem;

/// The beginnings of keys that need a passphrase.
const ENCRYPTED: [&[u8]; 2] = [b"BEGIN ENCRYPTED PRIVATE KEY", b"Proc-Type: 4,ENCRYPTED"];

/// All certificates of a file, in order; there must be at least one.
pub(super) fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let mut found = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(text) {
        found.push(certificate.map_err(not_pem)?);
    }
    match found.is_empty() {
        true => Err(Problem::NoCertificate),
        false => Ok(found),
    }
}

/// The first private key of a file.
pub(super) fn key(text: &[u8]) -> Result<PrivateKeyDer<'static>, Problem> {
    let is_encrypted = |mark: &&[u8]| text.windows(mark.len()).any(|some| some == *mark);
    if ENCRYPTED.iter().any(is_encrypted) {
        return Err(Problem::EncryptedKey);
    }
    PrivateKeyDer::from_pem_slice(text).map_err(|error| match error {
        Error::NoItemsFound => Problem::NoKey,
        error => not_pem(error),
    })
}

fn not_pem(error: Error) -> Problem {
    Problem::NotPem(error.to_string())
}
