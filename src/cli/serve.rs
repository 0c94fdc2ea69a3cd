//! `taffrail serve`: a broker with its server, until it is told to stop or its disk fails.

use std::{
    future::{pending, poll_fn},
    io,
    path::Path,
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
    task::{JoinHandle, spawn_blocking},
    time::interval,
};
use tracing::{info, warn};

use super::{
    Failure, ephemeral,
    flags::ServeFlags,
    listening::{self, Addresses, Listeners},
    logging,
    otlp::{self, Exporting},
    parent,
    reload::Watched,
    supervisor::Supervisor,
    version,
};
use crate::{
    broker::{Broker, Error},
    budget,
    config::{self, Config, Descriptors, Sources},
    env::{
        Clock, Env, FileSystem, Parent, memory_bytes, raise_open_files_limit, read_all,
        set_up_heap, trim_heap,
    },
    server::{self, AdminSocket, Auth, Certificates, Http, JwtKeys, Server, Trial, traces::Traces},
};

/// After how many polled tasks a thread looks for I/O events. Polling a busy connection takes up to
/// a few hundred microseconds.
const EVENT_INTERVAL: u32 = 8;

/// How often free memory is returned to the system. A busy broker needs some of it again at once,
/// so it should not be much more often.
const TRIM_EVERY: Duration = Duration::from_secs(10);

pub(super) fn run(flags: &ServeFlags) -> Result<(), Failure> {
    let started_by = Parent::find();
    set_up_heap();
    let env = Env::system();
    let file = read(flags).inspect_err(|_| logging::prepare(flags, None))?;
    logging::prepare(flags, file.as_ref());
    let loaded = load(flags, file.as_ref())?;
    let mut config = loaded.config;
    if flags.ephemeral {
        config.keep_nothing();
    }
    logging::start(&config)?;
    match flags.ephemeral {
        true => info!("taffrail {} starts, with its data in memory", version::TEXT),
        false => info!(
            "taffrail {} starts, with its data in {}",
            version::TEXT,
            config.data_dir.display()
        ),
    }
    for variable in loaded.unknown_variables {
        warn!("environment variable {variable} is not a setting and has no effect");
    }

    let certificates = certificates(&config, &loaded.sources, &env)?;
    let jwt = jwt_keys(&config, &loaded.sources, &env)?;
    divide_descriptors(&mut config, raise_open_files_limit());
    divide_memory(&mut config)?;

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // Each has a stack of 2 MiB, of which little is ever used.
        .max_blocking_threads(server::waiting_threads())
        .event_interval(EVENT_INTERVAL)
        .build();
    let runtime =
        runtime.map_err(|error| Failure::Unusable(format!("cannot start threads: {error}")))?;
    runtime.spawn(trim_now_and_then());
    let auth = Auth::new(config.grants().clone(), config.exposure());
    let auth = auth.with_certificates(config.certificates().clone());
    let auth = auth.with_quotas(config.quotas().clone());
    let auth = auth.with_audit_topic(config.audit_topic().cloned());
    let auth = Arc::new(auth.with_issuer(jwt.as_ref().map(JwtKeys::issuer)));
    if let Some(jwt) = jwt {
        runtime.spawn(jwt.watch());
    }
    let clock = Arc::clone(&env.clock);
    runtime.spawn(Watched::new(flags.clone(), Arc::clone(&auth), clock, file).watch());
    let result = runtime.block_on(async {
        match flags.ephemeral {
            true => ephemeral::serve(config, auth, certificates, started_by).await,
            false => {
                let ends_with = Some(started_by).filter(|_| flags.with_parent);
                serve(config, env, auth, certificates, ends_with).await
            }
        }
    });
    // Reads that nobody waits for any more, for example from a slow disk, are not waited for.
    runtime.shutdown_background();
    result
}

async fn trim_now_and_then() {
    let mut period = interval(TRIM_EVERY);
    loop {
        period.tick().await;
        // If the thread panics, it is tried again later.
        spawn_blocking(trim_heap).await.ok();
    }
}

/// Lowers the limits of files and connections to what the process's descriptors allow.
fn divide_descriptors(config: &mut Config, limit: u64) {
    let wanted = config.descriptors();
    let calls = config.limit_http_calls(limit) as u64;
    let divided = Descriptors::divide(limit.saturating_sub(calls), wanted);
    let Descriptors {
        segments,
        connections,
    } = divided;
    if divided == wanted {
        info!(
            "this process may have {limit} files and sockets open: {segments} segments that are \
            written to, {connections} connections"
        );
    } else {
        warn!(
            "this process may have only {limit} files and sockets open: {segments} segments that \
            are written to and {connections} connections, not {} and {} as \
            memory.open_segments and server.max_connections say; raise the limit (ulimit -n)",
            wanted.segments, wanted.connections
        );
    }
    config.limit_descriptors(divided);
}

