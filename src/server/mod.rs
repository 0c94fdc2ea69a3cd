//! The gRPC server: adapters that convert a request, call one operation of the broker and convert
//! its answer.
//!
//! Nothing here decides anything about topics or records. Reading order: this page, the server's
//! life; `limits.rs`, bounds for clients; `calls.rs`, what all calls have in common; `auth/`, who
//! calls and what is allowed; `quotas/`, how much of it; `log/`, `entities/`, `groups/`,
//! `topics.rs`, `tokens.rs`, `broker.rs` and `administration.rs`, the services; `answers.rs` and
//! `reads.rs`, how records go out and which reads give way; `health.rs` and `reflection.rs`, the
//! services that gRPC tools expect; `status.rs`, errors; `traces/`, traces of calls; `turns.rs`,
//! queues for work that keeps a thread; `connections.rs`, which connections are served;
//! `certificates.rs`, the certificates for TLS; `admin.rs`, the socket for administrators;
//! `http2/`, one connection; `http/`, metrics, health and calls without gRPC.

mod admin;
mod administration;
mod answers;
mod auth;
mod backup;
mod blocking;
pub(crate) mod bounds;
mod broker;
mod calls;
mod certificates;
mod connections;
mod entities;
mod greeting;
mod groups;
mod health;
mod http;
mod http2;
mod import;
mod incoming;
mod intake;
pub(crate) mod limits;
mod link;
mod log;
mod notices;
mod peer;
mod places;
mod quotas;
mod reads;
mod reflection;
mod refusals;
mod status;
mod stop;
mod tally;
#[cfg(test)]
mod tests;
mod tokens;
mod topics;
pub(crate) mod traces;
mod turns;
mod unpacking;

use std::{
    future::{Future, pending},
    io,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::UnixStream,
    task::JoinSet,
    time::timeout,
};
use tokio_stream::Stream;
use tonic::service::{Routes, RoutesBuilder};
use tracing::{error, info, warn};

pub(crate) use self::{
    admin::AdminSocket,
    administration::Trial,
    auth::{
        Auth, CertificateName, CertificateNames, Exposure, Grant, Grants, JwtAlgorithm, JwtKeys,
        JwtRules, NamePattern, Operation, Operations, Principal,
    },
    certificates::{Certificates, TlsFiles},
    connections::tcp,
    http::Http,
    limits::{ADMIN_CONNECTIONS, HttpApi, Measured, Options, most_connections, waiting_threads},
    quotas::{Limits, Quota, Rule, Rules},
    traces::Share,
};
use self::{
    administration::AdminService,
    auth::{Authority, Identify},
    bounds::Configured,
    broker::{Backups, BrokerService},
    calls::Calls,
    connections::Connections,
    entities::EntitiesService,
    groups::GroupsService,
    health::HealthService,
    http::{Sources, v1::Api},
    intake::Intake,
    log::LogService,
    notices::Notices,
    peer::{Origin, Peers},
    reads::Reads,
    stop::Stopping,
    tally::Tallies,
    tokens::TokensService,
    topics::TopicsService,
    traces::Traces,
};
use crate::{
    broker::Broker,
    budget::{Held, Name},
    proto::{
        admin_server::AdminServer, broker_server::BrokerServer, entities_server::EntitiesServer,
        groups_server::GroupsServer, health::health_server::HealthServer, log_server::LogServer,
        tokens_server::TokensServer, topics_server::TopicsServer,
    },
};

/// How long a stop waits until the rest of the audit log is written.
const AUDIT_DRAIN: Duration = Duration::from_secs(2);

/// Serves a broker over gRPC.
pub(crate) struct Server {
    broker: Arc<Broker>,
    options: Options,
    admin: Option<AdminSocket>,
    auth: Arc<Auth>,
    http: Option<Http>,
    certificates: Option<Certificates>,
    trial: Option<Trial>,
    traces: Option<Traces>,
}

impl Server {
    pub(crate) fn new(broker: Arc<Broker>, options: Options) -> Self {
        Self {
            broker,
            options,
            admin: None,
            auth: Arc::default(),
            http: None,
            certificates: None,
            trial: None,
            traces: None,
        }
    }

    /// Traces calls, if that is asked for.
    pub(crate) fn traced(self, traces: Option<Traces>) -> Self {
        Self { traces, ..self }
    }

    /// Serves administrators on this socket too. Its name is removed when the server is told to
    /// stop.
    pub(crate) fn with_admin(self, admin: AdminSocket) -> Self {
        Self {
            admin: Some(admin),
            ..self
        }
    }

