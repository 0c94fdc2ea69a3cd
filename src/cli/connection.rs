//! Which broker to talk to.

use std::{
    net::{IpAddr, Ipv6Addr},
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Failure, flags::ConnectionFlags, said};
use crate::{
    client::{self, Client, Outage, Tls, Token},
    config::{self, TLS_CA_VARIABLE, TLS_CERT_KEY_VARIABLE, TLS_CERT_VARIABLE},
    env::read_all,
    types::parse_millis,
};

/// How long to wait before the first attempt to connect again, and the longest wait between two.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Where a broker listens unless it is told otherwise.
const DEFAULT_PORT: u16 = 9640;

/// A broker's address, and how long to look for it when it has gone away.
#[derive(Clone, Debug)]
pub(super) struct Server {
    url: String,
    /// What was given instead, without a port.
    taken_for: Option<String>,
    options: client::Options,
    retry_for: Duration,
    token: Shown,
}

/// The token that calls show.
#[derive(Clone, Debug)]
enum Shown {
    Nothing,
    Token(Token),
    /// Read again for each connection: somebody may have replaced it.
    File(PathBuf),
}

impl Server {
    /// The broker that the flags name, or the environment, or the default one. Where it has no
    /// port, it says on standard error which one is taken.
    pub(super) fn new(flags: &ConnectionFlags) -> Result<Self, Failure> {
        let server = Self::named(flags)?;
        if let Some(given) = &server.taken_for {
            said::remark(format_args!("{given:?} has no port; taking {}", server.url));
        }
        Ok(server)
    }

    /// The same, without saying anything.
    pub(super) fn named(flags: &ConnectionFlags) -> Result<Self, Failure> {
        let flag = flags.server.clone().map(|given| ("--server", given));
        let variable = || config::server_variable().map(|given| ("TAFFRAIL_SERVER", given));
        let token = Shown::new(flags)?;
        let Some((by, given)) = flag.or_else(variable) else {
            let server = Self::at(&format!("http://127.0.0.1:{DEFAULT_PORT}")).trusting(flags)?;
            return Ok(Self { token, ..server });
        };
        if given.trim().is_empty() {
            // Most likely something that was meant to be filled in.
            return Err(Failure::Usage(format!(
                "{by} is empty; name a broker, such as http://127.0.0.1:{DEFAULT_PORT} or unix:DIR, or leave it out"
            )));
        }
        let (url, has_port) = with_port(&given);
        let server = Self::at(&url).trusting(flags)?;
        let taken_for = (!has_port).then_some(given);
        Ok(Self {
            token,
            taken_for,
            ..server
        })
    }

    /// The broker at this address.
    pub(super) fn at(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            taken_for: None,
            options: client::Options::default(),
            retry_for: Duration::ZERO,
            token: Shown::Nothing,
        }
    }

    /// Trusts the authorities, and has the certificate, that the flags name or the environment. A
    /// URL without TLS needs none of them.
    fn trusting(mut self, flags: &ConnectionFlags) -> Result<Self, Failure> {
        if !self.url.starts_with("https:") {
            return Ok(self);
        }
        let ca = Named::new(flags.tls_ca.as_deref(), "--tls-ca", TLS_CA_VARIABLE);
        let certificate = Named::new(flags.tls_cert.as_deref(), "--tls-cert", TLS_CERT_VARIABLE);
        let key = Named::new(flags.tls_key.as_deref(), "--tls-key", TLS_CERT_KEY_VARIABLE);
        let mut tls = Tls::new();
        if let Some(ca) = ca {
            tls = tls.authorities(ca.read()?);
        }
        tls = match (certificate, key) {
            (Some(certificate), Some(key)) => tls.identity(certificate.read()?, key.read()?),
            (None, None) => tls,
            (Some(alone), None) => return Err(alone.alone("--tls-key")),
            (None, Some(alone)) => return Err(alone.alone("--tls-cert")),
        };
        self.options.tls = tls;
        Ok(self)
    }

    /// Looks for a lost broker for as long as a flag says.
    pub(super) fn retrying(self, retry_for: &str) -> Result<Self, Failure> {
        let millis = parse_millis(retry_for)
            .map_err(|error| Failure::Usage(format!("--retry-for: {error}")))?;
        Ok(Self {
            retry_for: Duration::from_millis(millis),
            ..self
        })
    }

    /// Connects once: a first connection that fails is most likely a wrong address.
    pub(super) async fn connect(&self) -> Result<Client, Failure> {
        let options = self.options()?;
        options.connect(&self.url).await.map_err(|source| {
            let hint = match &source {
                // What is missing there is said already.
                client::Error::Unavailable { .. } if is_socket(&self.url) => "",
                // Something runs there, and does not agree with this client on TLS.
                client::Error::Unavailable { message } if speaks_of_tls(message) => "",
                client::Error::Unavailable { .. } => &how_to_start(&self.url),
                _ => "",
            };
            Failure::CallIn {
                message: format!("{source}{hint}"),
                source,
            }
        })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// How long to look for a broker that has gone away.
    pub(super) fn retry_for(&self) -> Duration {
        self.retry_for
    }

    fn options(&self) -> Result<client::Options, Failure> {
        Ok(client::Options {
            token: self.token.read()?,
            ..self.options.clone()
        })
    }

    /// Connects again, for as long as it takes or is allowed, and says that the broker is away and
    /// when it is back.
    pub(super) async fn reconnect(&self, lost: &client::Error) -> Result<Client, client::Error> {
        self.say_away(lost);
        let (mut wait, longest) = BACKOFF;
        let attempts = async {
            loop {
                tokio::time::sleep(wait).await;
                // A file with a token may be about to be replaced.
                if let Ok(options) = self.options()
                    && let Ok(client) = options.connect(&self.url).await
                {
                    return client;
                }
                wait = (wait * 2).min(longest);
            }
        };
        let again = tokio::time::timeout(self.retry_for, attempts).await;
        let client = again.map_err(|_| client::Error::Unavailable {
            message: format!("{} could not be reached for {:?}", self.url, self.retry_for),
        })?;
        say_back();
        Ok(client)
    }

    /// What says that the broker is away, and when it is back.
    pub(super) fn outage_teller(&self) -> impl Fn(Outage) + Send + Sync + 'static {
        let server = self.clone();
        move |outage| match outage {
            Outage::Began { cause } => server.say_away(&cause),
            _ => say_back(),
        }
    }

    /// Says that the broker is away, or takes nothing, and for how long it is tried again.
    fn say_away(&self, cause: &client::Error) {
        let seconds = self.retry_for.as_secs_f64();
        said::remark(format_args!("{cause}; trying again for {seconds} s"));
    }
}

