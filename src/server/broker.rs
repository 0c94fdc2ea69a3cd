//! `taffrail.v1.Broker`.

use std::sync::Arc;

use tonic::{Request, Response, Status, async_trait};

use crate::{
    broker::{Broker, ClockReading, Error, ListedProducer, WhichProducer},
    proto::{
        AcceptClockRequest, AcceptClockResponse, Clock, ForgetProducerRequest,
        ForgetProducerResponse, GetClockRequest, GetClockResponse, KnownProducer,
        ListProducersRequest, ListProducersResponse, broker_server, forget_producer_request,
    },
    types::{ProducerId, limits::MAX_PRODUCERS_PER_PAGE},
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

    async fn list_producers(
        &self,
        request: Request<ListProducersRequest>,
    ) -> Result<Response<ListProducersResponse>, Status> {
        let ListProducersRequest {
            name,
            page_size,
            after,
        } = request.into_inner();
        let (listed, more) = match name.is_empty() {
            true => self
                .broker
                .list_producers(ProducerId(after), page(page_size)),
            false => {
                let mut named = Vec::from_iter(self.broker.producer_named(&name));
                named.retain(|one| one.producer.id.0 > after);
                (named, false)
            }
        };
        Ok(Response::new(ListProducersResponse {
            producers: listed.into_iter().map(producer).collect(),
            more,
        }))
    }

    async fn forget_producer(
        &self,
        request: Request<ForgetProducerRequest>,
    ) -> Result<Response<ForgetProducerResponse>, Status> {
        let which = which(request.into_inner().producer)?;
        let forgotten = self.broker.forget_producer(&which)?.await?;
        Ok(Response::new(ForgetProducerResponse {
            producer: Some(producer(forgotten)),
        }))
    }
}

fn page(size: u32) -> usize {
    match usize::try_from(size) {
        Ok(0) | Err(_) => MAX_PRODUCERS_PER_PAGE,
        Ok(size) => size.min(MAX_PRODUCERS_PER_PAGE),
    }
}

fn which(asked: Option<forget_producer_request::Producer>) -> Result<WhichProducer, Error> {
    use forget_producer_request::Producer;
    match asked {
        Some(Producer::Id(id)) => Ok(WhichProducer::Id(ProducerId(id))),
        Some(Producer::Name(name)) if !name.is_empty() => Ok(WhichProducer::Name(name)),
        _ => Err(Error::MalformedRequest {
            reason: "it names no producer: give its name or its id".to_owned(),
        }),
    }
}

fn producer(listed: ListedProducer) -> KnownProducer {
    KnownProducer {
        id: listed.producer.id.0,
        epoch: listed.producer.epoch,
        name: listed.name,
        idle_ms: u64::try_from(listed.idle.as_millis()).unwrap_or(u64::MAX),
        partitions: listed.partitions,
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
