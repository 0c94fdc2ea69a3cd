//! An authority that signs certificates while a test runs.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};

/// An authority that only a test trusts.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

/// A certificate and its key, both as PEM.
pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().expect("there is chance");
        let mut params = params(&[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "an authority of a test");
        let certificate = params.self_signed(&key).expect("it is sound").pem();
        Self {
            issuer: Issuer::new(params, key),
            certificate,
        }
    }

    /// The authority's own certificate as PEM.
    pub(crate) fn certificate(&self) -> &str {
        &self.certificate
    }

    pub(crate) fn issue(&self, params: CertificateParams) -> Issued {
        let key = KeyPair::generate().expect("there is chance");
        let certificate = params.signed_by(&key, &self.issuer).expect("it is sound");
        Issued {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    /// A certificate for a broker on this machine.
    pub(crate) fn broker(&self) -> Issued {
        self.issue(with_usage(
            params(&["localhost", "127.0.0.1"]),
            ExtendedKeyUsagePurpose::ServerAuth,
        ))
    }

    /// A certificate for a client with this name.
    pub(crate) fn client(&self, name: &str) -> Issued {
        self.issue(with_usage(named(name), ExtendedKeyUsagePurpose::ClientAuth))
    }
}

/// A certificate for these names.
pub(crate) fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("the names are sound");
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
}

/// A certificate whose subject is this.
pub(crate) fn named(name: &str) -> CertificateParams {
    let mut params = params(&[]);
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

pub(crate) fn with_usage(
    mut params: CertificateParams,
    usage: ExtendedKeyUsagePurpose,
) -> CertificateParams {
    params.extended_key_usages = vec![usage];
    params
}
