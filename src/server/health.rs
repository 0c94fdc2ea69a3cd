//! `grpc.health.v1.Health`: whether the broker serves, for load balancers and the like.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::sync::watch;
use tokio_stream::{Stream, wrappers::WatchStream};
use tonic::{Request, Response, Status, async_trait};

use super::status;
use crate::proto::health::{
    HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
    health_check_response::ServingStatus, health_server::Health,
};

/// The service names that can be asked for; the empty name stands for the whole broker.
const NAMES: [&str; 5] = [
    "",
    "taffrail.v1.Log",
    "taffrail.v1.Topics",
    "taffrail.v1.Entities",
    "taffrail.v1.Broker",
];

/// Reports whether the broker serves. Dropping it ends the streams of watchers.
pub(super) struct Reporter(watch::Sender<ServingStatus>);

pub(super) struct HealthService(watch::Receiver<ServingStatus>);

/// A reporter and its service. The broker serves until reported otherwise.
pub(super) fn channel() -> (Reporter, HealthService) {
    let (sender, receiver) = watch::channel(ServingStatus::Serving);
    (Reporter(sender), HealthService(receiver))
}

impl Reporter {
    pub(super) fn does_not_serve(&self) {
        self.0.send_replace(ServingStatus::NotServing);
    }
}

impl HealthService {
    fn now(&self) -> HealthCheckResponse {
        response(*self.0.borrow())
    }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse {
        status: status.into(),
    }
}

#[async_trait]
impl Health for HealthService {
    type WatchStream = Watch;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let service = request.into_inner().service;
        if !NAMES.contains(&&*service) {
            return Err(status::unknown_service(&service));
        }
        Ok(Response::new(self.now()))
    }

    async fn list(
        &self,
        _: Request<HealthListRequest>,
    ) -> Result<Response<HealthListResponse>, Status> {
        let now = self.now();
        let statuses = NAMES.map(|name| (name.to_owned(), now));
        Ok(Response::new(HealthListResponse {
            statuses: statuses.into(),
        }))
    }

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Watch>, Status> {
        Ok(Response::new(Watch {
            changes: WatchStream::new(self.0.clone()),
            is_known: NAMES.contains(&&*request.into_inner().service),
            told: false,
        }))
    }
}

/// The responses of a `Watch`.
pub(crate) struct Watch {
    changes: WatchStream<ServingStatus>,
    is_known: bool,
    /// Whether the client was told that the name is unknown; no changes follow then.
    told: bool,
}

impl Stream for Watch {
    type Item = Result<HealthCheckResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let Some(status) = ready!(Pin::new(&mut self.changes).poll_next(cx)) else {
                return Poll::Ready(None);
            };
            if self.is_known {
                return Poll::Ready(Some(Ok(response(status))));
            }
            if !self.told {
                self.told = true;
                return Poll::Ready(Some(Ok(response(ServingStatus::ServiceUnknown))));
            }
        }
    }
}
