//! `taffrail.v1.Broker`.

use std::sync::Arc;

use tonic::{Request, Response, Status, Streaming, async_trait};

use super::{
    answers::{Elsewhere, respond},
    auth::{access, permit},
    backup::{self, BackupAnswers, Had, Limits},
    blocking::blocking,
    bounds::{self, Bound, Configured},
    incoming::Incoming,
    limits::{ADMIN_CONNECTIONS, BACKUP_PATIENCE},
    peer,
    reads::Reads,
    stop::Stopping,
    tally::{Tallies, Tally},
};
use crate::{
    broker::{Broker, ClockReading, Error, KeptJournal, ListedProducer, WhichProducer},
    budget::Part,
    env::Process,
    proto::{
        AcceptClockRequest, AcceptClockResponse, BackupJournal, BackupRequest, BackupResponse,
        Clock, ForgetProducerRequest, ForgetProducerResponse, GetClockRequest, GetClockResponse,
        KnownProducer, Level, Limit, LimitsRequest, LimitsResponse, ListProducersRequest,
        ListProducersResponse, MemoryPart, StatusRequest, StatusResponse, broker_server,
        forget_producer_request,
    },
    types::{ProducerId, limits::MAX_PRODUCERS_PER_PAGE},
};

pub(super) struct BrokerService {
    broker: Arc<Broker>,
    tallies: Tallies,
    /// The connection limit of the port.
    max_connections: usize,
    bounds: Vec<Bound>,
    backups: Backups,
}

/// What the service needs for backups.
pub(super) struct Backups {
    pub(super) reads: Reads,
    pub(super) stopping: Stopping,
    /// The most bytes a second while others append; 0 for no limit.
    pub(super) rate: u64,
}

impl BrokerService {
    pub(super) fn new(
        broker: Arc<Broker>,
        tallies: Tallies,
        configured: &Configured,
        backups: Backups,
    ) -> Self {
        Self {
            broker,
            tallies,
            max_connections: configured.max_connections,
            bounds: bounds::all(configured),
            backups,
        }
    }
}

#[async_trait]
impl broker_server::Broker for BrokerService {
    type BackupStream = Elsewhere<BackupResponse>;

    async fn backup(
        &self,
        request: Request<Streaming<BackupRequest>>,
    ) -> Result<Response<Self::BackupStream>, Status> {
        access(request.extensions())?.permit(&BackupRequest::default())?;
        let Backups {
            reads,
            stopping,
            rate,
        } = &self.backups;
        let shares = peer::reads(request.extensions(), &self.broker, reads);
        let memory = peer::requests(request.extensions(), &self.broker);
        let long = peer::long(request.extensions(), &self.broker);
        let requests = Incoming::of(request.extensions());
        drop(request);
        let had = Had::take(requests, &memory, stopping.stopped()).await?;
        let backup = backup::begin(&self.broker, &long, BACKUP_PATIENCE).await?;
        let (broker, limits) = (Arc::clone(&self.broker), Limits::at_rate(*rate));
        let answers = BackupAnswers::new(backup, had, broker, limits, stopping.stopped());
        Ok(respond(answers, reads, shares)?)
    }