/// Divides the memory among its parts, and logs the sizes.
fn divide_memory(config: &mut Config) -> Result<(), Failure> {
    let machine = memory_bytes();
    let sizes = *config.divide_memory(machine)?;
    let parts: Vec<String> = budget::Name::ALL
        .iter()
        .map(|part| format!("{} {}", part.as_str(), mebibytes(sizes.of(*part))))
        .collect();
    info!(
        "this process may use {} of memory (memory.bytes): {}",
        mebibytes(sizes.whole()),
        parts.join(", ")
    );
    let windows = sizes.of(budget::Name::Windows);
    for remark in config.remarks_on_memory(machine) {
        warn!("{remark}");
    }
    let (wanted, most) = (
        config.connections(),
        server::most_connections(windows, config.speaks_tls()),
    );
    if most < wanted {
        warn!(
            "the memory for windows is enough for {most} connections, not {wanted} as \
            server.max_connections says; raise memory.bytes or memory.windows_bytes"
        );
    }
    config.limit_connections(most);
    Ok(())
}

fn mebibytes(bytes: usize) -> String {
    format!("{} MiB", bytes >> 20)
}

/// The certificates, if TLS is configured.
fn certificates(
    config: &Config,
    sources: &Sources,
    env: &Env,
) -> Result<Option<Certificates>, Failure> {
    let Some(files) = config.tls(sources)? else {
        return Ok(None);
    };
    let loaded = Certificates::load(env.clone(), files);
    loaded.map(Some).map_err(|unusable| {
        let setting = config::setting_of(unusable.file);
        let source = sources.of(setting).unwrap_or("by default");
        Failure::Unusable(format!("{source}: {setting}: {unusable}"))
    })
}

/// The keys of the JWT issuer, if JWTs are accepted.
fn jwt_keys(config: &Config, sources: &Sources, env: &Env) -> Result<Option<JwtKeys>, Failure> {
    let Some(rules) = config.jwt(sources)? else {
        return Ok(None);
    };
    let loaded = JwtKeys::load(env, rules);
    loaded.map(Some).map_err(|unusable| {
        let source = sources.of("jwt.keys").unwrap_or("by default");
        Failure::Unusable(format!("{source}: jwt.keys: {unusable}"))
    })
}

/// A configuration file: its name and its text.
pub(super) type ConfigFile = (String, String);

/// Reads the configuration file, if the flags name one.
pub(super) fn read(flags: &ServeFlags) -> Result<Option<ConfigFile>, Failure> {
    flags.config.as_deref().map(read_config).transpose()
}

/// Loads the settings from the file, the environment and the flags.
pub(super) fn load(
    flags: &ServeFlags,
    file: Option<&ConfigFile>,
) -> Result<config::Loaded, Failure> {
    let file = file.map(|(name, text)| (name.as_str(), text.as_str()));
    let given = [
        ("data_dir", flags.data_dir.clone()),
        ("listen", flags.listen.clone()),
        ("http.listen", flags.http_listen.clone()),
        ("insecure", flags.insecure.then(|| "true".to_owned())),
        ("tls.certificate", flags.tls_certificate.clone()),
        ("tls.key", flags.tls_key.clone()),
        ("tls.client_ca", flags.tls_client_ca.clone()),
        ("log.format", flags.log_format.clone()),
        ("log.level", flags.log_level.clone()),
    ];
    let given: Vec<_> = given
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect();
    let mut base = Config::default();
    if flags.ephemeral {
        base = Config::ephemeral();
    }
    Ok(base.load(file, config::variables(), &given)?)
}

fn read_config(path: &Path) -> Result<ConfigFile, Failure> {
    let name = path.display().to_string();
    let problem = |problem: &str| {
        Failure::Unusable(format!("cannot read the configuration {name}: {problem}"))
    };
    let bytes = read_all(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => problem("there is no such file"),
        _ => problem(&error.to_string()),
    })?;
    let text = String::from_utf8(bytes).map_err(|_| problem("it is not UTF-8"))?;
    Ok((name, text))
}

