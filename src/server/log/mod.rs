//! `taffrail.v1.Log`.

mod append;
mod offsets;
mod position;
mod read;

use std::sync::Arc;

use tokio::runtime::{Handle, RuntimeFlavor};
use tonic::{Request, Response, Status, Streaming, async_trait};

use self::{append::AppendAnswers, read::ReadAnswers};
use super::stop::Stopping;
use crate::{
    broker::Broker,
    proto::{
        AppendResponse, ListOffsetsRequest, ListOffsetsResponse, ReadRequest, log_server::Log, wire::AppendRequest,
    },
};

pub(super) struct LogService {
    broker: Arc<Broker>,
    stopping: Stopping,
}

impl LogService {
    pub(super) fn new(broker: Arc<Broker>, stopping: Stopping) -> Self {
        Self { broker, stopping }
    }
}

#[async_trait]
impl Log for LogService {
    type AppendStreamStream = AppendAnswers<Streaming<AppendRequest>>;
    type ReadStream = ReadAnswers;

    async fn append(&self, request: Request<AppendRequest>) -> Result<Response<AppendResponse>, Status> {
        let (_, extensions, message) = request.into_parts();
        let pending = append::take(&self.broker, message).await?;
        // From here on the broker counts the request's memory.
        drop(extensions);
        Ok(Response::new(append::response(pending.await?)))
    }

    async fn append_stream(
        &self,
        request: Request<Streaming<AppendRequest>>,
    ) -> Result<Response<Self::AppendStreamStream>, Status> {
        let answers = AppendAnswers::new(Arc::clone(&self.broker), request.into_inner(), self.stopping.stopped());
        Ok(Response::new(answers))
    }

    async fn read(&self, request: Request<ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        let read = read::request(request.into_inner())?;
        let stopped = read.follow.then(|| self.stopping.stopped());
        let reader = blocking(|| self.broker.read(read))?;
        Ok(Response::new(ReadAnswers::new(reader, stopped)))
    }

    async fn list_offsets(
        &self,
        request: Request<ListOffsetsRequest>,
    ) -> Result<Response<ListOffsetsResponse>, Status> {
        let found = blocking(|| offsets::find(&self.broker, request.into_inner()))?;
        Ok(Response::new(found))
    }
}

/// Runs what may wait for a file to be read. Other calls go on meanwhile, on another thread; a runtime with one thread
/// has none and waits.
fn blocking<T>(work: impl FnOnce() -> T) -> T {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::MultiThread => tokio::task::block_in_place(work),
        _ => work(),
    }
}
