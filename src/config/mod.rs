//! The configuration of `taffrail serve`: defaults < file < environment < flags.
//!
//! Each setting is declared once, in the table in `settings.rs`: its name, how it is parsed and how
//! it is printed. All sources go through that table, so that a value means the same wherever it is
//! given. Nothing here does I/O: the file's text is an argument, and only `environment.rs` reads
//! variables.
//!
//! Roles, grants and quotas are not settings but lists (`grants.rs`, `quotas.rs`), and can only be
//! given in the file.
//!
//! No layer sees [`Config`]; each gets options of its own, which are made here.

mod descriptors;
mod environment;
mod error;
mod file;
mod grants;
mod jwt;
mod listen;
mod quotas;
mod settings;
mod telemetry;
mod tls;
mod web;

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

pub(crate) use descriptors::Descriptors;
pub(crate) use environment::{
    Supervisor, TLS_CA_VARIABLE, TLS_CERT_KEY_VARIABLE, TLS_CERT_VARIABLE, TOKEN_VARIABLE,
    file_variable, server_variable, supervisor, token_variable, variables, wants_colours,
};
pub(crate) use error::Error;
pub(crate) use listen::HttpAddress;
use listen::HttpListen;
pub(crate) use settings::LogFormat;
pub(crate) use telemetry::Telemetry;
pub(crate) use tls::setting_of;

use crate::{
    broker,
    budget::{self, Sizes},
    server,
    types::{TopicName, limits},
};

/// Large enough for the largest request.
const EPHEMERAL_JOURNAL_FILE_BYTES: u64 = 32 << 20;

/// Calls over HTTP take at most one of so many of the process's descriptors.
const SHARE_OF_HTTP_CALLS: u64 = 16;

/// All settings, each within its bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) data_dir: PathBuf,
    pub(crate) listen: String,
    pub(crate) insecure: bool,
    http_listen: HttpListen,
    http_api: server::HttpApi,
    tls: tls::Tls,
    certificates: server::CertificateNames,
    jwt: jwt::Jwt,
    audit_topic: Option<TopicName>,
    telemetry: Telemetry,
    pub(crate) log_format: LogFormat,
    pub(crate) log_level: String,
    journal_file_bytes: u64,
    journal_files: u32,
    /// The memory of all parts; `None` for a share of the machine's memory.
    memory_bytes: Option<usize>,
    memory_parts: budget::Given,
    memory: Sizes,
    open_segments: usize,
    /// How many descriptors are left for files.
    open_files: usize,
    producer_idle_ms: u64,
    remembered_batches: usize,
    erasure_deadline_ms: u64,
    scrub_rate: u64,
    backup_rate: u64,
    kept_journal_bytes: u64,
    group_stalled_ms: u64,
    clock_jump_ms: u64,
    clock_settle_ms: u64,
    disk_reserve_bytes: u64,
    max_connections: usize,
    handshake_timeout_ms: u64,
    request_timeout_ms: u64,
    drain_ms: u64,
    stalled_read_ms: u64,
    grants: server::Grants,
    quotas: server::Rules,
    measured: server::Measured,
}

/// The configuration, and what to tell the user about it.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) config: Config,
    /// Where each setting was given.
    pub(crate) sources: Sources,
    /// Environment variables that look like settings and are not. They are not refused, because
    /// programs set such variables without being asked: Kubernetes does so in every container if
    /// there is a service called `taffrail`.
    pub(crate) unknown_variables: Vec<String>,
}

/// Where each setting was given, for errors that are found after parsing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources(BTreeMap<String, String>);

impl Sources {
    /// Notes where a setting was given; it overrides earlier sources.
    fn given(&mut self, setting: &str, source: String) {
        self.0.insert(setting.to_owned(), source);
    }

    /// Where a setting was given, for example a file with the line; `None` if it has its default.
    pub(crate) fn of(&self, setting: &str) -> Option<&str> {
        self.0.get(setting).map(String::as_str)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: "./taffrail-data".into(),
            listen: "127.0.0.1:9640".to_owned(),
            insecure: false,
            http_listen: HttpListen::Auto,
            http_api: server::HttpApi::default(),
            tls: tls::Tls::default(),
            certificates: server::CertificateNames::default(),
            jwt: jwt::Jwt::default(),
            audit_topic: None,
            telemetry: Telemetry::default(),
            log_format: LogFormat::Text,
            log_level: "info".to_owned(),
            journal_file_bytes: limits::JOURNAL_FILE_BYTES,
            journal_files: limits::JOURNAL_FILES,
            memory_bytes: None,
            memory_parts: budget::Given::default(),
            memory: Sizes::default(),
            open_segments: limits::OPEN_SEGMENTS,
            open_files: usize::MAX,
            producer_idle_ms: limits::PRODUCER_IDLE_MS,
            remembered_batches: limits::MOST_REMEMBERED_BATCHES,
            erasure_deadline_ms: limits::ERASURE_DEADLINE_MS,
            scrub_rate: limits::SCRUB_RATE,
            backup_rate: limits::BACKUP_RATE,
            kept_journal_bytes: 0,
            group_stalled_ms: limits::GROUP_STALLED_MS,
            clock_jump_ms: limits::CLOCK_JUMP_MS,
            clock_settle_ms: limits::CLOCK_SETTLE_MS,
            disk_reserve_bytes: limits::DISK_RESERVE_BYTES,
            max_connections: 1_000,
            handshake_timeout_ms: 5_000,
            request_timeout_ms: 30_000,
            drain_ms: 10_000,
            stalled_read_ms: 60_000,
            grants: server::Grants::default(),
            quotas: server::Rules::default(),
            measured: server::Options::default().measured,
        }
    }
}

