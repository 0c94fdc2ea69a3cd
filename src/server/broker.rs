//! `taffrail.v1.Broker`.

use std::sync::Arc;

use tonic::{Request, Response, Status, async_trait};

use crate::{
    broker::{Broker, ClockReading},
    proto::{
        AcceptClockRequest, AcceptClockResponse, Clock, GetClockRequest, GetClockResponse,
        broker_server,
    },
};

pub(super) struct BrokerService {
    broker: Arc<Broker>,
}

impl BrokerService {
    pub(super) fn new(broker: Arc<Broker>) -> Self {
        Self { broker }
    }
}

#[async_trait]
impl broker_server::Broker for BrokerService {
    async fn get_clock(
        &self,
        _: Request<GetClockRequest>,
    ) -> Result<Response<GetClockResponse>, Status> {
        Ok(Response::new(GetClockResponse {
            clock: Some(clock(&self.broker.clock())),
        }))
    }

    async fn accept_clock(
        &self,
        _: Request<AcceptClockRequest>,
    ) -> Result<Response<AcceptClockResponse>, Status> {
        Ok(Response::new(AcceptClockResponse {
            clock: Some(clock(&self.broker.accept_clock())),
        }))
    }
}

fn clock(reading: &ClockReading) -> Clock {
    let followed_in = reading
        .followed_in
        .map(|followed_in| followed_in.as_millis());
    Clock {
        now_ms: reading.now_ms,
        wall_ms: reading.wall_ms,
        followed_in_ms: followed_in.map(|ms| u64::try_from(ms).unwrap_or(u64::MAX)),
    }
}
