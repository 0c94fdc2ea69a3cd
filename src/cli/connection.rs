//! Connects commands to a broker.

use std::{
    net::{IpAddr, Ipv6Addr},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::timeout;

use super::{Failure, flags::ConnectionFlags, said};
use crate::{
    client::{self, Client, Outage, Tls, Token},
    config::{self, TLS_CA_VARIABLE, TLS_CERT_KEY_VARIABLE, TLS_CERT_VARIABLE, TOKEN_VARIABLE},
    env::read_all,
    types::parse_millis,
};

/// The first and the longest wait between attempts to connect again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// How long to try to reach a broker, if no flag says it.
const RETRY_FOR: &str = "60s";

/// How long every command waits, without a word, for a broker that does not listen yet: it may have
/// been started just before the command.
const STARTING: Duration = Duration::from_secs(1);

/// How long a command waits for the end of another one that only one client can run at a time: that
/// one may have been stopped a moment ago, and the broker has not noticed it yet.
const ENDING: Duration = Duration::from_secs(10);

/// Where a broker listens unless it is told otherwise.
const DEFAULT_PORT: u16 = 9640;

/// A broker's address, how to connect to it, and how long to try.
#[derive(Clone, Debug)]
pub(super) struct Server {
    url: String,
    /// The address as it was given, if it had no port.
    taken_for: Option<String>,
    options: client::Options,
    retry_for: Duration,
    /// Whether to keep trying for `retry_for` when the command starts, and not only after a
    /// connection was lost.
    waits_at_start: bool,
    token: Shown,
}

/// The token that is sent with calls.
#[derive(Clone, Debug)]
enum Shown {
    Nothing,
    Token(Token),
    /// A file that is read for each connection, because the token may have been replaced.
    File(PathBuf),
}

/// The wait for the end of another client's call, of which there is one at a time.
pub(super) struct Ending {
    /// The broker's reason while the other one is under way.
    under_way: &'static str,
    /// How long to wait yet.
    left: Duration,
}

impl Server {
    /// The broker that the flags name, or the environment, or the default one. If the address has
    /// no port, a remark says which one is used.
    pub(super) fn new(flags: &ConnectionFlags) -> Result<Self, Failure> {
        let server = Self::named(flags)?;
        if let Some(given) = &server.taken_for {
            said::remark(format_args!("{given:?} has no port; taking {}", server.url));
        }
        Ok(server)
    }

    /// The broker that the flags name, or the environment, or the default one, without a remark
    /// about its port.
    pub(super) fn named(flags: &ConnectionFlags) -> Result<Self, Failure> {
        let flag = flags.server.clone().map(|given| ("--server", given));
        let variable = || config::server_variable().map(|given| ("TAFFRAIL_SERVER", given));
        let token = Shown::new(flags)?;
        let Some((by, given)) = flag.or_else(variable) else {
            let server = Self::at(&format!("http://127.0.0.1:{DEFAULT_PORT}")).trusting(flags)?;
            return Ok(Self { token, ..server });
        };
        if given.trim().is_empty() {
            // Probably from a variable in a script that was not set.
            return Err(Failure::Usage(format!(
                "{by} is empty; name a broker, such as http://127.0.0.1:{DEFAULT_PORT} or unix:DIR, or leave it out"
            )));
        }
        check_address(by, &given)?;
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
            waits_at_start: false,
            token: Shown::Nothing,
        }
    }

    /// Uses the authorities and the client certificate in the flags or the environment. For a URL
    /// without TLS, flags about TLS are an error; variables are ignored, because they may be meant
    /// for other commands.
    fn trusting(mut self, flags: &ConnectionFlags) -> Result<Self, Failure> {
        if !self.url.starts_with("https:") {
            return match flags.first_of_tls() {
                None => Ok(self),
                Some(flag) => Err(Failure::Usage(format!(
                    "{flag} is for a URL that begins with https://, and the broker's is {}",
                    self.url
                ))),
            };
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

    /// Tries to reach a broker for as long as the flag says, or a minute: after a lost connection,
    /// and when the command starts if the flag is given or the command `waits` by default.
    pub(super) fn retrying(self, retry_for: Option<&str>, waits: bool) -> Result<Self, Failure> {
        let millis = parse_millis(retry_for.unwrap_or(RETRY_FOR))
            .map_err(|error| Failure::Usage(format!("--retry-for: {error}")))?;
        Ok(Self {
            retry_for: Duration::from_millis(millis),
            waits_at_start: waits || retry_for.is_some(),
            ..self
        })
    }

    /// Connects. If nobody listens at the address, it fails after a moment, unless the command keeps
    /// trying: most likely the address is wrong.
    pub(super) async fn connect(&self) -> Result<Client, Failure> {
        let source = match self.options()?.connect(&self.url).await {
            Ok(client) => return Ok(client),
            Err(error) => error,
        };
        if !self.waits_at_start
            && is_not_listening(&source)
            && let Ok(client) = timeout(STARTING, self.reach()).await
        {
            return Ok(client);
        }
        let hint = self.hint(&source);
        let may_pass = match &source {
            // Trying again does not help if the two ends disagree about TLS.
            client::Error::Unavailable { message } => !speaks_of_tls(message),
            _ => false,
        };
        let waits = self.waits_at_start && !self.retry_for.is_zero();
        if may_pass && waits {
            let (why, seconds) = (self.why_away(&source), self.retry_for.as_secs_f64());
            said::remark(format_args!("{why}; trying again for {seconds} s{hint}"));
            if let Ok(client) = self.look_for().await {
                return Ok(client);
            }
        }
        Err(Failure::CallIn {
            message: format!("{source}{hint}"),
            source,
        })
    }

    /// What to do if the first connection fails.
    fn hint(&self, error: &client::Error) -> String {
        match error {
            // The error itself says what is missing.
            client::Error::Unavailable { .. } if is_socket(&self.url) => String::new(),
            client::Error::Unavailable { message } if message.contains("authority") => {
                format!("; name its authority with --tls-ca FILE or {TLS_CA_VARIABLE}")
            }
            // The broker is running, but the two ends disagree about TLS.
            client::Error::Unavailable { message } if speaks_of_tls(message) => String::new(),
            client::Error::Unavailable { .. } => how_to_start(&self.url),
            _ => String::new(),
        }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// How long to try to reach the broker again.
    pub(super) fn retry_for(&self) -> Duration {
        self.retry_for
    }

    fn options(&self) -> Result<client::Options, Failure> {
        Ok(client::Options {
            token: self.token.read()?,
            ..self.options.clone()
        })
    }

    /// Connects again after a lost connection, and says so on standard error: that the broker is
    /// away, and when it is back.
    pub(super) async fn reconnect(&self, lost: &client::Error) -> Result<Client, client::Error> {
        self.say_away(lost);
        self.look_for().await
    }

    /// Tries to connect until it succeeds.
    async fn reach(&self) -> Client {
        let (mut wait, longest) = BACKOFF;
        loop {
            tokio::time::sleep(wait).await;
            // The token's file may be missing for a moment while it is replaced.
            if let Ok(options) = self.options()
                && let Ok(client) = options.connect(&self.url).await
            {
                return client;
            }
            wait = (wait * 2).min(longest);
        }
    }

    /// Tries to connect for as long as the command tries to reach a broker; says when it is back.
    async fn look_for(&self) -> Result<Client, client::Error> {
        let again = timeout(self.retry_for, self.reach()).await;
        let client = again.map_err(|_| client::Error::Unavailable {
            message: format!("{} could not be reached for {:?}", self.url, self.retry_for),
        })?;
        say_back();
        Ok(client)
    }

    /// A callback that says on standard error when the broker is away, and when it is back.
    pub(super) fn outage_teller(&self) -> impl Fn(Outage) + Send + Sync + 'static {
        let server = self.clone();
        move |outage| match outage {
            Outage::Began { cause } => server.say_away(&cause),
            _ => say_back(),
        }
    }

    /// Says that the broker is away, or refuses requests, and for how long the command keeps
    /// trying.
    fn say_away(&self, cause: &client::Error) {
        let (why, seconds) = (self.why_away(cause), self.retry_for.as_secs_f64());
        said::remark(format_args!("{why}; trying again for {seconds} s"));
    }

    /// That the broker is away, and why; or why it refuses requests.
    pub(super) fn why_away(&self, cause: &client::Error) -> String {
        let why = match cause {
            client::Error::Unavailable { message } | client::Error::OutcomeUnknown { message } => {
                message
            }
            client::Error::StreamEnded { cause } => cause,
            // The broker is there, and has said what is wrong.
            _ => return cause.to_string(),
        };
        format!("the broker at {} is away ({})", self.url, short(why))
    }
}

impl Ending {
    /// For calls that are refused with this reason while another one is under way.
    pub(super) fn of(under_way: &'static str) -> Self {
        Self {
            under_way,
            left: ENDING,
        }
    }

    /// Waits a moment before the next attempt. Fails if the call has failed for another reason, or
    /// has been refused for too long.
    pub(super) async fn wait(&mut self, failed: client::Error) -> Result<(), client::Error> {
        if failed.reason() != Some(self.under_way) {
            return Err(failed);
        }
        if self.left == ENDING {
            let seconds = ENDING.as_secs();
            said::remark(format_args!("{failed}; waiting {seconds} s for its end"));
        }
        let Some(left) = self.left.checked_sub(BACKOFF.0) else {
            return Err(failed);
        };
        self.left = left;
        tokio::time::sleep(BACKOFF.0).await;
        Ok(())
    }
}

/// Parts of the transport's messages about a lost connection.
const BREAKS: [&str; 6] = [
    "h2 protocol error",
    "transport error",
    "broken pipe",
    "connection reset",
    "connection closed",
    "error reading a body",
];

/// Whether the message is about a connection that was lost during a call.
pub(super) fn is_broken(message: &str) -> bool {
    let message = message.to_lowercase();
    BREAKS.iter().any(|words| message.contains(words))
}

/// Whether a connection failed because nobody listens at the address.
fn is_not_listening(error: &client::Error) -> bool {
    let client::Error::Unavailable { message } = error else {
        return false;
    };
    let is_of_a_socket = ["there is no socket", "nobody listens on"]
        .iter()
        .any(|begins| message.starts_with(begins));
    is_of_a_socket || short(message) == "connection refused"
}

/// The reason in few words.
fn short(message: &str) -> &str {
    if message.to_lowercase().contains("connection refused") {
        return "connection refused";
    }
    if is_broken(message) {
        return "the connection broke";
    }
    match message.split_once(": ") {
        Some((before, cause)) if before.starts_with("cannot connect to") => cause,
        _ => message,
    }
}

/// Says that the broker can be reached again.
fn say_back() {
    said::remark("the broker is back");
}

/// How to start a broker at this address, if it is on this machine.
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

    /// The error if the file that belongs with this one is not given.
    fn alone(&self, other: &str) -> Failure {
        Failure::Usage(format!("{} needs {other} beside it", self.by))
    }
}

impl Shown {
    fn new(flags: &ConnectionFlags) -> Result<Self, Failure> {
        if let Some(path) = &flags.token_file {
            return Ok(Self::File(path.clone()));
        }
        let (text, by) = match &flags.token {
            Some(text) => (Some(text.clone()), "--token"),
            None => (config::token_variable(), TOKEN_VARIABLE),
        };
        let Some(text) = text else {
            return Ok(Self::Nothing);
        };
        let token = Token::new(&text);
        let token = token.map_err(|error| Failure::Usage(format!("{by}: {error}")))?;
        Ok(Self::Token(token))
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

/// Adds the default port to an address without one, and returns whether it had a port. The path of
/// a socket needs none.
pub(super) fn with_port(given: &str) -> (String, bool) {
    if is_socket(given) {
        return (given.to_owned(), true);
    }
    let (scheme, rest) = given.split_once("://").unwrap_or(("http", given));
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    // The colons of an IPv6 address are not before a port, unless the address is in brackets.
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

/// Refuses an address with a scheme that brokers do not speak, or without a host.
fn check_address(by: &str, given: &str) -> Result<(), Failure> {
    if is_socket(given) {
        return Ok(());
    }
    let (scheme, rest) = given.split_once("://").unwrap_or(("http", given));
    if !matches!(scheme, "http" | "https") {
        return Err(Failure::Usage(format!(
            "{by}: {given:?} begins with {scheme}://; a broker's address begins with http://, https:// or unix:"
        )));
    }
    if rest.is_empty() || rest.starts_with([':', '/']) && !rest.starts_with("::") {
        return Err(Failure::Usage(format!(
            "{by}: {given:?} names no host; a broker of this machine is at http://127.0.0.1:{DEFAULT_PORT}"
        )));
    }
    Ok(())
}

/// Whether it is the address of a Unix socket, `unix:PATH`.
fn is_socket(given: &str) -> bool {
    given.starts_with("unix:")
}
