//! `taffrail.v1.Log`.

pub(super) mod append;
mod append_stream;
pub(super) mod conditions;
mod offsets;
pub(super) mod position;
pub(super) mod read;

use std::sync::Arc;

use tonic::{Request, Response, Status, Streaming, async_trait};

use self::{append::Refused, append_stream::AppendAnswers, read::ReadAnswers};
use super::{
    answers::{Elsewhere, respond},
    auth::{access, permit},
    blocking::{ShortReads, blocking},
    incoming::Incoming,
    limits::FEW_PARTITIONS,
    notices::{Notice, Notices},
    peer,
    reads::Reads,
    stop::Stopping,
};
use crate::{
    broker::{Broker, Error},
    proto::{
        AppendResponse, ListOffsetsRequest, ListOffsetsResponse, OpenProducerRequest,
        OpenProducerResponse, Producer, ReadRequest,
        log_server::Log,
        wire::{AppendRequest, ReadResponse},
    },
};

pub(super) struct LogService {
    broker: Arc<Broker>,
    reads: Reads,
    short: ShortReads,
    notices: Arc<Notices>,
    stopping: Stopping,
}

impl LogService {
    pub(super) fn new(
        broker: Arc<Broker>,
        reads: Reads,
        notices: Arc<Notices>,
        stopping: Stopping,
    ) -> Self {
        let short = ShortReads::new(broker.system_clock());
        Self {
            broker,
            reads,
            short,
            notices,
            stopping,
        }
    }
}

#[async_trait]
impl Log for LogService {
    type AppendStreamStream = AppendAnswers<Incoming<AppendRequest>>;
    type ReadStream = Elsewhere<ReadResponse>;

    async fn append(
        &self,
        request: Request<AppendRequest>,
    ) -> Result<Response<AppendResponse>, Status> {
        let (_, extensions, message) = request.into_parts();
        let flow = peer::flow(&extensions);
        let holder = peer::producers(&extensions);
        let access = access(&extensions)?;
        let answered = async {
            let pending = append::take(&self.broker, &flow, holder, &access, message).await?;
            // From here on the broker counts the request's memory.
            drop(extensions);
            let appended = append::answer(pending).await;
            appended.map_err(|error| Refused::from(access.shown(error)))
        };
        let answered = answered.await;
        let answered = answered.inspect_err(|refused| refused.count(&self.broker))?;
        Ok(Response::new(answered))
    }

    async fn append_stream(
        &self,
        request: Request<Streaming<AppendRequest>>,
    ) -> Result<Response<Self::AppendStreamStream>, Status> {
        let answers = AppendAnswers::new(
            Arc::clone(&self.broker),
            peer::flow(request.extensions()),
            peer::producers(request.extensions()),
            access(request.extensions())?,
            Incoming::of(request.extensions()),
            self.stopping.stopped(),
        );
        Ok(Response::new(answers))
    }

    async fn open_producer(
        &self,
        request: Request<OpenProducerRequest>,
    ) -> Result<Response<OpenProducerResponse>, Status> {
        permit(&request)?;
        let holder = peer::producers(request.extensions());
        let name = request.into_inner().name;
        let opened = self.broker.open_producer(&name, holder.as_deref())?;
        let producer = opened.await.inspect_err(|error| {
            if matches!(error, Error::TooManyProducers(_)) {
                self.notices.happened(Notice::ProducerRefused);
            }
        })?;
        let producer = Producer {
            id: producer.id.0,
            epoch: producer.epoch,
        };
        Ok(Response::new(OpenProducerResponse {
            producer: Some(producer),
        }))
    }

    async fn read(
        &self,
        request: Request<ReadRequest>,
    ) -> Result<Response<Self::ReadStream>, Status> {
        permit(&request)?;
        let shares = peer::reads(request.extensions(), &self.broker, &self.reads);
        let read = read::request(request.into_inner())?;
        let stopped = read.follow.then(|| self.stopping.stopped());
        let is_small = (1..=FEW_PARTITIONS).contains(&read.partitions.len());
        let (turns, begin) = (&shares.turns.begin, || self.broker.read(read));
        let reader = match is_small {
            true => turns.read(&self.short, begin).await?,
            false => turns.work(begin).await?,
        };
        Ok(respond(
            ReadAnswers::new(reader, stopped),
            &self.reads,
            shares,
        )?)
    }

    async fn list_offsets(
        &self,
        request: Request<ListOffsetsRequest>,
    ) -> Result<Response<ListOffsetsResponse>, Status> {
        permit(&request)?;
        let mut turn = peer::long(request.extensions(), &self.broker).turn().await;
        let request = request.into_inner();
        let found = blocking(|| offsets::find(&self.broker, request, &mut turn))?;
        Ok(turn.respond(found))
    }
}