/// Says that the broker is there again.
fn say_back() {
    said::remark("the broker is back");
}

/// How to start a broker at this address, if it is one of this machine.
fn how_to_start(url: &str) -> String {
    let (_, rest) = url.split_once("://").unwrap_or(("http", url));
    let authority = rest.split('/').next().unwrap_or(rest);
    let host = authority
        .rsplit_once(':')
        .map_or(authority, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let is_here = match host.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => host == "localhost",
    };
    let is_default = authority == format!("127.0.0.1:{DEFAULT_PORT}");
    match (is_here, is_default) {
        (false, _) => "; is it running there, and is the address right?".to_owned(),
        (true, true) => "; is it running? start one with: taffrail serve".to_owned(),
        (true, false) => {
            format!("; is it running? start one with: taffrail serve --listen {authority}")
        }
    }
}

/// A file that a flag or a variable names.
struct Named {
    path: PathBuf,
    by: &'static str,
}

impl Named {
    fn new(flag: Option<&Path>, by: &'static str, variable: &'static str) -> Option<Self> {
        if let Some(path) = flag {
            return Some(Self {
                path: path.to_owned(),
                by,
            });
        }
        let path = config::file_variable(variable)?;
        Some(Self { path, by: variable })
    }

    fn read(&self) -> Result<Vec<u8>, Failure> {
        read_all(&self.path).map_err(|error| {
            let (by, path) = (self.by, self.path.display());
            Failure::Usage(format!("{by}: cannot read {path}: {error}"))
        })
    }

    /// It needs the other of the two.
    fn alone(&self, other: &str) -> Failure {
        Failure::Usage(format!("{} needs {other} beside it", self.by))
    }
}

impl Shown {
    fn new(flags: &ConnectionFlags) -> Result<Self, Failure> {
        if let Some(path) = &flags.token_file {
            return Ok(Self::File(path.clone()));
        }
        match flags.token.clone().or_else(config::token_variable) {
            Some(text) => Ok(Self::Token(Token::new(&text)?)),
            None => Ok(Self::Nothing),
        }
    }

    fn read(&self) -> Result<Option<Token>, Failure> {
        let path = match self {
            Self::Nothing => return Ok(None),
            Self::Token(token) => return Ok(Some(token.clone())),
            Self::File(path) => path,
        };
        let unusable =
            |problem: String| Failure::Usage(format!("--token-file {}: {problem}", path.display()));
        let text = read_all(path).map_err(|error| unusable(error.to_string()))?;
        let token = Token::new(&String::from_utf8_lossy(&text));
        token.map(Some).map_err(|error| unusable(error.to_string()))
    }
}

/// A URL with the port of a broker if it has none of its own, and whether it has. The path of a
/// socket needs none.
pub(super) fn with_port(given: &str) -> (String, bool) {
    if is_socket(given) {
        return (given.to_owned(), true);
    }
    let (scheme, rest) = given.split_once("://").unwrap_or(("http", given));
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    // An IPv6 address has colons of its own, and is in brackets where a port follows.
    if host.parse::<Ipv6Addr>().is_ok() {
        return (format!("{scheme}://[{host}]:{DEFAULT_PORT}{path}"), false);
    }
    match host.rsplit_once(':') {
        Some((name, "")) => (format!("{scheme}://{name}:{DEFAULT_PORT}{path}"), false),
        Some((_, port)) if !port.ends_with(']') => (format!("{scheme}://{host}{path}"), true),
        _ => (format!("{scheme}://{host}:{DEFAULT_PORT}{path}"), false),
    }
}

fn speaks_of_tls(message: &str) -> bool {
    message.contains("TLS") || message.contains("certificate")
}

/// Whether it is the address of a socket, `unix:PATH`.
fn is_socket(given: &str) -> bool {
    given.starts_with("unix:")
}
