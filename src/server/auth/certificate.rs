//! Callers who are known by the client certificate of their connection.

use super::Principal;
use crate::tls::PeerIdentity;

/// Which of a certificate's names becomes the name of its principal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CertificateName {
    /// The common name of its subject.
    CommonName,
    /// The whole subject, as RFC 4514 writes it.
    Subject,
    /// The first of the alternative names of this kind.
    Uri,
    Dns,
    Email,
    Ip,
}

/// The longest name of a certificate that makes a principal, in bytes. Grants are compared with it
/// at each call, and the audit log has it.
const MAX_NAME_BYTES: usize = 512;

impl CertificateName {
    pub(crate) const ALL: [Self; 6] = [
        Self::Uri,
        Self::CommonName,
        Self::Dns,
        Self::Email,
        Self::Ip,
        Self::Subject,
    ];

    /// The word for it in the setting `tls.principal`, and before the colon in principals.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::CommonName => "CN",
            Self::Subject => "subject",
            Self::Uri => "URI",
            Self::Dns => "DNS",
            Self::Email => "email",
            Self::Ip => "IP",
        }
    }

    pub(crate) fn named(kind: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|name| name.kind() == kind)
    }

    /// The name of this kind that a certificate has, the first where there are several.
    fn of(self, certificate: &PeerIdentity) -> Option<&str> {
        let name = match self {
            Self::CommonName => certificate.common_name.as_deref(),
            Self::Subject => Some(&*certificate.subject),
            Self::Uri | Self::Dns | Self::Email | Self::Ip => {
                let mut names = certificate.alternative_names.iter();
                names.find_map(|name| name.strip_prefix(self.kind())?.strip_prefix(':'))
            }
        };
        name.filter(|name| (1..=MAX_NAME_BYTES).contains(&name.len()))
    }
}

/// The kinds of names to look for in a certificate, in this order; the first that it has becomes
/// the name of its principal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CertificateNames(pub(crate) Vec<CertificateName>);

impl Default for CertificateNames {
    fn default() -> Self {
        use CertificateName::{CommonName, Dns, Subject, Uri};
        Self(vec![Uri, CommonName, Dns, Subject])
    }
}

impl CertificateNames {
    /// The principal of a client with this certificate; anonymous if it has none of the names.
    pub(crate) fn principal(&self, certificate: &PeerIdentity) -> Principal {
        for kind in &self.0 {
            if let Some(name) = kind.of(certificate) {
                return Principal::certificate(kind.kind(), name);
            }
        }
        Principal::anonymous()
    }
}