/// Whether the log is to be JSON, found out before the sources are checked: from the flag, the
/// variables, or the file's text, in this order.
pub(crate) fn asks_for_json(
    flag: Option<&str>,
    mut variables: impl Iterator<Item = (String, String)>,
    file: Option<&str>,
) -> bool {
    let variable = || {
        let found = variables.find(|(name, _)| name == "TAFFRAIL_LOG_FORMAT");
        found.map(|(_, value)| value)
    };
    let given = flag.map(str::to_owned).or_else(variable);
    given.or_else(|| file::log_format(file?)).as_deref() == Some("json")
}

impl Config {
    /// The defaults of a broker for tests: a free port, small journal files, because they are in
    /// memory, and a log of warnings and errors only.
    pub(crate) fn ephemeral() -> Self {
        Self {
            listen: "127.0.0.1:0".to_owned(),
            journal_file_bytes: EPHEMERAL_JOURNAL_FILE_BYTES,
            log_level: "warn".to_owned(),
            ..Self::default()
        }
    }

    /// Applies all sources to these defaults. `file` is its name and its text; `flags` are settings
    /// by name.
    pub(crate) fn load(
        self,
        file: Option<(&str, &str)>,
        environment: impl Iterator<Item = (String, String)>,
        flags: &[(&'static str, String)],
    ) -> Result<Loaded, Error> {
        let mut config = self;
        let mut sources = Sources::default();
        if let Some((name, text)) = file {
            config.apply_file(name, text, &mut sources)?;
        }
        let unknown_variables = config.apply_environment(environment, &mut sources)?;
        for (name, value) in flags {
            let source = "command line";
            config
                .set(name, value)
                .map_err(|problem| problem.at(source))?;
            sources.given(name, source.to_owned());
        }
        Ok(Loaded {
            config,
            sources,
            unknown_variables,
        })
    }

    /// Ignores the data directory that was set: the disk is in memory.
    pub(crate) fn keep_nothing(&mut self) {
        self.data_dir = "/ephemeral".into();
    }

    /// The address to listen on for calls.
    pub(crate) fn listen_address(&self) -> Result<SocketAddr, Error> {
        listen::resolve(&self.listen, self.insecure || self.speaks_tls())
    }

    /// Whether the port for calls speaks TLS.
    pub(crate) fn speaks_tls(&self) -> bool {
        self.tls.is_spoken()
    }

    /// The files for TLS, if it is configured.
    pub(crate) fn tls(&self, sources: &Sources) -> Result<Option<server::TlsFiles>, Error> {
        self.tls.files(sources)
    }

    /// The grants.
    pub(crate) fn grants(&self) -> &server::Grants {
        &self.grants
    }

    /// The quotas.
    pub(crate) fn quotas(&self) -> &server::Rules {
        &self.quotas
    }

    /// Which names in a client certificate become its principal.
    pub(crate) fn certificates(&self) -> &server::CertificateNames {
        &self.certificates
    }

    /// The topic that the audit log is written to, if there is one.
    pub(crate) fn audit_topic(&self) -> Option<&TopicName> {
        self.audit_topic.as_ref()
    }

    /// Where traces are sent, and of how many calls.
    pub(crate) fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// The rules for JWTs, if they are accepted.
    pub(crate) fn jwt(&self, sources: &Sources) -> Result<Option<server::JwtRules>, Error> {
        self.jwt.rules(sources)
    }

    /// Whether, without grants, callers from other machines may do everything without proving who
    /// they are.
    pub(crate) fn exposure(&self) -> server::Exposure {
        match self.insecure {
            true => server::Exposure::Everywhere,
            false => server::Exposure::Loopback,
        }
    }

    /// Whether HTTP at this address is served with TLS. On loopback it is not.
    pub(crate) fn speaks_tls_at(&self, http: SocketAddr) -> bool {
        self.speaks_tls() && !http.ip().to_canonical().is_loopback()
    }

    /// The address for HTTP, if there is one; `calls` is the address that calls are served at.
    pub(crate) fn http_address(&self, calls: SocketAddr) -> Result<HttpAddress, Error> {
        let open = self.insecure || self.speaks_tls();
        self.http_listen.address(&self.listen, calls, open)
    }

    /// The limits and the allowed web pages of the HTTP API.
    pub(crate) fn http_api(&self) -> server::HttpApi {
        self.http_api.clone()
    }

    /// Limits calls over HTTP to a share of this many descriptors; returns how many may be under
    /// way.
    pub(crate) fn limit_http_calls(&mut self, descriptors: u64) -> usize {
        let share = usize::try_from(descriptors / SHARE_OF_HTTP_CALLS).unwrap_or(usize::MAX);
        self.http_api.calls = self.http_api.calls.min(share.max(1));
        self.http_api.calls
    }

    /// The options of the broker.
    pub(crate) fn broker(&self) -> broker::Options {
        broker::Options {
            data_dir: self.data_dir.clone(),
            journal_file_bytes: self.journal_file_bytes,
            journal_files: self.journal_files,
            memory: self.memory,
            open_segments: self.open_segments,
            open_files: self.open_files.min(self.open_segments),
            producer_idle: Duration::from_millis(self.producer_idle_ms),
            producer_room: broker::ProducerRoom::MOST,
            remembered_batches: self.remembered_batches,
            erasure_deadline: Duration::from_millis(self.erasure_deadline_ms),
            scrub_rate: self.scrub_rate,
            group_stalled: Duration::from_millis(self.group_stalled_ms),
            clock: broker::ClockRule {
                jump: Duration::from_millis(self.clock_jump_ms),
                settle: Duration::from_millis(self.clock_settle_ms),
            },
            kept_journal_bytes: self.kept_journal_bytes,
            disk_reserve_bytes: self.disk_reserve_bytes,
            delta_bytes: limits::DELTA_BYTES,
        }
    }

    /// Divides the memory among its parts, on a machine with this much memory.
    pub(crate) fn divide_memory(&mut self, machine: Option<u64>) -> Result<&Sizes, Error> {
        let whole = self
            .memory_bytes
            .unwrap_or_else(|| budget::default_bytes(machine.unwrap_or_default()));
        let divided = Sizes::divide(whole, &self.memory_parts);
        self.memory =
            divided.map_err(|budget::TooLittle { rest, needed }| Error::MemoryTooSmall {
                whole,
                rest,
                needed,
            })?;
        Ok(&self.memory)
    }

    /// Warnings about memory settings that may not mean what the user thinks.
    pub(crate) fn remarks_on_memory(&self, machine: Option<u64>) -> Vec<String> {
        let mut remarks = Vec::new();
        let whole = self.memory.whole() as u64;
        if let Some(machine) = machine.filter(|machine| whole > machine / 4 * 3) {
            remarks.push(format!(
                "memory.bytes is {whole}, and this machine or container has {machine} bytes: the \
                 system may end this process for want of memory; give it more, or set less"
            ));
        }
        let is_given = |name: budget::Name| self.memory_parts[name as usize].is_some();
        let is_whole_given = self.memory_bytes.is_some();
        if is_whole_given && is_given(budget::Name::KeyIndex) && !is_given(budget::Name::Appends) {
            remarks.push(format!(
                "memory.bytes is the memory of all parts, and {} bytes of it are for appends; set \
                 memory.appends_bytes to give them another part of it",
                self.memory.of(budget::Name::Appends)
            ));
        }
        remarks
    }

    /// How many descriptors would be used, if there were enough.
    pub(crate) fn descriptors(&self) -> Descriptors {
        Descriptors {
            segments: self.open_segments,
            connections: self.max_connections,
        }
    }

    /// Uses no more descriptors than these.
    pub(crate) fn limit_descriptors(&mut self, most: Descriptors) {
        self.open_files = most.segments;
        self.max_connections = self.max_connections.min(most.connections);
    }

    /// The connection limit.
    pub(crate) fn connections(&self) -> usize {
        self.max_connections
    }

    /// Lowers the connection limit to `most`. The memory is shared by connections, administrators
    /// and calls over HTTP.
    pub(crate) fn limit_connections(&mut self, most: usize) {
        self.max_connections = self.max_connections.min(most);
        let holders = self.max_connections + server::ADMIN_CONNECTIONS + self.http_api.calls;
        self.memory = self.memory.for_holders(holders);
    }

    /// The options of the server.
    pub(crate) fn server(&self) -> server::Options {
        server::Options {
            max_connections: self.max_connections,
            handshake_timeout: Duration::from_millis(self.handshake_timeout_ms),
            request_timeout: Duration::from_millis(self.request_timeout_ms),
            drain: Duration::from_millis(self.drain_ms),
            stalled_read: Duration::from_millis(self.stalled_read_ms),
            backup_rate: self.backup_rate,
            measured: self.measured,
            http_api: self.http_api.clone(),
            tls: self.speaks_tls(),
            ..server::Options::default()
        }
    }
}