/// Serves a broker on this disk until it is told to stop, its storage fails, or the parent process
/// that it ends with, if there is one, has ended.
pub(super) async fn serve(
    config: Config,
    env: Env,
    auth: Arc<Auth>,
    certificates: Option<Certificates>,
    ends_with: Option<Parent>,
) -> Result<(), Failure> {
    let clock = Arc::clone(&env.clock);
    let mut serving = Serving::begin(config, clock, auth, certificates).await?;
    serving.signals.ends_with = ends_with;
    serving.run(env, None, pending()).await.map(drop)
}

/// How a broker has ended.
pub(super) enum Ended {
    /// It was told to stop, and was closed.
    Stopped,
    /// Its power was cut (`Admin.Crash`). Only its own threads are still running.
    Cut(Arc<Broker>),
}

/// What outlives an ephemeral broker whose power is cut, for the next one.
pub(super) struct Serving {
    config: Config,
    auth: Arc<Auth>,
    certificates: Option<Certificates>,
    signals: Signals,
    /// The port for calls; `None` while the running broker owns it and closes it with itself.
    calls: Option<TcpListener>,
    addresses: Addresses,
    http: Http,
    traces: Option<(Traces, Exporting)>,
    supervisor: Supervisor,
    is_announced: bool,
}

impl Serving {
    /// Opens the ports before the data directory is recovered, so that early clients wait instead
    /// of being refused, and health can be asked for.
    pub(super) async fn begin(
        config: Config,
        clock: Arc<dyn Clock>,
        auth: Arc<Auth>,
        certificates: Option<Certificates>,
    ) -> Result<Self, Failure> {
        let signals = Signals::listen()?;
        let listeners = Listeners::bind(&config).await?;
        let addresses = listeners.addresses()?;
        let http_tls = addresses
            .http
            .filter(|address| config.speaks_tls_at(*address));
        let http_tls = http_tls.and(certificates.as_ref().map(Certificates::acceptor));
        let http = Http::new(Arc::clone(&clock), config.http_api()).with_tls(http_tls);
        let traces = otlp::begin(config.telemetry(), clock, Env::system().random)?;
        if let Some(listener) = listeners.http {
            // It runs until the process ends.
            tokio::spawn(http.clone().serve(server::tcp(listener)));
        }
        Ok(Self {
            config,
            auth,
            certificates,
            signals,
            calls: Some(listeners.calls),
            addresses,
            http,
            traces,
            supervisor: Supervisor::find(),
            is_announced: false,
        })
    }

    /// Opens a broker and serves it until it is told to stop, its storage fails, or `cut` resolves,
    /// which only happens for an ephemeral one.
    pub(super) async fn run(
        &mut self,
        env: Env,
        trial: Option<Trial>,
        cut: impl Future<Output = ()>,
    ) -> Result<Ended, Failure> {
        let files = Arc::clone(&env.files);
        let broker = open(self.config.broker(), env).await?;
        let mut server = Server::new(Arc::clone(&broker), self.config.server())
            .with_auth(Arc::clone(&self.auth))
            .seen_over(self.http.clone())
            .traced(self.traces.as_ref().map(|(traces, _)| traces.clone()))
            .with_tls(self.certificates.clone());
        if trial.is_none()
            && let Some(admin) = listen_to_administrators(files, &self.config.data_dir)
        {
            server = server.with_admin(admin);
        }
        let is_ephemeral = trial.is_some();
        let listener = self.listener(is_ephemeral)?;
        let mut watching = None;
        let server = server.on_trial(trial);
        let served = self.serve(server, listener, (&broker, &mut watching), is_ephemeral);
        let ended = tokio::select! {
            biased;
            () = cut => None,
            failure = served => Some(failure?),
        };
        // Both must let go of the broker before it is closed.
        match ended {
            None => self.http.starts_again(),
            Some(_) => self.http.let_go(),
        }
        if let Some(watching) = watching {
            watching.abort();
            watching.await.ok();
        }
        match ended {
            None => Ok(Ended::Cut(broker)),
            Some(None) => {
                let closed = close(broker).await;
                if let Some((_, exporting)) = self.traces.take() {
                    exporting.end().await;
                }
                closed.map(|()| Ended::Stopped)
            }
            Some(Some(reason)) => Err(storage_failed(&reason)),
        }
    }

    /// The port for calls. If it is to `stay`, it is kept open when the broker ends.
    fn listener(&mut self, stay: bool) -> Result<TcpListener, Failure> {
        let listener = self
            .calls
            .take()
            .expect("a broker that cannot be cut is the last");
        if stay {
            let twin = listening::twin(&listener)?;
            self.calls = Some(twin);
        }
        Ok(listener)
    }

