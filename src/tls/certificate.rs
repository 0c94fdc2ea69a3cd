//! Reads the content of certificates.

use std::net::IpAddr;

use rustls::pki_types::CertificateDer;
use x509_cert::{
    Certificate, Version,
    der::{Decode, oid::db::rfc4519::COMMON_NAME},
    ext::pkix::{
        BasicConstraints, KeyUsage, SubjectAltName,
        name::{DirectoryString, GeneralName},
    },
    name::Name,
    time::Time,
};

use super::Problem;

/// The identity that a client's certificate states. An authority of `tls.client_ca` has signed it,
/// and it was valid when the client connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PeerIdentity {
    /// The subject in the form of RFC 4514, the most specific part first:
    /// `CN=billing,OU=Shop,O=Example`. Empty if the certificate has none.
    pub(crate) subject: String,
    /// The common name in the subject, the most specific one if there are several.
    pub(crate) common_name: Option<String>,
    /// Its other names, each with its kind, in the certificate's order: `DNS:billing.example`,
    /// `URI:spiffe://example/billing`, `email:a@example`, `IP:10.0.0.1`. Other kinds are left out.
    pub(crate) alternative_names: Vec<String>,
}

impl PeerIdentity {
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Result<Self, Problem> {
        let certificate = parse(certificate)?;
        let certificate = certificate.tbs_certificate();
        let names = certificate.get_extension::<SubjectAltName>();
        let names = names.map_err(|error| Problem::Malformed(error.to_string()))?;
        let names = names.map_or_else(Vec::new, |(_, names)| names.0);
        Ok(Self {
            subject: certificate.subject().to_string(),
            common_name: common_name(certificate.subject()),
            alternative_names: names.iter().filter_map(text_of).collect(),
        })
    }
}

fn common_name(subject: &Name) -> Option<String> {
    let mut found = None;
    for attribute in subject.iter() {
        if attribute.oid == COMMON_NAME
            && let Ok(text) = DirectoryString::try_from(&attribute.value)
        {
            found = Some(text.value().into_owned());
        }
    }
    found
}

fn text_of(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(format!("DNS:{name}")),
        GeneralName::UniformResourceIdentifier(uri) => Some(format!("URI:{uri}")),
        GeneralName::Rfc822Name(address) => Some(format!("email:{address}")),
        GeneralName::IpAddress(bytes) => Some(format!("IP:{}", ip(bytes.as_bytes())?)),
        _ => None,
    }
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(four.into());
    }
    Some(<[u8; 16]>::try_from(bytes).ok()?.into())
}

/// The period in which a certificate is valid.
#[derive(Clone, Copy, Debug)]
pub(super) struct Validity {
    not_before: Time,
    not_after: Time,
}

impl Validity {
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Result<Self, Problem> {
        Ok(Self::of_parsed(&parse(certificate)?))
    }

    fn of_parsed(certificate: &Certificate) -> Self {
        let validity = certificate.tbs_certificate().validity();
        Self {
            not_before: validity.not_before,
            not_after: validity.not_after,
        }
    }

    /// The end of the period, in milliseconds since 1970.
    pub(super) fn not_after_ms(&self) -> i64 {
        milliseconds(&self.not_after)
    }

    /// Checks the period at this moment, in milliseconds since 1970.
    pub(super) fn check(&self, now_ms: i64) -> Result<(), Problem> {
        if now_ms > self.not_after_ms() {
            return Err(Problem::Expired(text(&self.not_after)));
        }
        if now_ms < milliseconds(&self.not_before) {
            return Err(Problem::NotYetValid(text(&self.not_before)));
        }
        Ok(())
    }
}

/// Checks one of the certificates of `tls.client_ca`, of this number in its file, at this moment.
/// Returns the end of the period in which it is valid, in milliseconds since 1970.
pub(super) fn check_authority(
    certificate: &CertificateDer<'_>,
    number: usize,
    now_ms: i64,
) -> Result<i64, Problem> {
    let certificate = parse(certificate)?;
    let subject = certificate.tbs_certificate().subject();
    let of_this = |problem| Problem::OfAuthority {
        which: format!("{number} ({subject})"),
        problem: Box::new(problem),
    };
    if !may_sign(&certificate)? {
        return Err(of_this(Problem::NoAuthority));
    }
    let validity = Validity::of_parsed(&certificate);
    validity.check(now_ms).map_err(of_this)?;
    Ok(validity.not_after_ms())
}

/// Whether a certificate may sign others. One of version 1 does not say so; it may if it has signed
/// itself, as an authority of that time has.
fn may_sign(certificate: &Certificate) -> Result<bool, Problem> {
    let malformed = |error: x509_cert::der::Error| Problem::Malformed(error.to_string());
    let certificate = certificate.tbs_certificate();
    if certificate.version() == Version::V1 {
        return Ok(certificate.subject() == certificate.issuer());
    }
    let constraints = certificate.get_extension::<BasicConstraints>();
    let is_authority = match constraints.map_err(malformed)? {
        Some((_, constraints)) => constraints.ca,
        None => false,
    };
    let usage = certificate.get_extension::<KeyUsage>();
    let signs = match usage.map_err(malformed)? {
        Some((_, usage)) => usage.key_cert_sign(),
        None => true,
    };
    Ok(is_authority && signs)
}

fn milliseconds(time: &Time) -> i64 {
    i64::try_from(time.to_unix_duration().as_millis()).unwrap_or(i64::MAX)
}

fn text(time: &Time) -> String {
    time.to_date_time().to_string()
}

fn parse(certificate: &CertificateDer<'_>) -> Result<Certificate, Problem> {
    Certificate::from_der(certificate).map_err(|error| Problem::Malformed(error.to_string()))
}