    /// Checks callers with `auth`. Without it, everybody may do everything.
    pub(crate) fn with_auth(self, auth: Arc<Auth>) -> Self {
        Self { auth, ..self }
    }

    /// Shows health and metrics over `http`, and takes calls there.
    pub(crate) fn seen_over(self, http: Http) -> Self {
        Self {
            http: Some(http),
            ..self
        }
    }

    /// Lets tests cut the power and move the clock, with `Trial`.
    pub(crate) fn on_trial(self, trial: Option<Trial>) -> Self {
        Self { trial, ..self }
    }

    /// Speaks TLS on the port, and nothing else, if certificates are given. The options must say
    /// so, too.
    pub(crate) fn with_tls(self, certificates: Option<Certificates>) -> Self {
        Self {
            certificates,
            ..self
        }
    }

    /// Serves incoming connections until `shutdown` resolves, and then drains: new connections are
    /// not accepted, reads that follow are ended, and other calls may finish within
    /// [`Options::drain`], unless their clients do not read.
    ///
    /// The caller closes the broker. Dropping the future cuts every connection at once.
    pub(crate) async fn run<IO>(
        mut self,
        incoming: impl Stream<Item = io::Result<IO>> + Send + 'static,
        shutdown: impl Future<Output = ()>,
    ) where
        IO: AsyncRead + AsyncWrite + Origin + Unpin + Send + 'static,
    {
        let (stop, stopping) = stop::channel();
        let (reporter, health) = health::channel();

        let notices = Arc::new(Notices::default());
        let intake = Intake::new(
            Arc::clone(self.broker.budget().part(Name::Requests)),
            self.options.request_timeout,
            Arc::clone(&notices),
        );
        let tallies = Tallies::new();
        let reads = Reads::new(
            self.broker.budget().part(Name::Reads),
            Arc::clone(&notices),
            self.options.stalled_read,
        );
        let mut writing = self.write_audit_log();
        let authority = Authority::new(Arc::clone(&self.auth), Arc::clone(&self.broker));
        let routes = self.routes(health, &reads, Arc::clone(&notices), &stopping, &tallies);
        let services = Identify::new(routes.prepare(), Arc::new(authority), Arc::clone(&notices));
        let service = self.calls(services.clone(), intake.clone(), tallies.clone());
        let _counted = self.count_traces();
        let peers = Peers::new(
            self.broker.budget(),
            Some(&self.broker),
            &tallies.connections,
            &self.options,
        );
        let over_http = peers.over_http();
        let called = (service.clone(), services);
        let api = Api::new(called, over_http, intake, &self.options, &stopping);
        self.be_seen(&tallies, &reads, api);
        let mut administrators = Connections::of_administrators(
            service.clone(),
            peers.beside(&tallies.administrators),
            self.broker.system_clock(),
            &self.options,
            stopping.clone(),
        );
        let mut connections = Connections::new(
            service,
            peers,
            self.broker.system_clock(),
            &self.options,
            notices,
            stopping,
        );
        let certificates = self.certificates.take();
        connections = connections.with_tls(certificates.as_ref().map(Certificates::acceptor));
        let admin = administrators_of(self.admin.take());

        let told_to_stop = async {
            tokio::pin!(shutdown);
            tokio::select! {
                cause = self.broker.failed() => {
                    error!(%cause, "storage has failed; the broker does not serve any more");
                    reporter.does_not_serve();
                    shutdown.await;
                }
                () = &mut shutdown => reporter.does_not_serve(),
            }
            if let Some(http) = &self.http {
                http.stops();
            }
            stop.give();
            // Streams that watch the health have been told by now, and would otherwise be waited
            // for.
            drop(reporter);
        };
        let taken = async {
            tokio::join!(
                connections.take(incoming),
                administrators.take(admin),
                told_to_stop
            )
        };
        tokio::select! {
            _ = taken => {}
            () = watch(certificates) => {}
        }

        let calls = self.http_calls_ended();
        let ended = async { tokio::join!(connections.ended(), administrators.ended(), calls) };
        match timeout(self.options.drain, ended).await {
            Ok(_) => info!("all connections are closed"),
            Err(_) => {
                warn!(
                    "calls were still under way when the time to drain was over; they are cut off"
                );
            }
        }
        self.auth.trail().close();
        timeout(AUDIT_DRAIN, writing.join_next()).await.ok();
    }

    /// Counts the memory of traces until the returned value is dropped.
    fn count_traces(&self) -> Option<Held> {
        let traces = self.traces.as_ref()?;
        Some(traces.count(self.broker.budget()))
    }