    /// Serves until the broker is told to stop or its storage fails, and returns the reason if it
    /// fails. The first time, it announces the ports.
    async fn serve(
        &mut self,
        server: Server,
        listener: TcpListener,
        (broker, watching): (&Arc<Broker>, &mut Option<JoinHandle<()>>),
        is_ephemeral: bool,
    ) -> Result<Option<String>, Failure> {
        let Self {
            config,
            signals,
            addresses,
            supervisor,
            is_announced,
            ..
        } = self;
        let failed = broker.failed();
        let mut failure = None;
        let (stop, told_to_stop) = oneshot::channel();
        let ending = async {
            tokio::select! {
                reason = failed => failure = Some(reason),
                _ = told_to_stop => {
                    info!("told to stop; finishing what is under way");
                    supervisor.stopping();
                }
            }
        };
        let told_again = async {
            signals.next().await;
            // Nobody receives this if the disk has failed.
            stop.send(()).ok();
            signals.next().await;
        };
        {
            let mut serving = pin!(server.run(server::tcp(listener), ending));
            // Polled once, the server reports over HTTP that it is ready. So that is true before
            // the ports are announced.
            let begun = poll_fn(|cx| Poll::Ready(serving.as_mut().poll(cx))).await;
            if !std::mem::replace(is_announced, true) {
                match is_ephemeral {
                    true => addresses.announce_ephemeral(config)?,
                    false => addresses.announce(config),
                }
                supervisor.ready();
            }
            *watching = supervisor.watch(Arc::clone(broker));
            if begun.is_pending() {
                tokio::select! {
                    () = serving => {}
                    () = told_again => {
                        warn!("told to stop again; what is still under way is cut off");
                    }
                }
            }
        }
        Ok(failure)
    }
}

/// Opens the administrators' socket. A broker that cannot open it serves nevertheless.
fn listen_to_administrators(files: Arc<dyn FileSystem>, data_dir: &Path) -> Option<AdminSocket> {
    let path = AdminSocket::path(data_dir);
    match AdminSocket::listen(files, data_dir) {
        Ok(admin) => {
            info!("administrators can connect at unix:{}", path.display());
            Some(admin)
        }
        Err(error) => {
            warn!(
                "there is no socket for administrators at {}: {error}; they have to use the port, \
                while there is a place for them",
                path.display()
            );
            None
        }
    }
}

async fn open(options: crate::broker::Options, env: Env) -> Result<Arc<Broker>, Failure> {
    let opened = spawn_blocking(move || Broker::open(env, options)).await;
    let opened = opened.map_err(|panic| {
        Failure::Unusable(format!("the data directory cannot be opened: {panic}"))
    })?;
    opened.map_err(|error| Failure::Unusable(error.to_string()))
}

async fn close(broker: Arc<Broker>) -> Result<(), Failure> {
    let closed = spawn_blocking(move || broker.close()).await;
    match closed {
        Ok(closed) => stopped(closed),
        Err(panic) => Err(storage_failed(&panic.to_string())),
    }
}

/// The result of closing a broker, for the exit code. On a full disk nothing is lost: only a
/// checkpoint is missing that would make the next start faster.
pub(super) fn stopped(closed: Result<(), Error>) -> Result<(), Failure> {
    match closed {
        Ok(()) => {
            info!("stopped");
            Ok(())
        }
        Err(Error::DiskFull(shortage)) => {
            warn!(
                "stopped on a full disk: {shortage}; nothing is lost, and the next start reads from the journal what \
                 found no room in segments"
            );
            Ok(())
        }
        Err(error) => Err(storage_failed(&error.to_string())),
    }
}

fn storage_failed(reason: &str) -> Failure {
    Failure::Storage(format!(
        "storage has failed: {reason}; what was acknowledged is on the disk: check it, then start again to recover"
    ))
}

/// The signals SIGTERM and SIGINT, and the end of the parent process that the broker ends with.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    ends_with: Option<Parent>,
}

impl Signals {
    fn listen() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind)
                .map_err(|error| Failure::Unusable(format!("cannot wait for signals: {error}")))
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            ends_with: None,
        })
    }

    /// Resolves at the next of the two signals.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            () = ended(self.ends_with) => self.ends_with = None,
        }
    }
}

async fn ended(parent: Option<Parent>) {
    match parent {
        Some(parent) => parent::ended(parent).await,
        None => pending().await,
    }
}
