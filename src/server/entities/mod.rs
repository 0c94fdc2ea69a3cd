//! `taffrail.v1.Entities`.

mod latest;
pub(super) mod read_key;

use std::sync::Arc;

use tonic::{Request, Response, Status, async_trait};

use self::{latest::LatestAnswers, read_key::KeyAnswers};
use super::{
    answers::{Elsewhere, respond},
    auth::permit,
    blocking::ShortReads,
    peer,
    reads::Reads,
};
use crate::{
    broker::{Broker, Erasure, Error, ResponseLimit},
    proto::{
        self, DescribeErasureRequest, DescribeErasureResponse, EraseKeyRequest, EraseKeyResponse,
        GetLatestRequest, GetLatestResponse, ReadKeyRequest, TrimKeyRequest, TrimKeyResponse,
        entities_server::Entities, wire::ReadKeyResponse,
    },
    types::Version,
};

pub(super) struct EntitiesService {
    broker: Arc<Broker>,
    reads: Reads,
    /// Reads of entities with few records.
    short: Arc<ShortReads>,
}

impl EntitiesService {
    pub(super) fn new(broker: Arc<Broker>, reads: Reads) -> Self {
        let short = Arc::new(ShortReads::new(broker.system_clock()));
        Self {
            broker,
            reads,
            short,
        }
    }
}

#[async_trait]
impl Entities for EntitiesService {
    type ReadKeyStream = Elsewhere<ReadKeyResponse>;
    type GetLatestStream = Elsewhere<GetLatestResponse>;

    async fn read_key(
        &self,
        request: Request<ReadKeyRequest>,
    ) -> Result<Response<Self::ReadKeyStream>, Status> {
        permit(&request)?;
        let shares = peer::reads(request.extensions(), &self.broker, &self.reads);
        let read = read_key::request(request.into_inner())?;
        let begin = || self.broker.read_key(read);
        let reader = shares.turns.begin.read(&self.short, begin).await?;
        let answers = KeyAnswers::new(reader, Arc::clone(&self.short));
        Ok(respond(answers, &self.reads, shares)?)
    }

    async fn get_latest(
        &self,
        request: Request<GetLatestRequest>,
    ) -> Result<Response<Self::GetLatestStream>, Status> {
        permit(&request)?;
        let shares = peer::reads(request.extensions(), &self.broker, &self.reads);
        let GetLatestRequest {
            topic,
            keys,
            max_response_bytes,
        } = request.into_inner();
        let response = ResponseLimit::of(max_response_bytes)?;
        let begin = || self.broker.read_latest(&topic, &keys, response);
        let reader = shares.turns.begin.work(begin).await?;
        Ok(respond(LatestAnswers::new(reader), &self.reads, shares)?)
    }

    async fn erase_key(
        &self,
        request: Request<EraseKeyRequest>,
    ) -> Result<Response<EraseKeyResponse>, Status> {
        permit(&request)?;
        let shares = peer::reads(request.extensions(), &self.broker, &self.reads);
        let EraseKeyRequest { topic, key } = request.into_inner();
        let begin = || self.broker.erase_key(&topic, &key);
        let erasing = shares.turns.begin.work(begin).await?;
        // The request is dropped while its answer is waited for.
        drop((topic, key));
        Ok(Response::new(EraseKeyResponse {
            erasure: Some(erasure(&erasing.await?)),
        }))
    }

    async fn trim_key(
        &self,
        request: Request<TrimKeyRequest>,
    ) -> Result<Response<TrimKeyResponse>, Status> {
        permit(&request)?;
        let shares = peer::reads(request.extensions(), &self.broker, &self.reads);
        let TrimKeyRequest {
            topic,
            key,
            before_version,
            dry_run,
        } = request.into_inner();
        let before = Version(before_version);
        let begin = || match dry_run {
            true => self.broker.preview_key_trim(&topic, &key, before),
            false => self.broker.trim_key(&topic, &key, before),
        };
        let trimming = shares.turns.begin.work(begin).await?;
        let trimmed = trimming.await?;
        Ok(Response::new(TrimKeyResponse {
            first_version: trimmed.first.0,
            latest_version: trimmed.latest.0,
        }))
    }

    async fn describe_erasure(
        &self,
        request: Request<DescribeErasureRequest>,
    ) -> Result<Response<DescribeErasureResponse>, Status> {
        let access = permit(&request)?;
        let id = request.into_inner().id;
        let topic = self.broker.topic_of_erasure(id);
        if !topic.is_some_and(|topic| access.erases_in(topic.as_str())) {
            return Err(Error::UnknownErasure { id }.into());
        }
        let found = self.broker.describe_erasure(id)?;
        Ok(Response::new(DescribeErasureResponse {
            erasure: Some(erasure(&found)),
        }))
    }
}

fn erasure(erasure: &Erasure) -> proto::Erasure {
    proto::Erasure {
        id: erasure.id,
        complete: erasure.complete,
        requested_ms: erasure.requested_ms,
        deadline_ms: erasure.deadline_ms,
        through_version: erasure.through.0,
        problem: erasure.problem.clone().unwrap_or_default(),
    }
}
