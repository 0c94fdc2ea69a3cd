//! The flags that say which broker to connect to, and how. All commands with a broker have them.

use std::{ffi::OsStr, path::PathBuf};

use clap::Args;

/// Which broker to connect to and how, and whether to print JSON.
#[derive(Args, Clone, Debug)]
pub(in crate::cli) struct ConnectionFlags {
    /// The broker: a URL, or unix:PATH, the data directory of one on this machine or a socket
    /// [default: $TAFFRAIL_SERVER, or http://127.0.0.1:9640]
    #[arg(long, value_name = "URL", global = true)]
    pub(in crate::cli) server: Option<String>,
    /// The authorities to trust where the URL is https://, PEM [default: $TAFFRAIL_TLS_CA, or those
    /// of this system]
    #[arg(long, value_name = "FILE", global = true)]
    pub(in crate::cli) tls_ca: Option<PathBuf>,
    /// The certificate to show to the broker, PEM [default: $TAFFRAIL_TLS_CERT]
    #[arg(long, value_name = "FILE", global = true)]
    pub(in crate::cli) tls_cert: Option<PathBuf>,
    /// The key of the certificate, PEM [default: $TAFFRAIL_TLS_CERT_KEY]
    #[arg(long, value_name = "FILE", global = true)]
    pub(in crate::cli) tls_key: Option<PathBuf>,
    /// The access token to show [default: $TAFFRAIL_TOKEN]; others on this machine can read it in
    /// the list of processes, unlike a file or the variable
    #[arg(
        long,
        value_name = "TOKEN",
        global = true,
        conflicts_with = "token_file"
    )]
    pub(in crate::cli) token: Option<String>,
    /// A file with the access token to show
    #[arg(long, value_name = "FILE", global = true)]
    pub(in crate::cli) token_file: Option<PathBuf>,
    /// Print JSON, for scripts
    #[arg(long, global = true)]
    pub(in crate::cli) json: bool,
}

impl ConnectionFlags {
    /// Fills in the flags that are not given here with those given there.
    pub(super) fn take_from(&mut self, other: &Self) {
        if self.token.is_none() && self.token_file.is_none() {
            self.token = other.token.clone();
            self.token_file = other.token_file.clone();
        }
        for (own, other) in [
            (&mut self.tls_ca, &other.tls_ca),
            (&mut self.tls_cert, &other.tls_cert),
            (&mut self.tls_key, &other.tls_key),
        ] {
            if own.is_none() {
                own.clone_from(other);
            }
        }
        if self.server.is_none() {
            self.server.clone_from(&other.server);
        }
        self.json |= other.json;
    }

    /// The first flag about TLS that is given.
    pub(in crate::cli) fn first_of_tls(&self) -> Option<&'static str> {
        let given = [
            ("--tls-ca", self.tls_ca.is_some()),
            ("--tls-cert", self.tls_cert.is_some()),
            ("--tls-key", self.tls_key.is_some()),
        ];
        let first = given.iter().find(|(_, is_given)| *is_given);
        first.map(|(flag, _)| *flag)
    }

    /// The first of these flags that is given.
    pub(super) fn first(&self) -> Option<&'static str> {
        let given = [
            ("--server", self.server.is_some()),
            ("--tls-ca", self.tls_ca.is_some()),
            ("--tls-cert", self.tls_cert.is_some()),
            ("--tls-key", self.tls_key.is_some()),
            ("--token", self.token.is_some()),
            ("--token-file", self.token_file.is_some()),
            ("--json", self.json),
        ];
        let first = given.iter().find(|(_, is_given)| *is_given);
        first.map(|(flag, _)| *flag)
    }
}

/// The flags of [`ConnectionFlags`] that take a value.
pub(super) const WITH_VALUE: [&str; 6] = [
    "--server",
    "--tls-ca",
    "--tls-cert",
    "--tls-key",
    "--token",
    "--token-file",
];

/// Whether a word is one of the flags of [`ConnectionFlags`].
pub(super) fn is_connection_flag(word: &OsStr) -> bool {
    let text = word.to_string_lossy();
    let name = text.split_once('=').map_or(&*text, |(name, _)| name);
    word == "--json" || WITH_VALUE.contains(&name)
}

/// Whether a word is one of these flags and the next word its value.
pub(super) fn takes_next_word(word: &OsStr) -> bool {
    WITH_VALUE.iter().any(|flag| word == *flag)
}
