//! The gRPC server: adapters that convert a request, call one operation of the broker and convert
//! its answer.
//!
//! Nothing here decides anything about topics or records. Reading order: this page, the server's
//! life; `limits.rs`, what a client may take; `log/`, `entities/` and `topics.rs`, the services;
//! `status.rs`, how errors are told; `connections.rs`, who is served; `http2/`, one connection.

mod blocking;
mod connections;
mod entities;
mod greeting;
mod http2;
mod intake;
pub(crate) mod limits;
mod log;
mod notices;
mod status;
mod stop;
#[cfg(test)]
mod tests;
mod topics;

use std::{future::Future, io, sync::Arc};

use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_stream::Stream;
use tonic::{
    Status,
    body::Body,
    service::{Routes, RoutesBuilder},
};
use tonic_health::{ServingStatus, server::HealthReporter};
use tower::ServiceBuilder;
use tracing::{error, info, warn};

use self::{
    connections::Connections, entities::EntitiesService, intake::Intake, log::LogService,
    stop::Stopping, topics::TopicsService,
};
pub(crate) use self::{connections::tcp, limits::Options};
use crate::{
    broker::Broker,
    proto::{
        DESCRIPTORS, entities_server::EntitiesServer, log_server::LogServer,
        topics_server::TopicsServer,
    },
};

/// The names that `grpc.health.v1` knows; the empty one stands for the whole server.
const HEALTH_NAMES: [&str; 4] = [
    "",
    "taffrail.v1.Log",
    "taffrail.v1.Topics",
    "taffrail.v1.Entities",
];

/// Serves a broker over gRPC.
pub(crate) struct Server {
    broker: Arc<Broker>,
    options: Options,
}

impl Server {
    pub(crate) fn new(broker: Arc<Broker>, options: Options) -> Self {
        Self { broker, options }
    }

    /// Serves the connections that come in until `shutdown` resolves, then drains: no more
    /// connections are taken, following reads are ended, other calls under way may finish within
    /// [`Options::drain`], unless their clients do not read.
    ///
    /// Closing the broker is the caller's business. Dropping the future cuts every connection at
    /// once.
    pub(crate) async fn run<IO>(
        self,
        incoming: impl Stream<Item = io::Result<IO>> + Send + 'static,
        shutdown: impl Future<Output = ()>,
    ) where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (stop, stopping) = stop::channel();
        let health = HealthReporter::new();
        report(&health, ServingStatus::Serving).await;

        let intake = Intake::new(limits::INTAKE_BYTES);
        let service = ServiceBuilder::new()
            .map_response(explain_undecoded)
            .map_request(move |request: Request<Body>| intake.meter(request))
            .service(self.routes(&health, &stopping).prepare());
        let mut connections = Connections::new(service, &self.options, stopping);

        let told_to_stop = async {
            tokio::pin!(shutdown);
            tokio::select! {
                cause = self.broker.failed() => {
                    error!(%cause, "storage has failed; the broker does not serve any more");
                    report(&health, ServingStatus::NotServing).await;
                    shutdown.await;
                }
                () = &mut shutdown => report(&health, ServingStatus::NotServing).await,
            }
            stop.give();
            end_watches(&health).await;
        };
        tokio::join!(connections.take(incoming), told_to_stop);

        match tokio::time::timeout(self.options.drain, connections.ended()).await {
            Ok(()) => info!("all connections are closed"),
            Err(_) => {
                warn!(
                    "calls were still under way when the time to drain was over; they are cut off"
                );
            }
        }
    }

    fn routes(&self, health: &HealthReporter, stopping: &Stopping) -> Routes {
        let log = LogService::new(Arc::clone(&self.broker), stopping.clone());
        let topics = TopicsService::new(Arc::clone(&self.broker));
        let entities = EntitiesService::new(Arc::clone(&self.broker));
        let health = tonic_health::server::HealthService::from_health_reporter(health.clone());

        let mut routes = RoutesBuilder::default();
        routes
            // The intake has looked at sizes already, call by call.
            .add_service(LogServer::new(log).max_decoding_message_size(usize::MAX))
            .add_service(TopicsServer::new(topics).max_decoding_message_size(usize::MAX))
            .add_service(EntitiesServer::new(entities).max_decoding_message_size(usize::MAX))
            .add_service(tonic_health::pb::health_server::HealthServer::new(health))
            .add_service(reflection().build_v1().expect("our descriptors are valid"))
            .add_service(
                reflection()
                    .build_v1alpha()
                    .expect("our descriptors are valid"),
            );
        routes.routes()
    }
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

async fn report(health: &HealthReporter, status: ServingStatus) {
    for name in HEALTH_NAMES {
        health.set_service_status(name, status).await;
    }
}

/// Ends the streams that watch the server's health, which would be waited for otherwise. They have
/// been told the last status, and on a connection that is being drained nobody asks for another.
async fn end_watches(health: &HealthReporter) {
    let mut health = health.clone();
    for name in HEALTH_NAMES {
        health.clear_service_status(name).await;
    }
}

/// Says more precisely what was wrong with a request that the transport could not decode.
fn explain_undecoded(response: Response<Body>) -> Response<Body> {
    match Status::from_header_map(response.headers()) {
        Some(status) if status.details().is_empty() => status::of_undecoded(status).into_http(),
        _ => response,
    }
}
