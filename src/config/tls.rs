//! The settings for TLS.

use std::path::PathBuf;

use super::{Error, Sources};
use crate::{
    server::{CertificateName, CertificateNames, TlsFiles},
    tls::{Clients, File},
};

/// The settings for TLS, as they were given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tls {
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    pub(super) client_ca: Option<PathBuf>,
    pub(super) client_required: bool,
    pub(super) client_any_usage: bool,
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            certificate: None,
            key: None,
            client_ca: None,
            client_required: true,
            client_any_usage: false,
        }
    }
}

impl Tls {
    pub(super) fn is_spoken(&self) -> bool {
        self.certificate.is_some()
    }

    /// The files for TLS, if it is configured.
    ///
    /// # Errors
    ///
    /// If one setting is given without another that it needs.
    pub(super) fn files(&self, sources: &Sources) -> Result<Option<TlsFiles>, Error> {
        let given = [
            ("tls.key", self.key.is_some()),
            ("tls.client_ca", self.client_ca.is_some()),
        ];
        let lacks = |name: &'static str, missing| Error::Lacks {
            source_name: sources.of(name).unwrap_or("by default").to_owned(),
            name,
            missing,
        };
        let Some(certificate) = &self.certificate else {
            return match given.iter().find(|(_, is_given)| *is_given) {
                Some((name, _)) => Err(lacks(name, "tls.certificate")),
                None => Ok(None),
            };
        };
        let Some(key) = &self.key else {
            return Err(lacks("tls.certificate", "tls.key"));
        };
        if self.client_ca.is_none() && self.client_any_usage {
            return Err(lacks("tls.client_any_usage", "tls.client_ca"));
        }
        Ok(Some(TlsFiles {
            certificate: certificate.clone(),
            key: key.clone(),
            client_ca: self.client_ca.clone(),
            clients: Clients {
                required: self.client_required,
                any_usage: self.client_any_usage,
            },
        }))
    }
}

/// The name of the setting for a file.
pub(crate) fn setting_of(file: File) -> &'static str {
    match file {
        File::Certificate => "tls.certificate",
        File::Key => "tls.key",
        File::ClientCa => "tls.client_ca",
    }
}

/// Parses the kinds of certificate names that become principals, separated by commas.
pub(super) fn names(text: &str) -> Result<CertificateNames, String> {
    let mut names = Vec::new();
    for kind in text.split(',') {
        let name = CertificateName::named(kind.trim()).filter(|name| !names.contains(name));
        names.push(name.ok_or_else(|| {
            let kinds = CertificateName::ALL.map(CertificateName::kind).join(", ");
            format!("it is some of {kinds}, each once, with commas between them")
        })?);
    }
    Ok(CertificateNames(names))
}
