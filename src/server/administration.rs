//! `taffrail.v1.Admin`.

use std::{future::pending, sync::Arc, time::Duration};

use tokio::sync::mpsc;
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::{
    auth::permit,
    broker::clock,
    import::{self, ImportAnswers},
    status,
    stop::Stopping,
};
use crate::{
    broker::{Broker, Error},
    env::Ephemeral,
    proto::{
        AdvanceRequest, AdvanceResponse, CrashRequest, CrashResponse, admin_server,
        wire::ImportRecordsRequest,
    },
};

/// The most time that `Advance` adds at once: 100 years.
const MAX_ADVANCE_MS: u64 = 36_525 * 86_400_000;

/// The simulated world of an ephemeral broker, and the way to cut its power.
#[derive(Clone)]
pub(crate) struct Trial {
    /// The disk and the clock of the broker.
    pub(crate) world: Arc<Ephemeral>,
    /// Asks the process to cut the power, which also ends this server.
    pub(crate) crash: mpsc::Sender<()>,
}

pub(super) struct AdminService {
    broker: Arc<Broker>,
    trial: Option<Trial>,
    stopping: Stopping,
}

impl AdminService {
    pub(super) fn new(broker: Arc<Broker>, trial: Option<Trial>, stopping: Stopping) -> Self {
        Self {
            broker,
            trial,
            stopping,
        }
    }

    fn trial(&self) -> Result<&Trial, Status> {
        self.trial.as_ref().ok_or_else(status::not_ephemeral)
    }
}

#[async_trait]
impl admin_server::Admin for AdminService {
    type ImportRecordsStream = ImportAnswers;

    async fn import_records(
        &self,
        request: Request<Streaming<ImportRecordsRequest>>,
    ) -> Result<Response<ImportAnswers>, Status> {
        let answers = import::begin(&self.broker, request, &self.stopping).await?;
        Ok(Response::new(answers))
    }

    async fn crash(
        &self,
        request: Request<CrashRequest>,
    ) -> Result<Response<CrashResponse>, Status> {
        permit(&request)?;
        let trial = self.trial()?;
        // If a power cut was requested already, one is enough.
        trial.crash.try_send(()).ok();
        pending().await
    }

    async fn advance(
        &self,
        request: Request<AdvanceRequest>,
    ) -> Result<Response<AdvanceResponse>, Status> {
        permit(&request)?;
        let trial = self.trial()?;
        let by_ms = request.into_inner().by_ms;
        if by_ms > MAX_ADVANCE_MS {
            let reason = format!("by_ms is {by_ms}, at most {MAX_ADVANCE_MS} are allowed");
            return Err(Error::MalformedRequest { reason }.into());
        }
        let by = Duration::from_millis(by_ms);
        let passed = self.broker.pass_time(by, |step| trial.world.advance(step));
        passed.await?;
        Ok(Response::new(AdvanceResponse {
            clock: Some(clock(&self.broker.clock())),
        }))
    }
}