    /// What is the same for every call.
    fn calls<S>(&self, services: S, intake: Intake, tallies: Tallies) -> Calls<S> {
        let calls = Calls::new(services, intake, tallies);
        let calls = calls.logged(self.broker.system_clock());
        calls.traced(self.traces.clone())
    }

    /// Writes the audit log to its topic, if it has one, until the returned value is dropped.
    fn write_audit_log(&self) -> JoinSet<()> {
        let mut writing = JoinSet::new();
        let (auth, broker) = (Arc::clone(&self.auth), Arc::clone(&self.broker));
        let told = auth.trail().open();
        writing.spawn(async move { auth.trail().write(told, broker).await });
        writing
    }

    /// Shows health and metrics over HTTP, and takes calls there.
    fn be_seen(&self, tallies: &Tallies, reads: &Reads, api: Api) {
        if let Some(http) = &self.http {
            let sources = Sources {
                broker: Arc::clone(&self.broker),
                tallies: tallies.clone(),
                reads: reads.clone(),
                max_connections: self.max_connections(),
                measured: self.options.measured,
                auth: Arc::clone(&self.auth),
                traces: self.traces.clone(),
                http_calls: self.options.http_api.calls,
                tls: self.certificates.as_ref().map(Certificates::acceptor),
            };
            http.serves(sources, api);
        }
    }

    async fn http_calls_ended(&self) {
        if let Some(http) = &self.http {
            http.ended().await;
        }
    }

    /// The connection limit of the port.
    fn max_connections(&self) -> usize {
        let windows = self.broker.budget().part(Name::Windows);
        let most = most_connections(windows.bound(), self.options.tls);
        self.options.max_connections.min(most)
    }

    /// The settings that limits depend on.
    fn configured(&self) -> Configured {
        let producers = self.broker.producer_limits();
        let catalog = self.broker.budget().part(Name::Catalog).bound();
        Configured::of(&self.options, self.max_connections(), producers, catalog)
    }

    fn routes(
        &self,
        health: HealthService,
        reads: &Reads,
        notices: Arc<Notices>,
        stopping: &Stopping,
        tallies: &Tallies,
    ) -> Routes {
        let log = LogService::new(
            Arc::clone(&self.broker),
            reads.clone(),
            notices,
            stopping.clone(),
        );
        let topics = TopicsService::new(Arc::clone(&self.broker));
        let entities = EntitiesService::new(Arc::clone(&self.broker), reads.clone());
        let groups = GroupsService::new(Arc::clone(&self.broker), reads.clone(), stopping.clone());
        let tokens = TokensService::new(Arc::clone(&self.broker));
        let broker = BrokerService::new(
            Arc::clone(&self.broker),
            tallies.clone(),
            &self.configured(),
            Backups {
                reads: reads.clone(),
                stopping: stopping.clone(),
                rate: self.options.backup_rate,
            },
        );

        let admin = AdminService::new(
            Arc::clone(&self.broker),
            self.trial.clone(),
            stopping.clone(),
        );

        let mut routes = RoutesBuilder::default();
        routes
            // The intake has checked the sizes of messages, with different limits for different
            // calls.
            .add_service(LogServer::new(log).max_decoding_message_size(usize::MAX))
            .add_service(TopicsServer::new(topics).max_decoding_message_size(usize::MAX))
            .add_service(EntitiesServer::new(entities).max_decoding_message_size(usize::MAX))
            .add_service(GroupsServer::new(groups).max_decoding_message_size(usize::MAX))
            .add_service(BrokerServer::new(broker).max_decoding_message_size(usize::MAX))
            .add_service(TokensServer::new(tokens).max_decoding_message_size(usize::MAX))
            .add_service(AdminServer::new(admin).max_decoding_message_size(usize::MAX))
            .add_service(HealthServer::new(health))
            .add_service(reflection::v1())
            .add_service(reflection::v1_alpha());
        routes.routes()
    }
}

/// The incoming connections of the administrators' socket, if there is one.
fn administrators_of(
    socket: Option<AdminSocket>,
) -> Pin<Box<dyn Stream<Item = io::Result<UnixStream>> + Send>> {
    match socket {
        Some(socket) => Box::pin(socket),
        None => Box::pin(tokio_stream::empty()),
    }
}

/// Watches the certificate files for ever, if there are any.
async fn watch(certificates: Option<Certificates>) {
    match certificates {
        Some(certificates) => certificates.watch().await,
        None => pending().await,
    }
}