    async fn status(
        &self,
        request: Request<StatusRequest>,
    ) -> Result<Response<StatusResponse>, Status> {
        permit(&request)?;
        let _turn = peer::long(request.extensions(), &self.broker).turn().await;
        let (status, process) = blocking(|| (self.broker.status(), Process::look()));
        Ok(Response::new(StatusResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            data_dir: status.data_dir.display().to_string(),
            failure: status.failure.unwrap_or_default(),
            uptime_ms: u64::try_from(status.uptime.as_millis()).unwrap_or(u64::MAX),
            topics: status.topics as u64,
            partitions: status.partitions as u64,
            producers: status.producers as u64,
            connections: Some(level(&self.tallies.connections, self.max_connections)),
            administrators: Some(level(&self.tallies.administrators, ADMIN_CONNECTIONS)),
            calls: Some(level(&self.tallies.calls, 0)),
            memory: self.broker.budget().parts().map(memory).collect(),
            resident_bytes: process.resident_bytes,
            open_files: process.open_files,
            open_files_limit: process.open_files_limit,
            maps: process.maps,
            disk_free_bytes: status.disk_free,
            disk_reserve_bytes: status.disk_reserve,
            disk_is_full: status.shortage.is_some(),
            disk_missing_bytes: status.shortage.and_then(|shortage| shortage.missing()),
            journal_files: short(status.journal_files.0),
            journal_files_limit: short(status.journal_files.1),
            hindered_compactions: status.hindered_compactions as u64,
            disk_held_bytes: status.disk_held,
            backup_journal: backup_journal(status.kept_journal),
        }))
    }

    async fn limits(
        &self,
        request: Request<LimitsRequest>,
    ) -> Result<Response<LimitsResponse>, Status> {
        permit(&request)?;
        Ok(Response::new(LimitsResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            limits: self.bounds.iter().map(limit).collect(),
        }))
    }

    async fn get_clock(
        &self,
        request: Request<GetClockRequest>,
    ) -> Result<Response<GetClockResponse>, Status> {
        permit(&request)?;
        Ok(Response::new(GetClockResponse {
            clock: Some(clock(&self.broker.clock())),
        }))
    }

    async fn accept_clock(
        &self,
        request: Request<AcceptClockRequest>,
    ) -> Result<Response<AcceptClockResponse>, Status> {
        permit(&request)?;
        Ok(Response::new(AcceptClockResponse {
            clock: Some(clock(&self.broker.accept_clock())),
        }))
    }

    async fn list_producers(
        &self,
        request: Request<ListProducersRequest>,
    ) -> Result<Response<ListProducersResponse>, Status> {
        permit(&request)?;
        let turn = peer::long(request.extensions(), &self.broker).turn().await;
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
        Ok(turn.respond(ListProducersResponse {
            producers: listed.into_iter().map(producer).collect(),
            more,
        }))
    }

    async fn forget_producer(
        &self,
        request: Request<ForgetProducerRequest>,
    ) -> Result<Response<ForgetProducerResponse>, Status> {
        permit(&request)?;
        let which = which(request.into_inner().producer)?;
        let forgotten = self.broker.forget_producer(&which)?.await?;
        Ok(Response::new(ForgetProducerResponse {
            producer: Some(producer(forgotten)),
        }))
    }
}

fn limit(bound: &Bound) -> Limit {
    Limit {
        name: bound.name.to_owned(),
        most: bound.most,
        least: bound.least,
        unit: bound.unit.as_str().to_owned(),
        setting: bound.setting.to_owned(),
        meaning: bound.what.to_owned(),
    }
}

fn backup_journal(kept: KeptJournal) -> Option<BackupJournal> {
    (kept.limit > 0).then(|| BackupJournal {
        bytes: kept.bytes,
        limit_bytes: kept.limit,
        first_commit: kept.commits.map(|(first, _)| first),
        last_commit: kept.commits.map(|(_, last)| last),
    })
}

fn level(tally: &Tally, limit: usize) -> Level {
    Level {
        now: tally.now() as u64,
        most: tally.most() as u64,
        limit: limit as u64,
    }
}

fn memory(part: &Part) -> MemoryPart {
    MemoryPart {
        name: part.name().as_str().to_owned(),
        purpose: part.name().purpose().to_owned(),
        used_bytes: part.used() as u64,
        most_bytes: part.most() as u64,
        bound_bytes: part.bound() as u64,
    }
}

fn short(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
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

pub(super) fn clock(reading: &ClockReading) -> Clock {
    let followed_in = reading
        .followed_in
        .map(|followed_in| followed_in.as_millis());
    Clock {
        now_ms: reading.now_ms,
        wall_ms: reading.wall_ms,
        followed_in_ms: followed_in.map(|ms| u64::try_from(ms).unwrap_or(u64::MAX)),
    }
}
